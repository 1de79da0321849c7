"""CPU reductions against NumPy in 64-bit integers and exact sums of floats, on awkward shapes."""

from __future__ import annotations

from math import fsum, sqrt
from typing import Any

import numpy as np
import pytest

from gpustats.statistics.float_moments import moments_float
from gpustats.statistics.sums import moments_u8, moments_u16

KERNELS: dict[type[np.unsignedinteger[Any]], Any] = {np.uint8: moments_u8, np.uint16: moments_u16}


def check(pixels: np.ndarray, channels: int) -> None:
    total, squares = np.empty((2, channels), np.uint64)
    low, high = np.empty((2, channels), pixels.dtype)
    KERNELS[pixels.dtype.type](pixels, channels, total, squares, low, high)
    wide = pixels.reshape(-1, channels).astype(np.uint64)
    np.testing.assert_array_equal(total, wide.sum(axis=0))
    np.testing.assert_array_equal(squares, (wide * wide).sum(axis=0))
    if len(wide):
        np.testing.assert_array_equal(low, wide.min(axis=0))
        np.testing.assert_array_equal(high, wide.max(axis=0))


@pytest.mark.parametrize("dtype", KERNELS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 13, 40])
def test_every_length_and_start(channels: int, dtype: type[np.unsignedinteger[Any]]) -> None:
    top = int(np.iinfo(dtype).max)
    buffer = np.random.default_rng(channels).integers(0, top + 1, 17 + 385 * channels, dtype=dtype)
    for pixels in [*range(300), 383, 384, 385]:
        start = pixels % 17
        check(buffer[start : start + pixels * channels], channels)


@pytest.mark.parametrize("kind", ["uint8 0", "uint8 1", "uint8 254", "uint8 255", "uint16 257", "uint16 65535"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lanes_are_emptied_before_they_overflow(kind: str, channels: int) -> None:
    dtype, value = kind.split()
    check(np.full(96 * 4 * (2 * 16384 + 3), int(value), dtype), channels)


def float_moments(pixels: np.ndarray, channels: int) -> np.ndarray:
    out = np.empty((4, channels))
    moments_float(pixels, channels, *out)
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 13, 40])
def test_floats_of_every_length(channels: int, dtype: type[np.floating[Any]]) -> None:
    buffer = (7.0 + np.random.default_rng(channels).standard_normal(2000 * channels)).astype(dtype)
    for pixels in [*range(1, 60), 95, 96, 97, 192, 193, 511, 2000]:
        part = buffer[: pixels * channels]
        mean, deviation, low, high = float_moments(part, channels)
        for c, values in enumerate(part.reshape(-1, channels).T.astype(np.float64)):
            exact = fsum(values) / pixels
            squares = fsum((values - exact) ** 2)
            assert abs(mean[c] - exact) <= 2e-15 * exact
            assert abs(deviation[c] - squares) <= 1e-13 * squares
            assert (low[c], high[c]) == (values.min(), values.max())


@pytest.mark.parametrize("jump", [1, 100, 800, 7000, 60_000, 499_999])
def test_no_digits_cancel_where_the_mean_jumps(jump: int) -> None:
    """A shift by the first pixels alone, or by zero, loses the small deviations on one side of the jump."""
    rng = np.random.default_rng(jump)
    values = rng.standard_normal(500_000)
    values[jump:] += 1e9
    mean, deviation, _, _ = float_moments(values, 1)[:, 0]
    exact = fsum(values) / len(values)
    squares = fsum((values - exact) ** 2)
    assert abs(mean - exact) <= 1e-15 * abs(exact)
    assert abs(deviation - squares) <= 1e-12 * squares
    shifted = values[jump:]  # the same far from zero throughout: what is left is the rounding of the values themselves
    if len(shifted) > 1000:
        std = sqrt(float_moments(shifted, 1)[1, 0] / len(shifted))
        assert abs(std - shifted.std()) <= 1e-13 * std


@pytest.mark.parametrize("where", [0, 100, 9_999])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_not_finite_shows_in_the_mean(value: float, where: int) -> None:
    pixels = np.zeros(10_000, np.float32)
    pixels[where] = value
    assert not np.isfinite(float_moments(pixels, 1)[0, 0])
