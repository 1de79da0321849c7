"""Sum, sum of squares, smallest and largest value of integer images: mean and std under every definition.

All sums are integers. What is not an integer for an image (its mean, standard deviation and variance) is rounded once
to a multiple of 2**-40 and added as an integer, so it has no order either.

On the CPU an array is walked as rows whose length is a multiple of the channels, so a position in the row ("lane")
always belongs to the same channel and the compiler vectorises across lanes without shuffling colours apart. Rows of 96
bytes do for 1, 2, 3 and 4 channels and every vector width; eight rows (four of 16 bits) are taken at a time, so that a
lane is loaded and stored once for all of them. Integer lanes are uint32 and are emptied into uint64 before they can
overflow. The first images of a process are counted by NumPy.
On the GPU: ``kernels/moments.cu``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gpustats.failures import ImageError
from gpustats.statistics.base import Column, Columns, Given, Kind, Number, Part, Statistic, View, over
from gpustats.statistics.clusters import PRODUCTS, exact_products, shifted
from gpustats.statistics.compiled import compiled, compiled_after
from gpustats.statistics.counting import count_row
from gpustats.statistics.exact import (
    FRACTION_BITS,
    WHOLE,
    fixed_point_segments,
    multiply,
    segment_sums,
    squared_deviation,
)
from gpustats.statistics.histogram import powers_of_bins
from gpustats.statistics.lanes import lanes_of
from gpustats.wording import option

if TYPE_CHECKING:
    from gpustats.cuda.outputs import Outputs

__all__ = ["NUMBERS", "Moments", "above_range", "moments_u8", "moments_u16"]

_UNIT = 1 << FRACTION_BITS


def _known(name: str, count: str = "n") -> Callable[[View], list[Any]]:
    """Return a function that reads a total: NaN for channels without pixels, where it means nothing."""
    return lambda v: [x if n else math.nan for x, n in zip(v[name], v[count], strict=True)]


NUMBERS = (
    Number("mean", _known("mean"), "all pixels pooled", "sum(x) / n, over all pixels of all images", "`Normalize`"),
    Number(
        "std",
        lambda v: list(map(over, v["deviation"], v["n"])),
        "pooled, ddof=0",
        "sqrt(sum((x - mean)^2) / n), over all pixels of all images",
        "the 'strong' method; what `Normalize` should get",
        power=2,
        root=True,
    ),
    Number(
        "var",
        lambda v: list(map(over, v["deviation"], v["n"])),
        "pooled, ddof=0",
        "sum((x - mean)^2) / n, over all pixels of all images",
        "the square of `std`",
        power=2,
        in_table=False,
    ),
    Number(
        "std_unbiased",
        lambda v: [over(d, n and n - 1) for d, n in zip(v["deviation"], v["n"], strict=True)],
        "pooled, ddof=1",
        "sqrt(sum((x - mean)^2) / (n - 1))",
        "`numpy.std(ddof=1)` over all pixels",
        power=2,
        root=True,
        in_table=False,
    ),
    Number(
        "per_image.mean",
        _known("image_mean", "images"),
        "average of images",
        "average over images of each image's mean",
        "the 'weak' method",
    ),
    Number(
        "per_image.std",
        lambda v: list(map(over, v["image_std"], v["images"])),
        "average, ddof=0",
        "average over images of each image's std with ddof=0",
        "the 'weak' method",
    ),
    Number(
        "per_image.std_unbiased",
        lambda v: list(map(over, v["image_std_unbiased"], v["images_unbiased"])),
        "average, ddof=1",
        "average over images of each image's std with ddof=1; images of one pixel have none",
        "how ImageNet's 0.229, 0.224, 0.225 came about "
        "([pytorch/vision#1965](https://github.com/pytorch/vision/pull/1965))",
    ),
    Number(
        "per_image.rms_std",
        lambda v: list(map(over, v["image_var"], v["images"])),
        "root mean variance",
        "square root of the average over images of the image's variance",
        "scripts that average batch variances",
        power=2,
        root=True,
    ),
    Number(
        "std_of_means",
        lambda v: list(map(over, v["image_mean_deviation"], v["images"])),
        "between images",
        "std over images of the image means, ddof=0",
        "how much images differ from each other",
        power=2,
        root=True,
    ),
    Number("min", _known("min"), "smallest value", "smallest value of any pixel", "range checks"),
    Number("max", _known("max"), "largest value", "largest value of any pixel", "range checks"),
)
"""What integer and float images have in common. The functions read views: see `Moments.view`."""


class Moments(Statistic):
    """Sums of 8- and 16-bit images.

    The totals, each a list with one integer a channel: ``n`` pixels, ``sum`` and ``sumsq`` of their values, ``min`` and
    ``max``; ``images``, and ``images_unbiased`` of more than one pixel; and the sums over images of the image's mean,
    std (ddof 0 and 1) and variance (``image_mean``, ``image_std``, ``image_std_unbiased``, ``image_var``) in units of
    2**-40, and of its squared mean (``image_mean_sq``) in units of 2**-80; ``products`` has seven numbers a channel,
    see `clusters`. Of signed integers, sums may be negative; a row holds sums of values to which `Kind.offset` was
    added.
    """

    name = "moments"
    outputs: ClassVar[frozenset[str] | None] = frozenset()
    combine: ClassVar = {
        "n": add,
        "images": add,
        "images_unbiased": add,
        "sum": add,
        "sumsq": add,
        "min": min,
        "max": max,
        "image_mean": add,
        "image_mean_sq": add,
        "image_std": add,
        "image_std_unbiased": add,
        "image_var": add,
        "products": add,
    }
    later = frozenset({"products"})
    counts = frozenset({"n", "images", "images_unbiased"})
    numbers = NUMBERS

    @classmethod
    def problem(cls, kind: Kind) -> str | None:
        """Integers of 8 and 16 bits only."""
        return None if kind.dtype in _KERNELS else "sums of 64 bits are exact for 8- and 16-bit integers only"

    def columns(self) -> Mapping[str, Column]:
        """Return pixels, sum, sum of squares, min and max of each channel, after the offset of the kind was added."""
        channels = (self.kind.channels,)
        wide, narrow = Column("uint64", channels), Column(f"u{self.kind.dtype.lstrip('u')}", channels)
        return {"n": wide, "sum": wide, "sumsq": wide, "min": narrow, "max": narrow}

    def kernel(self) -> Any:
        """Return the function for 8- or 16-bit images."""
        return _KERNELS[self.kind.dtype]

    def row_problem(self, columns: Columns, row: int) -> ImageError | None:
        """Refuse values above the one that is said to be 1.0."""
        return above_range(self.kind, columns["max"][row], self.kind.offset)

    def given(self, names: tuple[str, ...]) -> Given | None:
        """From the bins of a histogram of 8-bit images."""
        return Given("histogram", rows_of_bins) if self.kind.dtype == "uint8" and "histogram" in names else None

    def on_gpu(self, outputs: Outputs) -> Columns:
        """Return the columns from the sums and extremes of the kernel."""
        n = np.repeat(outputs.pixels[:, None], self.kind.channels, axis=1)
        return {"n": n, "sum": outputs.sum, "sumsq": outputs.sumsq, "min": outputs.min, "max": outputs.max}

    def fold(self, columns: Columns) -> Part:
        """Return the totals of the rows; about 0.2 ms a call and 2 microseconds a row."""
        return self.fold_segments(columns, WHOLE)[0]

    def fold_segments(self, columns: Columns, starts: Sequence[int]) -> list[Part]:
        """Return the totals of each segment of the rows, some 10 microseconds a segment."""
        n, total, squares = columns["n"], columns["sum"], columns["sumsq"]
        count = n.astype(np.float64)
        present, several = n > 0, n > 1
        deviation = squared_deviation(n, total, squares)

        def divided(numerator: Any, denominator: Any, where: Any) -> NDArray[np.float64]:
            quotient: NDArray[np.float64] = np.divide(numerator, denominator, out=np.zeros(count.shape), where=where)
            return quotient

        # sqrt, division and multiplication are correctly rounded by IEEE 754: the same bits on every machine.
        mean = np.rint(divided(total.astype(np.float64), count, present) * float(_UNIT)).astype(np.uint64)
        mean_sq_high, mean_sq_low = (segment_sums(half, starts) for half in multiply(mean, mean))
        sums = {
            "n": segment_sums(n, starts),
            "images": segment_sums(present, starts),
            "images_unbiased": segment_sums(several, starts),
            "sum": segment_sums(total, starts),
            "sumsq": segment_sums(squares, starts),
            "min": np.minimum.reduceat(columns["min"], starts, axis=0).tolist(),
            "max": np.maximum.reduceat(columns["max"], starts, axis=0).tolist(),
            "image_mean": segment_sums(mean, starts),
            "image_mean_sq": [
                [(high << 64) + low for high, low in zip(*halves, strict=True)]
                for halves in zip(mean_sq_high, mean_sq_low, strict=True)
            ],
            "image_std": fixed_point_segments(divided(np.sqrt(deviation), count, present), starts),
            "image_std_unbiased": fixed_point_segments(
                np.sqrt(divided(deviation, count * (count - 1.0), several)), starts
            ),
            "image_var": fixed_point_segments(divided(deviation, count * count, present), starts),
            "products": exact_products(n, total, squares, starts),
        }
        parts = [dict(zip(sums, values, strict=True)) for values in zip(*sums.values(), strict=True)]
        return [self._of_values(part) for part in parts] if self.kind.offset else parts

    def _of_values(self, part: Part) -> Part:
        """Return a part from that of the kernel's values, to which the offset of the kind was added."""
        b = self.kind.offset
        fixed = b * _UNIT
        moved: Part = {name: [] for name in part}
        for c in range(self.kind.channels):
            one = {name: values[c] for name, values in part.items()}
            n, images = one["n"], one["images"]
            one["sumsq"] += b * b * n - 2 * b * one["sum"]
            one["sum"] -= b * n
            one["image_mean_sq"] += fixed * fixed * images - 2 * fixed * one["image_mean"]
            one["image_mean"] -= fixed * images
            one["min"] -= b
            one["max"] -= b
            one["products"] = shifted(one["products"], b)
            for name, value in one.items():
                moved[name].append(value)
        return moved

    def of_images(self, columns: Columns) -> Mapping[str, tuple[NDArray[Any], int]]:
        """Return number of values, mean, std with ddof=0, min and max of each image."""
        n, total = columns["n"], columns["sum"]
        count = n.astype(np.float64)
        return {
            "n": (n, 0),
            "mean": (total / count - self.kind.offset, 1),
            "std": (np.sqrt(squared_deviation(n, total, columns["sumsq"])) / count, 1),
            **{name: (columns[name].astype(np.int64) - self.kind.offset, 1) for name in ("min", "max")},
        }

    def view(self, part: Part) -> View:
        """Return means and sums of squared deviations as fractions: nothing is rounded before a number is read."""
        channels = range(self.kind.channels)
        n, images = part["n"], part["images"]
        fixed = {name: [Fraction(x, _UNIT) for x in part[name]] for name in _FIXED_POINT}
        return {
            **part,
            **fixed,
            "mean": [over(part["sum"][c], n[c]) for c in channels],
            "deviation": [over(n[c] * part["sumsq"][c] - part["sum"][c] ** 2, n[c]) for c in channels],
            "image_mean": [over(part["image_mean"][c], images[c] * _UNIT) for c in channels],
            "image_mean_deviation": [
                over(images[c] * part["image_mean_sq"][c] - part["image_mean"][c] ** 2, images[c] * _UNIT**2)
                for c in channels
            ],
        }

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a total."""
        return (self.kind.channels, PRODUCTS) if name == "products" else super().shape(name)

    def consistent(self, part: Part) -> bool:
        """Check what holds for the sums of any images."""
        lowest, highest = self.kind.limits
        names = ("n", "images", "images_unbiased", "sum", "sumsq", "min", "max")
        return all(
            several <= images <= n
            and bool(images) == bool(n)
            and low * n <= s <= high * n
            and lowest <= low <= high <= highest
            and s * s <= n * q
            and q <= (lowest + highest) * s - lowest * highest * n  # no (x - lowest) * (x - highest) is positive
            for n, images, several, s, q, low, high in zip(*(part[name] for name in names), strict=True)
        )


def above_range(kind: Kind, largest: NDArray[Any], offset: int = 0) -> ImageError | None:
    """Return why an image cannot be measured whose channels have these largest values; None where it can."""
    most = largest.max().item() - offset
    if kind.value_range is None or most <= kind.value_range:
        return None
    return ImageError("unsupported", f"it has the value {most:.15g}, and {option('value_range', kind.value_range)}")


_FIXED_POINT = ("image_std", "image_std_unbiased", "image_var")

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
            n[row, channel], total[row, channel], squares[row, channel] = powers_of_bins(counts)
            lowest, highest = 255, 0
            for value in range(256):
                if counts[value] > 0:
                    lowest, highest = min(lowest, value), value
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


_KERNELS = {"uint8": row_u8, "int8": row_u8, "uint16": row_u16, "int16": row_u16}
