"""decode_summary.json and run.json: what a run drew, written by one process when all are through."""

from __future__ import annotations

import datetime
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fmri_lightning.errors import StageError
from fmri_lightning.generation.choose import choose_samples
from fmri_lightning.generation.counts import log_counts
from fmri_lightning.generation.decoder import family_files, null_note
from fmri_lightning.generation.frontend import FrontEnd
from fmri_lightning.generation.inputs import Inputs
from fmri_lightning.generation.low_level import LowLevel, in_words
from fmri_lightning.generation.predictions import Predictions
from fmri_lightning.generation.run_folder import LAYOUTS, encoder_name, result_path
from fmri_lightning.generation.shards import PictureRecord, failures, finished_units
from fmri_lightning.generation.writer import HELD_BACK
from fmri_lightning.index.prediction_only import in_words as in_words_of_index
from fmri_lightning.index.prediction_only import is_prediction_only
from fmri_lightning.manifest import Manifest, read_json, versions, write_json

if TYPE_CHECKING:
    from fmri_lightning.generation.module import ReconstructionModule

SUMMARY = "decode_summary.json"
RUN = "run.json"


@dataclass
class RunInfo:
    """What the summary needs from the start of the run.

    Attributes:
        found: Predictions and baselines.
        encoder: Name of what predicted.
        hashes: Content hash per input.
        spaces: JSON of source and target space, or None; of the low-level latents where they are used.
        simulated: Whether the brain is simulated.
        index_root: As given.
        root: Data root, as given or as the index names it.
        started: UTC, ISO 8601.
        started_s: Clock at the start.
        resumed: Whether pictures of an earlier run were found.
        prediction_only: Experiment, task and a sentence, for an index that nothing is fitted on; else None.
        own_test_set: What the index calls its test pictures, where they are not those of the official tree; else None.
    """

    found: FrontEnd
    encoder: str | None
    hashes: dict[str, str]
    spaces: dict[str, Any]
    simulated: bool
    index_root: str | None
    root: str | None
    started: str
    started_s: float
    resumed: bool
    prediction_only: dict[str, Any] | None = None
    own_test_set: str | None = None

    @classmethod
    def begin(
        cls,
        module: ReconstructionModule,
        inputs: Inputs,
        found: FrontEnd,
        resumed: bool,
        low_level: LowLevel | None = None,
    ) -> RunInfo:
        """Note what is known when the front end is through."""
        data = module.datamodule
        recorded = {} if data.index_manifest is None else data.index_manifest.config
        root = data.recorded_root()
        simulated = bool(recorded.get("simulated")) or (root is not None and (Path(root) / "SIMULATED.json").is_file())
        spaces = {"source": inputs.source_space, "target": inputs.target_space}
        if low_level is not None:
            spaces["low_level"] = low_level.encoder.space
        return cls(
            found=found,
            encoder=encoder_name(module, inputs),
            hashes=dict(inputs.hashes),
            spaces={name: None if space is None else space.to_dict() for name, space in spaces.items()},
            simulated=simulated,
            index_root=data.index_root,
            root=root,
            started=_now(),
            started_s=time.monotonic(),
            resumed=resumed,
            prediction_only=_prediction_only(data.index_manifest),
            own_test_set=recorded.get("test_set") if data.test_set == "shared1000" else None,
        )

    def about_predictions(self) -> dict[str, Any]:
        """Return the schema metadata of predictions.parquet."""
        return {
            "inputs": self.hashes,
            "spaces": self.spaces,
            "mean_vector_cosine": self.found.mean_vector_cosine,
            **({} if self.prediction_only is None else {"prediction_only": self.prediction_only}),
        }


def finish_run(module: ReconstructionModule, info: RunInfo) -> None:
    """Merge the shards, choose samples, write summary and run.json.

    Args:
        module: The run.
        info: What is known of its start.

    Raises:
        StageError: Pictures that were asked for are missing; the message names them.
    """
    folder, table = module.run_folder, info.found.predictions
    _append_run(module, info)
    if info.prediction_only is not None:
        print(info.prediction_only["in_words"])
    if module.decoder_config.family == "none":
        print(folder / "predictions.parquet")
        return
    n_asked = len(table) * module.n_samples
    wanted = {(int(trial), sample) for trial in table.trial_id for sample in range(module.n_samples)}
    finished = finished_units(folder, wanted)
    failed = {unit: record for unit, record in failures(folder, set(finished)).items() if unit in wanted}
    log_counts(module.trainer.loggers, len(finished), len(failed))
    part, parts = module.datamodule.shard
    if parts > 1 and len(finished) + len(failed) < n_asked:
        print(f"{folder}: share {part}/{parts} is done, {len(finished)} of {n_asked} pictures of all shares so far")
        return
    choices = choose_samples(module, table, finished) if module.n_samples > 1 else None
    write_json(folder / SUMMARY, _summary(module, info, finished, failed, choices))
    print(folder / SUMMARY)
    missing = [unit for unit in sorted(wanted) if unit not in finished]
    print(f"{len(finished)} of {n_asked} pictures in {folder / ('images' if module.n_samples == 1 else 'samples')}")
    if missing:
        reasons = {record.reason for record in failed.values()} or {"never drawn"}
        hint = (
            "the same seed draws them again; set model.decoder.safety_checker false, or take another seed and folder"
            if reasons == {HELD_BACK}
            else "run the same command again; if they fail again, in float32 too, the decoder's weights are to blame"
        )
        raise StageError(
            f"{len(missing)} of {n_asked} pictures are missing in {folder} (trial_id, sample: "
            f"{', '.join(map(str, missing[:5]))}{', …' if len(missing) > 5 else ''}; {'; '.join(sorted(reasons))}); "
            f"{hint}"
        )


def _summary(
    module: ReconstructionModule,
    info: RunInfo,
    finished: dict[tuple[int, int], PictureRecord],
    failed: dict[tuple[int, int], PictureRecord],
    choices: list[dict[str, Any]] | None,
) -> dict[str, Any]:
    table, data, options = info.found.predictions, module.datamodule, module.options
    drawn = {trial for trial, _ in finished}
    rows = [row for row in range(len(table)) if int(table.trial_id[row]) in drawn]
    cosines = table.cosine_pred_gt[rows].astype(np.float64)
    simulated, null = info.simulated, null_note(module.decoder_config)
    only = info.prediction_only
    return {
        "subject": data.subject,
        "encoder": info.encoder,
        "checkpoint": module.encoder_ckpt,
        "diffusion_model": _model(module),
        "guidance_scale": options.guidance_scale,
        "num_inference_steps": options.num_inference_steps,
        "n_generated": len(rows),
        "mean_cosine": number(cosines.mean()) if len(rows) else None,
        "results": [_result(table, row) for row in rows],
        "condition": module.condition,
        **({} if only is None else {"prediction_only": only}),
        # Only where it holds: what reads it must not take a score of these pictures for decoding.
        **({"null_decoder": null} if null else {}),
        "mean_vector_cosine": number(info.found.mean_vector_cosine),
        "gallery": {"size": info.found.gallery, "limit": data.gallery_limit, "of": "training stimuli"},
        "failures": [
            {"trial_id": r.trial_id, "nsdId": r.nsd_id, "sample": r.sample, "reason": r.reason}
            for _, r in sorted(failed.items())
        ],
        "simulated": simulated,
        "noise_level": options.noise_level,
        "noise_mode": options.noise_mode,
        "scheduler": options.scheduler,
        "guidance_interval": list(options.guidance_interval),
        "n_samples": module.n_samples,
        "seed": module.run_seed,
        "trial_mode": data.trial_mode,
        "test_set": data.test_set if only is None else only["experiment"],
        "n_test_set": len(data.items),
        **({} if module.low_level_ckpt is None else {"low_level": _low_level(module, info)}),
        **({} if choices is None else {"choices": choices}),
        "provenance": {
            "root": info.root,
            "index_root": info.index_root,
            **({} if info.own_test_set is None else {"own_test_set": info.own_test_set}),
            "clip_cache": data.clip_cache,
            "betas": data.betas.as_posix(),
            "preproc": data.preproc.as_posix(),
            "adapter": module.adapter_ckpt,
            "calibration": module.calibration,
            **({} if module.reliability is None else {"reliability": module.reliability}),
            "decoder": {
                "family": module.decoder_config.family,
                "revision": module.decoder_config.revision,
                "resolution": module.decoder_config.resolution,
                "memory": module.memory,
                "compile": module.compiled,
                **family_files(module.decoder_config).further_fields(module.decoder_config),
                **({} if module.decoder_config.lora is None else {"lora": module.decoder_config.lora}),
            },
            "precision": str(module.trainer.precision_plugin.precision),
            "inputs": info.hashes,
            "spaces": {name: None if s is None else _short(s) for name, s in info.spaces.items()},
            "versions": versions(),
        },
    }


def _prediction_only(index: Manifest | None) -> dict[str, Any] | None:
    """Say of which experiment a prediction-only run is; None for a run of NSD proper."""
    if index is None or not is_prediction_only(index):
        return None
    return {"experiment": index.config["source"], "task": index.config["task"], "in_words": in_words_of_index(index)}


def _low_level(module: ReconstructionModule, info: RunInfo) -> dict[str, Any]:
    """Say what the layout came from, and what share of the pictures it is."""
    options = module.options
    steps_run = options.num_inference_steps - options.skipped()
    space = info.spaces["low_level"]
    return {
        "checkpoint": module.low_level_ckpt,
        "cache": module.datamodule.low_level_cache if "low_level_cache" in info.hashes else None,
        "autoencoder": space["model_id"],
        "strength": options.strength,
        "steps_run": steps_run,
        "blend": module.low_level_blend,
        "pictures": LAYOUTS,
        "in_words": in_words(steps_run, options.num_inference_steps, module.low_level_blend),
    }


def _model(module: ReconstructionModule) -> str:
    config, null = module.decoder_config, null_note(module.decoder_config)
    name = f"{family_files(config).model_name(config)}{' + LoRA' if config.lora else ''}"
    return f"{name} (null: {null})" if null else name


def _result(table: Predictions, row: int) -> dict[str, Any]:
    neighbour = int(table.nn_nsd_id[row])
    return {
        "trial_id": int(table.trial_id[row]),
        "nsdId": int(table.nsd_id[row]),
        "cosine_pred_gt": number(table.cosine_pred_gt[row]),
        "nn_nsdId": None if neighbour < 0 else neighbour,
        "nn_cosine": number(table.nn_cosine[row]),
        "image_path": result_path(table, row),
        **({} if table.noise_level is None else {"noise_level": int(table.noise_level[row])}),
    }


def _short(space: dict[str, Any]) -> dict[str, Any]:
    return {key: space[key] for key in ("name", "model_id", "revision", "dim", "scale")}


def number(value: Any) -> float | None:
    """Turn a number into what JSON can hold; NaN and None become null."""
    return None if value is None or not np.isfinite(value) else float(value)


def _append_run(module: ReconstructionModule, info: RunInfo) -> None:
    """Add this run's times and places to run.json, the one file that may differ between equal runs."""
    trainer, path = module.trainer, module.run_folder / RUN
    runs = read_json(path)["runs"] if path.is_file() else []
    this_run = {
        "started": info.started,
        "ended": _now(),
        "seconds": round(time.monotonic() - info.started_s, 3),
        "host": platform.node(),
        "world_size": trainer.world_size,
        "device": str(trainer.strategy.root_device),
        "cpu_threads": module.cpu_threads,
        "batch_shape": module.batch_size,
        # Smaller than asked for where memory ran out; of the first rank.
        "batch_shape_at_end": module.batch_size if module.drawer is None else module.drawer.shape,
        "pictures_to_draw": len(module.datamodule.remaining),
        "resumed": info.resumed,
        "shard": list(module.datamodule.shard),
    }
    write_json(path, {"runs": [*runs, this_run]})


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
