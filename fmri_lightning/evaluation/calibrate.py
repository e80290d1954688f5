"""Whether a run's confidence means anything: the lead of its best guess, and the scores that it comes with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.evaluation.embedding_scores import EmbeddingScores
from fmri_lightning.metrics.calibration import (
    auroc,
    cross_fitted_guesses,
    gallery_margin,
    reliability,
    selective_score,
    spearman,
)

FOLDS = 5
CONFIDENCE = "lead of the nearest test stimulus over the second, by centred cosine"
SCORED = ("source_centred_cosine", "picture_from_brain_top1", "judge2_two_way", "alexnet5_two_way", "pixcorr")


def calibrate(
    found: EmbeddingScores,
    scores: dict[str, NDArray[np.float64]],
    ids: NDArray[np.int32],
    gallery_ids: NDArray[np.int32],
    seed: int = 0,
) -> dict[str, Any] | None:
    """Ask whether confidence, which knows no ground truth, goes with scores.

    Args:
        found: Scores of the predictions, with their similarity to every test stimulus.
        scores: Metric to scores of the same items (n,), pictures included.
        ids: Stimulus of each item (n,).
        gallery_ids: Stimulus of each candidate (m,), ascending.
        seed: Of the folds.

    Returns:
        Plain types: for some metrics the rank correlation with confidence and the mean score of the most confident
        three quarters, half and quarter of the items (``selective``); for top-1 retrieval the AUROC, and the
        calibration error of probabilities whose temperature was fitted on other stimuli of the test set. None
        where there are too few stimuli for that, or a prediction is not defined.
    """
    to_gallery = found.to_gallery[0]
    if len(np.unique(ids)) < 2 * FOLDS or not np.isfinite(to_gallery).all():
        return None
    confidence = gallery_margin(to_gallery)
    guesses = cross_fitted_guesses(to_gallery, np.searchsorted(gallery_ids, ids), ids, FOLDS, seed)
    agreement = reliability(guesses.probability, guesses.hit)
    return {
        "confidence": CONFIDENCE,
        "scores": {name: _goes_with(confidence, scores[name]) for name in SCORED if name in scores},
        "top1": {
            "auroc": _or_none(auroc(confidence, guesses.hit)),
            "expected_calibration_error": agreement.expected_calibration_error,
            "brier": agreement.brier,
            "hit_rate": float(guesses.hit.mean()),
            "mean_probability": float(guesses.probability.mean()),
            "temperatures": guesses.temperature.tolist(),
            "curve": {
                "probability": agreement.probability.tolist(),
                "hit_rate": agreement.hit_rate.tolist(),
                "n": agreement.n.tolist(),
            },
            "note": "temperatures are fitted on the true pictures of other test stimuli",
        },
    }


def _goes_with(confidence: NDArray[np.float64], scores: NDArray[np.float64]) -> dict[str, Any]:
    defined = np.isfinite(scores)
    if not defined.any():
        return {"spearman": None, "selective": None}
    kept = selective_score(confidence[defined], scores[defined])
    return {
        "spearman": _or_none(spearman(confidence[defined], scores[defined])),
        "selective": {"coverage": kept.coverage.tolist(), "score": kept.score.tolist(), "area": kept.area},
    }


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
