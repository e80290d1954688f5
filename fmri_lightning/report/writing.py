"""Put a page on disk: its file, and the folder of its pictures where they are not inside."""

from __future__ import annotations

import shutil
from pathlib import Path

from fmri_lightning.manifest import atomic_path
from fmri_lightning.report.gallery.thumbnails import FOLDER


def write_page(out: Path, html: str, thumbnails: dict[str, bytes] | None) -> int:
    """Write `index.html`, after the pictures that it names.

    Args:
        out: Folder of the page.
        html: The page.
        thumbnails: Content by file name for `thumbs/`; None where the page carries them.

    Returns:
        Size of everything in bytes.
    """
    folder, fresh = out / FOLDER, out / f"{FOLDER}.partial"
    shutil.rmtree(fresh, ignore_errors=True)
    if thumbnails is not None:
        fresh.mkdir(parents=True)
        for name, content in thumbnails.items():
            (fresh / name).write_bytes(content)
    shutil.rmtree(folder, ignore_errors=True)
    if thumbnails is not None:
        fresh.rename(folder)
    with atomic_path(out / "index.html") as temporary:
        temporary.write_text(html, encoding="utf-8")
    return len(html.encode()) + sum(map(len, (thumbnails or {}).values()))
