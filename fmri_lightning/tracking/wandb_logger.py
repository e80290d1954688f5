"""The W&B logger of fit, validate and predict; named in configs/logger/wandb.yaml."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.loggers.logger import _DummyExperiment, rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from fmri_lightning.tracking.keys import define_metrics
from fmri_lightning.tracking.runs import RunLabels, open_run, require_wandb


class WandbRunLogger(WandbLogger):
    """Logs to W&B with the project's names: group = subject, job type = stage, best values in the runs table.

    What is not given is taken from the run: its name from encoder and subject, its folder from where its results go.

    Args:
        project: W&B project; null takes WANDB_PROJECT, else "fmri-lightning".
        entity: Team or user; null takes WANDB_ENTITY, else the user's own.
        name: Name of the run; null makes one of encoder and subject.
        group: What runs are grouped by; null takes the subject.
        tags: Words to filter by, beside those of the stage; null adds none.
        notes: A sentence about the run; null says none.
        save_dir: Folder of the run's files; null takes WANDB_DIR, else the folder of the run's results.
        log_model: Also send checkpoints: true, false or "all". Off: weights fitted on restricted data stay at home.

    Raises:
        UsageError: wandb is not installed.
    """

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
        save_dir: str | None = None,
        log_model: bool | Literal["all"] = False,
    ) -> None:
        self.require()
        super().__init__(name=name, save_dir=save_dir, project=project, log_model=log_model)  # type: ignore[arg-type]
        self._given = {"project": project, "entity": entity, "notes": notes}
        self._group, self._tags = group, tuple(tags or ())
        self._held = False
        self._folder = Path(save_dir or ".")
        self._labels = RunLabels(name or "run", "fit", group, self._tags)
        self._config: dict[str, Any] | None = None

    @staticmethod
    def require() -> None:
        """Check that wandb is installed.

        Raises:
            UsageError: It is not.
        """
        require_wandb()

    def hold(self) -> None:
        """Open no run before :meth:`begin`: what is refused at its start leaves nothing behind."""
        self._held = True

    def begin(self, folder: Path, labels: RunLabels, config: dict[str, Any]) -> None:
        """Open the run.

        Args:
            folder: Where the results go.
            labels: What the stage calls itself; what the configuration names wins.
            config: The resolved configuration, nested plain types.
        """
        self._held = False
        if self._experiment is not None:
            return
        self._folder = self._folder if self._save_dir is not None else folder
        tags = tuple(dict.fromkeys((*labels.tags, *self._tags)))
        self._labels = RunLabels(self._name or labels.name, labels.job_type, self._group or labels.group, tags)
        self._config = config
        _ = self.experiment

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run of wandb, opened when first asked for; a dummy on every rank but the first."""
        if self._held:
            return _DummyExperiment()
        if self._experiment is None:
            self._experiment = open_run(self._folder, self._labels, self._config, **self._given)
            define_metrics(self._experiment, self._labels.job_type)
        return self._experiment

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log hyperparameters, where the resolved configuration does not hold them already.

        Args:
            params: What a module saved.
        """
        if not self._held and self._config is None:
            super().log_hyperparams(params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers; nothing before the run has begun.

        Args:
            metrics: Values by key.
            step: Optimiser step, logged as ``trainer/global_step``.
        """
        if not self._held:
            super().log_metrics(metrics, step)
