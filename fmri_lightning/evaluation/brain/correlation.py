"""Brain correlation: do reconstructions evoke, in a voxel-encoding model, the responses that were measured?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.evaluation.brain.parts import BrainOfRun, open_brain
from fmri_lightning.evaluation.brain.regions import regions
from fmri_lightning.evaluation.brain.voxel_model import VoxelModel, correlations, fit_voxel_model, voxel_network
from fmri_lightning.evaluation.networks.base import PerceptualNetwork
from fmri_lightning.evaluation.pictures import PictureSet, StimulusPictures
from fmri_lightning.evaluation.protocols import Protocol
from fmri_lightning.evaluation.runs import Run
from fmri_lightning.generation.plan import split_of
from fmri_lightning.index.stimuli import StimulusSource
from fmri_lightning.manifest import content_hash
from fmri_lightning.metrics.bootstrap import bootstrap_interval

TRUE_PICTURE = "true_picture"
"""The row of the stimuli themselves: what the voxel model can reach."""


class BrainCorrelation:
    """Scores runs of one protocol; a subject's voxel model is fitted once.

    Args:
        protocol: How pictures are resized.
        networks: Networks of the protocol that could be opened.
        betas: Another place of the runs' betas.
    """

    def __init__(self, protocol: Protocol, networks: dict[str, PerceptualNetwork], betas: Path | None = None) -> None:
        self.protocol = protocol
        self.network, self.use = voxel_network(protocol, networks)
        self.betas = betas
        self._models: dict[str, VoxelModel] = {}

    def score(
        self,
        run: Run,
        controls: Mapping[str, PictureSet],
        stimuli: StimulusSource,
        n_resamples: int = 2000,
        seed: int = 0,
    ) -> dict[str, Any]:
        """Correlate predicted with measured responses over the stimuli of a run, voxel by voxel.

        Args:
            run: The run.
            controls: Further sets of pictures of the same items, by name.
            stimuli: Ground truths and training pictures.
            n_resamples: Bootstrap resamples over stimuli.
            seed: Of the bootstrap.

        Returns:
            Plain types: ``network``, ``n_train``, and ``regions`` with value, ci_low, ci_high, n_voxels and ``rows``
            with the same for every control and for the true pictures.

        Raises:
            BadInputError: Index, betas or training trials are missing, or not those of the run.
        """
        brain = open_brain(run, self.betas)
        key = content_hash(str(brain.store.manifest.content_hash), str(run.summary["provenance"]["root"]))
        if key not in self._models:
            self._models[key] = fit_voxel_model(brain, stimuli, self.protocol, self.network, self.use)
        model = self._models[key]
        measured = _measured(run, brain)
        found: dict[str, dict[str, Any]] = {}
        truth = StimulusPictures(stimuli, run.ids)
        members = regions(brain.store.roi_labels, ~brain.store.dropped)
        sets: dict[str, PictureSet] = {"": run.pictures, TRUE_PICTURE: truth, **controls}
        for name, pictures in sets.items():
            predicted = model.predict(pictures, f"brain correlation, {name or run.folder.name}")
            r, contribution = correlations(predicted, measured)
            for region, voxels in members.items():
                entry = _of_region(r, contribution, voxels, run.ids, n_resamples, seed)
                if name:
                    found[region]["rows"][name] = entry
                else:
                    found[region] = {**entry, "n_voxels": int(voxels.sum()), "rows": {}}
        return {"network": self.use.network, "n_train": model.n_train, "regions": found}


def _measured(run: Run, brain: BrainOfRun) -> NDArray[np.float32]:
    """Mean response to each item's stimulus over all its test trials, (n, n_voxels)."""
    rows = np.flatnonzero(
        (brain.table.split == split_of(run.summary["test_set"])) & np.isin(brain.table.nsd_id, run.ids)
    )
    betas = np.asarray(brain.store.betas[rows], dtype=np.float32)
    ids, means = average_repeats(betas, brain.table.nsd_id[rows].astype(np.int64))
    return np.asarray(means[np.searchsorted(ids, run.ids)])


def _of_region(
    r: NDArray[np.float64],
    contribution: NDArray[np.float64],
    voxels: NDArray[np.bool_],
    ids: NDArray[np.int32],
    n_resamples: int,
    seed: int,
) -> dict[str, Any]:
    varying = voxels & np.isfinite(r)
    if not varying.any():
        return {"value": None, "ci_low": None, "ci_high": None}
    found = bootstrap_interval(contribution[:, varying].mean(axis=1), ids, n_resamples=n_resamples, seed=seed)
    return {"value": found.value, "ci_low": found.low, "ci_high": found.high}
