"""Fit encoders to a known subject by the command that a real run uses, and predict its test pictures."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.ceiling.subject import SUBJECT, KnownSubject
from fmri_lightning.embeddings.packaged import packaged_path
from fmri_lightning.errors import BadInputError, InterruptedRunError, StageError, UsageError
from fmri_lightning.manifest import content_hash, read_json, write_json

if TYPE_CHECKING:
    from fmri_lightning.encoder.load import LoadedEncoder

Mode = Literal["average", "single"]
MODES: tuple[Mode, ...] = ("average", "single")


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder to compare.

    Attributes:
        name: File name of the configuration without its ending.
        config: As it was given, for ``fit --config``.
        text: The YAML text; a changed one is fitted again.
        solved: A ridge: its fit has no chance in it and is done once.
        linear_path: A network that starts from the ridge of the same use of repeats.
    """

    name: str
    config: str
    text: str
    solved: bool
    linear_path: bool

    def seeds(self, n_seeds: int) -> range:
        """Training seeds."""
        return range(1) if self.solved else range(n_seeds)


@dataclass(frozen=True)
class Fit:
    """One fit.

    Attributes:
        encoder: What is fitted.
        mode: How predict will use repeats.
        seed: Training seed.
        folder: Root of its checkpoints.
        extra: Further words of the command line.
        initial: Ridge that a network starts from.
    """

    encoder: EncoderConfig
    mode: Mode
    seed: int
    folder: Path
    extra: tuple[str, ...] = ()
    initial: Path | None = None

    def words(self, subject: KnownSubject) -> list[str]:
        """Return the command line after ``fmri-lightning``."""
        start = () if self.initial is None else ("--model.initial", str(self.initial))
        inputs = [word for name, value in subject.inputs.items() for word in (f"--data.{name}", value)]
        return [
            "fit", "--config", self.encoder.config, *inputs, "--data.trial_mode", self.mode,
            "--seed_everything", str(self.seed), "--model.root", str(self.folder),
            "--trainer.default_root_dir", str(self.folder / "logs"), *start, *self.extra,
        ]  # fmt: skip

    def checkpoint(self) -> Path:
        """Find the checkpoint {folder}/{name}/{subject}/{name}.ckpt.

        Raises:
            StageError: If there is not exactly one.
        """
        found = [path for path in self.folder.glob(f"*/{SUBJECT}/*.ckpt") if path.stem == path.parts[-3]]
        if len(found) != 1:
            raise StageError(
                f"{self.folder} holds {len(found)} encoder checkpoints, expected one; remove the folder and run the "
                "same command again"
            )
        return found[0]


@dataclass(frozen=True, eq=False)
class PredictionRows:
    """What is predicted from, in the order of ids.

    Attributes:
        ids: Picture of each row, int32 (N,).
        betas: float32 (N, V), as stored.
        n_repeats: Trials averaged in each row.
    """

    ids: NDArray[np.int32]
    betas: NDArray[np.float32]
    n_repeats: int


def read_encoders(configs: list[str]) -> list[EncoderConfig]:
    """Read the configurations to compare.

    Args:
        configs: YAML files of ``fit``; names under configs/ are also found in the installed package.

    Returns:
        One entry each, in order.

    Raises:
        UsageError: If two have one name, or one names no encoder.
    """
    encoders = []
    for config in configs:
        path = packaged_path(config) if config.startswith("configs/") and not Path(config).exists() else Path(config)
        if not path.is_file():
            raise UsageError(f"--configs: {config} does not exist")
        text = path.read_text(encoding="utf-8")
        try:
            model = yaml.safe_load(text)["model"]
            class_path = str(model["class_path"])
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise UsageError(f"--configs: {config} names no model.class_path; give encoder configurations") from error
        linear_path = bool((model.get("init_args") or {}).get("linear_path", False))
        encoders.append(EncoderConfig(path.stem, config, text, class_path.endswith("RidgeModule"), linear_path))
    names = [encoder.name for encoder in encoders]
    if not encoders or len(set(names)) < len(names):
        raise UsageError(f"--configs: name one file or more, each with a file name of its own, got {configs}")
    return encoders


def plan_fits(encoders: list[EncoderConfig], n_seeds: int, folder: Path) -> list[Fit]:
    """List all fits: encoders by uses of repeats by seeds, ridges first.

    Args:
        encoders: What to compare.
        n_seeds: Training seeds of each network.
        folder: Root of all fits.

    Returns:
        The fits in the order in which they must run.

    Raises:
        UsageError: If a network starts from ridge and there is none.
    """
    ridge = next((encoder for encoder in encoders if encoder.solved), None)
    fits = []
    for encoder in sorted(encoders, key=lambda encoder: not encoder.solved):
        if encoder.linear_path and ridge is None:
            raise UsageError(f"--configs: {encoder.name} starts from ridge; name configs/encoder/ridge.yaml too")
        for mode in MODES:
            start = None
            if encoder.linear_path and ridge is not None:
                start = folder / ridge.name / mode / "seed0" / "ridge" / SUBJECT / "ridge.ckpt"
            fits += [
                Fit(encoder, mode, seed, folder / encoder.name / mode / f"seed{seed}", initial=start)
                for seed in encoder.seeds(n_seeds)
            ]
    return fits


def run_fit(fit: Fit, subject: KnownSubject) -> LoadedEncoder:
    """Fit, unless this fit was finished before on these inputs, and load the encoder.

    Args:
        fit: What to fit.
        subject: On which subject.

    Returns:
        The encoder.

    Raises:
        StageError: If the command failed; its own message stands above.
    """
    from fmri_lightning.cli import main
    from fmri_lightning.encoder.load import load_encoder

    record: dict[str, Any] = {
        "config": content_hash(fit.encoder.text, " ".join(fit.words(subject))),
        "inputs": subject_hashes(subject),
        "initial": None if fit.initial is None else load_encoder(fit.initial).content_hash,
    }
    record_file = fit.folder / "fitted.json"
    if record_file.is_file() and read_json(record_file) == record:
        print("fitted before, taken as it is", flush=True)
        return load_encoder(fit.checkpoint())
    record_file.unlink(missing_ok=True)
    words = fit.words(subject)
    print(f"$ {shlex.join(['fmri-lightning', *words])}", flush=True)
    code = main(words)
    if code == InterruptedRunError.exit_code:
        raise InterruptedRunError("ceiling interrupted; the same command goes on with the fit that was running")
    if code != 0:
        failure = StageError(f"ceiling stopped: the fit of {fit.encoder.name} failed, see above")
        failure.exit_code = code
        raise failure
    encoder = load_encoder(fit.checkpoint())
    if encoder.inputs != record["inputs"]:
        raise BadInputError(f"{fit.checkpoint()} was fitted on other inputs; remove {fit.folder} and run again")
    write_json(record_file, record)
    return encoder


def subject_hashes(subject: KnownSubject) -> dict[str, str]:
    """Read the content hashes that a checkpoint fitted on the subject carries."""
    from fmri_lightning.embeddings.cache import read_cache_manifest
    from fmri_lightning.manifest import read_manifest

    store = subject.store().manifest
    preproc = read_manifest(Path(subject.inputs["preproc"]) / SUBJECT, "preproc")
    cache, _ = read_cache_manifest(Path(subject.inputs["clip_cache"]))
    return {"preproc": preproc.content_hash, "split": store.inputs["split"], "clip_cache": cache.content_hash}


def rows_to_predict(subject: KnownSubject, mode: Mode) -> PredictionRows:
    """Take the test trials, averaged over the repeats of a picture or one by one.

    Args:
        subject: The subject.
        mode: "average" or "single".

    Returns:
        Rows by ascending picture.
    """
    table = subject.table()
    rows = np.flatnonzero(table.split == "test")
    rows = rows[np.argsort(table.nsd_id[rows], kind="stable")]
    ids, betas = table.nsd_id[rows], np.asarray(subject.store().betas[rows], dtype=np.float32)
    if mode == "single":
        return PredictionRows(ids, betas, 1)
    unique, mean = average_repeats(betas, ids)
    return PredictionRows(unique, mean, int(table.n_repeats[rows[0]]))


def predict(encoder: LoadedEncoder, subject: KnownSubject, rows: PredictionRows) -> NDArray[np.float32]:
    """Predict raw embeddings (N, D) with the subject's preprocessing."""
    import torch

    from fmri_lightning.betas.preprocess import Preprocess

    transform = Preprocess.load(Path(subject.inputs["preproc"]) / SUBJECT).eval()
    with torch.no_grad():
        predicted: Any = encoder(transform(torch.from_numpy(rows.betas)))
    return np.asarray(predicted.numpy(), dtype=np.float32)
