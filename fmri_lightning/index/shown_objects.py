"""Boxes of COCO's photographs as boxes of what was shown: clipped to the crop, shifted, rescaled."""

from __future__ import annotations

from dataclasses import dataclass

SMALLEST_PX = 1e-6
"""COCO's boxes have two decimals; what is left of less than this is rounding of the sum of two of them."""


@dataclass(frozen=True)
class Window:
    """What a crop leaves of a photograph, and the size at which it was shown.

    Attributes:
        top: First row that is left, 0-based.
        left: First column that is left, 0-based.
        height: Rows that are left.
        width: Columns that are left.
        size_px: Side of the shown square, in pixels.
    """

    top: int
    left: int
    height: int
    width: int
    size_px: int


@dataclass(frozen=True)
class ShownBox:
    """What is left of a box.

    Attributes:
        bbox_px: Left, top, width and height in pixels of the shown square; its left upper corner is 0, 0.
        area_share: Share of the shown square that the box covers, above 0 to 1.
        left_share: Share of the box that the crop left, above 0 to 1.
    """

    bbox_px: tuple[float, float, float, float]
    area_share: float
    left_share: float


def shown_box(bbox: tuple[float, float, float, float], window: Window) -> ShownBox | None:
    """Carry a box over from the photograph to the shown square.

    Args:
        bbox: Left, top, width and height in pixels of the photograph.
        window: The crop.

    Returns:
        What is left of it; None where nothing is.

    Example:
        >>> shown_box((100, 0, 40, 480), Window(top=0, left=120, height=480, width=480, size_px=240))
        ShownBox(bbox_px=(0.0, 0.0, 10.0, 240.0), area_share=0.041666666666666664, left_share=0.5)
    """
    x, y, width, height = bbox
    left, right = max(x, window.left), min(x + width, window.left + window.width)
    top, bottom = max(y, window.top), min(y + height, window.top + window.height)
    if right - left < SMALLEST_PX or bottom - top < SMALLEST_PX:
        return None
    across, down = window.size_px / window.width, window.size_px / window.height
    shown = (
        (left - window.left) * across,
        (top - window.top) * down,
        (right - left) * across,
        (bottom - top) * down,
    )
    area = (right - left) * (bottom - top)
    return ShownBox(shown, min(1.0, area / (window.width * window.height)), min(1.0, area / (width * height)))
