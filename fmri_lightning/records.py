"""The few records that cross a stage border."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError

LATENTS = "latents"
"""``pooling`` of a space whose vectors are the latents of an autoencoder: the layout of a picture, not its meaning."""

PROBE_COSINE = 0.9999
"""Two spaces are one when every probe picture's vectors agree to this cosine; half precision passes."""


@dataclass(frozen=True)
class EmbeddingSpace:
    """What an embedding vector means, carried by every cache, encoder, adapter and decoder.

    Attributes:
        name: Short name, for instance "vit-b-32".
        model_id: Hub id or folder of the model that makes the vectors.
        revision: Hub revision, or "" for a folder.
        dim: Length of a vector.
        pooling: Which output is meant: "projection" of an image encoder, or :data:`LATENTS` of an autoencoder.
        scale: "raw" projections, or vectors of "unit" length.
        median_norm: Median Euclidean norm over the pictures that described the space.
        mean: Mean vector, (dim,), or None when not measured.
        std: Standard deviation per dimension, (dim,), or None.
        probe: Vectors of the eight fixed probe pictures, (8, dim), or None.
        weights_hash: Hash of the model's weights, or "".
    """

    name: str
    model_id: str
    revision: str
    dim: int
    pooling: str
    scale: Literal["raw", "unit"]
    median_norm: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    probe: tuple[tuple[float, ...], ...] | None = None
    weights_hash: str = ""

    def __post_init__(self) -> None:
        if self.scale not in ("raw", "unit"):
            raise BadInputError(f"embedding space {self.name!r}: scale is 'raw' or 'unit', not {self.scale!r}")
        for what, vectors in (("mean", [self.mean]), ("std", [self.std]), ("probe", self.probe or ())):
            for vector in vectors:
                if vector is not None and len(vector) != self.dim:
                    raise BadInputError(
                        f"embedding space {self.name!r}: {what} has {len(vector)} values, dim says {self.dim}"
                    )

    @property
    def holds_latents(self) -> bool:
        """Whether its vectors are latents of an autoencoder, and not embeddings."""
        return self.pooling == LATENTS

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, fit for JSON and for checkpoints read with ``weights_only=True``."""
        plain = dataclasses.asdict(self)
        for key in ("mean", "std"):
            plain[key] = None if plain[key] is None else list(plain[key])
        plain["probe"] = None if self.probe is None else [list(vector) for vector in self.probe]
        return plain

    def to_json(self) -> str:
        """Return the space as one line of JSON text."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, source: str | bytes | Mapping[str, Any]) -> EmbeddingSpace:
        """Read what :meth:`to_json` or :meth:`to_dict` wrote.

        Args:
            source: JSON text, or the dictionary itself.

        Returns:
            The space.

        Raises:
            BadInputError: If it is not the description of a space.
        """
        try:
            plain = dict(json.loads(source) if isinstance(source, str | bytes) else source)
            for key in ("mean", "std"):
                plain[key] = None if plain.get(key) is None else tuple(float(x) for x in plain[key])
            probe = plain.get("probe")
            plain["probe"] = None if probe is None else tuple(tuple(float(x) for x in v) for v in probe)
            return cls(**plain)
        except (ValueError, TypeError) as error:
            raise BadInputError(f"not the description of an embedding space: {error}") from error


def require_same_space(a: EmbeddingSpace, b: EmbeddingSpace, what_a: str, what_b: str) -> None:
    """Refuse to wire two parts whose embedding spaces differ.

    Ids and revisions are not compared: the same network sits in several repositories. Probe vectors are.

    Args:
        a: Space of the first part.
        b: Space of the second part.
        what_a: The first part in words, for instance "adapter checkpoints/adapter.ckpt".
        what_b: The second part in words.

    Raises:
        BadInputError: If one holds latents and the other embeddings, dimension or scale differ, or a probe cosine is
            below 0.9999.
    """
    for one, other, what in ((a, b, what_a), (b, a, what_b)):
        if one.holds_latents and not other.holds_latents:
            require_embeddings(one, what)
    both = f"{what_a} works in {a.name!r} ({a.dim}-D, {a.scale}), {what_b} in {b.name!r} ({b.dim}-D, {b.scale})"
    if a.dim != b.dim or a.scale != b.scale:
        raise BadInputError(f"{both}; use two parts made for one embedding space")
    if a.probe is None or b.probe is None:
        return
    probe_a, probe_b = (np.asarray(space.probe, dtype=np.float64) for space in (a, b))
    if probe_a.shape != probe_b.shape:
        raise BadInputError(f"{both}; they hold {len(probe_a)} and {len(probe_b)} probe vectors")
    norms = np.linalg.norm(probe_a, axis=1) * np.linalg.norm(probe_b, axis=1)
    cosine = float(np.min((probe_a * probe_b).sum(axis=1) / np.maximum(norms, np.finfo(norms.dtype).tiny)))
    if not cosine >= PROBE_COSINE:
        raise BadInputError(
            f"{both}, but the vectors of the probe pictures differ (cosine {cosine:.4f}); "
            "they come from different models: use two parts made for one embedding space"
        )


def require_embeddings(space: EmbeddingSpace, what: str) -> None:
    """Refuse latents of an autoencoder where embeddings are meant; their lengths may be equal.

    Args:
        space: The part's space.
        what: The part in words.

    Raises:
        BadInputError: If it holds latents.
    """
    if space.holds_latents:
        raise BadInputError(
            f"{what} holds latents of the autoencoder {space.name!r}, embeddings are meant here; latents are for "
            "--model.low_level and --data.low_level_cache"
        )


def require_latents(space: EmbeddingSpace, what: str) -> None:
    """Refuse embeddings where latents of an autoencoder are meant; their lengths may be equal.

    Args:
        space: The part's space.
        what: The part in words.

    Raises:
        BadInputError: If it holds embeddings.
    """
    if not space.holds_latents:
        raise BadInputError(
            f"{what} holds embeddings of {space.name!r}, latents of an autoencoder are meant here; make them with "
            "fmri-lightning clip-cache --space sd-vae and configs/encoder/low_level.yaml"
        )


STIMULUS_CATEGORIES = "stimulus_categories.csv"
"""File of a data root that says what its stimuli show: columns nsd_id and category, a row per category."""

TRIAL_DTYPES: dict[str, str] = {
    "subject": "str",
    "session": "int16",
    "run": "int16",
    "trial_in_run": "int16",
    "trial_in_session": "int16",
    "global_trial": "int32",
    "nsd_id": "int32",
    "coco_id": "int32",
    "coco_split": "str",
    "shared1000": "bool",
    "repeat": "int8",
    "n_repeats": "int8",
    "beta_path": "str",
    "beta_index": "int32",
    "split": "str",
    "trial_id_average": "int32",
    "trial_id_single": "int32",
}
"""Columns of the index in order, with their numpy types."""


@dataclass(frozen=True, eq=False)
class TrialTable:
    """Trials of one subject, one row each, in the order of the index.

    Attributes:
        subject: For instance "subj01", (n,) str.
        session: 1-based, (n,) int16.
        run: 1-based run in its session, (n,) int16.
        trial_in_run: 1-based, as NSD counts, (n,) int16.
        trial_in_session: 0-based, (n,) int16.
        global_trial: 0-based over the whole experiment, (n,) int32.
        nsd_id: 0-based picture id (73KID minus 1), (n,) int32.
        coco_id: Id in COCO, (n,) int32.
        coco_split: "train2017" or "val2017", (n,) str.
        shared1000: Shown to all subjects, (n,) bool.
        repeat: 0-based presentation of the picture to this subject, (n,) int8.
        n_repeats: Presentations of the picture that were run, (n,) int8.
        beta_path: Session file relative to the data root, (n,) str.
        beta_index: Row in that file, (n,) int32.
        split: "train", "val" or "test", (n,) str.
        trial_id_average: Rank of the picture among all shared ids, -1 outside the test split, (n,) int32.
        trial_id_single: Rank of the trial among test trials by (nsd_id, global_trial), or -1, (n,) int32.
    """

    subject: NDArray[np.str_]
    session: NDArray[np.int16]
    run: NDArray[np.int16]
    trial_in_run: NDArray[np.int16]
    trial_in_session: NDArray[np.int16]
    global_trial: NDArray[np.int32]
    nsd_id: NDArray[np.int32]
    coco_id: NDArray[np.int32]
    coco_split: NDArray[np.str_]
    shared1000: NDArray[np.bool_]
    repeat: NDArray[np.int8]
    n_repeats: NDArray[np.int8]
    beta_path: NDArray[np.str_]
    beta_index: NDArray[np.int32]
    split: NDArray[np.str_]
    trial_id_average: NDArray[np.int32]
    trial_id_single: NDArray[np.int32]

    def __post_init__(self) -> None:
        shapes = {name: np.shape(getattr(self, name)) for name in TRIAL_DTYPES}
        if len(set(shapes.values())) > 1 or len(self.nsd_id.shape) != 1:
            raise BadInputError(f"trial table: columns of unequal shapes {shapes}")
        for name, dtype in TRIAL_DTYPES.items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.dtype(dtype)))

    def __len__(self) -> int:
        return len(self.nsd_id)

    def where(self, mask: NDArray[np.bool_]) -> TrialTable:
        """Take the rows where a mask holds, in their order.

        Args:
            mask: (n,) bool.

        Returns:
            A table of the chosen rows.

        Raises:
            ValueError: If the mask is not bool of the table's length; ids would be taken for rows.
        """
        if mask.dtype != np.bool_ or mask.shape != (len(self),):
            raise ValueError(f"expected a bool mask of {len(self)} rows, got {mask.dtype} {mask.shape}")
        return TrialTable(**{name: getattr(self, name)[mask] for name in TRIAL_DTYPES})

    def of_split(self, split: Literal["train", "val", "test"]) -> TrialTable:
        """Take the rows of one split.

        Args:
            split: "train", "val" or "test".

        Returns:
            A table of the split's rows, possibly empty.
        """
        return self.where(self.split == split)
