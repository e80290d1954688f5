"""The simulated average surface: two hemispheres of vertices that all subjects share, as on fsaverage.

The surface is the cortex of an average brain that no subject has. A vertex stands for one of its cortical voxels, in a
shuffled order as vertex numbers of a real surface tell nothing of place; the vertices that are left over stand for the
medial wall. In a subject every cortical vertex takes the betas of one voxel: in its hemisphere and, where the subject
has such voxels, with its labels of nsdgeneral, prf-visualrois and streams, the one that lies nearest when both brains
are scaled to one size. Medial vertices are 0 throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmri_lightning.simulate.geometry import Brain, make_brain
from fmri_lightning.simulate.subject import Subject

HEMISPHERES = ("lh", "rh")
AVERAGE = 0
"""Number of the brain that the surface is made of; subjects count from 1."""
_MATCHED = ("nsdgeneral", "prf-visualrois", "streams")

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Surface:
    """The average surface, N vertices in each hemisphere.

    Attributes:
        n_vertices: N.
        average: The brain whose cortex the vertices stand for.
        voxel: hemisphere → int64 (N,), row of ``average``; -1 = medial wall.
    """

    n_vertices: int
    average: Brain
    voxel: dict[str, IntArray]

    def labels(self, hemisphere: str, name: str) -> IntArray:
        """Return the labels of a region file on one hemisphere, int64 (N,), 0 = none."""
        return at_vertices(self.average.labels[name], self.voxel[hemisphere])

    def retrosplenial(self, hemisphere: str) -> npt.NDArray[np.bool_]:
        """Return which vertices are in RSC, which lies outside nsdgeneral, bool (N,)."""
        return np.asarray(self.labels(hemisphere, "floc-places") == 3)


@dataclass(frozen=True)
class SubjectSurface:
    """Where a subject's voxels come to lie on the average surface.

    Attributes:
        voxel: hemisphere → int64 (N,), row of the subject's brain; -1 = medial wall.
        nan: hemisphere → int64 (n,), vertices without a value in any trial.
    """

    voxel: dict[str, IntArray]
    nan: dict[str, IntArray]


def make_surface(nsdgeneral_voxels: int, seed: int) -> Surface:
    """Lay out the surface.

    Args:
        nsdgeneral_voxels: Voxels of nsdgeneral in each subject; also the number of vertices in a hemisphere.
        seed: Seed of the simulation.

    Returns:
        The surface.
    """
    average = make_brain(AVERAGE, nsdgeneral_voxels, seed)
    rng = np.random.default_rng([seed, AVERAGE, 600])
    n_vertices = vertices_of(nsdgeneral_voxels)
    voxel = {}
    for hemisphere in HEMISPHERES:
        cortex = np.flatnonzero(average.cortex & (average.left == (hemisphere == "lh")))
        # Regions first, should the cortex have more voxels than the surface has vertices.
        cortex = cortex[np.argsort(~average.nsdgeneral[cortex], kind="stable")][:n_vertices]
        rows = np.full(n_vertices, -1)
        rows[: len(cortex)] = cortex
        voxel[hemisphere] = rng.permutation(rows)
    return Surface(n_vertices, average, voxel)


def vertices_of(nsdgeneral_voxels: int) -> int:
    """Return how many vertices a hemisphere has."""
    return nsdgeneral_voxels


def put_on_surface(subject: Subject, surface: Surface, with_nan: bool) -> SubjectSurface:
    """Say which voxel of a subject each vertex takes.

    Args:
        subject: The subject.
        surface: The average surface.
        with_nan: Let one vertex of nsdgeneral, in the right hemisphere, have no value.

    Returns:
        The mapping. The voxel that never changes comes to lie on one vertex of nsdgeneral in its hemisphere.
    """
    from scipy.spatial import cKDTree

    brain, average = subject.brain, surface.average
    there, here = _classes(average), _classes(brain)
    place, target = _scaled(brain), _scaled(average)
    found, planted = {}, {}
    for hemisphere in HEMISPHERES:
        rows = surface.voxel[hemisphere]
        own = brain.cortex & (brain.left == (hemisphere == "lh"))
        own[subject.constant] = False
        taken = np.full(len(rows), -1)
        for kind in np.unique(there[rows[rows >= 0]], axis=0):
            vertices = np.flatnonzero((rows >= 0) & (there[rows] == kind).all(axis=1))
            alike = own & (here == kind).all(axis=1)
            alike = alike if alike.any() else own & (here[:, 0] == kind[0])
            candidates = np.flatnonzero(alike if alike.any() else own)
            nearest = cKDTree(place[candidates]).query(target[rows[vertices]])[1]
            taken[vertices] = candidates[nearest]
        visual = np.flatnonzero((rows >= 0) & (there[rows][:, 0] > 0))
        if brain.left[subject.constant] == (hemisphere == "lh"):
            taken[visual[0]] = subject.constant
        found[hemisphere] = taken
        planted[hemisphere] = visual[-1:] if with_nan and hemisphere == "rh" else visual[:0]
    return SubjectSurface(found, planted)


def at_vertices(values: npt.NDArray[np.generic], voxel: IntArray) -> IntArray:
    """Return one value a vertex from one value a voxel, 0 at the medial wall, int64 (N,)."""
    return np.where(voxel >= 0, values[voxel], 0).astype(np.int64)


def _classes(brain: Brain) -> IntArray:
    """Return the labels that a vertex and its voxel have in common, int64 (V, 3)."""
    return np.stack([brain.labels[name] for name in _MATCHED], axis=1)


def _scaled(brain: Brain) -> npt.NDArray[np.float64]:
    """Return positions (V, 3) in units of the box's half sides."""
    sides = np.array(brain.shape)
    scaled: npt.NDArray[np.float64] = (brain.ijk - (sides - 1) / 2) / (sides / 2)
    return scaled
