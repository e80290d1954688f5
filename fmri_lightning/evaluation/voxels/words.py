"""What each map is, in words that go with it wherever it goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """A map.

    Attributes:
        label: Short, for axes.
        unit: Its unit and range.
        description: What it is, and what it is not.
    """

    label: str
    unit: str
    description: str


QUANTITIES: dict[str, Quantity] = {
    "pattern": Quantity(
        "explained by what was decoded",
        "share of the voxel's variance, about 0 to 1 (adjusted, so that noise is near 0 and may fall below it)",
        "Strength of the decoder's pattern (Haufe et al. 2014): how much of a voxel's variance over training trials "
        "goes with what the encoder decoded from all of its voxels together. Not the encoder's weights, and no test "
        "of whether the encoder needs the voxel.",
    ),
    "encoding_r": Quantity(
        "encoding accuracy, r",
        "Pearson correlation, -1 to 1",
        "Correlation over test stimuli of the measured mean response with the one that a ridge regression expects "
        "from the true embedding, fitted on training stimuli.",
    ),
    "encoding_of_ceiling": Quantity(
        "encoding accuracy, r² over noise ceiling",
        "share of the explainable variance, 0 and up; above 1 by chance",
        "Squared encoding accuracy over the noise ceiling of the test means; only where that ceiling is high enough.",
    ),
    "encoding_p": Quantity(
        "p of the encoding accuracy",
        "probability, 0 to 1",
        "One-sided p of the encoding accuracy by permuting the test stimuli, not corrected.",
    ),
    "encoding_q": Quantity(
        "q of the encoding accuracy",
        "false discovery rate, 0 to 1",
        "The same p corrected for the number of voxels by Benjamini and Hochberg.",
    ),
    "noise_ceiling": Quantity(
        "noise ceiling",
        "share of variance, 0 to 1",
        "Share of the variance of the test means that is signal, from ncsnr of training trials and the number of "
        "repeats behind each test mean.",
    ),
    "noise_ceiling_published_saw_test_trials": Quantity(
        "noise ceiling from NSD's map",
        "share of variance, 0 to 1",
        "The same from NSD's published ncsnr, which was estimated from all trials: it saw test trials. For "
        "comparison only; nothing here is divided by it.",
    ),
}
