"""The ``simulate`` command: a whole simulated experiment as an NSD tree."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fmri_lightning.errors import BadInputError, ResourceError, UsageError

RECORD = "SIMULATED.json"
ABOUT = (
    "No brain was measured. Betas = session mean + gain x (signal + noise); the noise of a voxel is the sum of "
    "independent, spatially smooth, low-rank (along the patterns of the signals) and drifting parts, whose mean shares "
    "of the variance are given for each subject as noise_shares_nsdgeneral. ncsnr.nii.gz is estimated from the betas "
    "with NSD's own estimator, simulated_truth/ holds what was planted."
)
_BLOCK = 256


def simulate(
    out: Path,
    layout: Literal["nsd"] = "nsd",
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
    nifti: Literal["none", "first", "all"] = "first",
    overwrite: bool = False,
    dry_run: bool = False,
) -> None:
    """Write a simulated fMRI experiment in the file layout of the Natural Scenes Dataset.

    Voxels of early areas respond to oriented contrast energy, luminance and colour in their receptive fields, voxels
    of higher areas to a non-linear function of what a picture shows. Of the noise variance in nsdgeneral about 50 %
    is independent, 20 % spatially smooth, 20 % shared along patterns that signals use too, and 10 % drift within a
    session. The tree says that it is simulated in SIMULATED.json, which holds all numbers.

    The same arguments give the same bytes. An existing tree of the same arguments is left as it is.

    Args:
        out: Folder to write; it becomes the root of the tree.
        layout: File layout.
        subjects: Subjects to simulate, numbers 1 to 8 with commas between; 1, 5 and 7 run all sessions.
        seed: Seed of everything.
        images: Folder or tar of photographs (class/image.jpg) to show instead of rendered scenes.
        shared: Pictures that all subjects see.
        unique: Pictures that one subject alone sees.
        repeats: Planned showings of each picture, 2 or 3.
        sessions: Planned sessions; must divide (shared + unique) x repeats.
        missing_sessions: Sessions at the end that the other subjects never ran.
        nsdgeneral_voxels: Voxels of the region nsdgeneral.
        size_px: Side of a picture in pixels.
        nifti: Write betas as NIfTI too, for no session, the first of each subject, or all.
        overwrite: Replace another simulation in this folder. Anything else is never touched.
        dry_run: Print what would be written and stop.

    Raises:
        UsageError: Arguments that do not fit together.
        BadInputError: Photographs that are missing, unreadable or too few.
        ResourceError: The folder holds something else, or the disk is full.
    """
    plan = Plan(layout, subjects, seed, shared, unique, repeats, sessions, missing_sessions, nsdgeneral_voxels, size_px)
    plan = plan.checked(nifti)
    if dry_run:
        print(plan.bill(out))
        return
    source = plan.source(images)
    record = {"arguments": {**vars(plan), "nifti": nifti}, "pictures": {"kind": source.name, "set": source.fingerprint}}
    if _is_done(out, record, overwrite):
        print(f"{out}\n  already holds this simulation; nothing to do")
        return
    temporary = out.parent / f".{out.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        facts = _write_tree(temporary, plan, source, record, nifti)
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


@dataclass(frozen=True)
class Plan:
    """The arguments of :func:`simulate` that decide what the data are."""

    layout: str
    subjects: str
    seed: int
    shared: int
    unique: int
    repeats: int
    sessions: int
    missing_sessions: int
    nsdgeneral_voxels: int
    size_px: int

    @property
    def numbers(self) -> tuple[int, ...]:
        """Simulated subjects, 1-based."""
        return tuple(int(part) for part in self.subjects.split(","))

    @property
    def n_trials(self) -> int:
        """Planned trials of a subject."""
        return (self.shared + self.unique) * self.repeats

    @property
    def n_catalogue(self) -> int:
        """Pictures in the catalogue."""
        from fmri_lightning.simulate.recipe import RECIPE

        used = self.shared + self.unique * len(self.numbers)
        return used + max(3, round(RECIPE.spare_pictures * used))

    def checked(self, nifti: str) -> Plan:
        """Return the plan with subjects in canonical writing.

        Raises:
            UsageError: Arguments out of range or not fitting together.
        """
        try:
            numbers = sorted({int(part) for part in self.subjects.split(",")})
        except ValueError:
            numbers = []
        if not numbers or numbers[0] < 1 or numbers[-1] > 8:
            raise UsageError(f"--subjects {self.subjects}: give numbers from 1 to 8 with commas between, such as 1,2")
        limits = {
            "seed": (self.seed, 0, 2**63 - 1),
            "shared": (self.shared, 4, 5_000),
            "unique": (self.unique, 4, 60_000),
            "repeats": (self.repeats, 2, 3),
            "sessions": (self.sessions, 2, 99),
            "missing_sessions": (self.missing_sessions, 0, self.sessions - 1),
            "nsdgeneral_voxels": (self.nsdgeneral_voxels, 60, 10**6),
            "size_px": (self.size_px, 16, 1024),
        }
        for name, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise UsageError(f"--{name} {value} is out of range; it goes from {low} to {high}")
        if self.layout != "nsd" or nifti not in ("none", "first", "all"):
            raise UsageError(f"--layout {self.layout} --nifti {nifti}: choose layout nsd and none, first or all")
        if self.size_px % 2:
            raise UsageError(f"--size_px {self.size_px} is odd; give an even number of pixels")
        if self.n_trials % self.sessions or self.n_trials // self.sessions < 12:
            fits = [n for n in range(2, 100) if self.n_trials % n == 0 and self.n_trials // n >= 12]
            raise UsageError(
                f"--sessions {self.sessions} does not cut {self.n_trials} trials into equal parts of at least 12; "
                f"choose one of {', '.join(map(str, fits)) or 'nothing: give more pictures'}"
            )
        return Plan(**{**vars(self), "subjects": ",".join(map(str, numbers))})

    def source(self, images: Path | None) -> Any:
        """Open the catalogue of pictures."""
        from fmri_lightning.simulate.pictures import photograph_source, scene_source

        if images is None:
            return scene_source(self.seed, self.size_px)
        return photograph_source(images, self.n_catalogue, self.seed, self.size_px)

    def bill(self, out: Path) -> str:
        """Say what would be written, and how large."""
        from fmri_lightning.simulate.geometry import box_shape
        from fmri_lightning.simulate.recipe import FULL_SUBJECTS

        lines, total = [f"{out} (nothing written)"], self.n_catalogue * 3 * self.size_px**2
        lines.append(f"  {self.n_catalogue} pictures of {self.size_px} px: {total / 1e6:.0f} MB")
        for subject in self.numbers:
            x, y, z = box_shape(subject, self.nsdgeneral_voxels)
            n_run = self.sessions - (0 if subject in FULL_SUBJECTS else self.missing_sessions)
            trials = n_run * self.n_trials // self.sessions
            # HDF5 keeps about 65 bytes of index for each of a session's chunks, one chunk a voxel.
            size = x * y * z * (2 * trials + 65 * n_run)
            total += size
            lines.append(f"  subj{subject:02d}: {n_run} sessions, {trials} trials, {x}x{y}x{z}: {size / 1e6:.0f} MB")
        return "\n".join([*lines, f"  together about {total / 1e6:.0f} MB"])


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


def _write_tree(root: Path, plan: Plan, source: Any, record: dict[str, Any], nifti: str) -> dict[str, Any]:
    """Write everything below ``root`` and return the facts of each subject."""
    import numpy as np

    from fmri_lightning.manifest import write_json
    from fmri_lightning.progress import track
    from fmri_lightning.simulate import nsd_tree
    from fmri_lightning.simulate.experiment import make_experiment
    from fmri_lightning.simulate.pictures import Meaning
    from fmri_lightning.simulate.pyramid import channel_maps
    from fmri_lightning.simulate.recipe import RECIPE
    from fmri_lightning.simulate.subject import make_subject, write_subject
    from fmri_lightning.simulate.tables import write_stim_info

    experiment = make_experiment(
        plan.numbers, plan.shared, plan.unique, plan.repeats, plan.sessions, plan.missing_sessions, plan.seed
    )
    nsd_tree.write_expdesign(root / nsd_tree.EXPDESIGN, experiment)
    write_stim_info(root / nsd_tree.STIM_INFO, experiment, plan.seed)
    maps, attributes, domains = [], [], []
    with nsd_tree.create_stimuli(root / nsd_tree.STIMULI, experiment.n_catalogue, plan.size_px) as stimuli:
        for start in track(range(0, experiment.n_catalogue, _BLOCK), "drawing pictures"):
            numbers = np.arange(start, min(start + _BLOCK, experiment.n_catalogue))
            pictures, meaning = source.read(numbers)
            stimuli["imgBrick"][start : start + len(numbers)] = pictures
            maps.append(channel_maps(pictures))
            attributes.append(meaning.attributes)
            domains.append(meaning.domains)
    all_maps, all_meaning = np.concatenate(maps), Meaning(np.concatenate(attributes), np.concatenate(domains))
    facts = {}
    for number in plan.numbers:
        rows = experiment.subjectim[number - 1] - 1
        meaning = Meaning(all_meaning.attributes[rows], all_meaning.domains[rows])
        subject = make_subject(number, plan.nsdgeneral_voxels, all_maps[rows], meaning, plan.seed)
        chosen = {"none": range(0), "first": range(1, 2), "all": range(1, plan.sessions + 1)}[nifti]
        name = f"subj{number:02d}"
        progress = partial(track, description=f"simulating {name}")
        facts[name] = write_subject(root, subject, experiment, plan.seed, frozenset(chosen), progress)
    recipe = {"recipe": RECIPE.to_json(), "about": ABOUT, "subjects": facts}
    write_json(root / RECORD, {"simulated": True, "seed": plan.seed, **record, **recipe})
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
