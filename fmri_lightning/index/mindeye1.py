"""Reader of the samples that MindEye1 published (Scotti et al. 2023; Hugging Face pscotti/naturalscenesdataset).

A sample is a picture with up to three rows of betas. Samples lie in tars or, as MindBridge has them, unpacked::

    webdataset_avg_split/SPLIT/SPLIT_subj01_0.tar
    webdataset_avg_split/SPLIT/subj01/sample000000000.nsdgeneral.npy
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError
from fmri_lightning.index.curated import CURATED, open_curated
from fmri_lightning.index.mindeye import require_end
from fmri_lightning.index.split import SPLITS
from fmri_lightning.manifest import read_json

FOLDER = "webdataset_avg_split"
ORIGIN = "MindEye1's dataset"
ROWS = 3
"""Rows of each sample; those behind num_uniques repeat earlier ones."""
BETAS, BRAIN = "nsdgeneral.npy", "wholebrain_3d.npy"
NUMBERS = ("coco73k.npy", "trial.npy", "num_uniques.npy")
PICTURES = ("jpg", "png")


@dataclass(frozen=True)
class Member:
    """Bytes of one file of a sample: a whole file, or a piece of a tar.

    Attributes:
        path: File that holds them.
        offset: Where they start, bytes.
        size: How many.
    """

    path: Path
    offset: int
    size: int

    def read(self, n_bytes: int | None = None) -> bytes:
        """Read the bytes, or the first few of them."""
        wanted = self.size if n_bytes is None else min(n_bytes, self.size)
        with open(self.path, "rb") as handle:
            handle.seek(self.offset)
            content = handle.read(wanted)
        if len(content) < wanted:
            raise EOFError(f"{self.path.name} ends in the middle of a sample")
        return content


@dataclass(frozen=True)
class Sample:
    """One picture of one subject.

    Attributes:
        name: Tar and key, or path of the unpacked sample, for messages.
        split: "train", "val" or "test".
        members: File extension → where its bytes are.
    """

    name: str
    split: str
    members: dict[str, Member]

    def number(self, extension: str) -> int:
        """Read a member that is one whole number."""
        values = self._load(extension)
        if values.shape != (1,) or values.dtype.kind not in "iu":
            raise BadInputError(f"{self.name}.{extension} is {values.dtype} {values.shape}, expected one integer (1,)")
        return int(values[0])

    def betas(self) -> NDArray[np.float16]:
        """Read all rows, z-scores, float16 (3, n_voxels)."""
        rows = self._load(BETAS)
        if rows.ndim != 2 or len(rows) != ROWS or rows.dtype != np.float16:
            raise BadInputError(f"{self.name}.{BETAS} is {rows.dtype} {rows.shape}, expected float16 ({ROWS}, voxels)")
        return rows

    def box(self) -> tuple[int, ...] | None:
        """Read the shape (X, Y, Z) of the whole brain, and none of its betas; None where the member is absent."""
        if BRAIN not in self.members:
            return None
        try:
            handle = io.BytesIO(self.members[BRAIN].read(4096))
            version = np.lib.format.read_magic(handle)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            return tuple(read(handle)[0][1:])
        except (OSError, ValueError, EOFError) as error:
            raise BadInputError(f"{self.name}.{BRAIN} is damaged ({error}); {AGAIN}") from error

    def _load(self, extension: str) -> NDArray[Any]:
        try:
            return np.asarray(np.load(io.BytesIO(self.members[extension].read()), allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise BadInputError(f"{self.name}.{extension} is damaged ({error}); {AGAIN}") from error


AGAIN = "download it again"


@dataclass(frozen=True)
class MindEye1Tables:
    """What one subject's samples say, betas aside; not yet believed.

    Attributes:
        root: Folder of the dataset.
        subject: For instance "subj01".
        samples: In the order of train, val and test, tar by tar.
        split: Of each sample, (n,) str.
        nsd_id: 0-based picture of each sample, (n,) int64.
        trial: What trial.npy says, (n,) int64; the dataset does not say of which of the repeats.
        num_uniques: Independent rows of each sample, (n,) int64.
        totals: Samples of each split by the metadata; None where they are unpacked and there are none.
        captions: Table of captions over the whole catalogue, or None.
    """

    root: Path
    subject: str
    samples: tuple[Sample, ...]
    split: NDArray[np.str_]
    nsd_id: NDArray[np.int64]
    trial: NDArray[np.int64]
    num_uniques: NDArray[np.int64]
    totals: dict[str, int] | None
    captions: NDArray[np.str_] | None


def read_mindeye1_tables(root: Path, subject: str) -> MindEye1Tables:
    """Read which samples there are and the numbers of each.

    Args:
        root: Folder that holds ``webdataset_avg_split``.
        subject: For instance "subj01".

    Returns:
        The tables.

    Raises:
        BadInputError: If a split is missing, a tar torn, or a member of another shape.
    """
    samples = read_samples(root, subject)
    for sample in samples:
        missing = [name for name in (BETAS, *NUMBERS) if name not in sample.members]
        if missing:
            raise BadInputError(f"{sample.name} has no {missing[0]}; download it again")
    ids, trials, uniques = (np.array([sample.number(name) for sample in samples], dtype=np.int64) for name in NUMBERS)
    packed = samples[0].members[BETAS].path.suffix == ".tar"
    return MindEye1Tables(
        root=root,
        subject=subject,
        samples=samples,
        split=np.array([sample.split for sample in samples]),
        nsd_id=ids,
        trial=trials,
        num_uniques=uniques,
        totals=_read_totals(metadata_file(root, subject), packed),
        captions=open_curated(root / CURATED),
    )


def metadata_file(root: Path, subject: str) -> Path:
    """Name a subject's metadata."""
    return root / FOLDER / f"metadata_{subject}.json"


def subjects_of(root: Path) -> list[str]:
    """List the subjects that have a test split."""
    folder = root / FOLDER / "test"
    packed = {path.name.split("_")[1] for path in folder.glob("test_subj*_*.tar")}
    return sorted(packed | {path.name for path in folder.glob("subj*") if path.is_dir()})


def read_samples(root: Path, subject: str, splits: tuple[str, ...] = SPLITS) -> tuple[Sample, ...]:
    """Find the members of every sample; reads headers of tars and no contents.

    Args:
        root: Folder that holds ``webdataset_avg_split``.
        subject: For instance "subj01".
        splits: Which splits.

    Returns:
        The samples, split by split.

    Raises:
        BadInputError: If a split is missing or there twice, a tar is missing in the row or torn.
    """
    if subject not in subjects_of(root):
        raise BadInputError(
            f"no subject {subject!r} under {root / FOLDER / 'test'}; present: {', '.join(subjects_of(root)) or 'none'}"
        )
    found: list[Sample] = []
    for split in splits:
        folder = root / FOLDER / split
        tars = sorted(folder.glob(f"{split}_{subject}_*.tar"), key=lambda path: (len(path.stem), path.stem))
        unpacked = folder / subject
        if bool(tars) == unpacked.is_dir():
            what = "both tars and a folder" if tars else "neither tars nor a folder"
            raise BadInputError(f"{folder} holds {what} of samples of {subject}; keep one of the two there")
        expected = [f"{split}_{subject}_{number}.tar" for number in range(len(tars))]
        if [path.name for path in tars] != expected:
            lacking = next(name for name in expected if not (folder / name).is_file())
            raise BadInputError(f"{folder} has {len(tars)} tars of {subject} and no {lacking}; download it")
        of_split = [s for path in tars for s in _samples_of_tar(path, split)] if tars else [*_unpacked(unpacked, split)]
        if not of_split:
            raise BadInputError(f"{folder} holds no sample of {subject}; {AGAIN}")
        found += of_split
    return tuple(found)


def _samples_of_tar(path: Path, split: str) -> Iterator[Sample]:
    members: dict[str, dict[str, Member]] = {}
    try:
        require_end(path)
        with tarfile.open(path, "r:") as tar:
            for entry in tar:
                key, _, extension = entry.name.rpartition("/")[2].partition(".")
                if entry.isfile() and extension:
                    if extension in members.setdefault(key, {}):
                        raise ValueError(f"{entry.name} is there twice")
                    members[key][extension] = Member(path, entry.offset_data, entry.size)
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        raise BadInputError(f"{path} is damaged or cut off ({error}); {AGAIN}") from error
    for key, found in members.items():
        yield Sample(f"{path}:{key}", split, found)


def _unpacked(folder: Path, split: str) -> Iterator[Sample]:
    members: dict[str, dict[str, Member]] = {}
    for path in sorted(folder.glob("sample*.*")):
        key, _, extension = path.name.partition(".")
        members.setdefault(key, {})[extension] = Member(path, 0, path.stat().st_size)
    for key, found in members.items():
        yield Sample(f"{folder / key}", split, found)


def _read_totals(path: Path, required: bool) -> dict[str, int] | None:
    if not required and not path.exists():
        return None
    plain = read_json(path)
    totals = plain.get("totals") if isinstance(plain, dict) else None
    if not isinstance(totals, dict) or not all(isinstance(totals.get(split), int) for split in SPLITS):
        raise BadInputError(f"{path} has no whole numbers totals.train, totals.val and totals.test; {AGAIN}")
    return {split: totals[split] for split in SPLITS}
