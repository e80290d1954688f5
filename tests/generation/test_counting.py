"""The architectures that costs are computed from have the published sizes, and live memory is what arithmetic says."""

import functools
from dataclasses import replace

import pytest
import torch

from tests.benchmarks.counting import compute_memory, count, live_bytes
from tests.benchmarks.real_models import MODELS


@functools.cache
def counted(name, px=None, dim=1024):
    """Count a model at its own or another size."""
    return count(replace(MODELS[name], px=px or MODELS[name].px, dim=dim))


@pytest.mark.parametrize(
    ("name", "unet", "adapter"),
    # The IP-Adapter's paper says 22 M; its files for SDXL hold 698 MB of float16.
    [("sd15-ip", 859.5, 22.3), ("unclip", 870.2, 0), pytest.param("sdxl-ip", 2567.5, 349.2, marks=pytest.mark.slow)],
)
def test_published_numbers_of_parameters(name, unet, adapter):
    found = counted(name)
    assert found.unet_parameters / 1e6 == pytest.approx(unet, abs=0.1)
    assert found.ip_parameters / 1e6 == pytest.approx(adapter, abs=0.1)
    assert found.vae_parameters / 1e6 == pytest.approx(83.7, abs=0.1)


@pytest.mark.slow
def test_the_wider_ip_adapter_of_sdxl():
    narrow, wide = (counted("sdxl-ip", dim=dim).ip_parameters for dim in (1024, 1280))
    assert wide - narrow == 256 * 4 * 2048


@pytest.mark.parametrize(
    ("name", "px", "unet", "vae"),
    [
        ("sd15-ip", None, 0.80, 2.5),
        ("unclip", 512, 0.80, 2.5),
        ("unclip", None, 2.15, 5.8),
        pytest.param("sdxl-ip", 512, 1.59, 2.5, marks=pytest.mark.slow),
        pytest.param("sdxl-ip", None, 6.76, 10.5, marks=pytest.mark.slow),
    ],
)
def test_operations_of_an_evaluation_and_of_decoding(name, px, unet, vae):
    found = counted(name, px)
    assert found.unet_flops / 1e12 == pytest.approx(unet, rel=0.02)
    assert found.vae_flops / 1e12 == pytest.approx(vae, rel=0.03)
    assert found.picture_flops(50) == 50 * found.unet_flops + found.vae_flops


def test_evaluations_follow_guidance():
    model = MODELS["sd15-ip"]
    assert model.evaluations() == 2 * model.steps
    assert replace(model, guidance=1.0).evaluations() == model.steps


def test_live_memory_by_arithmetic():
    x = torch.zeros(1000, device="meta")
    with torch.inference_mode(), live_bytes() as live:
        a = x + 1
        b = a * 2
        assert live.peak == 8_000
        del a
        joined = torch.cat([b.view(10, 100)] * 2)
        assert live.now == 12_000
        del b
        half = joined.half()
        rest = joined[:5] + 1
        joined.mul_(2)
    assert (live.now, live.peak) == (14_000, 14_000)
    del half, rest


def test_attention_keeps_no_matrix():
    query = torch.zeros(1, 2, 512, 8, device="meta")
    with live_bytes() as live:
        torch.nn.functional.scaled_dot_product_attention(query, query, query)
    assert live.peak == query.numel() * 4


def test_memory_of_a_batch():
    model = replace(MODELS["sd15-ip"], px=256)
    one, two = (compute_memory(model, n, torch.float16) for n in (1, 2))
    whole = count(model).parameters
    assert one.weights == two.weights == 2 * whole
    assert two.vae == pytest.approx(2 * one.vae, rel=0.01)
    assert two.unet == pytest.approx(2 * one.unet, rel=0.05)
    assert one.peak == one.weights + max(one.unet, one.vae)
    assert compute_memory(model, 1, torch.float32).peak == pytest.approx(2 * one.peak, rel=0.05)
