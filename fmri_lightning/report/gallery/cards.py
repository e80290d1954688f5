"""The cards of the gallery: one stimulus, what was shown, and what every run drew for it."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmri_lightning.report.gallery.columns import GENERATED, NEIGHBOUR, SAMPLE, SHOWN, Column, columns_of
from fmri_lightning.report.gallery.measures import Measure, measures_of
from fmri_lightning.report.gallery.thumbnails import Thumbnails
from fmri_lightning.report.grids import open_picture
from fmri_lightning.report.runs import ReportRun
from fmri_lightning.report.shown import Shown
from fmri_lightning.report.truth import Truth

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Shot:
    """One picture of a card.

    Attributes:
        file: Name of its thumbnail, or None where the picture is not at hand.
        caption: What is written below it; may be empty.
        source: Another stimulus that the picture is about: the neighbour, or whose embedding drew it.
    """

    file: str | None
    caption: str = ""
    source: int | None = None


@dataclass(frozen=True)
class Card:
    """One stimulus, or one trial of it.

    Attributes:
        key: For instance "nsd12" or "nsd12_trial340".
        nsd_id: The stimulus.
        shows: What it shows, where categories are known, in alphabetical order.
        shots: One a column; None where a run did not draw this stimulus.
        captions: What people wrote of it, where captions are known.
    """

    key: str
    nsd_id: int
    shows: list[str]
    shots: list[Shot | None]
    captions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Gallery:
    """All cards of a page.

    Attributes:
        columns: What stands beside what.
        measures: What the cards can be sorted by.
        cards: In the seeded random order.
        n_items: Stimuli (or trials) that the runs drew; the gallery may hold fewer.
        thumbnails: The pictures.
        missing: What of the annotations is not on the cards, in words; "" where nothing is amiss.
    """

    columns: list[Column]
    measures: list[Measure]
    cards: list[Card]
    n_items: int
    thumbnails: Thumbnails
    missing: str = ""

    @property
    def has_captions(self) -> bool:
        """Whether any card carries sentences."""
        return any(card.captions for card in self.cards)

    @property
    def categories(self) -> list[tuple[str, int]]:
        """Categories in alphabetical order, with the number of cards that show each."""
        counts = Counter(name for card in self.cards for name in card.shows)
        return sorted(counts.items())

    def for_script(self, addresses: dict[str, str]) -> dict[str, Any]:
        """Arrange everything as the page's script reads it.

        Args:
            addresses: Address of every thumbnail, by its file name.

        Returns:
            Plain values; missing scores are None.
        """
        return {
            "columns": [vars(column) for column in self.columns],
            "measures": [
                {"name": m.name, "label": m.label, "up": m.higher_is_better, "share": m.share} for m in self.measures
            ],
            "cards": [
                {
                    "key": card.key,
                    "id": card.nsd_id,
                    "words": ", ".join(card.shows),
                    "shows": card.shows,
                    "captions": card.captions,
                    "shots": [None if shot is None else [shot.file, shot.caption, shot.source] for shot in card.shots],
                    "values": [_rounded(m.values.get(card.nsd_id)) for m in self.measures],
                }
                for card in self.cards
            ],
            "addresses": addresses,
            "runs": len({column.run for column in self.columns if column.run}),
        }


def build_gallery(
    runs: list[ReportRun],
    truth: Truth,
    protocol: str | None,
    limit: int,
    seed: int,
    thumbnails: Thumbnails,
    shown: Shown | None = None,
    share: bool = False,
    n_samples: int = 4,
) -> Gallery:
    """Build the gallery in a random order that is the same every time.

    Args:
        runs: Runs side by side; their control pictures follow each run's own.
        truth: Stimuli.
        protocol: Whose per-stimulus scores the cards carry, or None.
        limit: At most this many cards, drawn at random.
        seed: Of the order.
        thumbnails: Where the pictures are put.
        shown: Categories and captions of the stimuli.
        share: Leave out what shows stimuli.
        n_samples: Samples shown of runs that drew several for each stimulus.

    Returns:
        The gallery.

    Raises:
        BadInputError: A finished picture is missing or unreadable.
    """
    ids: dict[str, int] = {}
    for run in runs:
        for result in run.results:
            ids.setdefault(card_key(result), int(result["nsdId"]))
    keys = sorted(ids, key=lambda key: hashlib.blake2b(f"{seed} {key}".encode()).digest())[:limit]
    columns = columns_of(runs, share, n_samples)
    drawn = {id(r): {card_key(x): x for x in r.results} for run in runs for r in (run, *run.controls.values())}
    by_label = {run.label: run for run in runs}
    known = shown or Shown()
    cards = []
    for key in keys:
        shots = [
            _shot(
                f"{place:02d}_{column.kind}_{key}",
                column,
                by_label.get(column.run),
                key,
                ids[key],
                drawn,
                truth,
                thumbnails,
            )
            for place, column in enumerate(columns)
        ]
        shows, captions = sorted(known.categories.get(ids[key], ())), known.captions.get(ids[key], [])
        cards.append(Card(key, ids[key], shows, shots, captions))
    measures = [m for m in measures_of(runs, protocol) if m.values.keys() & {card.nsd_id for card in cards}]
    return Gallery(columns, measures, cards, len(ids), thumbnails, known.missing)


def card_key(result: dict[str, Any]) -> str:
    """Name the item of a result; controls use the same name for the same item."""
    return Path(str(result["image_path"])).name.removesuffix("_generated.png")


def _shot(
    name: str,
    column: Column,
    run: ReportRun | None,
    key: str,
    nsd_id: int,
    drawn: dict[int, dict[str, dict[str, Any]]],
    truth: Truth,
    thumbnails: Thumbnails,
) -> Shot | None:
    if run is None:
        return Shot(_stimulus(nsd_id, truth, thumbnails))
    owner = run.controls.get(column.kind, run)
    result = drawn[id(owner)].get(key)
    if result is None:
        return None
    if column.kind == NEIGHBOUR:
        neighbour = result.get("nn_nsdId")
        caption = "none" if neighbour is None else f"nsd{neighbour}, {_cosine(result.get('nn_cosine'))}"
        return Shot(_stimulus(neighbour, truth, thumbnails), caption, neighbour)
    if column.kind == SAMPLE:
        number = column.name.rpartition(SAMPLE)[2]
        path = run.folder / "samples" / f"{key}_k{number}.png"
        return Shot(thumbnails.add(name, open_picture(path))) if path.is_file() else None
    file = thumbnails.add(name, open_picture(owner.picture(result)))
    if column.kind == GENERATED:
        return Shot(file, _cosine(result.get("cosine_pred_gt")))
    source = owner.drawn_from.get(nsd_id)
    moved = source is not None and source != nsd_id
    return Shot(file, f"embedding of nsd{source}" if moved else "", source if moved else None)


def _stimulus(nsd_id: int | None, truth: Truth, thumbnails: Thumbnails) -> str | None:
    picture: Image.Image | None = truth.picture(nsd_id)
    return None if picture is None else thumbnails.add(f"{SHOWN}_nsd{nsd_id}", picture)


def _cosine(value: Any) -> str:
    return "" if value is None else f"cosine {float(value):.3f}"


def _rounded(value: float | None) -> float | None:
    """Six digits: the page is no archive, and data.csv has them all."""
    return None if value is None else float(f"{value:.6g}")
