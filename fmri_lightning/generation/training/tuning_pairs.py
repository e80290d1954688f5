"""Pictures and embeddings for the further training of a decoder that exists, as that decoder sees both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from fmri_lightning.adapter.data import EmbeddingPairs
from fmri_lightning.adapter.load import load_adapter
from fmri_lightning.adapter.mixing import open_out_of_fold
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.encoder.batches import run_seed
from fmri_lightning.encoder.stored import require_inputs
from fmri_lightning.errors import UsageError
from fmri_lightning.generation.families.latent import LatentDecoder
from fmri_lightning.generation.inputs import same_space
from fmri_lightning.generation.training.latents import Latents
from fmri_lightning.generation.training.pairs_folder import FolderPairDataModule, squares
from fmri_lightning.generation.training.pictures import RandomRows
from fmri_lightning.index.stimuli import StimulusSource, stimuli_identity
from fmri_lightning.index.table import index_manifest, read_index
from fmri_lightning.manifest import atomic_path, content_hash
from fmri_lightning.seeding import sample_seed, torch_generator

_STREAM = 3
"""Number of the random stream that chooses predictions; the adapter's own streams are 1 and 2."""

ToldPair = tuple[Tensor, Tensor, Tensor]
"""Latents (n, channels, side, side), embeddings (n, dim), and which of these are predictions, bool (n,)."""


@runtime_checkable
class TunesDecoder(Protocol):
    """A module whose decoder is trained further."""

    def loaded(self) -> LatentDecoder:
        """Give the decoder, loaded once."""


@dataclass(frozen=True)
class ToldBatches:
    """Batches of latents and of what the U-Net is told, all held on one device.

    Attributes:
        latents: float16 (n, channels, side, side), scaled to unit standard deviation.
        embeddings: float16 (n, dim), raw.
        predicted: out-of-fold predictions in the same space, float32 (n, dim), or None.
        share: share of the rows of a batch whose embedding is the prediction; the same rows in every resume.
        rows: which rows each batch takes; None takes all in order, with true embeddings.
        batch_size: rows of a batch without rows.
        all_predicted: embeddings are predictions, all of them.
    """

    latents: Tensor
    embeddings: Tensor
    predicted: Tensor | None
    share: float
    rows: RandomRows | None
    batch_size: int
    all_predicted: bool = False

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.rows) if self.rows is not None else -(-len(self.latents) // self.batch_size)

    def __iter__(self) -> Iterator[ToldPair]:
        """Yield float32 latents, embeddings and which of them are predictions."""
        device = self.latents.device
        if self.rows is None:
            for rows in torch.arange(len(self.latents), device=device).split(self.batch_size):
                which = torch.full((len(rows),), self.all_predicted, device=device)
                yield self.latents[rows].float(), self.embeddings[rows].float(), which
            return
        first = self.rows.done()
        for step, rows in enumerate(self.rows, start=first):
            place = rows.to(device)
            told, chosen = self.embeddings[place].float(), torch.zeros(len(rows), dtype=torch.bool)
            if self.predicted is not None:
                generator = torch_generator(sample_seed(run_seed(), step, _STREAM))
                chosen = torch.rand(len(rows), generator=generator) < self.share
                told = torch.where(chosen.to(device)[:, None], self.predicted[place], told)
            yield self.latents[place].float(), told, chosen.to(device)


class TuningPairDataModule(FolderPairDataModule):
    """Training stimuli of one subject, as latents of the decoder's own autoencoder, with their embeddings.

    A share of the embeddings may be out-of-fold predictions, which look as those of new stimuli do.
    """

    def __init__(
        self,
        target_cache: str | None = "outputs/clip_cache/vit-h-14.parquet",
        clip_cache: str | None = None,
        root: str | None = None,
        images: str | None = None,
        index_root: str | None = "outputs/nsd_index",
        subject: str = "subj01",
        exclude_ids: str | None = None,
        out_of_fold: str | None = None,
        out_of_fold_share: float = 0.5,
        adapter_ckpt: str | None = None,
        cache_dir: str = "outputs/tuning/cache",
        heldout_share: float = 0.05,
        batch_size: int = 16,
        steps_per_epoch: int = 100,
        seed: int = 0,
    ) -> None:
        """Remember the recipe.

        Args:
            target_cache: CLIP cache in the space of the decoder; null for a direct projection with a random start.
            clip_cache: CLIP cache in the encoder's space, which a direct projection learns to read; null for a LoRA,
                whose U-Net is told target_cache.
            root: NSD tree; only stimuli of the subject's training split are shown. null with images.
            images: folder of pictures that the caches were made from, instead of root; null with root.
            index_root: the index that holds the split; null only with images that have none.
            subject: whose split.
            exclude_ids: text file with one nsd_id a line that must not be seen; null for none.
            out_of_fold: folder of an encoder's out-of-fold predictions, which take the place of some true embeddings;
                null trains on true ones alone.
            out_of_fold_share: share of the embeddings of a batch that are predictions.
            adapter_ckpt: adapter that brings the predictions into the decoder's space; null where they are in the
                space the U-Net is told already.
            cache_dir: where latents are kept.
            heldout_share: share of the pictures kept for the held-out loss, chosen by seed.
            batch_size: pictures a step.
            steps_per_epoch: steps between two evaluations and checkpoints.
            seed: seed of the order and of the held-out share.

        Raises:
            UsageError: no cache, or a share or an adapter without a use.
        """
        told = clip_cache or target_cache
        if told is None:
            raise UsageError("name what the U-Net is told: --data.target_cache FILE, or --data.clip_cache FILE")
        if not 0 < out_of_fold_share <= 1:
            raise UsageError(
                f"out_of_fold_share lies above 0 and up to 1, got {out_of_fold_share}; "
                "to train on true embeddings alone leave out_of_fold unset"
            )
        super().__init__(
            clip_cache=told, autoencoder="", images=images, root=root, index_root=index_root, subject=subject,
            exclude_ids=exclude_ids, cache_dir=cache_dir, heldout_share=heldout_share, batch_size=batch_size,
            steps_per_epoch=steps_per_epoch, seed=seed,
        )  # fmt: skip
        self.target_cache, self.direct = target_cache, clip_cache is not None
        self.out_of_fold, self.out_of_fold_share = out_of_fold, out_of_fold_share
        self.adapter_ckpt = adapter_ckpt
        self.inputs: dict[str, str] = {}
        self.simulated = False

    def prepare_data(self) -> None:
        """Nothing: the autoencoder is the decoder's, which is checked when it is loaded."""

    def setup(self, stage: str) -> None:
        """Read the pictures and their embeddings; compute latents or find them in the cache.

        Args:
            stage: fit or validate; both need the same.

        Raises:
            UsageError: the module has no decoder, or predictions need an index or an adapter.
            BadInputError: an input is missing, or was made from others than those at hand.
        """
        if self.pairs:
            return
        super().setup(stage)
        told = EmbeddingCache.open(self.clip_cache)
        self.inputs["clip_cache" if self.direct else "target_cache"] = told.content_hash
        if self.index_root is not None:
            index = index_manifest(self.index_root, self.subject).config
            self.inputs["split"] = str(index["split_hash"])
            self.simulated = bool(index.get("simulated", False))
        if self.out_of_fold is not None:
            self._add_predictions(self.out_of_fold, told)

    def _latents(self) -> Latents:
        module: Any = None if self.trainer is None else self.trainer.lightning_module
        if not isinstance(module, TunesDecoder):
            raise UsageError(
                f"{type(self).__name__} takes latents of a decoder, {type(module).__name__} has none; "
                "use --config configs/lora.yaml or configs/direct_projection.yaml"
            )
        decoder = module.loaded()
        self.picture_px = decoder.resolution
        return Latents(decoder.vae)

    def _encoded(self, latents: Latents, source: StimulusSource, ids: NDArray[np.int32], name: str) -> Tensor:
        """Encode in parts and remember by the ids: thousands of pictures of full size do not fit into memory."""
        pictures = stimuli_identity(self.root, self.images)
        key = content_hash(latents.key, pictures, str(self.picture_px), ids)
        path = self.cache_dir / f"latents_{key[:16]}.safetensors"
        if not path.exists():
            device = "cuda" if torch.cuda.is_available() else "cpu"
            latents.to(device)
            parts = []
            with torch.no_grad():
                for chunk in squares(source, ids, self.picture_px, name):
                    for small in torch.from_numpy(chunk).split(max(1, self.batch_size)):
                        parts.append(latents(small.to(device)).half().cpu())
            with atomic_path(path) as temporary:
                save_file({"latents": torch.cat(parts).contiguous()}, temporary)
        found: Tensor = load_file(path)["latents"]
        return found

    def _add_predictions(self, folder: str, told: EmbeddingCache) -> None:
        if self.index_root is None:
            raise UsageError("out-of-fold predictions belong to a split; name the index with --data.index_root DIR")
        train = read_index(self.index_root, self.subject).of_split("train").nsd_id
        adapter = None if self.adapter_ckpt is None else load_adapter(self.adapter_ckpt)
        space, source = told.space, f"cache {told.path}"
        if adapter is not None:
            same_space(adapter.target_space, space, f"adapter {self.adapter_ckpt}", source)
            split = {"split": self.inputs["split"]} if "split" in adapter.inputs else {}
            require_inputs(adapter.inputs, split, f"adapter {self.adapter_ckpt}")
            space, source = adapter.source_space, f"adapter {self.adapter_ckpt}"
            self.inputs["adapter"] = adapter.content_hash
        split = {"split": self.inputs["split"]}
        found = open_out_of_fold(Path(folder), self.subject, train, split, space, source)
        self.inputs["out_of_fold"] = found.content_hash
        with torch.no_grad():
            all_of_them = torch.from_numpy(found.predictions)
            mapped = all_of_them if adapter is None else adapter(all_of_them)
        for name, ids in self.ids.items():
            self.pairs[f"{name}_predicted"] = mapped[torch.from_numpy(np.searchsorted(found.nsd_ids, ids))].float()

    def start_pairs(self) -> EmbeddingPairs | None:
        """Pair both spaces of the training pictures, for the start of a direct projection; None without target_cache.

        Raises:
            BadInputError: target_cache lacks pictures.
        """
        if self.target_cache is None:
            return None
        target = EmbeddingCache.open(self.target_cache)
        ids = self.ids["train"]
        return EmbeddingPairs(self.train_embeddings(), torch.from_numpy(target.rows(ids)), ids)

    def _told(self, part: str, rows: RandomRows | None = None, predicted: bool = False) -> ToldBatches:
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        found = self.pairs.get(f"{part}_predicted")
        embeddings = self.pairs[f"{part}_embeddings"] if not predicted or found is None else found
        return ToldBatches(
            self.pairs[f"{part}_latents"].to(device), embeddings.to(device),
            None if found is None else found.to(device), self.out_of_fold_share, rows, self.batch_size,
            predicted,
        )  # fmt: skip

    def train_dataloader(self) -> ToldBatches:  # type: ignore[override]
        """Endless supply in epochs of ``steps_per_epoch`` batches."""
        trainer = self.trainer
        assert trainer is not None
        n = len(self.pairs["train_latents"])
        return self._told(
            "train", RandomRows(n, self.batch_size, self.steps_per_epoch, lambda: trainer.global_step, self.seed)
        )

    def val_dataloader(self) -> ToldBatches:  # type: ignore[override]
        """Held-out pictures with their true embeddings, in order."""
        return self._told("heldout")

    def predicted_batches(self) -> ToldBatches | None:
        """Held-out pictures with their out-of-fold predictions, in order; None where there are none."""
        return self._told("heldout", predicted=True) if "heldout_predicted" in self.pairs else None
