"""The judge of the demo: a shift-tolerant AlexNet that took no part in conditioning.

Architecture of Ghildyal & Liu (ECCV 2022, "Shift-tolerant perceptual similarity metric"): AlexNet
with stride-1 convolutions and blurred subsampling. The weights come from the package
``stlpips-pytorch`` (BSD-2); its blur code is under a non-commercial licence, so the blurred
subsampling is written here from its definition (Zhang, ICML 2019): a binomial low-pass filter
[1 2 1] x [1 2 1] / 16 per channel on a reflected border, every second value kept.

It stands in for the AlexNet of the published tables and is labelled so.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fmri_lightning.embeddings.image_encoder import weights_hash
from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.networks.base import Features, MissingNetworkError, Seen
from fmri_lightning.evaluation.networks.node_network import as_tensor, flattened
from fmri_lightning.evaluation.networks.released_weights import first_line
from fmri_lightning.evaluation.networks.uses import NetworkUse

SKIP_HINT = "pip install --no-deps stlpips-pytorch"
_WEIGHTS = "weights/vST0.0/alex_shift_tolerant.pth"
_WIDTHS = (64, 192, 384, 256, 256)
_CONVOLUTIONS = ("net.slice1.0", "net.slice2.5", "net.slice3.9", "net.slice4.11", "net.slice5.13")


class BlurPool(nn.Module):
    """Halves a feature map after a binomial low-pass filter, so that small shifts change little.

    Args:
        pad: Reflected border in feature pixels on every side.
    """

    def __init__(self, pad: int) -> None:
        super().__init__()
        self.pad = pad
        taps = torch.tensor([1.0, 2.0, 1.0]) / 4.0
        self.register_buffer("kernel", torch.outer(taps, taps), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Blur and take every second value.

        Args:
            maps: float32 (n, channels, height, width).

        Returns:
            float32 (n, channels, about height / 2, about width / 2).
        """
        channels = maps.shape[1]
        padded = functional.pad(maps, (self.pad,) * 4, mode="reflect")
        kernel = self.kernel.expand(channels, 1, 3, 3)  # type: ignore[operator]
        return functional.conv2d(padded, kernel, stride=2, groups=channels)


class Judge(nn.Module):
    """Shift-tolerant AlexNet with its perceptual distance.

    ``forward`` gives the five rectified layers; identification uses the second and the fifth.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(3, 64, 11, padding=2),
                nn.Conv2d(64, 192, 5, padding=2),
                nn.Conv2d(192, 384, 3, padding=1),
                nn.Conv2d(384, 256, 3, padding=1),
                nn.Conv2d(256, 256, 3, padding=1),
            ]
        )
        self.blur = BlurPool(2)
        self.register_buffer("shift", torch.zeros(1, 3, 1, 1))
        self.register_buffer("scale", torch.ones(1, 3, 1, 1))
        for layer, width in enumerate(_WIDTHS):
            self.register_buffer(f"channel_weight_{layer}", torch.zeros(1, width, 1, 1))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Rectified maps of the five convolutions.

        Args:
            pictures: float32 (n, 3, height, width) in 0..1, at least 48 px a side.

        Returns:
            Five tensors (n, channels, h, w).
        """
        x = (2.0 * pictures - 1.0 - self.shift) / self.scale  # type: ignore[operator]
        maps = [functional.relu(self.blur(self.convolutions[0](x)))]
        for layer in (1, 2):
            pooled = self.blur(functional.max_pool2d(maps[-1], 3, stride=1))
            maps.append(functional.relu(self.convolutions[layer](pooled)))
        for layer in (3, 4):
            maps.append(functional.relu(self.convolutions[layer](maps[-1])))
        return maps

    def layer_distances(self, maps_a: list[Tensor], maps_b: list[Tensor]) -> Tensor:
        """Perceptual distance of picture pairs from their maps.

        Squared differences of channel-normalised maps, weighted per channel by the learned heads,
        averaged over positions and summed over layers (LPIPS, Zhang et al., CVPR 2018).

        Args:
            maps_a: Output of :meth:`forward` for n pictures.
            maps_b: The same for their partners.

        Returns:
            float32 (n,), 0 for equal pictures.
        """
        total = torch.zeros(len(maps_a[0]))
        for layer, (a, b) in enumerate(zip(maps_a, maps_b, strict=True)):
            difference = (_unit_channels(a) - _unit_channels(b)) ** 2
            weighted = difference * getattr(self, f"channel_weight_{layer}")
            total += weighted.sum(dim=1).mean(dim=(1, 2))
        return total


class JudgeNetwork:
    """The judge, seen through its use.

    Args:
        judge: The network.
        use: Nodes are the numbers of its maps, counted from 0.
    """

    def __init__(self, judge: Judge, use: NetworkUse) -> None:
        self.judge = judge
        self.use = use
        self.facts = {"weights": use.weights, "hash": weights_hash(judge), "torch": torch.__version__}

    def features(self, pictures: NDArray[np.float32]) -> Features:
        """Rectified maps of some layers.

        Args:
            pictures: (n, size, size, 3) in 0..1; a few at a time, maps stay in memory.

        Returns:
            Feature name to float16 (n, d).
        """
        with torch.inference_mode():
            return self._layers(self.judge(as_tensor(pictures)))

    def look(self, first: NDArray[np.float32], second: NDArray[np.float32]) -> Seen:
        """Features and perceptual distance of picture pairs.

        Args:
            first: Pictures (n, size, size, 3) in 0..1; a few at a time, maps stay in memory.
            second: Their partners, same shape.

        Returns:
            What was found; the distance is called ``judge_distance``.
        """
        with torch.inference_mode():
            maps_a, maps_b = (self.judge(as_tensor(pictures)) for pictures in (first, second))
            distance = self.judge.layer_distances(maps_a, maps_b).double().numpy()
            return Seen(self._layers(maps_a), self._layers(maps_b), {"judge_distance": distance})

    def _layers(self, maps: list[Tensor]) -> Features:
        return {name: flattened(maps[int(node)]) for name, node in self.use.nodes}


def open_judge(use: NetworkUse) -> JudgeNetwork:
    """Open the judge with its installed weights.

    Args:
        use: Its nodes.

    Returns:
        The network.

    Raises:
        MissingNetworkError: The weights are not installed.
    """
    weights = judge_weights()
    if weights is None:
        raise MissingNetworkError(SKIP_HINT)
    return JudgeNetwork(load_judge(weights), use)


def _unit_channels(maps: Tensor) -> Tensor:
    length: Tensor = maps.norm(dim=1, keepdim=True)
    return maps / (length + 1e-10)


def judge_weights() -> Path | None:
    """Where the judge's weights are installed, or None where they are not.

    The package is located without importing it: its imports need more than its weights do.
    """
    spec = importlib.util.find_spec("stlpips_pytorch")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / _WEIGHTS
    return path if path.is_file() else None


def load_judge(weights: Path) -> Judge:
    """Build the judge from the installed weights.

    Args:
        weights: ``alex_shift_tolerant.pth`` of ``stlpips-pytorch``.

    Returns:
        The network in evaluation mode, on the CPU, without gradients.

    Raises:
        BadInputError: The file is not that network.
    """
    judge = Judge()
    try:
        stored = torch.load(weights, map_location="cpu", weights_only=True)
        state = {"shift": stored["scaling_layer.shift"], "scale": stored["scaling_layer.scale"]}
        for layer, name in enumerate(_CONVOLUTIONS):
            state[f"convolutions.{layer}.weight"] = stored[f"{name}.weight"]
            state[f"convolutions.{layer}.bias"] = stored[f"{name}.bias"]
            state[f"channel_weight_{layer}"] = stored[f"lin{layer}.model.1.weight"]
        judge.load_state_dict(state)
    except Exception as error:  # torch raises several kinds for a damaged file
        reason = first_line(error)
        raise BadInputError(f"{weights} is not the judge's network: {reason}; reinstall it: {SKIP_HINT}") from error
    return judge.eval().requires_grad_(False)
