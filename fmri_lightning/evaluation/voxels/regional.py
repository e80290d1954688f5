"""Numbers of a map by region: how they spread over voxels, and how sure their mean is over stimuli."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.metrics.bootstrap import bootstrap_interval


def by_region(
    values: NDArray[np.float64],
    contributions: dict[str, NDArray[np.float64]],
    ids: NDArray[np.integer],
    members: dict[str, NDArray[np.bool_]],
    n_resamples: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Summarise a map in every region.

    Args:
        values: Of each voxel (v,); NaN where there is none.
        contributions: Region to what each row adds to the mean over its voxels (n,).
        ids: Stimulus of each row (n,); rows of one stimulus are resampled together.
        members: Region to its voxels (v,) bool.
        n_resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        Region to plain types: n_voxels that have a value; value, their mean, with ci_low and ci_high over stimuli,
        the voxels fixed (neighbouring voxels are no independent draws); median, q25 and q75 over the voxels.
    """
    found = {}
    for name, mask in members.items():
        inside = values[mask & np.isfinite(values)]
        if not inside.size or name not in contributions:
            found[name] = {"n_voxels": 0, "value": None, "ci_low": None, "ci_high": None} | dict.fromkeys(
                ("median", "q25", "q75")
            )
            continue
        mean = bootstrap_interval(contributions[name], ids, n_resamples=n_resamples, seed=seed)
        q25, median, q75 = (float(q) for q in np.quantile(inside, [0.25, 0.5, 0.75]))
        found[name] = {
            "n_voxels": int(inside.size),
            "value": mean.value,
            "ci_low": mean.low,
            "ci_high": mean.high,
            "median": median,
            "q25": q25,
            "q75": q75,
        }
    return found


def mean_contributions(
    contributions: NDArray[np.float64], members: dict[str, NDArray[np.bool_]]
) -> dict[str, NDArray[np.float64]]:
    """Average the contributions (n, v) over the voxels of every region that have one; (n,) each."""
    defined = np.isfinite(contributions).all(axis=0)
    return {
        name: contributions[:, mask & defined].mean(axis=1) for name, mask in members.items() if (mask & defined).any()
    }
