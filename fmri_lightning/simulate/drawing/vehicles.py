"""Vehicles and buildings, each drawn in the unit frame of :mod:`.brush`."""

from __future__ import annotations

from fmri_lightning.simulate.drawing.brush import Brush, Colour, shade

_TYRE: Colour = (30, 30, 34)
_GLASS: Colour = (170, 210, 230)
_METAL: Colour = (190, 195, 200)


def _wheels(brush: Brush, xs: tuple[float, ...], radius: float) -> None:
    for x in xs:
        brush.oval(x, radius, radius, radius, _TYRE)
        brush.oval(x, radius, radius * 0.5, radius * 0.5, _METAL)


def car(brush: Brush, base: Colour) -> None:
    """A saloon car from the side."""
    brush.polygon([(-0.28, 0.36), (-0.16, 0.6), (0.18, 0.6), (0.32, 0.36)], shade(base, 0.85))
    brush.polygon([(-0.22, 0.37), (-0.13, 0.55), (0.0, 0.55), (0.0, 0.37)], _GLASS)
    brush.polygon([(0.04, 0.37), (0.04, 0.55), (0.15, 0.55), (0.25, 0.37)], _GLASS)
    brush.box(-0.5, 0.1, 0.5, 0.38, base)
    _wheels(brush, (-0.28, 0.28), 0.12)


def bus(brush: Brush, base: Colour) -> None:
    """A bus from the side."""
    brush.box(-0.5, 0.1, 0.5, 0.72, base)
    for left in (-0.44, -0.21, 0.02, 0.25):
        brush.box(left, 0.4, left + 0.18, 0.62, _GLASS)
    brush.box(-0.5, 0.28, 0.5, 0.33, (245, 245, 240))
    _wheels(brush, (-0.3, 0.3), 0.11)


def truck(brush: Brush, base: Colour) -> None:
    """A lorry with a light box and a cabin of colour ``base``."""
    brush.box(-0.16, 0.14, 0.5, 0.76, (228, 226, 220))
    brush.box(-0.5, 0.14, -0.18, 0.56, base)
    brush.box(-0.46, 0.34, -0.28, 0.52, _GLASS)
    _wheels(brush, (-0.34, 0.12, 0.36), 0.11)


def train(brush: Brush, base: Colour) -> None:
    """A train that runs out of the frame on both sides."""
    brush.box(-0.62, 0.0, 0.62, 0.05, (95, 85, 80))
    brush.polygon([(-0.5, 0.08), (-0.38, 0.56), (0.62, 0.56), (0.62, 0.08)], base)
    brush.polygon([(-0.42, 0.34), (-0.36, 0.5), (-0.26, 0.5), (-0.26, 0.34)], _GLASS)
    for left in (-0.18, 0.06, 0.3):
        brush.box(left, 0.34, left + 0.17, 0.48, _GLASS)
    brush.box(-0.47, 0.18, 0.62, 0.23, shade(base, 1.5))


def bicycle(brush: Brush, base: Colour) -> None:
    """A bicycle: two wheels and a frame of colour ``base``."""
    brush.ring(-0.28, 0.22, 0.22, 0.05, _TYRE)
    brush.ring(0.28, 0.22, 0.22, 0.05, _TYRE)
    brush.stroke([(-0.28, 0.22), (-0.04, 0.22), (0.2, 0.55), (-0.14, 0.55)], 0.055, base)
    brush.stroke([(-0.28, 0.22), (-0.14, 0.58), (-0.04, 0.22)], 0.055, base)
    brush.stroke([(0.28, 0.22), (0.18, 0.68), (0.08, 0.7)], 0.055, base)
    brush.box(-0.22, 0.58, -0.06, 0.63, _TYRE)


def boat(brush: Brush, base: Colour) -> None:
    """A sailing boat with a hull of colour ``base``."""
    brush.polygon([(-0.46, 0.24), (0.46, 0.24), (0.3, 0.0), (-0.32, 0.0)], base)
    brush.stroke([(0.0, 0.2), (0.0, 1.0)], 0.035, (90, 70, 50))
    brush.polygon([(0.04, 0.3), (0.04, 0.98), (0.4, 0.3)], (245, 244, 238))
    brush.polygon([(-0.04, 0.34), (-0.04, 0.86), (-0.3, 0.34)], (220, 222, 226))


def airplane(brush: Brush, base: Colour) -> None:
    """A flying aeroplane with stripes of colour ``base``."""
    brush.polygon([(-0.02, 0.5), (0.2, 0.5), (0.34, 0.86), (0.22, 0.86)], shade(_METAL, 0.9))
    brush.oval(0.0, 0.46, 0.46, 0.1, (238, 238, 240))
    brush.polygon([(0.3, 0.5), (0.46, 0.5), (0.5, 0.78), (0.4, 0.78)], base)
    brush.polygon([(-0.1, 0.44), (0.16, 0.44), (0.24, 0.08), (0.1, 0.08)], shade(_METAL, 0.75))
    brush.box(-0.36, 0.44, 0.4, 0.48, base)


def house(brush: Brush, base: Colour) -> None:
    """A house with walls of colour ``base``."""
    brush.box(-0.36, 0.0, 0.36, 0.56, base)
    brush.polygon([(-0.46, 0.54), (0.46, 0.54), (0.0, 1.0)], (150, 62, 48))
    brush.box(-0.08, 0.0, 0.1, 0.32, (90, 60, 40))
    brush.box(-0.3, 0.24, -0.15, 0.42, _GLASS)
    brush.box(0.17, 0.24, 0.31, 0.42, _GLASS)


def tower(brush: Brush, base: Colour) -> None:
    """A tall building with rows of windows."""
    brush.box(-0.22, 0.0, 0.22, 1.0, base)
    brush.box(0.12, 0.0, 0.22, 1.0, shade(base, 0.75))
    for row in range(6):
        for x in (-0.16, -0.04):
            bottom = 0.08 + row * 0.15
            brush.box(x, bottom, x + 0.08, bottom + 0.09, (250, 236, 160))
