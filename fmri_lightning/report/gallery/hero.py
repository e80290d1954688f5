"""The first pictures of the page: a few stimuli under each other, so that one look tells what was drawn."""

from __future__ import annotations

from dataclasses import dataclass

from fmri_lightning.report.gallery.cards import Card, Gallery
from fmri_lightning.report.gallery.columns import GENERATED, SHOWN, Column

N_STIMULI = 8
_BEFORE, _AFTER = ("true_target",), ("shuffled",)


@dataclass(frozen=True)
class HeroRow:
    """One row of pictures.

    Attributes:
        label: What it is.
        pictures: Address and what those who cannot see it are told; one a stimulus.
    """

    label: str
    pictures: list[tuple[str, str]]


@dataclass(frozen=True)
class Hero:
    """A few stimuli and what was drawn of them.

    Attributes:
        rows: Shown, from the real embedding, from the brain, shuffled; from top to bottom.
        n_stimuli: Columns.
    """

    rows: list[HeroRow]
    n_stimuli: int


def choose_hero(gallery: Gallery, addresses: dict[str, str], n_stimuli: int = N_STIMULI) -> Hero | None:
    """Take the first stimuli of the gallery's random order that every row has a picture of, never the best ones.

    Args:
        gallery: The gallery.
        addresses: Address of every thumbnail.
        n_stimuli: Columns at most.

    Returns:
        The rows; None where no stimulus has a picture in all of them.
    """
    chosen = _rows(gallery.columns)
    places = [gallery.columns.index(column) for column in chosen]
    whole = [card for card in gallery.cards if all(_file(card, place) for place in places)][:n_stimuli]
    if not whole or not any(column.kind == GENERATED for column in chosen):
        return None
    return Hero([_row(gallery, column, whole, addresses) for column in chosen], len(whole))


def _rows(columns: list[Column]) -> list[Column]:
    def first(kinds: tuple[str, ...]) -> list[Column]:
        return [column for column in columns if column.kind in kinds][:1]

    drawn = [column for column in columns if column.kind == GENERATED]
    return [*first((SHOWN,)), *first(_BEFORE), *drawn, *first(_AFTER)]


def _row(gallery: Gallery, column: Column, cards: list[Card], addresses: dict[str, str]) -> HeroRow:
    place = gallery.columns.index(column)
    several = sum(one.kind == column.kind for one in gallery.columns) > 1
    pictures = []
    for card in cards:
        file = _file(card, place)
        assert file is not None
        pictures.append((addresses[file], column.alt.replace("{id}", str(card.nsd_id))))
    return HeroRow(f"{column.heading} ({column.run})" if several else column.heading, pictures)


def _file(card: Card, place: int) -> str | None:
    shot = card.shots[place]
    return None if shot is None else shot.file
