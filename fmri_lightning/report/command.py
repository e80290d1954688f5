"""`report`: grids in every run folder and one page over all of them."""

from __future__ import annotations

from pathlib import Path

from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.manifest import atomic_path


def report(
    run: list[Path],
    out: Path | None = None,
    root: Path | None = None,
    limit: int = 500,
    seed: int = 0,
    grids: bool = True,
    dry_run: bool = False,
) -> None:
    """Write one page with pictures and numbers, and grids of ground truth, picture and nearest neighbour.

    The page is one file that opens without a network. What is missing (scores, controls, ground truth) is
    said on it.

    Args:
        run: Folders written by predict, shown side by side.
        out: Folder of the page; the run's own report/ where one run is given.
        root: Data root with the stimuli, where it is not the one that the runs recorded.
        limit: Rows of the gallery, drawn at random where there are more stimuli.
        seed: Of the gallery's order.
        grids: Also fill grids/ in every run folder.
        dry_run: Say what would be written.

    Raises:
        UsageError: Several runs without a place for their page.
        BadInputError: A run is unfinished or unreadable.
    """
    from fmri_lightning.report.gallery import build_rows, row_key
    from fmri_lightning.report.grids import write_grids
    from fmri_lightning.report.page import choose_protocol, render
    from fmri_lightning.report.runs import read_runs
    from fmri_lightning.report.strip import write_strip
    from fmri_lightning.report.tables import write_csv
    from fmri_lightning.report.truth import read_truth

    if not run:
        raise UsageError("give --run DIR, a folder written by fmri-lightning predict")
    if out is None:
        if len(run) > 1:
            raise UsageError("several runs share one page: say where it goes with --out DIR")
        out = run[0] / "report"
    if limit < 1:
        raise UsageError(f"--limit starts at 1, got {limit}")
    runs = read_runs(run)
    n_items = len({row_key(result) for one in runs for result in one.results})
    if not n_items:
        raise BadInputError(f"no finished picture in {', '.join(map(str, run))}; run predict again")
    page = out / "index.html"
    if dry_run:
        print(f"{page}: {len(runs)} runs, {n_items} stimuli, {min(limit, n_items)} in the gallery")
        return
    truth = read_truth(runs, root)
    protocol = choose_protocol(runs)
    rows = build_rows(runs, truth, protocol, limit, seed)
    html = render(runs, rows, truth, protocol, n_items, seed)
    for one in runs if grids else []:
        files = write_grids(one, truth)
        print(f"{one.folder / 'grids'}: {len(files)} pictures")
    write_csv(out / "data.csv", runs, protocol)
    write_strip(runs, truth, out / "strip.png")
    with atomic_path(page) as temporary:
        temporary.write_text(html, encoding="utf-8")
    print(f"{page}: {len(html.encode()) / 1e6:.1f} MB")
