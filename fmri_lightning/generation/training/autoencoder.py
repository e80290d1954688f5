"""The mini generator's autoencoder: 64 px pictures to 8 x 8 x 16 latents and back.

A small ``AutoencoderKL``, trained as Stable Diffusion's was (Rombach et al. 2022) but for the adversary: on
pixels, edges, and on what an ImageNet network sees. Trained on pixels alone it kept layout and colour but
lost what objects are made of: a judge told restored photographs apart by content no better than 79 of 100.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional

from fmri_lightning.embeddings.distillation_schedule import cosine_fall, run_progress, warm_up
from fmri_lightning.generation.training.perceptual import PerceptualDistance
from fmri_lightning.generation.training.pictures import PictureDataModule, from_unit, to_unit


class AutoencoderModule(L.LightningModule):
    """Trains an ``AutoencoderKL`` on L1, gradients, a perceptual distance and a small KL term."""

    def __init__(
        self,
        channels: tuple[int, ...] = (32, 64, 96, 128),
        latent_channels: int = 16,
        picture_px: int = 64,
        norm_groups: int = 16,
        kl_weight: float = 5e-4,
        gradient_weight: float = 1.0,
        perceptual: str | None = None,
        perceptual_weight: float = 0.5,
        perceptual_px: int = 128,
        lr: float = 1e-3,
        warmup_steps: int = 100,
    ) -> None:
        """Set up the networks.

        Args:
            channels: width of each resolution; every step but the first halves the side.
            latent_channels: channels of the latents.
            picture_px: side of a picture, in pixels.
            norm_groups: groups of the group norms; a divisor of every width.
            kl_weight: weight of the KL divergence per latent number.
            gradient_weight: weight of the L1 error of horizontal and vertical differences, which keeps edges.
            perceptual: network of the perceptual term, efficientnet-lite0 or efficientnet-lite2; null for none.
            perceptual_weight: weight of that term.
            perceptual_px: side to which that network sees pictures enlarged, in pixels.
            lr: peak learning rate.
            warmup_steps: steps of linear warm-up; the rate falls along a cosine to the end of the run.
        """
        super().__init__()
        self.save_hyperparameters()
        self._perceptual: PerceptualDistance | None = None
        self.vae = _autoencoder(channels, latent_channels, picture_px, norm_groups)

    def on_fit_start(self) -> None:
        """Load the network of the perceptual term."""
        hp = self.hparams
        if hp["perceptual"] is not None:
            self._perceptual = PerceptualDistance(hp["perceptual"], hp["perceptual_px"], self.device)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Loss of one batch.

        Args:
            batch: uint8 (n, size, size, 3).
            batch_idx: not used.
        """
        pictures = to_unit(batch)
        posterior = self.vae.encode(pictures).latent_dist
        restored = self.vae.decode(posterior.sample()).sample.float()
        pixel = functional.l1_loss(restored, pictures)
        loss: Tensor = (
            pixel
            + self.hparams["gradient_weight"] * gradient_error(restored, pictures)
            + self.hparams["kl_weight"] * posterior.kl().mean() / posterior.mean[0].numel()
        )
        parts = {"train_l1": pixel}
        if self._perceptual is not None:
            parts["train_perceptual"] = self._perceptual(restored, pictures)
            loss = loss + self.hparams["perceptual_weight"] * parts["train_perceptual"]
        self.log_dict({"train_loss": loss, **parts}, batch_size=len(batch))
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Log the error of held-out pictures, in grey levels (0..255), and their PSNR (dB).

        Args:
            batch: uint8 (n, size, size, 3).
            batch_idx: not used.
        """
        error_grey, psnr_db = restoration_error(self.restore(batch), batch)
        self.log_dict({"val_l1_grey": error_grey.mean(), "val_psnr_db": psnr_db.mean()}, batch_size=len(batch))

    def _heldout_figures(self, data: PictureDataModule) -> tuple[float, float]:
        """Error in grey levels and PSNR in dB over all held-out pictures, with the weights that ship."""
        parts = (part.to(self.device) for part in data.val_dataloader())
        found = [restoration_error(self.restore(part), part) for part in parts]
        error_grey, psnr_db = (torch.cat(parts).mean() for parts in zip(*found, strict=True))
        return float(error_grey), float(psnr_db)

    def restore(self, pictures: Tensor) -> Tensor:
        """Encode and decode pictures, uint8 (n, size, size, 3) to the same."""
        latents = self.vae.encode(to_unit(pictures)).latent_dist.mode()
        return from_unit(self.vae.decode(latents).sample)

    def configure_optimizers(self) -> Any:
        """AdamW with linear warm-up and cosine decay."""
        optimizer = torch.optim.AdamW(self.vae.parameters(), lr=self.hparams["lr"], betas=(0.9, 0.99))

        def factor(step: int) -> float:
            return min(warm_up(step, self.hparams["warmup_steps"]), cosine_fall(run_progress(self.trainer, step)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @torch.no_grad()
    def export(self, folder: Path) -> dict[str, str]:
        """Write the autoencoder in float16; its scaling factor gives training latents unit scale.

        Args:
            folder: an existing empty folder.

        Returns:
            Lines of the model card.
        """
        self.eval()
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, PictureDataModule)
        parts = data.training_sample(2048).to(self.device).split(256)
        latents = torch.cat([self.vae.encode(to_unit(part)).latent_dist.mode() for part in parts])
        self.vae.register_to_config(scaling_factor=float(1.0 / latents.std()))
        self.vae.half().save_pretrained(folder)
        self.vae.float()
        error_grey, psnr_db = self._heldout_figures(data)
        return {
            "parameters": f"{sum(p.numel() for p in self.vae.parameters()):,}",
            "scaling factor": f"{self.vae.config.scaling_factor:.4f}",
            "held-out error": f"{error_grey:.2f} grey levels, PSNR {psnr_db:.1f} dB",
        }


def restoration_error(restored: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute error (grey levels) and PSNR (dB) of each picture.

    Args:
        restored: uint8 (n, size, size, 3).
        pictures: the same shape.

    Returns:
        Two float32 (n,).
    """
    error = restored.float() - pictures.float()
    psnr_db = -10 * torch.log10(error.square().mean((1, 2, 3)) / 255.0**2)
    return error.abs().mean((1, 2, 3)), psnr_db


def gradient_error(restored: Tensor, pictures: Tensor) -> Tensor:
    """Mean absolute error of neighbouring differences, averaged over two scales.

    Args:
        restored: (n, 3, height, width).
        pictures: the same shape.

    Example:
        >>> flat = torch.zeros(1, 3, 4, 4)
        >>> float(gradient_error(flat + 1.0, flat))
        0.0
    """
    total = restored.new_zeros(())
    for scale in (1, 2):
        error = functional.avg_pool2d(restored - pictures, scale)
        total = total + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return total / 2


def _autoencoder(channels: tuple[int, ...], latent_channels: int, picture_px: int, norm_groups: int) -> Any:
    from diffusers import AutoencoderKL

    vae: Any = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=tuple(channels),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=norm_groups,
        sample_size=picture_px,
        mid_block_add_attention=False,
    )
    return vae.to(memory_format=torch.channels_last)
