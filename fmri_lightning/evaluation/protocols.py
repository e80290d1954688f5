"""Named protocols: what is resized to what, which metrics are scored, and what stays uncomputed.

A protocol fixes everything that moves a number. The choices are data here, so that every table can
print them beside its numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fmri_lightning.errors import UsageError

EVAL_NETS_HINT = "pip install 'fmri-lightning[eval-nets]' (the networks are not part of this version)"


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
    """

    label: str
    higher_is_better: bool = True
    chance: float | None = None
    network: str | None = None
    statistic: Literal["mean", "median"] = "mean"
    stand_in_for: str | None = None


JUDGE = "shift-tolerant AlexNet"

METRICS: dict[str, MetricInfo] = {
    "pixcorr": MetricInfo("PixCorr"),
    "ssim": MetricInfo("SSIM"),
    "pixcorr_two_way": MetricInfo("two-way, pixels", chance=0.5),
    "alexnet2_two_way": MetricInfo("two-way, judge layer 2", chance=0.5, network=JUDGE, stand_in_for="AlexNet(2)"),
    "alexnet5_two_way": MetricInfo("two-way, judge layer 5", chance=0.5, network=JUDGE, stand_in_for="AlexNet(5)"),
    "judge_distance": MetricInfo("judge distance", higher_is_better=False, network=JUDGE, stand_in_for="LPIPS"),
    "source_cosine": MetricInfo("embedding cosine", network="source"),
    "source_centred_cosine": MetricInfo("centred embedding cosine", chance=0.0, network="source"),
    "image_given_brain_top1": MetricInfo("picture from brain, top-1", network="source"),
    "image_given_brain_top5": MetricInfo("picture from brain, top-5", network="source"),
    "image_given_brain_median_rank": MetricInfo(
        "picture from brain, median rank", higher_is_better=False, network="source", statistic="median"
    ),
    "brain_given_image_top1": MetricInfo("brain from picture, top-1", network="source"),
    "brain_given_image_top5": MetricInfo("brain from picture, top-5", network="source"),
    "brain_given_image_median_rank": MetricInfo(
        "brain from picture, median rank", higher_is_better=False, network="source", statistic="median"
    ),
    "image_given_brain_top1_of_300": MetricInfo("picture from brain, top-1 of 300 x 30", network="source"),
    "brain_given_image_top1_of_300": MetricInfo("brain from picture, top-1 of 300 x 30", network="source"),
}
"""Every metric this version computes."""


@dataclass(frozen=True)
class Protocol:
    """One way of scoring.

    Attributes:
        name: As given to ``--protocol``.
        what: One line for the reader.
        sizes_px: Sides that a picture is resized to, one after the other; pixel metrics read the last.
        antialias: Whether resizing filters before it shrinks.
        picture_metrics: Metrics of pictures, in the order of the table.
        judge_size_px: Side at which the judge network sees pictures, None where it takes no part.
        headline: The identification metric that the ladder is read from.
        not_computed: Metrics of the protocol that this version lacks, and why.
        test_set: Number of test stimuli that the protocol's name stands for; None for any.
        anchor: Whose distractors identification draws.
    """

    name: str
    what: str
    sizes_px: tuple[int, ...]
    antialias: bool
    picture_metrics: tuple[str, ...]
    headline: str
    judge_size_px: int | None = None
    not_computed: dict[str, str] = field(default_factory=dict)
    test_set: tuple[int, ...] | None = None
    anchor: str = "reconstruction (distractors are the other ground truths), as coded by MindEye"

    def settings(self) -> dict[str, object]:
        """Everything that moves a number, in plain types for summary and manifest."""
        return {
            "name": self.name,
            "sizes_px": list(self.sizes_px),
            "antialias": self.antialias,
            "interpolation": "bilinear",
            "judge_size_px": self.judge_size_px,
            "anchor": self.anchor,
            "ssim": "grey .2125/.7154/.0721, Gaussian sigma 1.5 px, 11 taps, population covariance, 5 px cropped",
        }

    def title(self, n_stimuli: int, n_items: int, n_test_set: int | None, simulated: bool) -> str:
        """The protocol's name, qualified where the name alone would promise too much.

        Args:
            n_stimuli: Different stimuli scored.
            n_items: Pictures scored; more than stimuli where single trials were drawn.
            n_test_set: Items of the run's full test set, None where unknown.
            simulated: Whether the brain is simulated.

        Returns:
            For instance ``mindeye, partial 16/1000, metrics missing, not comparable``.
        """
        if self.test_set is None:
            whole = n_test_set is None or n_items >= n_test_set
            return self.name if whole else f"{self.name}, {n_items} of {n_test_set}"
        parts = [self.name]
        if n_stimuli not in self.test_set:
            parts.append(f"partial {n_stimuli}/{max(self.test_set)}")
        if simulated:
            parts.append("simulated brain")
        if self.not_computed:
            parts.append("metrics missing")
        return ", ".join([*parts, "not comparable"]) if len(parts) > 1 else self.name


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="demo",
            what="64 px pictures of the mini models; the judge network stands in for AlexNet",
            sizes_px=(64,),
            antialias=True,
            picture_metrics=(
                "pixcorr",
                "ssim",
                "pixcorr_two_way",
                "alexnet2_two_way",
                "alexnet5_two_way",
                "judge_distance",
            ),
            headline="alexnet2_two_way",
            judge_size_px=128,
        ),
        Protocol(
            name="mindeye",
            what="pixel metrics of MindEye 1 and 2 (Scotti et al., 2023, 2024): 256 px, then 425 px",
            sizes_px=(256, 425),
            # Their torchvision (0.15 and 0.16) resized tensors without antialiasing.
            antialias=False,
            picture_metrics=("pixcorr", "ssim"),
            headline="pixcorr",
            not_computed=dict.fromkeys(
                ("alexnet2", "alexnet5", "inception", "clip", "efficientnet_b1", "swav"), EVAL_NETS_HINT
            ),
            test_set=(982, 1000),
        ),
    )
}


def find_protocol(name: str) -> Protocol:
    """Look a protocol up.

    Args:
        name: As given to ``--protocol``.

    Returns:
        The protocol.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"unknown protocol {name!r}; choose {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
