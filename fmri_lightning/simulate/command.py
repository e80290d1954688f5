"""The ``simulate`` command: a whole simulated experiment as a tree of NSD or of another release."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Literal

from fmri_lightning.errors import BadInputError, ResourceError
from fmri_lightning.simulate.plan import Plan

RECORD = "SIMULATED.json"
ABOUT_BETAS = (
    "No brain was measured. Betas = session mean + gain x (signal + noise); the noise of a voxel is the sum of "
    "independent, spatially smooth, low-rank (along the patterns of the signals) and drifting parts, whose mean shares "
    "of the variance are given for each subject as noise_shares_nsdgeneral."
)
ABOUT_LAYOUT = {
    "nsd": "ncsnr.nii.gz is estimated from the betas with NSD's own estimator, simulated_truth/ holds what was "
    "planted.",
    "mindeye2": "The betas are those of layout nsd, z-scored by the trials of non-shared pictures; a tree of layout "
    "nsd with the same arguments holds them unscaled, with what was planted.",
    "mindeye1": "The betas are those of layout nsd in the first 37 sessions, z-scored per voxel and session by all "
    "trials of the session, in half precision; a tree of layout nsd with the same arguments holds what was planted.",
    "brain_diffuser": "The betas are those of layout nsd in the first 37 sessions, averaged over the repeats of each "
    "picture and otherwise as stored there; a tree of layout nsd with the same arguments holds what was planted.",
    "algonauts": "The betas are those of layout nsd on the average surface (--also fsaverage), z-scored per session "
    "and averaged over the repeats of a picture; a tree of layout nsd with the same arguments says which voxel a "
    "vertex is.",
}


def simulate(
    out: Path,
    layout: str = "nsd",
    subjects: str = "1,2",
    seed: int = 0,
    images: Path | None = None,
    shared: int = 300,
    unique: int = 1500,
    repeats: int = 3,
    sessions: int = 10,
    missing_sessions: int = 2,
    nsdgeneral_voxels: int = 2000,
    size_px: int = 64,
    nifti: Literal["none", "first", "all"] | None = None,
    also: str = "",
    overwrite: bool = False,
    dry_run: bool = False,
) -> None:
    """Write a simulated fMRI experiment in the file layout of the Natural Scenes Dataset, or of another release.

    Voxels of early areas respond to oriented contrast energy, luminance and colour in their receptive fields, voxels
    of higher areas to a non-linear function of what a picture shows. Of the noise variance in nsdgeneral about 50 %
    is independent, 20 % spatially smooth, 20 % shared along patterns that signals use too, and 10 % drift within a
    session. The tree says that it is simulated in SIMULATED.json, which holds all numbers.

    Layout nsd holds whole-brain betas, label volumes and the design; layout mindeye2 holds what MindEye2 published of
    NSD: z-scored betas of nsdgeneral and tars of behaviour; layouts mindeye1, brain_diffuser and algonauts a
    sample or row a picture, as these have them. The same seed gives the same brain in all.

    The same arguments give the same bytes. An existing tree of the same arguments is left as it is.

    Args:
        out: Folder to write; it becomes the root of the tree.
        layout: File layout: nsd, or mindeye2, mindeye1, brain_diffuser or algonauts for the files of those releases.
        subjects: Subjects to simulate, numbers 1 to 8 with commas between; 1, 5 and 7 run all sessions.
        seed: Seed of everything.
        images: Folder or tar of photographs (class/image.jpg) to show; by default rendered scenes.
        shared: Pictures that all subjects see.
        unique: Pictures that one subject alone sees.
        repeats: Planned showings of each picture, 2 or 3.
        sessions: Planned sessions; must divide (shared + unique) x repeats.
        missing_sessions: Sessions at the end that the other subjects never ran.
        nsdgeneral_voxels: Voxels of the region nsdgeneral.
        size_px: Side of a picture in pixels.
        nifti: Layout nsd only: write betas as NIfTI too, for no session, the first of each subject, or all; by default
            the first.
        also: Layout nsd only: what else to write beside, names with commas between: coco (captions and objects),
            fsaverage (betas on the average surface), imagery and synthetic (NSD's side experiments); by default
            nothing.
        overwrite: Replace another simulation in this folder. Anything else is never touched.
        dry_run: Print what would be written and stop.

    Raises:
        UsageError: Arguments that do not fit together.
        BadInputError: Photographs that are missing, unreadable or too few.
        ResourceError: The folder holds something else, or the disk is full.
    """
    plan = Plan(
        layout,
        subjects,
        seed,
        shared,
        unique,
        repeats,
        sessions,
        missing_sessions,
        nsdgeneral_voxels,
        size_px,
        nifti,
        also,
    ).checked()
    if dry_run:
        print(plan.bill(out))
        return
    source = plan.source(images)
    record = {"arguments": plan.arguments, "pictures": {"kind": source.name, "set": source.fingerprint}}
    if _is_done(out, record, overwrite):
        print(f"{out}\n  already holds this simulation; nothing to do")
        return
    temporary = out.parent / f".{out.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        facts = _write(temporary, plan, source, record)
        _move_into_place(temporary, out, overwrite)
    except OSError as error:
        raise ResourceError(
            f"cannot write {out}: {error.strerror or error}; free space or choose another --out"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    print(f"{out}\n  simulated {plan.layout} tree: {len(facts)} subjects, {plan.n_catalogue} pictures ({source.name})")
    for name, fact in facts.items():
        print(
            f"  {name}: {fact['sessions']} sessions, {fact['nsdgeneral_voxels']} nsdgeneral voxels in a box of "
            f"{'x'.join(map(str, fact['shape']))}, median ncsnr {fact['ncsnr_median_estimated']:.3f}"
        )


def _is_done(out: Path, record: dict[str, Any], overwrite: bool) -> bool:
    """Return whether the folder already holds this simulation; refuse a folder that holds anything else."""
    from fmri_lightning.manifest import read_json
    from fmri_lightning.simulate.recipe import RECIPE

    if out.is_file():
        raise ResourceError(f"--out {out} is a file; give a folder")
    if not out.exists() or not any(out.iterdir()):
        return False
    if not (out / RECORD).is_file():
        raise ResourceError(f"--out {out} is not empty and no simulation; choose another folder")
    found = read_json(out / RECORD)
    wanted = {**record, "recipe": RECIPE.to_json()}
    differing = [key for key in wanted if not isinstance(found, dict) or found.get(key) != wanted[key]]
    if not differing:
        return True
    if overwrite:
        return False
    old = found.get("arguments", {}) if isinstance(found, dict) else {}
    fields = [
        f"{key} {old.get(key)} there, {value} asked"
        for key, value in record["arguments"].items()
        if old.get(key) != value
    ]
    raise ResourceError(
        f"--out {out} holds another simulation ({'; '.join(fields or differing)}); "
        "choose another folder or pass --overwrite true"
    )


def _write(root: Path, plan: Plan, source: Any, record: dict[str, Any]) -> dict[str, Any]:
    """Write the tree and its record below ``root`` and return the facts of each subject."""
    from fmri_lightning.manifest import write_json
    from fmri_lightning.simulate.recipe import RECIPE
    from fmri_lightning.simulate.tree import write_tree

    facts = write_tree(root, plan, source)
    about = f"{ABOUT_BETAS} {ABOUT_LAYOUT[plan.layout]}"
    told = {"recipe": RECIPE.to_json(), "about": about, "subjects": facts}
    write_json(root / RECORD, {"simulated": True, "seed": plan.seed, **record, **told})
    return facts


def _move_into_place(temporary: Path, out: Path, overwrite: bool) -> None:
    """Give a finished tree its name; an older simulation is set aside first and removed last."""
    if out.exists() and any(out.iterdir()):
        if not (overwrite and (out / RECORD).is_file()):
            raise BadInputError(f"{out} was filled by another job meanwhile; choose another --out")
        aside = out.parent / f".{out.name}.{os.getpid()}.old"
        out.rename(aside)
        temporary.rename(out)
        shutil.rmtree(aside)
        return
    if out.exists():
        out.rmdir()
    temporary.rename(out)
