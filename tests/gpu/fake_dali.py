"""A stand-in for a DALI pipeline: decodes with simplejpeg into one packed buffer, and misbehaves on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import simplejpeg


class Sample:
    def __init__(self, address: int) -> None:
        self._address = address

    def data_ptr(self) -> int:
        return self._address


class TensorList:
    """One packed buffer of samples."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self._shapes = [image.shape for image in images]
        self.buffer = np.concatenate([image.reshape(-1) for image in images])
        self._offsets = np.cumsum([0, *(image.size for image in images)])

    def shape(self) -> list[tuple[int, ...]]:
        return list(self._shapes)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.buffer.ctypes.data + int(self._offsets[index]))


class Serials:
    """The second output: the numbers of the images, as they were fed."""

    def __init__(self, numbers: np.ndarray) -> None:
        self._numbers = numbers

    def as_array(self) -> np.ndarray:
        return self._numbers.copy()


def decode(data: bytes) -> np.ndarray:
    pixels: np.ndarray = simplejpeg.decode_jpeg(data, "RGB")
    return pixels


Fault = Callable[[int, list[np.ndarray]], list[np.ndarray]]


Queue = list[tuple[list[Any], np.ndarray]]


class FakePipeline:
    """Runs ahead by `prefetch` batches, as DALI does; `fault(number, images)` may change the images or raise.

    `disorder(number, queue)` may take batches that were fed out of the queue, and change their order; `number` counts
    the calls of the source.
    """

    def __init__(
        self,
        source: Callable[[], Any],
        prefetch: int,
        fault: Fault,
        disorder: Callable[[int, Queue], None] = lambda number, queue: None,
    ) -> None:
        self._source = source
        self._prefetch = prefetch
        self._fault = fault
        self._disorder = disorder
        self._queue: Queue = []
        self._ended = False
        self._number = 0
        self._fed = 0

    def run(self) -> tuple[TensorList, Serials]:
        while not self._ended and len(self._queue) < self._prefetch:
            try:
                arena, starts, sizes, numbers = self._source()
                places = zip(starts.tolist(), sizes.tolist(), strict=True)
                self._queue.append(([arena[start : start + size] for start, size in places], numbers))
            except StopIteration:
                self._ended = True
            else:
                self._fed += 1
                self._disorder(self._fed, self._queue)
        if not self._queue:
            raise StopIteration
        encoded, numbers = self._queue.pop(0)
        self._number += 1
        try:
            images = [decode(data.tobytes()) for data in encoded]
        except ValueError as error:
            raise RuntimeError(f"Critical error in pipeline:\n{error}") from None
        return TensorList(self._fault(self._number, images)), Serials(numbers)
