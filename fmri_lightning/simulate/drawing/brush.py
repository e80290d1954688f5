"""A brush that draws anti-aliased shapes in an object's own coordinates.

Objects are described in a unit frame: x from -0.5 (left) to 0.5 (right), y from 0 (where the object
touches the ground) to 1 (its top). The brush maps that frame to the picture, so that a drawing
function never sees pixels, sizes or mirroring. Anti-aliasing comes from drawing on a canvas
``OVERSAMPLING`` times larger than the picture and reducing it with a box filter.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

OVERSAMPLING = 3

Colour = tuple[int, int, int]
Point = tuple[float, float]


def colour(hue: float, saturation: float = 0.7, value: float = 0.8) -> Colour:
    """Return an RGB colour (0..255) from hue, saturation and value (each 0..1)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def shade(base: Colour, factor: float) -> Colour:
    """Return ``base`` made darker (factor < 1) or lighter (factor > 1), clipped to 0..255."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in base)
    return red, green, blue


@dataclass(frozen=True)
class Brush:
    """Draws in the unit frame of one object.

    Attributes:
        draw: Pillow's drawing context of the oversampled canvas.
        left_px: canvas column of x = 0.
        base_px: canvas row of y = 0 (rows grow downwards, y grows upwards).
        scale_px: canvas pixels per unit.
        mirrored: whether the object faces the other way.
    """

    draw: ImageDraw.ImageDraw
    left_px: float
    base_px: float
    scale_px: float
    mirrored: bool = False

    def _pixel(self, point: Point) -> Point:
        x = -point[0] if self.mirrored else point[0]
        return self.left_px + x * self.scale_px, self.base_px - point[1] * self.scale_px

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        """Fill the polygon through ``points``."""
        self.draw.polygon([self._pixel(point) for point in points], fill=fill)

    def box(self, left: float, bottom: float, right: float, top: float, fill: Colour) -> None:
        """Fill an upright rectangle."""
        self.polygon([(left, bottom), (right, bottom), (right, top), (left, top)], fill)

    def oval(self, x: float, y: float, radius_x: float, radius_y: float, fill: Colour) -> None:
        """Fill an ellipse around (x, y)."""
        centre_x, centre_y = self._pixel((x, y))
        half_width, half_height = radius_x * self.scale_px, radius_y * self.scale_px
        self.draw.ellipse(
            (
                centre_x - half_width,
                centre_y - half_height,
                centre_x + half_width,
                centre_y + half_height,
            ),
            fill=fill,
        )

    def ring(self, x: float, y: float, radius: float, width: float, fill: Colour) -> None:
        """Draw a circle's outline."""
        centre_x, centre_y = self._pixel((x, y))
        reach = radius * self.scale_px
        self.draw.ellipse(
            (centre_x - reach, centre_y - reach, centre_x + reach, centre_y + reach),
            outline=fill,
            width=max(1, round(width * self.scale_px)),
        )

    def stroke(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """Draw a line through ``points``."""
        self.draw.line(
            [self._pixel(point) for point in points],
            fill=fill,
            width=max(1, round(width * self.scale_px)),
            joint="curve",
        )


def reduce_canvas(canvas: Image.Image, size_px: int) -> Image.Image:
    """Return the canvas averaged down to ``size_px`` squared."""
    return canvas.resize((size_px, size_px), Image.Resampling.BOX)
