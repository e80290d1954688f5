"""Food, furniture and small things, each drawn in the unit frame of :mod:`.brush`."""

from __future__ import annotations

from fmri_lightning.simulate.drawing.brush import Brush, Colour, shade

_WOOD: Colour = (150, 104, 62)
_PLATE: Colour = (242, 242, 238)


def pizza(brush: Brush, base: Colour) -> None:
    """A pizza on a plate, seen from above at an angle."""
    brush.oval(0.0, 0.36, 0.5, 0.36, _PLATE)
    brush.oval(0.0, 0.37, 0.43, 0.3, (196, 136, 66))
    brush.oval(0.0, 0.38, 0.37, 0.25, (238, 196, 88))
    for x, y in ((-0.18, 0.45), (0.1, 0.5), (0.2, 0.34), (-0.05, 0.3), (-0.24, 0.3), (0.02, 0.4)):
        brush.oval(x, y, 0.07, 0.055, (190, 48, 36))
    brush.oval(0.1, 0.4, 0.04, 0.03, shade(base, 0.8))


def apple(brush: Brush, base: Colour) -> None:
    """An apple of colour ``base``."""
    brush.oval(-0.12, 0.4, 0.28, 0.36, base)
    brush.oval(0.12, 0.4, 0.28, 0.36, base)
    brush.oval(-0.18, 0.52, 0.07, 0.1, shade(base, 1.5))
    brush.stroke([(0.0, 0.7), (0.05, 0.92)], 0.05, (96, 66, 40))
    brush.oval(0.17, 0.86, 0.13, 0.06, (80, 150, 60))


def banana(brush: Brush, base: Colour) -> None:
    """A bunch of bananas: always yellow, tinted by ``base``."""
    peel = (244, 208, 50 + base[2] // 8)
    brush.stroke([(-0.44, 0.62), (-0.28, 0.26), (0.05, 0.14), (0.4, 0.34)], 0.2, shade(peel, 0.85))
    brush.stroke([(-0.42, 0.66), (-0.2, 0.36), (0.1, 0.28), (0.38, 0.5)], 0.17, peel)
    brush.oval(-0.44, 0.7, 0.06, 0.08, (100, 76, 40))


def cake(brush: Brush, base: Colour) -> None:
    """A two-tier cake with icing of colour ``base``."""
    brush.oval(0.0, 0.06, 0.48, 0.07, _PLATE)
    brush.box(-0.38, 0.06, 0.38, 0.36, (206, 150, 98))
    brush.box(-0.38, 0.28, 0.38, 0.4, base)
    brush.box(-0.24, 0.4, 0.24, 0.66, (214, 162, 112))
    brush.box(-0.24, 0.58, 0.24, 0.7, shade(base, 1.15))
    for x in (-0.12, 0.0, 0.12):
        brush.box(x - 0.02, 0.7, x + 0.02, 0.86, (250, 250, 250))
        brush.oval(x, 0.91, 0.035, 0.06, (252, 190, 60))


def cup(brush: Brush, base: Colour) -> None:
    """A cup of colour ``base`` with a handle."""
    brush.ring(0.28, 0.4, 0.19, 0.07, shade(base, 0.85))
    brush.polygon([(-0.32, 0.74), (0.28, 0.74), (0.2, 0.02), (-0.24, 0.02)], base)
    brush.oval(-0.02, 0.74, 0.3, 0.08, shade(base, 1.25))
    brush.oval(-0.02, 0.73, 0.25, 0.055, (92, 58, 36))


def ball(brush: Brush, base: Colour) -> None:
    """A beach ball with a light sector."""
    brush.oval(0.0, 0.42, 0.42, 0.42, base)
    brush.polygon([(0.0, 0.42), (-0.3, 0.71), (0.0, 0.84), (0.28, 0.73)], (248, 246, 240))
    brush.polygon([(0.0, 0.42), (-0.2, 0.05), (0.2, 0.05)], (248, 246, 240))
    brush.oval(0.0, 0.42, 0.08, 0.08, shade(base, 0.7))


def chair(brush: Brush, base: Colour) -> None:
    """A chair from the side."""
    brush.box(-0.28, 0.0, -0.2, 0.98, _WOOD)
    brush.box(0.2, 0.0, 0.28, 0.44, _WOOD)
    brush.box(-0.3, 0.4, 0.3, 0.5, base)
    brush.box(-0.3, 0.62, -0.16, 0.94, base)
    brush.box(-0.08, 0.0, -0.02, 0.42, shade(_WOOD, 0.75))


def sofa(brush: Brush, base: Colour) -> None:
    """A sofa of colour ``base`` with two cushions."""
    brush.box(-0.42, 0.3, 0.42, 0.66, shade(base, 0.85))
    brush.box(-0.4, 0.08, 0.4, 0.34, base)
    brush.box(-0.5, 0.06, -0.36, 0.48, shade(base, 0.75))
    brush.box(0.36, 0.06, 0.5, 0.48, shade(base, 0.75))
    brush.box(-0.34, 0.34, -0.02, 0.54, shade(base, 1.25))
    brush.box(0.02, 0.34, 0.34, 0.54, shade(base, 1.25))


def lamp(brush: Brush, base: Colour) -> None:
    """A standing lamp with a shade of colour ``base``."""
    brush.oval(0.0, 0.03, 0.2, 0.04, (60, 56, 52))
    brush.box(-0.025, 0.03, 0.025, 0.64, (60, 56, 52))
    brush.polygon([(-0.3, 0.62), (0.3, 0.62), (0.17, 1.0), (-0.17, 1.0)], base)
    brush.oval(0.0, 0.62, 0.28, 0.04, (255, 244, 190))


def bed(brush: Brush, base: Colour) -> None:
    """A bed with a blanket of colour ``base``."""
    brush.box(-0.5, 0.0, -0.43, 0.62, _WOOD)
    brush.box(0.43, 0.0, 0.5, 0.36, _WOOD)
    brush.box(-0.46, 0.12, 0.46, 0.26, (236, 232, 224))
    brush.box(-0.16, 0.14, 0.46, 0.38, base)
    brush.oval(-0.3, 0.34, 0.13, 0.08, (250, 250, 250))


def clock(brush: Brush, base: Colour) -> None:
    """A round clock with a rim of colour ``base``."""
    brush.oval(0.0, 0.5, 0.46, 0.46, base)
    brush.oval(0.0, 0.5, 0.37, 0.37, (248, 246, 238))
    brush.stroke([(0.0, 0.5), (0.0, 0.78)], 0.05, (30, 30, 30))
    brush.stroke([(0.0, 0.5), (0.2, 0.42)], 0.05, (30, 30, 30))


def umbrella(brush: Brush, base: Colour) -> None:
    """An open umbrella with segments of colour ``base``."""
    brush.stroke([(0.0, 0.6), (0.0, 0.06), (0.1, 0.02)], 0.04, (70, 56, 44))
    brush.polygon([(-0.5, 0.52), (-0.36, 0.8), (0.0, 0.98), (0.36, 0.8), (0.5, 0.52), (0.0, 0.6)], base)
    brush.polygon([(-0.17, 0.575), (0.0, 0.98), (0.17, 0.575)], shade(base, 1.4))


def kite(brush: Brush, base: Colour) -> None:
    """A flying kite with a tail."""
    brush.stroke([(0.0, 0.3), (0.1, 0.18), (-0.05, 0.08), (0.05, 0.0)], 0.035, (90, 90, 90))
    brush.polygon([(0.0, 1.0), (-0.32, 0.66), (0.0, 0.28), (0.32, 0.66)], base)
    brush.polygon([(0.0, 1.0), (0.0, 0.28), (0.32, 0.66)], shade(base, 0.7))
