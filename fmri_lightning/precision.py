"""Half precision for frozen generators only; everything that decodes the brain stays in float32."""

from __future__ import annotations

from typing import Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.utilities.exceptions import MisconfigurationException

FrozenPrecision = Literal["16-true", "bf16-true"]
_DTYPES: dict[FrozenPrecision, torch.dtype] = {"16-true": torch.float16, "bf16-true": torch.bfloat16}


class FrozenHalfPrecision(Precision):
    """Casts the submodules that a module lists in ``frozen_half_modules()`` and nothing else.

    Lightning's own ``16-true`` casts every parameter, buffer and float of a batch and changes torch's default
    dtype inside steps: betas, z-scores and ridge weights would lose bits, and predicted embeddings would depend
    on the device. Here the module that owns a cast part converts at its border (``x.to(self.unet.dtype)``).

    Args:
        precision: "16-true" for float16 or "bf16-true" for bfloat16.
    """

    def __init__(self, precision: FrozenPrecision) -> None:
        if precision not in _DTYPES:
            raise MisconfigurationException(f"frozen half precision is one of {sorted(_DTYPES)}, not {precision!r}")
        self.precision = precision
        self.dtype = _DTYPES[precision]

    def convert_module(self, module: torch.nn.Module) -> torch.nn.Module:
        """Cast the listed submodules in place.

        Args:
            module: The LightningModule about to run; ``frozen_half_modules() -> list[nn.Module]`` is optional.

        Returns:
            The same module.

        Raises:
            MisconfigurationException: If a listed submodule would be trained in half precision.
        """
        listed = getattr(module, "frozen_half_modules", None)
        for part in listed() if listed is not None else ():
            if _is_fitting(module) and any(p.requires_grad for p in part.parameters()):
                raise MisconfigurationException(
                    f"{type(part).__name__} is trained, so {self.precision} cannot hold it; "
                    "use --trainer.precision 32-true, 16-mixed or bf16-mixed"
                )
            # Not the method of diffusers' models, which warns about an empty list of exceptions.
            torch.nn.Module.to(part, dtype=self.dtype)
        return module


def _is_fitting(module: torch.nn.Module) -> bool:
    trainer = module._trainer if isinstance(module, LightningModule) else None
    return trainer is not None and trainer.state.fn == "fit"


def select_precision(requested: str | int | None, on_cuda: bool) -> FrozenHalfPrecision | str | int | None:
    """Translate ``--trainer.precision`` into what the Trainer gets.

    Args:
        requested: Any of Lightning's values, or "auto".
        on_cuda: Whether the run takes place on a CUDA device.

    Returns:
        The plugin for "16-true" and "bf16-true", and for "auto" on CUDA; "32-true" for "auto" elsewhere;
        Lightning's own value otherwise.

    Example:
        >>> select_precision("auto", on_cuda=False)
        '32-true'
        >>> select_precision("auto", on_cuda=True).dtype
        torch.float16
    """
    if requested == "auto":
        requested = "16-true" if on_cuda else "32-true"
    if requested == "16-true":
        return FrozenHalfPrecision("16-true")
    if requested == "bf16-true":
        return FrozenHalfPrecision("bf16-true")
    return requested
