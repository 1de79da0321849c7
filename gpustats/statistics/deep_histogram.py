"""How often each value occurs in images of 16 bits or with a sign: of the 65,536 bins the empty ones are not kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.saved import natural, whole
from gpustats.statistics.base import Column, Columns, Kind, Part, Statistic, View
from gpustats.statistics.binning import counted_by_value
from gpustats.statistics.compiled import compiled
from gpustats.statistics.distribution import Counts, entropy, share
from gpustats.statistics.histogram import integer_numbers, sums_agree
from gpustats.statistics.sparse import MOST, added, packed, unpacked

__all__ = ["DeepHistogram", "counts_u16", "read_sparse", "sparse_bins"]

_BINS = 1 << 16
_DTYPES = ("uint16", "int16", "int8")


class DeepHistogram(Statistic):
    """Counts of the values of 16-bit integers and of signed ones; ``bins`` has the bytes of `sparse.packed`.

    These are of values to which `Kind.offset` was added. Where people and other programs read, it is the ``values``
    that occur in each channel, and their ``counts``.
    """

    name = "histogram"
    combine: ClassVar = {"bins": lambda a, b: added((a, b))}
    numbers = integer_numbers(short=False)

    @property
    def most_pixels(self) -> int:
        """What a counter of 32 bits holds."""
        return (1 << 32) - 1

    @classmethod
    def problem(cls, kind: Kind) -> str | None:
        """Integers of at most 16 bits only."""
        return None if kind.dtype in _DTYPES else "every value is counted of integers of 8 and 16 bits only"

    def columns(self) -> Mapping[str, Column]:
        """Return the counts of each channel, in bytes."""
        return {"bins": Column("object", (self.kind.channels,))}

    def kernel(self) -> Any:
        """Return the function that counts."""
        counted_by_value(self.kind, self.binning)
        return row_of_counts

    def fold(self, columns: Columns) -> Part:
        """Return the counts over all rows."""
        return {"bins": sparse_bins(columns["bins"])}

    def of_images(self, columns: Columns) -> Mapping[str, tuple[NDArray[Any], int]]:
        """Return entropy in bits and the shares of values at both ends of each image."""
        found = np.empty((3, *columns["bins"].shape))
        low, high = self.kind.ends
        for place, data in np.ndenumerate(columns["bins"]):
            counts = self._counts(data)
            found[:, place[0], place[1]] = entropy(counts), share(low, counts), share(high, counts)
        return dict(zip(("entropy", "clipped_share_low", "clipped_share_high"), [(x, 0) for x in found], strict=True))

    def view(self, part: Part) -> View:
        """Return the counts of each channel, by value."""
        bins = [self._counts(data) for data in part["bins"]]
        low, high = self.kind.limits

        def dense() -> NDArray[np.int64]:
            found = np.zeros((len(bins), high - low + 1), np.int64)
            for channel, (values, counts) in zip(found, bins, strict=True):
                channel[np.array(values, np.int64) - low] = counts
            return found

        return {"bins": bins, "ends": self.kind.ends, "dense": dense}

    def _counts(self, data: bytes) -> Counts:
        values, counts = unpacked(data)
        return Counts([value - self.kind.offset for value in values], counts)

    def plain(self, part: Part) -> Part:
        """Return the values that occur in each channel, and their counts."""
        bins = [self._counts(data) for data in part["bins"]]
        return {"values": [values for values, _ in bins], "counts": [counts for _, counts in bins]}

    def read(self, data: Any) -> Part:
        """Read what `plain` gave."""
        if not isinstance(data, dict):
            raise DataError(f"'{self.name}' should be a table of numbers, got {data!r:.80}")
        low, high = self.kind.limits
        return {"bins": read_sparse(data.get("values"), data.get("counts"), self.kind.channels, low, high)}

    def agrees(self, part: Part, moments: Part) -> bool:
        """Check that the counts give the moments."""
        return sums_agree(self.view(part)["bins"], moments)


def sparse_bins(column: NDArray[Any]) -> list[bytes]:
    """Return the sum over the rows of a column of shape (N, C) that holds bytes of `sparse.packed`."""
    return [added(channel) for channel in column.T.tolist()]


def read_sparse(values: Any, counts: Any, channels: int, low: int, high: int) -> list[bytes]:
    """Return the bytes of values and counts of each channel, which come from a file.

    Raises
    ------
    DataError
        Where they are no ascending values from `low` to `high`, each with a count from 1.
    """
    if not all(isinstance(lists, list) and len(lists) == channels for lists in (values, counts)):
        raise DataError(f"the counts of a histogram should be {channels} lists of values and as many of counts")
    found = []
    for places, numbers in zip(values, counts, strict=True):
        if not isinstance(places, list) or not isinstance(numbers, list) or len(places) != len(numbers):
            raise DataError("the counts of a histogram should be as many as its values")
        last = low - 1
        for place, number in zip(places, numbers, strict=True):
            if not last < whole(place, "values") <= high or not 0 < natural(number, "counts") <= MOST:
                raise DataError(f"a histogram cannot have value {place} after {last}, {number} times")
            last = place
        bins = np.zeros(last - low + 1, np.uint64)
        bins[np.array(places, np.int64) - low] = np.array(numbers, np.uint64)
        found.append(packed(bins))
    return found


def row_of_counts(pixels: NDArray[Any], channels: int, row: int, first: int, bins: NDArray[Any]) -> None:
    """Fill a row from unsigned pixels of at most 16 bits; see `Statistic.kernel`."""
    counts = np.empty(_BINS, np.uint32)
    for channel in range(channels):
        low, high = counts_u16(pixels, channels, channel, counts)
        bins[row, first + channel] = packed(counts[low : high + 1], low)


@compiled
def counts_u16(pixels: NDArray[Any], channels: int, channel: int, counts: NDArray[np.uint32]) -> tuple[int, int]:
    """Count the values of one channel of interleaved 16-bit pixels, into 65,536 counters.

    One channel at a time, so that the counters stay in the cache. Returns the first and the last counter that is set:
    of a small image those from its smallest to its largest value, since to look at all takes longer than to count it.
    """
    low, high = 0, _BINS - 1
    if pixels.size < _BINS:
        low, high = high, low
        for i in range(channel, pixels.size, channels):
            value = np.int64(pixels[i])
            low, high = min(low, value), max(high, value)
    for value in range(low, high + 1):
        counts[value] = 0
    for i in range(channel, pixels.size, channels):
        counts[pixels[i]] += np.uint32(1)
    return low, high
