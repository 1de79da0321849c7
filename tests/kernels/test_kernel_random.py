"""Random ragged batches for every kernel, against NumPy; what is written outside an output is seen as well.

A few hundred batches are drawn by default. Ten thousand, on all cores, with the seed of a failure in its message::

    GPUSTATS_RANDOM_BATCHES=10000 python -m pytest tests/kernels/test_kernel_random.py --timeout=0
"""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
import pytest
from kernel_shim import Batch, CpuDevice, compute

from gpustats.cuda.launcher import KERNELS

NAMES = [name for names in KERNELS.values() for name in names]
OLD = [name for name in NAMES if name != "moments_f32"]  # it has no code for older architectures
CASES = -(-int(os.environ.get("GPUSTATS_RANDOM_BATCHES", "480")) // (len(NAMES) + len(OLD)))


def random_batch(rng: np.random.Generator, kernel: str) -> tuple[Batch, dict[str, bool], dict[str, Any]]:
    """Return a batch that goes to a kernel, what is asked of it, and the sizes of its tiles and rows."""
    name = re.fullmatch(r"(?:moments|joint|strided)_(u8|u16|f32)(?:_c(\d))?(_cross)?(_histogram)?", kernel)
    assert name is not None
    kind, channels, cross, histogram = name.groups()
    dtype = {"u8": "uint8", "u16": "uint16", "f32": "float32"}[kind]
    element = np.dtype(dtype).itemsize
    options = {key: True for key, asked in (("cross", cross), ("histogram", histogram)) if asked}
    layout, count = "HWC", int(channels or 0)
    step = element
    if kernel.startswith("strided"):
        options |= {"cross": True} if rng.random() < 0.5 else {}
        planar = "cross" in options and rng.random() < 0.5
        layout, count = ("CHW", int(rng.integers(2, 9))) if planar else ("HWC", int(rng.integers(5, 14)))
    elif kind == "f32":
        layout, count = str(rng.choice(["HWC", "CHW"])), int(rng.choice([1, 2, 3, 4, 5, 13, 260]))
    elif count == 1 and rng.random() < 0.5:  # planes of any number of channels
        layout, count = "CHW", int(rng.integers(1, 6))
    elif options and count in (2, 4):
        step = element * count  # vector loads of whole pixels need an address of whole pixels
    shapes = [(int(h), int(w)) for h, w in rng.integers(0, 12 if count > 13 else 40, (rng.integers(1, 8), 2))]
    if count <= 4 and rng.random() < 0.25:
        shapes.append((1, int(rng.integers(1, 30000 // (count * element)))))  # several tiles
    if histogram and (layout == "HWC" or count == 1) and rng.random() < 0.5:
        options["pooled"] = True
    batch = Batch.random(rng, shapes, count, dtype, layout, start=int(rng.integers(0, 256 // step)) * step)
    if kind == "f32" and rng.random() < 0.5:
        values = batch.memory[int(batch.pointers[0]) - batch.memory.ctypes.data :].view(np.float32)
        values[rng.random(values.size) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
        batch.images = batch.stored()
    sizes: dict[str, Any] = {}
    if kind == "f32" or kernel.startswith("strided"):
        sizes["tile_bytes"] = [None, 256, 4096][rng.integers(3)]
    else:
        sizes["tile_bytes"] = [None, 9216, 27648][rng.integers(3)]
    if rng.random() < 0.3:
        sizes["row_pixels"] = int(rng.integers(20, 2000))
    return batch, options, sizes


def check(device: CpuDevice, kernel: str, old: bool) -> None:
    for case in range(CASES):
        seed = (NAMES.index(kernel), int(old), case)
        batch, options, sizes = random_batch(np.random.default_rng(seed), kernel)
        plan = batch.plan(**options, **sizes)
        assert plan.kernel == kernel, f"seed {seed}"
        try:
            batch.check(compute(device, plan), **{"cross": False, "histogram": False} | options)
        except (AssertionError, RuntimeError) as error:
            raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kernel", NAMES)
def test_random_ragged_batches(cpu_device: CpuDevice, kernel: str) -> None:
    check(cpu_device, kernel, old=False)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kernel", OLD)
def test_random_ragged_batches_on_older_architectures(old_cpu_device: CpuDevice, kernel: str) -> None:
    check(old_cpu_device, kernel, old=True)
