"""How often each value occurs: 256 bins a channel of 8-bit images, and what integer bins of any depth tell.

On the GPU: ``kernels/joint.cu`` and ``kernels/strided.cu``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gpustats.statistics.base import Column, Columns, Kind, Number, Part, Statistic, View
from gpustats.statistics.binning import counted_by_value
from gpustats.statistics.compiled import compiled
from gpustats.statistics.distribution import (
    Counts,
    check_quantile,
    entropy,
    kurtosis,
    mode,
    quantiles,
    share,
    skewness,
)

if TYPE_CHECKING:
    from gpustats.cuda.outputs import Outputs

__all__ = ["Histogram", "bins_u8", "integer_numbers", "of_bins", "quantile", "sums_agree"]

_BINS = 256
_NO_SHARE = 2.0**-64  # less than a pixel has: its logarithm is multiplied by 0, and NumPy is not asked where


def of_bins(number: Callable[[Counts], Any]) -> Callable[[View], list[Any]]:
    """Return what makes a number of each channel from a view whose ``bins`` are `Counts`."""
    return lambda view: [number(bins) for bins in view["bins"]]


def sums_agree(bins: Sequence[Counts], moments: Part) -> bool:
    """Return whether the counts of each channel give number, sum, sum of squares and extremes of its pixels."""
    sums = (
        [sum(count * value**power for value, count in zip(*counts, strict=True) if count) for counts in bins]
        for power in range(3)
    )
    present = [[value for value, count in zip(*counts, strict=True) if count] for counts in bins]
    return all(found == moments[name] for found, name in zip(sums, ("n", "sum", "sumsq"), strict=True)) and all(
        not values or (values[0], values[-1]) == ends
        for values, ends in zip(present, zip(moments["min"], moments["max"], strict=True), strict=True)
    )


def quantile(q: float | Sequence[float], method: str) -> Number:
    """Return the number that is a quantile, or several: of shape (C,), or (K, C) for K of them.

    Raises
    ------
    ValueError
        Where none is given; and see `distribution.check_quantile`.
    """
    several = np.ndim(q) > 0
    asked = [check_quantile(one, method) for one in np.atleast_1d(np.asarray(q, object)).tolist()]
    if not asked:
        raise ValueError("give at least one quantile, a number from 0 to 1")

    def value(view: View) -> list[Any]:
        found = [quantiles(bins, asked, method) for bins in view["bins"]]
        return [list(values) for values in zip(*found, strict=True)] if several else [values[0] for values in found]

    return Number(
        "quantile",
        value,
        "value below which a share of the pixels is",
        f"numpy.quantile(x, q, method='{method}')",
        shape=(str(len(asked)), "C") if several else ("C",),
    )


def integer_numbers(short: bool) -> tuple[Number, ...]:
    """Return the numbers of integer images; those of `short` histograms are saved with a count for every value.

    Their views have ``bins``, the `Counts` of each channel, ``ends``, the values where pixels are clipped, and
    ``dense``, a function that gives a count for every value.
    """
    return (
        Number(
            "histogram",
            lambda v: v["dense"](),
            "how often each value occurs",
            "number of pixels with each value 0, 1, ..., 255; of 16 bits and of floats see below",
            "quantiles, exposure checks",
            power=0,
            shape=("C", "256" if short else "values"),
            dtype="int64",
            in_table=False,
            in_json=short,
        ),
        Number(
            "median",
            of_bins(lambda bins: quantiles(bins, [0.5], "linear")[0]),
            "middle value",
            "middle value of all pixels, the average of two where their number is even",
            "levels that outliers do not move",
        ),
        Number(
            "mode", of_bins(mode), "most frequent value", "most frequent value, the smallest of several", "backgrounds"
        ),
        Number(
            "entropy",
            of_bins(entropy),
            "bits a value",
            "-sum(p log2(p)) over the shares p of the values, in bits",
            "flat or posterised images",
            power=0,
        ),
        Number(
            "clipped_share.low",
            lambda v: [share(v["ends"][0], bins) for bins in v["bins"]],
            "share of pixels at the bottom",
            "number of pixels that are 0 (of signed integers the smallest), divided by n",
            "underexposure, black borders",
            power=0,
        ),
        Number(
            "clipped_share.high",
            lambda v: [share(v["ends"][1], bins) for bins in v["bins"]],
            "share of pixels at the top",
            "number of pixels that are 255 (65535 of 16 bits, or `value_range`), divided by n",
            "overexposure, white backgrounds",
            power=0,
        ),
        Number(
            "skewness",
            of_bins(skewness),
            "asymmetry, as scipy.stats.skew",
            "m3 / m2^(3/2) with m_k = sum((x - mean)^k) / n",
            "`scipy.stats.skew` (its default, `bias=True`)",
            power=0,
        ),
        Number(
            "kurtosis",
            of_bins(kurtosis),
            "excess: 0 for a normal distribution",
            "m4 / m2^2 - 3, the excess kurtosis",
            "`scipy.stats.kurtosis` (its default, `fisher=True, bias=True`)",
            power=0,
        ),
    )


class Histogram(Statistic):
    """Counts of the values of 8-bit images; ``bins`` has 256 integers a channel."""

    name = "histogram"
    outputs = frozenset({"histogram"})
    combine: ClassVar = {"bins": add}
    numbers = integer_numbers(short=True)

    @property
    def most_pixels(self) -> int:
        """What a counter of 32 bits holds."""
        return (1 << 32) - 1

    @classmethod
    def problem(cls, kind: Kind) -> str | None:
        """8-bit images only."""
        return None if kind.dtype == "uint8" else "these 256 bins are for 8-bit images"

    def columns(self) -> Mapping[str, Column]:
        """Return the bins of each channel."""
        return {"bins": Column("uint32", (self.kind.channels, _BINS))}

    def kernel(self) -> Any:
        """Return the function that counts."""
        counted_by_value(self.kind, self.binning)
        return bins_u8

    def on_gpu(self, outputs: Outputs) -> Columns:
        """Return the bins that the kernel counted."""
        return {} if outputs.histogram is None else {"bins": outputs.histogram.astype(np.uint32)}

    def of_pooled(self, bins: NDArray[np.int64]) -> Part:
        """Return the bins."""
        return {"bins": bins.tolist()}

    def fold(self, columns: Columns) -> Part:
        """Return the bins over all rows."""
        return {"bins": columns["bins"].sum(axis=0, dtype=np.uint64).tolist()}

    def of_images(self, columns: Columns) -> Mapping[str, tuple[NDArray[Any], int]]:
        """Return entropy in bits and the shares of values at 0 and 255 of each image."""
        shares = columns["bins"] / columns["bins"].sum(axis=2, keepdims=True)
        bits = shares * np.log2(np.maximum(shares, _NO_SHARE))
        return {
            "entropy": (np.abs(bits.sum(axis=2)), 0),
            "clipped_share_low": (shares[:, :, 0], 0),
            "clipped_share_high": (shares[:, :, self.kind.ends[1]], 0),
        }

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the bins."""
        return (self.kind.channels, _BINS)

    def view(self, part: Part) -> View:
        """Return the counts of each channel, by value."""
        bins = part["bins"]
        counted = [Counts(range(_BINS), counts) for counts in bins]
        return {"bins": counted, "ends": self.kind.ends, "dense": lambda: bins}

    def agrees(self, part: Part, moments: Part) -> bool:
        """Check that the counts give the moments."""
        return sums_agree(self.view(part)["bins"], moments)


@compiled
def count_word(word: int, copies: NDArray[np.uint32], first: int) -> None:
    """Count four bytes, the first of them in `copies[first]`, and so on."""
    copies[first, word & np.uint32(255)] += np.uint32(1)
    copies[first + 1, (word >> np.uint32(8)) & np.uint32(255)] += np.uint32(1)
    copies[first + 2, (word >> np.uint32(16)) & np.uint32(255)] += np.uint32(1)
    copies[first + 3, word >> np.uint32(24)] += np.uint32(1)


@compiled
def bins_u8(pixels: NDArray[np.uint8], channels: int, row: int, first: int, bins: NDArray[np.uint32]) -> None:
    """Fill a row from 8-bit pixels; see `Statistic.kernel`.

    Neighbouring pixels tend to be equal, and to count up the same counter twice in a row is slow: the second waits for
    the first to be stored. So four pixels in a row are counted in four copies. They are loaded four bytes at a time.
    """
    copies = np.zeros((4 * channels, _BINS), np.uint32)
    step = 4 * channels
    steps = pixels.size // step
    words = pixels[: steps * step].view(np.uint32).reshape(steps, channels)
    if channels == 3:
        for i in range(words.shape[0]):
            for k in range(3):
                count_word(words[i, k], copies, 4 * k)
    else:
        for i in range(words.shape[0]):
            for k in range(words.shape[1]):
                count_word(words[i, k], copies, 4 * k)
    for i in range(steps * step, pixels.size):
        copies[i % channels, pixels[i]] += np.uint32(1)
    for channel in range(channels):
        for value in range(_BINS):
            total = copies[channel, value] + copies[channel + channels, value]
            total += copies[channel + 2 * channels, value] + copies[channel + 3 * channels, value]
            bins[row, first + channel, value] = total
