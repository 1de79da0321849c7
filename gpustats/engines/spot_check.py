"""A few images of a GPU run are decoded on the CPU too; a difference above the tolerance is an error."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.decode.decoder import Decoder
from gpustats.engines.gpu_batch import CHANNELS, EncodedBatch
from gpustats.errors import DeviceError
from gpustats.failures import ImageError, printable
from gpustats.limits.memory import MemoryBudget
from gpustats.statistics.base import Columns
from gpustats.statistics.sums import moments_u8
from gpustats.wording import option

__all__ = ["TOLERANCE", "SpotCheck"]

TOLERANCE = 0.5
"""Grey levels (of 255) by which the mean or the std of an image may differ between two JPEG decoders.

Decoders round the inverse cosine transform and the colour conversion differently, by a level or two a pixel and
to both sides. A wrong channel order, a stale buffer or missing rows differ by far more.
"""


class SpotCheck:
    """Checks the first image of batches 1, 2, 4, 8, ...: a few in a short run, a few more in a long one."""

    def __init__(self, max_pixels: int) -> None:
        self._decoder = Decoder(max_pixels, MemoryBudget(1 << 40, 1))
        self._images = 0
        self._mean_difference = 0.0
        self._std_difference = 0.0

    def report(self) -> dict[str, Any]:
        """Return how many were checked and the largest differences seen, in grey levels of 255."""
        return {
            "images": self._images,
            "largest_mean_difference": self._mean_difference,
            "largest_std_difference": self._std_difference,
            "tolerance": TOLERANCE,
        }

    def passes(self, batch_number: int, batch: EncodedBatch, columns: Columns, good: NDArray[np.bool_]) -> bool:
        """Check one image of the batch if its turn has come.

        Returns
        -------
        bool
            False where the CPU decoder refuses the image.

        Raises
        ------
        DeviceError
            Where the two decoders differ by more than `TOLERANCE`.
        """
        if batch_number & (batch_number - 1) or not good.any():
            return True
        index = int(np.argmax(good))
        try:
            mean, std = self.differences(batch, index, columns)
        except ImageError:
            return False
        self._images += 1
        self._mean_difference = max(self._mean_difference, mean)
        self._std_difference = max(self._std_difference, std)
        if max(mean, std) > TOLERANCE:
            raise DeviceError(
                f"{printable(batch.keys[index])}: the GPU decoder and the CPU decoder differ by {mean:.3g} grey levels "
                f"in the mean and {std:.3g} in the std of a channel (tolerance {TOLERANCE}); the run is stopped "
                f"because its numbers could not be trusted. Compute with {option('device', 'cpu')}, and please report "
                "this with the image"
            )
        return True

    def differences(self, batch: EncodedBatch, index: int, columns: Columns) -> tuple[float, float]:
        """Return by how many grey levels the means and the stds of an image differ from those of the CPU decoder.

        Raises
        ------
        ImageError
            Where the CPU decoder refuses the image.
        """
        sums = np.empty((2, CHANNELS), np.uint64)
        extremes = np.empty((2, CHANNELS), np.uint8)
        try:
            pixels, _ = self._decoder.decode(batch.image(index).data)
            moments_u8(pixels.reshape(-1), CHANNELS, sums[0], sums[1], extremes[0], extremes[1])
        finally:
            self._decoder.release()
        count = int(batch.heights[index] * batch.widths[index])
        ours = _mean_std(columns["moments.sum"][index], columns["moments.sumsq"][index], count)
        theirs = _mean_std(sums[0], sums[1], count)
        mean, std = (float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))
        return mean, std


def _mean_std(
    total: NDArray[np.uint64], squares: NDArray[np.uint64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean = total.astype(np.float64) / count
    return mean, np.sqrt(np.maximum(squares.astype(np.float64) / count - mean * mean, 0))
