"""A whole simulated experiment in one of the layouts: its design, its pictures, its subjects."""

from __future__ import annotations

import csv
import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fmri_lightning.progress import track
from fmri_lightning.records import STIMULUS_CATEGORIES
from fmri_lightning.simulate.experiment import make_experiment
from fmri_lightning.simulate.layouts import EXTRA_WRITERS, WRITERS, Layout
from fmri_lightning.simulate.pictures import Meaning, PictureSource
from fmri_lightning.simulate.plan import Plan
from fmri_lightning.simulate.pyramid import channel_maps
from fmri_lightning.simulate.subject import make_subject

_BLOCK = 256


def write_tree(root: Path, plan: Plan, source: PictureSource) -> dict[str, dict[str, Any]]:
    """Write everything below ``root`` except the record.

    Args:
        root: Root of the tree.
        plan: Checked arguments.
        source: Catalogue of pictures.

    Returns:
        Name of each subject → its facts for SIMULATED.json.
    """
    experiment = make_experiment(
        plan.numbers, plan.shared, plan.unique, plan.repeats, plan.sessions, plan.missing_sessions, plan.seed
    )
    root.mkdir(parents=True)
    layout = WRITERS[plan.layout](root, experiment, plan)
    layout.write_design()
    maps, meaning = _write_pictures(layout, source, experiment.n_catalogue, plan.size_px)
    _write_categories(root / STIMULUS_CATEGORIES, meaning.categories)
    extras = [EXTRA_WRITERS[name](root, experiment, plan) for name in plan.extras]
    for extra in extras:
        extra.write_design(source)
    facts = {}
    for number in plan.numbers:
        rows = experiment.subjectim[number - 1] - 1
        seen = Meaning(meaning.attributes[rows], meaning.domains[rows])
        subject = make_subject(number, plan.nsdgeneral_voxels, maps[rows], seen, plan.seed)
        name = f"subj{number:02d}"
        facts[name] = layout.write_subject(subject, partial(track, description=f"simulating {name}"))
        for extra in extras:
            extra.write_subject(subject)
    return facts


def _write_pictures(
    layout: Layout, source: PictureSource, n_catalogue: int, size_px: int
) -> tuple[npt.NDArray[np.float32], Meaning]:
    """Write the catalogue block by block and return its channels (n, N_CHANNELS, GRID * GRID) and meaning."""
    maps, attributes, domains = [], [], []
    categories: list[tuple[str, ...]] = []
    with layout.open_pictures(size_px) as write:
        for start in track(range(0, n_catalogue, _BLOCK), "drawing pictures"):
            pictures, meaning = source.read(np.arange(start, min(start + _BLOCK, n_catalogue)))
            write(start, pictures)
            maps.append(channel_maps(pictures))
            attributes.append(meaning.attributes)
            domains.append(meaning.domains)
            categories += meaning.categories
    return np.concatenate(maps), Meaning(np.concatenate(attributes), np.concatenate(domains), tuple(categories))


def _write_categories(path: Path, categories: tuple[tuple[str, ...], ...]) -> None:
    """Write what each picture shows: a row per category of a picture."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["nsd_id", "category"])
    table.writerows([nsd_id, category] for nsd_id, shown in enumerate(categories) for category in shown)
    path.write_text(text.getvalue(), encoding="utf-8")
