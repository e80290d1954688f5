"""Pictures of side experiments beside the catalogue of a root: found by their ids, without joining its list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmri_lightning.errors import UsageError
from fmri_lightning.index.imagery_stimuli import FOLDER as IMAGERY_FOLDER
from fmri_lightning.index.imagery_stimuli import ImageryStimuli
from fmri_lightning.index.prediction_only import SIDE_EXPERIMENTS, experiment_of_id
from fmri_lightning.index.stimulus_source import StimulusSource
from fmri_lightning.index.synthetic_stimuli import COMMON, SyntheticStimuli

_PLACES = {"nsd_imagery": IMAGERY_FOLDER, "nsd_synthetic": COMMON}


def open_experiment(root: Path, experiment: str) -> ImageryStimuli | SyntheticStimuli:
    """Open the pictures of one experiment.

    Args:
        root: Folder of the NSD tree.
        experiment: "nsd_imagery" or "nsd_synthetic".

    Returns:
        The pictures that are there.

    Raises:
        UsageError: If there is no such experiment.
        BadInputError: If its files are missing or damaged.
    """
    if experiment not in SIDE_EXPERIMENTS:
        raise UsageError(f"no pictures are known of {experiment!r}; choose {', '.join(SIDE_EXPERIMENTS)}")
    return ImageryStimuli(root) if experiment == "nsd_imagery" else SyntheticStimuli(root)


def holds_experiments(root: Path) -> bool:
    """Say whether a root holds pictures of a side experiment; whether they are readable is not asked."""
    return any((root / place).exists() for place in _PLACES.values())


class WithExperiments:
    """A catalogue that also answers for the ids of side experiments.

    Args:
        root: Folder of the tree.
        catalogue: Its pictures proper; caches, hashes and splits know these alone.
    """

    def __init__(self, root: Path, catalogue: StimulusSource) -> None:
        self.root, self.catalogue = root, catalogue
        self._opened: dict[str, StimulusSource] = {}

    @property
    def ids(self) -> NDArray[np.int32]:
        """Ids of the catalogue, ascending, (n,)."""
        return self.catalogue.ids

    def present(self, ids: ArrayLike) -> NDArray[np.int32]:
        """Return which of some ids can be read here, ascending."""
        wanted = np.unique(np.asarray(ids, dtype=np.int64))
        names = {name for i in wanted.tolist() if (name := experiment_of_id(i)) is not None}
        there = [self._source(name).ids for name in sorted(names) if (self.root / _PLACES[name]).exists()]
        return np.intersect1d(wanted, np.concatenate([self.ids, *there])).astype(np.int32)

    def read(self, ids: ArrayLike) -> NDArray[np.uint8]:
        """Read pictures in the order asked for.

        Args:
            ids: Of the catalogue, or of experiments, (n,). Where both are asked for at once, or several experiments,
                all are brought to the size of the first.

        Returns:
            uint8 (n, height, width, 3), RGB.

        Raises:
            BadInputError: If an id is unknown or a file is damaged.
        """
        wanted = np.asarray(ids, dtype=np.int64)
        # An id of the catalogue is the catalogue's, however large its numbers are.
        outside = wanted[~np.isin(wanted, self.ids)]
        owner = {i: experiment_of_id(i) for i in np.unique(outside).tolist()}
        owners = np.array([owner.get(i) or "" for i in wanted.tolist()])
        names = list(dict.fromkeys(owners.tolist()))
        if len(names) <= 1:
            return self._source(names[0] if names else "").read(wanted)
        parts = {name: self._source(name).read(wanted[owners == name]) for name in names}
        height, width = parts[names[0]].shape[1:3]
        pictures = np.empty((len(wanted), height, width, 3), np.uint8)
        for name, part in parts.items():
            pictures[owners == name] = _resized(part, height, width)
        return pictures

    def _source(self, name: str) -> StimulusSource:
        if not name:
            return self.catalogue
        if name not in self._opened:
            self._opened[name] = open_experiment(self.root, name)
        return self._opened[name]


def _resized(pictures: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    from PIL import Image

    if pictures.shape[1:3] == (height, width):
        return pictures
    how = Image.Resampling.LANCZOS
    return np.stack([np.asarray(Image.fromarray(one).resize((width, height), how)) for one in pictures])
