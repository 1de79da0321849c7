"""How many pixels of float images lie in bins of equal width, and what these tell, with their error.

The bins are those of ``numpy.histogram(x, bins, range)`` for float64 values: the edges of ``numpy.linspace``, each bin
without its upper edge, and the last one with it. Values outside are counted on either side. Counts are integers, so
they are bit-identical for any order, split or merge, other than the moments of floats.

A value that a bin holds lies at most half a bin from its middle. So do order statistics, and what is between two of
them: a quantile by either definition is off by half a bin at most (`FloatHistogram.numbers`: ``bin_error``), and is NaN
where it lies outside the range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError, MergeError
from gpustats.saved import finite, natural
from gpustats.statistics.base import Column, Columns, Kind, Number, Part, Statistic, View, over
from gpustats.statistics.binning import Binning
from gpustats.statistics.compiled import compiled
from gpustats.statistics.deep_histogram import read_sparse, sparse_bins
from gpustats.statistics.distribution import Counts, entropy, mode, quantiles
from gpustats.statistics.histogram import of_bins
from gpustats.statistics.sparse import added, packed, unpacked
from gpustats.wording import named

__all__ = ["FloatHistogram", "counts_float"]

_SIDES = ("below", "above")


def _same(a: Any, b: Any) -> Any:
    return a  # `FloatHistogram.merge` compares them


class FloatHistogram(Statistic):
    """Counts of the values of float images in bins.

    The totals are the ends of the ``range`` and the number of ``bins`` in it, and ``counts``, the bytes of
    `sparse.packed` of each channel: the values below the range, those in each bin, and those above it. Where people and
    other programs read, these are the numbers ``below`` and ``above``, the places of the bins that are not empty, from
    0 on, and their ``counts``.
    """

    name = "histogram"
    combine: ClassVar = {"range": _same, "bins": _same, "counts": lambda a, b: added((a, b))}
    numbers = (
        Number(
            "histogram",
            lambda v: v["dense"](),
            "how often values lie in each bin",
            "numpy.histogram(x, bins, range) of the values as float64",
            "quantiles, range checks",
            power=0,
            shape=("C", "bins"),
            dtype="int64",
            in_table=False,
        ),
        Number(
            "histogram_edges",
            lambda v: v["edges"],
            "where the bins begin and end",
            "of float images: numpy.linspace(low, high, bins + 1)",
            "the axis of a plot",
            shape=("edges",),
            in_table=False,
        ),
        Number(
            "median",
            of_bins(lambda bins: quantiles(bins, [0.5], "linear")[0]),
            "middle value, +- bin_error",
            "middle of the bin that the middle value lies in",
            "levels that outliers do not move",
        ),
        Number(
            "mode",
            lambda v: [mode(bins) for bins in v["inside"]],
            "fullest bin, +- bin_error",
            "middle of the bin with most values, the lowest of several",
            "backgrounds",
        ),
        Number(
            "bin_error",
            lambda v: [v["half"]] * len(v["bins"]),
            "half a bin",
            "of float images: (high - low) / bins / 2; median, mode and quantiles are off by this at most",
            "how far a number from bins can be trusted",
        ),
        Number(
            "entropy",
            of_bins(entropy),
            "bits a value, by bin",
            "-sum(p log2(p)) over the shares p of the bins, of what is below and of what is above, in bits",
            "flat images",
            power=0,
        ),
        Number(
            "outside_share.low",
            lambda v: [over(count, n) for count, n in zip(v["below"], v["n"], strict=True)],
            "share below the range",
            "of float images: number of values below the histogram's range, divided by n",
            "whether the range is wide enough",
            power=0,
        ),
        Number(
            "outside_share.high",
            lambda v: [over(count, n) for count, n in zip(v["above"], v["n"], strict=True)],
            "share above the range",
            "of float images: number of values above the histogram's range, divided by n",
            "whether the range is wide enough",
            power=0,
        ),
    )

    @property
    def most_pixels(self) -> int:
        """What a counter of 32 bits holds."""
        return (1 << 32) - 1

    @classmethod
    def problem(cls, kind: Kind) -> str | None:
        """Floats only."""
        return None if kind.is_float else "bins of a range are for float images"

    def columns(self) -> Mapping[str, Column]:
        """Return the bins and the counts of each channel, in bytes."""
        end = Column("float64", ())
        return {
            "low": end,
            "high": end,
            "bins": Column("uint32", ()),
            "counts": Column("object", (self.kind.channels,)),
        }

    def kernel(self) -> Any:
        """Return the function that counts in the bins that were asked for."""
        binning = self.binning
        if binning is None:
            raise DataError(
                f"the statistic {self.name!r} cannot be computed for images with {self.kind} without a range: give "
                f"{named('histogram_range')}, its two ends, and {named('bins')}"
            )
        edges = binning.edges

        def row_float(
            pixels: NDArray[np.floating[Any]],
            channels: int,
            row: int,
            first: int,
            low: NDArray[np.float64],
            high: NDArray[np.float64],
            bins: NDArray[np.uint32],
            counts: NDArray[Any],
        ) -> None:
            low[row], high[row], bins[row] = binning.low, binning.high, binning.bins
            found = np.empty(binning.bins + 2, np.uint32)
            for channel in range(channels):
                counts_float(pixels, channels, channel, edges, found)
                counts[row, first + channel] = packed(found)

        return row_float

    def fold(self, columns: Columns) -> Part:
        """Return the counts over all rows."""
        ends = [float(columns[name][0]) for name in ("low", "high")]
        if not all((columns[name] == columns[name][0]).all() for name in ("low", "high", "bins")):
            raise DataError("rows with histograms of other bins cannot be pooled")
        return {"range": ends, "bins": int(columns["bins"][0]), "counts": sparse_bins(columns["counts"])}

    def merge(self, a: Part, b: Part) -> Part:
        """Return the totals of two parts together.

        Raises
        ------
        MergeError
            Where they have other bins.
        """
        first, second = _binning(a), _binning(b)
        if first != second:
            raise MergeError(
                f"histograms of other bins cannot be pooled: one has {first}, the other {second}; compute both with "
                "the same ones"
            )
        return super().merge(a, b)

    def of_images(self, columns: Columns) -> Mapping[str, tuple[NDArray[Any], int]]:
        """Return entropy of the bins in bits and the shares of values below and above the range of each image."""
        found = np.empty((3, *columns["counts"].shape))
        for place, data in np.ndenumerate(columns["counts"]):
            counts = Counts(*unpacked(data))
            below, above = _outside(counts, int(columns["bins"][place[0]]))
            n = sum(counts.counts)
            found[:, place[0], place[1]] = entropy(counts), below / n, above / n
        return dict(zip(("entropy", "outside_share_low", "outside_share_high"), [(x, 0) for x in found], strict=True))

    def view(self, part: Part) -> View:
        """Return the counts of each channel by the middle of their bins; NaN stands for what lies outside."""
        binning = _binning(part)
        edges = binning.edges
        places = [Counts(*unpacked(data)) for data in part["counts"]]
        middle = [math.nan, *(edges[:-1] + (edges[1:] - edges[:-1]) / 2).tolist(), math.nan]
        bins = [Counts([middle[place] for place in values], counts) for values, counts in places]

        def dense() -> NDArray[np.int64]:
            found: NDArray[np.int64] = np.zeros((len(places), binning.bins + 2), np.int64)
            for channel, (values, counts) in zip(found, places, strict=True):
                channel[values] = counts
            return np.ascontiguousarray(found[:, 1:-1])

        outside = [_outside(counts, binning.bins) for counts in places]
        return {
            "bins": bins,
            "inside": [_inside(counts) for counts in bins],
            "dense": dense,
            "edges": edges.tolist(),
            "half": (binning.high - binning.low) / binning.bins / 2,
            "below": [below for below, _ in outside],
            "above": [above for _, above in outside],
            "n": [sum(counts.counts) for counts in bins],
        }

    def facts(self, part: Part, unit: Fraction) -> list[str]:
        """Say which bins these are."""
        low, high = (end * float(unit) for end in part["range"])
        return [f"histogram: {part['bins']:,} bins from {low:g} to {high:g}"]

    def plain(self, part: Part) -> Part:
        """Return the range, what lies outside, and the places and counts of the bins that are not empty."""
        bins = part["bins"]
        places = [Counts(*unpacked(data)) for data in part["counts"]]
        outside = [_outside(counts, bins) for counts in places]
        inside = [[(v - 1, n) for v, n in zip(*counts, strict=True) if 0 < v <= bins] for counts in places]
        return {
            "range": list(part["range"]),
            "bins": bins,
            "below": [below for below, _ in outside],
            "above": [above for _, above in outside],
            "places": [[place for place, _ in channel] for channel in inside],
            "counts": [[count for _, count in channel] for channel in inside],
        }

    def read(self, data: Any) -> Part:
        """Read what `plain` gave."""
        try:
            low, high = (finite(end, "range") for end in data["range"])
            binning = Binning(low, high, natural(data["bins"], "bins"))
            below, above = ([natural(n, name) for n in data[name]] for name in _SIDES)
            if len(below) != self.kind.channels or len(above) != self.kind.channels:
                raise ValueError(f"{len(below)} and {len(above)} channels")
            channels = zip(data["places"], data["counts"], below, above, strict=True)
            whole = [_whole(*channel, binning.bins) for channel in channels]
        except DataError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the histogram is incomplete or damaged: {error!r:.200}") from None
        places, counts = ([channel[i] for channel in whole] for i in (0, 1))
        found = read_sparse(places, counts, self.kind.channels, 0, binning.bins + 1)
        return {"range": [low, high], "bins": binning.bins, "counts": found}

    def agrees(self, part: Part, moments: Part) -> bool:
        """Check that every pixel was counted, and that those outside are there where the extremes are."""
        view = self.view(part)
        low, high = part["range"]
        return bool(
            view["n"] == moments["n"]
            and [count > 0 for count in view["below"]] == [least < low for least in moments["min"]]
            and [count > 0 for count in view["above"]] == [most > high for most in moments["max"]]
        )


def _binning(part: Part) -> Binning:
    low, high = part["range"]
    return Binning(low, high, part["bins"])


def _outside(counts: Counts, bins: int) -> tuple[int, int]:
    """Return how many values lie below and above the range, which stand before and behind the bins."""
    found = dict(zip(*counts, strict=True))
    return found.get(0, 0), found.get(bins + 1, 0)


def _inside(counts: Counts) -> Counts:
    found = [(value, count) for value, count in zip(*counts, strict=True) if not math.isnan(value)]
    return Counts([value for value, _ in found], [count for _, count in found])


def _whole(
    places: Sequence[int], counts: Sequence[int], below: int, above: int, bins: int
) -> tuple[list[int], list[int]]:
    """Return places and counts with those outside; `places` come from a file and are checked later."""
    if any(not 0 <= natural(place, "places") < bins for place in places):
        raise ValueError(f"a bin beyond {bins}")
    sides = ([0] * (below > 0), [bins + 1] * (above > 0))
    return (
        [*sides[0], *(place + 1 for place in places), *sides[1]],
        [*[below] * (below > 0), *counts, *[above] * (above > 0)],
    )


@compiled
def counts_float(
    pixels: NDArray[np.floating[Any]],
    channels: int,
    channel: int,
    edges: NDArray[np.float64],
    counts: NDArray[np.uint32],
) -> None:
    """Count the values of one channel of interleaved float pixels: below, in each bin, above. NaN counts nowhere.

    A multiplication says the bin. Where it falls so near to an edge that rounding may have moved it, the edges decide.
    """
    counts[:] = 0
    bins = edges.size - 1
    low, high = edges[0], edges[bins]
    width = high - low
    scale = bins / width
    near = 2e-15 * bins * (1 + max(abs(low), abs(high)) / width)
    for i in range(pixels.size // channels):
        x = np.float64(pixels[i * channels + channel])
        if x < low:
            counts[0] += np.uint32(1)
        elif x > high:
            counts[bins + 1] += np.uint32(1)
        elif x >= low:  # not NaN
            exact = (x - low) * scale
            place = min(np.int64(exact), bins - 1)
            if exact - place < near or place + 1 - exact < near:
                while x < edges[place]:
                    place -= 1
                while place < bins - 1 and x >= edges[place + 1]:
                    place += 1
            counts[place + 1] += np.uint32(1)
