"""The ``ratings`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fmri_lightning.errors import UsageError

PAGE = "ratings.html"


def ratings(
    run: Path | None = None,
    generated: Path | None = None,
    truth: Path | None = None,
    results: list[Path] | None = None,
    key: Path | None = None,
    out: Path | None = None,
    n_trials: int | None = None,
    n_checks: int | None = None,
    min_checks: float = 0.8,
    resamples: int = 2000,
    seed: int = 0,
    dry_run: bool = False,
) -> None:
    """Write a page on which people say blindly which stimulus a picture shows, or score what they said.

    With --run, or --generated and --truth, it writes the page and its key. With --results and --key it scores the
    files that raters saved.

    Args:
        run: Run folder of predict whose pictures are rated; by default none, see --generated and --results.
        generated: Any folder of reconstructions of any system, instead of a run; by default none. Files pair with
            --truth by the digits after nsd, else by their names less _generated.
        truth: Ground truth: a folder of pictures or an NSD tree. By default what the run names.
        results: Files that raters saved, to be scored; by default a page is written.
        key: The key that was written beside the page, to score results; none by default.
        out: The page, {run}/ratings/ratings.html by default; or the folder of the scores, scores/ beside the key
            by default.
        n_trials: Stimuli that are asked about; all, at most 100, by default.
        n_checks: Attention checks, in which the picture is the stimulus itself; one for every ten trials by default.
        min_checks: Raters with a smaller share of right checks are left out and named, 0 to 1.
        resamples: Bootstrap resamples of every interval, over raters and stimuli.
        seed: Seed of the choice of stimuli and distractors, or of bootstrap and permutations.
        dry_run: Check all inputs and stop.

    Raises:
        UsageError: It is not said what to do, or more trials are asked for than there are stimuli.
        BadInputError: Pictures are missing or unreadable, or a result file is damaged, doubled or of another page.
    """
    if sum(given is not None and given != [] for given in (run, generated, results)) != 1:
        raise UsageError(
            "say what to do: --run DIR, or --generated DIR --truth DIR, writes a page; --results FILE [FILE ...] "
            "--key FILE scores"
        )
    if results:
        if key is None:
            raise UsageError("--results needs the page's key: add --key FILE, the ..._key.json beside the page")
        if not 0 <= min_checks <= 1:
            raise UsageError(f"--min_checks {min_checks}: it is a share, from 0 to 1")
        if resamples < 100:
            raise UsageError(f"--resamples {resamples} gives no interval; take at least 100")
        _score(results, key, out, min_checks, resamples, seed, dry_run)
        return
    if generated is not None and truth is None:
        raise UsageError("--generated needs its ground truth: add --truth DIR")
    if generated is not None and out is None:
        raise UsageError("say where the page goes: add --out FILE.html")
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {out}: the page is one file, name it ....html")
    _write(run, generated, truth, out, n_trials, n_checks, seed, dry_run)


def _write(
    run: Path | None,
    generated: Path | None,
    truth: Path | None,
    out: Path | None,
    n_trials: int | None,
    n_checks: int | None,
    seed: int,
    dry_run: bool,
) -> None:
    from fmri_lightning.evaluation.ratings.material import material_of_folders, material_of_run
    from fmri_lightning.evaluation.ratings.page import build_page, write_page
    from fmri_lightning.evaluation.ratings.plan import plan_trials
    from fmri_lightning.manifest import content_hash

    if run is not None:
        material = material_of_run(run, truth, seed)
        path = out if out is not None else run / "ratings" / PAGE
    else:
        assert generated is not None
        assert truth is not None
        assert out is not None
        material, path = material_of_folders(generated, truth), out
    # Raters do not have the pictures at their own size, and so cannot know their hash.
    secret = content_hash(*(material.inputs[name] for name in sorted(material.inputs)))
    trials = plan_trials(material.ids, n_trials, n_checks, seed, secret)
    checks = sum(trial.check for trial in trials)
    asked = f"{len(trials) - checks} trials and {checks} attention checks"
    for caveat in material.caveats:
        print(caveat)
    if dry_run:
        print(f"{path}: {asked}; nothing written")
        return
    config = {"n_trials": len(trials) - checks, "n_checks": checks, "seed": seed}
    page = build_page(material, trials, config, secret)
    key = write_page(path, page)
    print(f"{path}: {asked}, {len(page.html) / 1e6:.1f} MB, for raters")
    print(f"{key}: the answers, not for raters")
    if material.restricted is not None:
        print(
            f"the page contains stimuli of {material.restricted}, which NSD's terms forbid to pass on: for the lab only"
        )


def _score(
    results: list[Path], key_file: Path, out: Path | None, min_checks: float, resamples: int, seed: int, dry_run: bool
) -> None:
    from fmri_lightning.evaluation.ratings.key import read_key
    from fmri_lightning.evaluation.ratings.scores import SUMMARY, summarise, write_scores
    from fmri_lightning.evaluation.ratings.sessions import read_sessions

    key = read_key(key_file)
    sessions = read_sessions(results, key)
    summary = summarise(sessions, key, min_checks, resamples, seed)
    folder = out if out is not None else key_file.parent / "scores"
    if not dry_run:
        config = {"min_checks": min_checks, "resamples": resamples, "seed": seed}
        write_scores(folder, sessions, key, summary, config)
        print(folder / SUMMARY)
    _print(summary)
    if dry_run:
        print("nothing written")


def _print(summary: dict[str, Any]) -> None:
    simulated = " (simulated brain)" if summary["simulated"] else ""
    found, same = summary["identification"], summary["agreement"]
    print(
        f"identified {found['value']:.1%} [{found['ci_low']:.1%}, {found['ci_high']:.1%}]{simulated}, chance 50%, "
        f"p = {found['p_above_chance']:.4g}, {summary['n_raters']} raters, {summary['n_stimuli']} stimuli"
    )
    if found["resampled"] == ["stimuli"]:
        print("one rater: the interval is over stimuli and says nothing of other people")
    for name, one in summary["raters"].items():
        time = one["median_response_time_ms"]
        timed = "" if time is None else f", median {time / 1000:.1f} s"
        print(
            f"  {name:<20} {one['value']:.1%} [{one['ci_low']:.1%}, {one['ci_high']:.1%}], {one['n']} trials, "
            f"checks {one['checks_right']}/{one['checks']}{timed}"
        )
    if same is not None:
        alpha = "undefined" if same["alpha"] is None else f"{same['alpha']:.2f}"
        print(f"two raters agree in {same['pairwise']:.1%} (guessing 50%), Krippendorff's alpha {alpha}")
    for name, reason in summary["excluded"].items():
        print(f"excluded {name}: {reason}")
    for name, what in summary["incomplete"].items():
        print(f"incomplete, counted as it is: {name}, {what}")
    for code in summary["same_code"]:
        print(f"several sessions carry the code {code} and count as different raters")
    for caveat in summary["caveats"]:
        print(caveat)
