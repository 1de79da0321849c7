"""What the statistics that read files are given by the CPU: the image as it came, before its pixels are changed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.decode.peek import stored_as
from gpustats.statistics.original import Original

__all__ = ["original"]


def original(
    data: bytes | NDArray[np.uint8] | None,
    pixels: NDArray[Any],
    whole: tuple[int, int] | None = None,
    color_space: str = "",
) -> Original:
    """Return what an image is, from its file (None where it is none) and its decoded pixels.

    `whole` is its height and width where it was decoded at a reduced scale, `color_space` that of `Decoder`.
    """
    if data is None:
        return Original.of_pixels(pixels)
    data = data if isinstance(data, bytes) else bytes(data)
    height, width = whole or pixels.shape[:2]
    return Original(data, height, width, *stored_as(data, color_space))
