"""Further training of a decoder that exists: its own noise schedule, condition and autoencoder, few trained weights.

What the U-Net is told is built by the function that predict uses, so training and drawing cannot differ. Everything
random in a step follows from the run's seed and the step: a resumed run ends in the weights of an uninterrupted one.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional

from fmri_lightning.embeddings.distillation_schedule import is_complete, late_fall, run_progress, warm_up
from fmri_lightning.encoder.batches import run_seed
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig, load_decoder
from fmri_lightning.generation.families.unclip import UnclipDecoder
from fmri_lightning.generation.lora import FAMILIES, weights_hash
from fmri_lightning.generation.sampler import noised_condition
from fmri_lightning.generation.training.generator import move_averages, plain_attention_on_cpu
from fmri_lightning.generation.training.tuning_pairs import ToldPair, TuningPairDataModule
from fmri_lightning.records import EmbeddingSpace
from fmri_lightning.seeding import sample_seed

_STREAM = 4
"""Number of the random stream of a training step."""
_DRAWS = 4
"""Times and noises that a held-out picture is judged at."""
_RECORD = "fmri_lightning_tuning"


@dataclass(frozen=True)
class TuningConfig:
    """How a decoder is trained further.

    Attributes:
        lr: Learning rate after warm-up.
        warmup_steps: Steps of linear warm-up.
        decay_from: Share of the run after which the rate falls linearly to zero.
        weight_decay: Of AdamW.
        ema_decay: Decay of the averaged weights per step, which are what is written; 0 writes the last ones.
        condition_dropout: Share of samples whose condition is zeroed, for guidance.
        max_noise_level: Highest noise level added to true embeddings, of 1000.
        predicted_noise_level: Noise level, of 1000, that is told and not added where the embedding is a prediction:
            the noise_level of predict with noise_mode label_only.
        gradient_checkpointing: Compute activations twice instead of keeping them: slower, in less memory.
    """

    lr: float = 1e-4
    warmup_steps: int = 50
    decay_from: float = 0.5
    weight_decay: float = 0.01
    ema_decay: float = 0.99
    condition_dropout: float = 0.1
    max_noise_level: int = 350
    predicted_noise_level: int = 250
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        for name in ("max_noise_level", "predicted_noise_level"):
            if not 0 <= getattr(self, name) < 1000:
                raise UsageError(f"{name} lies in 0..999, not {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1 or not 0 <= self.condition_dropout < 1:
            raise UsageError(
                f"ema_decay and condition_dropout lie in 0..1, got {self.ema_decay} and {self.condition_dropout}"
            )


class TuningModule(L.LightningModule):
    """Trains some weights of a decoder's U-Net; a subclass chooses which and writes them.

    Attributes:
        before: Held-out errors before the first step: "true" and, with out-of-fold predictions, "predicted".
        base: Hash of the U-Net as it was loaded.
        trained: Trained parameters by their name in the U-Net.
    """

    def __init__(self, decoder: DecoderConfig, training: TuningConfig) -> None:
        """Remember the recipe.

        Args:
            decoder: Which model is trained further.
            training: How.
        """
        super().__init__()
        self.decoder_config, self.training_config = decoder, training
        # Only what is trained is in a checkpoint: the rest is the decoder's, and large.
        self.strict_loading = False
        self.decoder: UnclipDecoder | None = None
        self.trained: dict[str, nn.Parameter] = {}
        self.before: dict[str, float] = {}
        self.base = ""
        self.diffusion: Any = None

    def loaded(self) -> UnclipDecoder:
        """Give the decoder, loaded once.

        Raises:
            UsageError: Its family has no U-Net to train, or a LoRA is named for it.
        """
        if self.decoder is None:
            from diffusers import DDPMScheduler

            config = self.decoder_config
            if config.family not in FAMILIES:
                raise UsageError(f"--model.decoder.family is {' or '.join(FAMILIES)} here, not {config.family}")
            if config.lora is not None:
                raise UsageError("--model.decoder.lora is for predict; here a U-Net is trained as it was published")
            decoder = load_decoder(config)
            assert isinstance(decoder, UnclipDecoder)
            self.base = weights_hash(decoder.unet)
            decoder.unet.to(memory_format=torch.channels_last)
            self.diffusion = DDPMScheduler.from_config(decoder.schedule)
            self.decoder = decoder
        return self.decoder

    @property
    def data(self) -> TuningPairDataModule:
        """The data module of the running trainer.

        Raises:
            UsageError: It is of another class.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, TuningPairDataModule):
            raise UsageError(f"{type(self).__name__} needs data of class TuningPairDataModule")
        return data

    @property
    def told_space(self) -> EmbeddingSpace:
        """Space of the embeddings that the U-Net is told."""
        return self.data.space

    @abstractmethod
    def prepare_unet(self, decoder: UnclipDecoder) -> Iterable[tuple[str, nn.Parameter]]:
        """Change the U-Net and name the parameters to train.

        Args:
            decoder: Frozen, as loaded; changed in place.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """List what a checkpoint must agree in, plain types."""

    @abstractmethod
    def write(self, errors: dict[str, float]) -> None:
        """Write what was trained, with the averaged weights in place.

        Args:
            errors: Held-out errors, as :attr:`before`.
        """

    def configure_model(self) -> None:
        """Put the trained weights in, once."""
        if self.trained:
            return
        decoder = self.loaded()
        # Reproducible whatever was drawn before, the latents of a first run for instance.
        torch.manual_seed(sample_seed(run_seed(), 0, _STREAM))
        self.trained = dict(self.prepare_unet(decoder))
        for number, parameter in enumerate(self.trained.values()):
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
            self.register_buffer(f"average_{number}", parameter.detach().clone())
        if self.training_config.gradient_checkpointing:
            decoder.unet.enable_gradient_checkpointing()

    def setup(self, stage: str) -> None:
        """Refuse several devices, which would all see the same pictures.

        Args:
            stage: Lightning's stage.

        Raises:
            UsageError: More than one device.
        """
        # What is frozen stays in evaluation mode on purpose.
        warnings.filterwarnings("ignore", message="Found .* in eval mode at the start of training")
        if self.trainer.world_size > 1:
            raise UsageError("a decoder is trained further on one device, every rank would see the same: devices 1")

    def told(self, embeddings: Tensor, predicted: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
        """Build the U-Net's class input as predict does.

        Args:
            embeddings: Raw, float32 (n, dim).
            predicted: bool (n,); of those the level is told and not added.
            levels: Noise levels of the others, int64 (n,), 0..999.
            noise: Standard normal (n, dim).

        Returns:
            float32 (n, 2 dim).
        """
        decoder = self.loaded()
        parts = (decoder.normalizer, decoder.noising)
        true = noised_condition(embeddings, noise, levels, *parts)
        level = self.training_config.predicted_noise_level
        as_predicted = noised_condition(embeddings, noise, level, *parts, "label_only")
        return torch.where(predicted[:, None], as_predicted, true)

    def error(self, latents: Tensor, condition: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Mean squared error of what the U-Net predicts, in the decoder's own parametrisation.

        Args:
            latents: Clean, (n, channels, side, side).
            condition: Class input (n, width).
            noise: Standard normal, as latents.
            times: Time steps, int64 (n,).

        Raises:
            BadInputError: The decoder's schedule has a prediction type that is not known.
        """
        decoder, kind = self.loaded(), self.diffusion.config.prediction_type
        noised = self.diffusion.add_noise(latents, noise, times).contiguous(memory_format=torch.channels_last)
        if kind == "epsilon":
            wanted = noise
        elif kind == "v_prediction":
            wanted = self.diffusion.get_velocity(latents, noise, times)
        elif kind == "sample":
            wanted = latents
        else:
            raise BadInputError(f"the decoder's schedule predicts {kind!r}; epsilon, v_prediction and sample are known")
        text = None if decoder.text is None else decoder.text.expand(len(latents), -1, -1)
        with plain_attention_on_cpu(latents.device):
            predicted = decoder.unet(
                noised, times, encoder_hidden_states=text, class_labels=condition, return_dict=False
            )[0]
        return functional.mse_loss(predicted.float(), wanted)

    def training_step(self, batch: ToldPair, batch_idx: int) -> Tensor:
        """Error of one batch at random times and noise levels.

        Args:
            batch: Latents, raw embeddings, and which of these are predictions.
            batch_idx: Not used.
        """
        latents, embeddings, predicted = batch
        config, n, device = self.training_config, len(latents), latents.device
        # Batches of one step, where gradients are accumulated, must not share their noise.
        part = batch_idx % self.trainer.accumulate_grad_batches
        torch.manual_seed(sample_seed(run_seed(), self.global_step, _STREAM + part))
        levels = torch.randint(0, config.max_noise_level + 1, (n,), device=device)
        condition = self.told(embeddings, predicted, levels, torch.randn_like(embeddings))
        kept = torch.rand(n, device=device) >= config.condition_dropout
        times = torch.randint(0, len(self.diffusion.betas), (n,), device=device)
        loss = self.error(latents, condition * kept[:, None], torch.randn_like(latents), times)
        self.log("train_loss", loss, batch_size=n)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the average.

        Args:
            *args: As Lightning passes them.
            **kwargs: As Lightning passes them.
        """
        super().optimizer_step(*args, **kwargs)
        current = [parameter.detach() for parameter in self.trained.values()]
        if self.training_config.ema_decay:
            move_averages(self._averages(), current, self.global_step, self.training_config.ema_decay)

    def _averages(self) -> list[Tensor]:
        return [getattr(self, f"average_{number}") for number in range(len(self.trained))]

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Hold the averaged weights in the U-Net inside the block."""
        if not self.training_config.ema_decay:
            yield
            return
        parameters = list(self.trained.values())
        kept = [parameter.detach().clone() for parameter in parameters]
        with torch.no_grad():
            for parameter, average in zip(parameters, self._averages(), strict=True):
                parameter.copy_(average)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, own in zip(parameters, kept, strict=True):
                    parameter.copy_(own)

    @torch.no_grad()
    def heldout_errors(self) -> dict[str, float]:
        """Errors on held-out pictures, on the same noise and times in every call.

        Returns:
            "true", from true embeddings without noise, and "predicted" where out-of-fold predictions are named.
        """
        sources = {"true": self.data.val_dataloader(), "predicted": self.data.predicted_batches()}
        was_training = [module for module in self.modules() if module.training]
        self.eval()
        with self.averaged():
            found = {name: self._mean_error(batches) for name, batches in sources.items() if batches is not None}
        for module in was_training:
            module.training = True
        return found

    def _mean_error(self, batches: Iterable[ToldPair]) -> float:
        total, n = 0.0, 0
        for seed, (latents, embeddings, predicted) in enumerate(batch for batch in batches for _ in range(_DRAWS)):
            generator = torch.Generator().manual_seed(seed)
            like = (embeddings, latents)
            of_embeddings, of_latents = (torch.randn(x.shape, generator=generator).to(x) for x in like)
            times = torch.randint(0, len(self.diffusion.betas), (len(latents),), generator=generator)
            levels = torch.zeros(len(latents), dtype=torch.long, device=latents.device)
            with self.trainer.precision_plugin.forward_context():
                condition = self.told(embeddings, predicted, levels, of_embeddings)
                error = self.error(latents, condition, of_latents, times.to(latents.device))
            total, n = total + float(error) * len(latents), n + len(latents)
        return total / n

    def on_fit_start(self) -> None:
        """Measure what there is to improve on; a resumed run has it from its checkpoint."""
        self.before = self.before or self.heldout_errors()

    def validation_step(self, batch: ToldPair, batch_idx: int) -> None:
        """Log the held-out errors, before training and now, once for all batches.

        Args:
            batch: Not used; all batches are taken again.
            batch_idx: Only the first one acts.
        """
        if batch_idx:
            return
        now = self.heldout_errors()
        names = {"true": "val_loss", "predicted": "val_loss_predicted"}
        self.log_dict({names[key]: value for key, value in now.items()}, batch_size=1, prog_bar=True)
        self.log_dict({f"{names[key]}_base": value for key, value in self.before.items()}, batch_size=1)

    def on_train_end(self) -> None:
        """Write what was trained, unless the fit was cut short."""
        if is_complete(self.trainer):
            errors = self.heldout_errors()
            with self.averaged():
                self.write(errors)

    def configure_optimizers(self) -> Any:
        """AdamW; warm-up, constant rate, linear decay to zero at the end."""
        config = self.training_config
        optimizer = torch.optim.AdamW(self.trained.values(), lr=config.lr, weight_decay=config.weight_decay)

        def factor(step: int) -> float:
            return min(
                warm_up(step, config.warmup_steps), late_fall(run_progress(self.trainer, step), config.decay_from)
            )

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _names(self) -> set[str]:
        mine = {id(parameter) for parameter in self.trained.values()}
        named = {name for name, parameter in self.named_parameters() if id(parameter) in mine}
        return named | {f"average_{number}" for number in range(len(self.trained))}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was trained and what it belongs to.

        Args:
            checkpoint: Changed in place.
        """
        kept = self._names()
        checkpoint["state_dict"] = {name: value for name, value in checkpoint["state_dict"].items() if name in kept}
        checkpoint[_RECORD] = {"base": self.base, "before": self.before, "settings": self.settings()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with another decoder or other settings.

        Args:
            checkpoint: As read.

        Raises:
            BadInputError: It is of another run.
        """
        stored = checkpoint.get(_RECORD, {})
        here = {"base": self.base, "settings": self.settings()}
        if any(stored.get(key) != value for key, value in here.items()) or set(checkpoint["state_dict"]) != (
            self._names()
        ):
            raise BadInputError(
                "--ckpt_path is of another decoder or other settings; give those it was trained with, or leave it out"
            )
        self.before = dict(stored["before"])
