"""Weights that their authors released as one file: from torch's cache, or downloaded there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from fmri_lightning.errors import BadInputError
from fmri_lightning.evaluation.networks.base import MissingNetworkError

Network = TypeVar("Network", bound=nn.Module)


def filled(url: str, fill: Callable[[dict[str, Tensor]], Network]) -> Network:
    """Build a network from a released file.

    Args:
        url: Where the file comes from.
        fill: Builds the network from the file's tensors; raises BadInputError where they are another network's.

    Returns:
        The network.

    Raises:
        MissingNetworkError: The file is not on this machine and cannot be downloaded, is damaged, or holds
            another network.
    """
    place = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    try:
        # torch announces a download on the standard output, which belongs to the command's result.
        with contextlib.redirect_stdout(sys.stderr):
            state = torch.hub.load_state_dict_from_url(
                url, map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
    except Exception as error:  # offline, a wrong hash, and every kind that torch raises for a damaged file
        reason = first_line(error)
        if place.is_file():
            raise _not_it(place, f"damaged: {reason}", url) from error
        raise MissingNetworkError(f"weights are not at {place} ({reason}); download {url} to that place") from error
    try:
        return fill(state)
    except BadInputError as error:
        raise _not_it(place, str(error), url) from error


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _not_it(place: Path, reason: str, url: str) -> MissingNetworkError:
    return MissingNetworkError(
        f"{place} is not the released file ({reason}); delete it and download {url} to that place"
    )
