"""Oriented contrast energy of pictures: what the receptive fields of early visual areas pool.

A bank of log-Gabor filters (Field 1987, doi:10.1364/JOSAA.4.002379) in quadrature gives energy at three scales
and four orientations; luminance and two colour-opponent channels complete it. Everything is sampled on a fixed
grid, so that the size of the pictures does not matter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

FloatArray = npt.NDArray[np.float32]

SCALES_CYCLES = (4.0, 9.0, 20.0)
"""Preferred spatial frequencies, cycles per picture."""
N_ORIENTATIONS = 4
N_ENERGY = len(SCALES_CYCLES) * N_ORIENTATIONS
N_CHANNELS = N_ENERGY + 3
"""Energy channels (scale-major), then luminance, red-green, blue-yellow."""
GRID = 16
"""Samples of a channel along each side of the picture."""
_FINE = 64


def filter_bank(size: int = _FINE) -> FloatArray:
    """Return the filters in the frequency domain, float32 (N_ENERGY, size, size), without negative frequencies.

    A filter on one half of the plane makes the filtered picture complex; its squared modulus is the energy of an
    even and odd pair.
    """
    frequency = fft.fftfreq(size, 1.0 / size)
    fy, fx = np.meshgrid(frequency, frequency, indexing="ij")
    radius = np.hypot(fx, fy)
    radius[0, 0] = 1.0
    filters = []
    for centre in SCALES_CYCLES:
        radial = np.exp(-(np.log(radius / centre) ** 2) / (2 * np.log(0.6) ** 2))
        radial[0, 0] = 0.0
        for k in range(N_ORIENTATIONS):
            turn = np.angle(np.exp(1j * (np.arctan2(fy, fx) - np.pi * k / N_ORIENTATIONS)))
            filters.append(radial * np.exp(-(turn**2) / (2 * 0.45**2)) * (np.abs(turn) < np.pi / 2))
    return np.stack(filters).astype(np.float32)


def channel_maps(pictures: npt.NDArray[np.uint8]) -> FloatArray:
    """Measure energy, luminance and colour over the picture.

    Args:
        pictures: uint8 (n, side, side, 3), RGB 0..255, side even.

    Returns:
        float32 (n, N_CHANNELS, GRID * GRID), rows of the grid first. Energy is not negative, luminance 0..1,
        colour -1..1.
    """
    rgb = pictures.astype(np.float32) / 255.0
    luminance = rgb @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    red_green = rgb[..., 0] - rgb[..., 1]
    blue_yellow = rgb[..., 2] - 0.5 * (rgb[..., 0] + rgb[..., 1])
    spectrum = fft.fft2(luminance, norm="forward")
    energy = _energy(_resample(spectrum, _FINE))
    smooth = [_smooth(fft.fft2(plane, norm="forward")) for plane in (luminance, red_green, blue_yellow)]
    maps = np.concatenate([energy, np.stack(smooth, axis=1)], axis=1)
    return maps.reshape(len(pictures), N_CHANNELS, GRID * GRID).astype(np.float32)


def _energy(spectrum: npt.NDArray[np.complex64]) -> FloatArray:
    """Return pooled quadrature energy, (n, N_ENERGY, GRID, GRID)."""
    step = _FINE // GRID
    planes = []
    for kernel in filter_bank():
        filtered = fft.ifft2(spectrum * kernel, norm="forward")
        power = filtered.real**2 + filtered.imag**2
        planes.append(power.reshape(-1, GRID, step, GRID, step).mean(axis=(2, 4)))
    return np.stack(planes, axis=1)


def _smooth(spectrum: npt.NDArray[np.complex64]) -> FloatArray:
    """Return a plane low-passed and sampled at the grid's cell centres, (n, GRID, GRID)."""
    frequency = fft.fftfreq(GRID, 1.0 / GRID)
    decay = np.exp(-((frequency / (0.3 * GRID)) ** 2))
    # An inverse transform samples at the cells' corners: half a cell of phase, less half a pixel, leads to the centres.
    shift = np.exp(1j * np.pi * frequency * (1.0 / GRID - 1.0 / spectrum.shape[-1]))
    kernel = np.outer(decay * shift, decay * shift).astype(np.complex64)
    plane: FloatArray = fft.ifft2(_resample(spectrum, GRID) * kernel, norm="forward").real
    return plane


def _resample(spectrum: npt.NDArray[np.complex64], size: int) -> npt.NDArray[np.complex64]:
    """Cut a spectrum down to, or pad it up to, ``size`` frequencies a side."""
    side = spectrum.shape[-1]
    if side >= size:
        index = fft.fftfreq(size, 1.0 / size).astype(int) % side
        return spectrum[:, index[:, None], index]
    index = fft.fftfreq(side, 1.0 / side).astype(int) % size
    padded = np.zeros((len(spectrum), size, size), dtype=spectrum.dtype)
    padded[:, index[:, None], index] = spectrum
    return padded
