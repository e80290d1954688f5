"""What is made over all subjects when their chains have ended: one table and one page, which say who is missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fmri_lightning.errors import StageError
from fmri_lightning.manifest import read_manifest
from fmri_lightning.studies.subject_chain import Chain, run_chains
from fmri_lightning.studies.subject_plan import Study
from fmri_lightning.studies.subject_record import ChainRecord, Failure

RESAMPLES, SEED = 2000, 0
"""Of evaluations that do not say theirs."""


def find_missing(study: Study, subjects: list[str], failed: Mapping[str, Failure], needed: str) -> dict[str, str]:
    """Say which subjects cannot be in the table or on the page, and why.

    Args:
        study: What was done to each of them.
        subjects: All that should be there.
        failed: Who failed just now.
        needed: "table" or "report".

    Returns:
        Subject to reason. Whose chain failed is missing even where older scores lie there: they are of other inputs.
    """
    missing = {}
    for subject in subjects:
        failure = failed.get(subject) or ChainRecord.read(study.folder / subject).failed
        if failure is not None:
            missing[subject] = failure.words()
        elif needed == "table" and not (study.scores(subject) / "manifest.json").is_file():
            missing[subject] = f"not evaluated by protocol {study.protocol}"
        elif not (study.run(subject) / "decode_summary.json").is_file():
            missing[subject] = "no finished pictures"
    return missing


def write_table(study: Study, subjects: list[str], missing: dict[str, str]) -> list[Path]:
    """Write the table of all subjects that were evaluated.

    Args:
        study: Says where scores and table lie.
        subjects: All that should be in it.
        missing: Of them, who is not, and why; not all of them.

    Returns:
        The files.

    Raises:
        BadInputError: The evaluations do not belong in one table.
    """
    from fmri_lightning.evaluation.tables import write_tables

    folders = [study.scores(subject) for subject in subjects if subject not in missing]
    settings = read_manifest(folders[0], "evaluation").config
    resamples, seed = int(settings.get("resamples", RESAMPLES)), int(settings.get("seed", SEED))
    return write_tables(folders, study.tables, True, resamples, seed, missing)


def write_page(study: Study, subjects: list[str], missing: dict[str, str]) -> Path:
    """Write the page of all subjects that have pictures.

    Args:
        study: Says where runs and page lie.
        subjects: All that should be on it.
        missing: Of them, who is not, and why; not all of them.

    Returns:
        The page.

    Raises:
        StageError: report failed.
        InterruptedRunError: A signal came.
    """
    there = [subject for subject in subjects if subject not in missing]
    command = study.report(there, [f"{subject}: {why}" for subject, why in missing.items()])
    chain = Chain("all", study.folder / "closing", [command])
    run_chains([chain], jobs=1)
    if chain.failed is not None:
        error = StageError(f"no page, {chain.failed.words()}: {chain.failed.message}; its log is {chain.log}")
        error.exit_code = max(chain.failed.code, StageError.exit_code)
        raise error
    return study.page / "index.html"
