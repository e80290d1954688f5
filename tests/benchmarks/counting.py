"""What a generator costs by its architecture alone: parameters, operations, live memory. Nothing is calculated.

Models lie on a device without storage. The memory is that of the weights and of the largest sum of tensors that are
alive at one time, with attention that keeps no attention matrix (as PyTorch's does on a CPU and on a recent GPU). Work
space of convolutions, copies of weights in another layout, fragmentation and the libraries are not in it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.benchmarks.real_models import RealModel, build_unet, build_vae, unet_inputs


@dataclass(frozen=True)
class Count:
    """Costs of one model at its size.

    Attributes:
        unet_parameters: Of the U-Net without an IP-Adapter.
        ip_parameters: Of the IP-Adapter; 0 without one.
        vae_parameters: Of the autoencoder, encoder included.
        unet_flops: Operations (multiplications and additions) of one U-Net evaluation of one picture.
        vae_flops: Operations of decoding one picture.
    """

    unet_parameters: int
    ip_parameters: int
    vae_parameters: int
    unet_flops: float
    vae_flops: float

    @property
    def parameters(self) -> int:
        """All together."""
        return self.unet_parameters + self.ip_parameters + self.vae_parameters

    def picture_flops(self, evaluations: int) -> float:
        """Operations of one picture."""
        return evaluations * self.unet_flops + self.vae_flops


def count(model: RealModel) -> Count:
    """Count parameters and operations of one picture."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.inference_mode():
        unet, vae = build_unet(model), build_vae(model)
        with FlopCounterMode(display=False) as of_unet:
            unet(**unet_inputs(model, 1))
        with FlopCounterMode(display=False) as of_vae:
            vae.decode(torch.zeros(1, 4, model.side, model.side))
    added = sum(p.numel() for name, p in unet.named_parameters() if "_ip." in name or "encoder_hid_proj" in name)
    whole = sum(p.numel() for p in unet.parameters())
    return Count(
        whole - added,
        added,
        sum(p.numel() for p in vae.parameters()),
        float(of_unet.get_total_flops()),
        float(of_vae.get_total_flops()),
    )


@dataclass(frozen=True)
class Memory:
    """Computed bytes of drawing one batch.

    Attributes:
        weights: Of U-Net and autoencoder.
        unet: Most that is alive beside the weights during a U-Net pass.
        vae: The same while pictures are decoded.
    """

    weights: int
    unet: int
    vae: int

    @property
    def peak(self) -> int:
        """Weights and the larger of the two."""
        return self.weights + max(self.unet, self.vae)


def compute_memory(
    model: RealModel, batch: int, dtype: torch.dtype, arrange: Callable[[Any, Any], None] | None = None
) -> Memory:
    """Compute the peak of one batch from the tensors that are alive.

    Args:
        model: The generator.
        batch: Pictures.
        dtype: Precision of the U-Net; the autoencoder's follows.
        arrange: Applied to U-Net and autoencoder first; a memory preset.

    Returns:
        The three parts of the peak.
    """
    with torch.device("meta"), torch.inference_mode():
        unet, vae = build_unet(model).to(dtype=dtype), build_vae(model).to(dtype=model.vae_dtype(dtype))
        if arrange is not None:
            arrange(unet, vae)
        weights = sum(p.numel() * p.element_size() for part in (unet, vae) for p in part.parameters())
        given = unet_inputs(model, batch * (2 if model.guidance > 1 else 1), dtype)
        with live_bytes() as of_unet:
            unet(**given)
        latents = torch.zeros(batch, 4, model.side, model.side, dtype=vae.dtype)
        with live_bytes() as of_vae:
            vae.decode(latents, return_dict=False)
    return Memory(weights, of_unet.peak, of_vae.peak)


class _Live(TorchDispatchMode):
    """Adds up the storages that operations made and that something still holds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor, args)
        return made

    def _see(self, tensor: torch.Tensor, args: Any) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        inputs = {a.untyped_storage()._cdata for a in args if isinstance(a, torch.Tensor)}
        if key in self._known or key in inputs:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


class _FusedAttention(TorchFunctionMode):
    """Attention that makes its output and nothing else; the device without storage would make the whole matrix."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            query, _, value = args[:3]
            return query.new_empty((*query.shape[:-1], value.shape[-1]))
        return func(*args, **(kwargs or {}))


@contextmanager
def live_bytes() -> Iterator[_Live]:
    """Watch the tensors that are made inside; ``peak`` is the most bytes that were alive at one time."""
    with _FusedAttention(), _Live() as live:
        yield live
