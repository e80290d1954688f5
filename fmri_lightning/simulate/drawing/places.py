"""Backgrounds of the simulated stimuli: sky or wall above the horizon, ground or floor below it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from fmri_lightning.simulate.drawing.brush import Colour, shade

Decoration = Callable[[ImageDraw.ImageDraw, int, float, np.random.Generator], None]


@dataclass(frozen=True)
class Place:
    """What a place looks like and what may stand in it.

    Attributes:
        sky: colours at the top and at the horizon.
        ground: colours at the horizon and at the bottom.
        horizon: range of the horizon's height, as a fraction of the picture from the top.
        outdoors: whether light and weather change the sky.
        things: categories that may appear.
        decorate: draws what belongs to the place itself (mountains, windows, waves).
    """

    sky: tuple[Colour, Colour]
    ground: tuple[Colour, Colour]
    horizon: tuple[float, float]
    outdoors: bool
    things: tuple[str, ...]
    decorate: Decoration


def _plain(draw: ImageDraw.ImageDraw, side: int, horizon: float, rng: np.random.Generator) -> None:
    """Draw nothing but the two gradients."""


def _mountains(draw: ImageDraw.ImageDraw, side: int, horizon: float, rng: np.random.Generator) -> None:
    base = horizon * side
    for centre, width, height in ((0.2, 0.36, 0.38), (0.72, 0.44, 0.5), (0.48, 0.3, 0.28)):
        middle = (centre + rng.uniform(-0.1, 0.1)) * side
        peak = base - height * side * rng.uniform(0.7, 1.0)
        half = width * side
        rock = shade((112, 116, 134), rng.uniform(0.85, 1.1))
        draw.polygon([(middle - half, base), (middle, peak), (middle + half, base)], fill=rock)
        cap = 0.3
        draw.polygon(
            [
                (middle - half * cap, peak + (base - peak) * cap),
                (middle, peak),
                (middle + half * cap, peak + (base - peak) * cap),
            ],
            fill=(240, 244, 250),
        )


def _skyline(draw: ImageDraw.ImageDraw, side: int, horizon: float, rng: np.random.Generator) -> None:
    base = horizon * side
    left = -0.05 * side
    while left < side:
        width = rng.uniform(0.12, 0.22) * side
        top = base - rng.uniform(0.12, 0.42) * side
        draw.rectangle((left, top, left + width, base), fill=shade((130, 128, 138), rng.uniform(0.7, 1.15)))
        left += width
    draw.rectangle((0, base + 0.5 * (side - base), side, base + 0.56 * (side - base)), fill=(226, 220, 180))


def _trees(draw: ImageDraw.ImageDraw, side: int, horizon: float, rng: np.random.Generator) -> None:
    base = horizon * side
    for left in np.arange(-0.05, 1.05, 0.13):
        x = (left + rng.uniform(-0.03, 0.03)) * side
        height = rng.uniform(0.25, 0.5) * side
        green = shade((38, 88, 48), rng.uniform(0.75, 1.25))
        draw.rectangle((x - 0.015 * side, base - height, x + 0.015 * side, base), fill=(74, 54, 38))
        draw.ellipse((x - 0.1 * side, base - height - 0.08 * side, x + 0.1 * side, base - 0.3 * height), fill=green)


def _waves(draw: ImageDraw.ImageDraw, side: int, horizon: float, rng: np.random.Generator) -> None:
    for _ in range(6):
        y = side * rng.uniform(horizon + 0.05, 1.0)
        x = side * rng.uniform(-0.1, 0.8)
        draw.line((x, y, x + side * rng.uniform(0.15, 0.35), y), fill=(150, 196, 222), width=max(1, side // 80))


def _beach(draw: ImageDraw.ImageDraw, side: int, horizon: float, rng: np.random.Generator) -> None:
    shore = side * (horizon + rng.uniform(0.12, 0.2))
    draw.rectangle((0, horizon * side, side, shore), fill=(58, 132, 176))
    draw.rectangle((0, shore - 0.02 * side, side, shore + 0.01 * side), fill=(238, 242, 240))


def _room(draw: ImageDraw.ImageDraw, side: int, horizon: float, rng: np.random.Generator) -> None:
    left = side * rng.uniform(0.08, 0.6)
    draw.rectangle((left, 0.1 * side, left + 0.28 * side, 0.42 * side), fill=(244, 240, 232))
    draw.rectangle((left + 0.02 * side, 0.12 * side, left + 0.26 * side, 0.4 * side), fill=(150, 196, 232))
    draw.line(
        (left + 0.14 * side, 0.12 * side, left + 0.14 * side, 0.4 * side),
        fill=(244, 240, 232),
        width=max(1, side // 60),
    )
    draw.rectangle((0, horizon * side - 0.025 * side, side, horizon * side), fill=(232, 226, 214))


def _table(draw: ImageDraw.ImageDraw, side: int, horizon: float, rng: np.random.Generator) -> None:
    for row in range(3):
        y = side * horizon * (row + 1) / 4
        draw.line((0, y, side, y), fill=(206, 214, 214), width=max(1, side // 90))
    draw.rectangle((0, horizon * side, side, horizon * side + 0.03 * side), fill=(196, 150, 100))


_FARM = ("horse", "dog", "cat", "tree", "flower", "house", "person", "bicycle", "ball")
_STREET = ("car", "bus", "truck", "bicycle", "person", "tower", "umbrella", "dog", "clock")
_TABLE = ("pizza", "apple", "banana", "cake", "cup", "clock", "flower")
_ROOM = ("chair", "sofa", "lamp", "bed", "cat", "dog", "clock", "person", "ball")

PLACES: dict[str, Place] = {
    "meadow": Place(
        ((96, 158, 226), (198, 222, 240)),
        ((116, 170, 72), (78, 136, 52)),
        (0.4, 0.55),
        True,
        (*_FARM, "bird", "kite", "airplane"),
        _plain,
    ),
    "forest": Place(
        ((150, 184, 180), (196, 214, 190)),
        ((86, 98, 52), (64, 74, 40)),
        (0.5, 0.62),
        True,
        ("bird", "dog", "person", "bicycle", "horse", "pine", "flower", "house"),
        _trees,
    ),
    "mountains": Place(
        ((88, 146, 222), (204, 222, 238)),
        ((126, 142, 96), (96, 112, 74)),
        (0.55, 0.66),
        True,
        ("pine", "house", "train", "horse", "person", "airplane", "bird", "kite"),
        _mountains,
    ),
    "beach": Place(
        ((92, 168, 234), (206, 230, 244)),
        ((226, 204, 150), (214, 188, 132)),
        (0.36, 0.46),
        True,
        ("umbrella", "ball", "person", "bird", "kite", "dog", "boat", "chair"),
        _beach,
    ),
    "sea": Place(
        ((86, 150, 220), (196, 220, 238)),
        ((44, 110, 166), (26, 78, 132)),
        (0.36, 0.5),
        True,
        ("boat", "fish", "bird", "airplane"),
        _waves,
    ),
    "street": Place(
        ((140, 176, 214), (206, 214, 222)), ((112, 112, 116), (84, 84, 90)), (0.52, 0.62), True, _STREET, _skyline
    ),
    "desert": Place(
        ((112, 176, 232), (232, 224, 196)),
        ((222, 178, 108), (202, 150, 82)),
        (0.42, 0.56),
        True,
        ("cactus", "truck", "car", "person", "bird", "airplane", "elephant"),
        _plain,
    ),
    "savanna": Place(
        ((120, 176, 224), (238, 222, 178)),
        ((196, 176, 92), (166, 144, 70)),
        (0.46, 0.58),
        True,
        ("elephant", "giraffe", "tree", "bird", "horse", "truck"),
        _plain,
    ),
    "snow": Place(
        ((160, 186, 214), (220, 228, 236)),
        ((240, 244, 250), (214, 224, 238)),
        (0.44, 0.56),
        True,
        ("pine", "house", "person", "dog", "train", "bird", "bus"),
        _plain,
    ),
    "room": Place(((206, 190, 166), (220, 206, 182)), ((156, 112, 72), (130, 90, 58)), (0.6, 0.7), False, _ROOM, _room),
    "kitchen": Place(
        ((222, 230, 230), (210, 220, 222)), ((176, 128, 80), (150, 104, 62)), (0.38, 0.5), False, _TABLE, _table
    ),
}

LIGHTS: dict[str, tuple[float, float, float]] = {
    "noon": (1.0, 1.0, 1.0),
    "morning": (1.05, 0.98, 0.86),
    "dusk": (1.06, 0.72, 0.6),
    "night": (0.36, 0.42, 0.62),
}
"""Factors on red, green and blue."""

WEATHERS: tuple[str, ...] = ("clear", "cloudy", "fog")


def _gradient(top: Colour, bottom: Colour, rows: int) -> npt.NDArray[np.float64]:
    ramp = np.linspace(0.0, 1.0, max(rows, 1))[:, None]
    return np.asarray(top) * (1.0 - ramp) + np.asarray(bottom) * ramp


def _texture(side: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return smooth grey noise, (side, side), standard deviation about 1."""
    total = np.zeros((side, side))
    for cells, weight in ((4, 0.7), (12, 0.6), (32, 0.4)):
        coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
        total += weight * np.asarray(coarse.resize((side, side), Image.Resampling.BILINEAR))
    return total


def _clouds(canvas: Image.Image, horizon_row: int, rng: np.random.Generator) -> None:
    draw = ImageDraw.Draw(canvas)
    side = canvas.width
    for _ in range(4):
        x, y = rng.uniform(0, side), rng.uniform(0.04, 0.7) * horizon_row
        width, height = rng.uniform(0.12, 0.25) * side, rng.uniform(0.035, 0.07) * side
        for shift in (-0.5, 0.0, 0.5):
            draw.ellipse(
                (x + (shift - 0.6) * width, y - height, x + (shift + 0.6) * width, y + height),
                fill=(236, 239, 243),
            )


def paint_background(place: Place, horizon: float, weather: str, side: int, rng: np.random.Generator) -> Image.Image:
    """Return the oversampled canvas of an empty place.

    Args:
        place: what to paint.
        horizon: height of the horizon, fraction of the picture from the top.
        weather: one of :data:`WEATHERS`; clouds are painted outdoors only.
        side: side of the canvas in pixels.
        rng: source of every random choice.
    """
    horizon_row = round(horizon * side)
    rows = np.concatenate([_gradient(*place.sky, horizon_row), _gradient(*place.ground, side - horizon_row)])
    field = np.repeat(rows[:, None, :], side, axis=1)
    strength = np.where(np.arange(side) < horizon_row, 1.5, 6.0)[:, None, None]
    field = field + strength * _texture(side, rng)[:, :, None]
    canvas = Image.fromarray(field.clip(0, 255).astype(np.uint8))
    if place.outdoors and weather == "cloudy":
        _clouds(canvas, horizon_row, rng)
    place.decorate(ImageDraw.Draw(canvas), side, horizon, rng)
    return canvas


def apply_light(picture: npt.NDArray[np.float64], light: str, weather: str, outdoors: bool) -> npt.NDArray[np.float64]:
    """Return the picture (height, width, 3; 0..255) under a light and in fog.

    Rooms keep a quarter of the outdoor effect, as if lamps were on.
    """
    factors = np.asarray(LIGHTS[light])
    lit = picture * (factors if outdoors else 1.0 + 0.25 * (factors - 1.0))
    if outdoors and weather == "fog":
        lit = 0.62 * lit + 0.38 * (205.0 * factors)
    return lit
