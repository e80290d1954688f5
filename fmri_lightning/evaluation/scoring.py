"""Scores of pictures: one number per item and metric, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.pictures import PictureSet
from fmri_lightning.evaluation.protocols import Protocol
from fmri_lightning.metrics.identification import correlation_matrix, two_way_identification
from fmri_lightning.metrics.pixcorr import pixel_correlation
from fmri_lightning.metrics.ssim import structural_similarity
from fmri_lightning.progress import track

if TYPE_CHECKING:
    from fmri_lightning.evaluation.judge import Judge

CHUNK = 16
_TWO_WAY = {"pixcorr_two_way": "pixels", "alexnet2_two_way": "alexnet2", "alexnet5_two_way": "alexnet5"}
Features = dict[str, NDArray[np.floating]]
JUDGED = ("alexnet2_two_way", "alexnet5_two_way", "judge_distance")


@dataclass(frozen=True)
class PictureScores:
    """Scores of one set of pictures.

    Attributes:
        values: Metric to scores (n,) float64, in the order of the items.
        chance: Metric to its value over all wrong pairs, for the metrics that have one.
    """

    values: dict[str, NDArray[np.float64]]
    chance: dict[str, float]


class PictureScorer:
    """Scores sets of pictures by one protocol.

    Args:
        protocol: What to score.
        judge: The judge network, None where it is not installed or not part of the protocol.
    """

    def __init__(self, protocol: Protocol, judge: Judge | None) -> None:
        self.protocol = protocol
        self.judge = judge
        self.metrics = tuple(m for m in protocol.picture_metrics if judge is not None or m not in JUDGED)

    def score(
        self, generated: PictureSet, truth: PictureSet, ids: NDArray[np.int32], description: str
    ) -> PictureScores:
        """Score reconstructions against their ground truths.

        Args:
            generated: Reconstructions (n).
            truth: Ground truth of each (n).
            ids: Stimulus of each (n,); items of equal id are never distractors of each other.
            description: What is scored, for the progress line.

        Returns:
            The scores.

        Raises:
            BadInputError: Counts differ, or there are fewer than two stimuli to tell apart.
        """
        if not len(generated) == len(truth) == len(ids):
            raise BadInputError(
                f"{len(generated)} reconstructions, {len(truth)} ground truths and {len(ids)} ids do not pair up"
            )
        if len(np.unique(ids)) < 2:
            raise BadInputError(f"{description}: identification needs two different stimuli, here is one")
        values, ours, theirs = self._one_pass(generated, truth, description)
        chance = {}
        for metric in self.metrics:
            if metric in _TWO_WAY:
                similarity = correlation_matrix(theirs[_TWO_WAY[metric]], ours[_TWO_WAY[metric]])
                values[metric] = two_way_identification(similarity, ids)
                if metric == "pixcorr_two_way":
                    chance["pixcorr"] = float(similarity[ids[:, None] != ids[None, :]].mean())
        return PictureScores({metric: values[metric] for metric in self.metrics}, chance)

    def _one_pass(
        self, generated: PictureSet, truth: PictureSet, description: str
    ) -> tuple[dict[str, NDArray[np.float64]], Features, Features]:
        """Scores of pairs, and the features of both sides that are compared across pairs."""
        pairwise: dict[str, list[NDArray[np.float64]]] = {}
        ours: dict[str, list[NDArray[np.floating]]] = {}
        theirs: dict[str, list[NDArray[np.floating]]] = {}
        n = len(generated)
        for start in track(range(0, n, CHUNK), description):
            stop = min(start + CHUNK, n)
            a = resize(generated.read(start, stop), self.protocol)
            b = resize(truth.read(start, stop), self.protocol)
            pairwise.setdefault("pixcorr", []).append(pixel_correlation(b, a))
            pairwise.setdefault("ssim", []).append(structural_similarity(b, a))
            blocks: list[tuple[Features, Features]] = []
            if "pixcorr_two_way" in self.metrics:
                blocks.append(({"pixels": a.reshape(len(a), -1)}, {"pixels": b.reshape(len(b), -1)}))
            if self.judge is not None and self.protocol.judge_size_px is not None:
                seen = self.judge.look(a, b, self.protocol.judge_size_px)
                pairwise.setdefault("judge_distance", []).append(seen.distance)
                blocks.append((seen.first, seen.second))
            for of_a, of_b in blocks:
                for name in of_a:
                    ours.setdefault(name, []).append(of_a[name])
                    theirs.setdefault(name, []).append(of_b[name])
        return (
            {name: np.concatenate(parts) for name, parts in pairwise.items()},
            {name: np.concatenate(parts) for name, parts in ours.items()},
            {name: np.concatenate(parts) for name, parts in theirs.items()},
        )


def resize(pictures: NDArray[np.uint8], protocol: Protocol) -> NDArray[np.float32]:
    """Bring pictures to the protocol's size, step by step as it says.

    Args:
        pictures: uint8 (n, height, width, 3).
        protocol: Its sizes, bilinear, with or without antialiasing.

    Returns:
        float32 (n, size, size, 3) in 0..1; pictures of that size already are not touched.
    """
    import torch
    from torch.nn import functional

    values = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255.0
    for size in protocol.sizes_px:
        if values.shape[-2:] != (size, size):
            values = functional.interpolate(
                values, (size, size), mode="bilinear", antialias=protocol.antialias, align_corners=False
            )
    return np.ascontiguousarray(values.permute(0, 2, 3, 1).numpy())
