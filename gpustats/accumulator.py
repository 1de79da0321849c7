"""Statistics for a loop of the user's own: images come in, and the result can be had at any time."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from gpustats.definition import RGB, Definition
from gpustats.failures import FailureLog
from gpustats.install import __version__
from gpustats.limits.memory import MemoryBudget, memory_in_flight
from gpustats.result.stats import Stats
from gpustats.run import order_of
from gpustats.sources import SourceOptions, open_source
from gpustats.sources.options import Layout
from gpustats.statistics import check_names, of_rows
from gpustats.statistics.binning import check_binning
from gpustats.statistics.duplicates import Contents
from gpustats.statistics.missing import check_value_range
from gpustats.statistics.rows import Rows
from gpustats.statistics.totals import Totals

__all__ = ["Accumulator"]


class Accumulator:
    """Adds up images that a program has anyway, such as the batches of a training loop.

    The result is that of `gpustats.compute` over all images together, bit for bit for integers, however
    they were divided into calls. Images are measured in the thread that calls. An accumulator is for one thread at a
    time.

    Parameters
    ----------
    statistics : sequence of str
        As in `gpustats.compute`.
    histogram_range : (float, float), optional
        The range of the histogram of float images, as in `gpustats.compute`.
    bins : int, optional
        How many bins it is divided into.
    duplicates : bool
        Find images with the same content, as in `gpustats.compute`.
    layout : {"auto", "HW", "HWC", "CHW", "NHW", "NHWC", "NCHW"}
        The axes of the arrays and tensors, as in `gpustats.compute`.
    color_order : str, optional
        The order of the channels, as in `gpustats.compute`: ``"BGR"`` for images that OpenCV has read.
    value_range : float, optional
        The pixel value that is shown as 1.0, as in `gpustats.compute`.
    max_pixels : int
        Images with more pixels fail as ``too_large``.

    Raises
    ------
    OptionError
        Where an option has a value that is not supported.

    Examples
    --------
    >>> import gpustats, numpy
    >>> total = gpustats.Accumulator(layout="NHWC")
    >>> for value in (51, 102):
    ...     total = total.update(numpy.full((10, 8, 8, 3), value, numpy.uint8))
    >>> stats = total.result()
    >>> stats.n_images, stats.mean.round(2).tolist()
    (20, [0.3, 0.3, 0.3])
    """

    def __init__(
        self,
        *,
        statistics: Sequence[Literal["moments", "histogram", "covariance", "sharpness", "sizes"]] = (),
        histogram_range: tuple[float, float] | None = None,
        bins: int | None = None,
        duplicates: bool = False,
        layout: Layout = "auto",
        color_order: str | None = None,
        value_range: float | None = None,
        max_pixels: int = 512_000_000,
    ) -> None:
        from gpustats.engines.cpu import CpuEngine  # Pillow and simplejpeg, which take time to import

        names = check_names(statistics, color_order)
        ends, count = check_binning(histogram_range, bins, names)
        self._definition = Definition(
            color_order or RGB,
            value_range=check_value_range(value_range),
            histogram_range=ends,
            bins=count,
            statistics=names,
        )
        self._contents = Contents() if duplicates else None
        rows = replace(self._definition, statistics=of_rows(self._definition.statistics, duplicates=duplicates))
        memory = memory_in_flight(None)
        self._engine = CpuEngine(rows, workers=1, max_pixels=max_pixels, memory=memory, tell_after=math.inf)
        self._decoder = self._engine.decoder(MemoryBudget(memory, workers=1))
        self._options = SourceOptions(layout=layout, color_order=color_order, max_bytes=self._engine.max_bytes)
        self._totals = Totals(self._definition.statistics)
        self._failures = FailureLog()
        self._skipped: dict[str, int] = {}
        self._updates = 0

    def update(self, images: object) -> Accumulator:
        """Add images, and return the accumulator.

        Parameters
        ----------
        images : array, tensor, PIL image, bytes, path, or an iterable or batch of these
            What `gpustats.compute` takes. An image that cannot be read is listed in the ``failures`` of the result.

        Raises
        ------
        DataError
            Where it is nothing that holds images. Nothing is added then.
        MergeError
            Where its images cannot be pooled with those before. Nothing is added then.
        """
        from gpustats.decode.decoder import whole_images_only
        from gpustats.engines.shared_batches import SharedBatch

        source = open_source(
            iter([images]) if isinstance(images, bytes) else images, self._options, key=str(self._updates)
        )
        totals, failures = Totals(self._definition.statistics), FailureLog()
        measured: list[Rows] = []
        totals.merge(self._totals)
        never = threading.Event()
        with whole_images_only():
            for batch in source.batches():
                (outcome,), _ = self._engine.measure(SharedBatch(batch), self._decoder, never)
                totals.fold(outcome.rows)
                if self._contents is not None:
                    measured.append(outcome.rows)
                for failure in outcome.failures:
                    failures.add(failure)
        order_of(totals.kind, self._options.color_order)
        self._totals = totals
        if self._contents is not None:
            for rows in measured:
                self._contents.fold(rows)
        self._failures = self._failures.merged(failures)
        self._skipped = {name: self._skipped.get(name, 0) + n for name, n in source.skipped.items()} | {
            name: n for name, n in self._skipped.items() if name not in source.skipped
        }
        self._updates += 1
        return self

    def merge(self, other: Accumulator) -> Accumulator:
        """Add everything that another accumulator has, which stays as it is; return this one.

        Raises
        ------
        MergeError
            Where the two measure images of different kinds or channels in another order.
        """
        pooled = self.result() + other.result()
        self._totals, self._failures, self._skipped = pooled.totals, pooled.failures, dict(pooled.skipped)
        self._contents = None if pooled.duplicates is None else pooled.duplicates.contents
        self._updates += other._updates
        return self

    def result(self) -> Stats:
        """Return the statistics of all images so far; later updates do not change it."""
        totals = Totals(self._definition.statistics)
        totals.merge(self._totals)
        order = order_of(totals.kind, self._options.color_order)
        definition = replace(self._definition, color_order=order, statistics=totals.statistics)
        run = {"source": "Accumulator", "gpustats": __version__, **self._engine.report()}
        return Stats(
            totals,
            definition,
            self._failures.merged(FailureLog()),
            dict(self._skipped),
            (run,),
            duplicates=None if self._contents is None else self._contents.merged(Contents()).duplicates(),
        )
