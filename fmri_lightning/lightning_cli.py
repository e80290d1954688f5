"""``fit``, ``validate`` and ``predict`` by LightningCLI, with its traps closed."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.trainer.states import TrainerFn

from fmri_lightning import __version__
from fmri_lightning.embeddings.packaged import packaged_path
from fmri_lightning.errors import UsageError
from fmri_lightning.manifest import atomic_path, versions
from fmri_lightning.precision import FrozenHalfPrecision, select_precision
from fmri_lightning.progress import LINE_EVERY_S, progress_line, quiet_lightning
from fmri_lightning.tracking.artifacts import log_outputs
from fmri_lightning.tracking.labels import labels_of, provenance_of
from fmri_lightning.tracking.runs import runs_finished
from fmri_lightning.tracking.tensorboard_logger import TensorBoardRunLogger
from fmri_lightning.tracking.wandb_logger import WandbRunLogger
from fmri_lightning.usage import OneLineErrors

STAGES = ("embeddings", "encoder", "adapter", "generation")
"""Packages whose classes a configuration may name without their module."""

DEFAULT_SEED = 42


class StageTrainer(Trainer):
    """Lightning's Trainer; half precision means the frozen generator only.

    Args:
        precision: As in Lightning. "16-true" and "bf16-true" cast only what a module lists as frozen;
            "auto" is that in float16 on CUDA and float32 elsewhere.
    """

    def __init__(self, *args: Any, precision: str | int | None = "auto", plugins: Any = None, **kwargs: Any) -> None:
        on_cuda = kwargs.get("accelerator", "auto") in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        selected = select_precision(precision, on_cuda)
        if isinstance(selected, FrozenHalfPrecision):
            given = [] if plugins is None else plugins if isinstance(plugins, list) else [plugins]
            plugins, selected = [*given, selected], None
        super().__init__(*args, precision=selected, plugins=plugins, **kwargs)  # type: ignore[arg-type]


class StageParser(OneLineErrors, LightningArgumentParser):
    """LightningCLI's parser with one-line errors and no abbreviated options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})


class SaveRunConfig(SaveConfigCallback):
    """Writes the configuration into the run's own folder, and hands it to the loggers, when the work starts.

    Lightning's writes to the log folder, where the second run of a shared folder dies, and before the
    modules have checked their inputs.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write nothing yet: a run that is refused leaves nothing behind."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write ``fit.yaml`` beside the checkpoints."""
        self._write(trainer, pl_module, "fit")
        self._tell_loggers(trainer, pl_module, "fit")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the loggers of a run that only validates."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._tell_loggers(trainer, pl_module, "validate")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write ``predict.yaml`` into the folder of the reconstructions."""
        self._write(trainer, pl_module, "predict")
        self._tell_loggers(trainer, pl_module, "predict")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write it at the end where there was nothing to draw: Lightning starts no prediction without batches."""
        folder = _run_folder(trainer, pl_module)
        written = folder is None or (folder / "predict.yaml").is_file()
        if stage == "predict" and not written:
            self._write(trainer, pl_module, "predict")

    def _write(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        folder = _run_folder(trainer, module)
        if folder is None or not trainer.is_global_zero or getattr(module, "dry_run", False):
            return
        with atomic_path(folder / f"{stage}.yaml") as temporary:
            self.parser.save(self.config, str(temporary), skip_none=False, overwrite=True, multifile=False)

    def _tell_loggers(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin the W&B run, and give every logger the whole configuration and what the run is made from."""
        if not trainer.loggers or not trainer.is_global_zero or getattr(module, "dry_run", False):
            return
        data = getattr(trainer, "datamodule", None)
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        config |= {**provenance_of(module, data), "versions": versions()}
        folder = _run_folder(trainer, module) or Path(trainer.default_root_dir)
        for logger in trainer.loggers:
            if isinstance(logger, WandbRunLogger):
                logger.begin(folder, labels_of(module, data, stage, folder), config)
            elif not isinstance(logger, CSVLogger):  # fit.yaml says it all
                logger.log_hyperparams(config)


def _run_folder(trainer: Trainer, module: LightningModule) -> Path | None:
    """Find the folder that belongs to this run alone."""
    for name in ("run_folder", "run_dir", "output_dir"):
        if getattr(module, name, None) is not None:
            return Path(getattr(module, name))
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is not None:
            return Path(callback.dirpath)
    return Path(trainer.log_dir) if trainer.loggers and trainer.log_dir else None


class ProgressLines(Callback):
    """A line every 30 s where there is no terminal to draw a bar on."""

    def __init__(self) -> None:
        self._started_s = self._last_s = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started_s = self._last_s = time.monotonic()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started_s = self._last_s = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell the optimiser steps."""
        steps = trainer.estimated_stepping_batches
        self._tell(trainer, "fit, steps", trainer.global_step, None if steps == float("inf") else int(steps))

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Tell the batches of this process."""
        self._tell(trainer, "predict, batches", batch_idx + 1, int(sum(trainer.num_predict_batches)))

    def _tell(self, trainer: Trainer, description: str, done: int, total: int | None) -> None:
        now_s = time.monotonic()
        if trainer.is_global_zero and now_s - self._last_s >= LINE_EVERY_S:
            self._last_s = now_s
            print(progress_line(description, done, total, now_s - self._started_s), file=sys.stderr, flush=True)


class StageCLI(LightningCLI):
    """LightningCLI over the project's modules."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """List the commands and the arguments they do not take; ``test`` pads across ranks and is left out."""
        shared = {"model", "dataloaders", "datamodule"}
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
            "validate": shared,
            "predict": shared,
        }

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        self._prepared = subcommand
        return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--output_dir`` and ``--dry_run`` to predict, and tell the model its subject."""
        if self._prepared == "predict":
            parser.add_argument(
                "--output_dir", type=Path | None, default=None,
                help="Folder of the reconstructions; by default outputs/recon/{subject}/{encoder}_diffusion.",
            )  # fmt: skip
            parser.add_argument(
                "--dry_run", type=bool, nargs="?", const=True, default=False,
                help="Print pictures, time and memory of the run, and stop.",
            )  # fmt: skip
        # A link whose target class lacks the argument is skipped, so one set serves every model.
        parser.link_arguments("data.init_args.subject", "model.init_args.subject")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and refuse what would silently swap the model.

        Raises:
            UsageError: If predict got a checkpoint.
        """
        super().parse_arguments(parser, args)
        if self.config.subcommand == "predict" and self.config.predict.ckpt_path is not None:
            raise UsageError(
                "predict takes no --ckpt_path: Lightning would replace the configured model by the checkpoint's; "
                "name the parts with --model.encoder_ckpt and --model.adapter_ckpt"
            )

    def before_instantiate_classes(self) -> None:
        """Look whether a dashboard is installed, and hand ``--output_dir`` and ``--dry_run`` to the model.

        A link would do so too, but swallow what the model was given by ``--model`` or a YAML when they are not given.
        They are taken out of the configuration: a saved ``predict.yaml`` can be run again with either form.

        Raises:
            UsageError: What a logger needs is not installed, or the model does not know them.
        """
        # Not left to the constructors, whose errors would reach the user in jsonargparse's words.
        configured = self.config[str(self.subcommand)].trainer.logger
        for entry in configured if isinstance(configured, list) else [configured]:
            for logger in (WandbRunLogger, TensorBoardRunLogger):
                if getattr(entry, "class_path", "") == f"{logger.__module__}.{logger.__qualname__}":
                    logger.require()
        if self.subcommand != "predict":
            return
        given, model = self.config.predict, self.config.predict.model
        for name, unset in (("output_dir", None), ("dry_run", False)):
            value = given[name]
            if value == unset:
                continue
            if name not in model.init_args:
                raise UsageError(f"{model.class_path} takes no --{name}")
            model.init_args[name], given[name] = value, unset

    def _parse_ckpt_path(self) -> None:
        """Keep the configuration: Lightning would merge the checkpoint's hyperparameters over it."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with a CSV log for fit beside any other, and lines where no bar can be drawn."""
        trainer = self._get(self.config_init, "trainer")
        kwargs["logger"] = self._loggers(trainer.logger, trainer.default_root_dir or ".")
        if trainer.enable_progress_bar is None and not sys.stdout.isatty():
            kwargs["enable_progress_bar"] = False
            kwargs["callbacks"] = [*(trainer.callbacks or []), ProgressLines()]
        return super().instantiate_trainer(**kwargs)

    def _loggers(self, configured: Any, folder: str) -> Any:
        """Put a CSV log first: Lightning calls its folder the run's. Loggers of ours wait for the work to start."""
        loggers = configured if isinstance(configured, list) else [configured]
        for logger in loggers:
            if isinstance(logger, WandbRunLogger):
                logger.hold()
        if configured is None:
            loggers = []
        elif isinstance(configured, bool):
            return configured
        if self.subcommand == "fit" and not any(isinstance(logger, CSVLogger) for logger in loggers):
            loggers = [CSVLogger(folder, name="logs"), *loggers]
        return loggers or False

    def before_predict(self) -> None:
        """Keep no picture in memory; the writer has them on disk."""
        self.config_init["predict"]["return_predictions"] = False


def run_lightning(words: list[str]) -> None:
    """Run fit, validate or predict.

    Args:
        words: The command line, the command first.

    Raises:
        UsageError: If a class, key or value of the configuration is unknown.
    """
    _import_stages()
    base = {"default_config_files": [str(packaged_path("configs/base.yaml"))]}
    StageParser.class_names = tuple(c.__name__ for c in _subclasses(LightningModule) + _subclasses(LightningDataModule))
    with quiet_lightning(), runs_finished():
        _log_outputs(
            StageCLI(
                LightningModule,
                LightningDataModule,
                save_config_callback=SaveRunConfig,
                trainer_class=StageTrainer,
                seed_everything_default=DEFAULT_SEED,
                parser_class=StageParser,
                parser_kwargs={
                    "prog": "fmri-lightning",
                    "version": __version__,
                    "fit": base,
                    "validate": base,
                    "predict": base,
                },
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                args=_with_packaged_configs(words),
            )
        )


def _log_outputs(cli: StageCLI) -> None:
    """Tell W&B what the run left behind, when all of it is there."""
    trainer = cli.trainer
    if not trainer.loggers or not trainer.is_global_zero or cli.subcommand not in ("fit", "predict"):
        return
    folder = _run_folder(trainer, cli.model)
    if folder is not None:
        kept = trainer.checkpoint_callback
        name = labels_of(cli.model, cli.datamodule, cli.subcommand, folder).name
        log_outputs(trainer.loggers, cli.model, getattr(kept, "best_model_path", None) or None, name)


def _import_stages() -> None:
    """Import the stages' modules: jsonargparse finds a class by its bare name once it is imported."""
    for stage in STAGES:
        package = importlib.import_module(f"fmri_lightning.{stage}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def _subclasses(base: type) -> list[type]:
    found: list[type] = []
    children: list[type] = base.__subclasses__()
    for child in children:
        found += [child, *_subclasses(child)]
    return [c for c in found if not c.__module__.startswith("lightning.")]


def _with_packaged_configs(words: list[str]) -> list[str]:
    """Find ``configs/...`` in the installed package when the working directory has no such file."""
    resolved = list(words)
    for position, word in enumerate(words[1:], start=1):
        is_value = words[position - 1] in ("-c", "--config")
        name = word.removeprefix("--config=") if word.startswith("--config=") else word if is_value else ""
        if name.startswith("configs/") and not Path(name).exists():
            resolved[position] = word.replace(name, str(packaged_path(name)))
    return resolved
