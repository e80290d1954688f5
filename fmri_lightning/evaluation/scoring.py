"""Scores of pictures: one number per item and metric, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.metric_table import METRICS
from fmri_lightning.evaluation.networks.base import Features, MissingNetworkError, PerceptualNetwork
from fmri_lightning.evaluation.networks.uses import NetworkUse
from fmri_lightning.evaluation.pictures import PictureSet
from fmri_lightning.evaluation.protocols import Protocol
from fmri_lightning.evaluation.resizing import Resize, resize
from fmri_lightning.metrics.bootstrap import two_way_influence
from fmri_lightning.metrics.cosine import cosine
from fmri_lightning.metrics.distances import correlation_distance, mean_squared_error, peak_signal_to_noise
from fmri_lightning.metrics.identification import correlation_matrix, two_way_identification
from fmri_lightning.metrics.pixcorr import pixel_correlation
from fmri_lightning.metrics.ssim import ssim_columns, structural_similarity
from fmri_lightning.progress import track

CHUNK = 16
PIXELS = "pixels"
Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class PictureScores:
    """Scores of one set of pictures.

    Attributes:
        values: Metric to scores (n,) float64, in the order of the items.
        chance: Metric to its value over all wrong pairs, for the metrics that have one.
        influence: Metric to what each item adds to the mean, as anchor and as distractor of the others (n,); only
            for metrics that compare items with one another. Its mean is the score, its spread the right interval's.
    """

    values: Scores
    chance: dict[str, float] = field(default_factory=dict)
    influence: Scores = field(default_factory=dict)


class PictureScorer:
    """Scores sets of pictures by one protocol.

    Args:
        protocol: What to score.
        networks: The networks of the protocol that could be opened, by the name in their use.
    """

    def __init__(self, protocol: Protocol, networks: dict[str, PerceptualNetwork]) -> None:
        self.protocol = protocol
        self.networks = networks
        absent = metrics_of(protocol, [use for use in protocol.networks if use.network not in networks])
        self.metrics = tuple(metric for metric in protocol.metrics if metric not in absent)

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
        scores = PictureScores(values)
        for metric in self.metrics:
            feature = METRICS[metric].feature
            if feature is not None:
                self._from_features(scores, metric, ours[feature], theirs[feature], ids)
        return PictureScores({metric: values[metric] for metric in self.metrics}, scores.chance, scores.influence)

    def _from_features(
        self,
        scores: PictureScores,
        metric: str,
        ours: NDArray[np.floating],
        theirs: NDArray[np.floating],
        ids: NDArray[np.int32],
    ) -> None:
        how = METRICS[metric].how
        if how == "distance":
            scores.values[metric] = correlation_distance(theirs, ours)
        elif how == "cosine":
            scores.values[metric] = cosine(theirs, ours)
        else:
            similarity = correlation_matrix(theirs, ours)
            if metric == "pixcorr_two_way":
                scores.chance["pixcorr"] = float(np.nanmean(similarity[ids[:, None] != ids[None, :]]))
            if self.protocol.anchor == "original":
                similarity = similarity.T
            scores.values[metric] = two_way_identification(similarity, ids)
            scores.influence[metric] = two_way_influence(similarity, ids)

    def _one_pass(
        self, generated: PictureSet, truth: PictureSet, description: str
    ) -> tuple[Scores, Features, Features]:
        """Scores of pairs, and the features of both sides that are compared across pairs."""
        pairwise: dict[str, NDArray[Any]] = {}
        ours: dict[str, NDArray[Any]] = {}
        theirs: dict[str, NDArray[Any]] = {}
        n = len(generated)
        for start in track(range(0, n, CHUNK), description):
            stop = min(start + CHUNK, n)
            first, second = generated.read(start, stop), truth.read(start, stop)
            pairs, of_first, of_second = self._look_at(first, second)
            _keep(pairwise, pairs, start, n)
            _keep(ours, of_first, start, n)
            _keep(theirs, of_second, start, n)
        return pairwise, ours, theirs

    def _look_at(
        self, first: NDArray[np.uint8], second: NDArray[np.uint8]
    ) -> tuple[Scores, dict[str, NDArray[np.floating]], dict[str, NDArray[np.floating]]]:
        """Scores and features of a few pairs."""
        protocol = self.protocol
        a, b = resize(first, protocol.pixel_steps), resize(second, protocol.pixel_steps)
        pairs = pixel_scores(a, b, protocol.ssim)
        ours: dict[str, NDArray[np.floating]] = {}
        theirs: dict[str, NDArray[np.floating]] = {}
        if "pixcorr_two_way" in self.metrics:
            ours[PIXELS], theirs[PIXELS] = a.reshape(len(a), -1), b.reshape(len(b), -1)
        if not self.networks:
            return pairs, ours, theirs
        before: list[NDArray[np.generic]] = [first, second]
        if protocol.network_steps:
            before = [resize(pictures, protocol.network_steps) for pictures in before]
        for use in protocol.networks:
            if use.network in self.networks:
                last = (Resize(use.size_px, protocol.network_filter),)
                seen = self.networks[use.network].look(*(resize(pictures, last) for pictures in before))
                ours |= seen.first
                theirs |= seen.second
                pairs |= seen.distances
        return pairs, ours, theirs


def _keep(room: dict[str, NDArray[Any]], parts: Mapping[str, NDArray[Any]], start: int, n: int) -> None:
    """Put the rows of a chunk in their place; room for all n is made once, so that features are never held twice."""
    for name, part in parts.items():
        if name not in room:
            room[name] = np.empty((n, *part.shape[1:]), part.dtype)
        room[name][start : start + len(part)] = part


def pixel_scores(a: NDArray[np.float32], b: NDArray[np.float32], ssim: str) -> Scores:
    """Scores of picture pairs that need no network.

    Args:
        a: Reconstructions (n, height, width, 3) in 0..1.
        b: Ground truths, same shape.
        ssim: Which SSIM, ``image`` or ``columns``.

    Returns:
        pixcorr, ssim, mse and psnr, float64 (n,) each.
    """
    similarity = structural_similarity if ssim == "image" else ssim_columns
    return {
        "pixcorr": pixel_correlation(b, a),
        "ssim": similarity(b, a),
        "mse": mean_squared_error(b, a),
        "psnr": peak_signal_to_noise(b, a),
    }


def metrics_of(protocol: Protocol, uses: list[NetworkUse]) -> tuple[str, ...]:
    """Metrics of a protocol that some of its networks are needed for.

    Args:
        protocol: The protocol.
        uses: Some of its networks.

    Returns:
        Names, in the protocol's order.
    """
    made = {name for use in uses for name, _ in use.nodes} | {name for use in uses for name in use.distances}
    return tuple(metric for metric in protocol.metrics if metric in made or METRICS[metric].feature in made)


def open_networks(protocol: Protocol) -> tuple[dict[str, PerceptualNetwork], dict[str, str]]:
    """Open the networks of a protocol that can be had on this machine.

    Args:
        protocol: The protocol.

    Returns:
        Networks by name; and for every metric that lacks its network, what to do.
    """
    from fmri_lightning.evaluation.networks.opening import open_network

    networks: dict[str, PerceptualNetwork] = {}
    skipped: dict[str, str] = {}
    for use in protocol.networks:
        try:
            networks[use.network] = open_network(use)
        except MissingNetworkError as error:
            skipped |= dict.fromkeys(metrics_of(protocol, [use]), f"not computed: {error}")
    return networks, skipped
