"""Predict: brain activity to pictures, as one LightningModule that draws what the front end has predicted."""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule

from fmri_lightning.errors import ResourceError, UsageError
from fmri_lightning.generation.choose import load_chooser
from fmri_lightning.generation.controls import Condition
from fmri_lightning.generation.data import ReconstructionDataModule
from fmri_lightning.generation.decoder import DecoderConfig, Drawn, decoder_space, load_decoder
from fmri_lightning.generation.fingerprint import claim_folder
from fmri_lightning.generation.frontend import run_front_end
from fmri_lightning.generation.inputs import Inputs, open_inputs
from fmri_lightning.generation.interruption import Interruption
from fmri_lightning.generation.plan import TrialMode
from fmri_lightning.generation.predictions import FILE_NAME, Predictions, read_predictions, write_predictions
from fmri_lightning.generation.run_folder import bill, default_folder, fingerprint_fields, lock_folder, picture_path
from fmri_lightning.generation.sampler import NoiseMode, SamplingOptions
from fmri_lightning.generation.shards import PictureRecord, finished_units
from fmri_lightning.generation.summary import RunInfo, finish_run
from fmri_lightning.generation.writer import DrawnUnit, ImageWriter
from fmri_lightning.manifest import run_lock
from fmri_lightning.seeding import sample_seed

DEFAULT_DECODER = DecoderConfig()
DEFAULT_SEED = 42


class ReconstructionModule(LightningModule):
    """Draws pictures from predicted image embeddings with a frozen decoder.

    Args:
        encoder_ckpt: Encoder checkpoint (ridge or MLP) written by fit.
        adapter_ckpt: Adapter checkpoint written by fit; null where the encoder predicts the decoder's own space.
        calibration: Folder of a calibration of predictions; null for none.
        decoder: Which model draws.
        condition: predicted, or a control: true_target (decoder ceiling), true_source (its cost through the adapter),
            shuffled (another stimulus's prediction), mean (training mean), unconditional.
        guidance_scale: Classifier-free guidance weight; 1 turns it off.
        num_inference_steps: Denoising steps.
        noise_level: Noise told to and added for unCLIP, 0..999: how unreliable the embedding is.
        noise_mode: add (as unCLIP does), or label_only: tell the U-Net the level, leave the embedding as it is.
        n_samples: Pictures per item; of several, images/ holds the one nearest to the predicted embedding.
        scheduler: dpm++2m, unipc, ddim or euler.
        guidance_interval: Part of the steps, as fractions, in which guidance acts.
        batch_size: Fixed batch shape; the last batch is padded. Another shape may round a pixel differently.
        cpu_threads: Torch threads of every rank; 1 gives the same bytes for one and several processes.
        output_dir: Run folder; by default outputs/recon/{subject}/{encoder}_diffusion. A control goes to its
            controls/{condition}/.
        seed: Seed of the run; null takes --seed_everything, or 42.
        dry_run: Print what the run would draw and cost, and stop.
    """

    def __init__(
        self,
        encoder_ckpt: str | None = None,
        adapter_ckpt: str | None = None,
        calibration: str | None = None,
        decoder: DecoderConfig = DEFAULT_DECODER,
        condition: Condition = "predicted",
        guidance_scale: float = 5.0,
        num_inference_steps: int = 25,
        noise_level: int = 0,
        noise_mode: NoiseMode = "add",
        n_samples: int = 1,
        scheduler: str = "dpm++2m",
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        batch_size: int = 8,
        cpu_threads: int = 1,
        output_dir: Path | None = None,
        seed: int | None = None,
        dry_run: bool = False,
    ) -> None:
        super().__init__()
        self.encoder_ckpt, self.adapter_ckpt, self.calibration = encoder_ckpt, adapter_ckpt, calibration
        self.decoder_config = decoder
        self.condition: Condition = condition
        self._sampling = (guidance_scale, num_inference_steps, noise_level, scheduler, guidance_interval, noise_mode)
        self.options: SamplingOptions
        self.n_samples = n_samples
        self.batch_size = batch_size
        self.cpu_threads = cpu_threads
        self.output_dir = output_dir
        self.run_seed = int(os.environ.get("PL_GLOBAL_SEED", DEFAULT_SEED)) if seed is None else seed
        self.dry_run = dry_run
        self.decoder: Any = None
        self.run_folder = Path()
        self.predictions: Predictions
        self.trial_mode: TrialMode = "average"
        self._shape = batch_size
        self._held = contextlib.ExitStack()
        self._info: RunInfo | None = None

    @property
    def datamodule(self) -> ReconstructionDataModule:
        """The run's datamodule.

        Raises:
            UsageError: It is of another stage.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, ReconstructionDataModule):
            raise UsageError("predict takes a ReconstructionDataModule as data; use --config configs/predict.yaml")
        return data

    def configure_callbacks(self) -> list[Callback]:
        """Add the writer and the clean end by a signal: without them a run is worth nothing."""
        return [ImageWriter(), Interruption()]

    def setup(self, stage: str) -> None:
        """Check every input, claim the run folder, run the front end, and find what is left to draw.

        Args:
            stage: Lightning's stage; only predict is meant.

        Raises:
            UsageError: A needed input is not named.
            BadInputError: An input is missing or does not fit, or the folder holds another run.
            ResourceError: Another job works on the folder.
        """
        if stage != "predict":
            raise UsageError(f"ReconstructionModule draws pictures; run fmri-lightning predict, not {stage}")
        for name in ("batch_size", "cpu_threads", "n_samples"):
            if getattr(self, name) < 1:
                raise UsageError(f"--model.{name} is at least 1, not {getattr(self, name)}")
        # Not in the constructor, whose errors would reach the user in jsonargparse's words.
        self.options = SamplingOptions(*self._sampling)
        data = self.datamodule
        # An empty loader is the normal end of a dry run and of a run that is complete already.
        warnings.filterwarnings("ignore", message="Total length of `DataLoader`")
        threads = torch.get_num_threads()
        torch.set_num_threads(self.cpu_threads)
        self._held.callback(torch.set_num_threads, threads)
        space = decoder_space(self.decoder_config)
        inputs = open_inputs(data, self.encoder_ckpt, self.adapter_ckpt, self.calibration, self.condition, space)
        self.trial_mode = data.trial_mode
        self.run_folder = default_folder(self, inputs)
        units = data.units(self.n_samples)
        keys = [(int(data.items.trial_id[data.chosen[row]]), int(sample)) for row, sample in units]
        done = finished_units(self.run_folder, set(keys))
        left = [key not in done for key in keys]
        if self.dry_run:
            if self.trainer.is_global_zero:
                print(bill(self, sum(left), len(done)))
            return
        self._claim(inputs)
        if self.decoder_config.family != "none":
            data.remaining = units[left]
        if self.trainer.is_global_zero:
            self._run_front_end(inputs, resumed=bool(done))

    def _claim(self, inputs: Inputs) -> None:
        first = self.trainer.is_global_zero
        fields = fingerprint_fields(self)
        if first:
            self._held.enter_context(run_lock(lock_folder(self.run_folder, self.datamodule.shard)))
        claim_folder(self.run_folder, fields, inputs.hashes, first)

    def _run_front_end(self, inputs: Inputs, resumed: bool) -> None:
        data = self.datamodule
        found = run_front_end(inputs, self.condition, data.trial_mode, data.gallery_limit, self.run_seed)
        if self.n_samples > 1 and self.decoder_config.family != "none":
            load_chooser(data, found.predictions.source)  # better known now than after the last picture
        self._info = RunInfo.begin(self, inputs, found, resumed)
        write_predictions(self.run_folder / FILE_NAME, found.predictions, self._info.about_predictions())

    def configure_model(self) -> None:
        """Load the decoder's U-Net and autoencoder as submodules, where there is something to draw."""
        if self.decoder is None and len(self.datamodule.remaining):
            self.decoder = load_decoder(self.decoder_config)

    def frozen_half_modules(self) -> list[torch.nn.Module]:
        """Parts that half precision may cast; see :class:`~fmri_lightning.precision.FrozenHalfPrecision`."""
        halves: list[torch.nn.Module] = [] if self.decoder is None else self.decoder.halves()
        return halves

    def on_predict_start(self) -> None:
        """Read the table that the first rank wrote: every rank draws from the same bytes."""
        self.predictions, _ = read_predictions(self.run_folder / FILE_NAME)

    def predict_step(self, batch: Any, batch_idx: int) -> list[DrawnUnit]:
        """Draw one batch.

        Args:
            batch: One (n, 2) int64 tensor: row of the predictions, sample.
            batch_idx: Ignored; pictures are known by trial and sample.

        Returns:
            The pictures with the lines that describe them.
        """
        units = [(int(row), int(sample)) for row, sample in batch[0].tolist()]
        drawn: list[DrawnUnit] = []
        while len(drawn) < len(units):
            part = units[len(drawn) : len(drawn) + self._shape]
            try:
                drawn += self._draw(part)
            except torch.cuda.OutOfMemoryError as error:
                if self._shape == 1:
                    raise ResourceError("out of memory at batch size 1; use a smaller resolution or decoder") from error
                self._shape //= 2
                torch.cuda.empty_cache()
        return drawn

    def _draw(self, units: list[tuple[int, int]]) -> list[DrawnUnit]:
        table, shape = self.predictions, self._shape
        seeds = [sample_seed(self.run_seed, int(table.trial_id[row]), sample) for row, sample in units]
        assert table.target is not None
        embeddings = torch.from_numpy(table.target[[row for row, _ in units]])
        # The last unit is repeated up to the fixed shape: kernels round by shape, never by content.
        missing = shape - len(units)
        padded = torch.cat([embeddings, embeddings[-1:].expand(missing, -1)])
        drawn: Drawn = self.decoder.draw(
            padded, seeds + seeds[-1:] * missing, self.options, unconditional=self.condition == "unconditional"
        )
        result = []
        for place, (row, sample) in enumerate(units):
            record = PictureRecord(
                trial_id=int(table.trial_id[row]),
                nsd_id=int(table.nsd_id[row]),
                sample=sample,
                seed=seeds[place],
                image=picture_path(table, row, sample, self.n_samples),
                sha256="",
                batch_shape=shape,
            )
            result.append(DrawnUnit(record, drawn.images[place].numpy(), bool(drawn.finite[place])))
        return result

    def teardown(self, stage: str) -> None:
        """When all ranks are through, let the first one put their lines together.

        Args:
            stage: Lightning's stage.

        Raises:
            StageError: Pictures are missing; the message names them.
        """
        try:
            if stage == "predict" and not self.dry_run:
                self.trainer.strategy.barrier("all pictures written")
                if self.trainer.is_global_zero and self._info is not None:
                    finish_run(self, self._info)
        finally:
            self.release()

    def release(self) -> None:
        """Give back the run folder's lock and the thread count."""
        self._held.close()
