"""Sums of an array of pixels on the CPU: numba, without the interpreter lock, compiled once and cached.

The array is walked as rows whose length is a multiple of the channels, so a position in the row ("lane") always belongs
to the same channel and the compiler vectorises across lanes without shuffling colours apart. Rows of 96 bytes do for
1, 2, 3 and 4 channels and every vector width; four rows are taken at a time, so that a lane is loaded and stored once
for four values. Integer lanes are uint32 and are emptied into uint64 before they can overflow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.compiled import compiled

__all__ = ["moments_float", "moments_u8", "moments_u16", "row_u8"]

# Steps of four rows until the lanes are emptied. They must stay below 2**32: a lane of 8-bit squares grows by at most
# 4 * 255**2 a step (16,512 steps), one of 16-bit values by 4 * 65535 (16,384).
_STEPS = 16384
# Steps until lanes of floats are emptied: sums of sums lose less to rounding than one long sum.
_FLOAT_STEPS = 4096


@compiled
def _lanes(channels: int, usual: int, itemsize: int) -> int:
    """Return the lanes of a row: the usual number where the channels divide it, else up to 16 pixels of them.

    Four rows that are long keep the processor from reading ahead, so they stay below 256 bytes where they can.
    """
    if usual % channels == 0:
        return usual
    pixels = 16
    while pixels > 1 and pixels * channels * itemsize > 256:
        pixels //= 2
    return pixels * channels


@compiled
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
    lanes = _lanes(channels, 96, 1)
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
        for channel in range(channels):
            for j in range(channel, lanes, channels):
                total[channel] += lane_sum[j]
                squares[channel] += lane_squares[j]
        done += steps * 4 * lanes
        steps_left -= steps
    for channel in range(channels):
        for j in range(channel, lanes, channels):
            low[channel] = min(low[channel], lane_low[j])
            high[channel] = max(high[channel], lane_high[j])
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


@compiled
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


@compiled
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
    total[:] = 0
    squares[:] = 0
    low[:] = 65535
    high[:] = 0
    lanes = _lanes(channels, 48, 2)
    lane_sum = np.empty(lanes, np.uint32)
    # The sum of squares in two lanes of 32 bits: all of it, which wraps around, and that of the upper halves.
    # Their difference is the sum of the lower halves, which stays below 2**32.
    lane_squares = np.empty(lanes, np.uint32)
    lane_upper = np.empty(lanes, np.uint32)
    lane_low = np.full(lanes, 65535, np.uint16)
    lane_high = np.zeros(lanes, np.uint16)
    half = np.uint32(16)
    done = 0
    steps_left = pixels.size // (4 * lanes)
    while steps_left > 0:
        steps = min(steps_left, _STEPS)
        rows = pixels[done : done + steps * 4 * lanes].reshape(steps, 4, lanes)
        lane_sum[:] = 0
        lane_squares[:] = 0
        lane_upper[:] = 0
        for step in range(rows.shape[0]):
            for j in range(rows.shape[2]):
                a = rows[step, 0, j]
                b = rows[step, 1, j]
                c = rows[step, 2, j]
                d = rows[step, 3, j]
                aa = np.uint32(np.uint32(a) * np.uint32(a))
                bb = np.uint32(np.uint32(b) * np.uint32(b))
                cc = np.uint32(np.uint32(c) * np.uint32(c))
                dd = np.uint32(np.uint32(d) * np.uint32(d))
                n = lane_sum[j]
                n = np.uint32(n + np.uint32(a))
                n = np.uint32(n + np.uint32(b))
                n = np.uint32(n + np.uint32(c))
                lane_sum[j] = np.uint32(n + np.uint32(d))
                n = lane_squares[j]
                n = np.uint32(n + aa)
                n = np.uint32(n + bb)
                n = np.uint32(n + cc)
                lane_squares[j] = np.uint32(n + dd)
                n = lane_upper[j]
                n = np.uint32(n + np.uint32(aa >> half))
                n = np.uint32(n + np.uint32(bb >> half))
                n = np.uint32(n + np.uint32(cc >> half))
                lane_upper[j] = np.uint32(n + np.uint32(dd >> half))
                lane_low[j] = min(lane_low[j], min(min(a, b), min(c, d)))
                lane_high[j] = max(lane_high[j], max(max(a, b), max(c, d)))
        for channel in range(channels):
            for j in range(channel, lanes, channels):
                upper = np.uint64(lane_upper[j]) << np.uint64(16)
                lower = np.uint32(lane_squares[j] - np.uint32(upper))
                total[channel] += lane_sum[j]
                squares[channel] += upper + np.uint64(lower)
        done += steps * 4 * lanes
        steps_left -= steps
    for channel in range(channels):
        for j in range(channel, lanes, channels):
            low[channel] = min(low[channel], lane_low[j])
            high[channel] = max(high[channel], lane_high[j])
        for i in range(done + channel, pixels.size, channels):  # `done` is a multiple of the channels
            x = pixels[i]
            total[channel] += np.uint64(x)
            squares[channel] += np.uint64(x) * np.uint64(x)
            low[channel] = min(low[channel], x)
            high[channel] = max(high[channel], x)


@compiled
def moments_float(
    pixels: NDArray[np.floating[Any]],
    channels: int,
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Write mean, sum of squared deviations, min and max of each channel of interleaved float pixels.

    One pass in float64 about a shift, the mean of what came before, corrected for what that mean is off (Chan, Golub
    and LeVeque 1983, 'Algorithms for computing the sample variance', equation 1.7). A stretch is at most eight times
    as long as all before it, so that at least a ninth of its squares about that shift remains: no digits cancel,
    whatever the mean is and wherever it jumps.
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
    lanes = _lanes(channels, 24, pixels.itemsize)
    row = 4 * lanes
    steps_left = max(pixels.size // row - 1, 0)
    done = pixels.size - steps_left * row  # one to two steps, the odd end among them: a mean to begin with
    count = done // channels
    shift = np.zeros(channels, np.float64)
    # Sums of x - shift and of its square.
    first = np.zeros(channels, np.float64)
    second = np.zeros(channels, np.float64)
    for channel in range(channels):
        low[channel] = np.inf
        high[channel] = -np.inf
        for i in range(channel, done, channels):
            x = np.float64(pixels[i])
            shift[channel] += x
            low[channel] = min(low[channel], x)
            high[channel] = max(high[channel], x)
        shift[channel] /= count
        for i in range(channel, done, channels):
            x = np.float64(pixels[i]) - shift[channel]
            first[channel] += x
            second[channel] += x * x
    lane_shift = np.empty(lanes, np.float64)
    lane_sum = np.empty(lanes, np.float64)
    lane_squares = np.empty(lanes, np.float64)
    lane_low = np.full(lanes, np.inf, pixels.dtype)
    lane_high = np.full(lanes, -np.inf, pixels.dtype)
    longest = 8
    while steps_left > 0:
        steps = min(steps_left, longest)
        longest = min(8 * longest, _FLOAT_STEPS)
        rows = pixels[done : done + steps * row].reshape(steps, 4, lanes)
        for channel in range(channels):
            # To the mean so far. It is rounded, so the first sum is not quite zero after the move.
            move = (shift[channel] + first[channel] / count) - shift[channel]
            second[channel] -= move * (2.0 * first[channel] - count * move)
            first[channel] -= count * move
            shift[channel] += move
            for j in range(channel, lanes, channels):
                lane_shift[j] = shift[channel]
        lane_sum[:] = 0.0
        lane_squares[:] = 0.0
        for step in range(rows.shape[0]):
            for j in range(rows.shape[2]):
                a = rows[step, 0, j]
                b = rows[step, 1, j]
                c = rows[step, 2, j]
                d = rows[step, 3, j]
                lane_low[j] = min(lane_low[j], min(min(a, b), min(c, d)))
                lane_high[j] = max(lane_high[j], max(max(a, b), max(c, d)))
                da = np.float64(a) - lane_shift[j]
                db = np.float64(b) - lane_shift[j]
                dc = np.float64(c) - lane_shift[j]
                dd = np.float64(d) - lane_shift[j]
                lane_sum[j] += (da + db) + (dc + dd)
                lane_squares[j] += (da * da + db * db) + (dc * dc + dd * dd)
        for channel in range(channels):
            for j in range(channel, lanes, channels):
                first[channel] += lane_sum[j]
                second[channel] += lane_squares[j]
        count += steps * row // channels
        done += steps * row
        steps_left -= steps
    for channel in range(channels):
        mean[channel] = shift[channel] + first[channel] / count
        deviation[channel] = max(second[channel] - first[channel] * (first[channel] / count), 0.0)
        for j in range(channel, lanes, channels):
            low[channel] = min(low[channel], np.float64(lane_low[j]))
            high[channel] = max(high[channel], np.float64(lane_high[j]))
