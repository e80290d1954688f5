"""Put the page together: one file, opened from a folder, that asks nothing of a network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmri_lightning import __version__
from fmri_lightning.report.gallery.cards import Gallery
from fmri_lightning.report.gallery.columns import draws_stimuli
from fmri_lightning.report.gallery.hero import choose_hero
from fmri_lightning.report.gallery.thumbnails import FOLDER
from fmri_lightning.report.runs import ReportRun
from fmri_lightning.report.sections.order import build_sections
from fmri_lightning.report.truth import Truth
from fmri_lightning.report.verdict import verdict

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("state.js", "cards.js", "enlarged.js", "scatter.js", "controls.js", "downloads.js", "theme.js")
"""In the order in which they run: classic scripts, because a browser opens no modules from a file's address."""


@dataclass(frozen=True)
class Page:
    """What a page is made of.

    Attributes:
        runs: Runs side by side.
        gallery: Their pictures.
        truth: Stimuli, or why there are none.
        protocol: Whose scores lead the page, or None when nothing was scored.
        seed: Of the gallery's order.
        share: Whether stimuli and folder names are left out.
        absent: Who should be on the page and is not, a text each.
    """

    runs: Sequence[ReportRun]
    gallery: Gallery
    truth: Truth
    protocol: str | None
    seed: int
    share: bool = False
    absent: Sequence[str] = ()

    def render(self, inside: bool) -> str:
        """Render the page.

        Args:
            inside: Whether the pictures are carried by the page itself; else they are in a folder beside it.

        Returns:
            HTML text.
        """
        files = self.gallery.thumbnails.files
        addresses = self.gallery.thumbnails.uris() if inside else {file: f"{FOLDER}/{file}" for file in files}
        context = self._context() | {
            "hero": choose_hero(self.gallery, addresses),
            "gallery_json": inline_json(self.gallery.for_script(addresses)),
        }
        return templates().get_template("index.html.j2").render(context)

    def _context(self) -> dict[str, Any]:
        runs = list(self.runs)
        return {
            "runs": runs,
            "title": _title(runs),
            "verdicts": [verdict(run, self.protocol) for run in runs],
            "simulated": any(run.summary.get("simulated") for run in runs),
            "absent": list(self.absent),
            "only_predicted": [run for run in runs if run.summary.get("prediction_only")],
            "nulls": [run for run in runs if run.null_decoder],
            "mini": any(uses_mini_models(run) for run in runs),
            "held_out": all(fitted_here(run) for run in runs),
            "missing": [*filter(None, [self.gallery.missing]), *missing_pieces(runs, self.truth, self.share)],
            "sections": build_sections(runs, self.protocol, share=self.share),
            "gallery": self.gallery,
            "seed": self.seed,
            "share": self.share,
            "scripts": SCRIPTS,
            "version": __version__,
        }


def templates() -> Environment:
    """Open the page's templates: everything is escaped, and a name that is not there is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def choose_protocol(runs: list[ReportRun]) -> str | None:
    """Choose the protocol that the verdict, the ladder and the gallery use: the one that scored most runs."""
    names = sorted({name for run in runs for name in run.evaluations})
    return max(names, key=lambda name: sum(name in run.evaluations for run in runs), default=None)


def uses_mini_models(run: ReportRun) -> bool:
    """Tell whether a run's pictures come from the small models of the demo."""
    recorded = run.summary.get("provenance", {})
    family = (recorded.get("decoder") or {}).get("family")
    spaces = (recorded.get("spaces") or {}).values()
    names = [str(space.get("name", "")) for space in spaces if space] + [str(run.summary.get("diffusion_model", ""))]
    return family == "mini" or any("mini" in name for name in names)


def fitted_here(run: ReportRun) -> bool:
    """Tell whether a run's encoder was fitted on the split that its stimuli are held out from.

    Predict checks that and records both hashes; of given embeddings nobody knows what they were fitted on.
    """
    return {"encoder", "split"} <= set(run.summary.get("provenance", {}).get("inputs") or {})


def missing_pieces(runs: list[ReportRun], truth: Truth, share: bool = False) -> list[str]:
    """Say what the page lacks, and which command supplies it."""
    said = [f"No ground truth: {truth.missing}."] if truth.missing and not share else []
    for run in runs:
        if share and draws_stimuli(run):
            said.append(f"The pictures of {run.label} are training stimuli, which a page to share leaves out.")
        if not run.evaluations:
            said.append(f"{run.label} was not scored: run fmri-lightning evaluate --run with its folder.")
        borrowed = {name: owner for one in run.evaluations.values() for name, owner in one.borrowed().items()}
        for name in ("true_target", "shuffled"):
            if name in run.controls:
                continue
            said.append(
                f"{run.label} has no control {name} of its own; its scores use that of {borrowed[name]}, which has "
                "the same decoder and seeds."
                if name in borrowed
                else f"{run.label} has no control {name}: run fmri-lightning predict --model.condition {name}."
            )
        failed = run.summary.get("failures") or []
        if failed:
            named = ", ".join(f"nsd{one.get('nsdId')} ({one.get('reason')})" for one in failed[:5])
            said.append(f"{run.label} failed to draw {len(failed)} pictures: {named}.")
    return said


def inline_json(value: Any) -> str:
    """Write JSON that cannot end the script element it stands in."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _title(runs: list[ReportRun]) -> str:
    subjects = dict.fromkeys(str(run.summary.get("subject", "")) for run in runs)
    return f"{', '.join(filter(None, subjects))}: {', '.join(run.label for run in runs)}"
