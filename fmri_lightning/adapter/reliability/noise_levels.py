"""From an expected error to the noise level of unCLIP that stands for it.

unCLIP was trained on ``c = sqrt(abar) z + sqrt(1 - abar) noise``, z the true embedding in the generator's normalised
units, where its spread is s: 1 where the generator standardises, the raw spread where it does not. It was told the
level. What a level means for a prediction p of z depends on what reaches the U-Net and on what p is. Errors e are in
units of s.

*label_only*: p itself is handed over. Encoders are fitted by squared error, so p is close to the mean of z given the
brain: the error z - p has nothing to do with p, and is what is not known of z. Of what the U-Net was trained on, the
part ``e^2 = (1 - abar) / (s^2 abar + 1 - abar)`` is not known: for s = 1 this is ``e = sqrt(1 - abar)``, from 0 at a
perfect prediction to 1 at the mean embedding, which stands for the last level.

*label_only, calibrated*: the calibration gives p the spread of z, so that p is to z as c is, with the correlation
``r = sqrt(1 - e^2)`` of above; the squared error of such a p is ``2 (1 - r)``.

*add*: ``sqrt(abar) p + sqrt(1 - abar) noise`` is handed over. The error in p is scaled by ``sqrt(abar)`` as z is, so
the added noise is as large as the error at ``e = sqrt(1 - abar) / (s sqrt(abar))``. Error and noise are then both
there, and the U-Net is told of the noise alone: a scale above 1 makes it told of more.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError

N_LEVELS = 1000
NoiseMode = Literal["add", "label_only"]


def squared_cosine_abar() -> NDArray[np.float64]:
    """Share of the embedding's variance that is left at each level, (1000,), falling.

    The schedule of Nichol & Dhariwal (2021), which diffusers calls squaredcos_cap_v2.
    """
    steps = np.arange(N_LEVELS + 1) / N_LEVELS
    share = np.square(np.cos((steps + 0.008) / 1.008 * np.pi / 2))
    betas = np.minimum(1 - share[1:] / share[:-1], 0.999)
    return np.asarray(np.cumprod(1 - betas))


def errors_of_levels(noise_mode: NoiseMode, calibrated: bool, spread: float = 1.0) -> NDArray[np.float64]:
    """RMS error that each level stands for, (1000,), rising, in units of the embedding's spread.

    Args:
        noise_mode: What reaches the U-Net.
        calibrated: Whether predictions were given the spread of real embeddings.
        spread: Of embeddings in the units in which the generator adds noise.
    """
    abar = squared_cosine_abar()
    if noise_mode == "add":
        return np.asarray(np.sqrt((1 - abar) / abar) / spread)
    unknown = (1 - abar) / (spread**2 * abar + 1 - abar)
    return np.asarray(np.sqrt(2 * (1 - np.sqrt(1 - unknown))) if calibrated else np.sqrt(unknown))


def match_levels(
    errors: NDArray[np.floating], noise_mode: NoiseMode, calibrated: bool, max_level: int, spread: float = 1.0
) -> NDArray[np.int32]:
    """Find the level that stands for each error.

    Args:
        errors: Expected RMS errors, standardised, (n,), at least 0.
        noise_mode: What reaches the U-Net.
        calibrated: Whether predictions were given the spread of real embeddings.
        max_level: Largest level that is given, 0..999: what the generator was trained at.
        spread: Of embeddings in the units in which the generator adds noise.

    Returns:
        The nearest level, int32 (n,), 0..max_level.

    Raises:
        BadInputError: An error is NaN.
    """
    if np.isnan(errors).any():
        raise BadInputError("reliability: an expected error is NaN; fit it again: fmri-lightning reliability")
    of_levels = errors_of_levels(noise_mode, calibrated, spread)
    middles = (of_levels[1:] + of_levels[:-1]) / 2
    return np.minimum(np.searchsorted(middles, errors), max_level).astype(np.int32)
