"""Loads `kernels/*.cu` into CuPy and launches them; `gpustats.cuda.tiles` says over what.

CuPy is imported when a `Reducer` is made, not with this module.
"""

from __future__ import annotations

import functools
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.cuda.outputs import Outputs, finish
from gpustats.cuda.tiles import LaunchPlan, Layout, plan_batch

__all__ = [
    "COMMON",
    "COMPILE_OPTIONS",
    "KERNELS",
    "LaunchPlan",
    "Layout",
    "Outputs",
    "PendingOutputs",
    "Reducer",
    "finish",
    "kernel_source",
    "plan_batch",
]

# No fast-math: float32.cu relies on the order of its additions and on NaN. CuPy adds -ftz=true behind these options.
COMPILE_OPTIONS = ("--std=c++17",)

# Stands before every kernel as text: CuPy's cache does not see a change in a file that is #included.
COMMON = "common.cuh"

KERNELS: dict[str, tuple[str, ...]] = {
    "moments.cu": tuple(f"moments_{t}_c{c}" for t in ("u8", "u16") for c in (1, 2, 3, 4)),
    "joint.cu": (
        *(f"joint_{t}_c{c}_cross" for t in ("u8", "u16") for c in (2, 3, 4)),
        *(f"joint_u8_c{c}_histogram" for c in (1, 2, 3, 4)),
        *(f"joint_u8_c{c}_cross_histogram" for c in (2, 3, 4)),
    ),
    "strided.cu": ("strided_u8", "strided_u8_histogram", "strided_u16"),
    "float32.cu": ("moments_f32",),
}


@functools.cache
def kernel_source(name: str) -> str:
    """Return what is compiled for a .cu file: the common header, then the file, each named in compile errors.

    Raises
    ------
    FileNotFoundError
        Where a file is neither in the installed package nor next to the package in a source tree.
    """
    return "".join(f'#line 1 "{part}"\n{_read(part)}' for part in (COMMON, name))


def _read(name: str) -> str:
    here = Path(__file__).resolve().parent
    places = (here / "kernels" / name, here.parent.parent / "kernels" / name)
    for place in places:
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise FileNotFoundError(f"kernel source {name} not found; looked for {' and '.join(map(str, places))}")


class _Slot:
    """Buffers of one launch in flight: table and output, on the device and pinned on the host."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self.event = cupy.cuda.Event(block=True, disable_timing=True)
        self.table: Any = None
        self.buffer: Any = None
        self.pinned_table: Any = None
        self.pinned_output: Any = None
        self._sizes = (0, 0, 0)

    def fit(self, table: int, output: int, buffer: int) -> None:
        """Grow what is too small, to the next power of two; called only while nothing is in flight here."""
        needed = tuple(
            have if have >= want else 1 << (want - 1).bit_length()
            for have, want in zip(self._sizes, (max(table, 1), max(output, 1), max(buffer, 1)), strict=True)
        )
        cuda = self._cupy.cuda
        if needed[0] > self._sizes[0]:
            self.table = cuda.alloc(needed[0])
            self.pinned_table = cuda.alloc_pinned_memory(needed[0])
        if needed[1] > self._sizes[1]:
            self.pinned_output = cuda.alloc_pinned_memory(needed[1])
        if needed[2] > self._sizes[2]:
            self.buffer = cuda.alloc(needed[2])
        self._sizes = (needed[0], needed[1], needed[2])


class PendingOutputs:
    """A launch whose result is on its way; made by `Reducer.launch`."""

    def __init__(self, reducer: Reducer, plan: LaunchPlan, slot: _Slot) -> None:
        self._reducer = reducer
        self._plan = plan
        self._slot: _Slot | None = slot
        self._result: Outputs | None = None

    def result(self) -> Outputs:
        """Wait, check and return the moments; may be called again.

        Raises
        ------
        RuntimeError
            If the kernel did not visit every pixel (see `gpustats.cuda.outputs.finish`).
        """
        if self._result is None:
            output = self._collect()
            if output is None:
                raise RuntimeError("this launch has no result: an earlier call of result() has failed")
            self._result = finish(self._plan, output)
        return self._result

    def _collect(self) -> NDArray[np.uint8] | None:
        if self._slot is None:
            return None
        slot, self._slot = self._slot, None
        slot.event.synchronize()
        size = self._plan.output_bytes
        output = np.frombuffer(slot.pinned_output, np.uint8, size).copy() if size else np.zeros(0, np.uint8)
        self._reducer._give_back(slot)
        return output


class Reducer:
    """Runs the reduction kernels on one device; keeps compiled kernels and buffers from launch to launch.

    Parameters
    ----------
    device_id : int

    Examples
    --------
    >>> reducer = Reducer(0)  # doctest: +SKIP
    >>> pending = reducer.launch(plan_batch(pointers, heights, widths, 3, "uint8"), stream)  # doctest: +SKIP
    >>> pending.result().sum.shape  # doctest: +SKIP
    (256, 3)
    """

    def __init__(self, device_id: int) -> None:
        import cupy

        self.device_id = device_id
        self._cupy = cupy
        self._modules: dict[str, Any] = {}
        self._functions: dict[str, Any] = {}
        self._free: list[_Slot] = []
        self._busy: list[tuple[_Slot, weakref.ref[PendingOutputs]]] = []
        self._lock = threading.Lock()

    def launch(self, plan: LaunchPlan, stream: Any) -> PendingOutputs:
        """Start a launch on a stream and return without waiting.

        Copies the table, clears the output, runs the kernel and copies the output back, all in the order of
        the stream. The images must stay where they are until the result is there.

        Parameters
        ----------
        plan : LaunchPlan
            With addresses of images on this device.
        stream : cupy.cuda.Stream or cupy.cuda.ExternalStream

        Returns
        -------
        PendingOutputs
        """
        runtime = self._cupy.cuda.runtime
        to_device, to_host = runtime.memcpyHostToDevice, runtime.memcpyDeviceToHost
        with self._cupy.cuda.Device(self.device_id):
            function = self._function(plan.source, plan.kernel)
            with self._lock:
                self._reclaim()
                slot = self._free.pop() if self._free else _Slot(self._cupy)
            with stream:
                slot.fit(plan.table.nbytes, plan.output_bytes, plan.buffer_bytes)
                pending = PendingOutputs(self, plan, slot)
                with self._lock:
                    self._busy.append((slot, weakref.ref(pending)))
                try:
                    if plan.output_bytes:
                        runtime.memsetAsync(slot.buffer.ptr, 0, plan.output_bytes, stream.ptr)
                    if plan.grid[0]:
                        np.frombuffer(slot.pinned_table, np.uint8, plan.table.nbytes)[:] = plan.table
                        source, size = slot.pinned_table.ptr, plan.table.nbytes
                        runtime.memcpyAsync(slot.table.ptr, source, size, to_device, stream.ptr)
                        function(plan.grid, (plan.block,), plan.arguments(slot.table.ptr, slot.buffer.ptr))
                    if plan.output_bytes:
                        target, size = slot.pinned_output.ptr, plan.output_bytes
                        runtime.memcpyAsync(target, slot.buffer.ptr, size, to_host, stream.ptr)
                finally:
                    slot.event.record(stream)  # after an error, too: what was queued before it uses the buffers
        return pending

    def _function(self, source: str, kernel: str) -> Any:
        with self._lock:
            if kernel not in self._functions:
                if source not in self._modules:
                    module = self._cupy.RawModule(code=kernel_source(source), options=COMPILE_OPTIONS)
                    self._modules[source] = module
                self._functions[kernel] = self._modules[source].get_function(kernel)
            return self._functions[kernel]

    def _give_back(self, slot: _Slot) -> None:
        with self._lock:
            self._busy = [entry for entry in self._busy if entry[0] is not slot]
            self._free.append(slot)

    def _reclaim(self) -> None:
        """Take back the buffers of launches that are finished and whose result nobody can ask for any more.

        That is done here and not when a `PendingOutputs` is deleted: the garbage collector may delete pinned memory and
        events before it, at the end of a program also the driver.
        """
        left = [slot for slot, pending in self._busy if pending() is None and slot.event.done]
        self._free += left
        self._busy = [entry for entry in self._busy if entry[0] not in left]
