"""`clip-cache`: encode every stimulus once."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.embeddings.cache import EmbeddingCache, read_cache_manifest, write_cache
from fmri_lightning.embeddings.spaces import SpaceSpec, resolve_space
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.index.stimuli import stimuli_identity
from fmri_lightning.locks import run_lock
from fmri_lightning.records import EmbeddingSpace

if TYPE_CHECKING:
    from fmri_lightning.embeddings.open_encoder import PictureEncoder
    from fmri_lightning.index.stimuli import StimulusSource


def clip_cache(
    root: Path | None = None,
    images: Path | None = None,
    stimuli: str | None = None,
    space: str | None = None,
    model_id: str | None = None,
    revision: str | None = None,
    out: Path = Path("outputs/clip_cache/clip.parquet"),
    limit: int | None = None,
    batch_size: int = 64,
    devices: str = "auto",
    dry_run: bool = False,
    overwrite: bool = False,
) -> None:
    """Encode every stimulus with a CLIP image tower, or an autoencoder, and store the raw vectors.

    Parts of 4,096 vectors are written as they come; the same command resumes a run that was stopped.

    Args:
        root: Data root with pictures: nsd_stimuli.hdf5, COCO photographs, MindEye2's file, or a folder stimuli; by
            default none, and images is needed.
        images: Folder of pictures, instead of root; by default none.
        stimuli: nsd_imagery or nsd_synthetic: the pictures of that experiment under root, and no others; by default the
            catalogue of root.
        space: Short name: vit-b-32 (by default), vit-l-14, vit-h-14, vit-bigg-14, mini-source, mini-target; of
            layout instead of meaning: sd-vae, mini-vae; or a folder written by save_pretrained, of a CLIP tower or an
            AutoencoderKL.
        model_id: Hub id of another CLIP model, instead of space; needs revision; by default space says it.
        revision: Commit of the hub repository; by default the one pinned for space.
        out: Parquet file to write.
        limit: Encode the first N stimuli only; by default all.
        batch_size: Pictures a batch; every batch is padded to it.
        devices: Number of devices, or auto.
        dry_run: Say what would be done; load and write nothing.
        overwrite: Start anew where out holds another cache.

    Raises:
        UsageError: If flags contradict each other.
        BadInputError: If pictures or weights cannot be read, or out holds vectors of another model or of
            other pictures.
    """
    from fmri_lightning.index.stimuli import open_stimuli

    if (root is None) == (images is None):
        raise UsageError("give either --root DIR (an NSD tree) or --images DIR (a folder of pictures)")
    if stimuli is not None and root is None:
        raise UsageError("--stimuli names an experiment of an NSD tree; give the tree with --root DIR")
    if batch_size < 1 or (limit is not None and limit < 1):
        raise UsageError("--batch_size and --limit start at 1")
    spec = resolve_space(space if space or model_id else "vit-b-32", model_id, revision)
    source = open_stimuli(root, images, stimuli)
    ids = np.sort(np.asarray(source.ids, dtype=np.int32))[:limit]
    config = _config(root, images, stimuli, spec)
    kept = _existing(out, spec, config, overwrite)
    left = np.setdiff1d(ids, np.concatenate([cache.ids for cache in kept])) if kept else ids
    say = print if _is_first_process() else _silent
    say(f"{out}: {len(ids)} stimuli with {spec.model_id}, {len(ids) - len(left)} done, {len(left)} to do")
    if dry_run:
        say(f"{-(-len(left) // batch_size)} batches of {batch_size}; nothing loaded, nothing written")
        return
    if not len(left) and [cache.path for cache in kept] == [out]:
        say("complete already")
        return
    encoder = _load_encoder(spec, kept)
    with run_lock(_parts(out)) if _is_first_process() else nullcontext():
        if overwrite and _is_first_process():
            _remove_parts(out, kept)
        if _encode(encoder, source, left, batch_size, devices, _parts(out), config):
            digest = _merge(out, ids, encoder.space, kept, config)
            say(f"wrote {out}: {len(ids)} x {encoder.dim}, content hash {digest[:12]}")
    if _is_first_process():
        shutil.rmtree(_parts(out), ignore_errors=True)


def _config(root: Path | None, images: Path | None, stimuli: str | None, spec: SpaceSpec) -> dict[str, Any]:
    """Describe what is encoded."""
    simulated = root is not None and (root / "SIMULATED.json").is_file()
    return {
        "stimuli": stimuli_identity(root, images, stimuli),
        "simulated": simulated,
        "preprocessing": spec.preprocessing,
    }


def _parts(out: Path) -> Path:
    return out.with_name(f"{out.name}.parts")


def _existing(out: Path, spec: SpaceSpec, config: dict[str, Any], overwrite: bool) -> list[EmbeddingCache]:
    """Open what earlier runs left; refuse vectors of another model or of other pictures."""
    kept = [_open_matching(out, spec, config)] if out.exists() and not overwrite else []
    for path in sorted(_parts(out).glob("part_*.parquet")):
        try:
            kept.append(_open_matching(path, spec, config))
        except BadInputError:
            if not overwrite:
                raise
    return kept


def _open_matching(path: Path, spec: SpaceSpec, config: dict[str, Any]) -> EmbeddingCache:
    manifest, space = read_cache_manifest(path)
    if space.model_id != spec.model_id or space.revision != (spec.revision or ""):
        theirs, ours = (f"{one.model_id} {one.revision or ''}".strip() for one in (space, spec))
        raise BadInputError(
            f"{path} holds embeddings of {theirs}, not of {ours}; one file holds one space: "
            "give another --out, or --overwrite"
        )
    if manifest.config.get("stimuli") != config["stimuli"]:
        raise BadInputError(f"{path} was made from other pictures than those given; give another --out, or --overwrite")
    return EmbeddingCache.open(path)


def _load_encoder(spec: SpaceSpec, kept: list[EmbeddingCache]) -> PictureEncoder:
    from fmri_lightning.embeddings.open_encoder import open_encoder

    encoder = open_encoder(spec)
    # Described on the CPU, before the device may change its roundings.
    weights = encoder.space.weights_hash
    for cache in kept:
        if cache.space.weights_hash != weights:
            raise BadInputError(
                f"{cache.path} was made with other weights of {spec.model_id} than those at hand; "
                "give another --out, or --overwrite"
            )
    return encoder


def _encode(
    encoder: PictureEncoder,
    source: StimulusSource,
    ids: NDArray[np.int32],
    batch_size: int,
    devices: str,
    parts: Path,
    config: dict[str, Any],
) -> bool:
    """Run the predict loop over what is left; True in the one process that merges."""
    if not len(ids):
        return _is_first_process()
    from lightning.pytorch import Trainer

    from fmri_lightning.embeddings.data import EmbeddingDataModule
    from fmri_lightning.embeddings.module import PART_SIZE, EmbeddingModule, PartWriter
    from fmri_lightning.progress import quiet_lightning

    with quiet_lightning():
        trainer = Trainer(
            devices=int(devices) if devices.isdigit() else devices,
            precision="32-true",
            callbacks=[PartWriter(parts, PART_SIZE, config)],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stderr.isatty(),
            use_distributed_sampler=False,
        )
        data = EmbeddingDataModule(source, ids, batch_size)
        trainer.predict(EmbeddingModule(encoder, batch_size), datamodule=data, return_predictions=False)
        trainer.strategy.barrier("clip-cache parts")
    return bool(trainer.is_global_zero)


def _merge(
    out: Path,
    ids: NDArray[np.int32],
    space: EmbeddingSpace,
    kept: list[EmbeddingCache],
    config: dict[str, Any],
) -> str:
    """Join the finished rows by id and check that none is missing."""
    caches = [cache for cache in kept if cache.path == out]
    caches += [EmbeddingCache.open(path) for path in sorted(_parts(out).glob("part_*.parquet"))]
    # An earlier run may have gone further than --limit now says; its rows stay.
    wanted = np.unique(np.concatenate([ids, *(cache.ids for cache in caches)]))
    vectors = np.empty((len(wanted), space.dim), dtype=np.float32)
    filled = np.zeros(len(wanted), dtype=bool)
    for cache in caches:
        rows = np.searchsorted(wanted, cache.ids)
        vectors[rows] = cache.embeddings
        filled[rows] = True
    if not filled.all():
        raise BadInputError(
            f"{out}: {int((~filled).sum())} stimuli were not encoded, first nsd_id {wanted[~filled][0]}; "
            "run the same command again"
        )
    return write_cache(out, wanted, vectors, space, config)


def _remove_parts(out: Path, kept: list[EmbeddingCache]) -> None:
    """Remove parts of another space, which --overwrite gives up."""
    for path in set(_parts(out).glob("part_*.parquet")) - {cache.path for cache in kept}:
        path.unlink()


def _is_first_process() -> bool:
    """Tell whether this is the process that merges, before Lightning has counted them."""
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"))


def _silent(line: str) -> None:
    """Say nothing in the processes that only help."""
