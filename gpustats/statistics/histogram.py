"""How often each value occurs: 256 bins a channel of 8-bit images.

On the GPU: ``kernels/joint.cu`` and ``kernels/strided.cu``.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gpustats.statistics.base import Column, Columns, Kind, Number, Part, Statistic
from gpustats.statistics.compiled import compiled

if TYPE_CHECKING:
    from gpustats.cuda.outputs import Outputs

__all__ = ["Histogram", "bins_u8"]

_BINS = 256


class Histogram(Statistic):
    """Counts of values; ``bins`` has 256 integers a channel."""

    name = "histogram"
    outputs = frozenset({"histogram"})
    combine: ClassVar = {"bins": add}
    numbers = (
        Number(
            "histogram",
            lambda v: v["bins"],
            "how often each value occurs",
            "number of pixels with each value 0, 1, ..., 255",
            "quantiles, exposure checks",
            power=0,
            shape=("C", "256"),
            dtype="int64",
            in_table=False,
        ),
    )

    @property
    def most_pixels(self) -> int:
        """What a counter of 32 bits holds."""
        return (1 << 32) - 1

    @classmethod
    def problem(cls, kind: Kind) -> str | None:
        """8-bit images only."""
        return None if kind.dtype == "uint8" else "it has a bin for each of the 256 values of 8-bit images"

    def columns(self) -> Mapping[str, Column]:
        """Return the bins of each channel."""
        return {"bins": Column("uint32", (self.kind.channels, _BINS))}

    def kernel(self) -> Any:
        """Return the function that counts."""
        return bins_u8

    def on_gpu(self, outputs: Outputs) -> Columns:
        """Return the bins that the kernel counted."""
        assert outputs.histogram is not None
        return {"bins": outputs.histogram.astype(np.uint32)}

    def fold(self, columns: Columns) -> Part:
        """Return the bins over all rows."""
        return {"bins": columns["bins"].sum(axis=0, dtype=np.uint64).tolist()}

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the bins."""
        return (self.kind.channels, _BINS)

    def agrees(self, part: Part, moments: Part) -> bool:
        """Check that the counts give number, sum and sum of squares."""
        return all(
            [sum(count * value**power for value, count in enumerate(bins)) for bins in part["bins"]] == moments[name]
            for power, name in enumerate(("n", "sum", "sumsq"))
        )


@compiled
def bins_u8(pixels: NDArray[np.uint8], channels: int, row: int, first: int, bins: NDArray[np.uint32]) -> None:
    """Fill a row from 8-bit pixels; see `Statistic.kernel`.

    Neighbouring pixels tend to be equal, and to count up the same counter twice in a row is slow: the second waits for
    the first to be stored. So four pixels in a row are counted in four copies.
    """
    copies = np.zeros((4, channels, _BINS), np.uint32)
    step = 4 * channels
    steps = pixels.size // step
    groups = pixels[: steps * step].reshape(steps, 4, channels)
    if channels == 3:
        for i in range(groups.shape[0]):
            for copy in range(4):
                copies[copy, 0, groups[i, copy, 0]] += np.uint32(1)
                copies[copy, 1, groups[i, copy, 1]] += np.uint32(1)
                copies[copy, 2, groups[i, copy, 2]] += np.uint32(1)
    else:
        for i in range(groups.shape[0]):
            for copy in range(4):
                for channel in range(groups.shape[2]):
                    copies[copy, channel, groups[i, copy, channel]] += np.uint32(1)
    for i in range(steps * step, pixels.size):
        copies[0, i % channels, pixels[i]] += np.uint32(1)
    for channel in range(channels):
        for value in range(_BINS):
            total = copies[0, channel, value] + copies[1, channel, value]
            bins[row, first + channel, value] = total + copies[2, channel, value] + copies[3, channel, value]
