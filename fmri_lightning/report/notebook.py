"""The page and its numbers inside a notebook."""

from __future__ import annotations

import html
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fmri_lightning.errors import UsageError
from fmri_lightning.report.arrow import picture_table, score_table, stimulus_table
from fmri_lightning.report.build import build_page
from fmri_lightning.report.runs import read_runs
from fmri_lightning.report.verdict import verdict
from fmri_lightning.report.writing import write_page

if TYPE_CHECKING:
    import pyarrow as pa

HEIGHT_PX = 800


class Report:
    """Finished runs, to look at and to compute with.

    Shown by a notebook as the page that `fmri-lightning report` writes.

    Args:
        run: A folder written by predict, or several.
        root: Data root with the stimuli; by default the one that the runs recorded.
        limit: Stimuli in the gallery at most, drawn at random; notebooks keep what they show.
        seed: Seed of the gallery's order.
        share: Leave out stimuli, shown and nearest, and folder names.

    Raises:
        UsageError: No run is named.
        BadInputError: A run is unfinished or unreadable.
    """

    def __init__(
        self,
        run: str | Path | Sequence[str | Path],
        root: str | Path | None = None,
        limit: int = 200,
        seed: int = 0,
        share: bool = False,
    ) -> None:
        folders = [Path(run)] if isinstance(run, str | Path) else [Path(one) for one in run]
        if not folders:
            raise UsageError("name a folder written by fmri-lightning predict")
        self.runs = read_runs(folders)
        self._page = build_page(self.runs, None if root is None else Path(root), limit, seed, share)

    def verdicts(self) -> list[str]:
        """Say for each run, in a sentence or two, what its scores show."""
        return [f"{one.label}: {one.text}" for one in (verdict(run, self._page.protocol) for run in self.runs)]

    def scores(self) -> pa.Table:
        """Return all scores: run, subject, protocol, metric, condition, value, ci_low, ci_high, n, chance."""
        return score_table(self.runs)

    def per_stimulus(self) -> pa.Table:
        """Return the scores of every stimulus: run, protocol, metric, condition, nsd_id, value."""
        return stimulus_table(self.runs)

    def pictures(self) -> pa.Table:
        """Return every picture: run, condition, nsd_id, trial_id, cosine, nn_nsd_id, nn_cosine, path."""
        return picture_table(self.runs)

    def html(self) -> str:
        """Return the whole page as HTML text, its pictures inside."""
        return self._page.render(inside=True)

    def save(self, out: str | Path) -> Path:
        """Write the page.

        Args:
            out: Folder; `index.html` in it, and `thumbs/` beside that where the page is above 30 MB.

        Returns:
            Path of `index.html`.
        """
        inside = self._page.gallery.thumbnails.inside("auto")
        write_page(Path(out), self._page.render(inside), None if inside else self._page.gallery.thumbnails.files)
        return Path(out) / "index.html"

    def show(self, height_px: int = HEIGHT_PX) -> None:
        """Show the page below the cell; outside a notebook print what it says.

        Args:
            height_px: Height of the frame, in pixels.
        """
        # Where IPython is not loaded, there is no notebook either.
        display = sys.modules.get("IPython.display")
        if display is None:
            print("\n".join(self.verdicts()))
            print("Report(...).save(DIR) writes the page, open_in_browser(DIR) shows it too")
        else:
            display.display(display.HTML(self._frame(height_px)))

    def open_in_browser(self, out: str | Path) -> Path:
        """Write the page and open it.

        Args:
            out: Folder of the page.

        Returns:
            Path of `index.html`.
        """
        path = self.save(out)
        webbrowser.open(path.resolve().as_uri())
        return path

    def _repr_html_(self) -> str:
        return self._frame(HEIGHT_PX)

    def _frame(self, height_px: int) -> str:
        """Wrap the page, whose styles and scripts must not meet those of the notebook."""
        return (
            f'<iframe title="fmri-lightning report" srcdoc="{html.escape(self.html())}" '
            f'width="100%" height="{height_px}" style="border: 0"></iframe>'
        )

    def __repr__(self) -> str:
        return f"Report({', '.join(run.label for run in self.runs)})"
