"""Channels of the pyramid on pictures whose energy is known."""

import numpy as np
import pytest

from fmri_lightning.simulate.pyramid import GRID, N_ENERGY, N_ORIENTATIONS, SCALES_CYCLES, channel_maps


def grating(cycles, degrees, side=64):
    """Stripes whose normal points ``degrees`` from the x axis towards the bottom."""
    y, x = np.mgrid[:side, :side] / side
    phase = 2 * np.pi * cycles * (x * np.cos(np.deg2rad(degrees)) + y * np.sin(np.deg2rad(degrees)))
    return np.repeat((127.5 + 120 * np.sin(phase)).round().astype(np.uint8)[None, ..., None], 3, axis=3)


@pytest.mark.parametrize("scale", range(len(SCALES_CYCLES)))
@pytest.mark.parametrize("orientation", range(N_ORIENTATIONS))
def test_a_grating_drives_its_own_channel_most(scale, orientation):
    maps = channel_maps(grating(SCALES_CYCLES[scale], 180 * orientation / N_ORIENTATIONS))
    energy = maps[0, :N_ENERGY].mean(axis=1)
    assert energy.argmax() == scale * N_ORIENTATIONS + orientation


def test_energy_does_not_depend_on_the_phase_of_a_grating():
    pictures = np.concatenate([grating(8, 0), np.roll(grating(8, 0), 2, axis=2)])
    maps = channel_maps(pictures)[:, :N_ENERGY].mean(axis=2)
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-3, atol=1e-6)


def test_a_uniform_picture_has_luminance_and_colour_but_no_energy():
    picture = np.empty((1, 64, 64, 3), dtype=np.uint8)
    picture[:] = (255, 0, 51)
    maps = channel_maps(picture)[0]
    np.testing.assert_allclose(maps[:N_ENERGY], 0, atol=1e-9)
    np.testing.assert_allclose(maps[N_ENERGY:].mean(axis=1), [0.299 + 0.114 * 0.2, 1.0, 0.2 - 0.5], atol=1e-5)


def test_channels_know_where_things_are():
    picture = np.full((1, 64, 64, 3), 100, dtype=np.uint8)
    picture[0, 8:16, 40:48] = 250
    luminance = channel_maps(picture)[0, N_ENERGY].reshape(GRID, GRID)
    row, column = np.unravel_index(luminance.argmax(), luminance.shape)
    assert row in (2, 3)
    assert column in (10, 11)


@pytest.mark.parametrize("side", [32, 128])
def test_other_picture_sizes_give_nearly_the_same_channels(side):
    from fmri_lightning.simulate.scenes import draw_scenes

    coarse = channel_maps(draw_scenes("probe", range(4), size_px=side)[0])
    fine = channel_maps(draw_scenes("probe", range(4), size_px=64)[0])
    low = [*range(N_ORIENTATIONS), N_ENERGY, N_ENERGY + 1, N_ENERGY + 2]
    for channel in low:
        assert np.corrcoef(coarse[:, channel].ravel(), fine[:, channel].ravel())[0, 1] > 0.97
