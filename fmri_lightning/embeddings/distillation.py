"""Training of the mini image encoders: a small CLIP vision tower learns a teacher's embedding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fmri_lightning.embeddings.distillation_data import Batch, DistillationDataModule
from fmri_lightning.embeddings.distillation_neighbours import five_nearest_accuracy
from fmri_lightning.embeddings.distillation_schedule import cosine_fall, run_progress, warm_up
from fmri_lightning.embeddings.preprocess_images import CLIP_MEAN, CLIP_STD


class DistillationModule(L.LightningModule):
    """A ``CLIPVisionModelWithProjection`` trained to give a teacher's embedding of a picture.

    The loss is the mean squared error on targets standardised per dimension, plus one minus the
    cosine, plus one minus the cosine after the mean target is taken away (without it the shared
    mean vector makes any answer look good), as in the distillation of CLIP-like encoders.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        dim: int,
        hidden_size: int = 192,
        n_layers: int = 6,
        n_heads: int = 3,
        patch_px: int = 8,
        picture_px: int = 64,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        warmup_steps: int = 200,
    ) -> None:
        """Set up the student.

        Args:
            dim: width of the embedding.
            hidden_size: width of the transformer.
            n_layers: its depth.
            n_heads: attention heads.
            patch_px: side of a patch, in pixels.
            picture_px: side of a picture, in pixels.
            lr: peak learning rate.
            weight_decay: of matrices.
            warmup_steps: steps of linear warm-up; the rate falls along a cosine to the end of the run.
        """
        super().__init__()
        self.save_hyperparameters()
        self.student: Any = _student(dim, hidden_size, n_layers, n_heads, patch_px, picture_px)
        self.register_buffer("pixel_mean", torch.tensor(CLIP_MEAN)[:, None, None])
        self.register_buffer("pixel_std", torch.tensor(CLIP_STD)[:, None, None])
        self.register_buffer("target_mean", torch.zeros(dim))
        self.register_buffer("target_std", torch.ones(dim))
        self._heldout: list[tuple[Tensor, Tensor]] = []
        self.figures: dict[str, float] = {}

    def forward(self, pictures: Tensor) -> Tensor:
        """Embed pictures.

        Args:
            pictures: uint8 (n, size, size, 3).

        Returns:
            float32 (n, dim) raw embeddings.
        """
        x = pictures.permute(0, 3, 1, 2).float() / 255.0
        x = (x - self.pixel_mean) / self.pixel_std
        embeddings: Tensor = self.student(pixel_values=x).image_embeds
        return embeddings.float()

    def on_fit_start(self) -> None:
        """Take the targets' statistics from the training pictures."""
        targets = self._data().train_targets()
        self.target_mean.copy_(targets.mean(0))
        self.target_std.copy_(targets.std(0))

    def _data(self) -> DistillationDataModule:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, DistillationDataModule)
        return data

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch.

        Args:
            batch: uint8 pictures (n, size, size, 3) and float32 targets (n, dim).
            batch_idx: not used.
        """
        pictures, targets = batch
        loss = self._loss(self(pictures), targets)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(targets))
        return loss

    def _loss(self, predicted: Tensor, targets: Tensor) -> Tensor:
        mean, std = self.target_mean, self.target_std
        error = ((predicted - targets) / std).square().mean()
        cosine = functional.cosine_similarity(predicted, targets).mean()
        centred = functional.cosine_similarity(predicted - mean, targets - mean).mean()
        return error + (1 - cosine) + (1 - centred)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect held-out predictions.

        Args:
            batch: as in training.
            batch_idx: not used.
        """
        pictures, targets = batch
        self._heldout.append((self(pictures).cpu(), targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Log cosines between student and teacher on held-out scenes and photographs."""
        predicted, targets = (torch.cat(parts) for parts in zip(*self._heldout, strict=True))
        self._heldout.clear()
        photographs = torch.from_numpy(self._data().heldout_labels() >= 0)[: len(predicted)]
        mean = self.target_mean.cpu()
        for name, rows in (("scenes", ~photographs), ("photographs", photographs)):
            if rows.any():
                p, t = predicted[rows], targets[rows]
                centred = functional.cosine_similarity(p - mean, t - mean).mean()
                cosine = functional.cosine_similarity(p, t).mean()
                self.figures |= {f"{name}_centred": float(centred), f"{name}_cosine": float(cosine)}
        self.log_dict({f"val_{key}": value for key, value in self.figures.items()})

    def configure_optimizers(self) -> Any:
        """AdamW with linear warm-up and cosine decay; vectors are not decayed."""
        hp = self.hparams
        matrices = [p for p in self.student.parameters() if p.ndim >= 2]
        vectors = [p for p in self.student.parameters() if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": hp["weight_decay"]},
            {"params": vectors, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=hp["lr"], betas=(0.9, 0.98))

        def factor(step: int) -> float:
            return min(warm_up(step, hp["warmup_steps"]), cosine_fall(run_progress(self.trainer, step)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    @torch.no_grad()
    def export(self, folder: Path) -> dict[str, str]:
        """Write the encoder as a ``transformers`` folder in float16 and measure it.

        Args:
            folder: an existing empty folder.

        Returns:
            Lines of the model card.
        """
        data = self._data()
        assert data.train_pictures is not None
        assert data.heldout_pictures is not None
        self.eval()
        # What ships is float16, so that is what is measured.
        for parameter in self.student.parameters():
            parameter.copy_(parameter.half().float())
        train = self._embed(data.train_pictures.pictures)
        heldout = self._embed(data.heldout_pictures.pictures)
        five_nn = five_nearest_accuracy(train, data.train_pictures.labels, heldout, data.heldout_pictures.labels)
        self._heldout = [(torch.from_numpy(heldout), data.targets["heldout"].float())]
        figures = self._measure(train, heldout, five_nn)
        self.student.half().save_pretrained(folder)
        self.student.float()
        size = int(self.hparams["picture_px"])
        _write_preprocessor(folder / "preprocessor_config.json", size)
        return figures

    def _embed(self, pictures: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[Any]]:
        parts = torch.from_numpy(pictures).split(256)
        return torch.cat([self(part.to(self.device)).cpu() for part in parts]).numpy()

    def _measure(
        self,
        train: np.ndarray[Any, np.dtype[Any]],
        heldout: np.ndarray[Any, np.dtype[Any]],
        five_nn: float,
    ) -> dict[str, str]:
        data = self._data()
        predicted, targets = self._heldout.pop()
        photographs = torch.from_numpy(data.heldout_labels() >= 0)
        mean, target_mean = train.mean(0), self.target_mean.cpu()
        norms = np.linalg.norm(train, axis=1)
        lines = {"parameters": f"{sum(p.numel() for p in self.student.parameters()):,}"}
        lines["training pictures"] = f"{len(train):,} (photographs are mirrored too)"
        for name, rows in (("held-out scenes", ~photographs), ("held-out photographs", photographs)):
            if rows.any():
                p, t = predicted[rows], targets[rows]
                cosine = functional.cosine_similarity(p, t).mean()
                centred = functional.cosine_similarity(p - target_mean, t - target_mean).mean()
                lines[f"{name}, cosine with teacher"] = f"{cosine:.3f} (centred {centred:.3f})"
        teacher = data.teacher_five_nn
        lines["5-NN accuracy, held-out photographs"] = (
            f"{five_nn:.3f} (teacher {teacher:.3f}, share {five_nn / teacher:.2f})"
        )
        cosines = heldout @ mean / np.linalg.norm(heldout, axis=1) / np.linalg.norm(mean)
        low, middle, high = np.percentile(norms, [5, 50, 95])
        lines["mean-vector cosine, held-out"] = f"{cosines.mean():.3f}"
        lines["norm of raw embeddings (5, 50, 95 %)"] = f"{low:.1f}, {middle:.1f}, {high:.1f}"
        return lines


def _student(dim: int, hidden_size: int, n_layers: int, n_heads: int, patch_px: int, picture_px: int) -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        image_size=picture_px,
        patch_size=patch_px,
        projection_dim=dim,
    )
    return CLIPVisionModelWithProjection(config)


def _write_preprocessor(path: Path, size_px: int) -> None:
    config = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": size_px},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": size_px, "width": size_px},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
        "do_convert_rgb": True,
    }
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
