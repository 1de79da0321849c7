"""Tries a GPU before the run: a few small JPEGs are decoded, reduced, and compared with the CPU decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import simplejpeg

from gpustats.engines import dali
from gpustats.engines.gpu_batch import CHANNELS, BatchReducer, EncodedBatch, EncodedImage
from gpustats.engines.session import sample_pointers
from gpustats.engines.spot_check import TOLERANCE, SpotCheck
from gpustats.errors import GpustatsError, first_line

__all__ = ["BATCH", "example_images", "try_gpu"]

_SIZES = ((64, 96, "420"), (33, 47, "444"), (40, 24, "422"), (56, 56, "Gray"))

BATCH = len(_SIZES)
"""Images that are tried."""


def example_images() -> EncodedBatch:
    """Return small JPEGs of several sizes and kinds, made here: smooth colours, and a little of every brightness."""
    images = []
    for height, width, kind in _SIZES:
        y, x = np.mgrid[:height, :width]
        ramps = [255 * x // width, 255 * y // height, 255 * (x + y) // (height + width)]
        pixels = np.ascontiguousarray(np.stack(ramps, axis=2).astype(np.uint8)[..., : 1 if kind == "Gray" else 3])
        color = "GRAY" if kind == "Gray" else "RGB"
        data = simplejpeg.encode_jpeg(pixels, quality=95, colorspace=color, colorsubsampling=kind)
        images.append(EncodedImage(f"test image {kind}", "", data))
    return EncodedBatch.of(images, [(height, width, 1 if kind == "Gray" else 3) for height, width, kind in _SIZES])


def try_gpu(build: Callable[[Callable[[], dali.Fed]], Any], reducer: BatchReducer) -> str | None:
    """Decode and reduce `example_images`.

    Parameters
    ----------
    build : callable
        Builds a pipeline over the callback that feeds it.
    reducer : BatchReducer
        Reduces what comes out.

    Returns
    -------
    str or None
        What does not work, None where everything does.
    """
    batch = example_images()
    fed: Iterator[dali.Fed] = iter([(batch.arena, batch.starts, batch.sizes, np.arange(len(batch))[:, None])])
    step = "DALI cannot be started"
    try:
        pipeline = build(fed.__next__)
        step = "DALI cannot decode a JPEG"
        pixels, _ = pipeline.run()
        expected = [(height, width, CHANNELS) for height, width, _ in _SIZES]
        if pixels.shape() != expected:
            return f"DALI decodes JPEGs of {expected} to {pixels.shape()}"
        step = "the CUDA kernel cannot be run"
        pointers = sample_pointers(pixels, batch.heights * batch.widths * CHANNELS)
        columns = reducer.launch(pointers, batch.heights, batch.widths).result()
        step = "the numbers cannot be compared with those of the CPU decoder"
        spot = SpotCheck(1 << 30)
        differences = [spot.differences(batch, i, columns) for i in range(len(batch))]
    except GpustatsError:
        raise
    except Exception as error:  # noqa: BLE001 - DALI, CuPy, NVRTC and the driver raise anything; it is told, not hidden
        return f"{step}: {first_line(error)}"
    worst = max(max(pair) for pair in differences)
    if worst > TOLERANCE:
        return f"the GPU gives other numbers than the CPU: a test image differs by {worst:.3g} grey levels"
    return None
