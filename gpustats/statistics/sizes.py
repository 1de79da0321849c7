"""How large images are: width, height, aspect ratio, bytes, formats and stored channels, as they came.

They are counts of integers, so they add up exactly. Widths, heights and shorter sides are exact up to 65,535 (what JPEG
can hold) and rounded to 16 binary digits above; bytes to 9 (0.1%) and aspect ratios to 11 (0.03%), so that a result of
millions of images stays small. Sum, smallest and largest number of bytes are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.saved import natural
from gpustats.statistics.base import Column, Columns, Part, Statistic
from gpustats.statistics.counted import Counts, count, merged, read_counts, read_names, rounded, total
from gpustats.statistics.exact import WHOLE
from gpustats.statistics.original import Jpegs, Whole

if TYPE_CHECKING:
    from gpustats.cuda.outputs import Outputs

__all__ = ["ASPECT_UNIT", "Sizes"]

ASPECT_UNIT = 1 << 32
"""What an aspect ratio of 1 is counted as."""

_SIDE, _BYTES, _ASPECT = 16, 9, 11  # binary digits
_TEXT = 16  # bytes of the name of a format or mode
_NUMBERS = ("width", "height", "shorter", "aspect", "bytes")
_NAMES = ("format", "mode")
_ALL = ("width", "height", "shorter", "aspect", "mode")  # what every image has


class Sizes(Statistic):
    """Counts of sizes. The totals are distributions, see `counted`, and ``bytes_sum``, ``bytes_min``, ``bytes_max``.

    An image that is no file has neither bytes nor a format.
    """

    name = "sizes"
    whole = True
    of_original = True
    outputs = frozenset()
    combine: ClassVar = {
        **dict.fromkeys((*_NUMBERS, *_NAMES), merged),
        "bytes_sum": add,
        "bytes_min": min,
        "bytes_max": max,
    }

    def columns(self) -> Mapping[str, Column]:
        """Return size, bytes (0 where it is no file), format and mode of the image as it came."""
        wide, text = Column("uint64", ()), Column(f"S{_TEXT}", ())
        return {"height": wide, "width": wide, "bytes": wide, "format": text, "mode": text}

    def measure(self, image: Whole) -> tuple[Any, ...]:
        """Return the columns of a row."""
        data, height, width, form, mode = image.source
        return height, width, len(data) if form else 0, form.encode(), mode.encode()

    def of_jpegs(self, files: Jpegs) -> Columns:
        """Return the columns of many files."""
        modes = np.where(files.components == 1, b"L", b"RGB")
        found = (files.heights, files.widths, files.sizes, np.full(len(modes), b"JPEG"), modes)
        columns = self.columns().items()
        return {name: values.astype(column.dtype) for (name, column), values in zip(columns, found, strict=True)}

    def on_gpu(self, outputs: Outputs) -> Columns:
        """Return nothing: the engine measures files where it has them."""
        return {}

    def fold(self, columns: Columns) -> Part:
        """Return the totals of the rows."""
        return self.fold_segments(columns, WHOLE)[0]

    def fold_segments(self, columns: Columns, starts: Sequence[int]) -> list[Part]:
        """Return the totals of each segment of the rows."""
        height, width, size = columns["height"], columns["width"], columns["bytes"]
        files = np.flatnonzero(size)
        of_files = np.searchsorted(files, starts).tolist()
        counts = {
            "width": count(rounded(width, _SIDE), starts),
            "height": count(rounded(height, _SIDE), starts),
            "shorter": count(rounded(np.minimum(width, height), _SIDE), starts),
            "aspect": count(rounded(width * np.uint64(ASPECT_UNIT) // height, _ASPECT), starts),
            "bytes": count(rounded(size[files], _BYTES), of_files),
            "mode": _named(count(columns["mode"], starts)),
            "format": _named(count(columns["format"][files], of_files)),
        }
        exact = size[files].tolist()
        parts: list[Part] = []
        for segment, (start, stop) in enumerate(pairwise([*of_files, len(exact)])):
            found = exact[start:stop]
            parts.append(
                {
                    **{name: of_segments[segment] for name, of_segments in counts.items()},
                    "bytes_sum": sum(found),
                    "bytes_min": min(found, default=None),
                    "bytes_max": max(found, default=None),
                }
            )
        return parts

    def merge(self, a: Part, b: Part) -> Part:
        """Return the totals of two parts together."""
        return {
            name: combine(a[name], b[name]) if None not in (a[name], b[name]) else a[name] or b[name]
            for name, combine in self.combine.items()
        }

    def of_whole_images(self, columns: Columns, channels: Sequence[str]) -> Mapping[str, tuple[NDArray[Any], int]]:
        """Return bytes, format and mode of each image."""
        size = columns["bytes"]
        return {
            "bytes": (np.ma.masked_equal(size, 0), 0),
            "format": (np.ma.masked_equal(columns["format"].astype(str), ""), 0),
            "mode": (np.ma.masked_equal(columns["mode"].astype(str), ""), 0),
        }

    def read(self, data: Any) -> Part:
        """Read the totals from plain containers."""
        if not isinstance(data, dict):
            raise DataError(f"'{self.name}' should be a table of numbers, got {data!r:.80}")
        part: Part = {name: read_counts(data.get(name), name) for name in _NUMBERS}
        part |= {name: read_names(data.get(name), name) for name in _NAMES}
        part["bytes_sum"] = natural(data.get("bytes_sum"), "bytes_sum")
        for name in ("bytes_min", "bytes_max"):
            part[name] = natural(data[name], name) if data.get(name) is not None else None
        if not self.consistent(part):
            raise DataError("the integers contradict one another: the file was changed or damaged")
        return part

    def consistent(self, part: Part) -> bool:
        """Check that the distributions are of as many images."""
        files = total(part["bytes"])
        if (part["bytes_min"] is None) != (files == 0) or (part["bytes_max"] is None) != (files == 0):
            return False
        return (
            len({total(part[name]) for name in _ALL}) == 1
            and total(part["format"]) == files <= total(part["width"])
            and (not files or files * part["bytes_min"] <= part["bytes_sum"] <= files * part["bytes_max"])
        )

    def agrees(self, part: Part, moments: Part) -> bool:
        """Check that there are as many images as were measured."""
        return bool(total(part["width"]) == max(moments["images"]))


def _named(counts: list[Counts]) -> list[Counts]:
    """Return counts of texts from those of ASCII bytes, which have the same order."""
    return [[[name.decode() for name in names], numbers] for names, numbers in counts]
