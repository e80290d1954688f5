"""Put the page together: opaque pictures, pairs in a random order, and a script that asks; the key goes elsewhere."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fmri_lightning import __version__
from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.pictures import PictureSet
from fmri_lightning.evaluation.ratings.key import Key, KeyTrial, key_file, read_key
from fmri_lightning.evaluation.ratings.material import Material
from fmri_lightning.evaluation.ratings.plan import Trial
from fmri_lightning.manifest import atomic_path, content_hash, versions, write_json

TEMPLATES = Path(__file__).parent / "templates"
SIDE_PX = 256
BREAK_EVERY = 40
"""Trials between two offers of a break."""


@dataclass(frozen=True)
class Page:
    """A page and what belongs to it.

    Attributes:
        html: The page.
        key: Its answers.
    """

    html: str
    key: Key


def build_page(material: Material, trials: list[Trial], config: dict[str, Any], secret: str) -> Page:
    """Render the page and its key.

    Args:
        material: Pictures.
        trials: From plan_trials, in the order of the page.
        config: Settings for the key.
        secret: Decides the numbers of the pictures; whoever sees the page must not know it.

    Returns:
        Page and key, with one id that is a hash of the page's pictures and trials.
    """
    number = _picture_numbers(trials, secret)
    images = [""] * len(number)
    for (kind, item), place in number.items():
        images[place] = _encode(material.reconstructions if kind == "reconstruction" else material.truth, item)
    asked = []
    for trial in trials:
        pair = [number["stimulus", trial.item], number["stimulus", trial.distractor]]
        top = number["check" if trial.check else "reconstruction", trial.item]
        asked.append([top, *(pair if trial.answer == 0 else pair[::-1])])
    page_id = content_hash(json.dumps([images, asked]))[:32]
    known = [
        KeyTrial(
            i, int(material.ids[t.item]), material.names[t.item], int(material.ids[t.distractor]), t.answer, t.check
        )
        for i, t in enumerate(trials)
    ]
    about = {
        "source": material.source.as_posix(),
        "simulated": material.simulated,
        "restricted": material.restricted is not None,
        "caveats": material.caveats,
        "inputs": material.inputs,
        "config": config,
        "versions": versions(),
    }
    data = {"page": page_id, "breakEvery": BREAK_EVERY, "trials": asked, "images": images}
    return Page(_render(data, material), Key(page_id, tuple(known), about))


def write_page(path: Path, page: Page) -> Path:
    """Write a page and its key; a key that another page's ratings need is never replaced.

    Args:
        path: The HTML file.
        page: Page and key.

    Returns:
        The key's file.

    Raises:
        BadInputError: Another page's key lies there.
    """
    place = key_file(path)
    if place.exists() and read_key(place).page != page.key.page:
        raise BadInputError(
            f"{place} is the key of another page, whose ratings only it can score; choose another --out or remove it"
        )
    # The key first: a page without one collects ratings that nobody can score.
    write_json(place, page.key.to_dict())
    with atomic_path(path) as temporary:
        temporary.write_text(page.html, encoding="utf-8")
    return place


def _picture_numbers(trials: list[Trial], secret: str) -> dict[tuple[str, int], int]:
    """Number all pictures of a page at random; the picture of a check is another one than the stimulus it equals."""
    needed = [("check" if t.check else "reconstruction", t.item) for t in trials]
    needed += [("stimulus", item) for t in trials for item in (t.item, t.distractor)]
    unique = sorted(set(needed))
    order = np.random.default_rng(int(content_hash("numbers", secret)[:32], 16)).permutation(len(unique))
    return dict(zip(unique, order.tolist(), strict=True))


def _encode(pictures: PictureSet, position: int) -> str:
    from PIL import Image

    picture = Image.fromarray(pictures.read(position, position + 1)[0])
    if picture.size != (SIDE_PX, SIDE_PX):
        picture = picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=92, subsampling=0)
    return base64.b64encode(buffer.getvalue()).decode()


def _render(data: dict[str, Any], material: Material) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        data_json=json.dumps(data, separators=(",", ":")),
        n_trials=len(data["trials"]),
        minutes=max(1, round(len(data["trials"]) * 5 / 60)),
        simulated=material.simulated,
        restricted=material.restricted is not None,
        script=script,
        script_hash=_csp_hash(script),
        style=style,
        style_hash=_csp_hash(style),
        version=__version__,
    )


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
