"""The DALI graph: encoded bytes in, 8-bit RGB in HWC layout out.

The decode device is a parameter, so that the graph runs without a GPU too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpustats.engines.tuning import Tuning

__all__ = ["DecodeDevice", "Fed", "build_pipeline", "dali_version", "encoded_input", "is_out_of_memory", "is_sticky"]

DecodeDevice = Literal["mixed", "cpu"]

Fed: TypeAlias = "tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]"
"""An arena of bytes; where in it each encoded image starts and how long it is, shape (N,), and its number, (N, 1)."""


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
        Returns the next batch, which stays as it is until it came out.
    tuning : Tuning
        Batch size, threads, prefetch depth, and how the decoders of the GPU share the work.
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
    hardware = _hardware(tuning) if decode_device == "mixed" else {}
    with pipeline:
        encoded, numbers = encoded_input(source)
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


def _hardware(tuning: Tuning) -> dict[str, Any]:
    """Return the arguments of the decoder that exist only where it runs on a GPU."""
    hints = {
        name: hint for name in ("preallocate_width_hint", "preallocate_height_hint") if (hint := getattr(tuning, name))
    }
    return {
        "hw_decoder_load": tuning.hw_decoder_load,
        "hybrid_huffman_threshold": tuning.hybrid_huffman_threshold,
        # The default, True, would bind DALI's threads to cores, and leave the readers and the CPU engine to guess.
        "affine": False,
        **hints,
    }


def encoded_input(source: Callable[[], Fed]) -> tuple[Any, Any]:
    """Add to the current pipeline what `source` gives; return the encoded images and their numbers.

    A list made here of a `TensorCPU` for each image takes 3.8 us an image, most of it with the interpreter lock; where
    DALI makes the list, 5.3.
    """
    from nvidia.dali import fn, types
    from nvidia.dali.tensors import TensorCPU, TensorListCPU

    def fed() -> tuple[Any, NDArray[np.int64]]:
        arena, starts, sizes, numbers = source()
        data, places = arena.data, zip(starts.tolist(), sizes.tolist(), strict=True)
        images = [TensorCPU(data[start : start + size]) for start, size in places]
        # DALI's type stubs do not know `contiguous`; without it, the images would be copied.
        return TensorListCPU(images, contiguous=False), numbers  # type: ignore[call-overload, unused-ignore]

    dtypes = [types.DALIDataType.UINT8, types.DALIDataType.INT64]
    encoded, numbers = fn.external_source(source=fed, num_outputs=2, batch=True, dtype=dtypes, ndim=1, no_copy=True)
    return encoded, numbers


_OUT_OF_MEMORY = ("out of memory", "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "bad_alloc", "OutOfMemory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether DALI or CuPy ran out of memory; DALI says so only in the text of a RuntimeError."""
    text = f"{type(error).__name__}: {error}"
    return isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY)


_STICKY = re.compile(
    r"cudaError(?:IllegalAddress|IllegalInstruction|InvalidAddressSpace|InvalidPc|LaunchFailure|LaunchTimeout"
    r"|MisalignedAddress|HardwareStackError|Assert|ECCUncorrectable|NvlinkUncorrectable|DevicesUnavailable|Contained"
    r"|Unknown)\b"
    r"|CUDA_ERROR_(?:ILLEGAL_ADDRESS|ILLEGAL_INSTRUCTION|INVALID_ADDRESS_SPACE|INVALID_PC|LAUNCH_FAILED|LAUNCH_TIMEOUT"
    r"|MISALIGNED_ADDRESS|HARDWARE_STACK_ERROR|ASSERT|ECC_UNCORRECTABLE|NVLINK_UNCORRECTABLE|DEVICE_UNAVAILABLE"
    r"|CONTAINED|UNKNOWN)\b"
)


def is_sticky(error: BaseException) -> bool:
    """Return whether the process has lost its CUDA context: every later CUDA call fails too.

    CUDA's documentation says of these errors that the process must be ended to use CUDA again (CUDA Runtime API,
    `cudaError_t`).
    """
    return _STICKY.search(f"{type(error).__name__}: {error}") is not None
