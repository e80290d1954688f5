"""Checks of betas on fsaverage that need the betas themselves: each has a name of its own in ``doctor --files``."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.nsd_surfaces import NSDSurfaces
from fmri_lightning.betas.source import BetaSource
from fmri_lightning.betas.volume_checks import SAMPLED_VOXELS
from fmri_lightning.errors import BadInputError
from fmri_lightning.records import TrialTable

Source = TypeVar("Source", bound=BetaSource)

MAP_AGREES = 0.2
"""A session whose deviations correlate less than this with those of the other sessions has its vertices elsewhere."""
MAPS_TELL = 0.4
"""Where the sessions agree less than this in the middle, one that does not agree proves nothing."""
SPACES_AGREE = 0.5
"""Trial by trial, the mean of nsdgeneral is nearly the same number in the volume and on the surface."""


def check_session_maps(source: NSDSurfaces, seed: int = 0) -> str | None:
    """Vertices that vary much do so in every session: a session with swapped hemispheres stands out.

    Args:
        source: Betas on fsaverage.
        seed: Of the vertices compared.

    Returns:
        What was found, or None where there are too few sessions, or the maps of all agree too little to tell.

    Raises:
        BadInputError: A session's map does not go with the others'.
    """
    if len(source.files) < 3:
        return None
    part = _sampled(source, seed)
    with np.errstate(invalid="ignore"):
        deviations = np.stack([_all_trials(part, session).std(axis=0) for session in part.files])
    alive = np.isfinite(deviations).all(axis=0) & (deviations > 0).all(axis=0)
    maps = np.log(deviations[:, alive])
    found = np.array([_correlate(maps[n], np.median(np.delete(maps, n, axis=0), axis=0)) for n in range(len(maps))])
    if np.median(found) < MAPS_TELL:
        return None
    worst = int(found.argmin())
    text = f"correlation with the other sessions' maps {found[worst]:.2f} at least, over {int(alive.sum())} vertices"
    if found[worst] < MAP_AGREES:
        session = list(part.files)[worst]
        names = " and ".join(path.name for path in source.paths(session))
        raise BadInputError(
            f"session {session} varies in other vertices than the other sessions ({text}): {names} are swapped, or of "
            "another subject; download both again"
        )
    return text


def check_spaces(volumes: BetaSource, surfaces: BetaSource, table: TrialTable, seed: int = 0) -> str:
    """The mean over nsdgeneral goes up and down together in the volume and on the surface, in every session.

    Args:
        volumes: Betas in the volume.
        surfaces: Betas on fsaverage.
        table: The index.
        seed: Of the voxels and vertices compared.

    Returns:
        What was found.

    Raises:
        BadInputError: They do not.
    """
    parts = [_sampled(source, seed) for source in (volumes, surfaces)]
    found = {}
    for session in np.unique(table.session).tolist():
        rows = table.beta_index[table.session == session]
        a, b = (np.asarray(np.nanmean(part.read(session, rows), axis=1, dtype=np.float64)) for part in parts)
        found[session] = _correlate(a, b)
    worst = min(found, key=lambda session: found[session])
    text = f"correlation of the mean of nsdgeneral over trials {found[worst]:.2f} at least, {len(found)} sessions"
    if found[worst] < SPACES_AGREE:
        raise BadInputError(
            f"session {worst} does not hold the same trials in the volume and on fsaverage ({text}; {SPACES_AGREE} "
            "expected): another session or subject; download both again"
        )
    return text


def _sampled(source: Source, seed: int) -> Source:
    n = len(source.ijk)
    if n <= SAMPLED_VOXELS:
        return source
    return source.take(np.sort(np.random.default_rng(seed).choice(n, SAMPLED_VOXELS, replace=False)))


def _all_trials(source: NSDSurfaces, session: int) -> NDArray[np.float64]:
    return source.read(session, np.arange(source.n_trials[session])).astype(np.float64)


def _correlate(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.corrcoef(a, b)[0, 1])
