"""A reconstruction run on disk, its controls, and controls borrowed from a sibling run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.pictures import PictureFiles
from fmri_lightning.manifest import read_json

SUMMARY = "decode_summary.json"
CONTROLS = ("true_target", "true_source", "shuffled", "mean", "unconditional")
_SAME_FOR_CONTROLS = (
    "subject",
    "diffusion_model",
    "guidance_scale",
    "num_inference_steps",
    "noise_level",
    "noise_mode",
    "scheduler",
    "seed",
    "trial_mode",
    "test_set",
    "prediction_only",
)
_BEFORE_IT_WAS_WRITTEN = {"noise_mode": "add"}


@dataclass(frozen=True, eq=False)
class Run:
    """What predict left in a folder.

    Attributes:
        folder: The run folder.
        summary: decode_summary.json.
        ids: nsd_id of each item (n,) int32.
        trial_ids: trial_id of each item (n,) int32.
        pictures: The reconstruction of each item.
        borrowed_from: Name of the run that a control was borrowed from, None for a run's own.
    """

    folder: Path
    summary: dict[str, Any]
    ids: NDArray[np.int32]
    trial_ids: NDArray[np.int32]
    pictures: PictureFiles
    borrowed_from: str | None = None

    def take(self, positions: NDArray[np.intp]) -> Run:
        """The run with some of its items, in the order of positions."""
        paths = [self.pictures.paths[int(i)] for i in positions]
        return replace(self, ids=self.ids[positions], trial_ids=self.trial_ids[positions], pictures=PictureFiles(paths))


def load_run(folder: Path) -> Run:
    """Read a run folder.

    Args:
        folder: Holds decode_summary.json and images/.

    Returns:
        The run, items in the order of the summary.

    Raises:
        BadInputError: The summary is missing or contradicts itself, or pictures that it lists are not there.
    """
    file = folder / SUMMARY
    if not file.is_file():
        raise BadInputError(f"{folder} has no {SUMMARY}: it is no finished run; finish it: fmri-lightning predict")
    summary = read_json(file)
    try:
        results = summary["results"]
        if summary["n_generated"] != len(results):
            raise BadInputError(
                f"{file} says {summary['n_generated']} pictures and lists {len(results)}; run predict again"
            )
        ids = np.array([result["nsdId"] for result in results], dtype=np.int32)
        trial_ids = np.array([result["trial_id"] for result in results], dtype=np.int32)
        paths = [folder / result["image_path"] for result in results]
    except (KeyError, TypeError) as error:
        raise BadInputError(f"{file} is not a summary of this version ({error!r} is missing)") from error
    if not results:
        raise BadInputError(f"{file} lists no pictures; run fmri-lightning predict again")
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise BadInputError(
            f"{folder}: {len(missing)} of {len(paths)} pictures are missing ({', '.join(missing[:5])}{more}); "
            "run the same predict command again"
        )
    return Run(folder, summary, ids, trial_ids, PictureFiles(paths))


def find_controls(run: Run, siblings: list[Run]) -> tuple[dict[str, Run], dict[str, str]]:
    """Collect the control rows of a run, its own first, else those of a sibling with the same decoder.

    Args:
        run: The run that is scored.
        siblings: Other runs of the same command.

    Returns:
        Controls by name, brought to the run's items; and by name why others could not be used.
    """
    found: dict[str, Run] = {}
    skipped: dict[str, str] = {}
    for name in CONTROLS:
        for owner in [run, *siblings]:
            folder = owner.folder / "controls" / name
            if not folder.is_dir() or (owner is not run and not _comparable(run, owner)):
                continue
            try:
                control = load_run(folder)
                if owner is not run:
                    control = replace(control, borrowed_from=owner.folder.name)
                _require_same_settings(run, control)
                found[name] = _items_of(run, control)
                skipped.pop(f"controls/{name}", None)
                break
            except BadInputError as error:
                skipped[f"controls/{name}"] = str(error)
    return found, skipped


def _comparable(run: Run, other: Run) -> bool:
    return all(_setting(run, field) == _setting(other, field) for field in _SAME_FOR_CONTROLS)


def _setting(run: Run, field: str) -> Any:
    return run.summary.get(field, _BEFORE_IT_WAS_WRITTEN.get(field))


def _require_same_settings(run: Run, control: Run) -> None:
    for field in _SAME_FOR_CONTROLS:
        ours, theirs = _setting(run, field), _setting(control, field)
        if ours != theirs:
            raise BadInputError(
                f"{control.folder} was drawn with {field} {theirs!r}, the run with {ours!r}; draw the control again"
            )


def _items_of(run: Run, control: Run) -> Run:
    position = {int(trial): i for i, trial in enumerate(control.trial_ids)}
    lacking = [trial for trial in run.trial_ids.tolist() if trial not in position]
    if lacking:
        raise BadInputError(
            f"{control.folder} holds {len(run.ids) - len(lacking)} of the run's {len(run.ids)} items; "
            "draw the control for as many"
        )
    taken = control.take(np.array([position[int(trial)] for trial in run.trial_ids], dtype=np.intp))
    if not np.array_equal(taken.ids, run.ids):
        raise BadInputError(f"{control.folder} gives other stimuli to the run's trial_ids; draw the control again")
    return taken


def first_samples(run: Run) -> Run | None:
    """The run with sample 0 of every item in place of the chosen one; None where one sample was drawn."""
    if int(run.summary.get("n_samples", 1)) < 2:
        return None
    folder = run.folder / "samples"
    paths = [folder / f"{path.stem.removesuffix('_generated')}_k0.png" for path in run.pictures.paths]
    return replace(run, pictures=PictureFiles(paths))


def chosen_samples(run: Run) -> NDArray[np.int16]:
    """Which sample of each item stands in images/, (n,)."""
    chosen = {int(c["trial_id"]): int(c["sample"]) for c in run.summary.get("choices", [])}
    return np.array([chosen.get(int(trial), 0) for trial in run.trial_ids], dtype=np.int16)
