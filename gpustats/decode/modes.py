"""What a mode makes of the pixels that a decoder gives.

``"RGB"``, ``"L"`` and ``"RGBA"`` are Pillow's conversions of these names, an image without alpha being opaque (255);
``"native"`` leaves the channels as they are stored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpustats.failures import ImageError
from gpustats.wording import option

__all__ = ["check_array", "image_pixels", "in_mode", "opaque"]

_OPAQUE = 255

_LUMA = 19595, 38470, 7471
"""Weights of red, green and blue, of 65,536 (ITU-R BT.601, rounded as in Pillow's ``Convert.c``)."""

_NATIVE = {"1": "L", "L": "L", "LA": "LA", "P": "RGB", "RGB": "RGB", "RGBX": "RGB", "RGBA": "RGBA"}
"""The mode of Pillow that holds the channels of a file of each mode; a palette is replaced by its colours."""

_STRIP_PIXELS = 1 << 17  # a strip is held four times while it is converted


def in_mode(pixels: NDArray[np.uint8], mode: str) -> NDArray[np.uint8]:
    """Return pixels of 8 bits in a mode.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W) or (H, W, C)
        Grey or RGB, with or without alpha, which ``"RGB"`` and ``"L"`` drop.
    mode : {"RGB", "L", "RGBA", "native"}
        What to return; `pixels` themselves where they are that already.
    """
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    channels = pixels.shape[2]
    if mode == "native" or channels == len(mode):
        return pixels
    if mode == "L" and channels > 2:
        return _luma(pixels)
    converted = np.empty((*pixels.shape[:2], len(mode)), np.uint8)
    converted[:, :, :3] = pixels[:, :, : 1 if channels < 3 else 3]
    if mode == "RGBA":
        converted[:, :, 3] = pixels[:, :, 1] if channels == 2 else _OPAQUE
    return converted


def _luma(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = np.empty((*pixels.shape[:2], 1), np.uint8)
    step = max(_STRIP_PIXELS // pixels.shape[1], 1)
    for top in range(0, len(pixels), step):
        strip = pixels[top : top + step, :, :3].astype(np.uint32)
        grey[top : top + step, :, 0] = (sum(strip[:, :, i] * _LUMA[i] for i in range(3)) + 0x8000) >> 16
    return grey


def image_pixels(image: Image.Image, mode: str, kind: str) -> NDArray[np.uint8]:
    """Return an image of Pillow in a mode; a large one in strips, so that it is never held three times.

    Raises
    ------
    ImageError
        Where its channels cannot be had as they are stored; `kind` names the format in the message.
    """
    target = _NATIVE.get(image.mode) if mode == "native" else mode
    if target is None:
        raise ImageError(
            "unsupported",
            f"{kind} of mode {image.mode}, whose channels cannot be measured as stored; use {option('mode', 'RGB')}",
        )
    pixels = np.empty((image.height, image.width, len(target)), np.uint8)
    step = max(_STRIP_PIXELS // image.width, 1)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        strip = image if bottom - top == image.height else image.crop((0, top, image.width, bottom))
        pixels[top:bottom] = np.asarray(strip.convert(target)).reshape(bottom - top, image.width, -1)
    return pixels


def opaque(image: Image.Image) -> NDArray[np.bool_] | None:
    """Return which pixels of an image of Pillow can be seen at all, shape (H, W), None where all can."""
    if not image.has_transparency_data:
        return None
    if image.mode == "La":
        return np.asarray(image.getchannel("a")) > 0
    visible = np.empty((image.height, image.width), np.bool_)
    step = max(_STRIP_PIXELS // image.width, 1)
    for top in range(0, image.height, step):
        strip = image.crop((0, top, image.width, min(top + step, image.height)))
        visible[top : top + step] = np.asarray(strip.convert("RGBA"))[:, :, 3] > 0
    return None if visible.all() else visible


def check_array(pixels: NDArray[Any], mode: str) -> None:
    """Raise `ImageError` for an image that is decoded already and has colours, under mode ``"L"``."""
    if mode == "L" and pixels.ndim == 3 and pixels.shape[2] != 1:
        raise ImageError(
            "unsupported",
            f"{pixels.shape[2]} channels; {option('mode', 'L')} makes encoded images grey, but not arrays or tensors",
        )
