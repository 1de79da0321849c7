"""Where the bins of float images lie, which is what a user has to say: a range, and how many of equal width."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from gpustats.definition import Definition
from gpustats.errors import DataError, OptionError
from gpustats.wording import named, option

__all__ = ["DEFAULT_BINS", "Binning", "binning_of", "check_binning", "counted_by_value"]

DEFAULT_BINS = 256
_MOST = 1 << 16


@dataclass(frozen=True, slots=True)
class Binning:
    """Bins of equal width, as ``numpy.histogram(x, bins, (low, high))`` has them for float64 values.

    Each holds the values from its lower edge up to, but without, its upper edge; the last one holds that too.

    Attributes
    ----------
    low, high : float
        The ends of the range.
    bins : int
        How many there are, from 1 to 65,536.

    Raises
    ------
    ValueError
        Where these are no such bins.
    """

    low: float
    high: float
    bins: int

    def __post_init__(self) -> None:
        if type(self.bins) is not int or not 1 <= self.bins <= _MOST:
            raise ValueError(f"there should be 1 to {_MOST:,} bins, got {self.bins!r:.80}")
        ends = (self.low, self.high)
        if not all(type(end) is float and np.isfinite(end) for end in ends) or not self.low < self.high:
            raise ValueError(f"the range should be two finite numbers, the lower one first, got {ends!r:.80}")
        with np.errstate(over="ignore", invalid="ignore"):
            width = np.float64(self.high) - np.float64(self.low)
            if not (np.isfinite([width, self.bins / width]).all() and (np.diff(self.edges) > 0).all()):
                raise ValueError(
                    f"floats cannot divide the range from {self.low!r} to {self.high!r} into {self.bins:,}"
                )

    @property
    def edges(self) -> NDArray[np.float64]:
        """The ends of all bins, of shape (bins + 1,)."""
        return np.linspace(self.low, self.high, self.bins + 1)

    def __str__(self) -> str:
        return f"{self.bins:,} bins from {self.low:g} to {self.high:g}"


def check_binning(histogram_range: object, bins: object, statistics: tuple[str, ...]) -> tuple[tuple[float, ...], int]:
    """Return the options `histogram_range` and `bins` as fields of a definition; () and 0 where they are not given.

    Raises
    ------
    OptionError
        Where they make no bins, or where no histogram is computed.

    Examples
    --------
    >>> check_binning((-1, 1), 4, ("moments", "histogram")), check_binning(None, None, ("moments",))
    (((-1.0, 1.0), 4), ((), 0))
    """
    if histogram_range is None:
        if bins is not None:
            raise OptionError(f"{named('bins')} divides a range; give {named('histogram_range')} too")
        return (), 0
    if "histogram" not in statistics:
        needed = option("statistics", "histogram")
        raise OptionError(f"{named('histogram_range')} is for the histogram; ask for it with {needed}")
    ends = tuple(histogram_range) if isinstance(histogram_range, tuple | list) else ()
    if len(ends) != 2 or not all(isinstance(end, Real) and not isinstance(end, bool) for end in ends):
        raise OptionError(f"{named('histogram_range')} should be two numbers, (low, high), got {histogram_range!r:.80}")
    if bins is not None and (isinstance(bins, bool) or not isinstance(bins, int | np.integer)):
        raise OptionError(f"{named('bins')} should be an integer from 1 to {_MOST:,}, got {bins!r:.80}")
    try:
        binning = Binning(float(ends[0]), float(ends[1]), DEFAULT_BINS if bins is None else int(bins))
    except (ValueError, OverflowError) as error:
        raise OptionError(f"{named('histogram_range')} and {named('bins')}: {error}") from None
    return (binning.low, binning.high), binning.bins


def binning_of(definition: Definition) -> Binning | None:
    """Return the bins of a definition; None where it has none."""
    if not definition.histogram_range:
        return None
    low, high = definition.histogram_range
    return Binning(low, high, definition.bins)


def counted_by_value(kind: object, binning: Binning | None) -> None:
    """Raise `DataError` where bins were asked for images whose values are counted one by one.

    To ignore them would give another array than the one that was asked for.
    """
    if binning is not None:
        raise DataError(
            f"{named('histogram_range')} and {named('bins')} are for float images; these have {kind}, of which every "
            "value is counted: leave them out"
        )
