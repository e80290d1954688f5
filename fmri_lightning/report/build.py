"""From run folders to a page in memory."""

from __future__ import annotations

from pathlib import Path

from fmri_lightning.report.gallery.cards import build_gallery
from fmri_lightning.report.gallery.thumbnails import Thumbnails
from fmri_lightning.report.page import Page, choose_protocol
from fmri_lightning.report.runs import ReportRun
from fmri_lightning.report.shown import read_shown
from fmri_lightning.report.truth import read_truth


def build_page(
    runs: list[ReportRun],
    root: Path | None = None,
    limit: int = 1000,
    seed: int = 0,
    share: bool = False,
    thumb_px: int = 192,
    samples: int = 4,
) -> Page:
    """Read everything that a page shows.

    Args:
        runs: Runs side by side.
        root: Data root with the stimuli; by default the one that the runs recorded.
        limit: Stimuli in the gallery at most.
        seed: Seed of the gallery's order.
        share: Leave out stimuli and folder names.
        thumb_px: Longer side of the pictures, in pixels.
        samples: Samples shown of each stimulus at most.

    Returns:
        The page.

    Raises:
        BadInputError: A picture is missing or unreadable, or the runs come from different data.
    """
    truth = read_truth(runs, root)
    protocol = choose_protocol(runs)
    thumbnails = Thumbnails(thumb_px)
    shown = read_shown(runs, root, share)
    gallery = build_gallery(runs, truth, protocol, limit, seed, thumbnails, shown, share, samples)
    return Page(runs, gallery, truth, protocol, seed, share)
