"""Resize and crop in one step, which makes only the pixels that the crop keeps: bit for bit those of Pillow.

Pillow's resize is separable: the pixels of each row are resampled, then those of each column, with weights of 22 bits
and 8 bits in between; from version 13 on, columns come first where Pillow finds that faster. So Pillow does the first
images of every size, and one of them is made in both orders, too. The order that gives Pillow's pixels is taken for the
images of this size that follow; where none does, Pillow has them all.
"""

from __future__ import annotations

import functools
import platform
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpustats.decode.transform import Transform
from gpustats.statistics.compiled import compiled

__all__ = ["Resampler", "resampler_of"]

_BITS = 22  # of a weight, behind the point
_HALF = 1 << (_BITS - 1)
_SAME_ROUNDING = platform.machine() in ("x86_64", "AMD64")  # others may fuse a multiplication and an addition
_MOST_PIXELS = 1 << 24
"""Of an image before or after the resize. What comes in between takes less than Pillow's own copies, which are asked
for."""

_FEW_IMAGES = 128  # that a process leaves to Pillow: to load compiled code takes longer
_MOST_SIZES = 4096  # that are remembered


def _box(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)


def _bilinear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(x) < 1.0, 1.0 - np.abs(x), 0.0)


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x, a = np.abs(x), -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


_FILTERS: dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_bilinear, 1.0),
    "bicubic": (_bicubic, 2.0),
}
"""Filters and how far they reach, in pixels."""


class _Weights(NamedTuple):
    """From which pixel of a line on those lie that make a pixel of another, and their weights, of `_BITS` bits.

    There are as many weights for every pixel; some of them are 0.
    """

    first: NDArray[np.int64]
    values: NDArray[np.int32]


@functools.lru_cache(maxsize=256)
def _weights(size: int, extent: float, to: int, interpolation: str, start: int, stop: int) -> _Weights:
    """Return the weights of pixels `start` to `stop` of a line that is resized from one number of pixels to another.

    The line is `extent` long; its last pixel may count in part.
    """
    function, reach = _FILTERS[interpolation]
    scale = extent / to
    widening = max(scale, 1.0)
    reach *= widening
    center = (np.arange(start, stop) + 0.5) * scale
    first = np.maximum(np.trunc(center - reach + 0.5), 0).astype(np.int64)
    count = np.minimum(np.trunc(center + reach + 0.5), size).astype(np.int64) - first
    values = np.zeros((stop - start, int(count.max())))
    total = np.zeros(stop - start)
    for tap in range(values.shape[1]):
        weight = function((tap + first - center + 0.5) * (1.0 / widening))
        values[:, tap] = np.where(tap < count, weight, 0.0)
        total += values[:, tap]
    values = np.divide(values, total[:, None], out=values, where=total[:, None] != 0) * (1 << _BITS)
    whole = np.trunc(values + np.where(values < 0, -0.5, 0.5)).astype(np.int32)
    for line in np.flatnonzero(first > size - values.shape[1]):  # its last weights lie behind the last pixel
        beyond = int(first[line]) + values.shape[1] - size
        whole[line] = np.roll(whole[line], beyond)
        first[line] -= beyond
    return _Weights(first, whole)


class Resampler:
    """Does a transform, and remembers for which sizes it can do so itself.

    Parameters
    ----------
    transform : Transform
        The resize and the crop.
    """

    def __init__(self, transform: Transform) -> None:
        self._transform = transform
        self._possible = bool(transform.resize and transform.crop) and transform.interpolation in _FILTERS
        self._left = _FEW_IMAGES if _SAME_ROUNDING else sys.maxsize
        self._passes: dict[tuple[int, ...], _Passes | None] = {}

    def apply(self, pixels: NDArray[Any], max_pixels: int, whole: tuple[int, int] | None = None) -> NDArray[Any]:
        """Return what `Transform.apply` does."""
        if not self._possible or self._left > 0 or not self._fits(pixels, max_pixels, whole):
            self._left -= 1  # threads may miss one another's; it is no exact limit
            return self._transform.apply(pixels, max_pixels, whole)
        size = pixels.shape if whole is None else (*pixels.shape, *whole)
        if size in self._passes:
            passes = self._passes[size]
            if passes is None:
                return self._transform.apply(pixels, max_pixels, whole)
            return self._cropped(pixels, passes, whole)
        expected = self._transform.apply(pixels, max_pixels, whole)
        orders = (_rows_first, _columns_first)
        same = [np.array_equal(self._cropped(pixels, passes, whole), expected) for passes in orders]
        if sum(same) < 2 and len(self._passes) < _MOST_SIZES:  # an image of one colour tells nothing
            self._passes[size] = _rows_first if same[0] else _columns_first if same[1] else None
        return expected

    def _fits(self, pixels: NDArray[Any], max_pixels: int, whole: tuple[int, int] | None) -> bool:
        """Say whether an image is of the ordinary kind, and neither too large nor too small."""
        if type(pixels) is not np.ndarray or pixels.dtype != np.uint8 or pixels.shape[2:] not in ((1,), (3,)):
            return False
        height, width = pixels.shape[:2]
        high, wide = self._transform.size(*(whole or (height, width)))
        crop_high, crop_wide = self._transform.crop
        return (
            (high, wide) != (height, width)
            and crop_high <= high
            and crop_wide <= wide
            and max(height * width, high * wide) <= min(max_pixels, _MOST_PIXELS)
        )

    def _cropped(self, pixels: NDArray[np.uint8], passes: _Passes, whole: tuple[int, int] | None) -> NDArray[np.uint8]:
        height, width, channels = pixels.shape
        high, wide = self._transform.size(*(whole or (height, width)))
        tall, broad = self._transform.extent(pixels, whole)
        crop_high, crop_wide = self._transform.crop
        top, left = round((high - crop_high) / 2), round((wide - crop_wide) / 2)
        across = _weights(width, broad, wide, self._transform.interpolation, left, left + crop_wide)
        down = _weights(height, tall, high, self._transform.interpolation, top, top + crop_high)
        if not (pixels.flags.c_contiguous and pixels.flags.writeable):  # numba would compile it again for others
            pixels = np.array(pixels, order="C")
        return passes(pixels.reshape(height, width * channels), across, down, channels)


resampler_of = functools.lru_cache(maxsize=16)(Resampler)
"""The resampler of a transform, which the runs of a process share."""


def _rows_first(pixels: NDArray[np.uint8], across: _Weights, down: _Weights, channels: int) -> NDArray[np.uint8]:
    start, stop = int(down.first[0]), int(down.first[-1]) + down.values.shape[1]
    middle = np.empty((stop - start, len(across.first) * channels), np.uint8)
    out = np.empty((len(down.first), len(across.first), channels), np.uint8)
    _resample_rows(pixels[start:stop], *across, middle)
    _resample_columns(middle, down.first - start, down.values, out.reshape(len(out), -1))
    return out


def _columns_first(pixels: NDArray[np.uint8], across: _Weights, down: _Weights, channels: int) -> NDArray[np.uint8]:
    middle = np.empty((len(down.first), pixels.shape[1]), np.uint8)
    out = np.empty((len(down.first), len(across.first), channels), np.uint8)
    _resample_columns(pixels, *down, middle)
    _resample_rows(middle, *across, out.reshape(len(out), -1))
    return out


_Passes = Callable[[NDArray[np.uint8], _Weights, _Weights, int], NDArray[np.uint8]]


@compiled
def _resample_rows(pixels: Any, firsts: Any, weights: Any, out: Any) -> None:
    """Make the pixels of each row from those of the same row, all channels side by side.

    Three and four weights are those of a bilinear resize to two thirds and to a half. Unsigned numbers need no check
    whether they are below 0.
    """
    channels, taps = np.uint64(out.shape[1] // len(firsts)), weights.shape[1]
    one, two, three = channels, channels + channels, channels + channels + channels
    for y in range(len(out)):
        row, into = pixels[y], out[y]
        to = np.uint64(0)
        for x in range(len(firsts)):
            at = channels * np.uint64(firsts[x])
            w = weights[x]
            for _ in range(channels):
                value = np.int32(_HALF)
                if taps == 3:
                    value += row[at] * w[0] + row[at + one] * w[1] + row[at + two] * w[2]
                elif taps == 4:
                    value += row[at] * w[0] + row[at + one] * w[1] + row[at + two] * w[2] + row[at + three] * w[3]
                else:
                    where = at
                    for tap in range(taps):
                        value += row[where] * w[tap]
                        where += channels
                into[to] = min(max(np.int32(value) >> _BITS, 0), 255)
                at += np.uint64(1)
                to += np.uint64(1)


@compiled
def _resample_columns(pixels: Any, firsts: Any, weights: Any, out: Any) -> None:
    """Make each row from those above and below."""
    total = np.empty(out.shape[1], np.int32)
    for y in range(len(out)):
        total[:] = _HALF
        for tap in range(weights.shape[1]):
            row, weight = pixels[firsts[y] + tap], weights[y, tap]
            for x in range(len(total)):
                total[x] += row[x] * weight
        into = out[y]
        for x in range(len(total)):
            into[x] = min(max(total[x] >> _BITS, 0), 255)
