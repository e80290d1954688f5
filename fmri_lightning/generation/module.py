"""Predict: brain activity to pictures, as one LightningModule that draws what the front end has predicted."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule

from fmri_lightning import errors
from fmri_lightning.embeddings.latent_encoder import LatentEncoder
from fmri_lightning.errors import UsageError
from fmri_lightning.generation.bill import bill, can_be_timed, measure_rate, priced
from fmri_lightning.generation.choose import load_chooser
from fmri_lightning.generation.controls import Condition
from fmri_lightning.generation.counts import DrawingCounts
from fmri_lightning.generation.data import ReconstructionDataModule
from fmri_lightning.generation.decoder import (
    RETRIEVAL,
    DecoderConfig,
    MemoryPreset,
    decoder_space,
    has_transformer_blocks,
    load_decoder,
    notices,
    takes,
)
from fmri_lightning.generation.drawing import BatchDrawer
from fmri_lightning.generation.fingerprint import claim_folder
from fmri_lightning.generation.frontend import run_front_end
from fmri_lightning.generation.inputs import Inputs, open_inputs
from fmri_lightning.generation.interruption import Interruption
from fmri_lightning.generation.lora import check_family, check_lora
from fmri_lightning.generation.low_level import Layouts, LowLevel, blank_start, check_low_level, open_low_level
from fmri_lightning.generation.plan import TrialMode
from fmri_lightning.generation.predictions import FILE_NAME, Predictions, read_predictions, write_predictions
from fmri_lightning.generation.run_folder import (
    clear_leftovers,
    default_folder,
    fingerprint_fields,
    hold_folder,
    units_with_layout,
)
from fmri_lightning.generation.sampler import NoiseMode, SamplingOptions
from fmri_lightning.generation.shards import finished_units
from fmri_lightning.generation.summary import RunInfo, finish_run
from fmri_lightning.generation.writer import DrawnUnit, ImageWriter

DEFAULT_DECODER = DecoderConfig()
DEFAULT_SEED = 42


class ReconstructionModule(LightningModule):
    """Draws pictures from predicted image embeddings with a frozen decoder.

    Args:
        encoder_ckpt: Encoder checkpoint (ridge or MLP) written by fit; null with given embeddings, or for a control
            that reads none.
        adapter_ckpt: Adapter checkpoint written by fit; null where the encoder predicts the decoder's own space.
        calibration: Folder of a calibration of predictions; null for none.
        reliability: Folder written by fmri-lightning reliability: every predicted embedding gets a noise level of its
            own, and noise_level holds for the other conditions only. null takes noise_level for all.
        decoder: Which model draws.
        condition: predicted, or a control: true_target (decoder ceiling), true_source (its cost through the adapter),
            shuffled (another stimulus's prediction), mean (training mean), unconditional.
        guidance_scale: Classifier-free guidance weight; 1 turns it off.
        num_inference_steps: Denoising steps.
        noise_level: Noise told to and added for unCLIP, 0..999: how unreliable the embedding is.
        noise_mode: add (as unCLIP does), or label_only: tell the U-Net the level, leave the embedding as it is.
        low_level: Checkpoint of an encoder that predicts latents of an autoencoder (configs/encoder/low_level.yaml),
            whose blurry picture the decoder starts from; null starts from noise.
        strength: With low_level, share of the steps that are run from the blurry picture, above 0 to 1: more follows
            the embedding, less keeps the layout.
        low_level_blend: With low_level, share of the blurry picture that is mixed into the final one pixel by pixel,
            0 to 1, itself not taken; anything but 0 is said in the summary: pixel scores are then of the mixture.
        n_samples: Pictures per item; of several, images/ holds the one nearest to the predicted embedding.
        scheduler: dpm++2m, unipc, ddim, euler or euler_a.
        guidance_interval: Part of the steps, as fractions, in which guidance acts.
        batch_size: Fixed batch shape; the last batch is padded. Another shape may round a pixel differently.
        memory: default, or low: attention head by head and one picture decoded at a time, slower in less memory.
        compile: Compile the U-Net's transformer blocks; pays off in long runs on CUDA, and may round a pixel
            differently.
        cpu_threads: Torch threads of every rank; 1 gives the same bytes for one and several processes.
        output_dir: Run folder; by default outputs/recon/{subject}/{encoder}_diffusion. A control goes to its
            controls/{condition}/.
        seed: Seed of the run; null takes --seed_everything, or 42.
        dry_run: Print what the run would draw and cost, by the rate of a first batch, and stop.
    """

    def __init__(
        self,
        encoder_ckpt: str | None = None,
        adapter_ckpt: str | None = None,
        calibration: str | None = None,
        reliability: str | None = None,
        decoder: DecoderConfig = DEFAULT_DECODER,
        condition: Condition = "predicted",
        guidance_scale: float = 5.0,
        num_inference_steps: int = 25,
        noise_level: int = 0,
        noise_mode: NoiseMode = "add",
        low_level: str | None = None,
        strength: float = 0.75,
        low_level_blend: float = 0.0,
        n_samples: int = 1,
        scheduler: str = "dpm++2m",
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        batch_size: int = 8,
        memory: MemoryPreset = "default",
        compile: bool = False,
        cpu_threads: int = 1,
        output_dir: Path | None = None,
        seed: int | None = None,
        dry_run: bool = False,
    ) -> None:
        super().__init__()
        self.encoder_ckpt, self.adapter_ckpt, self.calibration = encoder_ckpt, adapter_ckpt, calibration
        self.reliability = reliability
        self.decoder_config = decoder
        self.condition: Condition = condition
        self._sampling = (
            guidance_scale, num_inference_steps, noise_level, scheduler, guidance_interval, noise_mode, strength,
        )  # fmt: skip
        self.options: SamplingOptions
        self.low_level_ckpt, self.low_level_blend = low_level, low_level_blend
        self.n_samples = n_samples
        self.batch_size = batch_size
        self.memory: MemoryPreset = memory
        self.compiled = compile
        self.cpu_threads = cpu_threads
        self.output_dir = output_dir
        self.run_seed = int(os.environ.get("PL_GLOBAL_SEED", DEFAULT_SEED)) if seed is None else seed
        self.dry_run = dry_run
        self.decoder: Any = None
        self.autoencoder: Any = None
        self._low_level: LowLevel | None = None
        self.run_folder = Path()
        self.predictions: Predictions
        self.trial_mode: TrialMode = "average"
        self.drawer: BatchDrawer | None = None
        self._held = contextlib.ExitStack()
        self._info: RunInfo | None = None
        self._n_left = 0

    @property
    def provenance(self) -> dict[str, Any]:
        """Content hash of each input and whether the brain is simulated, as far as the first rank knows them."""
        known = self._info
        return {"inputs": known.hashes if known else {}, "simulated": known.simulated if known else False}

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
        return [Interruption()] if self.dry_run else [ImageWriter(), DrawingCounts(), Interruption()]

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
        self._check_family()
        if self.trainer.is_global_zero:
            print("".join(f"{line}\n" for line in notices(self.decoder_config)), end="")
        # Not in the constructor, whose errors would reach the user in jsonargparse's words.
        self.options = SamplingOptions(*self._sampling)
        check_low_level(self.low_level_ckpt, self.low_level_blend, self.options, self.decoder_config)
        data = self.datamodule
        # An empty loader is the normal end of a run that is complete already.
        warnings.filterwarnings("ignore", message="Total length of `DataLoader`")
        threads = torch.get_num_threads()
        torch.set_num_threads(self.cpu_threads)
        self._held.callback(torch.set_num_threads, threads)
        space = decoder_space(self.decoder_config, data)
        inputs = open_inputs(
            data, self.encoder_ckpt, self.adapter_ckpt, self.calibration, self.condition, space, self.reliability
        )
        if self.low_level_ckpt is not None:
            self._low_level = open_low_level(inputs, data, self.low_level_ckpt, self.condition)
        if self.decoder_config.lora is not None:
            inputs.hashes["lora"] = check_lora(self.decoder_config, space, data.items.nsd_id).manifest.content_hash
        self.trial_mode = data.trial_mode
        self.run_folder = default_folder(self, inputs)
        units = data.units(self.n_samples)
        keys = [(int(data.items.trial_id[data.chosen[row]]), int(sample)) for row, sample in units]
        done = self._in_first_rank(lambda: self._begin(inputs, set(keys)))
        if self.decoder_config.family != "none":
            data.remaining = units[np.array([key not in done for key in keys], dtype=bool)]
        if self.dry_run:
            self._tell_bill(len(done))

    def _check_family(self) -> None:
        """Refuse what the decoder's family cannot do, before anything is written."""
        check_family(self.decoder_config)
        if self.decoder_config.family == RETRIEVAL and (self.n_samples > 1 or self.condition == "unconditional"):
            raise UsageError(
                "family nearest_neighbour finds one picture by an embedding; --model.n_samples is 1 and "
                "--model.condition is not unconditional"
            )
        levelled = self.decoder_config.family == "none" or takes(self.decoder_config, "noise_level")
        # Retrieval draws nothing and has no use for any setting of the sampler, which its YAML is laid over.
        if self._sampling[2] != 0 and not levelled and self.decoder_config.family != RETRIEVAL:
            raise UsageError(f"family {self.decoder_config.family} knows no noise level; set --model.noise_level 0")
        if self.reliability is not None and not levelled:
            raise UsageError(
                f"family {self.decoder_config.family} knows no noise level; leave --model.reliability out, or "
                "draw with unclip or mini"
            )
        if self.compiled and not has_transformer_blocks(self.decoder_config):
            raise UsageError("this decoder has no transformer blocks to compile; leave --model.compile out")

    def _begin(self, inputs: Inputs, keys: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """Claim the folder, find what is drawn already, and predict; a dry run only looks."""
        if self.dry_run:
            return self._finished(keys)
        shard = self.datamodule.shard
        hold_folder(self.run_folder, shard, self._held)
        claim_folder(self.run_folder, fingerprint_fields(self), inputs.hashes)
        if shard == (1, 1):
            clear_leftovers(self.run_folder)
        done = self._finished(keys)
        self._run_front_end(inputs, resumed=bool(done))
        return done

    def _finished(self, keys: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """List what is drawn already, with all that belongs to it."""
        done = set(finished_units(self.run_folder, keys))
        return done if self._low_level is None else units_with_layout(self.run_folder, done, self.datamodule.items)

    def _in_first_rank(self, work: Callable[[], set[tuple[int, int]]]) -> set[tuple[int, int]]:
        """Let the first rank alone read and write the folder; what it found, or what stopped it, holds for all."""
        failure: Exception | None = None
        found: set[tuple[int, int]] = set()
        if self.trainer.is_global_zero:
            try:
                found = work()
            except Exception as error:
                failure = error
        told = None if failure is None else (type(failure).__name__, str(failure))
        found, told = self.trainer.strategy.broadcast((found, told))
        if failure is not None:
            raise failure
        if told is not None:
            # The same exit code in every rank, so that none of them waits and none hides the reason.
            raise getattr(errors, told[0], errors.StageError)(f"the first rank stopped: {told[1]}")
        return found

    def _tell_bill(self, n_done: int) -> None:
        data = self.datamodule
        timed, why_not = can_be_timed(self.decoder_config)
        if self.trainer.is_global_zero:
            print(bill(self, len(data.remaining), n_done))
            if not timed and why_not and len(data.remaining):
                print(why_not)
        self._n_left = len(data.remaining)
        # One unit, so that one device times a batch.
        data.remaining = data.remaining[: int(timed)]

    def _run_front_end(self, inputs: Inputs, resumed: bool) -> None:
        data = self.datamodule
        found = run_front_end(
            inputs,
            self.condition,
            data.trial_mode,
            data.gallery_limit,
            self.run_seed,
            self._low_level,
            self.options.noise_mode,
        )
        if self.n_samples > 1 and self.decoder_config.family != "none":
            load_chooser(data, found.predictions.source)  # better known now than after the last picture
        self._info = RunInfo.begin(self, inputs, found, resumed, self._low_level)
        write_predictions(self.run_folder / FILE_NAME, found.predictions, self._info.about_predictions())

    def configure_model(self) -> None:
        """Load the decoder as a submodule, where there is something to draw."""
        if self.decoder is None and len(self.datamodule.remaining):
            self.decoder = load_decoder(self.decoder_config, self.datamodule)
            if self._low_level is not None:
                self.autoencoder = LatentEncoder.of(self._low_level.encoder.space)

    def frozen_half_modules(self) -> list[torch.nn.Module]:
        """Parts that half precision may cast; see :class:`~fmri_lightning.precision.FrozenHalfPrecision`."""
        halves: list[torch.nn.Module] = [] if self.decoder is None else self.decoder.halves()
        return halves

    def on_predict_start(self) -> None:
        """Arrange the decoder on its device, and read the table that the first rank wrote: the same bytes in all."""
        if self.decoder is not None:
            self.decoder.prepare(self.memory, self.compiled)
        if self.dry_run:
            return
        self.predictions, _ = read_predictions(self.run_folder / FILE_NAME)
        self.drawer = BatchDrawer(
            self.decoder,
            self.predictions,
            self.options,
            self.run_seed,
            self.n_samples,
            self.batch_size,
            unconditional=self.condition == "unconditional",
            layouts=None if self.autoencoder is None else Layouts(self.autoencoder, self.low_level_blend),
        )

    def predict_step(self, batch: Any, batch_idx: int) -> list[DrawnUnit]:
        """Draw one batch.

        Args:
            batch: One (n, 2) int64 tensor: row of the predictions, sample.
            batch_idx: Ignored; pictures are known by trial and sample.

        Returns:
            The pictures with the lines that describe them; in a dry run none, but the time they take is printed.
        """
        if self.dry_run:
            rate = measure_rate(self.decoder, self.options, self.batch_size, blank_start(self.autoencoder))
            print(priced(rate, self._n_left, self.batch_size, self.trainer.world_size))
            return []
        assert self.drawer is not None
        return self.drawer.draw([(int(row), int(sample)) for row, sample in batch[0].tolist()])

    def teardown(self, stage: str) -> None:
        """Let the first rank put all lines together; :class:`Interruption` has waited for the others.

        Args:
            stage: Lightning's stage.

        Raises:
            StageError: Pictures are missing; the message names them.
        """
        try:
            # Known in the first rank alone, and not in a dry run.
            if stage == "predict" and self._info is not None:
                finish_run(self, self._info)
        finally:
            self.release()

    def when_released(self, action: Callable[[], None]) -> None:
        """Have something done when the run gives everything back.

        Args:
            action: Called once, by :meth:`release`.
        """
        self._held.callback(action)

    def release(self) -> None:
        """Give back the run folder's lock and the thread count."""
        self._held.close()
