"""Pictures of validation trials while an adapter trains: what its embeddings draw beside what true ones do."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from fmri_lightning.adapter.data import AdapterDataModule
from fmri_lightning.embeddings.image_encoder import ImageEncoder
from fmri_lightning.embeddings.spaces import SPACES
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig, decoder_space, draws_from_embeddings, load_decoder, takes
from fmri_lightning.generation.nearest import nearest
from fmri_lightning.generation.panels.when import Panels
from fmri_lightning.generation.sampler import NoiseMode, SamplingOptions
from fmri_lightning.index.stimuli import open_stimuli
from fmri_lightning.index.table import index_manifest
from fmri_lightning.metrics.cosine import cosine
from fmri_lightning.records import require_same_space
from fmri_lightning.seeding import sample_seed
from fmri_lightning.tracking.pictures import log_pictures, side_by_side

WORDS = ("seen", "adapter", "true embedding", "nearest training")
"""What stands above the pictures of a trial; "true embedding" is the decoder's ceiling."""

Pictures = NDArray[np.uint8]


class AdapterPanels(Panels):
    """Logs ``val/panel``, a row of four pictures a trial, and ``val/clip_cos_recon`` where an image encoder is at hand.

    Args:
        decoder: Which model draws; any family that draws from embeddings.
        trials: Validation pictures, the first by id.
        every_n_epochs: Epochs between two panels; one more is drawn at the end.
        stimuli: Also show what was seen and the nearest training picture; false keeps stimuli, whose terms may not
            let you send them to a server, out of the panels.
        root: Data root with the pictures that were seen; null takes the one that the index names.
        image_encoder: Space name or folder of the image encoder behind ``val/clip_cos_recon``; null takes the one of
            the target space where it ships with this package, else leaves the score out.
        guidance_scale: As in predict.
        num_inference_steps: As in predict.
        noise_level: Steps of the noise schedule added to the embedding, 0..999, as in predict.
        noise_mode: As in predict.
        scheduler: As in predict.
        seed: Seed of the pictures.
    """

    def __init__(
        self,
        decoder: DecoderConfig,
        trials: int = 8,
        every_n_epochs: int = 25,
        stimuli: bool = True,
        root: str | None = None,
        image_encoder: str | None = None,
        guidance_scale: float = 5.0,
        num_inference_steps: int = 25,
        noise_level: int = 0,
        noise_mode: NoiseMode = "add",
        scheduler: str = "dpm++2m",
        seed: int = 42,
    ) -> None:
        super().__init__(trials, every_n_epochs, seed)
        self.config, self.stimuli, self.root, self.encoder_name = decoder, stimuli, root, image_encoder
        self._sampling: dict[str, Any] = {
            "guidance_scale": guidance_scale,
            "num_inference_steps": num_inference_steps,
            "noise_level": noise_level,
            "noise_mode": noise_mode,
            "scheduler": scheduler,
        }

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Open pictures and decoder, and choose the trials.

        Args:
            trainer: With an AdapterDataModule.
            module: The adapter; not used.

        Raises:
            UsageError: Other data, or a decoder without pictures of its own.
            BadInputError: Pictures or weights are missing, or the decoder reads another space.
        """
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, AdapterDataModule):
            raise UsageError(f"AdapterPanels go with an adapter's data, not {type(data).__name__}")
        if not draws_from_embeddings(self.config):
            raise UsageError(f"AdapterPanels draw from embeddings, which family {self.config.family} does not")
        if self._sampling["noise_level"] and not takes(self.config, "noise_level"):
            raise UsageError(f"family {self.config.family} knows no noise level; set noise_level of AdapterPanels to 0")
        self.options = SamplingOptions(**self._sampling)
        space = decoder_space(self.config)
        assert space is not None
        require_same_space(space, data.target_space, f"decoder {self.config.family}", "the adapter's target cache")
        root = self.root or index_manifest(data.index_root, data.subject).config.get("root")
        if root is None:
            raise UsageError("the index names no data root: give AdapterPanels the folder of the pictures as root")
        stimuli, pairs = open_stimuli(root=root), data.pairs("val")
        self.ids = pairs.nsd_ids[: self.trials]
        self.sources, self.targets = pairs.source[: self.trials], pairs.target[: self.trials]
        self.seen = stimuli.read(self.ids)
        self._train, self._stimuli = data.pairs("train"), stimuli
        self._ceiling: Pictures | None = None
        if trainer.is_global_zero:
            self._decoder: Any = load_decoder(self.config)
            self._encoder = self._open_encoder(data)

    def _open_encoder(self, data: AdapterDataModule) -> ImageEncoder | None:
        spec = SPACES.get(data.target_space.name)
        name = self.encoder_name or (spec.name if spec is not None and spec.packaged else None)
        if name is None:
            return None
        encoder = ImageEncoder.from_space(name)
        try:
            require_same_space(encoder.space, data.target_space, f"image encoder {name}", "the target cache")
        except BadInputError:
            if self.encoder_name is not None:
                raise
            return None  # a cache of another model under the same name
        return encoder

    def draw(self, trainer: Trainer, module: LightningModule) -> None:
        """Draw one panel.

        Args:
            trainer: Its loggers get it.
            module: The adapter, (n, n_source) to (n, n_target).
        """
        device = module.device
        predicted = module(self.sources.to(device)).float().cpu()
        self._decoder.to(device)
        drawn = self._pictures(predicted)
        if self._ceiling is None:
            self._ceiling = self._pictures(self.targets)
        self._decoder.to("cpu")
        neighbours, _ = nearest(predicted.numpy(), self._train.target.numpy(), self._train.nsd_ids)
        found = self._stimuli.read(neighbours)
        shown = slice(None) if self.stimuli else slice(1, 3)
        words = WORDS[shown]
        rows = list(zip(*(self.seen, drawn, self._ceiling, found)[shown], strict=True))
        embedding = cosine(predicted.numpy(), self.targets.numpy())
        captions = [f"nsd{i}, embedding cosine {c:.2f}" for i, c in zip(self.ids, embedding, strict=True)]
        if self._encoder is not None:
            scores = self._score(drawn, device)
            captions = [f"{text}, picture cosine {c:.2f}" for text, c in zip(captions, scores, strict=True)]
            for logger in trainer.loggers:
                logger.log_metrics({"val/clip_cos_recon": float(scores.mean())}, step=trainer.global_step)
        log_pictures(
            trainer.loggers, "val/panel", lambda: [side_by_side(row, words) for row in rows], captions,
            trainer.global_step,
        )  # fmt: skip

    def _pictures(self, embeddings: Tensor) -> Pictures:
        seeds = [sample_seed(self.seed, int(nsd_id)) for nsd_id in self.ids]
        pictures: Pictures = self._decoder.draw(embeddings, seeds, self.options).images.numpy()
        return pictures

    def _score(self, pictures: Pictures, device: torch.device) -> NDArray[np.float64]:
        assert self._encoder is not None
        vectors = self._encoder.to(device)(torch.from_numpy(pictures).to(device)).float().cpu().numpy()
        self._encoder.to("cpu")
        scores: NDArray[np.float64] = cosine(vectors, self.targets.numpy())
        return scores
