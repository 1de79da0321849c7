"""Small files are read many at a time, in one call without the interpreter lock.

Opening and reading a file from Python lets go of the lock four times, and threads that ask for it back wait for one
another: with images of 32 x 32 pixels that takes as long as decoding. Larger files are read one by one: for them it
makes no difference.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpustats.engines.shared_batches import SharedBatch
from gpustats.sources.base import Sample
from gpustats.sources.files.names import Names
from gpustats.statistics.compiled import ready

__all__ = ["SMALL", "Found", "SmallFiles"]

Found: TypeAlias = "tuple[bytes | NDArray[np.uint8], tuple[int, int] | None]"
"""The bytes of a file, and height and width where they are an ordinary JPEG, see `gpustats.engines.screen`."""

SMALL = 16 << 10  # bytes

_AT_ONCE = 16
_IN_A_ROW = 64  # small files after which the next ones are taken to be small, too
_WORTH_IT = 4096  # small files of a process after which it loads what reads them


class SmallFiles:
    """Reads for one worker.

    Parameters
    ----------
    enough : int, optional
        Small files that this process must have read before.

    Attributes
    ----------
    in_a_row : int
        Files of at most `SMALL` bytes that were loaded alone, one after the other. The worker counts them.
    """

    _read_before = 0

    def __init__(self, enough: int = _WORTH_IT) -> None:
        self.in_a_row = 0
        self._enough = enough
        self._together = False
        self._memory: NDArray[np.uint8] | None = None

    def samples(self, batch: SharedBatch) -> Generator[tuple[Sample, Found | None], None, None]:
        """Yield the samples of a batch, each with what its file holds; None for what has to be loaded.

        Samples that were read but not yielded go back into the batch when the generator is closed.
        """
        while True:
            if not self._together and self.in_a_row >= _IN_A_ROW:
                self._consider()
            if self._together:
                samples = batch.take(_AT_ONCE)
                if not samples:
                    return
                yield from self._several(samples, batch)
            else:
                try:
                    sample = batch.samples.popleft()
                except IndexError:  # all done or taken
                    return
                yield sample, None

    def _several(self, samples: list[Sample], batch: SharedBatch) -> Generator[tuple[Sample, Found | None], None, None]:
        done = 0
        try:
            for sample, found in zip(samples, self.read(samples), strict=True):
                done += 1
                yield sample, found
        finally:
            batch.samples.extendleft(reversed(samples[done:]))

    def _consider(self) -> None:
        """Read files together from now on if this process has read enough of them."""
        SmallFiles._read_before += self.in_a_row  # threads may miss one another's; it is no exact limit
        self.in_a_row = 0
        self._together = SmallFiles._read_before >= self._enough and sys.platform == "linux"

    def read(self, samples: Sequence[Sample]) -> list[Found | None]:
        """Read files.

        Returns
        -------
        list
            What each sample holds, which the next call overwrites. None for what has to be loaded alone: what is no
            path, is large or cannot be read.
        """
        paths = [item for _, _, item in samples if isinstance(item, str)]
        try:
            names = Names(paths) if len(paths) == len(samples) else None
        except ValueError:
            names = None
        if names is None:
            self._together = False
            return [None] * len(samples)
        if self._memory is None:
            self._memory = np.empty(_AT_ONCE * SMALL, np.uint8)
        memory, spans = self._memory, np.empty((len(samples), 4), np.int64)
        _read_small()(names.address, names.starts, memory, spans)
        found: list[Found | None] = []
        for start, end, height, width in spans.tolist():
            found.append((memory[start:end], (height, width) if height else None) if end else None)
        if found.count(None) > len(found) // 2:
            self._together = False
        return found


def _read_small() -> Any:
    from gpustats.engines.batch_reader import read_small

    return ready(read_small)
