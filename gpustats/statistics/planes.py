"""Channels taken apart: what needs those of a pixel together does so some thousand values at a time.

They stay in the first cache then. LLVM shuffles 32 pixels at once, which takes less than to multiply them in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.statistics.compiled import compiled

__all__ = ["split"]

# Of a number that LLVM knows it makes shuffles. Places are unsigned, so that nobody asks whether one is negative.


@compiled
def split_2(pixels: NDArray[Any], planes: NDArray[Any]) -> None:
    """Do `split` for two channels."""
    for x in range(np.uint64(planes.shape[1])):
        for channel in range(np.uint64(2)):
            planes[channel, x] = pixels[x * np.uint64(2) + channel]


@compiled
def split_3(pixels: NDArray[Any], planes: NDArray[Any]) -> None:
    """Do `split` for three channels."""
    for x in range(np.uint64(planes.shape[1])):
        for channel in range(np.uint64(3)):
            planes[channel, x] = pixels[x * np.uint64(3) + channel]


@compiled
def split_4(pixels: NDArray[Any], planes: NDArray[Any]) -> None:
    """Do `split` for four channels."""
    for x in range(np.uint64(planes.shape[1])):
        for channel in range(np.uint64(4)):
            planes[channel, x] = pixels[x * np.uint64(4) + channel]


@compiled
def split_any(pixels: NDArray[Any], planes: NDArray[Any]) -> None:
    """Do `split` for any number of channels."""
    channels = np.uint64(planes.shape[0])
    for channel in range(channels):
        own, place = planes[channel], channel
        for x in range(np.uint64(planes.shape[1])):
            own[x] = pixels[place]
            place += channels


@compiled
def split(pixels: NDArray[Any], planes: NDArray[Any]) -> None:
    """Take the channels of interleaved pixels apart.

    Parameters
    ----------
    pixels : ndarray, shape (N * channels,)
        Contiguous, channels interleaved.
    planes : ndarray, shape (channels, N)
        Output.
    """
    channels = planes.shape[0]
    if pixels.itemsize > 1:
        split_any(pixels, planes)
    elif channels == 2:
        split_2(pixels, planes)
    elif channels == 3:
        split_3(pixels, planes)
    elif channels == 4:
        split_4(pixels, planes)
    else:
        split_any(pixels, planes)
