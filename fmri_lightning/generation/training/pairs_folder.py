"""Your own pictures and their embeddings: an embedding-conditioned generator for any domain and any space."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.embeddings.distillation_pictures import PictureArray
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.training.latents import Latents, computed_once
from fmri_lightning.generation.training.pairs import PairData
from fmri_lightning.index.stimuli import StimulusSource, open_stimuli, stimuli_identity
from fmri_lightning.index.table import read_index
from fmri_lightning.progress import track

_CHUNK = 256


class FolderPairDataModule(PairData):
    """A folder of pictures (or an NSD tree) and the CLIP cache made from it.

    The cache decides what the generator is conditioned on: ``vit-b-32`` makes it draw from 512-D vectors directly,
    without an adapter. A stimulus is paired with the row of its own id, and held-out ones are never trained on.
    """

    def __init__(
        self,
        clip_cache: str,
        autoencoder: str,
        images: str | None = None,
        root: str | None = None,
        index_root: str | None = None,
        subject: str = "subj01",
        exclude_ids: str | None = None,
        cache_dir: str = "outputs/generator/cache",
        heldout_share: float = 0.05,
        picture_px: int = 64,
        batch_size: int = 128,
        steps_per_epoch: int = 200,
        seed: int = 0,
    ) -> None:
        """Remember the recipe.

        Args:
            clip_cache: parquet file of ``fmri-lightning clip-cache --images DIR`` (or ``--root DIR``).
            autoencoder: folder of an ``AutoencoderKL`` in diffusers format, or ``pixels`` to draw without one.
            images: the folder of pictures that the cache was made from; null with root.
            root: NSD tree, instead of images; only stimuli of the subject's training split are shown. null for none.
            index_root: the index that holds the split; needed with root, null without.
            subject: whose split.
            exclude_ids: text file with one nsd_id a line that must not be seen, for instance a test set; null for none.
            cache_dir: where latents are kept.
            heldout_share: share of the pictures kept for the held-out loss, chosen by seed.
            picture_px: side of a drawn picture, in pixels; pictures are centre-cropped and resized.
            batch_size: pictures a step.
            steps_per_epoch: steps between two evaluations and checkpoints.
            seed: seed of the order and of the held-out share.
        """
        super().__init__(autoencoder, batch_size, steps_per_epoch, seed)
        self.clip_cache, self.images, self.root = Path(clip_cache), images, root
        self.index_root, self.subject = index_root, subject
        self.exclude_ids, self.cache_dir = exclude_ids, Path(cache_dir)
        self.heldout_share, self.picture_px = heldout_share, picture_px
        self.ids: dict[str, NDArray[np.int32]] = {}

    def setup(self, stage: str) -> None:
        """Read the pictures and their embeddings; compute latents or find them in the cache.

        Args:
            stage: fit or validate; both need the same.

        Raises:
            UsageError: an NSD tree without its index: a test stimulus might be shown.
            BadInputError: the cache was made from other pictures, or too few pictures are left.
        """
        if self.pairs:
            return
        if self.root is not None and self.index_root is None:
            raise UsageError("--data.root needs --data.index_root: the generator must not be shown a test stimulus")
        source = open_stimuli(self.root, self.images)
        cache = EmbeddingCache.open(self.clip_cache)
        self.space = cache.space
        if cache.config.get("stimuli") != stimuli_identity(self.root, self.images):
            raise BadInputError(
                f"{self.clip_cache} was made from other pictures than {self.images or self.root}; run again: "
                f"fmri-lightning clip-cache --{'images' if self.images else 'root'} {self.images or self.root}"
            )
        ids = np.setdiff1d(self._allowed(source), self._excluded())
        chosen = np.random.default_rng(self.seed).permutation(len(ids))
        n_heldout = max(1, round(self.heldout_share * len(ids)))
        if len(ids) - n_heldout < 2:
            raise BadInputError(f"{self.images or self.root} leaves {len(ids)} pictures; a generator needs at least 3")
        latents = self._latents()
        self.vae = latents.vae
        for name, rows in (("heldout", chosen[:n_heldout]), ("train", chosen[n_heldout:])):
            part = np.sort(ids[rows])
            self.ids[name] = part
            self.pairs[f"{name}_embeddings"] = torch.from_numpy(cache.rows(part)).half()
            self.pairs[f"{name}_latents"] = self._encoded(latents, source, part, name)

    def _latents(self) -> Latents:
        return Latents(self.autoencoder)

    def _encoded(self, latents: Latents, source: StimulusSource, ids: NDArray[np.int32], name: str) -> Tensor:
        pictures = np.concatenate(list(squares(source, ids, self.picture_px, name)))
        return computed_once(latents, latents.key, pictures, "latents", self.cache_dir)

    def _allowed(self, source: StimulusSource) -> NDArray[np.int32]:
        if self.index_root is None:
            return source.ids
        return np.unique(read_index(self.index_root, self.subject).of_split("train").nsd_id)

    def _excluded(self) -> NDArray[np.int64]:
        if self.exclude_ids is None:
            return np.zeros(0, np.int64)
        path = Path(self.exclude_ids)
        try:
            return np.array([int(line) for line in path.read_text(encoding="utf-8").split()], np.int64)
        except (OSError, ValueError) as error:
            raise BadInputError(f"{path}: expected one nsd_id a line ({error})") from error


def squares(source: StimulusSource, ids: NDArray[np.int32], size_px: int, name: str) -> Iterator[PictureArray]:
    """Read pictures, centre-cropped and resized, 256 at a time.

    Args:
        source: where they are.
        ids: which ones, (n,).
        size_px: side, in pixels.
        name: word for the progress line.

    Yields:
        uint8 (up to 256, size_px, size_px, 3).
    """
    for start in track(range(0, len(ids), _CHUNK), f"reading {name} pictures"):
        yield np.stack([_square(picture, size_px) for picture in source.read(ids[start : start + _CHUNK])])


def _square(picture: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    if (height, width) == (size_px, size_px):
        return picture
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cropped = Image.fromarray(picture[top : top + side, left : left + side])
    return np.asarray(cropped.resize((size_px, size_px), Image.Resampling.LANCZOS), np.uint8)
