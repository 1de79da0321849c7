"""How kernels on the CPU walk an array of pixels: as rows of lanes, so that a lane always holds the same channel."""

from __future__ import annotations

from gpustats.statistics.compiled import compiled

__all__ = ["lanes_of"]


@compiled
def lanes_of(channels: int, usual: int, itemsize: int) -> int:
    """Return the lanes of a row: the usual number where the channels divide it, else up to 16 pixels of them.

    Four rows that are long keep the processor from reading ahead, so they stay below 256 bytes where they can.
    """
    if usual % channels == 0:
        return usual
    pixels = 16
    while pixels > 1 and pixels * channels * itemsize > 256:
        pixels //= 2
    return pixels * channels
