"""The brain's own oracle of the pairing: only the right pictures can be found from the betas.

A wrong id on both sides of a file comparison looks right. A quick ridge from betas to embeddings does not find
pictures above chance unless each trial is paired with the picture it showed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError

SHIFTS = (-1, 0, 1)
P_LIMIT = 1e-3
GALLERY = 10
N_PERMUTATIONS = 9999
MAX_TRAIN_STIMULI = 3000


@dataclass(frozen=True)
class PairingResult:
    """Identification of validation pictures under one shift.

    Attributes:
        what: "ids" or "trials", the side that was shifted.
        shift: -1, 0 or +1.
        top1: Share of validation pictures found among ten, averaged over all galleries of ten.
        chance: Expected share without information.
        p: Permutation p-value, (b + 1) / (n + 1).
    """

    what: str
    shift: int
    top1: float
    chance: float
    p: float


def check_pairing(
    betas: NDArray[np.floating],
    nsd_id: NDArray[np.integer],
    split: NDArray[np.str_],
    embedding_ids: NDArray[np.integer],
    embeddings: NDArray[np.floating],
    seed: int = 0,
) -> list[PairingResult]:
    """Fit a quick ridge with ids and with trials shifted by -1, 0 and +1, and ask that only 0 works.

    Args:
        betas: T0 betas in index order, (n_trials, n_voxels).
        nsd_id: Picture of each trial, (n_trials,).
        split: "train", "val" or "test" per trial, (n_trials,); test trials are left alone.
        embedding_ids: Picture of each embedding, ascending, (n_embeddings,). A shift by one id is a shift by one
            row here: the next picture of the catalogue that has an embedding.
        embeddings: (n_embeddings, n_dimensions).
        seed: Of the permutations.

    Returns:
        Five results: the unshifted pairing first, then ids and trials by -1 and +1.

    Raises:
        BadInputError: If an embedding is missing, or if the pairing of the index is not found above chance
            (p < 0.001) or another one is.
    """
    nsd_id, split = np.asarray(nsd_id), np.asarray(split)
    place = np.searchsorted(embedding_ids, nsd_id)
    known = np.take(embedding_ids, np.minimum(place, len(embedding_ids) - 1)) == nsd_id
    if not known.all():
        missing = np.unique(nsd_id[~known])
        raise BadInputError(f"{len(missing)} pictures have no embedding, first {missing[:5].tolist()}; run clip-cache")
    generator = np.random.default_rng(seed)
    results = []
    for what, shift in (("ids", 0), ("ids", -1), ("ids", 1), ("trials", -1), ("trials", 1)):
        rows = np.roll(np.arange(len(nsd_id)), shift if what == "trials" else 0)
        places = (place + (shift if what == "ids" else 0)) % len(embedding_ids)
        top1, chance, p = _identify(betas, rows, nsd_id, split, places, embeddings, generator)
        results.append(PairingResult(what, shift, top1, chance, p))
    _require_only_zero(results)
    return results


def _require_only_zero(results: list[PairingResult]) -> None:
    working = [result for result in results if result.p < P_LIMIT]
    said = ", ".join(f"{r.what} {r.shift:+d}: {r.top1:.1%} (p {r.p:.1g})" for r in results)
    shifted = [result for result in working if result.shift != 0]
    if shifted:
        best = max(shifted, key=lambda result: result.top1)
        raise BadInputError(
            f"trials and pictures are paired wrongly: shifting {best.what} by {best.shift:+d} finds the pictures "
            f"({said}); build the index again from the original files"
        )
    if not working:
        raise BadInputError(
            f"pictures are not found from betas above chance ({said}, chance {results[0].chance:.1%}): the pairing is "
            "wrong, or the betas carry no signal"
        )


def _identify(
    betas: NDArray[np.floating],
    rows: NDArray[np.int64],
    nsd_id: NDArray[np.integer],
    split: NDArray[np.str_],
    places: NDArray[np.int64],
    embeddings: NDArray[np.floating],
    generator: np.random.Generator,
) -> tuple[float, float, float]:
    x_train, y_train = _means(betas, rows, nsd_id, places, embeddings, split == "train", MAX_TRAIN_STIMULI)
    x_val, y_val = _means(betas, rows, nsd_id, places, embeddings, split == "val", MAX_TRAIN_STIMULI)
    centre_x, centre_y = x_train.mean(axis=0), y_train.mean(axis=0)
    x, y = x_train - centre_x, y_train - centre_y
    gram = x @ x.T
    alpha = gram.trace() / len(gram)  # the mean eigenvalue: no search is needed to beat chance
    weights = np.linalg.solve(gram + alpha * np.eye(len(gram), dtype=gram.dtype), y)
    predicted = (x_val - centre_x) @ (x.T @ weights)
    scores = _unit(predicted) @ _unit(y_val - centre_y).T
    return _top1(scores, generator)


def _means(
    betas: NDArray[np.floating],
    rows: NDArray[np.int64],
    nsd_id: NDArray[np.integer],
    places: NDArray[np.int64],
    embeddings: NDArray[np.floating],
    chosen: NDArray[np.bool_],
    limit: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean betas and the embedding of each picture of a split."""
    trials = np.flatnonzero(chosen)
    trials = trials[np.argsort(nsd_id[trials], kind="stable")]
    _, first, counts = np.unique(nsd_id[trials], return_index=True, return_counts=True)
    first, counts = first[:limit], counts[:limit]
    if len(first) < 2:
        raise BadInputError("the pairing check needs at least two train and two val pictures; index more sessions")
    used = betas[rows[trials[: first[-1] + counts[-1]]]].astype(np.float32)
    means = np.add.reduceat(used, first, axis=0) / counts[:, None].astype(np.float32)
    return means, embeddings[places[trials[first]]].astype(np.float32)


def _unit(x: NDArray[np.floating]) -> NDArray[np.floating]:
    unit: NDArray[np.floating] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return unit


def _top1(scores: NDArray[np.floating], generator: np.random.Generator) -> tuple[float, float, float]:
    """Score identification in galleries of ten, and permute which picture is the right one.

    With h of the n - 1 other pictures scoring higher, a gallery of g holds none of them with probability
    C(n-1-h, g-1) / C(n-1, g-1): the mean over all galleries needs no drawing.
    """
    n = len(scores)
    size = min(GALLERY, n)
    better = (np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1, kind="stable")).astype(np.int64)
    steps = np.arange(size - 1)
    ranks = np.arange(n)[:, None]
    found = np.prod(np.maximum(n - 1 - ranks - steps, 0) / (n - 1 - steps), axis=1)
    hit = found[better]
    observed = float(np.trace(hit) / n)
    # Shuffled labels, not a binomial: a few pictures are near to every prediction.
    columns = generator.permuted(np.tile(np.arange(n), (N_PERMUTATIONS, 1)), axis=1)
    null = hit[np.arange(n), columns].mean(axis=1)
    p = (int((null >= observed - 1e-12).sum()) + 1) / (N_PERMUTATIONS + 1)
    return observed, 1 / size, p
