"""Small pictures for the page: inside its file, or in a folder beside it."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from fmri_lightning.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

THUMB_PX = 192
"""Longer side of a picture on the page; smaller ones keep their size."""
MAX_FILE_BYTES = 30_000_000
"""Above this a page becomes a folder: mail servers refuse larger files, and browsers open them slowly."""
FOLDER = "thumbs"
LAYOUTS = ("auto", "file", "folder")


class Thumbnails:
    """Encodes pictures and keeps them until the page is written.

    Args:
        side_px: Longer side; larger pictures are shrunk to it.
    """

    def __init__(self, side_px: int = THUMB_PX) -> None:
        self.side_px = side_px
        self.files: dict[str, bytes] = {}

    def add(self, name: str, picture: Image.Image) -> str:
        """Encode a picture as JPEG without colour subsampling.

        Args:
            name: What it is; the same name always means the same picture.
            picture: RGB.

        Returns:
            Its file name.
        """
        file = f"{''.join(c if c.isalnum() or c in '-_' else '_' for c in name)}.jpg"
        if file not in self.files:
            self.files[file] = encode(picture, self.side_px)
        return file

    def uris(self) -> dict[str, str]:
        """Turn every picture into an address that carries it."""
        return {
            file: f"data:image/jpeg;base64,{base64.b64encode(content).decode()}" for file, content in self.files.items()
        }

    def inside(self, layout: str) -> bool:
        """Decide whether the pictures go into the page's own file.

        Args:
            layout: "file", "folder", or "auto": a file while it stays small enough to be mailed.

        Raises:
            UsageError: A file is asked for and would be too large.
        """
        n_bytes = sum(4 * -(-len(content) // 3) for content in self.files.values())
        if layout == "file" and n_bytes > MAX_FILE_BYTES:
            raise UsageError(
                f"{len(self.files)} pictures make one file of {n_bytes / 1e6:.0f} MB, above {MAX_FILE_BYTES / 1e6:.0f};"
                " lower --limit or --thumb_px, or take --layout folder"
            )
        return layout != "folder" and n_bytes <= MAX_FILE_BYTES


def encode(picture: Image.Image, side_px: int = THUMB_PX) -> bytes:
    """Encode a picture as the page shows it.

    Args:
        picture: RGB; shrunk where its longer side is above `side_px`.
        side_px: Longer side.

    Returns:
        A JPEG file.
    """
    from PIL import Image

    picture = picture.copy()
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    picture.save(target, format="JPEG", quality=90, subsampling=0)
    return target.getvalue()
