"""The ``subjects`` command: the stages of several subjects, each on its own, to one table and one page."""

from __future__ import annotations

import contextlib
import io
import shlex
from pathlib import Path

from fmri_lightning.errors import StageError, UsageError
from fmri_lightning.index.sources import SOURCES
from fmri_lightning.studies.subject_chain import Chain, run_chains
from fmri_lightning.studies.subject_closing import find_missing, write_page, write_table
from fmri_lightning.studies.subject_list import choose_subjects, parse_subjects
from fmri_lightning.studies.subject_plan import (
    CLOSING,
    TARGETS,
    StepCommand,
    Study,
    choose_steps,
    config_of,
    encoder_name,
)
from fmri_lightning.studies.subject_record import Failure

NO_ADAPTER = "none"


def subjects(
    root: Path,
    subjects: str = "all",
    source: str = "nsd",
    encoder: str = "ridge",
    decoder: str = "unclip",
    steps: str = "all",
    conditions: str = "predicted",
    calibrate: bool = False,
    protocol: str = "demo",
    space: str | None = None,
    target_space: str | None = None,
    clip_cache: Path | None = None,
    target_cache: Path | None = None,
    out: Path = Path("outputs"),
    checkpoints: Path = Path("checkpoints"),
    name: str | None = None,
    jobs: int = 1,
    clip_cache_options: str = "",
    index_options: str = "",
    betas_options: str = "",
    fit_options: str = "",
    adapter_options: str = "",
    calibrate_options: str = "",
    predict_options: str = "",
    evaluate_options: str = "",
    report_options: str = "",
    dry_run: bool = False,
) -> None:
    """Run the stages of several subjects, each on its own, and put all of them into one table and one page.

    A subject that fails is named, and the others go on. The same command again goes on where it was stopped.

    Args:
        root: Folder of the data of all subjects.
        subjects: Names or numbers with commas between, ranges as in 1-8, or all: those found under the root.
        source: Where the data come from, as for index.
        encoder: A file of configs/encoder without its ending, or a YAML.
        decoder: A file of configs/decoder without its ending, or a YAML.
        steps: clip-cache, index, betas, fit, adapter, calibrate, predict, evaluate, table and report, those that are
            to be run with commas between, or all. What is left out is expected to be there.
        conditions: Conditions of predict with commas between, for instance predicted,shuffled,true_target.
        calibrate: Calibrate the predictions of each subject, and draw from calibrated ones.
        protocol: How evaluate scores.
        space: Embedding space of the encoder; by default vit-b-32, for decoder mini mini-source.
        target_space: Embedding space that the decoder reads, or none to draw without an adapter; by default that of
            the decoder, and a YAML of your own needs it.
        clip_cache: Embeddings in the encoder's space; by default {out}/clip_cache/clip.parquet.
        target_cache: Embeddings in the decoder's space; by default {out}/clip_cache/{target_space}.parquet.
        out: Folder of everything but checkpoints; logs, table and page go to {out}/subjects/{name}.
        checkpoints: Folder of all checkpoints.
        name: Names the run folders {out}/recon/{subject}/{name}; by default {encoder}_diffusion for the decoders
            unclip and mini, else {encoder}_{decoder}.
        jobs: Subjects at once. Each holds its own memory, and all of them use the same GPU.
        clip_cache_options: Further words for clip-cache.
        index_options: Further words for index, {subject} standing for the subject, as in all that follow.
        betas_options: Further words for betas.
        fit_options: Further words for the fit of the encoder.
        adapter_options: Further words for the fit of the adapter.
        calibrate_options: Further words for calibrate.
        predict_options: Further words for predict; fmri_lightning/studies/README.md shows how they are quoted.
        evaluate_options: Further words for evaluate.
        report_options: Further words for report.
        dry_run: Print all commands and stop; nothing is run and nothing written.

    Raises:
        UsageError: A command is not accepted, whichever subject's and however late; found before the first one runs.
        BadInputError: There are no data, or evaluations do not belong in one table.
        InterruptedRunError: A signal came; the same command goes on.
        StageError: A subject failed. Table and page are there without it.
    """
    if jobs < 1:
        raise UsageError(f"--jobs starts at 1, got {jobs}")
    if source not in SOURCES:
        raise UsageError(f"source {source!r} is not supported, choose {', '.join(SOURCES)}")
    options = {
        "clip-cache": clip_cache_options,
        "index": index_options,
        "betas": betas_options,
        "fit": fit_options,
        "adapter": adapter_options,
        "calibrate": calibrate_options,
        "predict": predict_options,
        "evaluate": evaluate_options,
        "report": report_options,
    }
    encoder_config, decoder_config = config_of("encoder", encoder), config_of("decoder", decoder)
    target = _target_of(decoder, target_space)
    fitted = encoder_name(encoder_config)
    study = Study(
        root=root,
        source=source,
        encoder=fitted,
        encoder_config=encoder_config,
        decoder_config=decoder_config,
        target=target,
        space=space if space is not None else "mini-source" if decoder == "mini" else "vit-b-32",
        conditions=_conditions(conditions),
        calibrated=calibrate,
        clip_cache=clip_cache if clip_cache is not None else out / "clip_cache" / "clip.parquet",
        target_cache=target_cache if target_cache is not None else out / "clip_cache" / f"{target}.parquet",
        checkpoints=checkpoints,
        out=out,
        name=name if name is not None else f"{fitted}_{_drawn_by(decoder)}",
        protocol=protocol,
        options=options,
    )
    chosen = choose_steps(steps, study)
    only_closing = set(chosen) <= set(CLOSING) and subjects != "all"
    names = parse_subjects(subjects) if only_closing else choose_subjects(subjects, source, root)
    shared = [command for command in study.shared() if command.step in chosen]
    chains = {who: [command for command in study.chain(who) if command.step in chosen] for who in names}
    _accept([*shared, *chains[names[0]], *_differing(chains, study), *_closing(study, names, chosen)])
    if dry_run:
        _print(study, shared, chains, names, chosen)
        return
    _require_caches(study, chosen)
    failed = _run(study, shared, chains, jobs)
    _close(study, names, chosen, failed)


def _target_of(decoder: str, given: str | None) -> str | None:
    if given is not None:
        return None if given == NO_ADAPTER else given
    if decoder not in TARGETS:
        raise UsageError(
            f"--decoder {decoder}: say which embedding space it reads, for instance --target_space vit-h-14, or "
            "--target_space none where it is drawn from without an adapter"
        )
    return TARGETS[decoder]


def _drawn_by(decoder: str) -> str:
    stem = Path(decoder).stem
    return "diffusion" if stem in ("unclip", "mini") else stem


def _conditions(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if "predicted" not in names or len(set(names)) < len(names):
        raise UsageError(f"--conditions names predicted and each condition once, got {text!r}")
    return names


def _differing(chains: dict[str, list[StepCommand]], study: Study) -> list[StepCommand]:
    """Commands of the other subjects that differ from the first one's in more than a name that stands in a path."""
    return [
        command
        for commands in list(chains.values())[1:]
        for command in commands
        if "{subject}" in study.options.get(command.step, "")
    ]


def _closing(study: Study, names: list[str], chosen: list[str]) -> list[StepCommand]:
    return [study.report(names, [])] if "report" in chosen else []


def _accept(commands: list[StepCommand]) -> None:
    """Parse every command before the first one runs: a typo in the last stage must not cost a night."""
    from fmri_lightning.cli import main
    from fmri_lightning.evaluation.protocols import find_protocol

    for command in commands:
        if command.step == "evaluate":
            find_protocol(command.words[command.words.index("--protocol") + 1])
        said = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            code = main([*command.words, "--print_config"])
        if code != 0:
            line = said.getvalue().strip().removeprefix("fmri-lightning: ")
            whose = f" of {command.subject}" if command.subject else ""
            raise UsageError(f"{command.step}{whose} would be refused, and nothing was run: {line}")


def _print(
    study: Study, shared: list[StepCommand], chains: dict[str, list[StepCommand]], names: list[str], chosen: list[str]
) -> None:
    parts = [("all subjects share", shared), *chains.items(), ("all subjects", _closing(study, names, chosen))]
    for title, commands in parts:
        if commands:
            print(f"# {title}")
        for command in commands:
            print(command.line())
    if "table" in chosen:
        print(f"# the table of {shlex.join(names)} goes to {study.tables}")


def _require_caches(study: Study, chosen: list[str]) -> None:
    """Refuse at once what every subject would be refused for."""
    if "clip-cache" in chosen or not {"fit", "adapter", "predict"} & set(chosen):
        return
    wanted = {study.space: study.clip_cache}
    if study.target is not None and study.target_cache is not None:
        wanted[study.target] = study.target_cache
    for space, cache in wanted.items():
        if not cache.is_file():
            raise UsageError(f"{cache} is not there: add clip-cache to --steps, or make it by --space {space}")


def _run(
    study: Study, shared: list[StepCommand], chains: dict[str, list[StepCommand]], jobs: int
) -> dict[str, Failure]:
    """Run what is shared and then all chains; returns who failed."""
    if shared:
        made = Chain("shared", study.folder / "shared", shared)
        run_chains([made], jobs=1)
        if made.failed is not None:
            error = StageError(
                f"no subject was begun, {made.failed.words()}: {made.failed.message}; its log is {made.log}"
            )
            error.exit_code = max(made.failed.code, 1)
            raise error
    running = [Chain(who, study.folder / who, commands) for who, commands in chains.items() if commands]
    run_chains(running, jobs)
    return {chain.name: chain.failed for chain in running if chain.failed is not None}


def _close(study: Study, names: list[str], chosen: list[str], failed: dict[str, Failure]) -> None:
    """Write table and page, and then end as the subjects did."""
    for who, failure in failed.items():
        print(f"{who}: {failure.words()}: {failure.message}")
    missing = {who: failure.words() for who, failure in failed.items()}
    for step in (step for step in CLOSING if step in chosen):
        lacking = find_missing(study, names, failed, step)
        missing |= {who: why for who, why in lacking.items() if who not in missing}
        if len(lacking) == len(names):
            print(f"no {step}: there is nobody to put into it")
        elif step == "table":
            print(*write_table(study, names, lacking), sep="\n")
        else:
            print(write_page(study, names, lacking))
    if missing:
        told = ", ".join(f"{who}: {why}" for who, why in sorted(missing.items()))
        raise StageError(
            f"{len(missing)} of {len(names)} subjects are missing: {told}; logs are in {study.folder}, and the same "
            "command tries again"
        )
