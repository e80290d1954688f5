"""The tree of what an artefact was made from, in lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fmri_lightning.doctor.lineage.artefact import Artefact
from fmri_lightning.doctor.lineage.find import Finder, hash_as
from fmri_lightning.errors import BadInputError, StageError
from fmri_lightning.manifest import file_fingerprint

# The deepest first, so that run → encoder → preproc → betas → index is one branch.
ORDER = (
    "run", "encoder", "low_level", "adapter", "calibration", "reliability", "preproc", "betas", "index", "out_of_fold",
)  # fmt: skip
OF_FILES = ("index", "betas")
"""Kinds whose other inputs are raw files, named relative to config["root"]."""
NO_FILES = ("index", "split", "split_file")
SHORT = 12
Branch = Callable[[], tuple[str, Artefact | None]]
"""Gives a line, and the artefact whose inputs stand below it."""


@dataclass
class Lineage:
    """Writes the tree.

    Attributes:
        verify: Compare raw files by size, first and last MiB, not by their presence alone.
        finder: Finds inputs.
        told: Hashes whose own inputs were written already.
    """

    verify: bool
    finder: Finder = field(default_factory=Finder)
    told: set[str] = field(default_factory=set)

    def lines(self, owner: Artefact, indent: str = "") -> Iterator[str]:
        """Write the inputs of an artefact, and theirs.

        Args:
            owner: The artefact.
            indent: Bars of the branches around it.

        Yields:
            Lines.
        """
        self.finder.remember(owner)
        branches = list(self._branches(owner))
        for number, branch in enumerate(branches):
            last = number == len(branches) - 1
            line, child = branch()
            yield f"{indent}{'└─' if last else '├─'} {line}"
            if child is not None:
                yield from self.lines(child, f"{indent}{'   ' if last else '│  '}")

    def _branches(self, owner: Artefact) -> Iterator[Branch]:
        """One function per branch, called in turn: what was written above is known only then."""
        if owner.kind == "evaluation" and "run" in owner.named:
            yield partial(self._run_of, owner)
        names = sorted(owner.inputs, key=lambda n: ORDER.index(n) if n in ORDER else len(ORDER))
        raw = [name for name in names if owner.kind in OF_FILES and name not in NO_FILES]
        for name in names:
            if name not in raw:
                yield partial(self._child, name, owner.inputs[name], owner)
        if raw:
            yield partial(self._raw_files, owner, raw)
        if "decoder.weights" in owner.config:
            yield partial(_decoder, owner)

    def _run_of(self, owner: Artefact) -> tuple[str, Artefact | None]:
        return f"run {owner.named['run']} (the folder that it lies in)", self._new(self.finder.at(owner.named["run"]))

    def _child(self, name: str, digest: str, owner: Artefact) -> tuple[str, Artefact | None]:
        if owner.kind == "evaluation" and name != "clip_cache":
            return f"{name} {digest[:SHORT]} (over pixels)", None
        found = self.finder.find(name, digest, owner)
        if found is not None:
            seen = digest in self.told or (name == "split" and found.content_hash in self.told)
            of = "of the index " if name == "split" else ""
            again = " (above)" if seen and found.inputs else ""
            return f"{name} {digest[:SHORT]} {of}{found.path}{again}", None if name == "split" else self._new(found)
        there = self.finder.at(owner.named[name]) if name in owner.named else None
        if there is None:
            return f"{name} {digest[:SHORT]} not found here", None
        other = hash_as(name, there)[:SHORT] or "no hash"
        return f"{name} {digest[:SHORT]} NOT FOUND HERE: {there.path} now holds {other}", None

    def _new(self, found: Artefact | None) -> Artefact | None:
        """Pass an artefact on where its inputs were not written yet."""
        if found is None or found.content_hash in self.told:
            return None
        if found.content_hash:
            self.told.add(found.content_hash)
        return found

    def _raw_files(self, owner: Artefact, names: list[str]) -> tuple[str, Artefact | None]:
        root = Path(str(owner.config.get("root", ".")))
        absent = [name for name in names if not (root / name).is_file()]
        count = f"{len(names)} raw file{'' if len(names) == 1 else 's'} of {root}"
        if absent:
            return f"{count}: {len(absent)} not found here, first {absent[0]}", None
        if not self.verify:
            return f"{count}: all there", None
        other = [name for name in names if not _is_same(root / name, owner.inputs[name])]
        return f"{count}: {f'{len(other)} CHANGED, first {other[0]}' if other else 'all as recorded'}", None


def _is_same(path: Path, recorded: str) -> bool:
    """Compare a raw file with "size:hash" or "hash" of its first and last MiB."""
    try:
        found = file_fingerprint(path)
    except BadInputError:
        return False
    return recorded.rsplit(":", 1)[-1] == found["head_tail_sha256"] and (
        ":" not in recorded or recorded.split(":", 1)[0] == str(found["size"])
    )


def _decoder(owner: Artefact) -> tuple[str, Artefact | None]:
    model, weights = owner.config.get("decoder.model_id"), owner.config["decoder.weights"]
    return f"decoder {str(weights)[:SHORT]} {model}{_decoder_state(owner)}", None


def _decoder_state(owner: Artefact) -> str:
    """Say whether the decoder of a run lies here with the same weights."""
    from fmri_lightning.generation.decoder import FAMILIES, RETRIEVAL, DecoderConfig, IPAdapterConfig, family_files

    family, model = owner.config.get("decoder.family"), owner.config.get("decoder.model_id")
    if family not in FAMILIES or family == RETRIEVAL:
        return " (the clip cache's pictures)" if family == RETRIEVAL else ""
    beside = IPAdapterConfig(**owner.config.get("decoder.ip_adapter", {}))
    prior = owner.config.get("decoder.prior")
    config = DecoderConfig(family, None if model == "mini" else model, ip_adapter=beside, prior=prior)
    files = family_files(config)
    try:
        folder = files.local_folder(config)
        if folder is None:
            return " (hub revision)"
        same = files.weights_fingerprint(config) == owner.config["decoder.weights"]
    except StageError:
        return " not found here"
    return f" {folder}" if same else f" NOT FOUND HERE: {folder} holds other weights"
