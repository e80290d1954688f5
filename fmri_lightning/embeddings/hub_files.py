"""Which files of a hub model are read, and where they lie on this machine: one list for loaders and downloads."""

from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_COMMIT = re.compile(r"[0-9a-f]{40}")
HALVES = ("*.fp16.*", "*.non_ema.*")
"""Second copies of weights that hub repositories carry and nothing here reads."""


@dataclass(frozen=True)
class HubFiles:
    """The files of one hub repository that a loader reads.

    Attributes:
        model_id: Hub repository, for instance "openai/clip-vit-base-patch32".
        revision: Commit (40 hexadecimal digits), or None for the main branch.
        allow: Patterns of names that are read.
        ignore: Patterns of names among these that are not.
        needed: One pattern per file without which nothing can be loaded.
    """

    model_id: str
    revision: str | None
    allow: tuple[str, ...]
    ignore: tuple[str, ...] = HALVES
    needed: tuple[str, ...] = ()

    def download(self, local_only: bool = False) -> Path:
        """Put the files into the hub cache, or find them there; a commit that is there completely asks no network.

        Args:
            local_only: Ask the cache alone; so it is with ``HF_HUB_OFFLINE=1``.

        Returns:
            The snapshot folder; its name is the commit.

        Raises:
            OSError: The hub does not have them, does not answer, or the cache lacks them.
            ValueError: The id cannot be a hub id.
        """
        from huggingface_hub import snapshot_download

        if not local_only and self.revision is not None and _COMMIT.fullmatch(self.revision):
            found = self.cached()
            if found is not None:
                return found
        return Path(
            snapshot_download(
                self.model_id,
                revision=self.revision,
                allow_patterns=list(self.allow),
                ignore_patterns=list(self.ignore),
                local_files_only=local_only or is_offline(),
            )
        )

    def listed(self) -> list[tuple[int, bool]]:
        """Ask the hub for the sizes of the files.

        Returns:
            Bytes of each file, and whether it is in the cache already.

        Raises:
            OSError: The hub does not have them, or does not answer.
            ValueError: The id cannot be a hub id.
        """
        from huggingface_hub import snapshot_download

        found = snapshot_download(
            self.model_id,
            revision=self.revision,
            allow_patterns=list(self.allow),
            ignore_patterns=list(self.ignore),
            dry_run=True,
        )
        return [(one.file_size or 0, one.is_cached) for one in found]

    def cached(self) -> Path | None:
        """Find the snapshot folder where the hub cache holds every file, else None; the hub is not asked."""
        try:
            folder = self.download(local_only=True)
        except (OSError, ValueError):
            return None
        return None if self.missing(folder) else folder

    def missing(self, folder: Path) -> list[str]:
        """Name what a folder lacks: a file that is always read, a shard of weights, a part that its index names.

        Args:
            folder: A snapshot folder, or any folder in the same layout.

        Returns:
            Names or patterns; empty where all is there.
        """
        lacking = [pattern for pattern in self.needed if not any(path.is_file() for path in folder.glob(pattern))]
        for index in folder.rglob("*.safetensors.index.json"):
            shards = set(_mapping(index).get("weight_map", {}).values())
            lacking += [
                (index.parent / shard).relative_to(folder).as_posix()
                for shard in sorted(map(str, shards))
                if not (index.parent / shard).is_file()
            ]
        for part, names in _mapping(folder / "model_index.json").items():
            named = isinstance(names, list) and len(names) > 0 and names[0] is not None
            if named and self._reads(part) and not any(path.is_file() for path in (folder / part).glob("*")):
                lacking.append(f"{part}/")
        return lacking

    def command(self) -> str:
        """Write the shell command that downloads these files."""
        revision = f" --revision {self.revision}" if self.revision else ""
        patterns = f" --include {' '.join(map(shlex.quote, self.allow))}"
        excluded = f" --exclude {' '.join(map(shlex.quote, self.ignore))}" if self.ignore else ""
        return f"hf download {self.model_id}{revision}{patterns}{excluded}"

    def _reads(self, part: str) -> bool:
        """Say whether a part of a pipeline has patterns of its own, or is a small one that ``*/*.json`` covers."""
        weighty = {pattern.split("/")[0] for pattern in self.allow if pattern.endswith("/*.safetensors")}
        return part in weighty or part.endswith("scheduler") or part == "tokenizer"


def is_offline() -> bool:
    """Say whether ``HF_HUB_OFFLINE`` forbids the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def _mapping(path: Path) -> dict[str, Any]:
    """Read a JSON object; none where there is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
