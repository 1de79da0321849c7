"""How large the images of a result are: distributions, and what to resize them to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gpustats.errors import OptionError
from gpustats.statistics import distribution
from gpustats.statistics.base import Part
from gpustats.statistics.counted import Counts
from gpustats.statistics.sizes import ASPECT_UNIT
from gpustats.wording import bytes_of

__all__ = ["Distribution", "Sizes"]

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Distribution:
    """How often each value occurs. Print it.

    Attributes
    ----------
    values : list
        The values that occur, ascending.
    counts : list of int
        How many images have each.
    """

    def __init__(self, counts: Counts, unit: int = 1) -> None:
        self.values = [value / unit for value in counts[0]] if unit != 1 else list(counts[0])
        self.counts = list(counts[1])

    def quantile(self, q: float) -> Any:
        """Return the smallest value that a share `q` of the images does not exceed; NumPy's ``inverted_cdf``.

        Raises
        ------
        ValueError
            Where `q` is not from 0 to 1, or there is no image.
        """
        if not self.values:
            raise ValueError("there is no value to take a quantile of")
        share = distribution.check_quantile(q, "inverted_cdf")
        return distribution.quantiles(distribution.Counts(self.values, self.counts), [share], "inverted_cdf")[0]

    @property
    def min(self) -> Any:
        """The smallest value."""
        return self.quantile(0)

    @property
    def median(self) -> Any:
        """The middle value, the smaller of two."""
        return self.quantile(0.5)

    @property
    def max(self) -> Any:
        """The largest value."""
        return self.quantile(1)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        if not self.values:
            return "no values"
        return f"{_shown(self.min)} to {_shown(self.max)}, median {_shown(self.median)}"

    def to_dict(self) -> dict[str, Any]:
        """Return smallest and largest value and some quantiles; empty where there is no image."""
        if not self.values:
            return {}
        quantiles = {f"q{100 * q:02.0f}": self.quantile(q) for q in _QUANTILES}
        return {"min": self.min, **quantiles, "max": self.max}


class Resize(NamedTuple):
    """A length of the shorter side, and the share of the images that it would enlarge."""

    size: int
    enlarged: float


class Sizes:
    """Sizes of the images as they came, before they were resized or cropped. Print it.

    Attributes
    ----------
    width, height, shorter : Distribution
        Pixels; ``shorter`` is the shorter side. Exact up to 65,535, and to 0.001% above.
    aspect : Distribution
        Width divided by height, to 0.03%.
    bytes : Distribution
        Of the files, to 0.2%; empty where the images are no files.
    bytes_total, bytes_min, bytes_max : int
        Bytes of all files, of the smallest and of the largest, exactly; 0 where there are none.
    formats, modes : dict of str to int
        How many files are JPEG, PNG and so on, by their first bytes, and how many images store which channels, as
        Pillow calls them (``"P"`` is a palette); ``"?"`` where it is not known. The most frequent first.
    """

    def __init__(self, part: Part) -> None:
        self.width, self.height, self.shorter, self.bytes = (
            Distribution(part[name]) for name in ("width", "height", "shorter", "bytes")
        )
        self.aspect = Distribution(part["aspect"], ASPECT_UNIT)
        self.bytes_total = part["bytes_sum"]
        self.bytes_min, self.bytes_max = part["bytes_min"] or 0, part["bytes_max"] or 0
        self.formats, self.modes = _named(part["format"]), _named(part["mode"])

    def resize(self, share: float = 0.9, multiple: int = 32) -> Resize:
        """Return what to resize the shorter side to for training: the largest size that does not enlarge most images.

        It is the largest multiple of `multiple` that is not above the shorter side of at least a share `share` of the
        images; where that is less than `multiple`, the length itself. Networks halve the sides up to five times, which
        needs multiples of 32 (YOLO's rule: https://docs.ultralytics.com/modes/train/, ``imgsz``). To enlarge an image
        costs time and adds nothing.

        Parameters
        ----------
        share : float
            Of the images that are not enlarged.
        multiple : int
            What the length is a multiple of.

        Returns
        -------
        Resize
            ``size``, and the share of the images that are ``enlarged`` by it.

        Raises
        ------
        OptionError
            Where `share` is not from 0 to 1, or `multiple` is no integer from 1.
        """
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise OptionError(f"share should be a number from 0 to 1, got {share!r}")
        if isinstance(multiple, bool) or not isinstance(multiple, int) or multiple < 1:
            raise OptionError(f"multiple should be an integer from 1, got {multiple!r}")
        images = sum(self.shorter.counts)
        enlarged, size = 0, 0
        for value, count in zip(self.shorter.values, self.shorter.counts, strict=True):
            size = value
            if images - enlarged - count < share * images:
                break
            enlarged += count
        size = size - size % multiple if size >= multiple else size
        below = sum(n for value, n in zip(self.shorter.values, self.shorter.counts, strict=True) if value < size)
        return Resize(int(size), below / images if images else 0.0)

    def facts(self) -> list[str]:
        """Return what a table says of the sizes, a line each."""
        if not self.width.values:
            return []
        size, enlarged = self.resize()
        lines = []
        for name, values in (("width", self.width), ("height", self.height), ("width / height", self.aspect)):
            low, high = (_shown(values.quantile(q)) for q in (0.05, 0.95))
            lines.append(f"{name}: {values!r}; 5% to 95%: {low} to {high}")
        if self.bytes_total:
            low, middle, high, whole = map(
                bytes_of, (self.bytes_min, self.bytes.median, self.bytes_max, self.bytes_total)
            )
            lines.append(f"files: {low} to {high}, median {middle}, {whole} together; {_listed(self.formats)}")
        lines.append(f"stored as {_listed(self.modes)}")
        lines.append(f"suggested resize of the shorter side: {size} (enlarges {enlarged:.1%} of the images)")
        return lines

    def __repr__(self) -> str:
        return "\n".join(["gpustats.Sizes", *(f"  {fact}" for fact in self.facts())])

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers in plain containers."""
        names = ("width", "height", "shorter", "aspect", "bytes")
        return {
            **{name: getattr(self, name).to_dict() for name in names},
            **{name: getattr(self, name) for name in ("bytes_total", "bytes_min", "bytes_max", "formats", "modes")},
            "resize": self.resize()._asdict(),
        }


def _shown(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _named(counts: Counts) -> dict[str, int]:
    pairs = sorted(zip(*counts, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return {name or "?": n for name, n in pairs}


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in counts.items())
