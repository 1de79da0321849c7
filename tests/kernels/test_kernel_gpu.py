"""The kernels on a real device against NumPy."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from kernel_shim import Batch

from gpustats.cuda.launcher import Reducer, plan_batch

pytestmark = pytest.mark.gpu

BATCHES = 10_000


def on_device(batch: Batch) -> tuple[Batch, object]:
    """The batch with its pixels on the device at the same address modulo 256, and the memory to keep."""
    import cupy

    origin = batch.memory.ctypes.data
    memory = cupy.empty(batch.memory.nbytes + 256, cupy.uint8)
    start = -memory.data.ptr % 256
    memory[start : start + batch.memory.nbytes] = cupy.asarray(batch.memory)
    shift = (batch.pointers - np.uint64(origin)) + np.uint64(memory.data.ptr + start)
    return replace(batch, pointers=shift), memory


@pytest.fixture(scope="module")
def reducer():
    return Reducer(0)


@pytest.fixture
def stream():
    import cupy

    return cupy.cuda.Stream(non_blocking=False)


def random_case(rng: np.random.Generator) -> tuple[Batch, dict[str, bool]]:
    dtype = rng.choice(["uint8", "uint8", "uint16", "float32"])
    channels = int(rng.choice([1, 2, 3, 3, 4, 5, 13]))
    layout = str(rng.choice(["HWC", "CHW"]))
    size = np.dtype(dtype).itemsize
    shapes = [tuple(int(v) for v in rng.integers(0, 40, 2)) for _ in range(rng.integers(1, 8))]
    options = {}
    if dtype != "float32" and rng.random() < 0.3:
        options["cross"] = True
    if dtype == "uint8" and rng.random() < 0.3:
        options["histogram"] = True
    start = int(rng.integers(0, 256 // size)) * size
    return Batch.random(rng, shapes, channels, dtype, layout, start), options


def test_random_ragged_batches(reducer, stream):
    rng = np.random.default_rng(11)
    in_flight: deque = deque()
    for k in range(BATCHES):
        batch, options = random_case(rng)
        there, memory = on_device(batch)
        stream.synchronize()
        in_flight.append((there, memory, options, reducer.launch(there.plan(**options), stream)))
        if len(in_flight) == 8 or k == BATCHES - 1:
            while in_flight:
                there, memory, options, pending = in_flight.popleft()
                there.check(pending.result(), **options)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_images_of_many_tiles(reducer, stream, channels, layout, dtype):
    rng = np.random.default_rng(channels)
    size = np.dtype(dtype).itemsize
    batch = Batch.random(rng, [(701, 503), (1, 1), (0, 9), (1200, 1100)], channels, dtype, layout, start=5 * size)
    there, _memory = on_device(batch)
    extras = [{}]
    extras += [{"cross": True}] * (dtype != "float32")
    extras += [{"histogram": True}, {"cross": True, "histogram": True}] * (dtype == "uint8")
    for options in extras:
        there.check(reducer.launch(there.plan(**options), stream).result(), **options)


@pytest.mark.parametrize("value", [0, 255])
def test_a_large_uniform_image_fills_no_counter(reducer, stream, value):
    import cupy

    pixels = 3 * 10**8
    image = cupy.full(3 * pixels + 1, value, cupy.uint8)
    for histogram in (False, True):
        plan = plan_batch([image.data.ptr + 1], [pixels // 1000], [1000], 3, "uint8", histogram=histogram)
        moments = reducer.launch(plan, stream).result()
        assert moments.sum.tolist() == [[pixels * value] * 3]
        assert moments.sumsq.tolist() == [[pixels * value * value] * 3]
        assert moments.min.tolist() == moments.max.tolist() == [[value] * 3]


def test_float32_repeats_bit_for_bit(reducer, stream):
    rng = np.random.default_rng(12)
    there, _memory = on_device(Batch.random(rng, [(900, 800)] * 3, 3, "float32"))
    results = {reducer.launch(there.plan(), stream).result().sumsq.tobytes() for _ in range(50)}
    assert len(results) == 1
