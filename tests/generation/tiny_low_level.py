"""A tiny autoencoder, an encoder onto its latents, and their true values, beside the tiny brain."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fmri_lightning.embeddings.latent_encoder import LatentEncoder
from tests.generation.tiny import N_VOXELS, Brain

SIDE_PX = 8


@dataclass(frozen=True)
class LowLevelParts:
    checkpoint: Path
    cache: Path
    autoencoder: LatentEncoder


def write_autoencoder(folder: Path, seed: int = 0) -> Path:
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae = AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=2,
            norm_num_groups=4,
            sample_size=SIDE_PX,
            scaling_factor=0.7,
        )
    vae.save_pretrained(folder)
    return folder


def write_low_level(folder: Path, brain: Brain) -> LowLevelParts:
    """Write an encoder of random weights, as Lightning writes it, and a cache of the true latents."""
    import dataclasses

    from fmri_lightning.embeddings.cache import write_cache
    from fmri_lightning.encoder.load import load_encoder
    from fmri_lightning.encoder.network import build_predictor
    from fmri_lightning.encoder.stored import describe_state

    autoencoder = LatentEncoder.from_space(str(write_autoencoder(folder / "autoencoder")))
    dim, rng = autoencoder.dim, np.random.default_rng(11)
    ids = np.unique(brain.table.nsd_id)
    cache = folder / "latents.parquet"
    write_cache(cache, ids, rng.normal(size=(len(ids), dim)).astype(np.float32), autoencoder.space)
    map_of = {"kind": "linear", "n_features": N_VOXELS, "n_outputs": dim}
    network = build_predictor(map_of)
    network.weights.copy_(torch.from_numpy(rng.normal(0, 0.5, (N_VOXELS, dim))))
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    space = dataclasses.replace(autoencoder.space, mean=tuple(rng.normal(size=dim).tolist()))
    description = {
        "kind": "encoder", "name": "low_level", "subject": "subj01", "trial_mode": "average", "fitted": {},
        "space": space.to_json(), "predictor": map_of, "inputs": load_encoder(brain.model["encoder_ckpt"]).inputs,
    }  # fmt: skip
    checkpoint = folder / "low_level.ckpt"
    states = {f"predictor.{name}": tensor for name, tensor in state.items()}
    torch.save({"state_dict": states, "fmri_lightning": describe_state(description, state)}, checkpoint)
    return LowLevelParts(checkpoint, cache, autoencoder)
