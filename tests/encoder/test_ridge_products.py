import numpy as np
import pytest

from fmri_lightning.encoder.ridge_products import outer, product
from fmri_lightning.encoder.ridge_scratch import Scratch


def matrix(rows, columns, order, dtype):
    return np.asarray(np.random.default_rng(rows).standard_normal((rows, columns)), dtype=dtype, order=order)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order_a", ["C", "F"])
@pytest.mark.parametrize("order_b", ["C", "F"])
def test_product_is_numpys_in_every_layout(dtype, order_a, order_b):
    a, b = matrix(7, 5, order_a, dtype), matrix(5, 3, order_b, dtype)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(product(a, b), a @ b, atol=tolerance)
    np.testing.assert_allclose(product(b.T, a.T), b.T @ a.T, atol=tolerance)
    out = np.full((7, 3), np.nan, dtype=dtype)
    result = product(a, b, out=out)
    assert np.shares_memory(result, out)
    np.testing.assert_allclose(out, a @ b, atol=tolerance)
    assert product(a, b).flags.c_contiguous
    assert product(a, b).dtype == dtype


@pytest.mark.parametrize("order", ["C", "F"])
def test_outer_is_the_upper_triangle_of_numpys(order):
    a = matrix(6, 4, order, "float64")
    np.testing.assert_allclose(np.triu(outer(a)), np.triu(a @ a.T), atol=1e-13)
    out = np.zeros((6, 6), order="F")
    assert np.shares_memory(outer(a, out=out), out)
    np.testing.assert_allclose(np.triu(out), np.triu(a @ a.T), atol=1e-13)
    assert not np.tril(out, -1).any()


def test_scratch_is_used_again_under_its_name_only():
    scratch, single = Scratch(), np.dtype("float32")
    first = scratch.take("a", (4, 3), single)
    assert np.shares_memory(first, scratch.take("a", (2, 5), single, "F"))
    assert not np.shares_memory(first, scratch.take("b", (4, 3), single))
    assert scratch.take("a", (2, 5), single, "F").flags.f_contiguous
    assert scratch.take("a", (40, 3), single).shape == (40, 3)
