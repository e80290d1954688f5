"""Runs as evaluate leaves them, written by its own code, and sections read back as a browser would."""

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np

from fmri_lightning.evaluation.metric_table import METRICS
from fmri_lightning.evaluation.protocols import PROTOCOLS
from fmri_lightning.evaluation.results import Ceiling, Evaluation, Row, summarise, write_results
from fmri_lightning.report.page import templates

LEVELS = {"": 0.6, "true_target": 0.8, "shuffled": 0.3, "shuffled_as_drawn": 0.61, "nearest_training": 0.5}
METRICS_OF_DEMO = ("judge2_two_way", "pixcorr", "judge_distance")
METRICS_OF_MINDEYE = ("pixcorr", "ssim", "alexnet5_two_way", "swav_distance")
CATEGORIES = ('<b>&"cat', "dog")


def write_run(folder, subject="subj01", encoder="mlp", simulated=True, **fields):
    """Write a finished run without pictures; sections show numbers only."""
    folder.mkdir(parents=True)
    summary = {
        "subject": subject,
        "encoder": encoder,
        "checkpoint": f"/data/jane/lab/runs/{encoder}.ckpt",
        "diffusion_model": "mini",
        "results": [{"trial_id": 0, "nsdId": 4, "image_path": "images/nsd4_generated.png"}],
        "n_generated": 1,
        "simulated": simulated,
        "seed": 42,
        "test_set": "shared1000",
        "provenance": {
            "root": "/data/jane/nsd",
            "adapter": "/data/jane/lab/adapters/adapter.ckpt",
            "inputs": {"index": "ab" * 32},
            "spaces": {"source": {"name": "mini-source", "dim": 512, "scale": "raw", "revision": ""}},
            "versions": {"fmri_lightning": "0.1.0", "torch": "2.13.0"},
        },
    } | fields
    (folder / "decode_summary.json").write_text(json.dumps(summary))
    (folder / "run.json").write_text(json.dumps({"runs": [{"host": "secret-host"}]}))
    return folder


def write_scores(
    folder,
    protocol="demo",
    metrics=METRICS_OF_DEMO,
    n=20,
    seed=0,
    rows=tuple(LEVELS)[1:],
    embeddings=True,
    lead=0.0,
    **header,
):
    """Score a run with random numbers and write them as evaluate does; returns the summary.

    Args:
        folder: The run's.
        protocol: Whose header is written.
        metrics: Scored on pictures, the headline first.
        n: Stimuli.
        seed: Of the numbers.
        rows: Rows beside the score.
        embeddings: Whether embeddings are scored too.
        lead: Added to the run's own scores.
        header: Further fields of the summary.
    """
    rng = np.random.default_rng(seed)
    ids = np.arange(n, dtype=np.int32)
    names = [*metrics, *(("source_centred_cosine", "picture_from_brain_csls_top1") if embeddings else ())]

    def drawn(level):
        return {name: np.clip(level + 0.1 * rng.normal(size=n), 0, 1) for name in names}

    evaluation = Evaluation(Row(ids, drawn(LEVELS[""] + lead)), np.zeros(n, np.int16))
    evaluation.rows = {name: Row(ids, drawn(LEVELS[name])) for name in rows}
    if embeddings:
        evaluation.ceilings["source_centred_cosine"] = Ceiling(0.9, "repeat_reliability", 0.85, 0.95)
        evaluation.circular = {"source_centred_cosine"}
    evaluation.groups = {name: (ids % 2 == i) for i, name in enumerate(CATEGORIES)}
    evaluation.skipped = {"inception": "needs the extra eval-nets", "lpips": "needs the extra eval-nets"}
    run = json.loads((folder / "decode_summary.json").read_text())
    known = PROTOCOLS[protocol]
    missing = (
        [metric for metric in known.picture_metrics if metric not in metrics] if header.pop("whole", False) else []
    )
    less = known.qualifications(n, n, None, run["simulated"], missing)
    evaluation.header = {
        "protocol": known.title(less),
        "protocol_name": protocol,
        "comparable": known.test_set is not None and not less,
        "not_comparable_because": less,
        "protocol_settings": known.settings(),
        "headline": metrics[0],
        "n": n,
        "test_set": "shared1000",
        "subject": run["subject"],
        "encoder": run["encoder"],
        "decoder": "mini",
        "trial_mode": "average",
        "simulated": run["simulated"],
        "caveats": [],
        "retrieval_note": "picture_from_brain looks a picture up by a brain",
    } | header
    evaluation.config = {"resamples": 200, "seed": 0}
    summary = summarise(evaluation, 200, 0)
    write_results(folder / "evaluation" / protocol, evaluation, summary)
    return summary


def change(path, **fields):
    """Set fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def render(section):
    """Render a section's partial as the page does."""
    return templates().get_template(section.template).render(section=section)


@dataclass
class Table:
    """A table as a reader finds it."""

    folded: bool
    download: str | None
    caption: str = ""
    rows: list = field(default_factory=list)

    def row(self, head):
        """The cells of the row whose head begins so, as (text, data-value)."""
        return next(cells for cells in self.rows if cells[0][0].startswith(head))

    @property
    def columns(self):
        """Names of the columns, from the last row of the head."""
        heads = [cells for cells in self.rows if all(tag == "th" for _, _, tag in cells) and len(cells) > 1]
        return [text for text, _, _ in heads[-1]]


class Page(HTMLParser):
    """Tables, words in the open, headings, figures and ids."""

    def __init__(self, html):
        super().__init__()
        self.tables, self.open_words, self.words, self.headings, self.figures = [], [], [], [], []
        self.ids, self.tags, self.summaries = [], [], []
        self._depth, self._cell, self._into = 0, None, None
        self.feed(html)
        self.close()
        self.text = _tidy(self.words)
        self.open_text = _tidy(self.open_words)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag == "details":
            self._depth += 1
            assert "open" not in attrs
        elif tag == "table":
            self.tables.append(Table(self._depth > 0, attrs.get("data-download")))
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in ("td", "th"):
            self._cell = []
            self._at = (attrs.get("data-value"), tag)
            assert tag == "td" or "scope" in attrs
        elif tag == "svg":
            self.figures.append(attrs)
        if tag in ("caption", "summary", "h2", "h3"):
            self._into = []

    def handle_endtag(self, tag):
        if tag == "details":
            self._depth -= 1
        elif tag in ("td", "th"):
            self.tables[-1].rows[-1].append((_tidy(self._cell), *self._at))
            self._cell = None
        elif tag in ("caption", "summary", "h2", "h3"):
            text = _tidy(self._into)
            self._into = None
            if tag == "caption":
                self.tables[-1].caption = text
            else:
                (self.summaries if tag == "summary" else self.headings).append(text)

    def handle_data(self, data):
        self.words.append(data)
        if not self._depth or self._into is not None:
            self.open_words.append(data)
        for collected in (self._cell, self._into):
            if collected is not None:
                collected.append(data)


def _tidy(words):
    return re.sub(r"\s+", " ", "".join(words)).strip()


def label_of(metric):
    return METRICS[metric].label
