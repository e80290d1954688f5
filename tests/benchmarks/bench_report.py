"""Seconds that the page needs to be written, opened, sorted and filtered, against a page of all pictures at once.

    python tests/benchmarks/bench_report.py                    # 1,000 and 10,000 stimuli, some minutes
    python tests/benchmarks/bench_report.py --n 200            # half a minute

The peer is what scripts of the field write: a table of one row per stimulus with lazy `<img>` elements, made in the
same run from the same thumbnails. Wall seconds from the browser's own clock, medians of the rounds; pictures decoded
and cards present after opening. Needs Chromium and the extra browser; other work on the machine shows in the figures.
"""

import argparse
import importlib.util
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ACTIONS = {
    "sort": "document.getElementById('order').value = 'best'; "
    "document.getElementById('order').dispatchEvent(new Event('change'))",
    "filter": "document.getElementById('find').value = '7'; "
    "document.getElementById('find').dispatchEvent(new Event('input'))",
    "all": "document.querySelector('[data-view=all]').click()",
}
# Until two frames were painted: what a reader waits for.
PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"


def make_run(folder: Path, n: int, side_px: int) -> Path:
    """A scored run of n stimuli with smooth random pictures, and one control."""
    from tests.report.conftest import write_run

    rng = np.random.default_rng(0)
    results = [
        {"trial_id": i, "nsdId": i, "cosine_pred_gt": float(rng.random()), "image_path": f"images/nsd{i}_generated.png"}
        for i in range(n)
    ]
    run = write_run(folder / "mlp_diffusion", folder / "none", results=results)
    control = write_run(run / "controls/true_target", folder / "none", condition="true_target", results=results)
    for where in (run, control):
        for i in range(n):
            coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
            picture = coarse.resize((side_px, side_px), Image.Resampling.BICUBIC)
            picture.save(where / f"images/nsd{i}_generated.png", compress_level=1)
    return run


def plain_page(ours: Path) -> Path:
    """All pictures of our page at once, in a table."""
    thumbs = sorted(path.name for path in (ours / "thumbs").iterdir())
    names = {name.partition("_nsd")[2] for name in thumbs}
    kinds = sorted({name.partition("_nsd")[0] for name in thumbs})
    rows = [
        "<tr>" + "".join(f'<td><img loading="lazy" width="128" height="128" src="thumbs/{k}_nsd{name}">' for k in kinds)
        for name in sorted(names)
    ]
    path = ours / "plain.html"
    path.write_text(f"<!DOCTYPE html><title>plain</title><table>{''.join(rows)}</table>")
    return path


def visit(browser, path: Path) -> dict[str, float]:
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.goto(path.as_uri())
    page.evaluate(PAINTED)
    seconds = {"open_s": page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") / 1000}
    seconds["painted_s"] = page.evaluate(PAINTED) / 1000
    if path.name == "index.html":
        page.wait_for_timeout(300)
        seconds["cards"] = page.evaluate("document.querySelectorAll('.card').length")
        seconds["decoded"] = page.evaluate("[...document.images].filter(i => i.complete && i.naturalWidth).length")
        for name in ("all", "sort", "filter"):
            code = f"(() => {{ const t = performance.now(); {ACTIONS[name]}; return {PAINTED}.then(e => e - t); }})()"
            seconds[f"{name}_s"] = page.evaluate(code) / 1000
    page.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[1000, 10_000], help="stimuli")
    parser.add_argument("--size", type=int, default=192, help="side of the pictures, in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="openings of each page")
    arguments = parser.parse_args()
    program = shutil.which("chromium")
    if program is None or importlib.util.find_spec("playwright") is None:
        print("left out: needs Chromium and the extra browser (pip install 'fmri-lightning[browser]')")
        return
    from playwright.sync_api import sync_playwright

    from fmri_lightning.report.command import report
    from tests.report.browser.conftest import QUIET

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        for n in arguments.n:
            with tempfile.TemporaryDirectory() as place:
                run = make_run(Path(place), n, arguments.size)
                out, started_s = Path(place) / "page", time.perf_counter()
                report(run=[run], out=out, limit=n, layout="folder", grids=False)
                figures = {"n": n, "written_s": round(time.perf_counter() - started_s, 2)}
                pages = {"ours": out / "index.html", "plain": plain_page(out)}
                # In turns, so that both meet the same machine.
                visits = [{name: visit(browser, path) for name, path in pages.items()} for _ in range(arguments.rounds)]
                for name in pages:
                    keys = visits[0][name]
                    figures[name] = {k: round(statistics.median_low(one[name][k] for one in visits), 3) for k in keys}
                figures["plain/ours, painted"] = round(figures["plain"]["painted_s"] / figures["ours"]["painted_s"], 2)
                print(json.dumps(figures), flush=True)
        browser.close()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
