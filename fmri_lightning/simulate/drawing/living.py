"""People, animals and plants, each drawn in the unit frame of :mod:`.brush`."""

from __future__ import annotations

from fmri_lightning.simulate.drawing.brush import Brush, Colour, shade

_DARK: Colour = (35, 30, 30)
_SKIN: Colour = (222, 178, 148)
_BARK: Colour = (104, 72, 44)


def _legs(brush: Brush, xs: tuple[float, ...], height: float, width: float, fill: Colour) -> None:
    for x in xs:
        brush.box(x - width / 2, 0.0, x + width / 2, height, fill)


def person(brush: Brush, base: Colour) -> None:
    """A standing person in a shirt of colour ``base``."""
    brush.box(-0.13, 0.0, -0.02, 0.45, (52, 58, 92))
    brush.box(0.02, 0.0, 0.13, 0.45, (52, 58, 92))
    brush.box(-0.17, 0.42, 0.17, 0.78, base)
    brush.stroke([(-0.16, 0.75), (-0.27, 0.45)], 0.07, shade(base, 0.85))
    brush.stroke([(0.16, 0.75), (0.27, 0.45)], 0.07, shade(base, 0.85))
    brush.oval(0.0, 0.88, 0.11, 0.12, _SKIN)
    brush.polygon([(-0.11, 0.9), (-0.09, 1.0), (0.09, 1.0), (0.11, 0.9)], (70, 45, 30))


def cat(brush: Brush, base: Colour) -> None:
    """A sitting cat."""
    brush.stroke([(0.2, 0.08), (0.4, 0.15), (0.42, 0.45)], 0.07, shade(base, 0.8))
    brush.oval(0.0, 0.28, 0.26, 0.29, base)
    brush.oval(-0.04, 0.68, 0.22, 0.2, shade(base, 1.1))
    brush.polygon([(-0.24, 0.76), (-0.22, 1.0), (-0.08, 0.86)], base)
    brush.polygon([(0.16, 0.76), (0.14, 1.0), (0.0, 0.86)], base)
    brush.oval(-0.12, 0.7, 0.035, 0.045, _DARK)
    brush.oval(0.05, 0.7, 0.035, 0.045, _DARK)


def dog(brush: Brush, base: Colour) -> None:
    """A standing dog."""
    _legs(brush, (-0.26, -0.16, 0.2, 0.3), 0.35, 0.08, shade(base, 0.8))
    brush.oval(0.02, 0.45, 0.36, 0.17, base)
    brush.stroke([(0.34, 0.5), (0.46, 0.78)], 0.07, base)
    brush.oval(-0.33, 0.68, 0.16, 0.16, shade(base, 1.1))
    brush.box(-0.5, 0.58, -0.34, 0.7, shade(base, 1.1))
    brush.oval(-0.24, 0.66, 0.06, 0.15, shade(base, 0.6))
    brush.oval(-0.48, 0.67, 0.035, 0.035, _DARK)


def horse(brush: Brush, base: Colour) -> None:
    """A standing horse."""
    _legs(brush, (-0.25, -0.15, 0.22, 0.32), 0.42, 0.07, shade(base, 0.75))
    brush.oval(0.03, 0.5, 0.36, 0.16, base)
    brush.polygon([(-0.32, 0.5), (-0.14, 0.58), (-0.26, 0.95), (-0.4, 0.88)], base)
    brush.polygon([(-0.27, 0.98), (-0.5, 0.74), (-0.44, 0.68), (-0.26, 0.8)], shade(base, 1.1))
    brush.stroke([(-0.24, 0.95), (-0.12, 0.6)], 0.07, _DARK)
    brush.stroke([(0.38, 0.55), (0.47, 0.2)], 0.08, _DARK)


def elephant(brush: Brush, base: Colour) -> None:
    """An elephant: always greyish, tinted by ``base``."""
    grey = (120 + base[0] // 8, 120 + base[1] // 8, 125 + base[2] // 8)
    _legs(brush, (-0.2, 0.0, 0.22, 0.36), 0.35, 0.13, shade(grey, 0.85))
    brush.oval(0.1, 0.53, 0.36, 0.3, grey)
    brush.oval(-0.26, 0.66, 0.2, 0.22, shade(grey, 1.08))
    brush.stroke([(-0.4, 0.6), (-0.46, 0.3), (-0.42, 0.08)], 0.1, shade(grey, 1.08))
    brush.oval(-0.12, 0.66, 0.12, 0.2, shade(grey, 0.75))
    brush.stroke([(-0.36, 0.48), (-0.48, 0.4)], 0.04, (240, 235, 220))


def giraffe(brush: Brush, base: Colour) -> None:
    """A giraffe: always yellow with brown patches, tinted by ``base``."""
    coat = (215, 170 + base[1] // 16, 90)
    _legs(brush, (-0.12, -0.04, 0.14, 0.22), 0.36, 0.055, shade(coat, 0.85))
    brush.oval(0.05, 0.42, 0.22, 0.12, coat)
    brush.polygon([(-0.14, 0.42), (-0.02, 0.48), (-0.14, 0.92), (-0.22, 0.9)], coat)
    brush.oval(-0.22, 0.93, 0.12, 0.06, coat)
    for x, y in ((0.0, 0.43), (0.1, 0.45), (0.18, 0.4), (-0.1, 0.56), (-0.12, 0.68), (-0.15, 0.8)):
        brush.oval(x, y, 0.035, 0.035, (140, 84, 40))


def bird(brush: Brush, base: Colour) -> None:
    """A bird in flight with spread wings."""
    brush.polygon([(-0.05, 0.5), (0.2, 0.52), (0.14, 1.0)], shade(base, 0.8))
    brush.polygon([(-0.05, 0.46), (0.2, 0.46), (0.1, 0.05)], shade(base, 0.65))
    brush.oval(0.03, 0.48, 0.3, 0.12, base)
    brush.oval(-0.3, 0.54, 0.1, 0.1, base)
    brush.polygon([(-0.38, 0.56), (-0.5, 0.51), (-0.38, 0.49)], (236, 160, 40))
    brush.polygon([(0.3, 0.5), (0.5, 0.6), (0.5, 0.4)], shade(base, 0.8))
    brush.oval(-0.32, 0.57, 0.025, 0.025, _DARK)


def fish(brush: Brush, base: Colour) -> None:
    """A fish seen from the side."""
    brush.polygon([(0.22, 0.5), (0.5, 0.8), (0.5, 0.2)], shade(base, 0.8))
    brush.polygon([(-0.1, 0.68), (0.15, 0.66), (0.1, 0.95)], shade(base, 0.8))
    brush.oval(-0.08, 0.5, 0.38, 0.24, base)
    brush.box(-0.08, 0.3, 0.0, 0.7, shade(base, 1.35))
    brush.oval(-0.3, 0.56, 0.05, 0.05, (250, 250, 250))
    brush.oval(-0.31, 0.56, 0.025, 0.025, _DARK)


def tree(brush: Brush, base: Colour) -> None:
    """A broad-leaved tree."""
    leaves = (50 + base[0] // 5, 120 + base[1] // 5, 45)
    brush.box(-0.07, 0.0, 0.07, 0.45, _BARK)
    brush.oval(-0.18, 0.56, 0.24, 0.22, shade(leaves, 0.85))
    brush.oval(0.18, 0.58, 0.24, 0.22, shade(leaves, 0.92))
    brush.oval(0.0, 0.76, 0.28, 0.24, leaves)


def pine(brush: Brush, base: Colour) -> None:
    """A conifer of three tiers."""
    needles = (25, 85 + base[1] // 8, 55)
    brush.box(-0.05, 0.0, 0.05, 0.2, _BARK)
    for bottom, half, bright in ((0.15, 0.34, 0.85), (0.4, 0.27, 0.95), (0.64, 0.19, 1.1)):
        brush.polygon([(-half, bottom), (half, bottom), (0.0, bottom + 0.36)], shade(needles, bright))


def cactus(brush: Brush, base: Colour) -> None:
    """A cactus with two arms."""
    green = (60, 140 + base[1] // 10, 70)
    brush.box(-0.1, 0.0, 0.1, 0.92, green)
    brush.oval(0.0, 0.92, 0.1, 0.08, green)
    brush.stroke([(-0.1, 0.4), (-0.32, 0.42), (-0.32, 0.72)], 0.13, shade(green, 0.9))
    brush.stroke([(0.1, 0.3), (0.32, 0.32), (0.32, 0.6)], 0.13, shade(green, 0.85))
    brush.stroke([(0.0, 0.05), (0.0, 0.9)], 0.025, shade(green, 1.3))


def flower(brush: Brush, base: Colour) -> None:
    """A single flower with petals of colour ``base``."""
    brush.stroke([(0.0, 0.0), (0.0, 0.6)], 0.06, (60, 130, 50))
    brush.oval(0.14, 0.25, 0.14, 0.06, (70, 145, 60))
    for x, y in ((-0.2, 0.72), (0.2, 0.72), (0.0, 0.9), (-0.12, 0.53), (0.12, 0.53)):
        brush.oval(x, y, 0.15, 0.13, base)
    brush.oval(0.0, 0.7, 0.12, 0.12, (245, 205, 60))
