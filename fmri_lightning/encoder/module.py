"""Encoders as LightningModules: what all share, and the ridge, which is solved and not trained."""

from __future__ import annotations

import re
from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch import Tensor, nn

from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.encoder.base import EmbeddingModule
from fmri_lightning.encoder.batches import run_seed
from fmri_lightning.encoder.checkpoint import StageCheckpoint
from fmri_lightning.encoder.data import EncoderDataModule
from fmri_lightning.encoder.network import LinearMap
from fmri_lightning.encoder.out_of_fold import write_out_of_fold
from fmri_lightning.encoder.ridge import fit_ridge
from fmri_lightning.encoder.ridge_search import Scoring
from fmri_lightning.errors import UsageError

NAMES = re.compile(r"[a-z][a-z0-9_]*")
"""What a checkpoint's folder may be called."""


class EncoderModule(EmbeddingModule):
    """From preprocessed betas to raw CLIP embeddings; what ridge and network share."""

    kind = "encoder"

    @property
    def data(self) -> EncoderDataModule:
        """The data module of the running trainer."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, EncoderDataModule):
            raise UsageError(f"{type(self).__name__} needs data of class EncoderDataModule, got {type(data).__name__}")
        return data

    def checkpoint_path(self) -> Path:
        """Name the checkpoint file under the root of all checkpoints; that of a fold has a folder of its own."""
        whole, fold = self.path_of_whole(), self.data.held_out_fold
        return whole if fold is None else whole.parent / "folds" / f"{fold.part}of{fold.n_parts}" / whole.name

    def path_of_whole(self) -> Path:
        """Name the checkpoint that is fitted on all training pictures."""
        return self.root / self.name / self.data.subject / f"{self.name}.ckpt"

    @abstractmethod
    def map_description(self) -> dict[str, Any]:
        """Describe the map for :func:`~fmri_lightning.encoder.network.build_predictor`."""

    def describe(self) -> dict[str, Any]:
        """Describe map, space and use of repeats in plain types."""
        data = self.data
        return {
            "predictor": self.map_description(),
            "space": data.space.to_json(),
            "trial_mode": data.trial_mode,
            "train_mode": data.train_mode,
            "simulated": data.simulated,
        }

    def scored_rows(
        self, predicted: NDArray[np.float32], true: NDArray[np.float32], nsd_ids: NDArray[np.int32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
        """Average outputs over repeats where predict will do so."""
        if self.data.trial_mode != "average_outputs":
            return predicted, true, nsd_ids
        unique, mean = average_repeats(predicted, nsd_ids)
        # Repeats share their target: its mean is the target itself.
        return mean, average_repeats(true, nsd_ids)[1], unique

    @rank_zero_only
    def on_fit_end(self) -> None:
        """Write the report of the checkpoint that was kept, and out-of-fold predictions."""
        from fmri_lightning.encoder.report import tell_report, write_left_out

        checkpoint = self.trainer.checkpoint_callback
        if not isinstance(checkpoint, StageCheckpoint) or not Path(checkpoint.best_model_path).is_file():
            return
        kept = Path(checkpoint.best_model_path)
        settings = self.settings()
        tell_report(kept, self.data, settings)
        if self.data.held_out_fold is not None:
            print(write_left_out(kept, self.path_of_whole(), self.data, settings))

    def settings(self) -> dict[str, Any]:
        """Name the settings of the fit, plain types."""
        settings = {key: value for key, value in self.hparams.items() if key != "root" and not key.startswith("_")}
        settings |= {"seed": run_seed(), "epochs": self.trainer.current_epoch, "max_epochs": self.trainer.max_epochs}
        settings["steps"], settings["max_steps"] = self.trainer.global_step, self.trainer.max_steps
        for optimizer in self.trainer.optimizers:
            rates = {key: optimizer.defaults[key] for key in ("lr", "weight_decay") if key in optimizer.defaults}
            settings["optimizer"] = {"class": type(optimizer).__name__, **rates}
        return settings


class RidgeModule(EncoderModule):
    """Ridge regression: one exact solve when training starts, then one validation pass.

    Beside the checkpoint it leaves out-of-fold predictions of all training pictures, which cost nothing more.

    Args:
        alphas: Penalties to choose from; null takes 17 half decades up to 1000 times the mean eigenvalue of the data.
        alpha_per_target: Choose one alpha per embedding dimension instead of one for all.
        cv: Whose prediction alpha is chosen by: "stimulus" leaves out one picture at a time, a number that many folds
            of pictures; both exact, from one decomposition.
        scoring: "mse", pooled over dimensions; "r2", every dimension weighs the same; "cosine", centred.
        root: Folder of all checkpoints.
        name: Names checkpoint and runs: {root}/{name}/{subject}/{name}.ckpt; configs/encoder/low_level.yaml sets it.
    """

    name = "ridge"

    def __init__(
        self,
        alphas: list[float] | None = None,
        alpha_per_target: bool = False,
        cv: Literal["stimulus"] | int = "stimulus",
        scoring: Scoring = "mse",
        root: str = "checkpoints",
        name: str = "ridge",
    ) -> None:
        super().__init__(root)
        if NAMES.fullmatch(name) is None:
            raise UsageError(f"name is made of a-z, 0-9 and _; got {name!r}")
        self.save_hyperparameters()
        self.name = name
        self.automatic_optimization = False
        self.alphas, self.alpha_per_target, self.cv, self.scoring = alphas, alpha_per_target, cv, scoring
        # Nothing is trained, and DistributedDataParallel refuses a module without a parameter to train.
        self.for_ddp = nn.Parameter(torch.zeros(()))
        self._left_out: tuple[NDArray[np.integer], NDArray[np.float32]] | None = None

    def map_description(self) -> dict[str, Any]:
        """Describe the linear map."""
        return {"kind": "linear", "n_features": self.data.n_features, "n_outputs": len(self.data.target_mean)}

    def build(self) -> LinearMap:
        """Build the map with weights still zero."""
        return LinearMap(self.data.n_features, len(self.data.target_mean))

    def configure_optimizers(self) -> list[Any]:
        """Return nothing: no step is taken."""
        return []

    def on_train_start(self) -> None:
        """Solve on rank 0, alpha being chosen on training pictures alone, and tell the others."""
        data, predictor = self.data, self.predictor
        if not isinstance(predictor, LinearMap):
            raise RuntimeError("a ridge fills a linear map")
        if data.train_mode == "sampled":
            raise UsageError("ridge solves once for all trials: set data.train_mode to single or average")
        solved = self.trainer.strategy.broadcast(self._solve() if self.trainer.is_global_zero else None)
        assert solved is not None
        weights, intercept, self.fitted = solved
        predictor.weights.copy_(torch.from_numpy(weights))
        predictor.intercept.copy_(torch.from_numpy(intercept))
        for place, (alpha, r2) in enumerate(zip(self.fitted["alphas"], self.fitted["loo_r2"], strict=True)):
            for logger in self.loggers:
                logger.log_metrics({"ridge/log10_alpha": float(np.log10(alpha)), "ridge/cv_r2": r2}, step=place)

    def _solve(self) -> tuple[NDArray[np.float32], NDArray[np.float32], dict[str, Any]]:
        rows, device = self.data.train_rows(), self.trainer.strategy.root_device
        fit = fit_ridge(
            rows.features.numpy(),
            rows.targets.numpy(),
            rows.nsd_ids,
            self.alphas,
            self.alpha_per_target,
            cv=self.cv,
            scoring=self.scoring,
            # Alpha is chosen by what predict will do: errors of single trials, or of means over repeats.
            average_repeats=self.data.trial_mode != "single",
            keep_left_out=True,
            device=device if device.type == "cuda" else "cpu",
        )
        if fit.left_out is not None and fit.left_out_stimuli is not None:
            self._left_out = fit.left_out_stimuli, fit.left_out
        fitted = {
            "alpha": np.unique(fit.alpha).tolist(),
            "alphas": fit.alphas.tolist(),
            "loo_r2": fit.loo_r2.tolist(),
            "scores": fit.scores.tolist(),
            "form": fit.form,
            "dtype": fit.dtype,
            "at_edge": fit.at_edge,
        }
        return fit.weights.astype(np.float32), fit.intercept.astype(np.float32), fitted

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Do nothing: the weights are solved already."""

    @rank_zero_only
    def on_fit_end(self) -> None:
        """Write report and out-of-fold predictions; those of a fit that holds out a fold are of that fold."""
        super().on_fit_end()
        data, checkpoint = self.data, self.checkpoint_path()
        if self._left_out is None or data.held_out_fold is not None or not checkpoint.is_file():
            return
        ids, predictions = self._left_out
        write_out_of_fold(
            checkpoint, 1, 1, ids, predictions, data.space, data.inputs, self.name, data.subject, data.trial_mode
        )
