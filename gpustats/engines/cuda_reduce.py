"""The reduction of a decoded batch by the CUDA kernels, on a stream of its own while the next batch decodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.engines.gpu_batch import CHANNELS, POISON, Moments

__all__ = ["CudaReducer", "device_name"]


def device_name(device_id: int) -> str:
    """Return the name that CUDA gives a device, such as ``"NVIDIA H200"``."""
    import cupy

    name: bytes = cupy.cuda.runtime.getDeviceProperties(device_id)["name"]
    return name.decode()


class CudaReducer:
    """Launches the moments kernel on packed 8-bit RGB samples in device memory.

    Parameters
    ----------
    device_id : int
        CUDA device.
    """

    name = "cuda"

    def __init__(self, device_id: int) -> None:
        import cupy

        from gpustats.kernels import Reducer

        self._device = cupy.cuda.Device(device_id)
        self._reducer = Reducer(device_id)
        with self._device:
            self._stream = cupy.cuda.Stream(non_blocking=True)

    def launch(self, pointers: NDArray[np.uint64], heights: NDArray[np.uint64], widths: NDArray[np.uint64]) -> _Pending:
        """Start reducing; poison the pixels behind the kernel. Returns at once."""
        import cupy

        from gpustats.kernels import plan_batch

        with self._device:
            plan = plan_batch(pointers, heights, widths, CHANNELS, np.uint8)
            pending = self._reducer.launch(plan, self._stream)
            sizes = heights * widths * CHANNELS
            packed = pointers[-1] + sizes[-1] - pointers[0] == sizes.sum()
            spans = [(pointers[0], sizes.sum())] if packed else zip(pointers, sizes, strict=True)
            for pointer, size in spans:
                cupy.cuda.runtime.memsetAsync(int(pointer), POISON, int(size), self._stream.ptr)
            event = cupy.cuda.Event(disable_timing=True)
            event.record(self._stream)
        return _Pending(pending, event)


class _Pending:
    def __init__(self, pending: Any, event: Any) -> None:
        self._pending = pending
        self._event = event

    def result(self) -> Moments:
        """Wait for the kernel and for the poison behind it; only then may the pixels be let go."""
        self._event.synchronize()
        raw = self._pending.result()
        return Moments(raw.sum, raw.sumsq, raw.min, raw.max)
