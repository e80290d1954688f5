"""Scores a run with the rows that belong beside it, or any folder of pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.brain.correlation import BrainCorrelation
from fmri_lightning.evaluation.brain.repeats import KIND as REPEATS
from fmri_lightning.evaluation.brain.repeats import repeat_ceiling
from fmri_lightning.evaluation.calibrate import calibrate
from fmri_lightning.evaluation.describe import describe_folder, describe_run
from fmri_lightning.evaluation.embedding_scores import EmbeddingScores, score_embeddings
from fmri_lightning.evaluation.folders import read_folders
from fmri_lightning.evaluation.gallery import Gallery, open_gallery, predictions_of
from fmri_lightning.evaluation.groups import Grouping, categories_of, groups_of
from fmri_lightning.evaluation.metric_table import EMBEDDING_METRICS
from fmri_lightning.evaluation.pictures import PictureSet, StimulusPictures, check_pictures
from fmri_lightning.evaluation.protocols import Protocol
from fmri_lightning.evaluation.results import Evaluation, Row
from fmri_lightning.evaluation.rows import (
    AS_DRAWN,
    add_control_rows,
    add_first_samples,
    add_nearest_training,
    row_of,
)
from fmri_lightning.evaluation.runs import Run, chosen_samples, find_controls
from fmri_lightning.evaluation.scoring import PictureScorer, PictureScores, open_networks
from fmri_lightning.evaluation.truth import open_truth
from fmri_lightning.index.stimuli import StimulusSource
from fmri_lightning.manifest import content_hash


@dataclass(frozen=True)
class Places:
    """Where inputs of a run lie now, when not where the run says.

    Attributes:
        truth: Ground truth, or None for the run's own data root.
        clip_cache: CLIP cache of the true embeddings.
        betas: Beta store of the subject.
        preproc: Preprocessing of the subject.
    """

    truth: Path | None = None
    clip_cache: Path | None = None
    betas: Path | None = None
    preproc: Path | None = None


@dataclass
class Runner:
    """Scores runs one after the other; a control shared by several is scored once.

    Attributes:
        protocol: How to score.
        places: Where inputs lie now.
        resamples: Bootstrap resamples of every interval.
        seed: Of bootstrap and permutations.
        with_brain_correlation: Whether pictures are also scored through a voxel-encoding model.
        grouping: Which rows per category are asked for.
    """

    protocol: Protocol
    places: Places = field(default_factory=Places)
    resamples: int = 2000
    seed: int = 0
    with_brain_correlation: bool = False
    grouping: Grouping = field(default_factory=Grouping)
    scorer: PictureScorer = field(init=False)
    not_computed: dict[str, str] = field(init=False)
    _scored: dict[tuple[str, int], tuple[PictureScores, str]] = field(init=False, default_factory=dict)
    _stimuli: dict[str | None, StimulusSource] = field(init=False, default_factory=dict)
    _brain_correlation: BrainCorrelation | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        networks, self.not_computed = open_networks(self.protocol)
        self.scorer = PictureScorer(self.protocol, networks)
        if self.with_brain_correlation:
            self._brain_correlation = BrainCorrelation(self.protocol, networks, self.places.betas)

    def check(self, run: Run) -> tuple[StimulusSource, str, str]:
        """Read all pictures of a run and their ground truths, before anything is scored.

        Args:
            run: The run.

        Returns:
            The stimuli, hash of the reconstructions, hash of the ground truths.

        Raises:
            BadInputError: A picture is missing, unreadable or constant.
        """
        source = self.stimuli_of(run)
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
        stimuli, pictures_hash, truth_hash = self.check(run)
        known = categories_of(run, self.grouping)
        controls, skipped = find_controls(run, siblings)
        scores, _ = self._score(run.pictures, StimulusPictures(stimuli, run.ids), run.folder.name)
        evaluation = Evaluation(run=row_of(run, scores), samples=chosen_samples(run), chance=dict(scores.chance))
        evaluation.skipped = self.not_computed | skipped
        evaluation.inputs = {"pictures": pictures_hash, "truth": truth_hash, **known.inputs}
        add_control_rows(evaluation, controls, stimuli, self._score)
        add_first_samples(evaluation, run, stimuli, self._score)
        add_nearest_training(evaluation, run, stimuli, self._score)
        self._add_embedding_scores(evaluation, run, controls)
        evaluation.groups = groups_of(run.ids, known.categories)
        describe_run(evaluation, self.protocol, run)
        evaluation.config |= known.config
        evaluation.config["networks"] = self._facts()
        self._add_brain_correlation(evaluation, run, controls, stimuli)
        return evaluation

    def evaluate_folders(self, generated: Path, truth: Path) -> Evaluation:
        """Score any folder of pictures against its originals.

        Args:
            generated: Folder of reconstructions, of any system.
            truth: Folder of ground truths, or an NSD tree.

        Returns:
            The scores of the pictures that both sides have; there are no rows beside them.

        Raises:
            BadInputError: Nothing on the two sides pairs up.
        """
        pair = read_folders(generated, truth)
        scores = self.scorer.score(pair.generated, pair.truth, pair.ids, generated.name)
        evaluation = Evaluation(
            run=Row(pair.ids, dict(scores.values), influence=dict(scores.influence)),
            samples=np.zeros(len(pair.ids), np.int16),
            chance=scores.chance,
        )
        evaluation.skipped = self.not_computed | dict.fromkeys(
            EMBEDDING_METRICS, "a folder of pictures has no predictions"
        )
        evaluation.inputs = {"pictures": pair.generated_hash, "truth": pair.truth_hash}
        describe_folder(evaluation, self.protocol, generated.as_posix(), [c.to_dict() for c in pair.caveats])
        evaluation.config["networks"] = self._facts()
        return evaluation

    def _facts(self) -> dict[str, dict[str, str]]:
        """What every network was loaded from: weights, their hash, versions of libraries."""
        return {name: dict(network.facts) for name, network in self.scorer.networks.items()}

    def stimuli_of(self, run: Run) -> StimulusSource:
        """Open the stimuli of a run; the same object for every run of one data root.

        Args:
            run: The run.
        """
        root = run.summary.get("provenance", {}).get("root")
        if root not in self._stimuli:
            self._stimuli[root] = open_truth(root, self.places.truth)
        return self._stimuli[root]

    def _score(self, pictures: PictureSet, truth: StimulusPictures, description: str) -> tuple[PictureScores, str]:
        names = "\n".join(pictures.name(i) for i in range(len(pictures)))
        # Equal ids of two data roots are other stimuli.
        key = (content_hash(names, truth.ids), id(truth.source))
        if key not in self._scored:
            digest = check_pictures(pictures, description)
            self._scored[key] = (self.scorer.score(pictures, truth, truth.ids, description), digest)
        return self._scored[key]

    def _add_embedding_scores(self, evaluation: Evaluation, run: Run, controls: dict[str, Run]) -> None:
        try:
            gallery = open_gallery(run, self.places.clip_cache)
            found = _embedding_scores(run, run.ids, gallery)
        except BadInputError as error:
            evaluation.skipped |= dict.fromkeys(EMBEDDING_METRICS, str(error))
            return
        _take(evaluation.run, found)
        evaluation.chance.update(found.chance)
        evaluation.mean_vector.update(found.mean_vector)
        evaluation.skipped |= found.skipped
        evaluation.inputs["clip_cache"] = gallery.cache.content_hash
        self._add_repeat_ceiling(evaluation, run, gallery)
        evaluation.calibration = calibrate(found, evaluation.run.values, run.ids, gallery.ids, self.seed)
        shuffled = controls.get("shuffled")
        for name in ("shuffled", AS_DRAWN):
            if shuffled is None or name not in evaluation.rows:
                continue
            try:
                row = evaluation.rows[name]
                _take(row, _embedding_scores(shuffled, row.ids, gallery))
            except BadInputError as error:
                evaluation.skipped[f"controls/{name}, embeddings"] = str(error)

    def _add_repeat_ceiling(self, evaluation: Evaluation, run: Run, gallery: Gallery) -> None:
        try:
            if gallery.mean is None:
                raise BadInputError("centred scores need an index, whose training stimuli give the mean")
            found = repeat_ceiling(run, gallery.mean, self.places.betas, self.places.preproc, self.resamples, self.seed)
            evaluation.ceilings["source_centred_cosine"] = found
        except BadInputError as error:
            evaluation.skipped[REPEATS] = str(error)

    def _add_brain_correlation(
        self, evaluation: Evaluation, run: Run, controls: dict[str, Run], stimuli: StimulusSource
    ) -> None:
        if self._brain_correlation is None:
            evaluation.skipped["brain_correlation"] = "asked for with --brain_correlation true"
            return
        others = {name: control.pictures for name, control in controls.items()}
        try:
            evaluation.header["brain_correlation"] = self._brain_correlation.score(
                run, others, stimuli, self.resamples, self.seed
            )
        except BadInputError as error:
            evaluation.skipped["brain_correlation"] = str(error)


def _take(row: Row, found: EmbeddingScores) -> None:
    row.values.update(found.values)
    row.influence.update(found.influence)


def _embedding_scores(run: Run, ids: NDArray[np.int32], gallery: Gallery) -> EmbeddingScores:
    predicted = predictions_of(run).source
    if predicted is None:
        raise BadInputError(f"{run.folder} predicts no source embeddings")
    return score_embeddings(predicted, ids, gallery)
