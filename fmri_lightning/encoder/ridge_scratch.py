"""Working memory of a ridge regression that is used again at every alpha."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


class Scratch:
    """Arrays by name, written anew in every round.

    The operating system hands out large arrays page by page, which costs as much as half of a matrix product that
    fills them. What is taken under one name is valid until that name is taken again.
    """

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, str], NDArray[Any]] = {}

    def take(
        self, name: str, shape: tuple[int, int], dtype: np.dtype[Any], order: Literal["C", "F"] = "C"
    ) -> NDArray[Any]:
        """Return an array of any content; zeros when it is new.

        Args:
            name: Whose memory is used again.
            shape: (rows, columns).
            dtype: Type of its values.
            order: Layout.
        """
        size = shape[0] * shape[1]
        held = self._arrays.get((name, dtype.char))
        if held is None or held.size < size:
            held = self._arrays[name, dtype.char] = np.zeros(size, dtype=dtype)
        return held[:size].reshape(shape, order=order)
