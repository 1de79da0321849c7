"""CPU reductions against NumPy in 64-bit integers, on awkward shapes."""

from __future__ import annotations

import numpy as np
import pytest

from gpustats.reduce import moments_u8


def check(pixels: np.ndarray, channels: int) -> None:
    total, squares = np.empty((2, channels), np.uint64)
    low, high = np.empty((2, channels), np.uint8)
    moments_u8(pixels, channels, total, squares, low, high)
    wide = pixels.reshape(-1, channels).astype(np.uint64)
    np.testing.assert_array_equal(total, wide.sum(axis=0))
    np.testing.assert_array_equal(squares, (wide * wide).sum(axis=0))
    if len(wide):
        np.testing.assert_array_equal(low, wide.min(axis=0))
        np.testing.assert_array_equal(high, wide.max(axis=0))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 13, 40])
def test_every_length_and_start(channels: int) -> None:
    buffer = np.random.default_rng(channels).integers(0, 256, 17 + 385 * channels, dtype=np.uint8)
    for pixels in [*range(300), 383, 384, 385]:
        start = pixels % 17
        check(buffer[start : start + pixels * channels], channels)


@pytest.mark.parametrize("value", [0, 1, 254, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_lanes_are_emptied_before_they_overflow(value: int, channels: int) -> None:
    check(np.full(96 * 4 * (2 * 16384 + 3) // 96 * 96, value, np.uint8), channels)
