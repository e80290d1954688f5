"""A voxel-encoding model of our own: from features of a picture to the response that it would evoke.

Pictures are seen by a network that took no part in conditioning them (AlexNet, or the demo's judge); two of its
layers, averaged over a 4 x 4 grid, are mapped to voxels by ridge regression on the training stimuli, one penalty
a voxel. MindEye2 (Scotti et al., 2024) scores reconstructions through such a model (GNet) under the name "brain
correlation"; this one is linear on top of its network and is fitted here, on training trials only.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmri_lightning.betas.rows import average_repeats
from fmri_lightning.encoder.ridge import AlphaAtEdgeWarning, RidgeFit, fit_ridge
from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.brain.parts import BrainOfRun
from fmri_lightning.evaluation.networks.base import PerceptualNetwork
from fmri_lightning.evaluation.networks.uses import NetworkUse
from fmri_lightning.evaluation.pictures import PictureSet, StimulusPictures
from fmri_lightning.evaluation.protocols import Protocol
from fmri_lightning.evaluation.resizing import Resize, resize
from fmri_lightning.index.stimuli import StimulusSource
from fmri_lightning.progress import track

CHANNELS = {"judge2": 192, "judge5": 256, "alexnet2": 192, "alexnet5": 256}
"""Channels of the maps that a network gives flattened."""
GRID = 4
CHUNK = 32


@dataclass(frozen=True, eq=False)
class VoxelModel:
    """A fitted model.

    Attributes:
        fit: Ridge from centred features to voxels.
        mean: Mean of the features over the training stimuli (f,).
        scale: One number a layer, so that both weigh alike, repeated over its features (f,).
        network: What sees the pictures.
        use: At which size and nodes.
        protocol: How pictures are resized before.
        n_train: Training stimuli.
    """

    fit: RidgeFit
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    network: PerceptualNetwork
    use: NetworkUse
    protocol: Protocol
    n_train: int

    def predict(self, pictures: PictureSet, description: str) -> NDArray[np.float32]:
        """Responses that pictures would evoke, (n, n_voxels), in the unit of the betas."""
        features = _features(pictures, self.network, self.use, self.protocol, description)
        return np.asarray(
            ((features - self.mean) / self.scale) @ self.fit.weights + self.fit.intercept, dtype=np.float32
        )


def voxel_network(protocol: Protocol, networks: dict[str, PerceptualNetwork]) -> tuple[PerceptualNetwork, NetworkUse]:
    """Choose the network of a protocol that a voxel model can look through.

    Args:
        protocol: The protocol.
        networks: Those of its networks that could be opened.

    Returns:
        The network and its use.

    Raises:
        BadInputError: None of them could be opened.
    """
    for use in protocol.networks:
        if use.network in networks and all(name in CHANNELS for name, _ in use.nodes) and use.nodes:
            return networks[use.network], use
    raise BadInputError("brain correlation needs AlexNet (pip install 'fmri-lightning[eval-nets]') or the demo's judge")


def fit_voxel_model(
    brain: BrainOfRun,
    stimuli: StimulusSource,
    protocol: Protocol,
    network: PerceptualNetwork,
    use: NetworkUse,
) -> VoxelModel:
    """Fit voxels to features of the training stimuli; test and validation trials are never read.

    Args:
        brain: Index and betas.
        stimuli: The pictures.
        protocol: How they are resized.
        network: What sees them.
        use: At which size and nodes.

    Returns:
        The model.

    Raises:
        BadInputError: There are no training trials.
    """
    rows = np.flatnonzero(brain.table.split == "train")
    if len(rows) < 2:
        raise BadInputError("the index has no training trials, which the voxel model is fitted on")
    ids, responses = average_repeats(
        np.asarray(brain.store.betas[rows], dtype=np.float32), brain.table.nsd_id[rows].astype(np.int64)
    )
    pictures = StimulusPictures(stimuli, ids.astype(np.int32))
    features = _features(pictures, network, use, protocol, "training pictures for the voxel model")
    mean, scale = features.mean(axis=0), _scale_of_layers(features, use)
    with warnings.catch_warnings():
        # A voxel that no picture predicts takes the largest penalty, and there are many of those.
        warnings.simplefilter("ignore", AlphaAtEdgeWarning)
        fit = fit_ridge((features - mean) / scale, responses, alpha_per_target=True, overwrite_features=True)
    return VoxelModel(fit, mean, scale, network, use, protocol, len(ids))


def _scale_of_layers(features: NDArray[np.float32], use: NetworkUse) -> NDArray[np.float32]:
    """Root mean variance of each layer.

    Features are not standardised one by one: those that hardly vary over photographs are the ones that artefacts of
    a decoder move most, and a reconstruction would then be judged by its artefacts.
    """
    stops = np.cumsum([CHANNELS[name] * GRID * GRID for name, _ in use.nodes])
    layers = np.split(features.var(axis=0, dtype=np.float64), stops[:-1])
    return np.concatenate([np.full(len(layer), np.sqrt(layer.mean() or 1.0), np.float32) for layer in layers])


def _features(
    pictures: PictureSet, network: PerceptualNetwork, use: NetworkUse, protocol: Protocol, description: str
) -> NDArray[np.float32]:
    steps = (*protocol.network_steps, Resize(use.size_px, protocol.network_filter))
    parts = []
    for start in track(range(0, len(pictures), CHUNK), description):
        seen = network.features(resize(pictures.read(start, min(start + CHUNK, len(pictures))), steps))
        parts.append(np.concatenate([on_grid(seen[name], CHANNELS[name]) for name, _ in use.nodes], axis=1))
    return np.concatenate(parts)


def on_grid(maps: NDArray[np.floating], channels: int, grid: int = GRID) -> NDArray[np.float32]:
    """Average square maps over a coarse grid.

    Args:
        maps: Flattened (n, channels * side * side).
        channels: Number of channels.
        grid: Cells a side.

    Returns:
        float32 (n, channels * grid * grid).
    """
    import torch
    from torch.nn import functional

    side = math.isqrt(maps.shape[1] // channels)
    values = torch.from_numpy(maps.astype(np.float32)).reshape(len(maps), channels, side, side)
    return np.asarray(functional.adaptive_avg_pool2d(values, grid).flatten(1).numpy())


def correlations(
    predicted: NDArray[np.float32], measured: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pearson r of every voxel over stimuli, and what each stimulus contributes.

    Args:
        predicted: Responses (n, v).
        measured: Responses (n, v).

    Returns:
        r (v,), NaN for voxels that do not vary; and per stimulus and voxel (n, v) the first-order contribution
        r + zx zy - r (zx² + zy²) / 2, whose mean over stimuli is r and whose bootstrap is that of r to first order
        (the influence function of a correlation).
    """
    zx, zy = _standardised(predicted), _standardised(measured)
    r = (zx * zy).mean(axis=0)
    return r, r + zx * zy - r * (zx**2 + zy**2) / 2.0


def _standardised(values: NDArray[np.float32]) -> NDArray[np.float64]:
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    scale = np.sqrt((centred**2).mean(axis=0))
    return np.asarray(np.divide(centred, scale, out=np.full_like(centred, np.nan), where=scale > 0))
