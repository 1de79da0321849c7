"""How an image that is in the program becomes an item: arrays, tensors, PIL images, encoded bytes, open files."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from gpustats.decode.formats import EIGHT_BIT_MODES
from gpustats.errors import DataError
from gpustats.failures import ImageError
from gpustats.install import pip_install
from gpustats.sources.elements import described, from_module
from gpustats.sources.items import check_bytes

__all__ = ["as_array", "encoded", "pil_reader"]

_PIL_AS_IT_IS = frozenset({"L", "LA", "RGB", "RGBA", "F", "I", "I;16", "I;16B", "I;16L"})


def as_array(value: Any) -> Any:
    """Return a NumPy or CuPy array over the memory of `value`, without a copy where that is possible.

    Raises
    ------
    DataError
        Where it is in GPU memory and CuPy is missing, or of a type that NumPy does not have.
    """
    if isinstance(value, np.ndarray):
        return value
    if from_module(value, "torch"):
        value = value.detach()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()  # NumPy has no bfloat16; float32 holds every value of it
        if value.device.type == "cpu":
            try:
                return value.numpy()
            except (TypeError, RuntimeError) as error:  # sparse, float8, quantised
                raise DataError(
                    f"{described(value)} and type {value.dtype} cannot be read as an array ({error}); convert it "
                    "first, for example with .to_dense() or .float()"
                ) from None
    if hasattr(value, "__cuda_array_interface__") or _dlpack_device(value) == 2:
        try:
            import cupy
        except ImportError:
            raise DataError(
                f"{described(value)} is in GPU memory; install CuPy ({pip_install('cuda13')}, or [cuda12] for "
                "CUDA 12) or move it to the CPU"
            ) from None
        return cupy.from_dlpack(value) if not hasattr(value, "__cuda_array_interface__") else cupy.asarray(value)
    if hasattr(value, "__array_interface__"):
        return np.asarray(value)
    return np.from_dlpack(value)


def _dlpack_device(value: Any) -> int | None:
    function = getattr(value, "__dlpack_device__", None)
    return int(function()[0]) if callable(function) else None


def encoded(image: Any, max_bytes: int) -> bytes:
    """Return the bytes of an encoded image that is in memory or in an open file, which is read from its start."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, io.TextIOBase):
        raise ImageError("unsupported", "the file is open as text; open it with mode 'rb'")
    try:
        if image.seekable():
            image.seek(0)
        data: bytes = image.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise ImageError("unreadable", str(error)) from None
    check_bytes(len(data), max_bytes)
    return data


def pil_reader(image: Any) -> Callable[[int], Any]:
    """Return a function that gives the pixels: channels as they are, palettes and 8-bit colour spaces as RGB."""

    def read(max_bytes: int) -> Any:
        if image.width * image.height * 8 > max_bytes:
            raise ImageError("too_large", f"{image.width} x {image.height} pixels are more than the limit")
        mode = image.mode
        if mode not in _PIL_AS_IT_IS and mode not in EIGHT_BIT_MODES:
            raise ImageError("unsupported", f"PIL image of mode {mode}; pass it as an array of integers or floats")
        if mode == "I" and any(re.search(r"I;32(N|L|B|)'", str(tile)) for tile in getattr(image, "tile", ())):
            raise ImageError(
                "unsupported", "PIL image of unsigned integers of 32 bits, of which Pillow makes signed ones"
            )
        if mode[0] != "I" and any(";16" in str(tile) for tile in getattr(image, "tile", ())):  # not yet decoded
            raise ImageError("unsupported", "PIL image of 16 bits a sample, of which Pillow would give 8")
        try:
            if mode in _PIL_AS_IT_IS:
                return np.asarray(image)
            return np.asarray(image.convert("L" if mode == "1" else "RGB"))
        except Exception as error:  # noqa: BLE001 - a lazy image may hold a damaged file
            raise ImageError("corrupt", f"PIL image: {error}") from None

    return read
