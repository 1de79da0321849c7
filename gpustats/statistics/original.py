"""An image as it came, for the statistics that look at all of it: its file, its size, and which of its pixels count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Jpegs", "Original", "Whole"]


class Original(NamedTuple):
    """What an image is before it is resized, cropped or masked.

    Attributes
    ----------
    data : bytes or ndarray
        The file; of an image that is no file, its pixels.
    height, width : int
        Its size, turned as EXIF says where that was asked for.
    format : str
        What the first bytes are those of: ``"JPEG"``, ``"PNG"`` and so on; empty for an image that is no file.
    mode : str
        Its channels as they are stored, as Pillow calls them: ``"RGB"``, ``"L"``, ``"P"``, ``"CMYK"``; for pixels their
        type and number, ``"uint8 x 3"``; empty where it is not known.
    """

    data: Any
    height: int
    width: int
    format: str = ""
    mode: str = ""

    @classmethod
    def of_pixels(cls, pixels: NDArray[Any]) -> Original:
        """Return what an array of shape (H, W) or (H, W, C) is."""
        channels = pixels.shape[2] if pixels.ndim > 2 else 1
        return cls(pixels, pixels.shape[0], pixels.shape[1], mode=f"{pixels.dtype.name} x {channels}")


class Whole(NamedTuple):
    """An image that is measured as a whole.

    Attributes
    ----------
    pixels : ndarray, shape (H, W, C)
        Its values, of any strides.
    valid : ndarray of bool, shape (H, W, C), or None
        Which of them count; None where all do.
    original : Original or None
        What it was before; None where it was never anything else.
    """

    pixels: NDArray[Any]
    valid: NDArray[np.bool_] | None
    original: Original | None

    @property
    def source(self) -> Original:
        """What it was before."""
        return self.original or Original.of_pixels(self.pixels)


class Jpegs(Protocol):
    """JPEG files of 8 bits, grey or YCbCr, that are measured together.

    Attributes
    ----------
    sizes : ndarray of int, shape (N,)
        Bytes of each.
    heights, widths : ndarray of uint64, shape (N,)
    components : ndarray of uint8, shape (N,)
        1 for grey, 3 for colour.
    """

    @property
    def sizes(self) -> NDArray[Any]: ...
    @property
    def heights(self) -> NDArray[np.uint64]: ...
    @property
    def widths(self) -> NDArray[np.uint64]: ...
    @property
    def components(self) -> NDArray[np.uint8]: ...

    def files(self) -> Iterator[memoryview]:
        """Yield the bytes of each."""
        ...
