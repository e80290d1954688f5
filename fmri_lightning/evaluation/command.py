"""The ``evaluate`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fmri_lightning.errors import BadInputError, UsageError


def evaluate(
    run: list[Path] | None = None,
    generated: Path | None = None,
    truth: Path | None = None,
    protocol: str = "demo",
    out: Path | None = None,
    clip_cache: Path | None = None,
    resamples: int = 2000,
    seed: int = 0,
    dry_run: bool = False,
) -> None:
    """Score pictures by a named protocol, with intervals and with the rows that belong beside a score.

    Args:
        run: Run folders of predict; their controls are found and scored too, and a control that one run
            lacks is taken from another run of the same decoder and seed.
        generated: Any folder of reconstructions, instead of runs.
        truth: Ground truth: a folder of pictures or an NSD tree. Runs name their own.
        protocol: demo or mindeye.
        out: Folder of the results; {run}/evaluation by default, one folder a protocol.
        clip_cache: CLIP cache of the true embeddings, when it is not where the run says.
        resamples: Bootstrap resamples of every interval.
        seed: Seed of bootstrap and permutations.
        dry_run: Check all inputs and stop.

    Raises:
        UsageError: Neither runs nor folders are given, or both.
        BadInputError: Pictures or ground truths are missing, unreadable, constant or unpaired.
    """
    if (run is None or not run) == (generated is None):
        raise UsageError("name what to score: --run DIR [DIR ...], or --generated DIR --truth DIR, one of the two")
    if generated is not None and truth is None:
        raise UsageError("--generated needs its ground truth: add --truth DIR")
    if resamples < 100:
        raise UsageError(f"--resamples {resamples} gives no interval; take at least 100")
    from fmri_lightning.evaluation.protocols import find_protocol
    from fmri_lightning.evaluation.runner import Runner, evaluate_folders

    runner = Runner(find_protocol(protocol), truth, clip_cache)
    if generated is not None and truth is not None:
        folder = (out if out is not None else Path("outputs/evaluation") / generated.name) / protocol
        evaluation = evaluate_folders(runner, generated, truth)
        _finish(folder, evaluation, resamples, seed, dry_run)
        return
    _evaluate_runs(runner, run or [], out, resamples, seed, dry_run)


def _evaluate_runs(
    runner: Any, folders: list[Path], out: Path | None, resamples: int, seed: int, dry_run: bool
) -> None:
    from fmri_lightning.evaluation.runs import load_run

    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("--run names a folder twice")
    runs = [load_run(folder) for folder in folders]
    names = [folder.resolve().name for folder in folders]
    if out is not None and len(set(names)) < len(names):
        raise BadInputError(f"two of the runs are called {names[0]}; leave --out away, results go into each run")
    for one in runs:
        runner.check(one)
    if dry_run:
        for one in runs:
            print(f"{one.folder}: {len(one.ids)} pictures, readable and paired; nothing written")
        return
    for one, name in zip(runs, names, strict=True):
        base = one.folder / "evaluation" if out is None else out / name if len(runs) > 1 else out
        evaluation = runner.evaluate(one, [other for other in runs if other is not one])
        _finish(base / runner.protocol.name, evaluation, resamples, seed, dry_run=False)


def _finish(folder: Path, evaluation: Any, resamples: int, seed: int, dry_run: bool) -> None:
    from fmri_lightning.evaluation.brain import tell_collapse
    from fmri_lightning.evaluation.results import SUMMARY, summarise, write_results

    if dry_run:
        print(f"{evaluation.header['n']} pictures, readable and paired; nothing written")
        return
    evaluation.config |= {"resamples": resamples, "seed": seed}
    summary = summarise(evaluation, resamples, seed)
    write_results(folder, evaluation, summary)
    print(folder / SUMMARY)
    simulated = " (simulated brain)" if summary["simulated"] else ""
    print(f"protocol {summary['protocol']}, n = {summary['n']}{simulated}")
    for name, entry in summary["metrics"].items():
        print(_line(name, entry))
    collapsed = tell_collapse(summary)
    if collapsed is not None:
        print(collapsed)
    for reason in sorted(set(summary["skipped"].values())):
        what = [name for name, why in summary["skipped"].items() if why == reason]
        print(f"  skipped {', '.join(what)}: {reason}")


def _line(name: str, entry: dict[str, Any]) -> str:
    if entry["value"] is None:
        return f"  {name:<30} undefined for every picture"
    line = f"  {name:<30} {entry['value']:.3f} [{entry['ci_low']:.3f}, {entry['ci_high']:.3f}]"
    beside = [(word, entry[word]) for word in ("chance", "null", "ceiling") if entry[word] is not None]
    return line + "".join(f"  {word} {value:.3f}" for word, value in beside)
