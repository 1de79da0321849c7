"""The reduction of a decoded batch by the CUDA kernels, on a separate stream while the next batch decodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.engines.gpu_batch import CHANNELS, KIND, POISON
from gpustats.engines.on_gpu import columns_of, pooled_parts, wanted
from gpustats.statistics import for_kind
from gpustats.statistics.base import Columns, Part

__all__ = ["CudaReducer", "device_name"]


def device_name(device_id: int) -> str:
    """Return the name that CUDA gives a device, such as ``"NVIDIA H200"``."""
    import cupy

    name: bytes = cupy.cuda.runtime.getDeviceProperties(device_id)["name"]
    return name.decode()


class CudaReducer:
    """Launches one kernel that measures packed 8-bit RGB samples in device memory.

    Parameters
    ----------
    device_id : int
        CUDA device.
    statistics : tuple of str
        What to measure.
    per_image : bool
        Whether every number is asked for image by image; bins are otherwise added up on the device.
    """

    name = "cuda"

    def __init__(self, device_id: int, statistics: tuple[str, ...], per_image: bool = True) -> None:
        import cupy

        from gpustats.cuda.launcher import Reducer

        self._device = cupy.cuda.Device(device_id)
        self._reducer = Reducer(device_id)
        self._statistics = for_kind(statistics, KIND)
        self._outputs = wanted(self._statistics, per_image)
        with self._device:
            self._stream = cupy.cuda.Stream(non_blocking=True)

    def launch(self, pointers: NDArray[np.uint64], heights: NDArray[np.uint64], widths: NDArray[np.uint64]) -> _Pending:
        """Start reducing; poison the pixels behind the kernel. Returns at once."""
        import cupy

        from gpustats.cuda.launcher import plan_batch

        with self._device, self._at_rest_after_an_error():
            plan = plan_batch(pointers, heights, widths, CHANNELS, np.uint8, **self._outputs)
            pending = self._reducer.launch(plan, self._stream)
            sizes = heights * widths * CHANNELS
            packed = pointers[-1] + sizes[-1] - pointers[0] == sizes.sum()
            spans = [(pointers[0], sizes.sum())] if packed else zip(pointers, sizes, strict=True)
            for pointer, size in spans:
                cupy.cuda.runtime.memsetAsync(int(pointer), POISON, int(size), self._stream.ptr)
            event = cupy.cuda.Event(disable_timing=True)
            event.record(self._stream)
        return _Pending(self, pending, event)

    @contextmanager
    def _at_rest_after_an_error(self) -> Iterator[None]:
        """Wait for all that was queued before an error: it reads and poisons pixels, which are let go after the error
        and may be another batch's by then."""
        try:
            yield
        except Exception:
            with suppress(Exception):  # a device that is lost does nothing more
                self._stream.synchronize()
            raise


class _Pending:
    def __init__(self, reducer: CudaReducer, pending: Any, event: Any) -> None:
        self._reducer = reducer
        self._pending = pending
        self._event = event

    def result(self) -> Columns:
        """Wait for the kernel and for the poison after it; the pixels may be freed only then."""
        with self._reducer._at_rest_after_an_error():
            self._event.synchronize()
        return columns_of(self._reducer._statistics, self._pending.result())

    def folded(self, left_out: NDArray[np.bool_]) -> dict[str, Part]:
        """Return the totals of what the device has added up."""
        return pooled_parts(self._reducer._statistics, self._pending.result(), left_out)
