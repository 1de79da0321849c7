"""What the sources of stored arrays share: the axes, and slabs of bounded size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from gpustats.errors import DataError
from gpustats.failures import ImageError, printable
from gpustats.sources.arrays.layout import image_view, resolve
from gpustats.sources.base import Sample
from gpustats.sources.items import check_bytes

__all__ = ["array_samples"]

_SLAB_BYTES = 16 << 20


def array_samples(
    array: Any, layout: str, key: str, max_bytes: int, *, chunk: int = 1, read: Callable[[int, int], Any] | None = None
) -> Iterator[Sample]:
    """Yield the images of an array that is sliced along its first axis.

    Parameters
    ----------
    array : array-like
        Has `shape` and `dtype`; a slice gives a NumPy array.
    layout : str
        As the user gave it.
    key : str
        The number of the image follows.
    max_bytes : int
        The most that one image may take.
    chunk : int
        Images that are stored together: slabs are multiples of it where that is not too much memory.
    read : callable, optional
        Reads images from start to stop, in the place of a slice.

    Raises
    ------
    ImageError
        Where the axes are not those of images, or an image is too large.
    """
    try:
        axes = resolve(tuple(array.shape), layout, printable(key))
    except DataError as error:
        raise ImageError("unsupported", str(error)) from None
    batched = axes[0] == "N"
    size = math.prod(array.shape[1:] if batched else array.shape) * array.dtype.itemsize
    check_bytes(size, max_bytes)
    if not batched:
        yield key, "", image_view(array[...], axes)
        return
    step = max(_SLAB_BYTES // max(size, 1), 1)
    step = max(step - step % chunk, 1)
    for start in range(0, array.shape[0], step):
        stop = min(start + step, array.shape[0])
        slab = array[start:stop] if read is None else read(start, stop)
        for i in range(stop - start):
            yield f"{key}/{start + i}", "", image_view(slab[i], axes)
