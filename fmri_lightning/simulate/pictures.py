"""Where the pictures of a simulated experiment come from, and what they mean.

Rendered scenes bring their description. Photographs bring the name of their class, the folder they lie in, and
the rest of their meaning is made up by a fixed random network over their coarse appearance.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from fmri_lightning.errors import BadInputError
from fmri_lightning.simulate.drawing.places import PLACES
from fmri_lightning.simulate.scenes import CATEGORIES, N_SEMANTIC, SceneDescription, draw_scenes

FloatArray = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]

DOMAINS = ("faces", "bodies", "places", "words")
"""What the category-selective regions (floc-*) prefer."""
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
N_PHOTOGRAPH_ATTRIBUTES = 56
_CLASS_BITS = 24


@dataclass(frozen=True)
class Meaning:
    """What n pictures show.

    Attributes:
        attributes: float32 (n, n_attributes), mostly 0..1.
        domains: float32 (n, 4), how strongly each of DOMAINS is present, 0..1.
        categories: What each of the n pictures shows, in alphabetical order: things of a scene, class of a photograph.
    """

    attributes: FloatArray
    domains: FloatArray
    categories: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class PictureSource:
    """A catalogue of pictures.

    Attributes:
        name: "scenes" or "photographs".
        fingerprint: identifies the set and its order.
        read: catalogue numbers (0-based) → pictures uint8 (n, side, side, 3) and their meaning.
    """

    name: str
    fingerprint: str
    read: Callable[[npt.NDArray[np.int64]], tuple[Pictures, Meaning]]


def scene_source(seed: int, size_px: int) -> PictureSource:
    """Return the endless catalogue of rendered scenes."""

    def read(numbers: npt.NDArray[np.int64]) -> tuple[Pictures, Meaning]:
        pictures, scenes = draw_scenes("stimuli", numbers, seed, size_px)
        attributes = np.stack([scene.semantic_vector() for scene in scenes])
        domains = np.array([_scene_domains(scene) for scene in scenes], dtype=np.float32)
        shown = tuple(tuple(sorted({thing.category for thing in scene.objects})) for scene in scenes)
        return pictures, Meaning(attributes.reshape(-1, N_SEMANTIC), domains, shown)

    return PictureSource("scenes", f"scenes, seed {seed}, {size_px} px", read)


def _scene_domains(scene: SceneDescription) -> list[float]:
    """Return how strongly faces, bodies, places and words are present."""
    size = dict.fromkeys(CATEGORIES, 0.0)
    for thing in scene.objects:
        size[thing.category] = max(size[thing.category], thing.size)
    largest = max(thing.size for thing in scene.objects)
    animals = max(size[name] for name in ("cat", "dog", "horse", "elephant", "giraffe", "bird", "fish"))
    buildings = max(size["house"], size["tower"])
    return [
        max(size["person"], 0.6 * size["cat"], 0.6 * size["dog"]),
        max(size["person"], 0.9 * animals),
        max(buildings, (1.0 - largest) * (1.0 if PLACES[scene.place].outdoors else 0.7)),
        max(size["clock"], 0.6 * size["bus"], 0.5 * size["truck"]),
    ]


def photograph_source(folder: Path, n_pictures: int, seed: int, size_px: int) -> PictureSource:
    """Return a catalogue of photographs from a folder, or a tar, of ``class/image.jpg``.

    Args:
        folder: Folder, searched to any depth and inside tar files, or one tar file.
        n_pictures: How many the experiment needs.
        seed: Seed of their order and of the random network.
        size_px: Side of the square they are cropped and scaled to.

    Returns:
        The catalogue.

    Raises:
        BadInputError: Missing or unreadable, or fewer than ``n_pictures`` photographs.
    """
    if not folder.exists():
        raise BadInputError(f"--images {folder} does not exist; give a folder or a tar of class/image.jpg")
    readers = _open_tar(folder) if folder.is_file() else _open_folder(folder)
    names = sorted(readers)
    if len(names) < n_pictures:
        raise BadInputError(
            f"--images {folder} holds {len(names)} pictures, the experiment needs {n_pictures}; "
            "lower --unique or --shared"
        )
    chosen = np.random.default_rng([seed, 200]).permutation(len(names))[:n_pictures]

    def read(numbers: npt.NDArray[np.int64]) -> tuple[Pictures, Meaning]:
        files = [names[chosen[number]] for number in numbers]
        pictures = np.stack([_square(readers[file](), f"{folder}/{file}", size_px) for file in files])
        return pictures, _photograph_meaning(pictures, [Path(file).parent.name for file in files], seed)

    listing = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return PictureSource("photographs", f"photographs {listing}, seed {seed}, {size_px} px", read)


def _open_folder(folder: Path) -> dict[str, Callable[[], bytes]]:
    """Return how to read each picture of a folder, those inside its tar files included."""
    found: dict[str, Callable[[], bytes]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() in SUFFIXES:
            found[name] = path.read_bytes
        elif path.suffix == ".tar":
            found |= {f"{name}/{member}": read for member, read in _open_tar(path).items()}
    return found


def _open_tar(file: Path) -> dict[str, Callable[[], bytes]]:
    """Return how to read each picture of an uncompressed tar file."""
    try:
        with tarfile.open(file, "r:") as archive:
            members = [member for member in archive if Path(member.name).suffix.lower() in SUFFIXES]
    except tarfile.TarError as error:
        raise BadInputError(f"--images {file} is neither a folder nor an uncompressed tar: {error}") from error
    return {m.name: partial(_read_span, file, m.offset_data, m.size) for m in members if m.isfile()}


def _read_span(file: Path, start: int, size: int) -> bytes:
    with open(file, "rb") as handle:
        handle.seek(start)
        return handle.read(size)


def _square(data: bytes, name: str, size_px: int) -> Pictures:
    """Return the central square of a photograph, uint8 (size_px, size_px, 3)."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            picture = opened.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise BadInputError(f"{name} is not a readable picture ({error}); remove it") from error
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    if side != size_px:
        square = square.resize((size_px, size_px), Image.Resampling.LANCZOS)
    return np.asarray(square)


def _photograph_meaning(pictures: Pictures, classes: list[str], seed: int) -> Meaning:
    """Make up a meaning: a random code for the class, a random network over 8 x 8 cells for the rest."""
    n, side = len(pictures), pictures.shape[1]
    cells = np.linspace(0, side, 9).astype(int)
    rows = np.add.reduceat(pictures.astype(np.float32), cells[:-1], axis=1)
    coarse = np.add.reduceat(rows, cells[:-1], axis=2) / (255.0 * (side / 8) ** 2) - 0.45
    flat = coarse.reshape(n, -1)
    rng = np.random.default_rng([seed, 201])
    weights = rng.normal(size=(flat.shape[1], N_PHOTOGRAPH_ATTRIBUTES - _CLASS_BITS)).astype(np.float32)
    appearance = np.maximum(flat @ weights / 3.0 + 0.2, 0.0)
    codes = np.array([_class_code(name, seed) for name in classes], dtype=np.float32)
    domains = 1.0 / (1.0 + np.exp(-(1.5 * codes[:, :4] + appearance[:, :4] - 1.5)))
    attributes = np.concatenate([codes, appearance], axis=1)
    shown = tuple((name,) for name in classes)
    return Meaning(attributes.astype(np.float32), domains.astype(np.float32), shown)


def _class_code(name: str, seed: int) -> npt.NDArray[np.float64]:
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng([seed, 202, key]).integers(0, 2, _CLASS_BITS).astype(np.float64)
