"""Sums of an array of pixels on the CPU: numba, without the interpreter lock, compiled once and cached.

The array is walked as rows whose length is a multiple of the channels, so a position in the row ("lane") always belongs
to the same channel and the compiler vectorises across lanes without shuffling colours apart. Rows of 96 bytes do for
1, 2, 3 and 4 channels and every vector width. Lanes are uint32 and are emptied into uint64 before they can overflow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["moments_float", "moments_u8", "moments_u16", "row_u8"]

_LANES = 96
# A lane of squares grows by at most 4 * 255**2 a step and must stay below 2**32: 16,512 steps; 16,384 is the power
# of two.
_STEPS = 16384


def _compiled(function: Any) -> Any:
    """Compile without the interpreter lock; keep the machine code on disk where some folder can be written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder for its cache (read-only installation without a home)
        return njit(nogil=True)(function)


@_compiled
def moments_u8(
    pixels: NDArray[np.uint8],
    channels: int,
    total: NDArray[np.uint64],
    squares: NDArray[np.uint64],
    low: NDArray[np.uint8],
    high: NDArray[np.uint8],
) -> None:
    """Write sum, sum of squares, min and max of each channel of interleaved 8-bit pixels.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H * W * channels,)
        Contiguous, channels interleaved.
    channels : int
        Any number.
    total, squares : ndarray of uint64, shape (channels,)
        Outputs.
    low, high : ndarray of uint8, shape (channels,)
        Outputs.
    """
    total[:] = 0
    squares[:] = 0
    low[:] = 255
    high[:] = 0
    lanes = _LANES
    if _LANES % channels:
        lanes = channels if channels > 32 else 16 * channels  # whole vectors; a long row has few odd lanes anyway
    lane_sum = np.empty(lanes, np.uint32)
    lane_squares = np.empty(lanes, np.uint32)
    lane_low = np.full(lanes, 255, np.uint8)
    lane_high = np.zeros(lanes, np.uint8)
    done = 0
    steps_left = pixels.size // (4 * lanes)
    while steps_left > 0:
        steps = min(steps_left, _STEPS)
        # Indexed by loop variables only, which the compiler sees are not negative; otherwise it asks for every value.
        rows = pixels[done : done + steps * 4 * lanes].reshape(steps, 4, lanes)
        lane_sum[:] = 0
        lane_squares[:] = 0
        for step in range(rows.shape[0]):
            for j in range(rows.shape[2]):
                a = rows[step, 0, j]
                b = rows[step, 1, j]
                c = rows[step, 2, j]
                d = rows[step, 3, j]
                # One value after the other, each result cut to 32 bits: sums of several are computed in 64.
                n = lane_sum[j]
                n = np.uint32(n + np.uint32(a))
                n = np.uint32(n + np.uint32(b))
                n = np.uint32(n + np.uint32(c))
                lane_sum[j] = np.uint32(n + np.uint32(d))
                n = lane_squares[j]
                n = np.uint32(n + np.uint32(np.uint32(a) * np.uint32(a)))
                n = np.uint32(n + np.uint32(np.uint32(b) * np.uint32(b)))
                n = np.uint32(n + np.uint32(np.uint32(c) * np.uint32(c)))
                lane_squares[j] = np.uint32(n + np.uint32(np.uint32(d) * np.uint32(d)))
                lane_low[j] = min(lane_low[j], min(min(a, b), min(c, d)))
                lane_high[j] = max(lane_high[j], max(max(a, b), max(c, d)))
        for j in range(lanes):
            total[j % channels] += lane_sum[j]
            squares[j % channels] += lane_squares[j]
        done += steps * 4 * lanes
        steps_left -= steps
    for j in range(lanes):
        low[j % channels] = min(low[j % channels], lane_low[j])
        high[j % channels] = max(high[j % channels], lane_high[j])
    channel = 0  # `done` is a multiple of the channels
    for i in range(done, pixels.size):
        x = pixels[i]
        total[channel] += np.uint64(x)
        squares[channel] += np.uint64(x) * np.uint64(x)
        low[channel] = min(low[channel], x)
        high[channel] = max(high[channel], x)
        channel += 1
        if channel == channels:
            channel = 0


@_compiled
def row_u8(
    pixels: NDArray[np.uint8],
    row: int,
    sums: NDArray[np.uint64],
    extremes: NDArray[np.uint8],
    size: NDArray[np.uint64],
) -> None:
    """Write what is known of one 8-bit image into a row: one call from Python instead of a dozen steps.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, C)
        C-contiguous.
    row : int
        Which row.
    sums : ndarray of uint64, shape (2, N, C)
        Output: sum and sum of squares.
    extremes : ndarray of uint8, shape (2, N, C)
        Output: min and max.
    size : ndarray of uint64, shape (2, N)
        Output: height and width.
    """
    size[0, row] = pixels.shape[0]
    size[1, row] = pixels.shape[1]
    moments_u8(pixels.reshape(-1), pixels.shape[2], sums[0, row], sums[1, row], extremes[0, row], extremes[1, row])


@_compiled
def moments_u16(
    pixels: NDArray[np.uint16],
    channels: int,
    total: NDArray[np.uint64],
    squares: NDArray[np.uint64],
    low: NDArray[np.uint16],
    high: NDArray[np.uint16],
) -> None:
    """Write sum, sum of squares, min and max of each channel of interleaved 16-bit pixels.

    Exact for up to 2**32 pixels: a pixel adds less than 2**32 to the sum of squares.

    Parameters
    ----------
    pixels : ndarray of uint16, shape (H * W * channels,)
        Contiguous, channels interleaved.
    channels : int
        Any number.
    total, squares : ndarray of uint64, shape (channels,)
        Outputs.
    low, high : ndarray of uint16, shape (channels,)
        Outputs.
    """
    lanes = channels * max(1, _LANES // channels)
    lane_sum = np.zeros(lanes, np.uint64)
    lane_squares = np.zeros(lanes, np.uint64)
    lane_low = np.full(lanes, 65535, np.uint16)
    lane_high = np.zeros(lanes, np.uint16)
    steps = pixels.size // lanes
    for step in range(steps):
        start = step * lanes
        for j in range(lanes):
            x = pixels[start + j]
            lane_sum[j] += np.uint64(x)
            lane_squares[j] += np.uint64(np.uint32(x) * np.uint32(x))
            lane_low[j] = min(lane_low[j], x)
            lane_high[j] = max(lane_high[j], x)
    for i in range(steps * lanes, pixels.size):
        x = pixels[i]
        j = i % channels
        lane_sum[j] += np.uint64(x)
        lane_squares[j] += np.uint64(np.uint32(x) * np.uint32(x))
        lane_low[j] = min(lane_low[j], x)
        lane_high[j] = max(lane_high[j], x)
    total[:] = 0
    squares[:] = 0
    low[:] = 65535
    high[:] = 0
    for j in range(lanes):
        c = j % channels
        total[c] += lane_sum[j]
        squares[c] += lane_squares[j]
        low[c] = min(low[c], lane_low[j])
        high[c] = max(high[c], lane_high[j])


@_compiled
def moments_float(
    pixels: NDArray[np.floating[Any]],
    channels: int,
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Write mean, sum of squared deviations, min and max of each channel of interleaved float pixels.

    Two passes in float64: the mean, then the deviations from it, corrected for the rounding of that mean
    (Chan, Golub and LeVeque 1983, 'Algorithms for computing the sample variance', equation 1.7).
    A pixel that is not finite leaves a mean that is not finite.

    Parameters
    ----------
    pixels : ndarray of float32 or float64, shape (H * W * channels,)
        Contiguous, channels interleaved.
    channels : int
        Any number.
    mean, deviation, low, high : ndarray of float64, shape (channels,)
        Outputs.
    """
    lanes = channels * max(1, _LANES // channels)
    first = np.zeros(lanes, np.float64)
    second = np.zeros(lanes, np.float64)
    shift = np.zeros(lanes, np.float64)
    lane_low = np.full(lanes, np.inf, np.float64)
    lane_high = np.full(lanes, -np.inf, np.float64)
    steps = pixels.size // lanes
    for step in range(steps):
        start = step * lanes
        for j in range(lanes):
            x = np.float64(pixels[start + j])
            first[j] += x
            lane_low[j] = min(lane_low[j], x)
            lane_high[j] = max(lane_high[j], x)
    for i in range(steps * lanes, pixels.size):
        x = np.float64(pixels[i])
        j = i % channels
        first[j] += x
        lane_low[j] = min(lane_low[j], x)
        lane_high[j] = max(lane_high[j], x)
    mean[:] = 0.0
    low[:] = np.inf
    high[:] = -np.inf
    for j in range(lanes):
        c = j % channels
        mean[c] += first[j]
        low[c] = min(low[c], lane_low[j])
        high[c] = max(high[c], lane_high[j])
    count = pixels.size // channels
    for c in range(channels):
        mean[c] /= count
    for j in range(lanes):
        first[j] = 0.0
        shift[j] = mean[j % channels]
    for step in range(steps):
        start = step * lanes
        for j in range(lanes):
            d = np.float64(pixels[start + j]) - shift[j]
            first[j] += d
            second[j] += d * d
    for i in range(steps * lanes, pixels.size):
        j = i % channels
        d = np.float64(pixels[i]) - shift[j]
        first[j] += d
        second[j] += d * d
    deviation[:] = 0.0
    residue = np.zeros(channels, np.float64)
    for j in range(lanes):
        residue[j % channels] += first[j]
        deviation[j % channels] += second[j]
    for c in range(channels):
        mean[c] += residue[c] / count
        deviation[c] = max(deviation[c] - residue[c] * residue[c] / count, 0.0)
