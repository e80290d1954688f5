"""From material to numbers: patterns, encoding accuracy and ablation of one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmri_lightning.betas.build import train_ncsnr
from fmri_lightning.evaluation.voxels.ablation import AblationPlan, Decoding, ablate
from fmri_lightning.evaluation.voxels.encoding import encode_voxels
from fmri_lightning.evaluation.voxels.material import Material
from fmri_lightning.evaluation.voxels.patterns import SHARE, Patterns, Trials, contributions, haufe_patterns
from fmri_lightning.evaluation.voxels.regional import by_region, mean_contributions
from fmri_lightning.generation.frontend import padded_forward
from fmri_lightning.progress import track

ALPHA = 0.05


@dataclass(frozen=True)
class Settings:
    """What is computed, and how.

    Attributes:
        patterns: Whether patterns are.
        encoding: Whether encoding accuracy is.
        ablation: Whether regions are left out and kept alone.
        min_ceiling: Smallest noise ceiling that r² is divided by, 0..1.
        n_permutations: Permutations of the test stimuli.
        plan: Of the ablation, with resamples and seed of everything.
    """

    patterns: bool = True
    encoding: bool = True
    ablation: bool = True
    min_ceiling: float = 0.1
    n_permutations: int = 1000
    plan: AblationPlan = field(default_factory=AblationPlan)


@dataclass(eq=False)
class Found:
    """What was found.

    Attributes:
        maps: Quantity to its value in every voxel of the store (n_voxels,), NaN where there is none.
        quantities: Quantity to region to its numbers.
        patterns: Patterns of the encoder in full, over the voxels that it reads.
        ablation: What :func:`ablate` found.
        facts: Further fields of the summary, by part.
    """

    maps: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    quantities: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    patterns: Patterns | None = None
    ablation: dict[str, Any] | None = None
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)


def compute(material: Material, settings: Settings) -> Found:
    """Compute what was asked for.

    Args:
        material: Of the run.
        settings: What, and how.

    Returns:
        The numbers.

    Raises:
        BadInputError: The encoder predicts a constant, or there are too few training trials.
    """
    found = Found()
    if settings.patterns:
        _add_patterns(material, settings, found)
    if settings.encoding:
        _add_encoding(material, settings, found)
    if settings.ablation:
        _add_ablation(material, settings, found)
    return found


def _in_store(material: Material, values: NDArray[np.float64], voxels: NDArray[np.int64]) -> NDArray[np.float64]:
    whole = np.full(material.n_voxels, np.nan)
    whole[voxels] = values
    return whole


def predict_trials(material: Material, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Predict the embedding of every one of some trials, (n, d)."""
    predicted = []
    for start in track(range(0, len(rows), 1024), "predicting training trials"):
        betas = np.asarray(material.brain.store.betas[rows[start : start + 1024]], dtype=np.float32)
        predicted.append(padded_forward(material.encoder, padded_forward(material.transform, betas)))
    return np.concatenate(predicted)


def _add_patterns(material: Material, settings: Settings, found: Found) -> None:
    trials = Trials(material.brain.store.betas, material.train, material.read)
    predicted = predict_trials(material, material.train)
    patterns = haufe_patterns(trials, predicted)
    inside = {name: mask[material.read] for name, mask in material.rois.members.items()}
    moved = contributions(patterns, trials, predicted, inside)
    found.patterns = patterns
    found.maps["pattern"] = _in_store(material, patterns.strength, material.read)
    found.quantities["pattern"] = by_region(
        patterns.strength,
        moved,
        material.trial_ids(material.train),
        inside,
        settings.plan.resamples,
        settings.plan.seed,
    )
    found.facts["patterns"] = {
        "n_trials": patterns.n_rows,
        "n_components": len(patterns.components.sd),
        "share_of_decoded_variance": SHARE,
        "linear": "weights" in dict(material.encoder.predictor.named_buffers()),
    }


def _add_encoding(material: Material, settings: Settings, found: Found) -> None:
    store, cache = material.brain.store, material.cache
    voxels = np.flatnonzero(~store.dropped)
    train, test = material.means(material.train, voxels), material.means(material.test, voxels)
    ncsnr = store.ncsnr if np.isfinite(store.ncsnr).any() else train_ncsnr(store.betas, material.brain.table)
    result = encode_voxels(
        train,
        cache.rows(train.ids),
        test,
        cache.rows(test.ids),
        ncsnr[voxels],
        store.ncsnr_published[voxels],
        settings.min_ceiling,
        settings.n_permutations,
        settings.plan.seed,
    )
    inside = {name: mask[voxels] for name, mask in material.rois.members.items()}
    for name, values, moved in (
        ("encoding_r", result.r, result.contribution),
        ("encoding_of_ceiling", result.of_ceiling, result.of_ceiling_contribution),
    ):
        found.maps[name] = _in_store(material, values, voxels)
        found.quantities[name] = by_region(
            values, mean_contributions(moved, inside), test.ids, inside, settings.plan.resamples, settings.plan.seed
        )
    for name, values in (
        ("encoding_p", result.p),
        ("encoding_q", result.q),
        ("noise_ceiling", result.ceiling),
        ("noise_ceiling_published_saw_test_trials", result.ceiling_published),
    ):
        found.maps[name] = _in_store(material, values, voxels)
    tested = np.isfinite(result.q)
    found.facts["encoding"] = {
        "n_train": len(train.ids),
        "n_test": len(test.ids),
        "mean_repeats": float(test.repeats.mean()),
        "n_permutations": settings.n_permutations,
        "min_ceiling": settings.min_ceiling,
        "n_tested": int(tested.sum()),
        "n_significant": int((result.q[tested] <= ALPHA).sum()),
        "n_above_ceiling_floor": int(np.isfinite(result.of_ceiling).sum()),
        "has_ceiling": bool(np.isfinite(result.ceiling).any()),
    }


def decoding_of(material: Material) -> Decoding:
    """Responses and embeddings that sets of voxels are fitted on."""
    train, test = (material.means(rows, material.read) for rows in (material.train, material.test))
    return Decoding.of(train.responses, material.cache.rows(train.ids), test.responses, material.cache.rows(test.ids))


def regions_read(material: Material) -> dict[str, NDArray[np.bool_]]:
    """Region to its voxels among those that the encoder reads (v,)."""
    return {name: mask[material.read] for name, mask in material.rois.regions().items()}


def _add_ablation(material: Material, settings: Settings, found: Found) -> None:
    found.ablation = ablate(decoding_of(material), regions_read(material), settings.plan)


def cost(material: Material, settings: Settings) -> str:
    """Say what the command will compute, in a line a part."""
    store, dim = material.brain.store, material.encoder.space.dim
    n_train = len(np.unique(material.trial_ids(material.train)))
    n_test, n_read = len(np.unique(material.trial_ids(material.test))), len(material.read)
    said = []
    if settings.patterns:
        said.append(f"patterns: {len(material.train)} training trials x {n_read} voxels, {dim} dimensions")
    if settings.encoding:
        said.append(
            f"encoding: {int((~store.dropped).sum())} voxels from {n_train} training stimuli, {n_test} test stimuli, "
            f"{settings.n_permutations} permutations"
        )
    if settings.ablation:
        regions = regions_read(material)
        sizes = [int(mask.sum()) for mask in regions.values()]
        kept_and_dropped = [n_read, *((size, n_read - size) for size in sizes)]
        flops = 0.0
        for entry, mask in zip(kept_and_dropped, [None, *regions.values()], strict=True):
            times = 1 if mask is None else 1 + settings.plan.n_controls
            flops += sum(times * fit_flops(n_train, v, dim) for v in np.atleast_1d(np.asarray(entry)).tolist() if v)
        said.append(
            f"ablation: {settings.plan.n_fits(regions)} ridge regressions for {len(regions)} regions, about "
            f"{flops / 1e12:.3g} TFLOP ({flops / 1e11 / 60:.3g} min at 100 GFLOP/s, {torch.get_num_threads()} threads "
            "here); fewer --controls or --rois take less"
        )
    return "\n".join(said)


def fit_flops(n: int, v: int, d: int, n_alphas: int = 17) -> float:
    """Floating point operations of a ridge regression of d targets on v voxels of n stimuli, roughly."""
    side = min(n, v)
    return 2.0 * n * v * side + 9.0 * side**3 + n_alphas * 2.0 * n * side * d
