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


Fault = Callable[[int, list[np.ndarray]], list[np.ndarray]]


class FakePipeline:
    """Runs ahead by `prefetch` batches, as DALI does; `fault(number, images)` may change the images or raise."""

    def __init__(self, source: Callable[[], list[Any]], prefetch: int, fault: Fault) -> None:
        self._source = source
        self._prefetch = prefetch
        self._fault = fault
        self._queue: list[list[Any]] = []
        self._ended = False
        self._number = 0

    def run(self) -> tuple[TensorList]:
        while not self._ended and len(self._queue) < self._prefetch:
            try:
                self._queue.append(self._source())
            except StopIteration:
                self._ended = True
        if not self._queue:
            raise StopIteration
        encoded = self._queue.pop(0)
        self._number += 1
        try:
            images = [simplejpeg.decode_jpeg(data.tobytes(), "RGB") for data in encoded]
        except ValueError as error:
            raise RuntimeError(f"Critical error in pipeline:\n{error}") from None
        return (TensorList(self._fault(self._number, images)),)
