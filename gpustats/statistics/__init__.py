"""What is measured of images. A statistic is one file here, and one line in the table below."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from gpustats.errors import DataError, OptionError
from gpustats.statistics.base import Kind, Number, Statistic
from gpustats.statistics.binning import Binning
from gpustats.statistics.covariance import Covariance
from gpustats.statistics.deep_histogram import DeepHistogram
from gpustats.statistics.duplicates import DuplicateHashes
from gpustats.statistics.float_histogram import FloatHistogram
from gpustats.statistics.float_moments import FloatMoments
from gpustats.statistics.histogram import Histogram
from gpustats.statistics.moments import Moments
from gpustats.statistics.sharpness import Sharpness
from gpustats.statistics.sizes import Sizes
from gpustats.statistics.wide_moments import WideMoments
from gpustats.wording import named, option

__all__ = ["ALWAYS", "STATISTICS", "catalogue", "check_names", "for_kind", "of_originals", "of_rows"]

ALWAYS = "moments"
"""The statistic that every run has."""

STATISTICS: dict[str, tuple[type[Statistic], ...]] = {
    "moments": (Moments, WideMoments, FloatMoments),
    "histogram": (Histogram, DeepHistogram, FloatHistogram),
    "covariance": (Covariance,),
    "sharpness": (Sharpness,),
    "sizes": (Sizes,),
    "duplicates": (DuplicateHashes,),
}
"""The classes of every statistic by name; the first that takes a kind of image measures it."""


def check_names(names: Iterable[str], color_order: str | None = None) -> tuple[str, ...]:
    """Return the statistics of a run: `ALWAYS` and those asked for, each once, in the order of the table.

    Raises
    ------
    OptionError
        For a name that is not known, and where a statistic cannot be had of channels in this order.

    Examples
    --------
    >>> check_names(["histogram"])
    ('moments', 'histogram')
    """
    if isinstance(names, str):
        names = (names,)
    asked = {ALWAYS, *names}
    for name in asked:
        if name not in STATISTICS:
            raise OptionError(f"unknown statistic {name!r}; known are {', '.join(STATISTICS)}")
        problem = None if color_order is None else STATISTICS[name][0].order_problem(color_order)
        if problem:
            raise OptionError(
                f"the statistic {name!r} cannot be computed with {option('color_order', color_order)}: {problem}"
            )
    return tuple(name for name in STATISTICS if name in asked)


def of_rows(statistics: Sequence[str], *, kept: bool = False, duplicates: bool = False) -> tuple[str, ...]:
    """Return the statistics that rows hold: those of the totals, and what single images are wanted for.

    Parameters
    ----------
    statistics : sequence of str
        What was asked for.
    kept : bool
        Whether rows are kept, by a table of the images or a checkpoint.
    duplicates : bool
        Whether images are compared.

    Raises
    ------
    OptionError
        Where `duplicates` is something else.
    """
    if not isinstance(duplicates, bool):
        raise OptionError(f"{named('duplicates')} should be True or False, got {duplicates!r}")
    more = [*([Sizes.name] if kept else []), *([DuplicateHashes.name] if duplicates else [])]
    return check_names([*statistics, *more])


@functools.lru_cache(maxsize=64)
def for_kind(names: tuple[str, ...], kind: Kind, binning: Binning | None = None) -> tuple[Statistic, ...]:
    """Return what measures images of a kind, one for each name.

    Parameters
    ----------
    names : tuple of str
        As `check_names` gives them.
    kind : Kind
        Of the images.
    binning : Binning, optional
        The bins that were asked for, which a kernel has to know.

    Raises
    ------
    DataError
        Where a statistic cannot be had of such images.
    """
    return tuple(_choose(name, kind, binning) for name in names)


def of_originals(names: Iterable[str]) -> bool:
    """Return whether some of these statistics read images as they came: their files."""
    return any(statistic.of_original for name in names for statistic in STATISTICS[name])


def _choose(name: str, kind: Kind, binning: Binning | None) -> Statistic:
    problems = []
    for statistic in STATISTICS[name]:
        problem = statistic.problem(kind)
        if problem is None:
            return statistic(kind, binning)
        problems.append(problem)
    raise DataError(f"the statistic {name!r} cannot be computed for images with {kind}: {'; '.join(problems)}")


def catalogue(names: Iterable[str] | None = None, kind: Kind | None = None) -> dict[str, tuple[str, Number]]:
    """Return every number that some statistics have: by its name, the name of its statistic and the number itself.

    Parameters
    ----------
    names : iterable of str, optional
        The statistics, by default all.
    kind : Kind, optional
        Of images, where numbers of no others are wanted. Else, where classes of a statistic have numbers of one name,
        it is the first one's.
    """
    numbers: dict[str, tuple[str, Number]] = {}
    for name in STATISTICS if names is None else names:
        for statistic in STATISTICS[name] if kind is None else for_kind((name,), kind):
            for number in statistic.numbers:
                numbers.setdefault(number.name, (name, number))
    return numbers
