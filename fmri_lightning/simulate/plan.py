"""What is to be simulated: the arguments that decide the data, checked, and the size of what they give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fmri_lightning.errors import UsageError

LAYOUTS = ("nsd", "mindeye2", "mindeye1", "brain_diffuser", "algonauts")
EXTRAS: tuple[str, ...] = ("coco", "fsaverage", "imagery", "synthetic")
"""What --also can write beside NSD's layout."""
ALGONAUTS_TEST_SESSIONS = 3
"""Sessions at the end of every subject from which the challenge took its test pictures."""
NIFTI = ("none", "first", "all")


@dataclass(frozen=True)
class Plan:
    """The arguments of :func:`simulate` that decide what the data are; ``nifti`` None = not given."""

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
    nifti: str | None
    also: str = ""

    @property
    def extras(self) -> tuple[str, ...]:
        """What is written beside NSD's files, in the order of :data:`EXTRAS`."""
        asked = {part.strip() for part in self.also.split(",") if part.strip()}
        return tuple(name for name in EXTRAS if name in asked)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments as they are recorded; what was not asked for leaves no trace."""
        return {name: value for name, value in vars(self).items() if name != "also" or value}

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

    @property
    def nifti_sessions(self) -> range:
        """1-based sessions whose betas are written as NIfTI too; none where ``nifti`` is None."""
        return {"first": range(1, 2), "all": range(1, self.sessions + 1)}.get(self.nifti or "none", range(0))

    def checked(self) -> Plan:
        """Return the plan with subjects in canonical writing and ``nifti`` decided.

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
        if self.size_px % 2:
            raise UsageError(f"--size_px {self.size_px} is odd; give an even number of pixels")
        if self.n_trials % self.sessions or self.n_trials // self.sessions < 12:
            fits = [n for n in range(2, 100) if self.n_trials % n == 0 and self.n_trials // n >= 12]
            raise UsageError(
                f"--sessions {self.sessions} does not cut {self.n_trials} trials into equal parts of at least 12; "
                f"choose one of {', '.join(map(str, fits)) or 'nothing: give more pictures'}"
            )
        last = self.sessions - self.missing_sessions
        if self.layout == "algonauts" and last <= ALGONAUTS_TEST_SESSIONS:
            raise UsageError(
                f"--layout algonauts keeps the last {ALGONAUTS_TEST_SESSIONS} sessions for the test, and {last} are "
                "run with --missing_sessions taken off; give more --sessions"
            )
        return replace(
            self, subjects=",".join(map(str, numbers)), nifti=self._decided_nifti(), also=self._decided_extras()
        )

    def _decided_extras(self) -> str:
        """Return the extras in canonical writing; refuse those that are unknown or have no place in the layout."""
        unknown = sorted({part.strip() for part in self.also.split(",") if part.strip()} - set(EXTRAS))
        if unknown:
            raise UsageError(f"--also {unknown[0]}: choose of {', '.join(EXTRAS) or 'nothing: there are none yet'}")
        if self.extras and self.layout != "nsd":
            raise UsageError(f"--also {self.also}: goes with --layout nsd, not with {self.layout}")
        return ",".join(self.extras)

    def _decided_nifti(self) -> str:
        """Return for which sessions NIfTI files are written; refuse the flag where it has no meaning."""
        if self.layout not in LAYOUTS:
            raise UsageError(f"--layout {self.layout}: choose {' or '.join(LAYOUTS)}")
        if self.nifti is None:
            return "first" if self.layout == "nsd" else "none"
        if self.layout != "nsd":
            raise UsageError(f"--nifti {self.nifti}: layout {self.layout} has no NIfTI files; leave the flag out")
        if self.nifti not in NIFTI:
            raise UsageError(f"--nifti {self.nifti}: choose {', '.join(NIFTI[:-1])} or {NIFTI[-1]}")
        return self.nifti

    def source(self, images: Path | None) -> Any:
        """Open the catalogue of pictures."""
        from fmri_lightning.simulate.pictures import photograph_source, scene_source

        if images is None:
            return scene_source(self.seed, self.size_px)
        return photograph_source(images, self.n_catalogue, self.seed, self.size_px)

    def bill(self, out: Path) -> str:
        """Say what would be written, and how large."""
        from fmri_lightning.simulate.recipe import FULL_SUBJECTS

        # uint8 in nsd_stimuli.hdf5 and, before it is packed, in PNG files; float16 in coco_images_224_float16.hdf5;
        # elsewhere with the subjects.
        each = {"nsd": 1, "algonauts": 1, "mindeye2": 2}.get(self.layout, 0)
        total = self.n_catalogue * 3 * self.size_px**2 * each
        lines = [f"{out} (nothing written)"]
        lines.append(f"  {self.n_catalogue} pictures of {self.size_px} px: {total / 1e6:.0f} MB")
        for subject in self.numbers:
            n_run = self.sessions - (0 if subject in FULL_SUBJECTS else self.missing_sessions)
            trials = n_run * self.n_trials // self.sessions
            box, size = self._betas_bill(subject, n_run, trials)
            total += size
            lines.append(f"  subj{subject:02d}: {n_run} sessions, {trials} trials, {box}: {size / 1e6:.0f} MB")
            if "fsaverage" in self.extras:
                total += (size := 8 * self.nsdgeneral_voxels * trials)  # float32 in two hemispheres
                lines.append(f"    fsaverage: 2x{self.nsdgeneral_voxels} vertices: {size / 1e6:.0f} MB")
        return "\n".join([*lines, f"  together about {total / 1e6:.0f} MB"])

    def _betas_bill(self, subject: int, n_run: int, trials: int) -> tuple[str, int]:
        """Return how the voxels of a subject are kept, in words, and the bytes of all its trials."""
        from fmri_lightning.simulate.geometry import box_shape

        if self.layout == "mindeye2":
            # Four arrays of 34 rows and 17 columns in all, each with its header, in blocks of 512 bytes.
            return f"{self.nsdgeneral_voxels} voxels", trials * (4 * self.nsdgeneral_voxels + 8704)
        if self.layout == "algonauts":
            # nsdgeneral and RSC, which is 2 % of it, float32; the masks are small.
            n_vertices = round(1.02 * self.nsdgeneral_voxels)
            return f"about {n_vertices} vertices", 4 * n_vertices * (self.shared + self.unique)
        x, y, z = box_shape(subject, self.nsdgeneral_voxels)
        if self.layout in ("mindeye1", "brain_diffuser"):
            return self._pictures_bill((x, y, z))
        # HDF5 keeps about 65 bytes of index for each of a session's chunks, one chunk a voxel.
        return f"{x}x{y}x{z}", x * y * z * (2 * trials + 65 * n_run)

    def _pictures_bill(self, box: tuple[int, int, int]) -> tuple[str, int]:
        """Return the same for layouts with a sample a picture, which hold the pictures too; none is left out."""
        pictures, values = self.shared + self.unique, 3 * self.size_px**2
        if self.layout == "brain_diffuser":
            # float64 of voxels and pixels, and captions of five times about 60 letters of four bytes.
            each = 8 * (self.nsdgeneral_voxels + values) + 1200
            return f"at most {pictures} pictures of {self.nsdgeneral_voxels} voxels", pictures * each
        # Three rows of float16, of nsdgeneral and of the box; a JPEG of about a quarter of the pixels' bytes; six
        # headers of tar and of npy.
        each = 6 * (self.nsdgeneral_voxels + box[0] * box[1] * box[2]) + values // 4 + 6 * 1024
        return f"at most {pictures} pictures of {'x'.join(map(str, box))}", pictures * each
