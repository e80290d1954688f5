"""`report`: grids in every run folder and one page over all of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fmri_lightning.errors import BadInputError, UsageError


def report(
    run: list[Path],
    out: Path | None = None,
    root: Path | None = None,
    limit: int = 1000,
    seed: int = 0,
    grids: bool = True,
    layout: str = "auto",
    share: bool = False,
    thumb_px: int = 192,
    samples: int = 4,
    wandb: bool = False,
    missing: list[str] | None = None,
    dry_run: bool = False,
) -> None:
    """Write one page with pictures and numbers, and grids of ground truth, picture and nearest neighbour.

    The page opens without a network and asks for nothing. What is missing (scores, controls, ground truth) is
    said on it.

    Args:
        run: Folders written by predict, shown side by side.
        out: Folder of the page; by default the run's own report/, where there is one run.
        root: Data root with the stimuli; by default the one that the runs recorded.
        limit: Stimuli in the gallery at most, drawn at random where there are more.
        seed: Seed of the gallery's order.
        grids: Also fill grids/ in every run folder.
        layout: file (pictures inside index.html), folder (in thumbs/ beside it), or auto: a file up to 30 MB.
        share: Leave out stimuli, shown and nearest, which NSD's terms do not let you pass on, and folder names.
        thumb_px: Longer side of the pictures on the page, in pixels; smaller ones keep their size.
        samples: Samples shown of each stimulus at most, where predict drew several.
        wandb: Also log the page to W&B, as eval/report of a run of its own; see the guide in
            fmri_lightning/tracking/README.md.
        missing: Who should be on the page and is not, a text each, for instance "subj03: betas failed", told at its
            top; by default nobody.
        dry_run: Say what would be written, and stop.

    Raises:
        UsageError: Several runs without a place for their page, or an option out of range.
        BadInputError: A run is unfinished or unreadable.
    """
    from fmri_lightning.report.build import build_page
    from fmri_lightning.report.data_csv import write_csv
    from fmri_lightning.report.gallery.cards import card_key
    from fmri_lightning.report.gallery.thumbnails import LAYOUTS
    from fmri_lightning.report.grids import write_grids
    from fmri_lightning.report.runs import read_runs
    from fmri_lightning.report.strip import write_strip
    from fmri_lightning.report.writing import write_page

    if layout not in LAYOUTS:
        raise UsageError(f"--layout is {', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}, got {layout}")
    out = _place(run, out)
    _check_numbers(limit, thumb_px, samples)
    if wandb:
        from fmri_lightning.tracking.runs import require_wandb

        require_wandb()  # better known now than at the end
    runs = read_runs(run)
    n_items = len({card_key(result) for one in runs for result in one.results})
    if not n_items:
        raise BadInputError(f"no finished picture in {', '.join(map(str, run))}; run predict again")
    if dry_run:
        print(f"{out / 'index.html'}: {len(runs)} runs, {n_items} stimuli, {min(limit, n_items)} in the gallery")
        return
    page = dataclasses.replace(
        build_page(runs, root, limit, seed, share, thumb_px, samples), absent=tuple(missing or ())
    )
    inside = page.gallery.thumbnails.inside(layout)
    if wandb and not inside:
        raise UsageError("W&B shows a page of one file, and this one is a folder: lower --limit or --thumb_px")
    html = page.render(inside)
    for one in runs if grids else []:
        files = write_grids(one, page.truth)
        print(f"{one.folder / 'grids'}: {len(files)} pictures")
    write_csv(out / "data.csv", runs, page.protocol)
    write_strip(runs, page.truth, out / "strip.png", share=share)
    n_bytes = write_page(out, html, None if inside else page.gallery.thumbnails.files)
    where = "" if inside else f" and {len(page.gallery.thumbnails.files)} pictures in thumbs/: pass the whole folder on"
    print(f"{out / 'index.html'}: {n_bytes / 1e6:.1f} MB{where}")
    if wandb:
        from fmri_lightning.report.dashboard import log_report

        log_report(out / "index.html", runs, page.protocol)


def _place(run: list[Path], out: Path | None) -> Path:
    """Say where the page goes."""
    if not run:
        raise UsageError("give --run DIR, a folder written by fmri-lightning predict")
    if out is None and len(run) > 1:
        raise UsageError("several runs share one page: say where it goes with --out DIR")
    return run[0] / "report" if out is None else out


def _check_numbers(limit: int, thumb_px: int, samples: int) -> None:
    if limit < 1:
        raise UsageError(f"--limit starts at 1, got {limit}")
    if not 16 <= thumb_px <= 2048:
        raise UsageError(f"--thumb_px is from 16 to 2048, got {thumb_px}")
    if samples < 0:
        raise UsageError(f"--samples starts at 0, got {samples}")
