"""``doctor``: what this installation and this machine can do, before a long run finds out."""

from __future__ import annotations

from pathlib import Path

from fmri_lightning.errors import BadInputError, UsageError


def doctor(
    data: Path | None = None,
    files: Path | None = None,
    subject: str = "subj01",
    leaks: Path | None = None,
    pairing: Path | None = None,
    expect: Path | None = None,
    show: Path | None = None,
    verify: bool = False,
    fetch: list[str] | None = None,
    network: bool = True,
    dry_run: bool = False,
) -> None:
    """Show what this installation and machine can do, check data files or a finished run, or show an artefact.

    Args:
        data: A data root or run folder whose free space is told too; by default the working directory and caches alone.
        files: An NSD tree or the folder of MindEye2's, MindEye1's or brain-diffuser's files: check that all files of a
            subject agree; by default nothing is checked.
        subject: Subject of --files.
        leaks: A run folder: recompute every statistic from training trials and name trials that leaked; by default
            none is looked at.
        pairing: A run folder: ask the betas themselves whether trials are paired with the pictures they showed; by
            default none is asked.
        expect: A run folder: compare its voxels, trials, test size, cosine and top-1 with published figures; by
            default none is compared.
        show: Any artefact of ours (index, betas, preproc, CLIP cache, checkpoint, calibration, reliability, run,
            evaluation, generator): print what it is, its settings, and what it was made from; by default none is shown.
        verify: With --show: hash every byte again, also of large files.
        fetch: Configuration files of predict, or names of embedding spaces: download the hub files that they would
            load, for nodes without a network; by default nothing is downloaded.
        network: Ask whether the hub answers: one request, 3 s at most; false asks nothing.
        dry_run: With --fetch: print the download commands and stop.

    Raises:
        BadInputError: If a required library is missing, a folder does not exist, or a check fails.
        UsageError: If an option stands without the one that it belongs to.
        ResourceError: If --fetch has no network.
    """
    if verify and show is None:
        raise UsageError("--verify belongs to --show PATH")
    if dry_run and fetch is None:
        raise UsageError("--dry_run belongs to --fetch configs/predict.yaml")
    if show is not None:
        _show(show, verify)
    if fetch is not None:
        _fetch(fetch, dry_run)
    if show is not None or fetch is not None:
        return
    if files is not None:
        _check_files(files, subject)
        return
    if leaks is not None or pairing is not None:
        _check_runs(leaks, pairing)
    if expect is not None:
        _check_expectations(expect)
    if any(run is not None for run in (leaks, pairing, expect)):
        return
    if data is not None and not data.exists():
        raise BadInputError(f"{data} does not exist; give a data root or a run folder with --data")
    from fmri_lightning.doctor.screen import show_screen

    unusable = show_screen(data, network)
    if unusable:
        raise BadInputError(f"not installed: {', '.join(unusable)}; install again with: pip install fmri-lightning")


def _show(path: Path, verify: bool) -> None:
    from fmri_lightning.doctor.show import show_lines

    for line in show_lines(path, verify):
        print(line, flush=True)


def _fetch(words: list[str], dry_run: bool) -> None:
    from fmri_lightning.doctor.fetch import fetch_lines

    for line in fetch_lines(words, dry_run):
        print(line, flush=True)


def _check_files(root: Path, subject: str) -> None:
    from fmri_lightning.doctor.files import check_files

    failed, n_checks = [], 0
    for check in check_files(root, subject):
        print(check.line(), flush=True)
        n_checks += 1
        failed += [check.name] if check.passed is False else []
    if failed:
        raise BadInputError(f"{len(failed)} of {n_checks} checks of {subject} in {root} failed: {', '.join(failed)}")


def _check_runs(leaks: Path | None, pairing: Path | None) -> None:
    from fmri_lightning.doctor import runs

    for line in () if leaks is None else runs.leaks(leaks):
        print(line, flush=True)
    for line in () if pairing is None else runs.pairing(pairing):
        print(line, flush=True)


def _check_expectations(run: Path) -> None:
    from fmri_lightning.doctor.expectations import expectations

    found = list(expectations(run))
    print("\n".join(one.line() for one in found))
    outside = [one.name for one in found if one.met is False]
    if outside:
        raise BadInputError(f"{run}: {len(outside)} figures are not what NSD lets expect: {', '.join(outside)}")
