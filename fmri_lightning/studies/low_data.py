"""The ``low-data`` command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fmri_lightning.errors import UsageError

if TYPE_CHECKING:
    from fmri_lightning.studies.low_data_scores import Curves

SHIPPED = ("configs/encoder/ridge.yaml", "configs/encoder/mlp.yaml")


def low_data(
    root: Path,
    subject: str = "subj01",
    sessions: str = "1,3,10,all",
    configs: list[str] | None = None,
    clip_cache: Path = Path("outputs/clip_cache/clip.parquet"),
    out: Path = Path("outputs/low_data"),
    source: str = "nsd",
    tier: Literal["T1", "T2"] = "T1",
    mask: Literal["roi", "reliability", "ncsnr"] = "roi",
    options: list[str] | None = None,
    seeds: int = 1,
    seed: int = 42,
    resamples: int = 2000,
    dry_run: bool = False,
) -> None:
    """Fit encoders on the first sessions of a subject, more and more of them, and score all on one test set.

    Index, betas and fits of each number of sessions are made by the commands that a real run uses, from these sessions
    alone. All encoders are then scored on the same betas of the same test pictures, those of all sessions. What was
    finished before is taken as it is.

    Args:
        root: Folder of the data, as for index.
        subject: Subject, for instance subj05.
        sessions: Numbers of first sessions and all, with commas between them.
        configs: Encoder configurations to compare; by default the shipped ridge and MLP.
        clip_cache: Embeddings of the pictures (target of the encoders).
        out: Folder of the study; a subject gets its own.
        source: Where the data come from: nsd, mindeye2 or arrays, as for index.
        tier: T1 (scaling and mask) or T2 (principal components of T1), fitted on the sessions of each point.
        mask: What judges a voxel, the same for every point: roi (no judge), reliability or ncsnr of the point's own
            train trials, which need 100 repeated train pictures also at the fewest sessions.
        options: Further words of single steps, as STEP:WORDS, where STEP is index, betas or the file name of a
            configuration without its ending; for instance "mlp:--trainer.max_epochs 20"; by default none.
        seeds: Training seeds of every network, whose scores are averaged; a ridge is fitted once.
        seed: The first training seed.
        resamples: Bootstrap resamples of the intervals.
        dry_run: Print the commands and stop.

    Raises:
        UsageError: If a flag, an option or a configuration makes no sense.
        BadInputError: If the data hold fewer sessions, or too few repeated pictures for the mask.
        StageError: If a step failed; its own message says what to do.
    """
    if seeds < 1 or resamples < 1:
        raise UsageError(f"--seeds {seeds}, --resamples {resamples}: both start at 1")
    from fmri_lightning.ceiling.fits import read_encoders
    from fmri_lightning.locks import run_lock
    from fmri_lightning.studies.low_data_plan import Study, parse_options, read_amounts

    encoders = tuple(read_encoders(list(configs or SHIPPED)))
    study = Study(
        root=Path(root),
        source=source,
        subject=subject,
        clip_cache=Path(clip_cache),
        folder=Path(out) / subject,
        encoders=encoders,
        tier=tier,
        mask=mask,
        seeds=seeds,
        seed=seed,
        options=parse_options(list(options or []), [encoder.name for encoder in encoders]),
    )
    study.require_possible()
    amounts, total = read_amounts(study, str(sessions))
    if dry_run:
        for words in study.all_words(amounts, total):
            print(shlex.join(["fmri-lightning", *words]))
        return
    from fmri_lightning.studies.low_data_run import run_study

    with run_lock(study.folder):
        curves = run_study(study, amounts, total)
        _report(study.folder, curves, resamples)


def _report(folder: Path, curves: Curves, resamples: int) -> None:
    """Write tables and figure, print the table."""
    from fmri_lightning.studies.low_data_figure import write_figures
    from fmri_lightning.studies.low_data_results import markdown, summarise, write_results

    result = summarise(curves, resamples)
    write_figures(folder, result)
    write_results(folder, curves, result)
    print("\n" + markdown(result))
    for name in (
        "low_data.json",
        "low_data.csv",
        "low_data.md",
        "low_data.svg",
        "low_data.png",
        "per_stimulus.parquet",
    ):
        print(folder / name)
