"""Low-rank adapters (LoRA) of a decoder's U-Net as an artefact: written by fit, checked and merged by predict.

``pytorch_lora_weights.safetensors`` is in diffusers' own format (Hu et al. 2021, arXiv 2106.09685): other programs load
it by ``pipe.load_lora_weights``. Beside it lies which stimuli it was trained on, so that a picture of one of them is
never taken for a reconstruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmri_lightning.encoder.stored import record_of_stimuli
from fmri_lightning.errors import BadInputError, UsageError
from fmri_lightning.generation.decoder import DecoderConfig
from fmri_lightning.generation.inputs import same_space
from fmri_lightning.manifest import Manifest, atomic_path, content_hash, read_manifest, write_manifest
from fmri_lightning.records import EmbeddingSpace

KIND = "lora"
WEIGHTS_FILE = "pytorch_lora_weights.safetensors"
"""The name that diffusers looks for."""
IDS_FILE = "nsd_ids.npy"
FAMILIES = ("unclip", "mini")
"""Families whose U-Net can be adapted."""
AGAIN = "train it again: fmri-lightning fit --config configs/lora.yaml"
_PREFIX = "unet"
_NAME = "lora"


@dataclass(frozen=True, eq=False)
class LoraFolder:
    """A trained adapter as it lies on disk.

    Attributes:
        path: The folder.
        weights: Tensors by the names diffusers gives them, float32.
        nsd_ids: Stimuli it was trained on, ascending, (n,) int32.
        space: Space of the embeddings that its U-Net is told.
        base: :func:`weights_hash` of the U-Net it belongs to.
        manifest: What else is known.
    """

    path: Path
    weights: dict[str, Tensor]
    nsd_ids: NDArray[np.int32]
    space: EmbeddingSpace
    base: str
    manifest: Manifest


def require_peft() -> None:
    """Refuse to go on without peft.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise UsageError("a LoRA needs the package peft; run: pip install fmri-lightning[lora]") from error


def weights_hash(unet: Any) -> str:
    """Hash a U-Net's weights by value in float32: the same from the hub, a folder, one file or shards.

    Args:
        unet: Without adapters in it.

    Returns:
        64 hexadecimal digits.
    """
    state = unet.state_dict()
    return content_hash(*(part for name in sorted(state) for part in (name, state[name].float().cpu().numpy())))


def write_lora(
    folder: Path,
    weights: dict[str, Tensor],
    nsd_ids: NDArray[np.integer],
    space: EmbeddingSpace,
    base: str,
    inputs: dict[str, str],
    config: dict[str, Any],
) -> Manifest:
    """Write weights, ids and manifest.

    Args:
        folder: Made if needed; an adapter in it is replaced.
        weights: ``{module}.lora_A.weight`` and ``….lora_B.weight`` by module of the U-Net, scaled so that the change
            of a layer is their product: then programs that ignore alpha read them rightly.
        nsd_ids: Stimuli trained on, (n,).
        space: Space of the embeddings.
        base: :func:`weights_hash` of the U-Net.
        inputs: Content hashes of split and cache.
        config: Settings and figures, plain types.

    Returns:
        The manifest as written.
    """
    from safetensors.torch import save_file

    tensors = {
        f"{_PREFIX}.{name}": tensor.detach().float().cpu().contiguous() for name, tensor in sorted(weights.items())
    }
    ids = np.unique(nsd_ids).astype(np.int32)
    folder.mkdir(parents=True, exist_ok=True)
    # The manifest says that the rest is whole: it goes first and comes back last.
    (folder / "manifest.json").unlink(missing_ok=True)
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    with atomic_path(folder / IDS_FILE) as temporary, open(temporary, "wb") as handle:
        np.save(handle, ids)
    about = {**config, "base": base, "space": space.to_dict(), "fitted_on": record_of_stimuli(ids)}
    manifest = Manifest(KIND, _hash(tensors, ids), inputs, about)
    write_manifest(folder, manifest)
    return manifest


def read_lora(folder: Path | str) -> LoraFolder:
    """Read an adapter and check it against its manifest.

    Args:
        folder: Written by :func:`write_lora`.

    Returns:
        What lies there.

    Raises:
        BadInputError: A file is missing or damaged, or is not the one its manifest describes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    manifest = read_manifest(folder, KIND)
    try:
        weights = load_file(folder / WEIGHTS_FILE)
        ids = np.load(folder / IDS_FILE, allow_pickle=False)
        space, base = EmbeddingSpace.from_json(manifest.config["space"]), str(manifest.config["base"])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise BadInputError(f"LoRA {folder} is damaged or not whole ({error}); {AGAIN}") from error
    if _hash(weights, ids) != manifest.content_hash:
        raise BadInputError(f"LoRA {folder} does not match its own content hash; {AGAIN}")
    return LoraFolder(folder, weights, ids, space, base, manifest)


def _hash(weights: dict[str, Tensor], ids: NDArray[np.int32]) -> str:
    return content_hash(*(part for name in sorted(weights) for part in (name, weights[name].numpy())), ids)


def check_family(config: DecoderConfig) -> None:
    """Refuse a LoRA of a family that has no U-Net to adapt.

    Args:
        config: The decoder.

    Raises:
        UsageError: The family takes no LoRA.
    """
    if config.lora is not None and config.family not in FAMILIES:
        raise UsageError(f"--model.decoder.lora goes with family {' or '.join(FAMILIES)}, not {config.family}")


def check_lora(config: DecoderConfig, space: EmbeddingSpace | None, shown: NDArray[np.integer]) -> LoraFolder:
    """Refuse an adapter that does not go with a run, before anything heavy is loaded.

    Args:
        config: Decoder with a LoRA.
        space: Space the decoder reads.
        shown: Stimuli of the run's whole test set, (n,).

    Returns:
        The adapter.

    Raises:
        UsageError: peft is not installed.
        BadInputError: It is damaged, of another space, or was trained on a stimulus of the test set.
    """
    assert config.lora is not None
    require_peft()
    found = read_lora(config.lora)
    if space is not None:
        same_space(found.space, space, f"LoRA {config.lora}", "the decoder")
    seen = np.intersect1d(found.nsd_ids, shown)
    if len(seen):
        raise BadInputError(
            f"LoRA {config.lora} was trained on {len(seen)} stimuli of this run's test set (nsd_id "
            f"{', '.join(map(str, seen[:5].tolist()))}{', …' if len(seen) > 5 else ''}); {AGAIN} on this index"
        )
    return found


def merge_lora(unet: Any, folder: Path | str) -> None:
    """Add an adapter to the weights of its U-Net, by diffusers' own loader; nothing of peft is left in it.

    Args:
        unet: ``UNet2DConditionModel`` in float32, changed in place.
        folder: Written by :func:`write_lora`.

    Raises:
        UsageError: peft is not installed.
        BadInputError: The adapter is damaged, or was trained on other weights.
    """
    require_peft()
    found = read_lora(folder)
    at_hand = weights_hash(unet)
    if found.base != at_hand:
        raise BadInputError(
            f"LoRA {folder} was trained on another U-Net ({found.base[:12]}, at hand is {at_hand[:12]}); name that one "
            f"with --model.decoder.model_id, or {AGAIN}"
        )
    with torch.no_grad():
        unet.load_lora_adapter(dict(found.weights), prefix=_PREFIX, adapter_name=_NAME)
        unet.fuse_lora()
        unet.unload_lora()
    unet.requires_grad_(False)
