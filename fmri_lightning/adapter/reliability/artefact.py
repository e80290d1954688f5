"""The reliability of an encoder's predictions as a folder: what it is, written and read."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fmri_lightning.adapter.reliability.error_map import ErrorMap, Ordering
from fmri_lightning.adapter.reliability.noise_levels import NoiseMode, match_levels
from fmri_lightning.encoder.network import build_predictor
from fmri_lightning.encoder.stored import record_of_stimuli, require_inputs
from fmri_lightning.encoder.uncertainty.leverage import RidgeLeverage
from fmri_lightning.encoder.uncertainty.repeats import RepeatNoise
from fmri_lightning.encoder.uncertainty.signals import ItemFeatures, TrialMode, Uncertainty
from fmri_lightning.errors import BadInputError
from fmri_lightning.manifest import Manifest, atomic_path, content_hash, read_manifest, write_manifest

FILE = "reliability.safetensors"
AGAIN = "fit it again: fmri-lightning reliability"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the map was fitted on, kept so that it can be checked.

    Attributes:
        nsd_ids: Val picture of each item, (n,) int32.
        signals: Uncertainties, (n, 3) float64.
        errors: RMS errors, (n,) float64, standardised.
        truncation: Largest part of a leverage that the truncated basis may be off by, 0 for a whole one.
    """

    nsd_ids: NDArray[np.int32]
    signals: NDArray[np.float64]
    errors: NDArray[np.float64]
    truncation: float = 0.0


@dataclass(frozen=True)
class Settings:
    """How an expected error becomes a noise level.

    Attributes:
        scale: Factor on the error, at least 0.
        max_level: Largest level given, 0..999.
        spread: Of embeddings where the generator adds noise: 1 for one that standardises them, the RMS of the
            standard deviations of raw embeddings for one that takes them raw.
    """

    scale: float
    max_level: int
    spread: float


@dataclass(frozen=True, eq=False)
class Reliability:
    """Expected error and noise level of any prediction of one encoder.

    Attributes:
        uncertainty: Numbers of an item.
        error_map: From them to the expected RMS error.
        ordering: How well that orders errors.
        evidence: What it was fitted on.
        settings: From error to level.
        members: Description of each further encoder, plain types.
        inputs: Content hashes of "encoder", "split" and, where used, "adapter" and "calibration".
    """

    uncertainty: Uncertainty
    error_map: ErrorMap
    ordering: Ordering
    evidence: Evidence
    settings: Settings
    members: list[dict[str, Any]]
    inputs: dict[str, str]

    def expected_errors(self, encoder: nn.Module, items: ItemFeatures) -> NDArray[np.float64]:
        """Expected RMS error of each item's prediction of the target, (n,), standardised.

        Args:
            encoder: The encoder it belongs to.
            items: Features of the items.
        """
        return self.error_map.errors(self.uncertainty.signals(encoder, items))

    def levels(self, errors: NDArray[np.float64], noise_mode: NoiseMode) -> NDArray[np.int32]:
        """Noise level of each expected error, int32 (n,), 0..999."""
        to, calibrated = self.settings, "calibration" in self.inputs
        return match_levels(errors * to.scale, noise_mode, calibrated, to.max_level, to.spread)

    @property
    def trial_mode(self) -> TrialMode:
        """The use of repeats that it was fitted for."""
        return self.uncertainty.trial_mode

    def tensors(self) -> dict[str, NDArray[Any]]:
        """All arrays by name."""
        noise = self.uncertainty.repeats
        found: dict[str, NDArray[Any]] = {
            "mean": self.uncertainty.mean,
            "std": self.uncertainty.std,
            "repeats": np.array([noise.variance, noise.between, noise.dimensions]),
            "map.exponents": self.error_map.exponents,
            "map.index": self.error_map.index,
            "map.log_error": self.error_map.log_error,
            "val.nsd_ids": self.evidence.nsd_ids,
            "val.signals": self.evidence.signals,
            "val.errors": self.evidence.errors,
        }
        if self.uncertainty.leverage is not None:
            found |= {f"leverage.{k}": v.numpy() for k, v in self.uncertainty.leverage.state_dict().items()}
        for place, member in enumerate(self.uncertainty.members):
            found |= {f"member{place}.{k}": v.cpu().numpy() for k, v in member.state_dict().items()}
        return {name: np.ascontiguousarray(array) for name, array in sorted(found.items())}

    def config(self) -> dict[str, Any]:
        """Everything else, plain types."""
        ordering: dict[str, Any] = {k: _number(v) for k, v in dataclasses.asdict(self.ordering).items()}
        return {
            "trial_mode": self.trial_mode,
            "map": self.error_map.kind,
            "ordering": ordering,
            "passes": self.uncertainty.passes,
            "members": self.members,
            "truncation": self.evidence.truncation,
            **dataclasses.asdict(self.settings),
            "fitted_on": record_of_stimuli(self.evidence.nsd_ids),
        }

    @property
    def content_hash(self) -> str:
        """Hash over arrays and settings."""
        parts: list[Any] = [json.dumps(self.config(), sort_keys=True)]
        for name, array in self.tensors().items():
            parts += [name, array]
        return content_hash(*parts)


def reliability_folder(root: Path | str, encoder: str, subject: str) -> Path:
    """Name the folder: ``{root}/reliability/{encoder}/{subject}``."""
    return Path(root) / "reliability" / encoder / subject


def save_reliability(folder: Path | str, reliability: Reliability) -> Path:
    """Write a reliability and its manifest.

    Args:
        folder: As named by :func:`reliability_folder`.
        reliability: Fitted.

    Returns:
        The folder.
    """
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    with atomic_path(folder / FILE) as temporary:
        save_file(reliability.tensors(), temporary)
    manifest = Manifest("reliability", reliability.content_hash, reliability.inputs, reliability.config())
    write_manifest(folder, manifest)
    return folder


def load_reliability(folder: Path | str, inputs: dict[str, str], trial_mode: str | None) -> Reliability:
    """Read the reliability of the encoder, adapter and calibration at hand.

    Args:
        folder: As named by :func:`reliability_folder`.
        inputs: Content hashes of "encoder" and "split" and, where used, "adapter" and "calibration".
        trial_mode: The use of repeats at hand; None takes any.

    Returns:
        The reliability.

    Raises:
        BadInputError: Missing, damaged, of other parts, or of another use of repeats.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, "reliability")
    if set(manifest.inputs) != set(inputs):
        raise BadInputError(
            f"the reliability {folder} is of {sorted(manifest.inputs)}, this run has {sorted(inputs)}; {AGAIN}"
        )
    require_inputs(manifest.inputs, inputs, f"the reliability {folder}")
    reliability = _read(folder, manifest)
    if reliability.content_hash != manifest.content_hash:
        raise BadInputError(f"{folder / FILE} does not match its manifest; {AGAIN}")
    if trial_mode is not None and reliability.trial_mode != trial_mode:
        raise BadInputError(
            f"the reliability {folder} is of trial_mode {reliability.trial_mode}, this run has {trial_mode}: "
            f"repeats count for other errors there; {AGAIN} --trial_mode {trial_mode}"
        )
    return reliability


def _read(folder: Path, manifest: Manifest) -> Reliability:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays, config = load_file(folder / FILE), manifest.config
        leverage = None
        if "leverage.mean" in arrays:
            leverage = RidgeLeverage(
                **{name: torch.from_numpy(arrays[f"leverage.{name}"]) for name in RidgeLeverage.NAMES}
            )
        members = [_member(arrays, place, one) for place, one in enumerate(config["members"])]
        noise = RepeatNoise(*arrays["repeats"].tolist())
        ordering: dict[str, Any] = {k: float("nan") if v is None else v for k, v in config["ordering"].items()}
        return Reliability(
            Uncertainty(
                arrays["mean"], arrays["std"], leverage, members, noise, config["trial_mode"], int(config["passes"])
            ),
            ErrorMap(config["map"], arrays["map.exponents"], arrays["map.index"], arrays["map.log_error"]),
            Ordering(**ordering),
            Evidence(arrays["val.nsd_ids"], arrays["val.signals"], arrays["val.errors"], float(config["truncation"])),
            Settings(float(config["scale"]), int(config["max_level"]), float(config["spread"])),
            list(config["members"]),
            dict(manifest.inputs),
        )
    except (OSError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise BadInputError(f"{folder / FILE} cannot be read ({error}); {AGAIN}") from error


def _member(arrays: dict[str, NDArray[Any]], place: int, description: dict[str, Any]) -> nn.Module:
    member = build_predictor(description["predictor"])
    prefix = f"member{place}."
    state = {k.removeprefix(prefix): torch.from_numpy(v) for k, v in arrays.items() if k.startswith(prefix)}
    member.load_state_dict(state)
    return member.eval().requires_grad_(False)


def _number(value: float) -> float | None:
    """JSON holds no NaN."""
    return value if np.isfinite(value) else None
