"""The pictures that were shown, and neighbours among them, for the page and the grids."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.experiment_stimuli import WithExperiments
from fmri_lightning.index.stimuli import open_stimuli
from fmri_lightning.report.runs import ReportRun

if TYPE_CHECKING:
    from PIL import Image


class Truth:
    """Stimuli by id; empty where the data root is not on this machine.

    Args:
        pictures: uint8 (height, width, 3) by nsd_id.
        missing: Why there are none, in words for the page; "" when they are there.
    """

    def __init__(self, pictures: dict[int, np.ndarray], missing: str = "") -> None:
        self._pictures = pictures
        self.missing = missing

    def __contains__(self, nsd_id: object) -> bool:
        return nsd_id in self._pictures

    def picture(self, nsd_id: int | None) -> Image.Image | None:
        """Return a stimulus as a PIL picture, or None where it is not at hand."""
        from PIL import Image

        found = None if nsd_id is None else self._pictures.get(nsd_id)
        return None if found is None else Image.fromarray(found)


def read_truth(runs: Iterable[ReportRun], root: Path | None) -> Truth:
    """Read the stimuli that the runs' results and nearest neighbours name.

    Args:
        runs: The runs of the page.
        root: Data root that overrides the one recorded in the runs.

    Returns:
        The stimuli; with a reason instead where the recorded root is absent.

    Raises:
        BadInputError: `root` was given and does not hold the stimuli.
    """
    runs = list(runs)
    wanted = {i for run in runs for r in run.results for i in (r["nsdId"], r.get("nn_nsdId")) if i is not None}
    places = [root] if root is not None else _recorded_roots(runs)
    if not places:
        return Truth({}, "the runs do not say where their stimuli are; give --root DIR")
    try:
        pictures: dict[int, np.ndarray] = {}
        for place in places:
            source = open_stimuli(place)
            asked = np.array(sorted(wanted), dtype=np.int32)
            ids = source.present(asked) if isinstance(source, WithExperiments) else np.intersect1d(asked, source.ids)
            pictures |= dict(zip(ids.tolist(), _read(source, ids), strict=True))
        return Truth(pictures)
    except BadInputError as error:
        if root is not None:
            raise
        return Truth({}, f"the stimuli are not on this machine ({error}); give --root DIR")


def root_of(runs: Iterable[ReportRun]) -> Path | None:
    """Return the data root that the runs recorded, or None where they recorded none.

    Raises:
        BadInputError: They recorded different ones.
    """
    return next(iter(_recorded_roots(list(runs))), None)


def _recorded_roots(runs: list[ReportRun]) -> list[Path]:
    recorded = (run.summary.get("provenance", {}).get("root") for run in runs)
    roots = [Path(root) for root in dict.fromkeys(filter(None, recorded))]
    # One id is one picture within a root; pictures of two roots must not stand beside each other.
    if len(roots) > 1:
        raise BadInputError(f"the runs were made from different data ({roots[0]}, {roots[1]}); report them apart")
    return roots


def _read(source: Any, ids: np.ndarray) -> Iterable[np.ndarray]:
    for start in range(0, len(ids), 256):
        yield from source.read(ids[start : start + 256])
