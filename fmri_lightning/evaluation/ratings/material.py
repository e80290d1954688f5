"""What is rated: one reconstruction of each stimulus, and the stimuli."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.folders import read_folders
from fmri_lightning.evaluation.pictures import PictureSet, StimulusPictures, check_pictures
from fmri_lightning.evaluation.runs import load_run
from fmri_lightning.evaluation.truth import open_truth
from fmri_lightning.index.stimuli import holds_stimuli
from fmri_lightning.index.stimulus_source import StimulusSource
from fmri_lightning.manifest import content_hash

OWN_STIMULI = "stimuli"
"""The folder in which a data root holds pictures of one's own, which nobody else has licensed."""


@dataclass(frozen=True, eq=False)
class Material:
    """Pictures of a run or of two folders, one item a stimulus.

    Attributes:
        ids: nsd_id of each item, or its position among the names of two folders (n,) int32.
        names: What each item is called.
        reconstructions: One picture an item.
        truth: The stimulus of each item.
        source: Folder of the reconstructions.
        inputs: Content hashes of both sets of pictures.
        simulated: Whether the brain was simulated; None where nobody says.
        restricted: Data root whose pictures may not be passed on, or None.
        caveats: What was left out, in words.
    """

    ids: NDArray[np.int32]
    names: tuple[str, ...]
    reconstructions: PictureSet
    truth: PictureSet
    source: Path
    inputs: dict[str, str]
    simulated: bool | None = None
    restricted: Path | None = None
    caveats: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.ids)


def material_of_run(folder: Path, truth: Path | None, seed: int) -> Material:
    """Collect the pictures of a run; of a stimulus drawn several times (single trials), one at random.

    Args:
        folder: A folder written by predict.
        truth: Ground truth, when it is not where the run says.
        seed: Of the choice among the pictures of a stimulus.

    Returns:
        One item a stimulus.

    Raises:
        BadInputError: The run is unfinished, a picture is missing, unreadable or constant, or there are fewer than two.
    """
    run = load_run(folder)
    kept = _one_each(run.ids, seed)
    caveats = []
    if len(kept) < len(run.ids):
        caveats.append(f"{len(kept)} of {len(run.ids)} pictures are rated: one, drawn at random, of each stimulus")
    run = run.take(kept)
    _require_two(len(run.ids), folder)
    root = run.summary.get("provenance", {}).get("root")
    source: StimulusSource = open_truth(root, truth)
    stimuli = StimulusPictures(source, run.ids)
    inputs = {
        "pictures": check_pictures(run.pictures, f"pictures of {folder}"),
        "truth": check_pictures(stimuli, "ground truths"),
    }
    simulated = bool(run.summary.get("simulated", False))
    place = truth if truth is not None else Path(str(root))
    names = tuple(f"nsd{i}" for i in run.ids.tolist())
    restricted = None if simulated else _restricted(place)
    return Material(run.ids, names, run.pictures, stimuli, folder, inputs, simulated, restricted, caveats)


def material_of_folders(generated: Path, truth: Path) -> Material:
    """Collect the pictures that two folders have in common.

    Args:
        generated: Folder of reconstructions, of any system.
        truth: Folder of ground truths, or an NSD tree.

    Returns:
        One item a stimulus.

    Raises:
        BadInputError: Fewer than two pictures are in both.
    """
    pair = read_folders(generated, truth)
    _require_two(len(pair.ids), generated)
    return Material(
        pair.ids,
        tuple(pair.names),
        pair.generated,
        pair.truth,
        generated,
        {"pictures": pair.generated_hash, "truth": pair.truth_hash},
        None,
        _restricted(truth),
        [caveat.sentence for caveat in pair.caveats],
    )


def _one_each(ids: NDArray[np.int32], seed: int) -> NDArray[np.intp]:
    generator = np.random.default_rng(int(content_hash("one each", str(seed), ids)[:16], 16))
    order = generator.permutation(len(ids))
    _, first = np.unique(ids[order], return_index=True)
    kept: NDArray[np.intp] = np.sort(order[first])
    return kept


def _require_two(n: int, folder: Path) -> None:
    if n < 2:
        raise BadInputError(f"{folder} has pictures of {n} stimulus; a distractor needs at least one other")


def _restricted(place: Path) -> Path | None:
    return place if holds_stimuli(place) and not (place / OWN_STIMULI).is_dir() else None
