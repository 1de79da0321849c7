"""Sum, sum of squares, smallest and largest value of integer images: mean and std under every definition.

All sums are integers. What is not an integer for an image (its mean, standard deviation and variance) is rounded once
to a multiple of 2**-40 and added as an integer, so it has no order either.

On the CPU: `gpustats.statistics.sums`. On the GPU: ``kernels/moments.cu``.
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
from gpustats.statistics.exact import (
    FRACTION_BITS,
    WHOLE,
    fixed_point_segments,
    multiply,
    segment_sums,
    squared_deviation,
)
from gpustats.statistics.sums import row_u8, row_u16, rows_of_bins
from gpustats.wording import option

if TYPE_CHECKING:
    from gpustats.cuda.outputs import Outputs

__all__ = ["NUMBERS", "Moments", "above_range"]

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

_KERNELS = {"uint8": row_u8, "int8": row_u8, "uint16": row_u16, "int16": row_u16}
