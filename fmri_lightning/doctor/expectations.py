"""``doctor --expect``: the figures of a run beside what NSD's publications let one expect of a first real run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fmri_lightning.errors import BadInputError

if TYPE_CHECKING:
    from fmri_lightning.index.published import PublishedSubject
    from fmri_lightning.manifest import Manifest
    from fmri_lightning.records import TrialTable

POOL = 300
SPACE = "vit-b-32"
MEAN_VECTOR_COSINE = (0.55, 0.85)
"""CLIP image embeddings lie in a cone: about .70 for ViT-B/32 on COCO pictures."""
TOP1_OF_300 = (0.10, 0.60)
"""Published vectors of 512 dimensions reach .19 to .49, a network to 768 dimensions .62; more smells of a leak."""
COSINE_GAIN = (0.02, 0.15)
"""What a prediction adds to the mean vector's cosine; the best published single vectors add about .07 to .10."""
NCSNR_TOLERANCE = 0.05


@dataclass(frozen=True)
class Expectation:
    """One figure.

    Attributes:
        name: What it is.
        found: Its value.
        low: Smallest value to expect; None where nothing is published.
        high: Largest.
        why: Where the range comes from, or why there is none.
    """

    name: str
    found: float
    low: float | None
    high: float | None
    why: str

    @property
    def met(self) -> bool | None:
        """Whether the figure is in its range; None where there is none."""
        if self.low is None or self.high is None:
            return None
        return self.low <= self.found <= self.high

    def line(self) -> str:
        """Return one line of text."""
        word = {True: "ok", False: "OUTSIDE", None: "no figure"}[self.met]
        span = "" if self.met is None else f", expected {_text(self.low, self.high)}"
        return f"{word:9} {self.name}: {self.found:.6g}{span} ({self.why})"


def _text(low: float | None, high: float | None) -> str:
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"


def expectations(run: Path) -> Iterator[Expectation]:
    """Compare a run's figures with published ones.

    Args:
        run: Folder written by predict.

    Yields:
        Voxels, sessions, trials, pictures, test size, ncsnr, mean-vector cosine, cosine gain and top-1.

    Raises:
        BadInputError: The run, or something it was made from, is missing or damaged.
    """
    from fmri_lightning.doctor.runs import read_run_inputs
    from fmri_lightning.index.published import published_subject
    from fmri_lightning.index.table import index_manifest, read_index
    from fmri_lightning.manifest import read_manifest

    inputs = read_run_inputs(run)
    index = index_manifest(inputs.index_root, inputs.subject)
    published = published_subject(inputs.subject, int(index.config.get("n_catalogue", 0)))
    why = f"Allen et al. 2022, {inputs.subject}"
    if published is None:
        why = "simulated" if index.config.get("simulated") else "not a subject and catalogue of NSD"
    table = read_index(inputs.index_root, inputs.subject)
    yield from _data_figures(published, table, read_manifest(inputs.store, "betas"), why, index)
    yield from _decoding_figures(run, inputs.clip_cache, inputs.index_root, inputs.subject, published is not None)


def _data_figures(
    published: PublishedSubject | None, table: TrialTable, store: Manifest, why: str, index: Manifest
) -> Iterator[Expectation]:
    import numpy as np

    from fmri_lightning.index.published import NSD_TRIALS_PER_SESSION
    from fmri_lightning.index.table import sessions_covered

    n_sessions, config = sessions_covered(index), store.config
    test = table.of_split("test")
    whole = published is not None and n_sessions == published.sessions
    run = published.sessions if published is not None else None
    in_part = why if whole or run is None else f"{why}; this index has {n_sessions} of {run} sessions"
    comparable = config["roi"] == "nsdgeneral" and config.get("space", "func1pt8mm") == "func1pt8mm"

    def exact(name: str, found: float, expected: float | None, reason: str) -> Expectation:
        return Expectation(name, found, expected, expected, reason)

    # A row of averaged betas is a picture, not a trial.
    averaged = bool(index.config.get("averaged", False))
    trials = None if published is None or averaged else n_sessions * NSD_TRIALS_PER_SESSION
    yield exact("voxels", config["n_voxels"], published.nsdgeneral if published and comparable else None, why)
    yield exact("sessions", n_sessions, run if whole else None, in_part)
    yield exact("trials", len(table), trials, why)
    yield exact("pictures", len(np.unique(table.nsd_id)), published.stimuli if published and whole else None, in_part)
    yield exact("test pictures", len(np.unique(test.nsd_id)), _test_size(published, n_sessions), in_part)
    yield exact("test trials", len(test), published.shared_trials if published and whole else None, in_part)
    median = (config.get("ncsnr") or {}).get("median")
    if median is not None:
        bound = published is not None and comparable and config.get("betas_version", "b3") == "b3"
        middle = published.median_ncsnr if published is not None and bound else None
        low, high = (None, None) if middle is None else (middle - NCSNR_TOLERANCE, middle + NCSNR_TOLERANCE)
        yield Expectation("median ncsnr", median, low, high, why)


def _test_size(published: PublishedSubject | None, n_sessions: int) -> int | None:
    """Return the number of test pictures: all sessions, or 982 in the first 37 of a subject that ran 40."""
    if published is None:
        return None
    if n_sessions == published.sessions:
        return published.shared
    return 982 if (n_sessions, published.sessions) == (37, 40) else None


def _decoding_figures(run: Path, clip_cache: Path, index_root: Path, subject: str, real: bool) -> Iterator[Expectation]:
    import numpy as np

    from fmri_lightning.embeddings.cache import EmbeddingCache
    from fmri_lightning.generation.predictions import FILE_NAME, read_predictions
    from fmri_lightning.index.table import read_index
    from fmri_lightning.metrics.cosine import cosine, cosine_matrix, mean_vector_cosine
    from fmri_lightning.metrics.retrieval import pooled_top_1

    cache = EmbeddingCache.open(clip_cache)
    predictions, _ = read_predictions(run / FILE_NAME)
    if predictions.source is None:
        raise BadInputError(f"{run / FILE_NAME} holds no source embeddings; give a run drawn from a brain")
    truth = cache.rows(predictions.nsd_id)
    train = np.unique(read_index(index_root, subject).of_split("train").nsd_id)
    baseline = float(mean_vector_cosine(cache.rows(train).mean(axis=0, dtype=np.float64), truth).mean())
    gain = float(cosine(predictions.source, truth).mean()) - baseline
    bound = real and cache.space.name == SPACE
    why = "published decoders of one CLIP vector" if bound else f"only {SPACE} on NSD has published figures"

    def within(name: str, found: float, limits: tuple[float, float]) -> Expectation:
        low, high = limits if bound else (None, None)
        return Expectation(name, found, low, high, why)

    yield within("mean-vector cosine", baseline, MEAN_VECTOR_COSINE)
    yield within("cosine above the mean vector", gain, COSINE_GAIN)
    if len(predictions) >= POOL:
        similarity = cosine_matrix(predictions.source, truth)
        top1 = float(np.nanmean(pooled_top_1(similarity, predictions.nsd_id, pool=POOL).per_item))
        yield within(f"top-1 of {POOL}, picture given brain", top1, TOP1_OF_300)
    else:
        reason = f"needs {POOL} predictions; run predict without --data.limit, with --model.decoder.family none"
        yield Expectation("predictions", len(predictions), None, None, reason)
