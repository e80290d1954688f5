"""What a perceptual network does for the scorer."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Features = dict[str, NDArray[np.floating]]


class MissingNetworkError(Exception):
    """A network that cannot be had on this machine; the message says what to install or fetch."""


class Seen(NamedTuple):
    """What a network found in n picture pairs.

    Attributes:
        first: Feature name to features of the first pictures, float16 or float32 (n, d). Large maps come in
            half precision, which keeps the features of 1,000 pictures under 1 GB and moves a correlation
            by less than 1e-4.
        second: The same of their partners.
        distances: Name to distance of each pair, float64 (n,), 0 for equal pictures.
    """

    first: Features
    second: Features
    distances: dict[str, NDArray[np.float64]]


class PerceptualNetwork(Protocol):
    """A frozen network in evaluation mode.

    Attributes:
        facts: What was loaded, for the manifest: weights, their hash, versions of libraries.
    """

    facts: dict[str, str]

    def features(self, pictures: NDArray[np.float32]) -> Features:
        """Features of pictures.

        Args:
            pictures: (n, size, size, 3) in 0..1 at the size of the network's use; a few at a time.

        Returns:
            Feature name to (n, d), float16 or float32 as in :class:`Seen`; none where the network only compares.
        """

    def look(self, first: NDArray[np.float32], second: NDArray[np.float32]) -> Seen:
        """Features and distances of picture pairs.

        Args:
            first: Pictures (n, size, size, 3) in 0..1 at the size of the network's use; a few at a time.
            second: Their partners, same shape.

        Returns:
            What was found.
        """
