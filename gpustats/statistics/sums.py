"""Sum, sum of squares, smallest and largest value of the channels of an image, on the CPU.

An array is walked as rows whose length is a multiple of the channels, so a position in the row ("lane")
always belongs to the same channel and the compiler vectorises across lanes without shuffling colours apart. Rows of 96
bytes do for 1, 2, 3 and 4 channels and every vector width; eight rows (four of 16 bits) are taken at a time, so that a
lane is loaded and stored once for all of them. Integer lanes are uint32 and are emptied into uint64 before they can
overflow. The first images of a process are counted by NumPy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpustats.statistics.compiled import compiled, compiled_after
from gpustats.statistics.counting import count_row
from gpustats.statistics.lanes import lanes_of

__all__ = ["moments_u8", "moments_u16", "row_u8", "row_u16", "rows_of_bins"]

# Steps until the lanes are emptied. They must stay below 2**32: a lane of 8-bit squares grows by at most 8 * 255**2 a
# step of eight rows (8,256 steps), one of 16-bit values by 4 * 65535 a step of four (16,384).
_STEPS_U8 = 8192
_STEPS_U16 = 16384


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
    # Loops where NumPy would fill arrays: each of those costs a tenth of a second of compilation.
    for channel in range(channels):
        total[channel] = squares[channel] = 0
        low[channel] = 255
        high[channel] = 0
    lanes = lanes_of(channels, 96, 1)
    lane_sum = np.empty(lanes, np.uint32)
    lane_squares = np.empty(lanes, np.uint32)
    lane_low = np.empty(lanes, np.uint8)
    lane_high = np.empty(lanes, np.uint8)
    for j in range(lanes):
        lane_low[j] = 255
        lane_high[j] = 0
    done = 0
    steps_left = pixels.size // (8 * lanes)
    while steps_left > 0:
        steps = min(steps_left, _STEPS_U8)
        # Indexed by loop variables only, which the compiler sees are not negative; otherwise it asks for every value.
        rows = pixels[done : done + steps * 8 * lanes].reshape(steps, 8, lanes)
        for j in range(lanes):
            lane_sum[j] = lane_squares[j] = 0
        for step in range(rows.shape[0]):
            for j in range(rows.shape[2]):
                # One value after the other, each result cut to 32 bits: sums of several are computed in 64.
                n = lane_sum[j]
                q = lane_squares[j]
                for k in range(8):
                    x = np.uint32(rows[step, k, j])
                    n = np.uint32(n + x)
                    q = np.uint32(q + np.uint32(x * x))
                lane_sum[j] = n
                lane_squares[j] = q
            for j in range(rows.shape[2]):  # a loop of its own: bytes are compared four times as many at once
                smallest, largest = lane_low[j], lane_high[j]
                for k in range(8):
                    smallest = min(smallest, rows[step, k, j])
                    largest = max(largest, rows[step, k, j])
                lane_low[j], lane_high[j] = smallest, largest
        for channel in range(channels):
            for j in range(channel, lanes, channels):
                total[channel] += lane_sum[j]
                squares[channel] += lane_squares[j]
        done += steps * 8 * lanes
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


@compiled_after(count_row)
def row_u8(
    pixels: NDArray[np.uint8],
    channels: int,
    row: int,
    first: int,
    n: NDArray[np.uint64],
    total: NDArray[np.uint64],
    squares: NDArray[np.uint64],
    low: NDArray[np.uint8],
    high: NDArray[np.uint8],
) -> None:
    """Fill a row from 8-bit pixels; see `Statistic.kernel`."""
    own = slice(first, first + channels)
    n[row, own] = pixels.size // channels
    moments_u8(pixels, channels, total[row, own], squares[row, own], low[row, own], high[row, own])


@compiled
def rows_of_bins(
    start: int,
    stop: int,
    bins: NDArray[np.uint32],
    n: NDArray[np.uint64],
    total: NDArray[np.uint64],
    squares: NDArray[np.uint64],
    low: NDArray[np.uint8],
    high: NDArray[np.uint8],
) -> None:
    """Fill rows from the bins of a histogram, of shape (N, channels, 256); see `Given`."""
    for row in range(start, stop):
        for channel in range(bins.shape[1]):
            counts = bins[row, channel]
            number, first, second = np.uint64(0), np.uint64(0), np.uint64(0)
            lowest, highest = 255, 0
            for value in range(256):
                count = np.uint64(counts[value])
                number += count
                first += count * np.uint64(value)
                second += count * np.uint64(value * value)
            for value in range(256):
                if counts[value] > 0:
                    lowest, highest = min(lowest, value), value
            n[row, channel], total[row, channel], squares[row, channel] = number, first, second
            low[row, channel], high[row, channel] = lowest, highest


@compiled_after(count_row)
def row_u16(
    pixels: NDArray[np.uint16],
    channels: int,
    row: int,
    first: int,
    n: NDArray[np.uint64],
    total: NDArray[np.uint64],
    squares: NDArray[np.uint64],
    low: NDArray[np.uint16],
    high: NDArray[np.uint16],
) -> None:
    """Fill a row from 16-bit pixels; see `Statistic.kernel`."""
    own = slice(first, first + channels)
    n[row, own] = pixels.size // channels
    moments_u16(pixels, channels, total[row, own], squares[row, own], low[row, own], high[row, own])


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
    lanes = lanes_of(channels, 48, 2)
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
        steps = min(steps_left, _STEPS_U16)
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
