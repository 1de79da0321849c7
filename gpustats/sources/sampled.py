"""A random sample of the images of a source; which ones, a seed and their keys decide.

An image's rank is 64 bits of a hash of the seed and its key, see `ranks`. The images with the smallest ranks are the
sample: every set of so many images is as likely as another, and it is the same set for every order of files, number of
threads and machine. A larger sample of the same seed holds the smaller one.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError, OptionError
from gpustats.failures import Failure, printable
from gpustats.sources.base import Entry, Sample, Source
from gpustats.sources.notes import Notes
from gpustats.sources.ranks import ranks_of
from gpustats.wording import named, option

__all__ = ["Drawing", "Sampling"]

_TOGETHER, _FEW = 4096, 16
"""Samples that are looked at together: names of files, and others, which may hold an image in memory."""

_END = 1 << 64
"""One more than the largest rank."""

_FIRST = 100
"""Images that are read before `tolerance` is judged: of fewer the error itself is not known well."""

_GROWTH = 3
"""How many times as many images there are at most after a round: one huge image makes the error look much larger."""

_AT_HAND = 20_000
"""Images whose names are kept, those with the smallest ranks; for more than these the names are listed again."""


class Sampling:
    """The options `sample`, `tolerance` and `seed` of `gpustats.compute`.

    Parameters
    ----------
    sample : int or float, optional
        A number of images, or a share of them.
    tolerance : float, optional
        Read until the half-width of every interval is at most this.
    seed : int
        Decides which images.

    Raises
    ------
    OptionError
        For anything else, for both at once, and for a seed without a sample.
    """

    def __init__(self, sample: float | None = None, tolerance: float | None = None, seed: int = 0) -> None:
        if sample is not None and not _is_sample(sample):
            raise OptionError(
                f"{named('sample')} should be a number of images (an integer from 1) or a share (a float above 0.0, up "
                f"to 1.0), got {sample!r}"
            )
        if tolerance is not None and not (
            isinstance(tolerance, int | float)
            and not isinstance(tolerance, bool)
            and math.isfinite(tolerance)
            and tolerance > 0
        ):
            raise OptionError(f"{named('tolerance')} should be a number above 0, such as 0.002, got {tolerance!r}")
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < _END:
            raise OptionError(f"{named('seed')} should be an integer from 0 to 2**64 - 1, got {seed!r}")
        if sample is not None and tolerance is not None:
            raise OptionError(f"{option('sample')} and {option('tolerance')} both say when to stop; give one of them")
        if seed and sample is None and tolerance is None:
            raise OptionError(f"{option('seed')} decides which images {option('sample')} draws; give that too")
        self.sample = sample
        self.tolerance = tolerance
        self.seed = seed

    @property
    def asked(self) -> bool:
        """Whether less than everything may be read."""
        return self.sample is not None or self.tolerance is not None


def _is_sample(sample: object) -> bool:
    if isinstance(sample, bool) or not isinstance(sample, int | float):
        return False
    return 0 < sample <= 1 if isinstance(sample, float) else sample >= 1


class Drawing(Source):
    """A sample of another source, in one round or, for a tolerance, in as many as it takes.

    The images of a round are read in the order of the source, and a round is read whole: what was drawn never depends
    on which thread was faster.

    Parameters
    ----------
    source : Source
        What to draw from.
    sampling : Sampling
        How.
    """

    def __init__(self, source: Source, sampling: Sampling) -> None:
        super().__init__(source.label, source.takes)
        self.notes = source.notes
        self._source = source
        self._sampling = sampling
        self._seed = sampling.seed
        self._ranks = array("Q")  # of every image of the source
        self._kept: list[tuple[int, int, Sample]] = []  # of files: rank, position and sample, the smallest ranks
        self._kept_below = 0  # the ranks that are all among these
        self._failures: list[Failure] = []  # of the source itself, to be reported once
        self._first_notes = Notes()
        self._listed = True
        self._drawn_below = 0  # the rank
        self._reached = False

    def count(self) -> int | None:
        """Return the number that was asked for, at most what there is; None where that is not known."""
        sample = self._sampling.sample
        if not isinstance(sample, int):
            return None
        images = self._source.count()
        return sample if images is None else min(sample, images)

    def facts(self) -> dict[str, Any]:
        """Return what was drawn, in the words of `gpustats.result.estimate.Estimate`."""
        sampling = self._sampling
        return {
            "drawn": self._drawn,
            "of": len(self._ranks),
            "seed": sampling.seed,
            "share": float(sampling.sample) if isinstance(sampling.sample, float) else None,
            "tolerance": sampling.tolerance,
            "reached": self._reached,
            "how": "listed" if self._listed else "read through",
        }

    def rounds(self, widest: Callable[[], float]) -> Iterator[Source]:
        """Yield what to read; `widest` says how good the numbers are by then.

        Parameters
        ----------
        widest : callable
            Returns the largest half-width of the intervals that the tolerance is about; infinite or NaN where it is not
            known yet.

        Raises
        ------
        DataError
            Where the source can be read only once, and its images are no files.
        """
        sampling = self._sampling
        if isinstance(sampling.sample, float):
            self._drawn_below = math.ceil(sampling.sample * _END)
            if self._source.places() is not None:
                self._list(0)
            yield _Round(self, 0, self._drawn_below)
            if not self._drawn and len(self._ranks):
                raise DataError(
                    f"{printable(self.label)}: {option('sample', sampling.sample)} of {len(self._ranks):,} images drew "
                    "none; give a larger share or a number of images"
                )
            return
        wanted = _FIRST if sampling.sample is None else sampling.sample
        self._list(_AT_HAND if sampling.sample is None else min(wanted, _AT_HAND))
        while True:
            start, self._drawn_below = self._drawn_below, self._end(wanted)
            yield _Round(self, start, self._drawn_below)
            if sampling.tolerance is None:
                return
            width = widest()
            self._reached = width <= sampling.tolerance
            if self._reached or self._drawn == len(self._ranks):
                return
            wanted = self._next(width, sampling.tolerance)

    @property
    def _drawn(self) -> int:
        """How many images are drawn so far."""
        return int(np.count_nonzero(self._within(0, self._drawn_below)))

    def _next(self, width: float, tolerance: float) -> int:
        """Return how many images should do, going by the error so far, and some more: the error is not known well."""
        images, drawn = len(self._ranks), self._drawn
        if not math.isfinite(width):
            return _GROWTH * drawn
        unlimited = drawn * (width / tolerance) ** 2 / (1 - drawn / images)  # of a population without end
        more = 1 + 2 / math.sqrt(drawn)  # the more are drawn, the better is known how many it takes
        return min(math.ceil(more * max(unlimited / (1 + unlimited / images), drawn)), _GROWTH * drawn)

    def _within(self, start: int, end: int) -> NDArray[np.bool_]:
        """Return for every image whether its rank is from `start` to before `end`."""
        ranks = np.array(self._ranks, np.uint64)
        chosen: NDArray[np.bool_] = ranks >= np.uint64(start)
        return chosen if end == _END else chosen & (ranks < np.uint64(end))

    def _end(self, count: int) -> int:
        """Return the rank below which there are `count` images; those of one key are drawn together."""
        if count >= len(self._ranks):
            return _END
        return int(np.partition(np.array(self._ranks, np.uint64), count - 1)[count - 1]) + 1

    def _list(self, count: int) -> None:
        """Find the ranks of all images, and keep the samples of `count` with the smallest, where they are files."""
        places = self._source.places()
        if places is not None:
            for start in range(0, places, _TOGETHER):
                self._note(ranks_of([str(i) for i in range(start, min(start + _TOGETHER, places))], self._seed))
            return
        keep: list[tuple[int, int, Sample]] = []
        worst = _END - 1
        for samples, _ in self._pieces(first=True):
            place = len(self._ranks)
            ranks = self._ranked(samples)
            self._note(ranks)
            if not self._listed:
                continue
            chosen = np.flatnonzero(ranks <= np.uint64(worst))
            keep += [
                (rank, place + i, samples[i]) for rank, i in zip(ranks[chosen].tolist(), chosen.tolist(), strict=True)
            ]
            if len(keep) > 2 * count + 1:
                worst = _cut(keep, count + 1)
        if self._listed:
            self._kept_below = _cut(keep, count + 1) if len(keep) > count else _END
            self._kept = keep
        elif not self._source.again:
            raise DataError(
                f"{printable(self.label)} can be read only once, so how many images there are is not known before some "
                f"are drawn; give a share, such as {option('sample', 0.1)}, or a list"
            )

    def _ranked(self, samples: Sequence[Sample]) -> NDArray[np.uint64]:
        return ranks_of([sample[0] for sample in samples], self._seed)

    def _note(self, ranks: NDArray[np.uint64]) -> None:
        self._ranks.frombytes(ranks.tobytes())

    def _pieces(self, first: bool) -> Iterator[tuple[list[Sample], list[Entry]]]:
        """Yield the samples of the source, some at a time, and the same with what comes between them.

        Failures of the source are kept for the first time that it is read. Many samples come together where they are
        names of files; others may hold an image in memory.
        """
        self.notes.clear()
        entries: Iterator[Entry] = iter(self._source.samples())
        size = _FEW
        while piece := list(islice(entries, size)):
            samples: list[Any] = piece
            if {*map(type, piece)} != {tuple}:
                samples = [entry for entry in piece if isinstance(entry, tuple)]
                if first:
                    self._failures += [entry for entry in piece if isinstance(entry, Failure)]
                piece = [entry for entry in piece if not isinstance(entry, Failure)]
            items = [sample[2] for sample in samples]
            size = _TOGETHER if {*map(type, items)} <= {str} else _FEW
            self._listed &= size == _TOGETHER or all(type(item) is str or hasattr(item, "identity") for item in items)
            yield samples, piece
        if first:
            self._first_notes.add(self.notes)

    def between(self, start: int, end: int) -> Iterator[Entry]:
        """Yield the images with ranks from `start` to before `end`, and failures of the source that are new."""
        if self._source.places() is not None:
            yield from self._source.at(np.flatnonzero(self._within(start, end)).tolist())
        elif self._kept_below and end <= self._kept_below:
            yield from self._failures
            self._failures = []
            for _, sample in sorted((place, sample) for rank, place, sample in self._kept if start <= rank < end):
                yield sample
        else:
            yield from self._through(start, end)

    def _through(self, start: int, end: int) -> Iterator[Entry]:
        """Read the source through for them; count its images where that was not done."""
        counted = len(self._ranks) > 0
        if counted and not self._source.again:
            raise DataError(f"{printable(self.label)} can be read only once, and holds too many images for that")
        for samples, piece in self._pieces(first=not counted):
            yield from self._failures
            self._failures = []
            ranks = self._ranked(samples)
            if not counted:
                self._note(ranks)
            chosen = ranks >= np.uint64(start)
            if end < _END:
                chosen &= ranks < np.uint64(end)
            wanted = iter(chosen.tolist())
            yield from (entry for entry in piece if not isinstance(entry, tuple) or next(wanted))
        yield from self._failures
        self._failures = []
        self.notes.clear()
        self.notes.add(self._first_notes)


def _cut(keep: list[tuple[int, int, Sample]], count: int) -> int:
    """Leave the `count` smallest ranks, and return the largest of them."""
    keep.sort()
    del keep[count:]
    return keep[-1][0]


class _Round(Source):
    """The images with ranks from `start` to before `end`."""

    def __init__(self, drawing: Drawing, start: int, end: int) -> None:
        super().__init__(drawing.label)
        self._drawing = drawing
        self._range = start, end

    def parts(self) -> Iterator[Entry]:
        """Yield them, in the order of the source."""
        return self._drawing.between(*self._range)
