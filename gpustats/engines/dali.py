"""The DALI graph: encoded bytes in, 8-bit RGB in HWC layout out.

The decode device is a parameter, so that the graph runs without a GPU too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpustats.engines.tuning import Tuning

__all__ = ["DecodeDevice", "Fed", "build_pipeline", "dali_version", "is_out_of_memory"]

DecodeDevice = Literal["mixed", "cpu"]

Fed: TypeAlias = "tuple[list[NDArray[np.uint8]], NDArray[np.int64]]"
"""Encoded images, and a number of each in an array of shape (N, 1)."""


def dali_version() -> str:
    """Return the version of DALI."""
    import nvidia.dali

    return str(nvidia.dali.__version__)


def build_pipeline(
    source: Callable[[], Fed], tuning: Tuning, decode_device: DecodeDevice, device_id: int | None
) -> Any:
    """Build a pipeline that decodes the batches of `source` until that raises `StopIteration`.

    Its outputs are the pixels, and the numbers as they were given: they say which images the pixels are of.

    Parameters
    ----------
    source : callable
        Returns encoded images and their numbers, which stay as they are until their batch came out.
    tuning : Tuning
        Batch size, threads, share of the hardware decoder, prefetch depth.
    decode_device : {"mixed", "cpu"}
        ``"mixed"`` decodes on the GPU.
    device_id : int or None
        CUDA device; None with ``"cpu"``.
    """
    # nvImageCodec writes every refused image to stderr; they are in the result, with their names.
    os.environ.setdefault("DALI_NVIMGCODEC_LOG_LEVEL", "0")
    from nvidia.dali import Pipeline, fn, types

    # Only the dynamic executor survives a bad sample, and only its outputs may be kept while later batches run.
    pipeline = Pipeline(
        batch_size=tuning.batch_size,
        num_threads=tuning.threads,
        device_id=device_id,
        prefetch_queue_depth=tuning.prefetch,
        exec_dynamic=True,
        set_affinity=False,
    )
    # affine=True, the default, would bind DALI's threads to cores, and leave the readers and the CPU engine to guess.
    hardware: dict[str, Any] = (
        {"hw_decoder_load": tuning.hw_decoder_load, "affine": False} if decode_device == "mixed" else {}
    )
    with pipeline:
        encoded, numbers = fn.external_source(
            source=source,
            num_outputs=2,
            batch=True,
            dtype=[types.DALIDataType.UINT8, types.DALIDataType.INT64],
            ndim=[1, 1],
            no_copy=True,
        )
        pixels = fn.decoders.image(
            encoded,
            device=decode_device,
            output_type=types.DALIImageType.RGB,
            adjust_orientation=False,
            jpeg_fancy_upsampling=True,  # the default replicates chroma: std off by up to 5e-4
            use_fast_idct=False,
            **hardware,
        )
        pipeline.set_outputs(pixels, numbers)
    pipeline.build()
    return pipeline


_OUT_OF_MEMORY = ("out of memory", "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "bad_alloc", "OutOfMemory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether DALI or CuPy ran out of memory; DALI says so only in the text of a RuntimeError."""
    text = f"{type(error).__name__}: {error}"
    return isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY)
