"""Numbers that decide how a simulated brain behaves; frozen by a hash in the tests.

They were set once, from published summary figures of the Natural Scenes Dataset (Allen et al. 2022,
doi:10.1038/s41593-021-00962-x), and are not to be moved to meet a decoding score.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

BETAS_PER_PSC = 300
"""NSD stores betas as int16 of percent signal change (PSC) times 300."""

FULL_SUBJECTS = (1, 5, 7)
"""Subjects that ran every planned session; all others stop early, as four of NSD's eight did."""


@dataclass(frozen=True)
class Recipe:
    """Constants of the simulation.

    Shares are fractions of the noise variance of a voxel.

    Attributes:
        ncsnr_median: median of sigma_signal / sigma_noise inside nsdgeneral (NSD subj01: .36).
        ncsnr_sigma: width of its log-normal law.
        ncsnr_cap: largest value.
        ncsnr_median_cortex: median in the cortex outside nsdgeneral.
        ncsnr_early_lead: how far early voxels lead in rank, in standard deviations of the law.
        total_sd_psc: median within-session standard deviation of a visual voxel, PSC.
        total_sd_spread: log-normal spread of the same over voxels.
        outside_sd_psc: the same outside nsdgeneral.
        session_mean_psc: mean over sessions of a voxel's session mean, PSC.
        session_mean_sd_psc: its standard deviation over sessions and voxels, PSC.
        session_gain_sd: standard deviation of the gain of a voxel in a session round 1.
        share_smooth: share of the noise variance common to neighbouring voxels, new in each trial.
        share_drift: share of slow waves within a session.
        low_rank_per_signal: variance of the noise along the patterns that signals use, in units of the signal's
            variance; this part cannot be removed by averaging over voxels.
        share_low_rank_cap: its largest share. The independent part takes the rest.
        smooth_sigma_voxels: Gaussian width of the smooth noise.
        low_rank_modes: number of patterns.
        drift_waves: number of cosines in a session.
        clipped_sd_psc: standard deviation of the voxel that runs into the limits of int16, PSC.
        spare_pictures: pictures of the catalogue that no design shows, as a fraction of the rest.
        same_session: share of the repeats that follow soon after their first showing.
        missing_response: share of trials without an answer of the subject.
        early_fraction: share of nsdgeneral voxels in V1 to hV4 (NSD subj01: .30).
        hidden_units: width of the random network behind higher voxels.
        threshold: range of its rectifiers' thresholds, standard deviations.
        output_gain: steepness of the tanh at its output.
    """

    ncsnr_median: float = 0.36
    ncsnr_sigma: float = 0.55
    ncsnr_cap: float = 1.3
    ncsnr_median_cortex: float = 0.10
    ncsnr_early_lead: float = 0.8
    total_sd_psc: float = 0.9
    total_sd_spread: float = 0.15
    outside_sd_psc: float = 0.4
    session_mean_psc: float = 1.0
    session_mean_sd_psc: float = 0.15
    session_gain_sd: float = 0.07
    share_smooth: float = 0.20
    share_drift: float = 0.10
    low_rank_per_signal: float = 1.0
    share_low_rank_cap: float = 0.6
    smooth_sigma_voxels: float = 1.0
    low_rank_modes: int = 64
    drift_waves: int = 4
    clipped_sd_psc: float = 60.0
    spare_pictures: float = 0.02
    same_session: float = 0.35
    missing_response: float = 0.015
    early_fraction: float = 0.35
    hidden_units: int = 320
    threshold: tuple[float, float] = (0.3, 1.3)
    output_gain: float = 1.5

    def to_json(self) -> dict[str, Any]:
        """Return all constants as the types that JSON has."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


RECIPE = Recipe()
