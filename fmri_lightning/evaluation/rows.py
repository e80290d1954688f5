"""The rows beside a score: controls, first samples, the nearest training picture, and what a score may be read as."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.gallery import predictions_of
from fmri_lightning.evaluation.pictures import PictureSet, StimulusPictures
from fmri_lightning.evaluation.results import Evaluation, Row
from fmri_lightning.evaluation.runs import Run, first_samples
from fmri_lightning.evaluation.scoring import PictureScores
from fmri_lightning.index.stimuli import StimulusSource

NEAREST = "nearest_training"
FIRST = "first_sample"
AS_DRAWN = "shuffled_as_drawn"
Score = Callable[[PictureSet, StimulusPictures, str], tuple[PictureScores, str]]
"""Scores pictures against ground truths under a description; also returns a hash of the pictures."""


def row_of(run: Run, scores: PictureScores, source: str | None = None) -> Row:
    """Make a row of scores that belong to a run's items."""
    return Row(run.ids, dict(scores.values), source, dict(scores.influence))


def add_control_rows(evaluation: Evaluation, controls: dict[str, Run], stimuli: StimulusSource, score: Score) -> None:
    """Score the controls of a run.

    Args:
        evaluation: Receives the rows, or why there is none.
        controls: By name, brought to the run's items.
        stimuli: Ground truths.
        score: How.
    """
    for name, control in controls.items():
        try:
            scores, digest = score(control.pictures, StimulusPictures(stimuli, control.ids), name)
            evaluation.rows[name] = row_of(control, scores, control.borrowed_from)
            evaluation.inputs[f"controls/{name}"] = digest
        except BadInputError as error:
            evaluation.skipped[f"controls/{name}"] = str(error)
    if "shuffled" not in evaluation.rows:
        return
    # The same pictures against the stimuli whose embeddings drew them: the drawing is sound if they fit those.
    shuffled = controls["shuffled"]
    try:
        drawn_from = predictions_of(shuffled).drawn_from_nsd_id
        scores, _ = score(shuffled.pictures, StimulusPictures(stimuli, drawn_from), "shuffled as drawn")
        evaluation.rows[AS_DRAWN] = Row(drawn_from, dict(scores.values), shuffled.borrowed_from, dict(scores.influence))
    except BadInputError as error:
        evaluation.skipped[f"controls/{AS_DRAWN}"] = str(error)


def add_first_samples(evaluation: Evaluation, run: Run, stimuli: StimulusSource, score: Score) -> None:
    """Score sample 0 of every item where several were drawn and one was chosen.

    Args:
        evaluation: Receives the row.
        run: The run.
        stimuli: Ground truths.
        score: How.
    """
    first = first_samples(run)
    if first is not None:
        scores, _ = score(first.pictures, StimulusPictures(stimuli, run.ids), "first samples")
        evaluation.rows[FIRST] = row_of(run, scores)


def add_nearest_training(evaluation: Evaluation, run: Run, stimuli: StimulusSource, score: Score) -> None:
    """Score the training picture that predict found nearest to each predicted embedding.

    What a decoder adds to looking a picture up is what it scores above this row.

    Args:
        evaluation: Receives the row, or why there is none.
        run: The run.
        stimuli: All stimuli, those of training too.
        score: How.
    """
    try:
        neighbours = predictions_of(run).nn_nsd_id
        if np.any(neighbours < 0):
            raise BadInputError("predict had no gallery of training stimuli; give it --data.clip_cache")
        pictures = StimulusPictures(stimuli, neighbours)
        scores, _ = score(pictures, StimulusPictures(stimuli, run.ids), "nearest training pictures")
        evaluation.rows[NEAREST] = row_of(run, scores)
    except BadInputError as error:
        evaluation.skipped[NEAREST] = str(error)
