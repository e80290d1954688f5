"""A decoder that reads the encoder's embeddings directly: a new projection in the place of adapter and old one.

unCLIP's U-Net multiplies what it is told by one matrix, and so does a linear adapter before it: both are one matrix.
The new one starts as their product (the adapter in closed form) and is trained on pictures, so that it is judged by
what is drawn and not by a distance between embeddings.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fmri_lightning.adapter.baselines import least_squares
from fmri_lightning.adapter.data import EmbeddingPairs
from fmri_lightning.embeddings.cache import EmbeddingCache
from fmri_lightning.errors import UsageError
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.families.unclip import UnclipDecoder
from fmri_lightning.generation.families.unclip_folder import repository
from fmri_lightning.generation.inputs import same_space
from fmri_lightning.generation.lora import require_peft
from fmri_lightning.generation.training.export import write_variant
from fmri_lightning.generation.training.lora import (
    ATTENTION,
    add_lora,
    check_rank,
    lora_parameters,
)
from fmri_lightning.generation.training.tuning import TuningConfig, TuningModule

Start = Literal["least_squares", "random"]
_SMALLEST = 1e-6
"""Directions of the sinusoids below this share of the largest are not used: their weights would be huge."""


class DirectProjectionModule(TuningModule):
    """Trains the first layer of a U-Net's class embedding anew, for embeddings of another space."""

    def __init__(
        self,
        decoder: DecoderConfig = DecoderConfig(),  # noqa: B008
        start: Start = "least_squares",
        rank: int = 0,
        alpha: float = 16.0,
        dropout: float = 0.0,
        target_modules: tuple[str, ...] = ATTENTION,
        training: TuningConfig = TuningConfig(),  # noqa: B008
    ) -> None:
        """Remember the recipe.

        Args:
            decoder: Which model is to read other embeddings.
            start: least_squares begins with the product of the least-squares adapter and the old projection, for which
                the data need target_cache; random begins from nothing.
            rank: Rank of a LoRA of the rest of the U-Net, trained with the projection; 0 leaves the rest frozen.
            alpha: Scale of the LoRA, times 1 / rank.
            dropout: Share of an adapter's inputs dropped in training.
            target_modules: Ends of the names of the layers that get a LoRA.
            training: How it is trained.
        """
        super().__init__(decoder, training)
        if rank:
            check_rank(rank, alpha, dropout)
        self.start, self.rank, self.alpha, self.dropout = start, rank, alpha, dropout
        self.target_modules = tuple(target_modules)

    def prepare_data(self) -> None:
        """Refuse to start a LoRA without peft.

        Raises:
            UsageError: It is not installed.
        """
        if self.rank:
            require_peft()

    def setup(self, stage: str) -> None:
        """Refuse data that the start cannot be made of, before any work.

        Args:
            stage: Lightning's stage.

        Raises:
            UsageError: No clip_cache to read, or no target_cache to start from.
            BadInputError: target_cache is of another space than the decoder.
        """
        super().setup(stage)
        data = self.data
        if not data.direct:
            raise UsageError(
                "a direct projection reads the encoder's space; name its cache with --data.clip_cache FILE"
            )
        if self.start == "random":
            return
        if data.target_cache is None:
            raise UsageError("--model.start least_squares needs --data.target_cache FILE; or set --model.start random")
        target = EmbeddingCache.open(data.target_cache).space
        same_space(target, self.loaded().space, f"target cache {data.target_cache}", "the decoder")

    def prepare_unet(self, decoder: UnclipDecoder) -> Iterable[tuple[str, nn.Parameter]]:
        """Put the new projection in, and a LoRA where one is asked for.

        Args:
            decoder: Frozen, as loaded; its normaliser becomes that of the new embeddings.
        """
        unet: Any = decoder.unet
        told = self.data.train_embeddings()
        old = unet.class_embedding.linear_1
        pairs = self.data.start_pairs() if self.start == "least_squares" else None
        top = self.training_config.max_noise_level
        level = max(top, self.training_config.predicted_noise_level)
        new = composed(old, pairs, level) if pairs is not None else nn.Linear(2 * told.shape[1], old.out_features)
        if self.rank:
            add_lora(unet, self.rank, self.alpha, self.dropout, self.target_modules)
        unet.class_embedding.linear_1 = new
        unet.register_to_config(projection_class_embeddings_input_dim=2 * told.shape[1])
        decoder.normalizer = normalizer_of(told)
        decoder.space = self.told_space
        names = {f"class_embedding.linear_1.{name}": value for name, value in new.named_parameters()}
        return [*names.items(), *(lora_parameters(unet) if self.rank else ())]

    def settings(self) -> dict[str, Any]:
        """List what a checkpoint must agree in."""
        adapters = {"alpha": self.alpha, "target_modules": list(self.target_modules)} if self.rank else {}
        return {"start": self.start, "rank": self.rank, **adapters}

    @torch.no_grad()
    def export(self, folder: Path) -> dict[str, str]:
        """Write a complete ``StableUnCLIPImg2ImgPipeline`` folder in float16, LoRA merged.

        Args:
            folder: An existing empty folder.

        Returns:
            Lines of the model card.
        """
        decoder, data = self.loaded(), self.data
        source = repository(self.decoder_config).fetch()
        errors = self.heldout_errors()
        with self.averaged():
            unet: Any = decoder.unet
            if self.rank:
                unet.fuse_lora()
                unet.unload_lora()
            normalizer: Any = decoder.normalizer
            write_variant(
                folder, source, unet.cpu(), self.told_space, normalizer.mean[0].cpu(), normalizer.std[0].cpu()
            )
        compared = ", ".join(f"{name} {self.before[name]:.4f} to {error:.4f}" for name, error in errors.items())
        return {
            "reads": f"{self.told_space.dim}-D {self.told_space.name} embeddings",
            "made from": f"{self.decoder_config.model_id or self.decoder_config.family} (U-Net {self.base[:12]})",
            "start": self.start,
            "LoRA of the rest": f"rank {self.rank}" if self.rank else "none",
            "training pictures": f"{len(data.ids['train']):,} of {data.subject}'s training split",
            "inputs": ", ".join(f"{name} {value[:12]}" for name, value in sorted(data.inputs.items())),
            "held-out error from embeddings": compared,
        }


def normalizer_of(embeddings: Tensor) -> Any:
    """Make unCLIP's normaliser of training embeddings.

    Args:
        embeddings: Raw, float32 (n, dim).
    """
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

    made: Any = StableUnCLIPImageNormalizer(embedding_dim=embeddings.shape[1])
    with torch.no_grad():
        made.mean.copy_(embeddings.mean(0)[None])
        made.std.copy_(embeddings.std(0).clamp_min(1e-4)[None])
    return made.requires_grad_(False)


@torch.no_grad()
def composed(old: nn.Linear, pairs: EmbeddingPairs, top_level: int) -> nn.Linear:
    """Join the least-squares adapter and a class embedding's first layer into one layer.

    The adapter is fitted on unit vectors; raw ones are brought to unit length by their median norm. Sinusoids of the
    noise level have other frequencies in another width: the new weights are those that give the old layer's answer
    to levels 0..top_level, by least squares.

    Args:
        old: Of (embedding, sinusoid) of the pairs' target width.
        pairs: Raw embeddings of the same pictures in both spaces.
        top_level: Highest noise level that will be told.

    Returns:
        Of (embedding, sinusoid) of the pairs' source width.
    """
    from diffusers.models.embeddings import get_timestep_embedding

    n_source, n_target = pairs.source.shape[1], pairs.target.shape[1]
    adapter = least_squares(pairs)
    weight, bias = old.weight.double().cpu().numpy(), old.bias.double().cpu().numpy()
    norm = float(pairs.source.double().norm(dim=1).median())
    of_target, of_level = weight[:, :n_target], weight[:, n_target:]
    of_source = of_target @ (adapter.weights.T / norm)
    constant = of_target @ (adapter.target_mean - adapter.source_mean @ adapter.weights)
    levels = torch.arange(top_level + 1)
    wide, narrow = (
        get_timestep_embedding(levels, width, flip_sin_to_cos=True, downscale_freq_shift=0).double().numpy()
        for width in (n_target, n_source)
    )
    of_new_level = np.linalg.lstsq(narrow, wide @ of_level.T, rcond=_SMALLEST)[0].T
    made = nn.Linear(2 * n_source, old.out_features)
    made.weight.copy_(torch.from_numpy(np.concatenate([of_source, of_new_level], axis=1)))
    made.bias.copy_(torch.from_numpy(bias + constant))
    return made
