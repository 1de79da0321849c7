"""How sharp an image is: the variance of the Laplacian of its luma. Low values are those of blurred and empty images.

J. L. Pech-Pacheco, G. Cristobal, J. Chamorro-Martinez, J. Fernandez-Valdivia: Diatom autofocusing in brightfield
microscopy, a comparative study. ICPR 2000, https://doi.org/10.1109/ICPR.2000.903548, LAPV in section 2.

- The luma is that of Pillow's mode L, an integer: (19595 R + 38470 G + 7471 B + 32768) // 65536; of grey images their
  value.
- The Laplacian is the sum of the four neighbours less four times the pixel. Beyond a border the image is mirrored at
  the pixels of the border, which are not repeated: ``cv2.Laplacian(grey, cv2.CV_64F)`` with its defaults.
- Its sum and its sum of squares over the image are integers, so the variance (ddof=0) is that of exact numbers. Where
  pixels are left out, the Laplacian is taken where the pixel and its neighbours count.

Rows of luma are computed one after the other, and the Laplacian of each while its neighbours are in the cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from operator import add
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gpustats.statistics.base import Column, Columns, Kind, Number, Part, Statistic, over
from gpustats.statistics.compiled import at_first, compiled, compiled_after
from gpustats.statistics.exact import FRACTION_BITS, WHOLE, fixed_point_segments, segment_sums, squared_deviation
from gpustats.statistics.original import Whole

__all__ = ["Sharpness", "laplacian", "plain_laplacian"]

_R, _G, _B, _HALF, _SHIFT = 19595, 38470, 7471, 32768, 16
# Pixels of a row whose squares are added in 32 bits: 4 * 255 squared, times this, is less than 2**31.
_TOGETHER = 2048


class Sharpness(Statistic):
    """Sums of the Laplacian; the totals are ``images``, and the sum of their variances in units of 2**-40."""

    name = "sharpness"
    whole = True
    combine: ClassVar = {"images": add, "variance": add}
    numbers = (
        Number(
            "per_image.sharpness",
            lambda v: over(Fraction(v["variance"], 1 << FRACTION_BITS), v["images"]),
            "average over images",
            "average over images of the variance of the Laplacian of the image's luma (Pech-Pacheco et al. 2000)",
            "finding blurred images, with a table of the images",
            power=2,
            shape=(),
            in_table=False,
        ),
    )

    @property
    def most_pixels(self) -> int:
        """What 64 bits hold: a square of the Laplacian is less than 2**36 for 16 bits."""
        return 1 << (44 if self._bits == 8 else 28)

    @property
    def _bits(self) -> int:
        return np.iinfo(self.kind.dtype).bits

    @classmethod
    def problem(cls, kind: Kind) -> str | None:
        """Integers of one channel, or of three that are red, green and blue."""
        if kind.is_float or np.iinfo(kind.dtype).bits > 16:
            return "its sums are exact for 8- and 16-bit integers only"
        return None if kind.channels in (1, 3) else "luma is that of one channel, or of red, green and blue"

    @classmethod
    def order_problem(cls, color_order: str) -> str | None:
        """Luma has a weight for each colour."""
        return None if color_order in ("RGB", "L") else "luma is that of RGB; reverse BGR first: images[..., ::-1]"

    def columns(self) -> Mapping[str, Column]:
        """Return places that count, and sum and sum of squares of the Laplacian there."""
        return {"n": Column("uint64", ()), "sum": Column("int64", ()), "sumsq": Column("uint64", ())}

    def measure(self, image: Whole, row: int, columns: Columns) -> None:
        """Fill a row."""
        sums = np.empty(3, np.int64)
        height, width, channels = image.pixels.shape
        if image.valid is None:
            values = np.ascontiguousarray(image.pixels).reshape(-1)
            at_first(laplacian)(values, height, width, channels, sums)
        else:
            plain_laplacian(image.pixels, height, width, channels, sums, np.asarray(image.valid.all(axis=2)))
        for column, value in zip(columns.values(), sums.view(np.uint64), strict=True):
            column[row] = value.view(column.dtype)

    def fold(self, columns: Columns) -> Part:
        """Return the totals of the rows."""
        return self.fold_segments(columns, WHOLE)[0]

    def fold_segments(self, columns: Columns, starts: Sequence[int]) -> list[Part]:
        """Return the totals of each segment of the rows."""
        images = segment_sums((columns["n"] > 0)[:, None], starts)
        sums = fixed_point_segments(_variance(columns)[:, None], starts)
        return [{"images": n, "variance": total} for (n,), (total,) in zip(images, sums, strict=True)]

    def of_whole_images(self, columns: Columns, channels: Sequence[str]) -> Mapping[str, tuple[NDArray[Any], int]]:
        """Return the variance of the Laplacian of each image, null where no place counts."""
        return {"sharpness": (np.ma.array(_variance(columns), mask=columns["n"] == 0), 2)}

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a total: one number for all channels."""
        return ()

    def consistent(self, part: Part) -> bool:
        """Check that no image is sharper than can be."""
        return bool(part["variance"] <= part["images"] << (2 * (self._bits + 2) + FRACTION_BITS))

    def agrees(self, part: Part, moments: Part) -> bool:
        """Check that there are not more images than were measured."""
        return bool(part["images"] <= max(moments["images"]))


def _variance(columns: Columns) -> NDArray[np.float64]:
    """Return the variance of each image, 0 where no place counts."""
    n = columns["n"]
    count = n.astype(np.float64)
    total = np.abs(columns["sum"]).astype(np.uint64)
    deviation = squared_deviation(n, total, columns["sumsq"])
    variance: NDArray[np.float64] = np.divide(deviation, count * count, out=np.zeros(count.shape), where=n > 0)
    return variance


def plain_laplacian(
    pixels: NDArray[Any],
    height: int,
    width: int,
    channels: int,
    sums: NDArray[np.int64],
    valid: NDArray[np.bool_] | None = None,
) -> None:
    """Do what `laplacian` does with NumPy, also where some pixels alone count.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16
        Of an image of `height`, `width` and `channels`. To signed integers their offset was added, which makes no
        difference: the weights of the luma add up to 65536.
    sums : ndarray of int64, shape (3,)
        Output: places that count, sum and sum of squares of the Laplacian there.
    valid : ndarray of bool, shape (height, width), optional
        Which pixels count.
    """
    image = pixels.reshape(height, width, channels).astype(np.int64)
    luma = image[:, :, 0] if channels == 1 else (image @ np.array([_R, _G, _B]) + _HALF) >> _SHIFT
    found = sum(_neighbours(luma)) - 4 * luma
    if valid is not None:
        found = found[np.logical_and.reduce([valid, *_neighbours(valid)])]
    sums[:] = found.size, found.sum(), (found * found).sum()


def _neighbours(values: NDArray[Any]) -> list[NDArray[Any]]:
    """Return what is one place further in each direction."""
    found = []
    for axis, length in enumerate(values.shape):
        places = np.arange(length)
        for further in (np.abs(places - 1), length - 1 - np.abs(length - 2 - places)):
            found.append(np.take(values, further % length, axis))
    return found


@compiled
def luma_row(values: NDArray[Any], channels: int, luma: NDArray[Any]) -> None:
    """Write the luma of a row, and what is mirrored at its ends."""
    width = luma.size - 2
    inner = luma[1 : width + 1]
    if channels == 1:
        for x in range(width):
            inner[x] = values[x]
    else:
        for x in range(np.uint64(width)):  # unsigned, so that nobody asks whether a place is negative
            first = x * np.uint64(3)
            y = np.uint32(np.uint32(values[first]) * np.uint32(_R) + np.uint32(_HALF))
            y = np.uint32(y + np.uint32(np.uint32(values[first + np.uint64(1)]) * np.uint32(_G)))
            y = np.uint32(y + np.uint32(np.uint32(values[first + np.uint64(2)]) * np.uint32(_B)))
            inner[x] = np.uint32(y >> np.uint32(_SHIFT))
    luma[0] = luma[min(2, width)]
    luma[width + 1] = luma[max(width - 1, 1)]


@compiled
def narrow_sums(above: NDArray[np.uint8], own: NDArray[np.uint8], below: NDArray[np.uint8]) -> tuple[int, int]:
    """Return sum and sum of squares of the Laplacian of a row of 8-bit luma."""
    total, squares = np.int64(0), np.int64(0)
    width = own.size - 2
    for start in range(0, width, _TOGETHER):
        stop = min(start + _TOGETHER, width)
        up, down = above[start + 1 : stop + 1], below[start + 1 : stop + 1]
        left, middle, right = own[start:stop], own[start + 1 : stop + 1], own[start + 2 : stop + 2]
        some, some_squares = np.int32(0), np.int32(0)
        for x in range(up.size):
            # One value after the other, each result cut to 16 bits: sums of several are computed in 64.
            v = np.int16(np.int16(up[x]) + np.int16(down[x]))
            v = np.int16(v + np.int16(left[x]))
            v = np.int16(v + np.int16(right[x]))
            v = np.int32(np.int16(v - np.int16(np.int16(middle[x]) * np.int16(4))))
            some = np.int32(some + v)
            some_squares = np.int32(some_squares + np.int32(v * v))
        total += some
        squares += some_squares
    return total, squares


@compiled
def wide_sums(above: NDArray[np.uint16], own: NDArray[np.uint16], below: NDArray[np.uint16]) -> tuple[int, int]:
    """Return the same for 16-bit luma. The sum of squares is that of 64 bits without a sign."""
    total, squares = np.int64(0), np.int64(0)
    for x in range(1, own.size - 1):
        v = np.int64(above[x]) + np.int64(below[x]) + np.int64(own[x - 1]) + np.int64(own[x + 1]) - 4 * np.int64(own[x])
        total += v
        squares += v * v
    return total, squares


@compiled_after(plain_laplacian)
def laplacian(values: NDArray[Any], height: int, width: int, channels: int, sums: NDArray[np.int64]) -> None:
    """Write places, sum and sum of squares of the Laplacian of the luma of an image.

    Parameters
    ----------
    values : ndarray of uint8 or uint16, shape (height * width * channels,)
        Contiguous, channels interleaved.
    height, width : int
        Size of the image.
    channels : int
        1 or 3.
    sums : ndarray of int64, shape (3,)
        Output.
    """
    rows = np.empty((3, width + 2), values.dtype)
    total, squares = np.int64(0), np.int64(0)
    for y in range(height + 1):
        if y < height:
            luma_row(values[y * width * channels : (y + 1) * width * channels], channels, rows[y % 3])
        if y > 0:
            own = y - 1
            above = own - 1 if own > 0 else min(1, height - 1)
            below = y if y < height else max(height - 2, 0)
            if values.itemsize == 1:
                found = narrow_sums(rows[above % 3], rows[own % 3], rows[below % 3])
            else:
                found = wide_sums(rows[above % 3], rows[own % 3], rows[below % 3])
            total += found[0]
            squares += found[1]
    sums[0] = height * width
    sums[1] = total
    sums[2] = squares
