"""Pictures the mini models learn from: rendered scenes and, where given, photographs."""

from __future__ import annotations

import io
import multiprocessing
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image

from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import atomic_path, content_hash
from fmri_lightning.progress import track

PHOTOGRAPHS_VARIABLE = "FMRI_LIGHTNING_PHOTOGRAPHS"
"""Environment variable naming the folder that holds ``train.tar`` and ``test.tar``."""

_PART = 1000  # scenes a file of the cache holds

PictureArray = np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]


@dataclass(frozen=True)
class PictureSet:
    """Pictures with class labels.

    Attributes:
        pictures: uint8 (n, size, size, 3), RGB.
        labels: int64 (n,), index of the photograph's class; -1 for a rendered scene.
    """

    pictures: PictureArray
    labels: np.ndarray[tuple[int], np.dtype[np.int64]]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.labels)

    def joined(self, other: PictureSet) -> PictureSet:
        """These pictures followed by the other ones.

        Args:
            other: pictures of the same size.
        """
        return PictureSet(
            np.concatenate([self.pictures, other.pictures]),
            np.concatenate([self.labels, other.labels]),
        )


def photographs_folder(given: str | None) -> Path | None:
    """Folder of the photographs: the argument, else the environment variable, else none.

    Args:
        given: folder, or None to ask ``FMRI_LIGHTNING_PHOTOGRAPHS``.

    Raises:
        BadInputError: the folder does not exist.
    """
    name = given or os.environ.get(PHOTOGRAPHS_VARIABLE)
    if not name:
        return None
    folder = Path(name)
    if not folder.is_dir():
        raise BadInputError(f"no photographs at {folder}: correct or unset {PHOTOGRAPHS_VARIABLE}")
    return folder


def read_photographs(folder: Path, split: Literal["train", "test"], size_px: int = 64) -> PictureSet:
    """Read ``{split}.tar`` or the folder ``{split}``, both holding ``class/picture.jpg``.

    Args:
        folder: where the two splits are.
        split: which one to read.
        size_px: side of the returned squares, in pixels; larger pictures are centre-cropped.

    Raises:
        BadInputError: the split is missing or holds no picture.
    """
    pictures, names = [], []
    for path, data in _members(folder, split):
        with Image.open(io.BytesIO(data)) as image:
            pictures.append(_square(image.convert("RGB"), size_px))
        names.append(path.parent.name)
    if not pictures:
        raise BadInputError(f"no pictures in {folder}/{split}: expected class/picture.jpg inside")
    classes = {name: i for i, name in enumerate(sorted(set(names)))}
    return PictureSet(np.stack(pictures), np.array([classes[name] for name in names], np.int64))


def _members(folder: Path, split: str) -> Iterator[tuple[PurePosixPath, bytes]]:
    archive, tree = folder / f"{split}.tar", folder / split
    suffixes = {".jpg", ".jpeg", ".png"}
    if archive.is_file():
        with tarfile.open(archive) as tar:
            for member in sorted(tar.getmembers(), key=lambda m: m.name):
                path = PurePosixPath(member.name)
                stream = tar.extractfile(member) if path.suffix.lower() in suffixes else None
                if stream is not None:
                    yield path, stream.read()
    elif tree.is_dir():
        for file in sorted(tree.rglob("*")):
            if file.suffix.lower() in suffixes:
                yield PurePosixPath(file.relative_to(tree).as_posix()), file.read_bytes()
    else:
        raise BadInputError(f"neither {archive} nor {tree} exists: see checkpoints/mini/README.md")


def _square(image: Image.Image, size_px: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    if image.size != (size_px, size_px):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        image = image.resize((size_px, size_px), Image.Resampling.LANCZOS)
    return np.asarray(image, np.uint8).copy()


def read_scenes(namespace: str, n: int, size_px: int = 64, cache: Path | None = None) -> PictureSet:
    """Draw the first n scenes of a seed namespace, on all cores, or find them in a cache.

    Args:
        namespace: ``mini_train`` or ``mini_heldout``; never the stimuli of the demo.
        n: how many.
        size_px: side of a picture, in pixels.
        cache: folder that keeps what was drawn, in parts, or None.
    """
    parts = [(namespace, start, min(start + _PART, n), size_px) for start in range(0, n, _PART)]
    if cache is None or n == 0:
        drawn = [_draw(*part) for part in parts]
    else:
        # The renderer's own output names the files: another renderer never finds them.
        renderer = content_hash(_draw(namespace, 0, 8, size_px))[:12]
        files = [cache / f"{ns}_{px}px_{renderer}_{a}_{b}.npy" for ns, a, b, px in parts]
        missing = [i for i, file in enumerate(files) if not file.exists()]
        context = multiprocessing.get_context("spawn")
        workers = max(1, min(os.cpu_count() or 1, len(missing)))
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            jobs = {i: pool.submit(_draw, *parts[i]) for i in missing}
            for i in track(missing, f"drawing {namespace}"):
                with atomic_path(files[i]) as temporary, temporary.open("wb") as handle:
                    np.save(handle, jobs[i].result())
        drawn = [np.load(file, allow_pickle=False) for file in files]
    empty = np.zeros((0, size_px, size_px, 3), np.uint8)
    return PictureSet(np.concatenate([empty, *drawn]), np.full(n, -1, np.int64))


def _draw(namespace: str, start: int, stop: int, size_px: int) -> PictureArray:
    from fmri_lightning.simulate.scenes import draw_scenes

    return draw_scenes(namespace, range(start, stop), seed=0, size_px=size_px)[0]


def training_pictures(folder: Path | None, n_scenes: int, size_px: int = 64, cache: Path | None = None) -> PictureSet:
    """Training photographs, if there are any, followed by training scenes.

    Args:
        folder: folder of the photographs or None.
        n_scenes: number of scenes of the namespace ``mini_train``.
        size_px: side of a picture, in pixels.
        cache: folder that keeps drawn scenes, or None.
    """
    scenes = read_scenes("mini_train", n_scenes, size_px, cache)
    return scenes if folder is None else read_photographs(folder, "train", size_px).joined(scenes)


def heldout_pictures(folder: Path | None, n_scenes: int, size_px: int = 64, cache: Path | None = None) -> PictureSet:
    """Test photographs, if there are any, followed by held-out scenes.

    Args:
        folder: folder of the photographs or None.
        n_scenes: number of scenes of the namespace ``mini_heldout``.
        size_px: side of a picture, in pixels.
        cache: folder that keeps drawn scenes, or None.
    """
    scenes = read_scenes("mini_heldout", n_scenes, size_px, cache)
    return scenes if folder is None else read_photographs(folder, "test", size_px).joined(scenes)
