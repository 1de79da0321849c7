"""Reducer's handling of buffers, with host memory and the CPU stand-in in the place of CuPy and a device."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import types

import numpy as np
import pytest
from kernel_shim import Batch, CpuDevice

from gpustats.cuda.launcher import KERNELS, Reducer


class FakeMemory(np.ndarray):
    """Bytes with CuPy's `ptr`; filled with rubbish, as fresh device memory is."""

    @property
    def ptr(self) -> int:
        return self.ctypes.data


class FakeStream(contextlib.nullcontext):
    """Work in its queue is done when someone waits, so that waiting too little shows."""

    ptr = 7

    def __init__(self):
        super().__init__()
        self.queue = []

    def drain(self):
        while self.queue:
            self.queue.pop(0)()


class FakeEvent:
    def __init__(self, **options):
        self.stream = None

    def record(self, stream):
        self.stream = stream

    @property
    def done(self):
        return self.stream is None or not self.stream.queue

    def synchronize(self):
        self.stream.drain()


class FakeCupy(types.ModuleType):
    def __init__(self, device: CpuDevice, stream: FakeStream):
        super().__init__("cupy")
        self.allocations = 0
        self.compiled = []
        self.calls = []
        self.fail = False

        def alloc(size):
            self.allocations += 1
            memory = np.empty(size + 64, np.uint8)
            start = -memory.ctypes.data % 64
            memory[:] = 0xA5
            return memory[start : start + size].view(FakeMemory)

        def enqueue(work):
            stream.queue.append(work)

        def copy(target, source, size, kind, ptr):
            assert ptr == stream.ptr
            enqueue(lambda: ctypes.memmove(target, source, size))

        def fill(target, value, size, ptr):
            enqueue(lambda: ctypes.memset(target, value, size))

        def function(name):
            def call(grid, block, arguments):
                if self.fail:
                    raise RuntimeError("launch failed")
                self.calls.append(name)
                source = next(s for s, names in KERNELS.items() if name in names)
                plan = types.SimpleNamespace(source=source, kernel=name, grid=grid, block=block[0])
                enqueue(lambda: device.call(plan, arguments))

            return call

        def module(code, options):
            self.compiled.append(code.splitlines()[0])
            return types.SimpleNamespace(get_function=function)

        self.RawModule = module
        runtime = types.SimpleNamespace(memcpyAsync=copy, memsetAsync=fill, memcpyHostToDevice=1, memcpyDeviceToHost=2)
        self.cuda = types.SimpleNamespace(
            Device=lambda _: contextlib.nullcontext(),
            Event=FakeEvent,
            alloc=alloc,
            alloc_pinned_memory=alloc,
            runtime=runtime,
        )


@pytest.fixture
def stream():
    return FakeStream()


@pytest.fixture
def cupy(cpu_device, stream, monkeypatch):
    fake = FakeCupy(cpu_device, stream)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return fake


def batches(count, dtype="uint8"):
    rng = np.random.default_rng(3)
    return [Batch.random(rng, [(5, 7), (0, 2), (30, 41)], 3, dtype, start=k % 4 * 4) for k in range(count)]


def test_launches_in_flight_do_not_share_buffers(cupy, stream):
    reducer = Reducer(0)
    some = [*batches(4), *batches(2, "float32"), *batches(2, "uint16")]
    pending = [reducer.launch(batch.plan(), stream) for batch in some]
    assert not any(p.done for p in pending), "launch does not wait"
    for batch, p in zip(some, pending, strict=True):
        batch.check(p.result())
        assert p.done
        assert p.result() is p.result()


def test_steady_state_allocates_and_compiles_nothing(cupy, stream):
    reducer = Reducer(0)
    for batch in batches(3):
        reducer.launch(batch.plan(), stream).result()
    allocations = cupy.allocations
    for batch in batches(20):
        batch.check(reducer.launch(batch.plan(), stream).result())
    assert cupy.allocations == allocations == 4
    assert len(cupy.compiled) == 1


def test_a_larger_batch_grows_the_buffers(cupy, stream):
    reducer = Reducer(0)
    rng = np.random.default_rng(4)
    for images in (1, 50, 3):
        batch = Batch.random(rng, [(3, 4)] * images, 3, "uint8")
        batch.check(reducer.launch(batch.plan(histogram=True), stream).result(), histogram=True)


def test_a_batch_without_pixels_launches_no_kernel(cupy, stream):
    reducer = Reducer(0)
    batch = Batch.of([np.zeros((0, 3, 3), np.uint8)], 3, "uint8")
    batch.check(reducer.launch(batch.plan(), stream).result())
    assert reducer.launch(Batch.of([], 3, "uint8").plan(), stream).result().sum.shape == (0, 3)
    assert cupy.calls == []


def test_a_result_nobody_asked_for_gives_its_buffers_back_when_they_are_free(cupy, stream):
    reducer = Reducer(0)
    (batch,) = batches(1)
    pending = reducer.launch(batch.plan(), stream)
    assert stream.queue
    del pending
    gc.collect()
    assert not stream.queue
    allocations = cupy.allocations
    batch.check(reducer.launch(batch.plan(), stream).result())
    assert cupy.allocations == allocations


def test_a_failed_launch_does_not_lose_its_buffers(cupy, stream):
    reducer = Reducer(0)
    (batch,) = batches(1)
    cupy.fail = True
    with pytest.raises(RuntimeError, match="launch failed"):
        reducer.launch(batch.plan(), stream)
    gc.collect()
    cupy.fail = False
    allocations = cupy.allocations
    batch.check(reducer.launch(batch.plan(), stream).result())
    assert cupy.allocations == allocations
