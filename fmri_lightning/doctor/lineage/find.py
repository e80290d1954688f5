"""Find an input again by its hash: where the artefact recorded it, or in our layout beside the artefact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fmri_lightning.doctor.lineage.artefact import Artefact, read_artefact
from fmri_lightning.errors import BadInputError

# Where commands write by default, below outputs/, checkpoints/ or one folder of everything.
LAYOUT = {
    "index": ("nsd_index/subject=*", "index/subject=*"),
    "annotations": ("nsd_index/subject=*/annotations", "index/subject=*/annotations"),
    "betas": ("betas/*",),
    "preproc": ("preproc/*",),
    "clip_cache": ("clip_cache/*.parquet", "*.parquet"),
    "encoder": ("checkpoints/*/*/*.ckpt", "*/*/*.ckpt"),
    "adapter": ("checkpoints/clip_adapter/*/*/*.ckpt", "clip_adapter/*/*/*.ckpt"),
    "calibration": ("checkpoints/calibration/*/*", "calibration/*/*"),
    "reliability": ("checkpoints/reliability/*/*", "reliability/*/*"),
    "lora": ("checkpoints/lora/*/*", "lora/*/*"),
    "out_of_fold": ("checkpoints/*/*/out_of_fold", "*/*/out_of_fold", "out_of_fold"),
}
LIKE = {
    "split": "index",
    "target_cache": "clip_cache",
    "low_level_cache": "clip_cache",
    "low_level": "encoder",
    "embeddings": "clip_cache",
}
ABOVE = 5
"""How many folders above an artefact are looked into."""


@dataclass
class Finder:
    """Looks artefacts up and remembers what it has read.

    Attributes:
        read: Artefact by path, None where there is none.
        recorded: Places of inputs by name, as the artefacts shown so far recorded them.
    """

    read: dict[Path, Artefact | None] = field(default_factory=dict)
    recorded: dict[str, list[Path]] = field(default_factory=dict)

    def remember(self, owner: Artefact) -> None:
        """Look at the places that an artefact recorded for its inputs for those of its inputs too."""
        for name, path in owner.named.items():
            places = self.recorded.setdefault(name, [])
            places += [path] if path not in places else []

    def find(self, name: str, digest: str, owner: Artefact) -> Artefact | None:
        """Find an input.

        Args:
            name: As in the owner's inputs.
            digest: Content hash that the owner recorded; of a split, the split's.
            owner: What was made from it.

        Returns:
            The artefact with this hash, or None.
        """
        for path in self._candidates(name, owner):
            found = self.at(path)
            if found is not None and hash_as(name, found) == digest:
                return found
        return None

    def at(self, path: Path) -> Artefact | None:
        """Read the artefact at a path, once."""
        key = path.absolute()
        if key not in self.read:
            try:
                self.read[key] = read_artefact(path)
            except (BadInputError, OSError):
                self.read[key] = None
        return self.read[key]

    def _candidates(self, name: str, owner: Artefact) -> Iterator[Path]:
        if name in owner.named:
            yield owner.named[name]
        yield from self.recorded.get(name, ())
        patterns = LAYOUT.get(LIKE.get(name, name), ())
        for above in list(owner.path.absolute().parents)[:ABOVE]:
            for pattern in patterns:
                # Only below folders of our own layout: a pattern that starts with * is for these alone.
                if pattern.startswith("*/") and above.name != "checkpoints":
                    continue
                if pattern == "*.parquet" and above.name not in ("clip_cache", owner.path.parent.name):
                    continue
                yield from sorted(above.glob(pattern))


def hash_as(name: str, found: Artefact) -> str:
    """The hash under which others name an artefact: an index stands for its split too."""
    return str(found.config.get("split_hash", "")) if name == "split" else found.content_hash
