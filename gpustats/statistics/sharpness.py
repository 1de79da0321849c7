"""How sharp an image is: the variance of the Laplacian of its luma. Low values are those of blurred and empty images.

J. L. Pech-Pacheco, G. Cristobal, J. Chamorro-Martinez, J. Fernandez-Valdivia: Diatom autofocusing in brightfield
microscopy, a comparative study. ICPR 2000, https://doi.org/10.1109/ICPR.2000.903548, LAPV in section 2.

- The luma is that of Pillow's mode L, an integer: (19595 R + 38470 G + 7471 B + 32768) // 65536; of grey images their
  value.
- The Laplacian is the sum of the four neighbours less four times the pixel. Beyond a border the image is mirrored at
  the pixels of the border, which are not repeated: ``cv2.Laplacian(grey, cv2.CV_64F)`` with its defaults.
- Its sum and its sum of squares over the image are integers, so the variance (ddof=0) is that of exact numbers. Where
  pixels are left out, the Laplacian is taken where the pixel and its neighbours count.

Some rows of luma are computed together, and the Laplacian of each while its neighbours are in the cache.
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
from gpustats.statistics.planes import split

__all__ = ["Sharpness", "laplacian", "plain_laplacian"]

_R, _G, _B, _HALF, _SHIFT = 19595, 38470, 7471, 32768, 16
# Pixels of a row whose squares are added in 32 bits: 4 * 255 squared, times this, is less than 2**31.
_TOGETHER = 2048
# Pixels whose luma is computed together, some rows: a loop of its own for each row would be mostly beginnings and ends.
_AT_ONCE = 4096


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

    def measure(self, image: Whole) -> tuple[Any, ...]:
        """Return the columns of a row."""
        sums = np.empty(3, np.int64)
        height, width, channels = image.pixels.shape
        if image.valid is None:
            values = np.ascontiguousarray(image.pixels).reshape(-1)
            at_first(laplacian)(values, height, width, channels, sums)
        else:
            plain_laplacian(image.pixels, height, width, channels, sums, np.asarray(image.valid.all(axis=2)))
        n, total, squares = sums.tolist()
        return n, total, squares % (1 << 64)  # the sum of squares takes all 64 bits

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

    def facts(self, part: Part, unit: Fraction) -> list[str]:
        """Say how sharp images are on average."""
        (average,) = self.numbers
        value = float(average.evaluate(self.view(part), unit))
        return [f"sharpness: {value:.4g} (variance of the Laplacian, average of images)"]

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
def luma_of(values: NDArray[Any], channels: int, planes: NDArray[Any], luma: NDArray[np.uint16]) -> None:
    """Write the luma of pixels; `planes` is room for their channels."""
    if channels == 1:
        for x in range(luma.size):
            luma[x] = values[x]
        return
    split(values, planes)
    red, green, blue = planes[0], planes[1], planes[2]
    for x in range(luma.size):
        y = np.uint32(np.uint32(red[x]) * np.uint32(_R) + np.uint32(_HALF))
        y = np.uint32(y + np.uint32(np.uint32(green[x]) * np.uint32(_G)))
        y = np.uint32(y + np.uint32(np.uint32(blue[x]) * np.uint32(_B)))
        luma[x] = np.uint32(y >> np.uint32(_SHIFT))


@compiled
def narrow_squares(above: NDArray[np.uint16], own: NDArray[np.uint16], below: NDArray[np.uint16]) -> Any:
    """Return the sum of squares of the Laplacian of a row of 8-bit luma, but for both ends of it."""
    total = np.uint64(0)
    for start in range(1, own.size - 1, _TOGETHER):
        stop = min(start + _TOGETHER, own.size - 1)
        up, down = above[start:stop], below[start:stop]
        left, middle, right = own[start - 1 : stop - 1], own[start:stop], own[start + 1 : stop + 1]
        some = np.int32(0)
        for x in range(up.size):
            # One value after the other, each result cut to 16 bits: sums of several are computed in 64.
            v = np.uint16(up[x] + down[x])
            v = np.uint16(v + left[x])
            v = np.uint16(v + right[x])
            v = np.int32(np.int16(np.uint16(v - np.uint16(middle[x] * np.uint16(4)))))
            some = np.int32(some + np.int32(v * v))
        total += np.uint64(some)
    return total


@compiled
def wide_squares(above: NDArray[np.uint16], own: NDArray[np.uint16], below: NDArray[np.uint16]) -> Any:
    """Return the same for 16-bit luma."""
    total = np.uint64(0)
    for x in range(1, own.size - 1):
        v = np.int64(above[x]) + np.int64(below[x]) + np.int64(own[x - 1]) + np.int64(own[x + 1]) - 4 * np.int64(own[x])
        total += np.uint64(v * v)
    return total


@compiled
def square_at_end(above: NDArray[np.uint16], own: NDArray[np.uint16], below: NDArray[np.uint16], x: int) -> Any:
    """Return the square at the first or last place of a row, both of whose neighbours are the same one."""
    beside = own[x - 1 if x else min(1, own.size - 1)]
    v = np.int64(above[x]) + np.int64(below[x]) + 2 * np.int64(beside) - 4 * np.int64(own[x])
    return np.uint64(v * v)


@compiled
def step(one: NDArray[np.uint16], other: NDArray[np.uint16]) -> Any:
    """Return the sum of a row of luma less that of another."""
    total = np.int64(0)
    for x in range(one.size):
        total += np.int64(one[x]) - np.int64(other[x])
    return total


@compiled_after(plain_laplacian)
def laplacian(values: NDArray[Any], height: int, width: int, channels: int, sums: NDArray[np.int64]) -> None:
    """Write places, sum and sum of squares of the Laplacian of the luma of an image.

    In the sum all values cancel out, but those of the border and of the pixels next to it.

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
    together = max(1, min(height, _AT_ONCE // width))
    rows = np.empty((together + 2, width), np.uint16)  # those that are computed together, after the two before them
    flat = rows.reshape(-1)
    planes = np.empty((channels, together * width), values.dtype)
    total, squares = np.int64(0), np.uint64(0)
    for start in range(0, height, together):
        stop = min(start + together, height)
        count = (stop - start) * width
        for x in range(2 * width if start else 0):
            flat[x] = flat[together * width + x]
        place = start * width * channels
        pixels = values[place : place + count * channels]
        luma_of(pixels, channels, planes[:, :count], flat[2 * width : 2 * width + count])
        for y in range(max(start - 1, 0), stop - (stop < height)):
            at = y - start + 2
            above = at - 1 if y > 0 else at + min(1, height - 1)
            below = at + 1 if y < height - 1 else at - min(1, height - 1)
            own, up, down = rows[at], rows[above], rows[below]
            last = width - 1
            squares += narrow_squares(up, own, down) if values.itemsize == 1 else wide_squares(up, own, down)
            squares += square_at_end(up, own, down, 0)
            if last > 0:
                squares += square_at_end(up, own, down, last)
            total += np.int64(own[min(1, last)]) - np.int64(own[0])
            total += np.int64(own[max(last - 1, 0)]) - np.int64(own[last])
            if y == 0:
                total += step(up, own)
            if y == height - 1:
                total += step(down, own)
    sums[0] = height * width
    sums[1] = total
    sums[2] = np.int64(squares)
