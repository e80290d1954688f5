"""Rendered scenes: natural-scene-like stimuli whose content is known.

A scene is a place under a light and a weather with one to three everyday objects. It is drawn from
a seed, so nothing has to be shipped or licensed, and its description is the ground truth that the
simulated higher visual areas respond to.

Namespaces keep scenes apart that must never meet: the mini models are trained on ``mini_train`` and
checked on ``mini_heldout``; simulated subjects see ``stimuli``; ``probe`` identifies an embedding
space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ImageDraw

from fmri_lightning.errors import UsageError
from fmri_lightning.simulate.drawing import household, living, vehicles
from fmri_lightning.simulate.drawing.brush import (
    OVERSAMPLING,
    Brush,
    Colour,
    colour,
    reduce_canvas,
)
from fmri_lightning.simulate.drawing.places import (
    LIGHTS,
    PLACES,
    WEATHERS,
    apply_light,
    paint_background,
)

NAMESPACES: dict[str, int] = {"stimuli": 0, "mini_train": 1, "mini_heldout": 2, "probe": 3}


@dataclass(frozen=True)
class Thing:
    """A drawable category.

    Attributes:
        draw: drawing function in the unit frame.
        size: range of its size as a fraction of the picture.
        flies: stands in the sky instead of on the ground.
        meaning: how animate, man-made, edible and furniture-like it is (0..1 each).
        hues: range of the hue of its main colour (0..1 round the colour circle).
    """

    draw: Callable[[Brush, Colour], None]
    size: tuple[float, float]
    flies: bool
    meaning: tuple[float, float, float, float]
    hues: tuple[float, float] = (0.0, 1.0)


_FUR = (0.02, 0.13)


def _things() -> dict[str, Thing]:
    animal, plant, vehicle, building, food, furniture, toy = (
        (1.0, 0.0, 0.0, 0.0),
        (0.4, 0.0, 0.2, 0.0),
        (0.1, 1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0, 0.3),
        (0.0, 0.4, 1.0, 0.0),
        (0.0, 0.8, 0.0, 1.0),
        (0.2, 0.8, 0.0, 0.3),
    )
    return {
        "person": Thing(living.person, (0.5, 0.75), False, (1.0, 0.3, 0.0, 0.0)),
        "cat": Thing(living.cat, (0.35, 0.55), False, animal, _FUR),
        "dog": Thing(living.dog, (0.4, 0.6), False, animal, _FUR),
        "horse": Thing(living.horse, (0.5, 0.75), False, animal, _FUR),
        "elephant": Thing(living.elephant, (0.5, 0.8), False, animal),
        "giraffe": Thing(living.giraffe, (0.6, 0.85), False, animal),
        "bird": Thing(living.bird, (0.28, 0.45), True, animal),
        "fish": Thing(living.fish, (0.4, 0.6), False, animal),
        "tree": Thing(living.tree, (0.5, 0.8), False, plant),
        "pine": Thing(living.pine, (0.5, 0.8), False, plant),
        "cactus": Thing(living.cactus, (0.45, 0.7), False, plant),
        "flower": Thing(living.flower, (0.4, 0.65), False, plant),
        "car": Thing(vehicles.car, (0.5, 0.8), False, vehicle),
        "bus": Thing(vehicles.bus, (0.55, 0.85), False, vehicle),
        "truck": Thing(vehicles.truck, (0.55, 0.85), False, vehicle),
        "train": Thing(vehicles.train, (0.7, 0.95), False, vehicle),
        "bicycle": Thing(vehicles.bicycle, (0.45, 0.7), False, vehicle),
        "boat": Thing(vehicles.boat, (0.45, 0.7), False, vehicle),
        "airplane": Thing(vehicles.airplane, (0.4, 0.65), True, vehicle),
        "house": Thing(vehicles.house, (0.5, 0.75), False, building),
        "tower": Thing(vehicles.tower, (0.6, 0.85), False, building),
        "pizza": Thing(household.pizza, (0.5, 0.8), False, food),
        "apple": Thing(household.apple, (0.3, 0.5), False, food, (-0.06, 0.3)),
        "banana": Thing(household.banana, (0.4, 0.6), False, food),
        "cake": Thing(household.cake, (0.45, 0.65), False, food),
        "cup": Thing(household.cup, (0.35, 0.55), False, food),
        "chair": Thing(household.chair, (0.45, 0.65), False, furniture),
        "sofa": Thing(household.sofa, (0.6, 0.85), False, furniture),
        "lamp": Thing(household.lamp, (0.55, 0.8), False, furniture),
        "bed": Thing(household.bed, (0.6, 0.9), False, furniture),
        "clock": Thing(household.clock, (0.3, 0.45), False, toy),
        "ball": Thing(household.ball, (0.28, 0.45), False, toy),
        "umbrella": Thing(household.umbrella, (0.45, 0.7), False, toy),
        "kite": Thing(household.kite, (0.35, 0.55), True, toy),
    }


THINGS: dict[str, Thing] = _things()
CATEGORIES: tuple[str, ...] = tuple(THINGS)
N_SEMANTIC = len(CATEGORIES) + 4 + 6 + len(PLACES) + len(LIGHTS) + len(WEATHERS)
"""Length of :meth:`SceneDescription.semantic_vector`."""


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Attributes:
        category: one of :data:`CATEGORIES`.
        x: centre, fraction of the picture from the left.
        y: where it touches the ground, fraction of the picture from the top.
        size: height of its unit frame, fraction of the picture.
        hue: of its main colour, 0..1.
        mirrored: whether it faces the other way.
    """

    category: str
    x: float
    y: float
    size: float
    hue: float
    mirrored: bool


@dataclass(frozen=True)
class SceneDescription:
    """What a scene shows; the first object is the largest."""

    place: str
    light: str
    weather: str
    horizon: float
    objects: tuple[SceneObject, ...]

    def semantic_vector(self) -> npt.NDArray[np.float32]:
        """Return the scene's meaning, float32 (N_SEMANTIC,), entries mostly 0..1.

        Area-weighted categories, their mean meaning (animate, man-made, edible, furniture-like),
        the main object's position, size and hue (as a point on the colour circle), how many
        objects there are, and one-hot place, light and weather.
        """
        areas = np.array([thing.size**2 for thing in self.objects])
        shares = areas / areas.sum()
        categories = np.zeros(len(CATEGORIES))
        meaning = np.zeros(4)
        for thing, share in zip(self.objects, shares, strict=True):
            categories[CATEGORIES.index(thing.category)] += share
            meaning += share * np.asarray(THINGS[thing.category].meaning)
        main = self.objects[0]
        angle = 2.0 * np.pi * main.hue
        layout = np.array([main.x, main.y, main.size, np.cos(angle), np.sin(angle), len(self.objects) / 3.0])
        contexts = [
            np.eye(len(names))[tuple(names).index(name)]
            for names, name in (
                (PLACES, self.place),
                (LIGHTS, self.light),
                (WEATHERS, self.weather),
            )
        ]
        return np.concatenate([categories, meaning, layout, *contexts]).astype(np.float32)

    def caption(self) -> str:
        """Return a short English description."""
        names = " and ".join(f"a {thing.category}" for thing in self.objects)
        return f"{names}, {self.place}, {self.light}, {self.weather}"


def _pick(rng: np.random.Generator, names: Iterable[str]) -> str:
    options = tuple(names)
    return options[int(rng.integers(len(options)))]


def _sample_object(rng: np.random.Generator, place: str, horizon: float, main: bool) -> SceneObject:
    category = _pick(rng, PLACES[place].things)
    thing = THINGS[category]
    size = rng.uniform(*thing.size) * (1.0 if main else 0.6)
    x = rng.uniform(0.28, 0.72) if main else rng.choice([rng.uniform(0.1, 0.3), rng.uniform(0.7, 0.9)])
    y = rng.uniform(0.42, 0.62) if thing.flies else horizon + (1.0 - horizon) * rng.uniform(0.35, 0.85)
    return SceneObject(
        category, float(x), float(y), float(size), float(rng.uniform(*thing.hues) % 1.0), bool(rng.integers(2))
    )


def sample_scene(rng: np.random.Generator) -> SceneDescription:
    """Return a random scene: place, light, weather and one to three objects."""
    place = _pick(rng, PLACES)
    light = str(rng.choice(list(LIGHTS), p=[0.5, 0.2, 0.18, 0.12]))
    weather = str(rng.choice(list(WEATHERS), p=[0.55, 0.3, 0.15]))
    horizon = float(rng.uniform(*PLACES[place].horizon))
    count = int(rng.choice([1, 2, 3], p=[0.5, 0.33, 0.17]))
    objects = tuple(_sample_object(rng, place, horizon, main=i == 0) for i in range(count))
    return SceneDescription(place, light, weather, horizon, objects)


def render_scene(scene: SceneDescription, rng: np.random.Generator, size_px: int = 64) -> npt.NDArray[np.uint8]:
    """Return the picture of a scene, uint8 (size_px, size_px, 3), RGB 0..255."""
    side = size_px * OVERSAMPLING
    place = PLACES[scene.place]
    canvas = paint_background(place, scene.horizon, scene.weather, side, rng)
    draw = ImageDraw.Draw(canvas)
    for thing in reversed(scene.objects):
        size = thing.size * side
        if not THINGS[thing.category].flies:
            base, half = thing.y * side, 0.32 * size
            draw.ellipse(
                (thing.x * side - half, base - 0.05 * size, thing.x * side + half, base + 0.04 * size),
                fill=tuple(round(0.55 * channel) for channel in place.ground[1]),
            )
        brush = Brush(draw, thing.x * side, thing.y * side, size, thing.mirrored)
        THINGS[thing.category].draw(brush, colour(thing.hue, 0.72, 0.82))
    small = np.asarray(reduce_canvas(canvas, size_px), dtype=np.float64)
    lit = apply_light(small, scene.light, scene.weather, place.outdoors)
    return lit.round().clip(0, 255).astype(np.uint8)


def describe_scene(namespace: str, index: int, seed: int = 0) -> SceneDescription:
    """Return what scene number ``index`` of a namespace shows, without drawing it.

    Raises:
        UsageError: unknown namespace.
    """
    if namespace not in NAMESPACES:
        raise UsageError(f"unknown scene namespace {namespace!r}; choose one of {', '.join(NAMESPACES)}")
    return sample_scene(np.random.default_rng([NAMESPACES[namespace], seed, index, 0]))


def draw_scene(
    namespace: str, index: int, seed: int = 0, size_px: int = 64
) -> tuple[npt.NDArray[np.uint8], SceneDescription]:
    """Return scene number ``index`` of a namespace and its description.

    The same (namespace, seed, index) gives the same scene at every size.

    Raises:
        UsageError: unknown namespace.
    """
    scene = describe_scene(namespace, index, seed)
    rng = np.random.default_rng([NAMESPACES[namespace], seed, index, 1])
    return render_scene(scene, rng, size_px), scene


def draw_scenes(
    namespace: str, indices: Iterable[int], seed: int = 0, size_px: int = 64
) -> tuple[npt.NDArray[np.uint8], list[SceneDescription]]:
    """Return scenes of a namespace, uint8 (n, size_px, size_px, 3), and their descriptions."""
    drawn = [draw_scene(namespace, int(index), seed, size_px) for index in indices]
    if not drawn:
        return np.zeros((0, size_px, size_px, 3), dtype=np.uint8), []
    return np.stack([picture for picture, _ in drawn]), [scene for _, scene in drawn]
