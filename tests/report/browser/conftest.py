"""A page of many stimuli, opened in a real browser.

FMRI_LIGHTNING_BROWSER=1 turns the absence of Chromium or Playwright into a failure, FMRI_LIGHTNING_CHROMIUM names the
browser's file where it is not on the path.
"""

import csv
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fmri_lightning.report.command import report
from tests.report.conftest import write_run, write_stimuli

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
N_STIMULI = 1000
N_UNSCORED = 3


def missing(what):
    """Skip, or fail where the browser was promised."""
    (pytest.fail if os.environ.get("FMRI_LIGHTNING_BROWSER") else pytest.skip)(f"{what} is not installed")


@pytest.fixture(scope="session")
def chromium():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright (pip install 'fmri-lightning[browser]')")
    program = os.environ.get("FMRI_LIGHTNING_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        missing("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


def score(number):
    """A score that no other stimulus has, in an order that is neither that of the ids nor the random one."""
    return (number * 367 % N_STIMULI) / N_STIMULI


@pytest.fixture(scope="session")
def large_run(tmp_path_factory):
    """A scored run of a thousand stimuli with a control, three of them without a score."""
    folder = tmp_path_factory.mktemp("large")
    root = write_stimuli(folder / "nsd")
    with open(root / "stimulus_categories.csv", "w", newline="") as handle:
        csv.writer(handle).writerows([("nsd_id", "category"), (40, "dog"), (41, "cat"), (42, "dog")])
    run = write_run(folder / "mlp_diffusion", root, results=_results())
    control = write_run(run / "controls/true_target", root, condition="true_target", results=_results())
    rng = np.random.default_rng(0)
    for where in (run, control):
        for number in range(N_STIMULI):
            picture = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((32, 32))
            picture.save(where / f"images/nsd{number}_generated.png")
    _write_scores(run / "evaluation/demo")
    return run


@pytest.fixture(scope="session", params=["file", "folder"])
def large_page(request, large_run, tmp_path_factory):
    out = tmp_path_factory.mktemp(f"page_{request.param}")
    report(run=[large_run], out=out, layout=request.param, grids=False)
    return out / "index.html"


@pytest.fixture(scope="session")
def small_page(large_run, tmp_path_factory):
    """The same run, its pictures in a folder: quick to open."""
    out = tmp_path_factory.mktemp("small_page")
    report(run=[large_run], out=out, layout="folder", grids=False)
    return out / "index.html"


class Visit:
    """An opened page, and everything that it complained of or asked for."""

    def __init__(self, page, address):
        self.page, self.complaints, self.requests = page, [], []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(address)
        page.wait_for_selector(".card")

    def keys(self):
        return self.page.eval_on_selector_all(".card", "cards => cards.map(card => card.dataset.key)")

    def told(self):
        return self.page.inner_text("#told")

    def focused(self):
        return self.page.evaluate("(document.activeElement.closest('.card') || {dataset: {}}).dataset.key || null")

    def settle(self):
        self.page.wait_for_timeout(150)


@pytest.fixture
def visit(chromium):
    contexts = []

    def go(path, fragment="", **settings):
        context = chromium.new_context(viewport={"width": 1300, "height": 900}, **settings)
        contexts.append(context)
        return Visit(context.new_page(), path.as_uri() + fragment)

    yield go
    for context in contexts:
        context.close()


def _results():
    return [
        {
            "trial_id": number,
            "nsdId": number,
            "cosine_pred_gt": None,
            "nn_nsdId": 1,
            "nn_cosine": 0.7,
            "image_path": f"images/nsd{number}_generated.png",
        }
        for number in range(N_STIMULI)
    ]


def _write_scores(folder):
    import json

    folder.mkdir(parents=True)
    entry = {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "chance": 0.5, "null": 0.5, "ceiling": 0.9, "rows": {}}
    metrics = {"judge2_two_way": entry, "pixcorr": entry | {"chance": None}, "mse": entry}
    summary = {"metrics": metrics, "skipped": {}, "n": N_STIMULI, "test_set": "shared1000", "protocol": "demo"}
    (folder / "summary.json").write_text(json.dumps(summary))
    scored = range(N_STIMULI - N_UNSCORED)
    rows = [(i, name, value) for i in scored for name, value in (
        ("judge2_two_way", score(i)), ("pixcorr", 1 - score(i)), ("mse", score(i)),
    )]  # fmt: skip
    columns = {
        "nsd_id": pa.array([row[0] for row in rows], pa.int32()),
        "sample": pa.array([0] * len(rows), pa.int16()),
        "metric": [row[1] for row in rows],
        "value": [row[2] for row in rows],
    }
    pq.write_table(pa.table(columns), folder / "scores.parquet")
