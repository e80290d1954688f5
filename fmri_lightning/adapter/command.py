"""`calibrate`: fit the map that gives an encoder's predictions the mean and spread of real embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.errors import BadInputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from fmri_lightning.adapter.calibration import Calibration
    from fmri_lightning.adapter.load import LoadedAdapter
    from fmri_lightning.adapter.voxels import Voxels
    from fmri_lightning.embeddings.cache import EmbeddingCache
    from fmri_lightning.records import EmbeddingSpace


def calibrate(
    encoder_ckpt: Path,
    adapter_ckpt: Path | None = None,
    index_root: Path = Path("outputs/nsd_index"),
    betas: Path = Path("outputs/betas"),
    preproc: Path = Path("outputs/preproc"),
    clip_cache: Path = Path("outputs/clip_cache/clip.parquet"),
    target_cache: Path | None = None,
    subject: str = "subj01",
    predictions: Literal["val", "out_of_fold"] = "val",
    root: Path = Path("checkpoints"),
) -> None:
    """Fit the calibration of an encoder and adapter, for predict --model.calibration.

    Predictions are shrunken towards the mean. The calibration gives them the mean and spread per dimension that real
    embeddings of the training pictures have. It never reads test pictures.

    Args:
        encoder_ckpt: Fitted encoder.
        adapter_ckpt: Fitted adapter; leave it out where predict uses none.
        index_root: Folder of the index.
        betas: Beta store of the subject, or the folder of all subjects' stores.
        preproc: Preprocessing of the subject, or the folder of all subjects'.
        clip_cache: Embeddings that the encoder was fitted on.
        target_cache: Embeddings that the adapter was fitted on; needed for the scores of an adapter, which by default
            are left out.
        subject: Subject, for instance subj01.
        predictions: Whose predictions are measured: val, predictions of val pictures; out_of_fold, of the training
            pictures by encoders that were not fitted on them (the folder out_of_fold beside the encoder).
        root: Folder of all checkpoints; writes calibration/{encoder}/{subject} in it.

    Raises:
        UsageError: If flags contradict each other.
        BadInputError: If a part is missing or damaged, or two parts were made from different inputs.
    """
    from fmri_lightning.adapter.calibration import calibration_folder, save_calibration
    from fmri_lightning.adapter.voxels import open_voxels

    if target_cache is not None and adapter_ckpt is None:
        raise UsageError("--target_cache goes with --adapter_ckpt; without an adapter the target is the clip cache's")
    voxels = open_voxels(encoder_ckpt, index_root, betas, preproc, clip_cache, subject)
    target = _open_target(voxels, encoder_ckpt, adapter_ckpt, clip_cache, target_cache)
    val, val_ids = voxels.predicted("val")
    if predictions == "val":
        source, ids = val, val_ids
    else:
        source, ids = _out_of_fold(voxels, encoder_ckpt, target.adapter)
    calibration = _fit(target, voxels, source, ids, predictions)
    folder = calibration_folder(root, voxels.encoder.name, subject)
    replaced = (folder / "manifest.json").is_file()
    save_calibration(folder, calibration)
    print(f"{folder}: from {len(ids)} predictions ({predictions}){', replaces the one there' if replaced else ''}")
    print("\n".join(_changes(target, calibration, source, predictions, val, val_ids)))
    print(f"use it with: fmri-lightning predict --model.calibration {folder}")


@dataclass(frozen=True)
class _Target:
    """Where the calibrated embeddings live: what leads there, its statistics, and true embeddings if at hand."""

    adapter: LoadedAdapter | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    median_norm: float
    cache: EmbeddingCache | None

    @classmethod
    def of(
        cls, adapter: LoadedAdapter | None, space: EmbeddingSpace, cache: EmbeddingCache | None, what: str
    ) -> _Target:
        if space.mean is None or space.std is None or space.median_norm is None:
            raise BadInputError(f"{what} carries no statistics of its training embeddings; fit it again")
        return cls(adapter, space.mean, space.std, space.median_norm, cache)

    def embed(self, source: Tensor) -> Tensor:
        return source if self.adapter is None else self.adapter(source)


def _open_target(
    voxels: Voxels, encoder_ckpt: Path, adapter_ckpt: Path | None, clip_cache: Path, target_cache: Path | None
) -> _Target:
    from fmri_lightning.adapter.load import load_adapter
    from fmri_lightning.embeddings.cache import EmbeddingCache
    from fmri_lightning.encoder.stored import require_inputs
    from fmri_lightning.records import require_same_space

    encoder = voxels.encoder
    if adapter_ckpt is None:
        return _Target.of(None, encoder.space, EmbeddingCache.open(clip_cache), f"encoder {encoder_ckpt}")
    adapter, what = load_adapter(adapter_ckpt), f"adapter {adapter_ckpt}"
    if adapter.subject != encoder.subject:
        raise BadInputError(f"{what} is of {adapter.subject}, the encoder of {encoder.subject}; use two of one subject")
    require_same_space(encoder.space, adapter.source_space, f"encoder {encoder_ckpt}", what)
    at_hand = {"split": voxels.data.inputs["split"]}
    cache = None if target_cache is None else EmbeddingCache.open(target_cache)
    if cache is not None:
        at_hand["target_cache"] = cache.content_hash
    require_inputs(adapter.inputs, at_hand, what)
    return _Target.of(adapter, adapter.target_space, cache, what)


def _out_of_fold(voxels: Voxels, encoder_ckpt: Path, adapter: LoadedAdapter | None) -> tuple[Tensor, NDArray[np.int32]]:
    import torch

    from fmri_lightning.adapter.mixing import open_out_of_fold
    from fmri_lightning.encoder.out_of_fold import out_of_fold_folder
    from fmri_lightning.index.table import read_index

    encoder, data = voxels.encoder, voxels.data
    if adapter is not None and "out_of_fold" in adapter.inputs:
        raise UsageError(
            "this adapter was trained on out-of-fold predictions, on which it predicts better than on new ones; "
            "calibrate with --predictions val"
        )
    if encoder.trial_mode == "single":
        raise UsageError(
            "out-of-fold predictions are one a picture, this encoder predicts from single trials; "
            "calibrate with --predictions val"
        )
    folder = out_of_fold_folder(encoder_ckpt)
    train_ids = read_index(data.index_root, data.subject).of_split("train").nsd_id
    made_from = {name: data.inputs[name] for name in ("preproc", "split", "clip_cache")}
    found = open_out_of_fold(folder, data.subject, train_ids, made_from, encoder.space, f"encoder {encoder_ckpt}")
    if (found.encoder, found.trial_mode) != (encoder.name, encoder.trial_mode):
        raise BadInputError(
            f"the out-of-fold predictions {folder} are of {found.encoder} in trial_mode {found.trial_mode}, "
            f"{encoder_ckpt} is {encoder.name} in trial_mode {encoder.trial_mode}; fit the encoder again"
        )
    return torch.from_numpy(found.predictions), found.nsd_ids


def _fit(target: _Target, voxels: Voxels, source: Tensor, ids: NDArray[np.int32], predictions: str) -> Calibration:
    import torch

    from fmri_lightning.adapter.calibration import EmbeddingStatistics, fit_calibration

    statistics = EmbeddingStatistics(torch.tensor(target.mean), torch.tensor(target.std))
    made_from = {"encoder": voxels.encoder.content_hash}
    if target.adapter is not None:
        made_from["adapter"] = target.adapter.content_hash
    config = {"predictions": predictions, "trial_mode": voxels.encoder.trial_mode}
    return fit_calibration(target.embed(source), statistics, made_from, ids, config)


def _changes(
    target: _Target,
    calibration: Calibration,
    source: Tensor,
    predictions: str,
    val: Tensor,
    val_ids: NDArray[np.int32],
) -> list[str]:
    """Say what the calibration changes: length and spread of the predictions, and the score on val."""
    from fmri_lightning.metrics.cosine import centred_cosine

    before = target.embed(source).double()
    after = calibration(before.float()).double()
    spread = [float(x.std(dim=0, correction=0).mean()) for x in (before, after)]
    norm = [float(x.norm(dim=1).median()) for x in (before, after)]
    real = float(np.mean(target.std))
    lines = [
        f"median norm {norm[0]:.4g} -> {norm[1]:.4g} (real embeddings {target.median_norm:.4g}), "
        f"mean spread per dimension {spread[0]:.4g} -> {spread[1]:.4g} (real {real:.4g})"
    ]
    if target.cache is None:
        return [*lines, "centred cosine on val not computed: name --target_cache"]
    raw = target.embed(val)
    true, mean = target.cache.rows(val_ids), np.asarray(target.mean)
    scores = [float(np.mean(centred_cosine(x.numpy(), true, mean))) for x in (raw, calibration(raw))]
    own = ", the pictures it was fitted on" if predictions == "val" else ""
    return [*lines, f"centred cosine on val {scores[0]:.4f} -> {scores[1]:.4f}{own}"]
