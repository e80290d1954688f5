"""Held-out pictures while a generator trains, drawn with the averaged weights that will ship."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler
from lightning.pytorch import LightningModule, Trainer

from fmri_lightning.errors import UsageError
from fmri_lightning.generation.panels.when import Panels
from fmri_lightning.generation.sampler import (
    Conditioning,
    SamplingOptions,
    decode_latents,
    denoise,
    draw_noise,
    make_scheduler,
    to_uint8,
)
from fmri_lightning.generation.training.generator import GeneratorModule, schedule_config
from fmri_lightning.generation.training.pairs import PairData
from fmri_lightning.seeding import sample_seed, torch_generator
from fmri_lightning.tracking.pictures import log_pictures, side_by_side

WORDS = ("autoencoder", "drawn")
"""What stands above the pictures: a held-out picture as the autoencoder gives it back, and what is drawn of it."""


class GeneratorPanels(Panels):
    """Logs ``val/panel``, a row of two pictures for each of the first held-out pictures.

    Args:
        trials: Held-out pictures, the first ones.
        every_n_epochs: Epochs between two panels; one more is drawn at the end.
        guidance_scale: As in predict.
        num_inference_steps: As in predict.
        scheduler: As in predict.
        seed: Seed of the pictures.
    """

    def __init__(
        self,
        trials: int = 8,
        every_n_epochs: int = 1,
        guidance_scale: float = 3.0,
        num_inference_steps: int = 10,
        scheduler: str = "unipc",
        seed: int = 42,
    ) -> None:
        super().__init__(trials, every_n_epochs, seed)
        self._sampling: dict[str, Any] = {
            "guidance_scale": guidance_scale,
            "num_inference_steps": num_inference_steps,
            "scheduler": scheduler,
        }

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Check module and data.

        Args:
            trainer: With data of pairs.
            module: The generator.

        Raises:
            UsageError: They are of another stage.
        """
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(module, GeneratorModule) or not isinstance(data, PairData):
            raise UsageError(f"GeneratorPanels go with a GeneratorModule and its pairs, not {type(module).__name__}")
        self.options = SamplingOptions(**self._sampling)

    def draw(self, trainer: Trainer, module: LightningModule) -> None:
        """Draw one panel.

        Args:
            trainer: Its loggers get it.
            module: The generator.
        """
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(module, GeneratorModule)
        device = module.device
        latents = data.pairs["heldout_latents"][: self.trials].to(device).float()
        embeddings = data.pairs["heldout_embeddings"][: self.trials].to(device).float()
        n = len(latents)
        levels = torch.zeros(n, dtype=torch.long, device=device)
        condition = module.condition(embeddings, levels, torch_generator(self.seed))
        generators = [torch_generator(sample_seed(self.seed, place)) for place in range(n)]
        noise = draw_noise(generators, tuple(latents.shape[1:])).to(device)
        as_shipped: Any = DDIMScheduler(**schedule_config(), set_alpha_to_one=True)
        scheduler = make_scheduler(self.options.scheduler, as_shipped.config)
        told = Conditioning(class_labels=torch.cat([torch.zeros_like(condition), condition]))
        drawn = denoise(module.ema.module, scheduler, noise, told, generators, self.options)
        vae = data.vae.to(device)
        columns = [to_uint8(decode_latents(vae, given)).cpu().numpy() for given in (latents, drawn)]
        rows = list(zip(*columns, strict=True))
        captions = [f"held-out picture {place}" for place in range(n)]
        log_pictures(
            trainer.loggers, "val/panel", lambda: [side_by_side(row, WORDS) for row in rows], captions,
            trainer.global_step,
        )  # fmt: skip
