"""Run under the address and undefined-behaviour sanitizers: `python sanitized_cases.py DIRECTORY [--fault NUMBER]`.

With the number of an entry of `kernel_faults.FAULTS`, the kernels of its file have that fault, and only they run.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
from kernel_shim import Batch, CpuDevice, compute

from gpustats.cuda.launcher import KERNELS, kernel_source

FLAGS = ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-sanitize=vptr,null")

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = (ctypes.c_size_t,)


def on_the_heap(batch: Batch) -> Batch:
    """Each image in a heap block of its own that ends with its last byte: any read past it is caught."""
    pointers = []
    for k, image in enumerate(batch.images):
        start = int(batch.pointers[k]) % 16
        block = libc.malloc(start + image.nbytes)
        ctypes.memmove(block + start, int(batch.pointers[k]), image.nbytes)
        pointers.append(block + start)
    return Batch(batch.images, batch.memory, np.array(pointers, np.uint64), batch.channels, batch.dtype, batch.layout)


def main(directory: Path, fault: int | None = None) -> None:
    rng = np.random.default_rng(7)
    sources = tuple(KERNELS)
    text = kernel_source
    if fault is not None:
        from kernel_faults import FAULTS
        from kernel_planted import faulty_source

        sources = (FAULTS[fault].file,)

        def text(source: str) -> str:
            return faulty_source(FAULTS[fault])

    device = CpuDevice(directory, 900, FLAGS, sources, text=text)
    for dtype in ("uint8", "uint16", "float32"):
        size = np.dtype(dtype).itemsize
        extras = [{}]
        extras += [{"cross": True}] * (dtype != "float32")
        extras += [{"histogram": True}, {"cross": True, "histogram": True}] * (dtype == "uint8")
        pooled = {"histogram": True, "pooled": True}
        for channels in (1, 2, 3, 4, 5):
            for layout in ("HWC", "CHW"):
                shapes = [(1, n) for n in (0, 1, 2, 5, 16, 17, 31, 101)] + [(40, 83)]
                start = size * int(rng.integers(0, 16 // size))
                batch = on_the_heap(Batch.random(rng, shapes, channels, dtype, layout, start))
                for options in [*extras, *[pooled] * (dtype == "uint8" and layout == "HWC")]:
                    plan = batch.plan(tile_bytes=9216, **options)
                    if plan.source in sources:
                        batch.check(compute(device, plan), **options)
    print("all cases passed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[3]) if "--fault" in sys.argv else None)
