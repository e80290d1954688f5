"""Training of an unCLIP generator in latent space, conditioned on one image embedding.

The condition is built exactly as ``StableUnCLIPImg2ImgPipeline`` builds it at inference: the embedding is
standardised, noised at a random level by a squared-cosine schedule, brought back to its scale, and joined
by a sinusoid of the level; guidance needs the unconditional case, so the whole vector is zeroed at random
(Ramesh et al. 2022; Rombach et al. 2022). v-prediction (Salimans & Ho 2022) with a schedule that ends at
zero signal (Lin et al. 2024).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import AveragedModel

from fmri_lightning.embeddings.distillation_schedule import late_fall, run_progress, warm_up
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.training.export import write_pipeline
from fmri_lightning.generation.training.pairs import Pair, PairData

N_TRAIN_TIMESTEPS = 1000


class GeneratorModule(L.LightningModule):
    """Trains the U-Net of an unCLIP generator; the averaged weights are what ships."""

    embedding_mean: Tensor
    embedding_std: Tensor

    def __init__(
        self,
        dim: int = 1024,
        channels: tuple[int, ...] = (160, 192),
        attention: tuple[bool, ...] | None = None,
        layers_per_block: int = 1,
        head_dim: int = 32,
        latent_channels: int = 16,
        latent_side: int = 8,
        initial: str | None = None,
        lr: float = 4e-4,
        warmup_steps: int = 200,
        decay_from: float = 0.7,
        ema_decay: float = 0.995,
        condition_dropout: float = 0.1,
        max_noise_level: int = 350,
    ) -> None:
        """Set up the network.

        Args:
            dim: width of the embedding.
            channels: width of each resolution of the U-Net; each must be divisible by 32.
            attention: whether each resolution has self-attention; null for all of them.
            layers_per_block: residual layers of each resolution.
            head_dim: width of an attention head.
            latent_channels: channels of the latents; pixels two by two have 12.
            latent_side: height and width of the latents, in latent pixels.
            initial: ``unet`` folder of an earlier run's export to start from; null starts from nothing.
            lr: learning rate after warm-up.
            warmup_steps: steps of linear warm-up.
            decay_from: share of the run after which the rate falls linearly to zero.
            ema_decay: decay of the averaged weights per step.
            condition_dropout: share of samples whose condition is zeroed.
            max_noise_level: highest noise level of the embedding, of 1000.
        """
        super().__init__()
        # A resumed run has its weights from the checkpoint and must not ask for the folder again.
        self.save_hyperparameters(ignore=["initial"])
        self.started_from = initial
        levels = (True,) * len(channels) if attention is None else tuple(attention)
        shape = (tuple(channels), levels, layers_per_block, head_dim, latent_channels, latent_side)
        self.unet: Any = build_unet(dim, *shape)
        if initial is not None:
            start_from(self.unet, Path(initial))
        self.ema = AveragedModel(self.unet, multi_avg_fn=partial(move_averages, decay=ema_decay))
        self.ema.requires_grad_(False)
        self.register_buffer("embedding_mean", torch.zeros(dim))
        self.register_buffer("embedding_std", torch.ones(dim))
        self.diffusion: Any = DDPMScheduler(**schedule_config())
        self.noising: Any = DDPMScheduler(beta_schedule="squaredcos_cap_v2", num_train_timesteps=N_TRAIN_TIMESTEPS)

    def _data(self) -> PairData:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, PairData)
        return data

    def setup(self, stage: str) -> None:
        """Refuse data of another shape, before anything is written.

        Args:
            stage: fit or validate.

        Raises:
            UsageError: embeddings or latents have other shapes than the network.
        """
        pairs, hp = self._data().pairs, self.hparams
        given = (pairs["train_embeddings"].shape[1], *pairs["train_latents"].shape[1:])
        wanted = (hp["dim"], hp["latent_channels"], hp["latent_side"], hp["latent_side"])
        if given != wanted:
            dim, channels, side = given[:3]
            raise UsageError(
                f"data has {dim}-D embeddings and latents {given[1:]}, the network {wanted[0]}-D and {wanted[1:]}; "
                f"set --model.dim {dim} --model.latent_channels {channels} --model.latent_side {side}"
            )

    def on_fit_start(self) -> None:
        """Take the embeddings' statistics from the training pictures."""
        embeddings = self._data().train_embeddings()
        self.embedding_mean.copy_(embeddings.mean(0))
        self.embedding_std.copy_(embeddings.std(0).clamp_min(1e-4))

    def condition(self, embeddings: Tensor, levels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Build the U-Net's class input as unCLIP does.

        Args:
            embeddings: raw, float32 (n, dim).
            levels: noise levels, int64 (n,), 0..999.
            generator: of the noise; None takes the global one.

        Returns:
            float32 (n, 2 dim): noised embedding, then the sinusoid of its level.
        """
        mean, std = self.embedding_mean, self.embedding_std
        standard = (embeddings - mean) / std
        noise = _normal(standard, generator)
        noised = self.noising.add_noise(standard, noise, levels) * std + mean
        sinusoid = get_timestep_embedding(levels, embeddings.shape[1], flip_sin_to_cos=True, downscale_freq_shift=0)
        return torch.cat([noised, sinusoid.to(noised)], dim=1)

    def training_step(self, batch: Pair, batch_idx: int) -> Tensor:
        """Error of the predicted velocity for one batch.

        Args:
            batch: latents (n, channels, side, side) and raw embeddings (n, dim).
            batch_idx: not used.
        """
        latents, embeddings = batch
        n, device = len(latents), latents.device
        levels = torch.randint(0, self.hparams["max_noise_level"] + 1, (n,), device=device)
        condition = self.condition(embeddings, levels)
        kept = torch.rand(n, device=device) >= self.hparams["condition_dropout"]
        with plain_attention_on_cpu(device):
            loss = self._velocity_error(self.unet, latents, condition * kept[:, None])
        self.log("train_loss", loss, batch_size=n)
        return loss

    def _velocity_error(
        self, unet: Any, latents: Tensor, condition: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        noise = _normal(latents, generator)
        drawn_on = latents.device if generator is None else "cpu"
        times = torch.randint(0, N_TRAIN_TIMESTEPS, (len(latents),), generator=generator, device=drawn_on)
        times = times.to(latents.device)
        noised = self.diffusion.add_noise(latents, noise, times).contiguous(memory_format=torch.channels_last)
        predicted = unet(noised, times, None, class_labels=condition, return_dict=False)[0]
        return functional.mse_loss(predicted.float(), self.diffusion.get_velocity(latents, noise, times))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the average; later hooks run after a checkpoint has been written.

        Args:
            *args: as Lightning passes them.
            **kwargs: as Lightning passes them.
        """
        super().optimizer_step(*args, **kwargs)
        self.ema.update_parameters(self.unet)

    def validation_step(self, batch: Pair, batch_idx: int) -> None:
        """Log the averaged weights' error on held-out pictures, with and without their embedding.

        Args:
            batch: as in training.
            batch_idx: seeds the noise, so that epochs can be compared.
        """
        latents, embeddings = batch
        error, blind = self._errors(latents, embeddings, batch_idx)
        self.log_dict({"val_loss": error, "val_loss_unconditional": blind}, batch_size=len(latents))

    def _errors(self, latents: Tensor, embeddings: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Error of the averaged weights with and without the embedding, on the same noise."""
        levels = torch.zeros(len(latents), dtype=torch.long, device=latents.device)
        condition = self.condition(embeddings, levels, torch.Generator().manual_seed(seed))
        error, blind = (
            self._velocity_error(self.ema, latents, used, torch.Generator().manual_seed(seed))
            for used in (condition, torch.zeros_like(condition))
        )
        return error, blind

    def _heldout_errors(self) -> tuple[float, float]:
        """Both errors over all held-out pictures, with the weights that ship."""
        batches = self._data().val_dataloader()
        found = [(len(pair[0]), *self._errors(*pair, seed)) for seed, pair in enumerate(batches)]
        n = sum(size for size, _, _ in found)
        return sum(size * float(e) for size, e, _ in found) / n, sum(size * float(b) for size, _, b in found) / n

    def configure_optimizers(self) -> Any:
        """AdamW; warm-up, constant rate, linear decay to zero at the end."""
        parameters, lr = self.unet.parameters(), self.hparams["lr"]
        optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.99), weight_decay=0.01)
        start, warmup = float(self.hparams["decay_from"]), int(self.hparams["warmup_steps"])

        def factor(step: int) -> float:
            return min(warm_up(step, warmup), late_fall(run_progress(self.trainer, step), start))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @torch.no_grad()
    def export(self, folder: Path) -> dict[str, str]:
        """Write a complete ``StableUnCLIPImg2ImgPipeline`` folder in float16.

        Args:
            folder: an existing empty folder.

        Returns:
            Lines of the model card.
        """
        data = self._data()
        write_pipeline(
            folder,
            unet=self.ema.module,
            vae=data.vae,
            space=data.space,
            mean=self.embedding_mean.cpu(),
            std=self.embedding_std.cpu(),
            scheduler=schedule_config(),
        )
        error, blind = self._heldout_errors()
        seen = self.trainer.global_step * data.batch_size
        shape = " x ".join(str(n) for n in data.pairs["train_latents"].shape[1:])
        started = {} if self.started_from is None else {"started from": "the averaged weights of an earlier run"}
        return started | {
            "parameters of the U-Net": f"{sum(p.numel() for p in self.unet.parameters()):,}",
            "draws": f"{shape} of {type(data.vae).__name__}, from {self.hparams['dim']}-D {data.space.name} embeddings",
            "training pictures": f"{len(data.pairs['train_latents']):,}, {seen:,} seen",
            "held-out velocity error": f"{error:.4f} (without the embedding {blind:.4f})",
        }


def plain_attention_on_cpu(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU the fused attention's backward pass makes a whole step of 64 tokens an eighth slower.

    Args:
        device: of the network.
    """
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


@torch.no_grad()
def move_averages(averaged: list[Tensor], current: list[Tensor], n_averaged: Tensor | int, decay: float) -> None:
    """Exponential moving average with a short memory at first, so that the random start is soon forgotten.

    Args:
        averaged: the averages so far, changed in place.
        current: the newest values, same shapes.
        n_averaged: values averaged so far; read once, because reading it waits for the device.
        decay: weight of the past in the long run.

    Example:
        >>> average = [torch.tensor(0.0)]
        >>> move_averages(average, [torch.tensor(1.0)], 8, decay=0.99)
        >>> float(average[0])
        0.5
    """
    n = float(n_averaged)
    past = min(decay, (1.0 + n) / (10.0 + n))
    torch._foreach_lerp_(averaged, current, 1.0 - past)


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers: a seeded generator is the CPU's, so that they are the same on every device."""
    if generator is None:
        return torch.randn_like(like)
    return torch.randn(like.shape, generator=generator).to(like)


def schedule_config() -> dict[str, Any]:
    """Noise schedule of training and sampling: scaled-linear betas rescaled to end at zero signal."""
    return {
        "num_train_timesteps": N_TRAIN_TIMESTEPS,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "clip_sample": False,
    }


def start_from(unet: Any, folder: Path) -> None:
    """Put an earlier run's averaged weights into a U-Net: how a training goes on on another machine.

    Args:
        unet: the U-Net, changed in place.
        folder: ``unet`` folder in diffusers format, safetensors.

    Raises:
        BadInputError: no U-Net there, or one of another shape.
    """
    try:
        found: Any = UNet2DConditionModel.from_pretrained(folder, use_safetensors=True, local_files_only=True)
        unet.load_state_dict(found.float().state_dict())
    except (OSError, ValueError, RuntimeError) as error:
        line = " ".join(str(error).split())[:200]
        raise BadInputError(
            f"--model.initial {folder} holds no U-Net of this recipe's shape: {line}; to resume, leave it out"
        ) from error


def build_unet(
    dim: int,
    channels: tuple[int, ...],
    attention: tuple[bool, ...],
    layers_per_block: int,
    head_dim: int,
    latent_channels: int,
    latent_side: int,
) -> Any:
    """Build a U-Net without cross-attention whose class input is (embedding, noise level).

    Args:
        dim: width of the embedding.
        channels: width of each resolution.
        attention: whether each resolution has self-attention.
        layers_per_block: residual layers of each resolution.
        head_dim: width of an attention head.
        latent_channels: channels of the latents.
        latent_side: height and width of the latents.

    Raises:
        UsageError: ``attention`` does not name every resolution.
    """
    if len(attention) != len(channels):
        raise UsageError(f"attention names {len(attention)} resolutions, channels {len(channels)}")
    unet: Any = UNet2DConditionModel(
        sample_size=latent_side,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=tuple("AttnDownBlock2D" if attends else "DownBlock2D" for attends in attention),
        mid_block_type="UNetMidBlock2D",
        up_block_types=tuple("AttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(attention)),
        block_out_channels=channels,
        layers_per_block=layers_per_block,
        attention_head_dim=head_dim,
        norm_num_groups=32,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * dim,
        resnet_time_scale_shift="scale_shift",
        cross_attention_dim=32,
    )
    return unet.to(memory_format=torch.channels_last)
