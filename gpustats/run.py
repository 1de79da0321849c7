"""One run: takes outcomes from an engine, counts and lists them, and makes the result."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from gpustats.definition import RGB, Definition, color_order
from gpustats.engines.base import Engine, Outcome
from gpustats.errors import DataError, DeviceLost, GpustatsError, ImagesFailedWarning
from gpustats.failures import Failure, FailureLimit, FailureLog, printable
from gpustats.install import __version__
from gpustats.limits.interrupts import orderly_interrupts, whole_step
from gpustats.result.kinds import Kinds
from gpustats.result.stats import Stats
from gpustats.result.text import skipped
from gpustats.sources import Source
from gpustats.sources.reader import Reader
from gpustats.statistics.base import Kind
from gpustats.statistics.duplicates import Contents
from gpustats.statistics.grouped import Grouped, regrouped
from gpustats.statistics.rows import Rows
from gpustats.statistics.totals import RowBuffer, Sink, Totals
from gpustats.wording import amount, option

if TYPE_CHECKING:
    from gpustats.result.estimate import Estimate

__all__ = ["AllImagesFailed", "Interrupted", "Run", "SourceStopped", "TooManyFailures", "nothing_read", "order_of"]


_PLACES_LISTED = 20

_ROWS_WAITING, _BYTES_WAITING = 4096, 64 << 20
"""Rows of all kinds together, and their large histograms, that wait to be folded: each kind has a buffer of its own."""


class _WithResult(GpustatsError):
    """An error that carries what was read by then."""

    def __init__(self, message: str, partial: Stats) -> None:
        super().__init__(message)
        self.partial = partial


class TooManyFailures(_WithResult, RuntimeError):
    """More images failed than ``max_failures`` allows.

    Attributes
    ----------
    partial : Stats
        What had been read by then, with ``complete=False``.
    """


class AllImagesFailed(_WithResult, DataError):
    """No image could be read: a wrong option, or data that are no images or are damaged.

    Attributes
    ----------
    partial : Stats
        A result without images; its `failures` say what became of each.
    """


class SourceStopped(_WithResult, DataError):
    """The loader, dataset or iterable that was given raised an error in the middle, which is the ``__cause__``.

    Or its workers all yield the same images.

    Attributes
    ----------
    partial : Stats
        The statistics of the images that came before it, with ``complete=False``.
    """


class Interrupted(KeyboardInterrupt):
    """The run was stopped by Ctrl-C; what had been read is kept.

    Attributes
    ----------
    partial : Stats
        The statistics of the images read by then, with ``complete=False``.
    """

    def __init__(self, partial: Stats) -> None:
        super().__init__("interrupted; the partial result is in .partial")
        self.partial = partial


def order_of(kind: Kind | None, given: str | None, decoded: int = 0, mode: str = RGB) -> str:
    """Return the order of the channels: the one that the user gave, else what a decoder or the custom gives.

    Parameters
    ----------
    kind : Kind or None
        What the images are.
    given : str or None
        The order that arrays have.
    decoded : int
        How many images came from a decoder, which gives RGB.
    mode : str
        What encoded images are measured as.

    Raises
    ------
    DataError
        Where the order given is not that of these images.
    """
    if given is None or kind is None:
        return color_order(kind.channels if kind else 0, RGB if mode == "native" else mode)
    if len(given) != kind.channels:
        raise DataError(f"{option('color_order', given)} does not fit images of {amount(kind.channels, 'channel')}")
    if decoded and given != RGB:
        raise DataError(
            f"{option('color_order', given)} is for arrays, and {amount(decoded, 'image')} of this dataset came from a "
            "decoder, which gives RGB; compute them separately"
        )
    return given


def nothing_read(source: Source, failures: FailureLog, partial: Stats) -> DataError:
    """Return the error where no image was read: there is none, or every one of them failed.

    Parameters
    ----------
    source : Source
        What was read.
    failures : FailureLog
        What became of its images.
    partial : Stats
        A result without images.
    """
    label = printable(source.label)
    if not len(failures):
        others = skipped(source.skipped)
        return DataError(f"{label}: no images found" + (f" (skipped: {others})" if others else ""))
    first = next(iter(failures))
    key, message = printable(first.key), printable(first.message)
    if len(failures) > 1:
        text = f"{label}: none of {len(failures):,} images could be read: {failures.commonest()}"
    elif key == "." or label.endswith(key):  # it is what was given
        text = f"{label}: {first.reason}: {message.removeprefix(f'{key}: ')}"
    else:
        text = f"{label}: no image could be read: {first}"
    return AllImagesFailed(text, partial)


@dataclass(frozen=True, slots=True)
class _Tally:
    """What the rows of images are folded into: of all, or of one kind where kinds are separate."""

    totals: Totals
    grouped: Grouped | None
    contents: Contents | None
    buffer: RowBuffer


class Run:
    """Reads a source with an engine, once.

    Parameters
    ----------
    source : Source
        Where the images come from.
    engine : Engine
        Measures them.
    definition : Definition
        What is measured.
    limit : FailureLimit
        How many failures are too many.
    stop_at_first : bool
        Whether the first failure ends the run.
    advance : callable
        Called with the number of images done since the last call.
    on_failure : sequence of callable
        Called with every failure as it happens.
    grouped : callable
        Makes what takes the rows by group and is part of a result; None where nothing does.
    group_of : callable, optional
        Says the group of a key, in place of the source.
    order : str, optional
        The order of the channels of arrays, where the user gave one.
    contents : callable
        Makes what takes the hashes and finds the duplicates of a result; None where nothing does.
    sinks : sequence of Sink
        Take the rows, in addition to the totals of the result.
    separate : bool
        Whether each kind of images has a result of its own; if not, images of different kinds are an error.
    """

    def __init__(
        self,
        source: Source,
        engine: Engine,
        definition: Definition,
        *,
        limit: FailureLimit,
        stop_at_first: bool,
        advance: Callable[[int], None],
        on_failure: Sequence[Callable[[Failure], None]] = (),
        grouped: Callable[[], Grouped | None] = lambda: None,
        group_of: Callable[[str], object] | None = None,
        order: str | None = None,
        contents: Callable[[], Contents | None] = lambda: None,
        sinks: Sequence[Sink] = (),
        separate: bool = False,
    ) -> None:
        self._source = source
        self._engine = engine
        self._definition = definition
        self._limit = limit
        self._order = order
        self._stop_at_first = stop_at_first
        self._advance = advance
        self._failures = FailureLog()
        self._on_failure = (self._failures.add, *on_failure)
        self._grouped = grouped
        self._group_of = group_of
        self._contents = contents
        self._sinks = sinks
        self._separate = separate
        self._tallies: dict[Kind | None, _Tally] = {} if separate else {None: self._tally()}
        self._read = self._rows_waiting = self._bytes_waiting = 0
        self._started = time.monotonic()

    def _tally(self) -> _Tally:
        totals, grouped, contents = Totals(self._definition.statistics), self._grouped(), self._contents()
        sinks = (sink for sink in (grouped, contents) if sink is not None)
        return _Tally(totals, grouped, contents, RowBuffer(totals, *sinks, *self._sinks))

    def stats(self) -> Stats:
        """Read everything and return the result, which is `Kinds` where these are separate.

        Raises
        ------
        DataError
            Where there is no image; at the first failure, where that ends the run.
        AllImagesFailed
            Where there are images, and every one of them failed.
        SourceStopped, TooManyFailures, Interrupted, DeviceLost
            With the partial result.
        """
        with orderly_interrupts():
            try:
                for source in self._source.rounds(self._widest):
                    with closing(Reader(source)) as batches, closing(self._engine.outcomes(batches)) as outcomes:
                        for outcome in outcomes:
                            with whole_step():
                                self._account(outcome)
                    with whole_step():
                        self._flush()
            except KeyboardInterrupt:
                raise Interrupted(self._result(complete=False)) from None
            except DeviceLost as error:
                error.partial = self._result(complete=False)
                raise
            stopped = self._source.notes.stopped
            if stopped is not None:
                message = f"{stopped}; the partial result is in .partial"
                raise SourceStopped(message, self._result(complete=False)) from stopped.__cause__
            self._judge()
            return self._result(complete=True)

    def _account(self, outcome: Outcome) -> None:
        if self._group_of is not None:
            rows, failures = regrouped(outcome.rows, self._group_of)
            outcome = Outcome(rows, outcome.failures + failures)
        if len(outcome.rows):
            kind = outcome.rows.kind if self._separate else None
            if kind not in self._tallies:
                self._tallies[kind] = self._tally()
            self._tallies[kind].buffer.add(outcome.rows)
            self._read += len(outcome.rows)
            if len(self._tallies) > 1:
                self._limit_waiting(outcome.rows)
        for failure in outcome.failures:
            for sink in self._on_failure:
                sink(failure)
            if self._stop_at_first:
                raise DataError(str(failure))
        self._check_limit(self._read, final=False)
        self._advance(len(outcome.rows) + len(outcome.failures))

    def _limit_waiting(self, rows: Rows) -> None:
        """Fold what waits of all kinds where it is too much together."""
        self._rows_waiting += len(rows)
        self._bytes_waiting += rows.ragged_bytes
        if self._rows_waiting >= _ROWS_WAITING or self._bytes_waiting >= _BYTES_WAITING:
            self._rows_waiting = self._bytes_waiting = 0
            self._flush()

    def _flush(self) -> None:
        for tally in self._tallies.values():
            tally.buffer.flush()

    def _check_limit(self, read: int, final: bool) -> None:
        failed = len(self._failures)
        if self._limit.exceeded(failed, failed + read, final):
            raise TooManyFailures(
                f"{failed:,} of {amount(failed + read, 'image')} failed, more than {self._limit}; "
                f"one of them: {next(iter(self._failures))}",
                self._result(complete=final),
            )

    def _judge(self) -> None:
        """Say what is to be said about a whole run."""
        read, failed = self._read, len(self._failures)
        if not read:
            raise nothing_read(self._source, self._failures, self._result(complete=True))
        self._check_limit(read, final=True)
        if failed:
            first = next(iter(self._failures))
            warnings.warn(
                f"{failed:,} of {amount(read + failed, 'image')} could not be read and do not count: {first}"
                + (" ..." if failed > 1 else ""),
                ImagesFailedWarning,
                stacklevel=4,
            )

    def _said(self) -> dict[str, Any]:
        """Return where images were found, if the source had to choose, the most frequent first; and its remarks."""
        notes = self._source.notes
        places = sorted(notes.images_from.items(), key=lambda place: (-place[1], place[0]))
        return {
            **({"images_from": dict(places[:_PLACES_LISTED])} if places else {}),
            **({"remarks": list(dict.fromkeys(notes.remarks))[:_PLACES_LISTED]} if notes.remarks else {}),
        }

    def _widest(self) -> float:
        """Return the largest half-width of the intervals of mean and std; infinite while it is not known."""
        stats = self._result(complete=True)
        if not stats.n_images:
            return math.inf
        width = float(np.max([stats.half_width(name) for name in ("mean", "std")]))
        return math.inf if math.isnan(width) else width

    def _estimate(self) -> Estimate | None:
        """Return what the result is an estimate of; None where everything is read, or nothing was."""
        facts = self._source.facts()
        if facts is None or not facts["drawn"]:
            return None
        from gpustats.result.estimate import Estimate

        return Estimate(**facts)

    def _result(self, complete: bool) -> Stats:
        self._flush()
        if not self._separate:
            return self._stats(self._tallies[None], complete, self._report())
        found = {tally.totals.kind.name: tally for tally in self._tallies.values() if tally.totals.kind}
        images = {name: found[name].totals.images for name in sorted(found)}
        report = {**self._report(), "kinds": images, "images_failed": len(self._failures)}
        results = {name: self._stats(found[name], complete, report) for name in images}
        kinds = Kinds(results, self._failures, dict(self._source.skipped), complete)
        return cast(Stats, kinds)  # the only place where a result is none, and one that asked for it

    def _report(self) -> dict[str, Any]:
        return {
            "source": printable(self._source.label),
            "gpustats": __version__,
            **self._engine.report(),
            **self._said(),
            "seconds": round(time.monotonic() - self._started, 3),
        }

    def _stats(self, tally: _Tally, complete: bool, report: dict[str, Any]) -> Stats:
        by_decoder = report.get("images_by_decoder", {})
        decoded = sum(n for name, n in by_decoder.items() if name != "none")
        order = order_of(tally.totals.kind, self._order, decoded, self._definition.mode)
        return Stats(
            tally.totals,
            definition=replace(self._definition, color_order=order),
            # What belongs to no kind is told of all kinds together.
            failures=FailureLog() if self._separate else self._failures,
            skipped={} if self._separate else dict(self._source.skipped),
            runs=(report,),
            complete=complete,
            grouped=tally.grouped,
            estimate=self._estimate(),
            duplicates=None if tally.contents is None else tally.contents.duplicates(),
        )
