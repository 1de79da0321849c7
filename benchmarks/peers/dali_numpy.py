"""DALI: a CPU pipeline reads and decodes, NumPy reduces what comes out."""

from __future__ import annotations

import math

from benchmarks.peers import Answer

NAME = "DALI CPU pipeline + NumPy"
NEEDS = ("nvidia.dali", "numpy")


def run(paths: list[str], workers: int) -> Answer:
    """One epoch; DALI decodes ahead while NumPy reduces."""
    import numpy as np
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=32, num_threads=workers, device_id=None)
    def pipeline():  # type: ignore[no-untyped-def]
        encoded, _ = fn.readers.file(files=paths, labels=[0] * len(paths))
        return fn.decoders.image(encoded, device="cpu", output_type=types.RGB)

    built = pipeline()
    built.build()
    left = len(paths)
    count = 0
    total, squares = np.zeros(3), np.zeros(3)
    while left > 0:
        (batch,) = built.run()
        for i in range(min(left, len(batch))):  # the reader fills the last batch up from the start
            pixels = batch.at(i) / 255
            count += pixels.shape[0] * pixels.shape[1]
            total += pixels.sum(axis=(0, 1))
            squares += (pixels**2).sum(axis=(0, 1))
        left -= len(batch)
    mean = total / count
    return Answer(mean, [math.sqrt(v) for v in squares / count - mean**2], "pooled")
