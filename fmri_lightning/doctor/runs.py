"""What ``doctor`` checks of a finished run: leaks into its statistics, and the pairing of response and picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmri_lightning.errors import BadInputError


@dataclass(frozen=True)
class RunInputs:
    """Where the inputs of a run are, as its ``predict.yaml`` says.

    Attributes:
        subject: For instance "subj01".
        index_root: Folder of the indices.
        store: Beta store of the subject.
        preproc: Preprocessing of the subject.
        clip_cache: Embeddings of the stimuli.
    """

    subject: str
    index_root: Path
    store: Path
    preproc: Path
    clip_cache: Path


def read_run_inputs(run: Path) -> RunInputs:
    """Read the configuration that predict left in a run folder.

    Args:
        run: Folder written by predict; relative paths inside are taken from the working directory, as predict did.

    Returns:
        The inputs.

    Raises:
        BadInputError: No configuration there, or it names no betas (pictures drawn from given embeddings).
    """
    settings, _ = read_run_settings(run)
    if not settings.get("betas") or settings.get("embeddings"):
        raise BadInputError(f"{run} was drawn from given embeddings; there are no betas to check")
    subject = settings["subject"]
    return RunInputs(
        subject,
        Path(settings["index_root"]),
        folder_of_subject(settings["betas"], subject),
        folder_of_subject(settings["preproc"], subject),
        Path(settings["clip_cache"]),
    )


def read_run_settings(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the arguments that predict left in a run folder.

    Args:
        run: Folder written by predict.

    Returns:
        Arguments of the data module and of the model.

    Raises:
        BadInputError: No configuration there.
    """
    import yaml

    path = run / "predict.yaml"
    if not path.is_file():
        raise BadInputError(f"{path} is missing; give a run folder written by fmri-lightning predict")
    settings: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return settings["data"]["init_args"], settings.get("model", {}).get("init_args", {})


def folder_of_subject(folder: str, subject: str) -> Path:
    """Take a subject's artefact folder as it is, or find it in the folder of all subjects, as predict does."""
    path = Path(folder)
    return path if (path / "manifest.json").is_file() else path / subject


def leaks(run: Path) -> Iterator[str]:
    """Check every record behind a run, and recompute every statistic from its training trials and stimuli.

    Args:
        run: Folder written by predict.

    Yields:
        One line per check that passed, and per part that was not there to check.

    Raises:
        BadInputError: At the first leak, naming the trials or stimuli.
    """
    from fmri_lightning.doctor.leaks.check import check_run

    yield from check_run(run)


def pairing(run: Path) -> list[str]:
    """Let the brain itself say whether each response is paired with the picture that caused it.

    Args:
        run: Folder written by predict.

    Returns:
        One line per shift of ids and trials.

    Raises:
        BadInputError: The index's pairing identifies nothing, or a shifted one does.
    """
    import numpy as np

    from fmri_lightning.betas.store import BetaStore
    from fmri_lightning.embeddings.cache import EmbeddingCache
    from fmri_lightning.index.pairing import check_pairing
    from fmri_lightning.index.prediction_only import is_prediction_only
    from fmri_lightning.index.table import index_manifest, read_index

    inputs = read_run_inputs(run)
    if is_prediction_only(index_manifest(inputs.index_root, inputs.subject)):
        raise BadInputError(
            f"{run} is prediction only: pairing is checked by a fit, and its index has nothing to fit on; check a run "
            "of the index that its encoder was trained on"
        )
    table = read_index(inputs.index_root, inputs.subject)
    cache = EmbeddingCache.open(inputs.clip_cache)
    betas = np.asarray(BetaStore.open(inputs.store).betas, np.float32)
    results = check_pairing(betas, table.nsd_id, table.split, np.asarray(cache.ids), np.asarray(cache.embeddings))
    return [f"{r.what} {r.shift:+d}: top-1 of 10 {r.top1:.1%}, chance {r.chance:.1%}, p = {r.p:.4f}" for r in results]
