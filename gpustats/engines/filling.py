"""A batch that one reader is making: images go into its arena one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from gpustats.engines.batch_reader import COUNT, MAX_BYTES, place, read_files
from gpustats.engines.gpu_batch import EncodedBatch
from gpustats.engines.screen import SHORTEST
from gpustats.sources.files.names import Names

__all__ = ["Filling"]


class Filling:
    """A batch under way. Not for several threads at a time.

    Parameters
    ----------
    batch_size : int
        Images that a batch will ever hold.
    arena : callable
        Gives the memory of a batch, when its first image comes.
    limits : callable
        Gives what a batch may hold now, see `gpustats.engines.batch_reader.MAX_IMAGES`.
    """

    def __init__(
        self, batch_size: int, arena: Callable[[], NDArray[np.uint8]], limits: Callable[[], NDArray[np.int64]]
    ) -> None:
        self._rows_at_most = batch_size
        self._new_arena = arena
        self._limits = limits
        self._start()

    def __len__(self) -> int:
        return int(self._state[COUNT])

    def read(
        self, names: Names, first: int, keys: Sequence[str], groups: Sequence[str], taken: NDArray[np.bool_]
    ) -> int:
        """Read files from the one with the number `first` on; return the number of the first for which there is no
        room. ``taken`` gets which are in the batch; the others are for the CPU."""
        end = int(
            read_files(
                names.address, names.starts, first, self._memory(), self._state, self._limits(), taken, self._rows
            )
        )
        which = taken[first:end].tolist()
        self._keys += compress(keys[first:end], which)
        self._groups += compress(groups[first:end], which)
        return end

    def add(self, key: str, group: str, data: bytes) -> bool | None:
        """Add an image in memory; False where there is no room, None where it is for the CPU."""
        limits = self._limits()
        if not SHORTEST <= len(data) <= limits[MAX_BYTES]:
            return None
        found = place(np.frombuffer(data, np.uint8), self._memory(), self._state, limits, self._rows)
        if found == 1:
            self._keys.append(key)
            self._groups.append(group)
        return None if found < 0 else found == 1

    def take(self) -> EncodedBatch:
        """Return the batch and begin another."""
        starts, sizes, heights, widths, components = self._rows[: len(self)].T
        batch = EncodedBatch(
            self._memory(),
            self._keys,
            self._groups,
            starts.astype(np.int32),
            sizes.astype(np.int32),
            heights.astype(np.uint64),
            widths.astype(np.uint64),
            components.astype(np.uint8),
        )
        self._start()
        return batch

    def _start(self) -> None:
        self._arena: NDArray[np.uint8] | None = None
        self._keys: list[str] = []
        self._groups: list[str] = []
        self._state = np.zeros(3, np.int64)
        self._rows = np.empty((self._rows_at_most, 5), np.int64)

    def _memory(self) -> NDArray[np.uint8]:
        if self._arena is None:
            self._arena = self._new_arena()
        return self._arena
