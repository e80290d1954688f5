"""Pictures outside NSD's catalogue, and how a simulated subject responds to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmri_lightning.simulate.experiment import Experiment
from fmri_lightning.simulate.pictures import Meaning, Pictures, PictureSource
from fmri_lightning.simulate.pyramid import channel_maps
from fmri_lightning.simulate.subject import Subject, signals_of_more

_BLOCK = 256


@dataclass(frozen=True)
class Shown:
    """Square pictures and what they mean.

    Attributes:
        pictures: uint8 (n, side, side, 3).
        attributes: float32 (n, n_attributes), zeros where a picture shows none of the things that scenes are made of.
        domains: float32 (n, 4).
    """

    pictures: Pictures
    attributes: npt.NDArray[np.float32]
    domains: npt.NDArray[np.float32]

    def __add__(self, other: Shown) -> Shown:
        return Shown(
            np.concatenate([self.pictures, other.pictures]),
            np.concatenate([self.attributes, other.attributes]),
            np.concatenate([self.domains, other.domains]),
        )

    def __len__(self) -> int:
        return len(self.pictures)


def of_catalogue(source: PictureSource, numbers: npt.NDArray[np.int64]) -> Shown:
    """Read pictures of the catalogue by their 0-based numbers (n,)."""
    blocks = []
    for start in range(0, len(numbers), _BLOCK):
        pictures, meaning = source.read(numbers[start : start + _BLOCK])
        blocks.append(Shown(pictures, meaning.attributes, meaning.domains))
    return sum(blocks[1:], blocks[0])


def without_meaning(pictures: Pictures, like: Shown) -> Shown:
    """Take pictures (n, side, side, 3) as patterns: early areas see them, higher areas find nothing in them."""
    n = len(pictures)
    return Shown(
        pictures,
        np.zeros((n, like.attributes.shape[1]), dtype=np.float32),
        np.zeros((n, like.domains.shape[1]), dtype=np.float32),
    )


def responses(
    subject: Subject, experiment: Experiment, source: PictureSource, shown: Shown, seed: int
) -> npt.NDArray[np.float32]:
    """Return noiseless responses of the subject's voxels to pictures outside its list, float32 (n, V)."""
    rows = experiment.subjectim[subject.number - 1] - 1
    both = of_catalogue(source, rows) + shown
    maps = np.concatenate([channel_maps(both.pictures[at : at + _BLOCK]) for at in range(0, len(both), _BLOCK)])
    return signals_of_more(subject, maps, Meaning(both.attributes, both.domains), len(rows), seed)
