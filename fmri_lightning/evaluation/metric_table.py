"""Every metric: its name in words, its direction, its chance level, and the space that it is computed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

How = Literal["pair", "two_way", "distance", "cosine"]


@dataclass(frozen=True)
class MetricInfo:
    """What a metric is, for tables.

    Attributes:
        label: Name in words.
        higher_is_better: Direction.
        chance: Expected value without any information; None where it depends on the pictures.
        network: Feature network or embedding space it is computed in, None for pixels.
        statistic: What is taken over the stimuli.
        stand_in_for: The published metric that this one takes the place of, None when it is itself.
        how: Computed picture by picture, or from features that are compared across pictures.
        feature: Name of those features.
        space: Embedding space (as in ``embeddings.spaces``) of the network: a score is circular where that space
            conditions the pictures or chooses among samples.
    """

    label: str
    higher_is_better: bool = True
    chance: float | None = None
    network: str | None = None
    statistic: Literal["mean", "median"] = "mean"
    stand_in_for: str | None = None
    how: How = "pair"
    feature: str | None = None
    space: str | None = None


JUDGE = "shift-tolerant AlexNet"
CLIP_SPACE = "vit-l-14"


def _two_way(
    label: str, network: str, feature: str, stand_in_for: str | None = None, space: str | None = None
) -> MetricInfo:
    return MetricInfo(
        label, chance=0.5, network=network, stand_in_for=stand_in_for, how="two_way", feature=feature, space=space
    )


PICTURE_METRICS: dict[str, MetricInfo] = {
    "pixcorr": MetricInfo("PixCorr"),
    "ssim": MetricInfo("SSIM"),
    "pixcorr_two_way": MetricInfo("two-way, pixels", chance=0.5, how="two_way", feature="pixels"),
    "alexnet2_two_way": _two_way("AlexNet(2)", "AlexNet", "alexnet2"),
    "alexnet5_two_way": _two_way("AlexNet(5)", "AlexNet", "alexnet5"),
    "inception_two_way": _two_way("Inception", "Inception v3", "inception"),
    "clip_two_way": _two_way("CLIP", "CLIP ViT-L/14", "clip", space=CLIP_SPACE),
    "efficientnet_b1_distance": MetricInfo(
        "EffNet-B", higher_is_better=False, network="EfficientNet-B1", how="distance", feature="efficientnet_b1"
    ),
    "swav_distance": MetricInfo(
        "SwAV", higher_is_better=False, network="SwAV ResNet-50", how="distance", feature="swav"
    ),
    "judge2_two_way": _two_way("two-way, judge layer 2", JUDGE, "judge2", "AlexNet(2)"),
    "judge5_two_way": _two_way("two-way, judge layer 5", JUDGE, "judge5", "AlexNet(5)"),
    "judge_distance": MetricInfo("judge distance", higher_is_better=False, network=JUDGE, stand_in_for="LPIPS"),
    "lpips": MetricInfo("LPIPS", higher_is_better=False, network="AlexNet with LPIPS heads"),
    "clip_cosine": MetricInfo("CLIP score", network="CLIP ViT-L/14", how="cosine", feature="clip", space=CLIP_SPACE),
    "mse": MetricInfo("MSE", higher_is_better=False),
    "psnr": MetricInfo("PSNR (dB)"),
}
"""Scores of pictures."""

WAYS = {"picture_from_brain": "picture from brain", "brain_from_picture": "brain from picture"}
"""Directions of retrieval. MindEye's code prints the first as "brain retrieval", the second as "image retrieval"."""
VARIANTS = {"": "", "_centred": ", centred", "_csls": ", CSLS"}


def _retrieval() -> dict[str, MetricInfo]:
    metrics = {}
    for way, words in WAYS.items():
        for variant, said in VARIANTS.items():
            for k in (1, 5, 10):
                metrics[f"{way}{variant}_top{k}"] = MetricInfo(f"{words}{said}, top-{k}", network="source")
            metrics[f"{way}{variant}_median_rank"] = MetricInfo(
                f"{words}{said}, median rank", higher_is_better=False, network="source", statistic="median"
            )
            metrics[f"{way}{variant}_mrr"] = MetricInfo(f"{words}{said}, mean reciprocal rank", network="source")
            metrics[f"{way}{variant}_top1_of_300"] = MetricInfo(
                f"{words}{said}, top-1 of 300 x 30", network="source", chance=1 / 300
            )
    return metrics


EMBEDDING_METRICS: dict[str, MetricInfo] = {
    "source_cosine": MetricInfo("embedding cosine", network="source"),
    "source_centred_cosine": MetricInfo("centred embedding cosine", chance=0.0, network="source"),
    **_retrieval(),
}
"""Scores of predicted embeddings."""

METRICS = PICTURE_METRICS | EMBEDDING_METRICS
"""Every metric this version computes."""


def is_share(metric: str) -> bool:
    """Tell whether a metric is a share of correct answers, shown in per cent."""
    return "two_way" in metric or "_top" in metric


def is_further(metric: str) -> bool:
    """Tell whether a metric is a variant that is kept in the files and left out of short tables."""
    return metric in EMBEDDING_METRICS and any(
        part in metric for part in ("_centred_top", "_csls", "_top10", "_mrr", "_centred_median")
    )
