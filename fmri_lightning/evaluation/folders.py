"""Two folders of pictures of any system: what they have in common is scored, everything else is said by name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.foreign_pictures import ForeignPictures, Inspection, inspect
from fmri_lightning.evaluation.pictures import PictureSet, StimulusPictures, check_pictures
from fmri_lightning.evaluation.truth import Matched, match_files
from fmri_lightning.index.stimuli import open_stimuli

SHOWN = 5
Kind = Literal["missing", "extra", "unreadable", "resized", "transparent", "constant"]


@dataclass(frozen=True)
class Caveat:
    """Something that a reader of the scores must know.

    Attributes:
        kind: What it is.
        sentence: In words, with a count and the first names.
        names: Every file or stimulus concerned.
    """

    kind: Kind
    sentence: str
    names: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same in plain types."""
        return {"kind": self.kind, "sentence": self.sentence, "names": list(self.names)}


@dataclass(frozen=True, eq=False)
class FolderPair:
    """Pictures of two folders that belong together.

    Attributes:
        ids: nsd_id of each item, ascending, or its position in the sorted names (n,) int32.
        names: What each item is called in both folders.
        generated: Reconstructions.
        truth: Ground truths in the same order.
        generated_hash: Hash over the pixels of the reconstructions, at the size of their files.
        truth_hash: Hash over those of the ground truths.
        caveats: What was left out, or had to be done to pictures.
    """

    ids: NDArray[np.int32]
    names: tuple[str, ...]
    generated: PictureSet
    truth: PictureSet
    generated_hash: str
    truth_hash: str
    caveats: list[Caveat] = field(default_factory=list)


def read_folders(generated: Path, truth: Path) -> FolderPair:
    """Pair the pictures of two folders and look at each of them once.

    Args:
        generated: Folder of reconstructions.
        truth: Folder of ground truths, or an NSD tree.

    Returns:
        What both have and can be read, with caveats for the rest.

    Raises:
        BadInputError: A folder is missing or empty, two files of one folder are of one stimulus, or fewer than two
            pictures are left.
    """
    matched = match_files(generated, truth)
    of_generated = inspect([matched.generated[key] for key in matched.keys])
    of_truth = inspect([matched.truth[key] for key in matched.keys]) if matched.truth else Inspection()
    keys = [
        key
        for key in matched.keys
        if matched.generated[key].name not in of_generated.unreadable
        and (not matched.truth or matched.truth[key].name not in of_truth.unreadable)
    ]
    caveats = _caveats_of_names(matched, generated, truth)
    for folder, found in ((generated, of_generated), (truth, of_truth)):
        caveats += _caveats_of_pictures(folder, found)
    if len(keys) < 2:
        reasons = "; ".join(caveat.sentence for caveat in caveats)
        raise BadInputError(f"{generated} and {truth} have {len(keys)} readable pictures in common: {reasons}")
    ids = matched.ids(keys)
    ours = ForeignPictures([matched.generated[key] for key in keys], of_generated.size_px)
    generated_hash = of_generated.digest(ours.paths)
    theirs: PictureSet
    if matched.truth:
        originals = [matched.truth[key] for key in keys]
        theirs = ForeignPictures(originals, of_truth.size_px)
        truth_hash = of_truth.digest(originals)
    else:
        theirs = StimulusPictures(open_stimuli(root=truth), ids)
        truth_hash = check_pictures(theirs, "ground truths")
    names = tuple(f"nsd{key}" if matched.by_nsd_id else str(key) for key in keys)
    return FolderPair(ids, names, ours, theirs, generated_hash, truth_hash, caveats)


def _caveats_of_names(matched: Matched, generated: Path, truth: Path) -> list[Caveat]:
    caveats = []
    if matched.missing:
        sentence = f"missing: {_some(matched.missing)} of {truth} have no reconstruction in {generated}"
        caveats.append(Caveat("missing", sentence, tuple(matched.missing)))
    if matched.extra:
        sentence = f"extra: {_some(matched.extra)} of {generated} have no ground truth in {truth} and are left out"
        caveats.append(Caveat("extra", sentence, tuple(matched.extra)))
    return caveats


def _caveats_of_pictures(folder: Path, found: Inspection) -> list[Caveat]:
    width, height = found.size_px
    sizes = {f"{w} x {h}" for w, h in found.other_sizes.values()}
    said: list[tuple[Kind, Collection[str], str]] = [
        ("unreadable", found.unreadable, "cannot be read and are left out"),
        (
            "resized",
            found.other_sizes,
            f"are not {width} x {height} px as the others ({', '.join(sorted(sizes))}) and are resized to that",
        ),
        ("transparent", found.transparent, "are partly transparent and are laid on white"),
        ("constant", found.constant, "show one colour only; where no correlation is defined for them, it is counted"),
    ]
    caveats = []
    for kind, names, what in said:
        if names:
            caveats.append(Caveat(kind, f"{kind}: {_some(names)} of {folder} {what}", tuple(names)))
    if height != width:
        name = f"{width} x {height}"
        caveats.append(
            Caveat("resized", f"resized: the pictures of {folder} are {name} px, not square, and are squeezed", (name,))
        )
    return caveats


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:SHOWN]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    noun = "picture" if len(names) == 1 else "pictures"
    return f"{len(names)} {noun} ({', '.join(shown)}{more})"
