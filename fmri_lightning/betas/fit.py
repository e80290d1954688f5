"""Fit T1 (scaling and voxel mask) and T2 (principal components) on the training trials of a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.reliability import (
    MIN_REPEATED_STIMULI,
    REPEATS_PROJECTED,
    estimate_ncsnr,
    noise_ceiling,
    pair_reliability,
    project_reliability,
)
from fmri_lightning.betas.rows import n_repeated_stimuli, stimulus_rows
from fmri_lightning.betas.store import BetaStore
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import content_hash
from fmri_lightning.records import TrialTable

Tier = Literal["T0", "T1", "T2"]
Mask = Literal["reliability", "ncsnr", "ncsnr_published", "roi"]
_ROWS_PER_BLOCK = 1024


@dataclass(frozen=True)
class PreprocessConfig:
    """Settings of T1 and T2.

    Attributes:
        tier: "T0" keeps the store's voxels, "T1" scales and masks, "T2" adds principal components.
        k: Principal components asked for.
        mask: Judge of a voxel: "reliability", "ncsnr" (ours, from train), "ncsnr_published", or "roi" (all kept).
        threshold: Smallest share of variance explained by signal in means of three repeats.
        seed: Of the random repeat pairs.
        n_draws: Random pairings per voxel.
        min_stimuli: Fewest repeated training pictures that can judge a voxel.
    """

    tier: Tier = "T1"
    k: int = 512
    mask: Mask = "reliability"
    threshold: float = 0.1
    seed: int = 0
    n_draws: int = 10
    min_stimuli: int = MIN_REPEATED_STIMULI

    def __post_init__(self) -> None:
        if self.tier not in get_args(Tier) or self.mask not in get_args(Mask) or self.k < 1:
            raise BadInputError(f"preprocessing has no tier {self.tier!r} with mask {self.mask!r} and k {self.k}")


@dataclass(frozen=True)
class FittedPreprocess:
    """Numbers of a fitted preprocessing.

    Attributes:
        arrays: ``columns`` int32 (n_kept,), which voxels of the store; T1 adds ``mean`` and ``scale`` (n_kept,);
            T2 adds ``pca_mean`` (n_kept,) and ``components`` (k, n_kept). float32.
        fitted_on: For every statistic, the global_trial of each trial it saw, int32.
        report: Counts and shares for the manifest.
    """

    arrays: dict[str, NDArray[Any]]
    fitted_on: dict[str, NDArray[np.int32]]
    report: dict[str, Any]


def fit_preprocess(store: BetaStore, table: TrialTable, config: PreprocessConfig) -> FittedPreprocess:
    """Fit the preprocessing on exactly what it is applied to: single trials of T0 output.

    Args:
        store: T0 betas in index order.
        table: The index the store was made from.
        config: Settings.

    Returns:
        The fitted numbers.

    Raises:
        BadInputError: If too few pictures are repeated for the mask, or no voxel passes it.
    """
    train = np.flatnonzero(table.split == "train")
    trials = table.global_trial[train]
    if config.tier == "T0":
        columns = np.arange(store.betas.shape[1], dtype=np.int32)
        return FittedPreprocess({"columns": columns}, {}, {"n_features": len(columns)})
    mean, std = _moments(store.betas, train)
    score, mask_trials = _voxel_score(store, table, train, config)
    # Flagged voxels are zeros in the store; their reliability means nothing.
    keep = (std > 0) & ~store.dropped & (score >= config.threshold)
    if not keep.any():
        raise BadInputError(
            f"no voxel of {store.folder} reaches {config.mask} {config.threshold} (best {score.max():.3f}); "
            "lower --threshold, or keep all voxels with --mask roi"
        )
    columns = np.flatnonzero(keep).astype(np.int32)
    arrays: dict[str, NDArray[Any]] = {
        "columns": columns,
        "mean": mean[keep].astype(np.float32),
        "scale": std[keep].astype(np.float32),
    }
    fitted_on = {"scale": trials, "mask": mask_trials}
    report: dict[str, Any] = {"n_kept": len(columns), "saw_test_trials": config.mask == "ncsnr_published"}
    if config.tier == "T2":
        scaled = _scaled(store.betas, train, arrays)
        pca_mean, components, share = principal_components(scaled, config.k)
        arrays |= {"pca_mean": pca_mean, "components": components}
        fitted_on["pca"] = trials
        report |= {"k_fitted": len(components), "explained_variance": share}
    report["n_features"] = len(arrays["components"]) if config.tier == "T2" else len(columns)
    return FittedPreprocess(arrays, fitted_on, report)


def require_fittable(table: TrialTable, config: PreprocessConfig, has_published_ncsnr: bool) -> None:
    """Refuse, before the betas are read, a mask that this index or tree cannot give.

    Args:
        table: The index.
        config: Settings.
        has_published_ncsnr: Whether the tree has NSD's ncsnr map.

    Raises:
        BadInputError: If too few training pictures are repeated, or the map is missing.
    """
    if config.tier == "T0":
        return
    if config.mask == "ncsnr_published" and not has_published_ncsnr:
        raise BadInputError("--mask ncsnr_published needs ncsnr.nii.gz beside the betas; use --mask reliability or roi")
    if config.mask in ("reliability", "ncsnr"):
        repeated = n_repeated_stimuli(table)
        if len(np.unique(table.nsd_id)) == len(table):
            raise BadInputError(
                f"--mask {config.mask} compares repeats, and every picture has one row here: its betas were averaged "
                "before, or it was shown once; keep all voxels with --mask roi"
            )
        if repeated < config.min_stimuli:
            raise BadInputError(
                f"{repeated} training pictures have two trials or more, {config.min_stimuli} are "
                "needed to judge voxels; index more sessions, or keep all voxels with --mask roi"
            )


def preprocess_hash(arrays: dict[str, NDArray[Any]]) -> str:
    """Hash the numbers that decide the output."""
    return content_hash(*(part for name in sorted(arrays) for part in (name, arrays[name])))


def _moments(betas: NDArray[np.floating], rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (ddof 0) over some rows, in two passes."""
    mean = np.zeros(betas.shape[1])
    for block in _row_blocks(betas, rows):
        mean += block.sum(axis=0)
    mean /= len(rows)
    squares = np.zeros(betas.shape[1])
    for block in _row_blocks(betas, rows):
        squares += np.square(block - mean).sum(axis=0)
    return mean, np.sqrt(squares / len(rows))


def _row_blocks(betas: NDArray[np.floating], rows: NDArray[np.int64]) -> list[NDArray[np.float64]] | Any:
    starts = range(0, len(rows), _ROWS_PER_BLOCK)
    return (betas[rows[start : start + _ROWS_PER_BLOCK]].astype(np.float64) for start in starts)


def _voxel_score(
    store: BetaStore, table: TrialTable, train: NDArray[np.int64], config: PreprocessConfig
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Score voxels on one scale, the reliability of means of three repeats, and name the trials it saw."""
    three = np.array([REPEATS_PROJECTED])
    if config.mask == "roi":
        return np.full(store.betas.shape[1], np.inf), np.zeros(0, dtype=np.int32)
    if config.mask == "ncsnr_published":
        published = np.nan_to_num(store.ncsnr_published.astype(np.float64), nan=0.0)
        return noise_ceiling(published, three), np.zeros(0, dtype=np.int32)
    groups = [train[rows] for rows in stimulus_rows(table.nsd_id[train])[1]]
    seen = table.global_trial[np.sort(np.concatenate([group for group in groups if len(group) > 1] or [train[:0]]))]
    if config.mask == "ncsnr":
        return noise_ceiling(estimate_ncsnr(store.betas, groups, config.min_stimuli), three), seen
    r = pair_reliability(store.betas, groups, config.n_draws, config.seed, config.min_stimuli)
    return project_reliability(r), seen


def _scaled(
    betas: NDArray[np.floating], rows: NDArray[np.int64], arrays: dict[str, NDArray[Any]]
) -> NDArray[np.float32]:
    scaled = np.empty((len(rows), len(arrays["columns"])), dtype=np.float32)
    start = 0
    for block in _row_blocks(betas, rows):
        scaled[start : start + len(block)] = (block[:, arrays["columns"]] - arrays["mean"]) / arrays["scale"]
        start += len(block)
    return scaled


def principal_components(x: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Fit principal components exactly, by the eigenvectors of the smaller of covariance and Gram matrix.

    Args:
        x: T1 output of training trials, (n, n_voxels).
        k: Components asked for; at most min(n - 1, n_voxels) are given.

    Returns:
        Mean (n_voxels,), unit components (k, n_voxels) whose largest loading is positive, and the share of
        variance they explain.
    """
    n, n_voxels = x.shape
    k = min(k, n - 1, n_voxels)
    mean = x.mean(axis=0, dtype=np.float64)
    wide = n_voxels > n
    size, length = (n, n_voxels) if wide else (n_voxels, n)
    gram = np.zeros((size, size))
    for start in range(0, length, _ROWS_PER_BLOCK):
        part = slice(start, start + _ROWS_PER_BLOCK)
        block = (x[:, part] - mean[part]).T if wide else x[part] - mean
        gram += block.T @ block
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
    components = vectors.T
    if wide:
        components = np.empty((k, n_voxels))
        for start in range(0, n_voxels, _ROWS_PER_BLOCK):
            part = slice(start, start + _ROWS_PER_BLOCK)
            components[:, part] = vectors.T @ (x[:, part] - mean[part])
        components /= np.linalg.norm(components, axis=1, keepdims=True)
    largest = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[np.arange(k), largest])[:, None]
    share = float(values.sum() / np.trace(gram))
    return mean.astype(np.float32), components.astype(np.float32), share
