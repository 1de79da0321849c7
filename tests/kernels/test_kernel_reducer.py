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

from gpustats.cuda import launcher
from gpustats.cuda.launcher import KERNELS, Reducer, kernel_source


class FakeMemory(np.ndarray):
    """Bytes with CuPy's `ptr`; filled with rubbish, as fresh device memory is."""

    @property
    def ptr(self) -> int:
        return self.ctypes.data


class FakeStream:
    """Work in its queue is done when someone waits for it, and no further, so that waiting too little shows."""

    ptr = 7

    def __init__(self):
        self.queue = []
        self.done = 0
        self.depth = 0

    def __enter__(self):
        self.depth += 1

    def __exit__(self, *error):
        self.depth -= 1

    @property
    def end(self):
        """Position behind what is in the queue now."""
        return self.done + len(self.queue)

    def run_until(self, position):
        while self.done < position:
            self.queue.pop(0)()
            self.done += 1


class FakeEvent:
    """Happens when everything is done that was in the queue at the time of the last `record`, as CUDA's events do."""

    def __init__(self, **options):
        assert options == {"block": True, "disable_timing": True}
        self.stream = None
        self.position = 0

    def record(self, stream):
        self.stream, self.position = stream, stream.end

    @property
    def done(self):
        return self.stream is None or self.stream.done >= self.position

    def synchronize(self):
        if self.stream is not None:  # an event that was never recorded is no reason to wait
            self.stream.run_until(self.position)


class FakeCupy(types.ModuleType):
    """Device and pinned memory apart from one another: a copy in the wrong direction or past an end is an error."""

    def __init__(self, device: CpuDevice, stream: FakeStream):
        super().__init__("cupy")
        self.allocated = {"device": [], "pinned": []}
        self.compiled = []
        self.calls = []
        self.devices = []
        self.fail = False
        self.idle = False

        def allocator(kind):
            def alloc(size):
                assert stream.depth, "memory of a pool belongs to the stream that is current"
                memory = np.empty(size + 64, np.uint8)
                start = -memory.ctypes.data % 64
                memory[:] = 0xA5
                self.allocated[kind].append(memory[start : start + size])
                return memory[start : start + size].view(FakeMemory)

            return alloc

        def check(kind, address, size):
            starts = [(memory.ctypes.data, memory.nbytes) for memory in self.allocated[kind]]
            assert any(start <= address and address + size <= start + length for start, length in starts)

        def enqueue(work):
            stream.queue.append(work)

        def copy(target, source, size, kind, ptr):
            assert ptr == stream.ptr
            assert kind in (1, 2)
            check("device" if kind == 1 else "pinned", target, size)
            check("pinned" if kind == 1 else "device", source, size)
            enqueue(lambda: ctypes.memmove(target, source, size))

        def fill(target, value, size, ptr):
            assert ptr == stream.ptr
            check("device", target, size)
            enqueue(lambda: ctypes.memset(target, value, size))

        def function(name):
            def call(grid, block, arguments):
                if self.fail:
                    raise RuntimeError("launch failed")
                self.calls.append(name)
                source = next(s for s, names in KERNELS.items() if name in names)
                plan = types.SimpleNamespace(source=source, kernel=name, grid=grid, block=block[0])
                enqueue(lambda: self.idle or device.call(plan, arguments))

            return call

        def module(code, options):
            assert options == ("--std=c++17",)
            self.compiled.append(code)
            return types.SimpleNamespace(get_function=function)

        def on_device(number):
            self.devices.append(number)
            return contextlib.nullcontext()

        self.RawModule = module
        runtime = types.SimpleNamespace(memcpyAsync=copy, memsetAsync=fill, memcpyHostToDevice=1, memcpyDeviceToHost=2)
        self.cuda = types.SimpleNamespace(
            Device=on_device,
            Event=FakeEvent,
            alloc=allocator("device"),
            alloc_pinned_memory=allocator("pinned"),
            runtime=runtime,
        )

    @property
    def allocations(self):
        return sum(map(len, self.allocated.values()))


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
    assert stream.done == 0, "launch does not wait"
    for batch, p in zip(some, pending, strict=True):
        batch.check(p.result())
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
    first, second, third = batches(3)
    pending = reducer.launch(first.plan(), stream)
    del pending
    gc.collect()
    assert stream.queue, "nobody waits"
    other = reducer.launch(second.plan(), stream)
    second.check(other.result())  # waits for the first, too
    allocations = cupy.allocations
    assert allocations == 8
    held = [reducer.launch(batch.plan(), stream) for batch in (first, third)]
    assert cupy.allocations == allocations, "both are used again"
    for batch, pending in zip((first, third), held, strict=True):
        batch.check(pending.result())


def test_nothing_is_touched_when_a_launch_is_deleted(cupy, stream, monkeypatch):
    """At the end of a program pinned memory and events may be gone before the launch that uses them."""
    reducer = Reducer(0)
    (batch,) = batches(1)
    pending = reducer.launch(batch.plan(), stream)
    monkeypatch.setattr(FakeEvent, "synchronize", lambda event: pytest.fail("waits for an event"))
    monkeypatch.setattr(np, "frombuffer", lambda *arguments: pytest.fail("reads pinned memory"))
    del pending, reducer
    gc.collect()
    assert not hasattr(launcher.PendingOutputs, "__del__")


def test_a_failed_launch_does_not_lose_its_buffers(cupy, stream):
    reducer = Reducer(0)
    (batch,) = batches(1)
    cupy.fail = True
    with pytest.raises(RuntimeError, match="launch failed"):
        reducer.launch(batch.plan(), stream)
    gc.collect()
    cupy.fail = False
    assert stream.queue, "work was queued before the error, so the buffers are in use"
    allocations = cupy.allocations
    second = reducer.launch(batch.plan(), stream)
    assert cupy.allocations == 2 * allocations
    batch.check(second.result())
    batch.check(reducer.launch(batch.plan(), stream).result())
    assert cupy.allocations == 2 * allocations


def test_buffers_are_given_back_behind_the_copy_of_the_result(cupy, stream):
    """Work that other launches queue later must not be waited for, and all of one's own must be."""
    reducer = Reducer(0)
    first, second = batches(2)
    pending = reducer.launch(first.plan(), stream)
    end = stream.end
    later = reducer.launch(second.plan(), stream)
    first.check(pending.result())
    assert stream.done == end
    second.check(later.result())
    assert not stream.queue


def test_buffers_used_again_hold_nothing_of_the_launch_before(cupy, stream):
    reducer = Reducer(3)
    bright, dark = (Batch.of([np.full((40, 50, 3), value, np.uint8)], 3, "uint8") for value in (255, 1))
    for batch in (bright, dark, Batch.of([np.zeros((0, 5, 3), np.uint8)], 3, "uint8"), bright):
        batch.check(reducer.launch(batch.plan(), stream).result())
    assert cupy.allocations == 4
    assert set(cupy.devices) == {3}


def test_buffers_have_the_next_power_of_two_bytes(cupy, stream):
    reducer = Reducer(0)
    sizes = []
    for images in (1, 2, 40, 2):
        batch = Batch.of([np.ones((2, 2, 3), np.uint8)] * images, 3, "uint8")
        plan = batch.plan()
        batch.check(reducer.launch(plan, stream).result())
        sizes.append((plan.table.nbytes, plan.output_bytes, plan.buffer_bytes))

    def power(size):
        return next(1 << k for k in range(40) if 1 << k >= size)

    grown = [[], [], []]
    for values, found in zip(zip(*sizes, strict=True), grown, strict=True):
        have = 0
        for value in values:
            if value > have:
                have = power(value)
                found.append(have)
    table, output, buffer = grown
    assert [memory.nbytes for memory in cupy.allocated["pinned"]] == [table[0], output[0], *table[1:], *output[1:]]
    assert [memory.nbytes for memory in cupy.allocated["device"]] == [table[0], buffer[0], *table[1:], *buffer[1:]]


def test_a_size_that_is_a_power_of_two_fits_exactly(cupy, stream):
    from gpustats.cuda.launcher import _Slot

    slot = _Slot(cupy)
    with stream:
        slot.fit(64, 128, 256)
        slot.fit(64, 128, 256)
        assert cupy.allocations == 4
        slot.fit(65, 128, 256)
    assert sorted(memory.nbytes for memory in cupy.allocated["device"]) == [64, 128, 256]
    assert sorted(memory.nbytes for memory in cupy.allocated["pinned"]) == [64, 128, 128]


def test_a_launch_that_did_not_run_has_no_result_and_says_so_again(cupy, stream):
    reducer = Reducer(0)
    (batch,) = batches(1)
    cupy.idle = True
    pending = reducer.launch(batch.plan(), stream)
    with pytest.raises(RuntimeError, match="did not visit every pixel"):
        pending.result()
    with pytest.raises(RuntimeError, match=r"no result: an earlier call of result\(\) has failed"):
        pending.result()
    cupy.idle = False
    allocations = cupy.allocations
    batch.check(reducer.launch(batch.plan(), stream).result())
    assert cupy.allocations == allocations, "its buffers came back, once"
    held = [reducer.launch(batch.plan(), stream) for _ in range(2)]
    for pending in held:
        batch.check(pending.result())


def test_every_kernel_is_compiled_once_and_by_its_own_name(cupy, stream):
    reducer = Reducer(0)
    rng = np.random.default_rng(6)
    for channels, options in [(3, {}), (4, {}), (3, {"cross": True}), (3, {"cross": True, "histogram": True}), (3, {})]:
        batch = Batch.random(rng, [(9, 7)], channels, "uint8")
        batch.check(reducer.launch(batch.plan(**options), stream).result(), **options)
    assert cupy.calls == [
        "moments_u8_c3",
        "moments_u8_c4",
        "joint_u8_c3_cross",
        "joint_u8_c3_cross_histogram",
        "moments_u8_c3",
    ]
    assert cupy.compiled == [kernel_source("moments.cu"), kernel_source("joint.cu")]
