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
from gpustats.statistics.histogram import powers_of_bins
from gpustats.statistics.lanes import lanes_of

if TYPE_CHECKING:
    from gpustats.cuda.outputs import Outputs

__all__ = ["Covariance", "products_u8", "products_u16"]

# Steps of four rows until the 32-bit lanes are emptied: a lane of products of 8-bit values grows by at most
# 4 * 255**2 a step.
_STEPS = 16384


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

    def kernel(self) -> Any:
        """Return the function for 8- or 16-bit images."""
        return row_u8 if np.dtype(self.kind.dtype).itemsize == 1 else row_u16

    def given(self, names: tuple[str, ...]) -> Given | None:
        """From the bins of a histogram of 8-bit images, but for the products of two channels."""
        return (
            Given("histogram", sums_of_bins, cross_u8) if self.kind.dtype == "uint8" and "histogram" in names else None
        )

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
def products_u8(
    pixels: NDArray[np.uint8],
    channels: int,
    total: NDArray[np.uint64],
    products: NDArray[np.uint64],
    nearest: int = 0,
) -> None:
    """Write the sums of each channel and of the products of two channels of interleaved 8-bit pixels.

    A lane multiplies its value with the one `distance` places further, which belongs to the same pixel in the lanes of
    the first channels; what the other lanes add up is not used. So nothing is shuffled.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H * W * channels,)
        Contiguous, channels interleaved.
    channels : int
        Any number.
    total : ndarray of uint64, shape (channels,)
        Output.
    products : ndarray of uint64, shape (channels * (channels + 1) / 2,)
        Output, in the order (0, 0), (0, 1), ..., (1, 1), ...
    nearest : int
        1 to leave out sums and squares, which are then 0.
    """
    total[:] = 0
    products[:] = 0
    lanes = lanes_of(channels, 96, 1)
    lane_sum = np.empty(lanes, np.uint32)
    lane_products = np.empty((channels, lanes), np.uint32)
    done = 0
    steps_left = (pixels.size - channels + 1) // (4 * lanes)  # the last lane may look `channels` - 1 places further
    while steps_left > 0:
        steps = min(steps_left, _STEPS)
        rows = pixels[done : done + steps * 4 * lanes].reshape(steps, 4, lanes)
        lane_sum[:] = 0
        for step in range(rows.shape[0] if nearest == 0 else 0):
            for j in range(rows.shape[2]):
                n = np.uint32(lane_sum[j] + np.uint32(rows[step, 0, j]))
                n = np.uint32(n + np.uint32(rows[step, 1, j]))
                n = np.uint32(n + np.uint32(rows[step, 2, j]))
                lane_sum[j] = np.uint32(n + np.uint32(rows[step, 3, j]))
        for distance in range(nearest, channels):
            far = pixels[done + distance : done + distance + steps * 4 * lanes].reshape(steps, 4, lanes)
            own = lane_products[distance]
            own[:] = 0
            for step in range(rows.shape[0]):
                for j in range(rows.shape[2]):
                    n = np.uint32(own[j] + np.uint32(np.uint32(rows[step, 0, j]) * np.uint32(far[step, 0, j])))
                    n = np.uint32(n + np.uint32(np.uint32(rows[step, 1, j]) * np.uint32(far[step, 1, j])))
                    n = np.uint32(n + np.uint32(np.uint32(rows[step, 2, j]) * np.uint32(far[step, 2, j])))
                    own[j] = np.uint32(n + np.uint32(np.uint32(rows[step, 3, j]) * np.uint32(far[step, 3, j])))
        for first in range(0, lanes, channels):
            place = 0
            for i in range(channels):
                total[i] += lane_sum[first + i]
                for distance in range(channels - i):
                    if distance >= nearest:
                        products[place] += lane_products[distance, first + i]
                    place += 1
        done += steps * 4 * lanes
        steps_left -= steps
    for pixel in range(done, pixels.size, channels):  # `done` is a multiple of the channels
        place = 0
        for i in range(channels):
            a = np.uint64(pixels[pixel + i])
            if nearest == 0:
                total[i] += a
            for j in range(i, channels):
                if j - i >= nearest:
                    products[place] += a * np.uint64(pixels[pixel + j])
                place += 1


@compiled
def products_u16(
    pixels: NDArray[np.uint16], channels: int, total: NDArray[np.uint64], products: NDArray[np.uint64]
) -> None:
    """Write the same for 16-bit pixels, whose products need 64 bits each; exact for fewer than 2**32 pixels."""
    total[:] = 0
    products[:] = 0
    for pixel in range(0, pixels.size, channels):
        place = 0
        for i in range(channels):
            a = np.uint64(pixels[pixel + i])
            total[i] += a
            for j in range(i, channels):
                products[place] += a * np.uint64(pixels[pixel + j])
                place += 1


@compiled
def row_u8(
    pixels: NDArray[np.uint8],
    channels: int,
    row: int,
    first: int,
    n: NDArray[np.uint64],
    total: NDArray[np.uint64],
    products: NDArray[np.uint64],
) -> None:
    """Fill a row from 8-bit pixels; see `Statistic.kernel`."""
    n[row] = pixels.size // channels
    products_u8(pixels, channels, total[row], products[row])


@compiled
def cross_u8(
    pixels: NDArray[np.uint8],
    channels: int,
    row: int,
    first: int,
    n: NDArray[np.uint64],
    total: NDArray[np.uint64],
    products: NDArray[np.uint64],
) -> None:
    """Fill a row but for what the bins of a histogram tell."""
    n[row] = pixels.size // channels
    products_u8(pixels, channels, total[row], products[row], 1)


@compiled
def sums_of_bins(
    row: int,
    bins: NDArray[np.uint32],
    n: NDArray[np.uint64],
    total: NDArray[np.uint64],
    products: NDArray[np.uint64],
) -> None:
    """Add what the bins of a histogram tell, of shape (N, channels, 256); see `Given`."""
    place, channels = 0, bins.shape[1]
    for channel in range(channels):
        _, total[row, channel], products[row, place] = powers_of_bins(bins[row, channel])
        place += channels - channel


@compiled
def row_u16(
    pixels: NDArray[np.uint16],
    channels: int,
    row: int,
    first: int,
    n: NDArray[np.uint64],
    total: NDArray[np.uint64],
    products: NDArray[np.uint64],
) -> None:
    """Fill a row from 16-bit pixels; see `Statistic.kernel`."""
    n[row] = pixels.size // channels
    products_u16(pixels, channels, total[row], products[row])
