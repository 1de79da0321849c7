"""How channels vary together: sums of products of two channels of integer images.

On the GPU: ``kernels/joint.cu`` and ``kernels/strided.cu``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gpustats.statistics.base import Column, Columns, Given, Kind, Number, Part, Statistic, View, over
from gpustats.statistics.compiled import compiled
from gpustats.statistics.exact import WHOLE, segment_sums
from gpustats.statistics.planes import split

if TYPE_CHECKING:
    from gpustats.cuda.outputs import Outputs

__all__ = ["Covariance", "cross_products"]

# Pixels that are taken together: few enough for the first cache, and for 32 bits, which hold 33,025 products of 255.
_AT_ONCE = 1024


def _pairs(channels: int) -> list[tuple[int, int]]:
    """Return the pairs of channels in the order of the products: (0, 0), (0, 1), ..., (1, 1), ..."""
    return [(i, j) for i in range(channels) for j in range(i, channels)]


def _covariance(view: View) -> list[list[Any]]:
    n, total = view["n"], view["sum"]
    matrix: list[list[Any]] = [[None] * len(total) for _ in total]
    for (i, j), product in zip(_pairs(len(total)), view["products"], strict=True):
        matrix[i][j] = matrix[j][i] = over(n * product - total[i] * total[j], n * n)
    return matrix


def _correlation(view: View) -> list[list[Any]]:
    covariance = _covariance(view)

    def one(i: int, j: int) -> float:
        variances = covariance[i][i] * covariance[j][j]
        if not variances > 0:  # NaN too, where there are no pixels
            return math.nan
        return math.copysign(math.sqrt(Fraction(covariance[i][j] ** 2, variances)), covariance[i][j])

    channels = range(len(covariance))
    return [[one(i, j) for j in channels] for i in channels]


class Covariance(Statistic):
    """Sums of products of channels.

    The totals are integers: ``n`` pixels, the ``sum`` of each channel, and the sums of the ``products`` of two channels
    in the order (0, 0), (0, 1), ..., (1, 1), ... They are sums over the same pixels, so they stand beside those of the
    moments.
    """

    name = "covariance"
    whole_pixels = True
    outputs = frozenset({"cross"})
    combine: ClassVar = {"n": add, "sum": add, "products": add}
    counts = frozenset({"n"})
    numbers = (
        Number(
            "covariance",
            _covariance,
            "how channels vary together",
            "sum((x_i - mean_i) * (x_j - mean_j)) / n, over all pixels of all images",
            "colour augmentation (PCA lighting), whitening",
            power=2,
            shape=("C", "C"),
            in_table=False,
        ),
        Number(
            "correlation",
            _correlation,
            "how channels vary together, from -1 to 1",
            "covariance of two channels, divided by both stds",
            "`numpy.corrcoef` over all pixels",
            power=0,
            shape=("C", "C"),
            in_table=False,
        ),
    )

    @classmethod
    def problem(cls, kind: Kind) -> str | None:
        """Integers only."""
        wide = kind.is_float or np.dtype(kind.dtype).itemsize > 2
        return "its sums are exact for 8- and 16-bit integers only" if wide else None

    def columns(self) -> Mapping[str, Column]:
        """Return pixels, sums and sums of products."""
        return {name: Column("uint64", self.shape(name)) for name in self.combine}

    def given(self, names: tuple[str, ...]) -> Given:
        """From the moments, but for the products of two channels."""
        return Given("moments", rows_of_moments, row_of_products)

    def on_gpu(self, outputs: Outputs) -> Columns:
        """Return the columns from the sums and products of the kernel."""
        assert outputs.cross is not None
        products = np.empty((len(outputs.pixels), *self.shape("products")), np.uint64)
        between = iter(range(outputs.cross.shape[1]))
        for place, (i, j) in enumerate(_pairs(self.kind.channels)):
            products[:, place] = outputs.sumsq[:, i] if i == j else outputs.cross[:, next(between)]
        return {"n": outputs.pixels, "sum": outputs.sum, "products": products}

    def fold(self, columns: Columns) -> Part:
        """Return the totals of the rows."""
        return self.fold_segments(columns, WHOLE)[0]

    def fold_segments(self, columns: Columns, starts: Sequence[int]) -> list[Part]:
        """Return the totals of each segment of the rows."""
        sums = (segment_sums(columns[name], starts) for name in ("sum", "products"))
        counts = segment_sums(columns["n"][:, None], starts)
        return [self._of_values(n, total, products) for (n,), total, products in zip(counts, *sums, strict=True)]

    def _of_values(self, n: int, total: list[int], products: list[int]) -> Part:
        """Return a part from sums of what the kernel was given: values to which the offset of the kind was added."""
        b = self.kind.offset
        if b:
            pairs = _pairs(self.kind.channels)
            products = [
                product - b * (total[i] + total[j]) + b * b * n for (i, j), product in zip(pairs, products, strict=True)
            ]
            total = [value - b * n for value in total]
        return {"n": n, "sum": total, "products": products}

    def of_whole_images(self, columns: Columns, channels: Sequence[str]) -> Mapping[str, tuple[NDArray[Any], int]]:
        """Return how colourful each image is, where the channels are red, green and blue in any order.

        D. Hasler, S. Suesstrunk: Measuring colourfulness in natural images. SPIE 5007 (2003),
        https://doi.org/10.1117/12.477378, M(3): with rg = R - G and yb = (R + G) / 2 - B, the root of the sum of their
        variances, and 0.3 times the root of the sum of their squared means.
        """
        if sorted(channels) != ["B", "G", "R"]:
            return {}
        n, total, products = (columns[name].astype(object) for name in ("n", "sum", "products"))  # as long as it takes
        r, g, b = (channels.index(name) for name in "RGB")
        place = {pair: i for i, pair in enumerate(_pairs(3))}

        def product(i: int, j: int) -> Any:
            return products[:, place[min(i, j), max(i, j)]]

        rg = total[:, r] - total[:, g]
        yb = total[:, r] + total[:, g] - 2 * total[:, b]  # twice as much
        rg_squared = product(r, r) - 2 * product(r, g) + product(g, g)
        yb_squared = product(r, r) + product(g, g) + 4 * product(b, b)
        yb_squared += 2 * product(r, g) - 4 * product(r, b) - 4 * product(g, b)
        squares = 4 * n * n
        spread = (4 * (n * rg_squared - rg * rg) + n * yb_squared - yb * yb) / squares
        middle = (4 * rg * rg + yb * yb) / squares
        return {"colorfulness": (np.sqrt(spread.astype(np.float64)) + 0.3 * np.sqrt(middle.astype(np.float64)), 1)}

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a total."""
        channels = self.kind.channels
        return {"n": (), "sum": (channels,), "products": (channels * (channels + 1) // 2,)}[name]

    def consistent(self, part: Part) -> bool:
        """Check that no variance is negative and no correlation above 1."""
        n, total = part["n"], part["sum"]
        pairs = _pairs(self.kind.channels)
        spread = {
            (i, j): n * product - total[i] * total[j] for (i, j), product in zip(pairs, part["products"], strict=True)
        }
        return all(spread[i, i] >= 0 and spread[i, j] ** 2 <= spread[i, i] * spread[j, j] for i, j in pairs)

    def agrees(self, part: Part, moments: Part) -> bool:
        """Check number, sums and sums of squares."""
        pairs = zip(_pairs(self.kind.channels), part["products"], strict=True)
        return bool(
            [part["n"]] * self.kind.channels == moments["n"]
            and part["sum"] == moments["sum"]
            and [product for (i, j), product in pairs if i == j] == moments["sumsq"]
        )


@compiled
def product_sum(a: NDArray[Any], b: NDArray[Any]) -> Any:
    """Return the sum of products of at most `_AT_ONCE` values of 8 or 16 bits."""
    if a.itemsize == 1:
        some = np.int32(0)
        for x in range(a.size):
            some = np.int32(some + np.int32(np.int32(a[x]) * np.int32(b[x])))
        return np.uint64(some)
    total = np.uint64(0)
    for x in range(a.size):
        total += np.uint64(a[x]) * np.uint64(b[x])
    return total


@compiled
def cross_products(pixels: NDArray[Any], channels: int, products: NDArray[np.uint64]) -> None:
    """Write the sums of products of two different channels of interleaved pixels; exact below 2**32 pixels.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16, shape (H * W * channels,)
        Contiguous, channels interleaved.
    channels : int
        Any number.
    products : ndarray of uint64, shape (channels * (channels + 1) / 2,)
        Output, in the order (0, 0), (0, 1), ..., (1, 1), ... Squares are 0.
    """
    for place in range(products.size):
        products[place] = 0
    count = pixels.size // channels
    planes = np.empty((channels, _AT_ONCE), pixels.dtype)
    for start in range(0, count if channels > 1 else 0, _AT_ONCE):
        stop = min(start + _AT_ONCE, count)
        some = planes[:, : stop - start]
        split(pixels[start * channels : stop * channels], some)
        place = 0
        for i in range(channels):
            place += 1
            for j in range(i + 1, channels):
                products[place] += product_sum(some[i], some[j])
                place += 1


@compiled
def row_of_products(
    pixels: NDArray[Any],
    channels: int,
    row: int,
    first: int,
    n: NDArray[np.uint64],
    total: NDArray[np.uint64],
    products: NDArray[np.uint64],
) -> None:
    """Fill what the moments do not tell; see `Statistic.kernel`."""
    cross_products(pixels, channels, products[row])


@compiled
def rows_of_moments(
    start: int,
    stop: int,
    number: NDArray[np.uint64],
    sums: NDArray[np.uint64],
    squares: NDArray[np.uint64],
    low: NDArray[Any],
    high: NDArray[Any],
    n: NDArray[np.uint64],
    total: NDArray[np.uint64],
    products: NDArray[np.uint64],
) -> None:
    """Add what the moments tell; see `Given`."""
    channels = sums.shape[1]
    for row in range(start, stop):
        n[row] = number[row, 0]
        place = 0
        for channel in range(channels):
            total[row, channel] = sums[row, channel]
            products[row, place] = squares[row, channel]
            place += channels - channel
