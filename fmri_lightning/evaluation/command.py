"""The ``evaluate`` command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmri_lightning.errors import BadInputError, UsageError

if TYPE_CHECKING:
    from fmri_lightning.evaluation.results import Evaluation
    from fmri_lightning.evaluation.runner import Runner


def evaluate(
    run: list[Path] | None = None,
    generated: Path | None = None,
    truth: Path | None = None,
    protocol: str = "demo",
    out: Path | None = None,
    tables: Path | None = None,
    clip_cache: Path | None = None,
    betas: Path | None = None,
    preproc: Path | None = None,
    categories: Path | None = None,
    category_area: float = 0.02,
    supercategories: bool = False,
    brain_correlation: bool = False,
    literature: bool = True,
    resamples: int = 2000,
    seed: int = 0,
    wandb: bool = False,
    wandb_max_rows: int = 1000,
    wandb_stimuli: bool = True,
    dry_run: bool = False,
) -> None:
    """Score pictures by a named protocol, with intervals and with the rows that belong beside a score.

    Several runs are also put into one table, with paired tests between runs of one subject.

    Args:
        run: Run folders of predict; their controls are found and scored too, and a control that one run
            lacks is taken from another run of the same decoder and seed. null where two folders are given.
        generated: Any folder of reconstructions of any system, instead of runs. Files pair with --truth by the
            digits after nsd, else by their names less _generated. null where runs are given.
        truth: Ground truth: a folder of pictures or an NSD tree; by default what the runs name.
        protocol: demo, mindeye or brain_diffuser.
        out: Folder of the results; {run}/evaluation by default, one folder a protocol.
        tables: Folder of the table of several runs; evaluation/{protocol} in the runs' common folder by default.
        clip_cache: CLIP cache of the true embeddings; by default where the run says.
        betas: Beta store, for repeat reliability and brain correlation; by default where the run says.
        preproc: Preprocessing, for repeat reliability; by default where the run says.
        categories: CSV with the columns nsd_id and category, or COCO's instances_*.json, for rows per category. Taken
            by default are the annotations beside the run's index, or else stimulus_categories.csv of the data root.
        category_area: Share of a picture, 0 to 1, that the boxes of a category must cover together for the picture to
            count in that category; for annotations only.
        supercategories: Rows for COCO's groups of categories too, such as any animal; for annotations only.
        brain_correlation: Also fit a voxel-encoding ridge on training trials and correlate the responses it expects
            of each picture with the measured ones, per region.
        literature: Print published numbers below a table that is comparable with them.
        resamples: Bootstrap resamples of every interval.
        seed: Seed of bootstrap and permutations.
        wandb: Also log the scores to W&B, with one table of pictures and the scores of each; see the guide in
            fmri_lightning/tracking/README.md.
        wandb_max_rows: Pictures in that table, evenly spread over all.
        wandb_stimuli: Show in that table what was seen and the nearest training picture; false keeps stimuli, whose
            terms may not let you send them to a server, out of it.
        dry_run: Check all inputs and stop.

    Raises:
        UsageError: Neither runs nor folders are given, or both.
        BadInputError: Pictures or ground truths of a run are missing, unreadable, constant or unpaired; or two
            folders have no picture in common.
    """
    if (run is None or not run) == (generated is None):
        raise UsageError("name what to score: --run DIR [DIR ...], or --generated DIR --truth DIR, one of the two")
    if generated is not None and truth is None:
        raise UsageError("--generated needs its ground truth: add --truth DIR")
    if not 0 <= category_area <= 1:
        raise UsageError(f"--category_area {category_area} is a share of the picture's area, from 0 to 1")
    if resamples < 100:
        raise UsageError(f"--resamples {resamples} gives no interval; take at least 100")
    if wandb:
        from fmri_lightning.tracking.runs import require_wandb

        require_wandb()  # better known now than after the scoring
        if wandb_max_rows < 1:
            raise UsageError(f"--wandb_max_rows is at least 1, not {wandb_max_rows}")
    from fmri_lightning.evaluation.groups import Grouping
    from fmri_lightning.evaluation.protocols import find_protocol
    from fmri_lightning.evaluation.runner import Places, Runner

    places = Places(truth, clip_cache, betas, preproc)
    grouping = Grouping(categories, category_area, supercategories)
    runner = Runner(find_protocol(protocol), places, resamples, seed, brain_correlation, grouping)
    rows = wandb_max_rows if wandb else 0
    if generated is not None and truth is not None:
        folder = (out if out is not None else Path("outputs/evaluation") / generated.resolve().name) / protocol
        evaluation = runner.evaluate_folders(generated, truth)
        summary = _finish(folder, evaluation, resamples, seed, dry_run)
        if rows and not dry_run:
            from fmri_lightning.evaluation.dashboard import Shown, log_evaluation
            from fmri_lightning.evaluation.folders import read_folders

            pair = read_folders(generated, truth)
            shown = Shown(pair.truth if wandb_stimuli else None, pair.generated)
            log_evaluation(folder.parent, folder, evaluation, summary, shown, rows)
        return
    folders = _evaluate_runs(runner, run or [], out, rows, wandb_stimuli, dry_run)
    if len(folders) > 1:
        _write_tables(folders, run or [], tables, protocol, literature, resamples, seed)


def _evaluate_runs(
    runner: Runner, folders: list[Path], out: Path | None, rows: int, with_stimuli: bool, dry_run: bool
) -> list[Path]:
    """Score runs and return the folders of their results; ``rows`` above 0 also go to W&B."""
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
        return []
    written = []
    for one, name in zip(runs, names, strict=True):
        base = one.folder / "evaluation" if out is None else out / name if len(runs) > 1 else out
        evaluation = runner.evaluate(one, [other for other in runs if other is not one])
        written.append(base / runner.protocol.name)
        summary = _finish(written[-1], evaluation, runner.resamples, runner.seed, dry_run=False)
        if rows:
            from fmri_lightning.evaluation.dashboard import Shown, log_evaluation

            shown = Shown.of_run(one, runner.stimuli_of(one) if with_stimuli else None)
            log_evaluation(one.folder if out is None else base, written[-1], evaluation, summary, shown, rows)
    return written


def _write_tables(
    folders: list[Path],
    runs: list[Path],
    tables: Path | None,
    protocol: str,
    literature: bool,
    resamples: int,
    seed: int,
) -> None:
    from fmri_lightning.evaluation.tables import write_tables

    common = Path(os.path.commonpath([str(folder.resolve().parent) for folder in runs]))
    place = tables if tables is not None else common / "evaluation" / protocol
    for file in write_tables(folders, place, literature, resamples, seed):
        print(file)


def _finish(folder: Path, evaluation: Evaluation, resamples: int, seed: int, dry_run: bool) -> dict[str, Any]:
    """Write and print an evaluation; returns its summary, empty in a dry run."""
    from fmri_lightning.evaluation.results import SUMMARY, summarise, write_results

    caveats = [str(caveat["sentence"]) for caveat in evaluation.header["caveats"]]
    if dry_run:
        print("\n".join([*caveats, f"{evaluation.header['n']} pictures, readable and paired; nothing written"]))
        return {}
    evaluation.config |= {"resamples": resamples, "seed": seed}
    summary = summarise(evaluation, resamples, seed)
    write_results(folder, evaluation, summary)
    print(folder / SUMMARY)
    _print(summary, caveats)
    return summary


def _print(summary: dict[str, Any], caveats: list[str]) -> None:
    from fmri_lightning.evaluation.embedding_scores import tell_collapse
    from fmri_lightning.evaluation.metric_table import is_further

    simulated = " (simulated brain)" if summary["simulated"] else ""
    print(f"protocol {summary['protocol']}, n = {summary['n']}{simulated}")
    further = [name for name in summary["metrics"] if is_further(name)]
    for name, entry in summary["metrics"].items():
        if name not in further:
            print(_line(name, entry))
    if further:
        print(f"  and {len(further)} variants of retrieval (centred, CSLS, top-10, mean reciprocal rank) in the file")
    for region, entry in summary.get("brain_correlation", {}).get("regions", {}).items():
        if entry["value"] is not None:
            interval = f"[{entry['ci_low']:.3f}, {entry['ci_high']:.3f}]"
            print(f"  brain correlation, {region:<15} {entry['value']:.3f} {interval}")
    collapsed = tell_collapse(summary)
    for sentence in [*([] if collapsed is None else [collapsed]), *caveats]:
        print(sentence)
    for reason in sorted(set(summary["skipped"].values())):
        what = [name for name, why in summary["skipped"].items() if why == reason]
        more = f" and {len(what) - 4} more" if len(what) > 5 else ""
        print(f"  skipped {', '.join(what[:4] if more else what)}{more}: {reason}")


def _line(name: str, entry: dict[str, Any]) -> str:
    if entry["value"] is None:
        return f"  {name:<34} undefined for every picture"
    line = f"  {name:<34} {entry['value']:.3f} [{entry['ci_low']:.3f}, {entry['ci_high']:.3f}]"
    beside = [(word, entry[word]) for word in ("chance", "null", "ceiling", "fraction") if entry[word] is not None]
    undefined = f"  undefined for {entry['n_undefined']}" if entry["n_undefined"] else ""
    circular = "  circular" if entry["circular"] else ""
    return line + "".join(f"  {word} {value:.3f}" for word, value in beside) + undefined + circular
