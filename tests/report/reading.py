"""The page as a reader gets it: parsed from the file that the command wrote."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from fmri_lightning.report.command import report


class Page(HTMLParser):
    """What the tests look at: text, pictures, and every attribute that could fetch something."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.html = (folder / "index.html").read_text(encoding="utf-8")
        self.words, self.images, self.fetched, self.scripts = [], [], [], []
        self._inside = None
        self.feed(self.html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))
        inline = re.search(r'<script type="application/json" id="gallery-data">(.*?)</script>', self.html, re.DOTALL)
        self.gallery = json.loads(inline.group(1))
        self.keys = [card["key"] for card in self.gallery["cards"]]

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self._inside = tag
        if tag == "img":
            self.images.append(attrs)
        if tag == "script":
            self.scripts.append(attrs)
        self.fetched += [v for k, v in attrs.items() if k in ("src", "srcset", "data", "poster", "action")]
        self.fetched += [v for k, v in attrs.items() if k in ("href", "xlink:href") and not v.startswith("#")]

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside not in ("style", "script"):
            self.words.append(data)

    def card(self, key):
        return next(card for card in self.gallery["cards"] if card["key"] == key)

    def shot(self, key, column):
        """The picture of a card in a column, its caption, and the other stimulus that it is about."""
        names = [one["name"] for one in self.gallery["columns"]]
        return self.card(key)["shots"][names.index(column)]

    def pixels(self, key, column):
        return decode(self.gallery["addresses"][self.shot(key, column)[0]], self.folder)

    def values(self, key):
        return dict(zip((one["name"] for one in self.gallery["measures"]), self.card(key)["values"], strict=True))


def write_page(runs, out, **flags):
    report(run=runs, out=out, **flags)
    return Page(out)


def decode(address, folder):
    content = (
        base64.b64decode(address.split(",")[1]) if address.startswith("data:") else (folder / address).read_bytes()
    )
    return np.asarray(Image.open(io.BytesIO(content)))


def like(picture, other):
    """Whether a JPEG shows a picture."""
    return picture.shape == other.shape and np.abs(picture.astype(int) - other).mean() < 4
