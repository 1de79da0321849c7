"""AVIF of more than 8 bits a sample, which Pillow would round: read by libavif through imagecodecs."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.decode.deep import Deep
from gpustats.decode.depth import too_deep
from gpustats.failures import ImageError

__all__ = ["avif_misfit", "deep_avif"]

_DEEP, _TWELVE, _GREY = 0x40, 0x20, 0x10
"""Flags in the third byte of the AV1 configuration (AV1 in ISOBMFF, section 2.3.3)."""

_BOXES = 4096  # bytes in which the reference to an alpha is found that colours are multiplied by


def _configuration(data: bytes) -> int:
    """Return the flags of the first item, 0 where there are none."""
    start = data.find(b"av1C")
    return 0 if start < 0 or len(data) < start + 7 else data[start + 6]


def _bits(flags: int) -> int:
    return (12 if flags & _TWELVE else 10) if flags & _DEEP else 8


def avif_misfit(data: bytes) -> str | None:
    """Look at the bits of the first item."""
    bits = _bits(_configuration(data))
    return None if bits == 8 else too_deep(bits)


def deep_avif(data: bytes) -> Deep:
    """Return a still image of 10 or 12 bits: grey or RGB, as libavif makes them of what is stored, with alpha."""
    from PIL.AvifImagePlugin import AvifImageFile

    with AvifImageFile(io.BytesIO(data)) as image:  # it reads no pixels
        (width, height), frames, alpha = image.size, image.n_frames, image.mode.endswith("A")
    if frames != 1:  # imagecodecs 2026.3.6 gives all of them, and ends the process where it is asked for one
        raise ImageError("unsupported", f"AVIF of more than 8 bits with {frames} frames; only still images are read")
    if b"prem" in data[:_BOXES]:
        raise ImageError("unsupported", "AVIF of more than 8 bits whose colours are multiplied by alpha")
    flags = _configuration(data)
    colours = 1 if flags & _GREY else 3
    said = (1 << _bits(flags)) - 1
    decode = partial(_decode_avif, data)
    return Deep(height, width, colours + alpha, np.dtype(np.uint16), decode, colours=colours, value_range=said)


def _decode_avif(data: bytes) -> NDArray[Any]:
    import imagecodecs

    pixels: NDArray[Any] = imagecodecs.avif_decode(data, numthreads=1)
    return pixels
