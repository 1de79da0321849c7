"""Moments of float images: float64 sums about a shift, merged by the parallel formula of Chan, Golub and LeVeque.

Float sums depend on order, so what is pooled here is numerically stable but not bit-identical across batch sizes and
splits, and the result says so: ``stats.exact`` is False. Values are taken as they are, without a scale.
On the GPU: ``kernels/float32.cu``.

References
----------
T. F. Chan, G. H. Golub, R. J. LeVeque (1983), "Algorithms for computing the sample variance: analysis and
recommendations", The American Statistician 37(3), 242-247, equations 1.5, 1.7 and 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gpustats.failures import ImageError
from gpustats.statistics.base import Column, Columns, Kind, Part, Statistic, View
from gpustats.statistics.clusters import PRODUCTS, float_products, float_sums
from gpustats.statistics.compiled import compiled
from gpustats.statistics.lanes import lanes_of
from gpustats.statistics.moments import NUMBERS, above_range

if TYPE_CHECKING:
    from gpustats.cuda.outputs import Outputs

__all__ = ["FloatMoments", "moments_float"]

NOT_FINITE = "a pixel is not finite (NaN or infinite), or too large for a variance"


def _first(a: Any, b: Any) -> Any:
    return a  # `FloatMoments.merge` puts the pooled value in its place


class FloatMoments(Statistic):
    """Moments of images of float16, float32 or float64.

    The totals, each a list with one number a channel: ``n`` pixels, their ``mean`` and the sum of the squared
    ``deviation`` from it, ``min`` and ``max``; ``images``, and ``images_unbiased`` of more than one pixel;
    ``image_mean`` and ``image_mean_deviation``, the same over the images' means; and the sums over images of the
    image's std (ddof 0 and 1) and variance; ``products`` has six numbers a channel about the mean, see `clusters`, or
    is None where they are too large.
    """

    name = "moments"
    exact = False
    outputs = frozenset()
    combine: ClassVar = {
        "n": add,
        "images": add,
        "images_unbiased": add,
        "mean": _first,
        "deviation": _first,
        "min": min,
        "max": max,
        "image_mean": _first,
        "image_mean_deviation": _first,
        "image_std": add,
        "image_std_unbiased": add,
        "image_var": add,
        "products": _first,
    }
    later = frozenset({"products"})
    counts = frozenset({"n", "images", "images_unbiased"})
    numbers = NUMBERS

    @classmethod
    def problem(cls, kind: Kind) -> str | None:
        """Floats only."""
        return None if kind.is_float else "integers have exact sums"

    def columns(self) -> Mapping[str, Column]:
        """Return pixels, mean, sum of squared deviations, min and max of each channel."""
        channels = (self.kind.channels,)
        own = Column("float64", channels)
        return {"n": Column("uint64", channels), "mean": own, "deviation": own, "min": own, "max": own}

    def kernel(self) -> Any:
        """Return the function for float32 and float64."""
        return row_float

    def row_problem(self, columns: Columns, row: int) -> ImageError | None:
        """Refuse values that are not finite, or above the one that is said to be 1.0."""
        finite = np.isfinite(columns["mean"][row]).all() and np.isfinite(columns["deviation"][row]).all()
        return above_range(self.kind, columns["max"][row]) if finite else ImageError("corrupt", NOT_FINITE)

    def on_gpu(self, outputs: Outputs) -> Columns:
        """Return the columns from the sums about a shift; an image with values that are not finite gets NaN."""
        assert outputs.shift is not None
        assert outputs.nonfinite is not None
        count = outputs.pixels.astype(np.float64)[:, None]
        mean = outputs.shift + outputs.sum / count
        deviation = np.maximum(outputs.sumsq - outputs.sum * outputs.sum / count, 0)
        return {
            "n": np.repeat(outputs.pixels[:, None], self.kind.channels, axis=1),
            "mean": np.where(outputs.nonfinite == 0, mean, np.nan),
            "deviation": deviation,
            "min": outputs.min.astype(np.float64),
            "max": outputs.max.astype(np.float64),
        }

    def fold(self, columns: Columns) -> Part:
        """Return the totals of the rows."""
        n, means, deviations = columns["n"], columns["mean"], columns["deviation"]
        count = n.astype(np.float64)
        several = n > 1
        mean = (means * (count / count.sum(axis=0))).sum(axis=0)
        image_mean = means.mean(axis=0)
        unbiased = np.divide(deviations, count - 1.0, out=np.zeros(count.shape), where=several)
        return {
            "n": n.sum(axis=0).tolist(),
            "images": [len(n)] * self.kind.channels,
            "images_unbiased": several.sum(axis=0).tolist(),
            "mean": mean.tolist(),
            "deviation": (deviations + count * (means - mean) ** 2).sum(axis=0).tolist(),
            "min": columns["min"].min(axis=0).tolist(),
            "max": columns["max"].max(axis=0).tolist(),
            "image_mean": image_mean.tolist(),
            "image_mean_deviation": ((means - image_mean) ** 2).sum(axis=0).tolist(),
            "image_std": np.sqrt(deviations / count).sum(axis=0).tolist(),
            "image_std_unbiased": np.sqrt(unbiased).sum(axis=0).tolist(),
            "image_var": (deviations / count).sum(axis=0).tolist(),
            "products": float_products(count, deviations, means - mean),
        }

    def of_images(self, columns: Columns) -> Mapping[str, tuple[NDArray[Any], int]]:
        """Return number of values, mean, std with ddof=0, min and max of each image."""
        return {
            "n": (columns["n"], 0),
            "mean": (columns["mean"], 1),
            "std": (np.sqrt(columns["deviation"] / columns["n"]), 1),
            "min": (columns["min"], 1),
            "max": (columns["max"], 1),
        }

    def merge(self, a: Part, b: Part) -> Part:
        """Return the totals of two parts together, by equation 2.1 of Chan, Golub and LeVeque."""
        whole = super().merge(a, b)
        for size, mean, deviation in _POOLED:
            pooled = [
                _pooled(*values)
                for values in zip(*(p[x] for p in (a, b) for x in (size, mean, deviation)), strict=True)
            ]
            whole[mean], whole[deviation] = [m for m, _ in pooled], [d for _, d in pooled]
        whole["products"] = float_sums((a["products"], a["mean"]), (b["products"], b["mean"]), whole["mean"])
        return whole

    def view(self, part: Part) -> View:
        """Return a part, and what its products are about."""
        return {**part, "about": part["mean"]}

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a total."""
        return (self.kind.channels, PRODUCTS) if name == "products" else super().shape(name)

    def consistent(self, part: Part) -> bool:
        """Check what holds for the moments of any images."""
        sums = ("deviation", "image_mean_deviation", "image_std", "image_std_unbiased", "image_var")
        names = ("n", "images", "images_unbiased", "min", "max")
        return all(value >= 0 for name in sums for value in part[name]) and all(
            several <= images <= n and bool(images) == bool(n) and low <= high
            for n, images, several, low, high in zip(*(part[name] for name in names), strict=True)
        )


_POOLED = (("n", "mean", "deviation"), ("images", "image_mean", "image_mean_deviation"))


def _pooled(
    n_a: int, mean_a: float, deviation_a: float, n_b: int, mean_b: float, deviation_b: float
) -> tuple[float, float]:
    if not n_b:
        return mean_a, deviation_a
    delta = mean_b - mean_a
    share = n_b / (n_a + n_b)
    return mean_a + delta * share, deviation_a + deviation_b + delta * delta * (n_a * share)


# Steps until lanes of floats are emptied: sums of sums lose less to rounding than one long sum.
_FLOAT_STEPS = 4096


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
    lanes = lanes_of(channels, 24, pixels.itemsize)
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


@compiled
def row_float(
    pixels: NDArray[np.floating[Any]],
    channels: int,
    row: int,
    first: int,
    n: NDArray[np.uint64],
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Fill a row from float pixels; see `Statistic.kernel`."""
    own = slice(first, first + channels)
    n[row, own] = pixels.size // channels
    moments_float(pixels, channels, mean[row, own], deviation[row, own], low[row, own], high[row, own])
