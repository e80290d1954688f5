"""Matrix products by SciPy's BLAS, which also decomposes and factorises.

NumPy brings a BLAS of its own. Where the two take turns, the idle threads of one keep the other's from the cores for
as long as a product lasts (measured on two cores: a fifth of the processor time of a fit by folds).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas


def product(
    a: NDArray[np.floating], b: NDArray[np.floating], out: NDArray[np.floating] | None = None
) -> NDArray[np.floating]:
    """Multiply two matrices.

    Args:
        a: (n, k), float32 or float64, C- or Fortran-ordered.
        b: (k, m) of the same type.
        out: Receives the result, (n, m), C-ordered; None allocates it.

    Returns:
        ``a @ b``, C-ordered.
    """
    gemm = blas.sgemm if a.dtype == np.float32 else blas.dgemm
    (left, transpose_left), (right, transpose_right) = _fortran(b), _fortran(a)
    where = {} if out is None else {"beta": 0.0, "c": out.T, "overwrite_c": 1}
    # All in Fortran order, without a copy: outᵀ = bᵀ aᵀ.
    result = gemm(1.0, left, right, trans_a=not transpose_left, trans_b=not transpose_right, **where)
    return np.asarray(result.T)


def outer(matrix: NDArray[np.floating], out: NDArray[np.floating] | None = None) -> NDArray[np.floating]:
    """Multiply a matrix by its transpose.

    Args:
        matrix: (n, k), float32 or float64, C- or Fortran-ordered.
        out: Receives the result, (n, n), Fortran-ordered; None allocates it.

    Returns:
        Upper triangle of ``matrix @ matrix.T``, Fortran-ordered; the rest is not set.
    """
    syrk = blas.ssyrk if matrix.dtype == np.float32 else blas.dsyrk
    where = {} if out is None else {"c": out, "beta": 0.0, "overwrite_c": 1}
    fortran, transposed = _fortran(matrix)
    return np.asarray(syrk(1.0, fortran, trans=transposed, **where))


def _fortran(matrix: NDArray[np.floating]) -> tuple[NDArray[np.floating], bool]:
    """Return the matrix or its transpose, whichever is Fortran-ordered, and whether it is the transpose."""
    if matrix.flags.f_contiguous:
        return matrix, False
    return matrix.T, True
