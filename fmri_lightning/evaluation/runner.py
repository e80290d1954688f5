"""Scores a run with the rows that belong beside it, or any folder of pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.brain import BrainScores, Gallery, open_gallery, predictions_of, score_embeddings
from fmri_lightning.evaluation.pictures import PictureFiles, PictureSet, StimulusPictures, check_pictures
from fmri_lightning.evaluation.protocols import METRICS, Protocol
from fmri_lightning.evaluation.results import Evaluation, Row
from fmri_lightning.evaluation.runs import Run, chosen_samples, find_controls, first_samples
from fmri_lightning.evaluation.scoring import JUDGED, PictureScorer, PictureScores
from fmri_lightning.evaluation.truth import open_truth, pair_folders
from fmri_lightning.index.stimuli import StimulusSource
from fmri_lightning.manifest import content_hash

if TYPE_CHECKING:
    from fmri_lightning.evaluation.judge import Judge

EMBEDDING_METRICS = tuple(name for name, info in METRICS.items() if info.network == "source")


@dataclass
class Runner:
    """Scores runs one after the other; a control shared by several is scored once.

    Attributes:
        protocol: How to score.
        truth: Ground truth that the user named, None for the runs' own data root.
        clip_cache: CLIP cache that the user named, None for the one the runs name.
    """

    protocol: Protocol
    truth: Path | None = None
    clip_cache: Path | None = None
    judge_skip: str | None = None
    _scorer: PictureScorer = field(init=False)
    _scored: dict[tuple[str, str], tuple[PictureScores, str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        judge, self.judge_skip = _open_judge(self.protocol)
        self._scorer = PictureScorer(self.protocol, judge)

    def check(self, run: Run) -> tuple[StimulusSource, str, str]:
        """Read all pictures of a run and their ground truths, before anything is scored.

        Args:
            run: The run.

        Returns:
            The stimuli, hash of the reconstructions, hash of the ground truths.

        Raises:
            BadInputError: A picture is missing, unreadable or constant.
        """
        source = open_truth(run.summary.get("provenance", {}).get("root"), self.truth)
        truth_hash = check_pictures(StimulusPictures(source, run.ids), "ground truths")
        return source, check_pictures(run.pictures, f"pictures of {run.folder}"), truth_hash

    def evaluate(self, run: Run, siblings: list[Run]) -> Evaluation:
        """Score a run and the rows beside it.

        Args:
            run: The run.
            siblings: Other runs of the same command, whose controls may be borrowed.

        Returns:
            The scores.

        Raises:
            BadInputError: An input is missing or does not belong to the run.
        """
        source, pictures_hash, truth_hash = self.check(run)
        controls, skipped = find_controls(run, siblings)
        scores, _ = self._score(run, StimulusPictures(source, run.ids), run.folder.name)
        evaluation = Evaluation(
            run=Row(run.ids, dict(scores.values)), samples=chosen_samples(run), chance=dict(scores.chance)
        )
        evaluation.skipped = self._skipped() | skipped
        evaluation.inputs = {"pictures": pictures_hash, "truth": truth_hash}
        self._add_control_rows(evaluation, controls, source)
        self._add_first_samples(evaluation, run, source)
        self._add_embedding_scores(evaluation, run, controls)
        _describe(evaluation, self.protocol, run)
        return evaluation

    def _skipped(self) -> dict[str, str]:
        skipped = dict(self.protocol.not_computed)
        if self.judge_skip is not None:
            skipped |= {metric: self.judge_skip for metric in self.protocol.picture_metrics if metric in JUDGED}
        return skipped

    def _score(self, run: Run, truth: StimulusPictures, description: str) -> tuple[PictureScores, str]:
        key = (str(run.folder.resolve()), content_hash(run.trial_ids, truth.ids, str(run.pictures.paths[0])))
        if key not in self._scored:
            digest = check_pictures(run.pictures, f"pictures of {run.folder}")
            self._scored[key] = (self._scorer.score(run.pictures, truth, truth.ids, description), digest)
        return self._scored[key]

    def _add_control_rows(self, evaluation: Evaluation, controls: dict[str, Run], source: StimulusSource) -> None:
        for name, control in controls.items():
            try:
                scores, digest = self._score(control, StimulusPictures(source, control.ids), name)
                evaluation.rows[name] = Row(control.ids, dict(scores.values), control.borrowed_from)
                evaluation.inputs[f"controls/{name}"] = digest
            except BadInputError as error:
                evaluation.skipped[f"controls/{name}"] = str(error)
        if "shuffled" not in evaluation.rows:
            return
        # The same pictures against the stimuli whose embeddings drew them: the drawing is sound if they fit those.
        shuffled = controls["shuffled"]
        try:
            drawn_from = predictions_of(shuffled).drawn_from_nsd_id
            scores, _ = self._score(shuffled, StimulusPictures(source, drawn_from), "shuffled as drawn")
            evaluation.rows["shuffled_as_drawn"] = Row(drawn_from, dict(scores.values), shuffled.borrowed_from)
        except BadInputError as error:
            evaluation.skipped["controls/shuffled_as_drawn"] = str(error)

    def _add_first_samples(self, evaluation: Evaluation, run: Run, source: StimulusSource) -> None:
        first = first_samples(run)
        if first is not None:
            scores, _ = self._score(first, StimulusPictures(source, run.ids), "first samples")
            evaluation.rows["first_sample"] = Row(run.ids, dict(scores.values))

    def _add_embedding_scores(self, evaluation: Evaluation, run: Run, controls: dict[str, Run]) -> None:
        try:
            gallery = open_gallery(run, self.clip_cache)
            found = _embedding_scores(run, run.ids, gallery)
        except BadInputError as error:
            evaluation.skipped |= dict.fromkeys(EMBEDDING_METRICS, str(error))
            return
        evaluation.run.values.update(found.values)
        evaluation.chance.update(found.chance)
        evaluation.mean_vector.update(found.mean_vector)
        evaluation.skipped |= found.skipped
        evaluation.inputs["clip_cache"] = gallery.cache.content_hash
        shuffled = controls.get("shuffled")
        for name in ("shuffled", "shuffled_as_drawn"):
            if shuffled is None or name not in evaluation.rows:
                continue
            try:
                row = evaluation.rows[name]
                row.values.update(_embedding_scores(shuffled, row.ids, gallery).values)
            except BadInputError as error:
                evaluation.skipped[f"controls/{name}, embeddings"] = str(error)


def _open_judge(protocol: Protocol) -> tuple[Judge | None, str | None]:
    if protocol.judge_size_px is None:
        return None, None
    from fmri_lightning.evaluation.judge import SKIP_HINT, judge_weights, load_judge

    weights = judge_weights()
    return (None, SKIP_HINT) if weights is None else (load_judge(weights), None)


def _embedding_scores(run: Run, ids: NDArray[np.int32], gallery: Gallery) -> BrainScores:
    predicted = predictions_of(run).source
    if predicted is None:
        raise BadInputError(f"{run.folder} predicts no source embeddings")
    return score_embeddings(predicted, ids, gallery)


def _describe(evaluation: Evaluation, protocol: Protocol, run: Run) -> None:
    """Fill in header, circular metrics and manifest settings."""
    summary = run.summary
    simulated = bool(summary.get("simulated", False))
    n_test_set = summary.get("n_test_set")
    spaces: dict[str, Any] = summary.get("provenance", {}).get("spaces", {})
    names = {key: (space or {}).get("name") for key, space in spaces.items()}
    # Predicted embeddings are scored in the very space that conditions the pictures (through the adapter).
    evaluation.circular = {name for name in evaluation.run.values if METRICS[name].network == "source"}
    evaluation.header = {
        "protocol": protocol.title(len(np.unique(run.ids)), len(run.ids), n_test_set, simulated),
        "protocol_settings": protocol.settings(),
        "headline": protocol.headline,
        "n": len(run.ids),
        "test_set": summary.get("test_set"),
        "n_test_set": n_test_set,
        "identification_gallery": len(np.unique(run.ids)),
        "simulated": simulated,
        "subject": summary.get("subject"),
        "encoder": summary.get("encoder"),
        "condition": summary.get("condition"),
        "trial_mode": summary.get("trial_mode"),
        "n_samples": summary.get("n_samples"),
        "spaces": names,
        "failures": summary.get("failures", []),
    }
    evaluation.config = {"protocol": protocol.settings(), "simulated": simulated}


def evaluate_folders(runner: Runner, generated: Path, truth: Path) -> Evaluation:
    """Score any folder of pictures against its originals.

    Args:
        runner: With the protocol.
        generated: Folder of reconstructions.
        truth: Folder of ground truths, or an NSD tree.

    Returns:
        The scores of pictures; there are no rows beside them.

    Raises:
        BadInputError: Pictures lack a partner, or cannot be scored.
    """
    ids, recon, found = pair_folders(generated, truth)
    originals: PictureSet = found if isinstance(found, PictureFiles) else StimulusPictures(found, ids)
    inputs = {
        "truth": check_pictures(originals, "ground truths"),
        "pictures": check_pictures(recon, f"pictures of {generated}"),
    }
    scores = runner._scorer.score(recon, originals, ids, generated.name)
    evaluation = Evaluation(run=Row(ids, scores.values), samples=np.zeros(len(ids), np.int16), chance=scores.chance)
    evaluation.skipped = runner._skipped() | dict.fromkeys(EMBEDDING_METRICS, "a folder of pictures has no predictions")
    evaluation.inputs = inputs
    evaluation.header = {
        "protocol": runner.protocol.title(len(ids), len(ids), None, simulated=False),
        "protocol_settings": runner.protocol.settings(),
        "headline": runner.protocol.headline,
        "n": len(ids),
        "test_set": None,
        "n_test_set": None,
        "identification_gallery": len(ids),
        "simulated": None,
        "generated": generated.as_posix(),
    }
    evaluation.config = {"protocol": runner.protocol.settings()}
    return evaluation
