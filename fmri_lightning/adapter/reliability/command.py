"""`reliability`: learn on val pictures how far off each prediction of an encoder is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fmri_lightning.errors import UsageError

if TYPE_CHECKING:
    from fmri_lightning.adapter.reliability.artefact import Reliability, Settings
    from fmri_lightning.records import EmbeddingSpace

DEFAULT_SCALE = 0.5
MAX_LEVEL_OF_MINI = 350
LAST_LEVEL = 999


def reliability(
    encoder_ckpt: Path,
    adapter_ckpt: Path | None = None,
    calibration: Path | None = None,
    members: list[Path] | None = None,
    index_root: Path = Path("outputs/nsd_index"),
    betas: Path = Path("outputs/betas"),
    preproc: Path = Path("outputs/preproc"),
    clip_cache: Path = Path("outputs/clip_cache/clip.parquet"),
    target_cache: Path | None = None,
    subject: str = "subj01",
    trial_mode: Literal["average", "average_outputs", "single"] | None = None,
    scale: float = DEFAULT_SCALE,
    max_level: int | None = None,
    embedding_scale: Literal["standardised", "raw"] | None = None,
    passes: int = 32,
    max_rank: int = 2048,
    root: Path = Path("checkpoints"),
) -> None:
    """Learn on val pictures how far off each prediction is, for predict --model.reliability.

    Every prediction then gets its own noise level, which tells unCLIP how unreliable the embedding is. Where the
    encoder's uncertainty does not order the errors of val pictures, all get one level, and that is said. Test pictures
    are never read.

    Args:
        encoder_ckpt: Fitted encoder.
        adapter_ckpt: Fitted adapter; leave it out where predict uses none.
        calibration: Folder of a calibration, where predict uses one; null for none.
        members: Further encoders of the same inputs, fitted with other seeds: what they disagree about is uncertain.
            They are copied into the artefact; null for none.
        index_root: Folder of the index.
        betas: Beta store of the subject, or the folder of all subjects' stores.
        preproc: Preprocessing of the subject, or the folder of all subjects'.
        clip_cache: Embeddings that the encoder was fitted on.
        target_cache: Embeddings that the adapter was fitted on; needed with an adapter, null without one.
        subject: Subject, for instance subj01.
        trial_mode: How predict will use repeats: average, average_outputs or single; null takes the encoder's.
        scale: Factor on the expected error before it becomes a level; 0 gives level 0 throughout.
        max_level: Largest level given, 0..999: what the generator was trained at. null takes 350 for the mini model
            and 999 for others.
        embedding_scale: Where the generator adds noise: standardised embeddings, or raw ones; null takes raw for
            vit-h-14, which Stable Diffusion 2.1 unCLIP reads as it is, and standardised for others.
        passes: Dropout passes of a network per item.
        max_rank: Eigenvectors kept of a ridge's training rows; fewer take less room, and the bound is printed.
        root: Folder of all checkpoints; writes reliability/{encoder}/{subject} in it.

    Raises:
        UsageError: If flags contradict each other.
        BadInputError: If a part is missing or damaged, or two parts were made from different inputs.
    """
    from fmri_lightning.adapter.reliability.artefact import reliability_folder, save_reliability
    from fmri_lightning.adapter.reliability.fit import TargetOf, fit_reliability
    from fmri_lightning.adapter.voxels import open_voxels
    from fmri_lightning.embeddings.cache import EmbeddingCache

    if (adapter_ckpt is None) != (target_cache is None):
        raise UsageError("--target_cache goes with --adapter_ckpt: errors are those of the embedding pictures get")
    _check_numbers(scale, max_level, passes, max_rank)
    voxels = open_voxels(encoder_ckpt, index_root, betas, preproc, clip_cache, subject)
    truth = EmbeddingCache.open(clip_cache if target_cache is None else target_cache)
    target = TargetOf(voxels.encoder, adapter_ckpt, calibration, truth)

    def settings(space: EmbeddingSpace) -> Settings:
        return _settings(space, scale, max_level, embedding_scale)

    found = fit_reliability(voxels, target, members or [], trial_mode, passes, max_rank, settings)
    folder = reliability_folder(root, voxels.encoder.name, subject)
    replaced = (folder / "manifest.json").is_file()
    save_reliability(folder, found)
    n_stimuli = found.ordering.n_stimuli
    print(f"{folder}: from {n_stimuli} val pictures{', replaces the one there' if replaced else ''}")
    print("\n".join(_told(found)))
    print(f"use it with: fmri-lightning predict --model.reliability {folder}")


def _check_numbers(scale: float, max_level: int | None, passes: int, max_rank: int) -> None:
    if not 0 <= scale < float("inf"):
        raise UsageError(f"--scale is a factor of at least 0, not {scale}")
    if max_level is not None and not 0 <= max_level <= LAST_LEVEL:
        raise UsageError(f"--max_level lies in 0..{LAST_LEVEL}, not {max_level}")
    if passes < 2 or max_rank < 1:
        raise UsageError(f"--passes is at least 2 and --max_rank at least 1, not {passes} and {max_rank}")


def _settings(space: EmbeddingSpace, scale: float, max_level: int | None, embedding_scale: str | None) -> Settings:
    import numpy as np

    from fmri_lightning.adapter.reliability.artefact import Settings

    if max_level is None:
        max_level = MAX_LEVEL_OF_MINI if space.name == "mini-target" else LAST_LEVEL
    raw = space.name == "vit-h-14" if embedding_scale is None else embedding_scale == "raw"
    spread = float(np.sqrt(np.mean(np.square(space.std or (1.0,))))) if raw else 1.0
    return Settings(scale, max_level, spread)


def _told(found: Reliability) -> list[str]:
    """What was found, in words."""
    import numpy as np

    errors, ordering = found.evidence.errors, found.ordering
    expected = found.error_map.errors(found.evidence.signals)
    rms = float(np.sqrt(np.square(errors).mean()))
    lines = [f"errors of the target embedding, standardised: RMS {rms:.3f}, {errors.min():.3f} to {errors.max():.3f}"]
    rho = (
        "there is no uncertainty that differs between items"
        if np.isnan(ordering.rho)
        else f"rank correlation of expected and true error on held-out val pictures {ordering.rho:.3f} "
        f"[{ordering.low:.3f}, {ordering.high:.3f}]"
    )
    lines.append(rho)
    if not ordering.useful:
        lines.append(
            "this does not show that the encoder knows which of its predictions are off: ALL items get one level, that "
            "of the mean error"
        )
    else:
        lines.append(f"expected errors {expected.min():.3f} to {expected.max():.3f} ({found.error_map.kind})")
    leverage = found.uncertainty.leverage
    if leverage is not None:
        rank, width = leverage.basis.shape[1], leverage.basis.shape[0]
        lines.append(f"leverage from {rank} eigenvectors of {min(width, int(leverage.n_train))}{_bound(found)}")
    for mode in ("add", "label_only"):
        levels = found.levels(expected, mode)
        low, middle, high = np.percentile(levels, [0, 50, 100]).astype(int)
        lines.append(
            f"noise_level with noise_mode {mode}: {low} to {high}, median {middle} (scale {found.settings.scale:g})"
        )
    return lines


def _bound(found: Reliability) -> str:
    largest = found.evidence.truncation
    return "" if largest == 0 else f", off by {100 * largest:.2g} % of itself at most on val pictures"
