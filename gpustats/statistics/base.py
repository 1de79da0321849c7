"""The contract of a statistic: columns of a row, how pixels fill them, how columns become totals, what totals mean."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.failures import ImageError
from gpustats.saved import finite, natural, whole
from gpustats.statistics.binning import Binning
from gpustats.statistics.original import Jpegs, Whole

if TYPE_CHECKING:
    from gpustats.cuda.outputs import Outputs

__all__ = ["Column", "Columns", "Given", "Kind", "Number", "Part", "Statistic", "View", "over"]

Columns: TypeAlias = "Mapping[str, NDArray[Any]]"
"""Columns of rows by name, each of shape (N, ...)."""

Part: TypeAlias = "dict[str, Any]"
"""Totals of one statistic: names, and nested lists of Python integers (or floats where sums are not exact)."""

View: TypeAlias = "Mapping[str, Any]"
"""A part in the form that the catalogue of numbers reads; see `Statistic.view`."""

_USUAL = {"uint8": 255, "uint16": 65535}
"""What is shown as 1.0 where nobody says otherwise; values of other types are taken as they are."""

_INTEGERS = ("uint8", "uint16", "uint32", "int8", "int16", "int32")


@dataclass(frozen=True, slots=True)
class Kind:
    """What the pixels of an image are. Images of different kinds are never pooled.

    Attributes
    ----------
    channels : int
        Channels an image has.
    dtype : {"uint8", "uint16", "uint32", "int8", "int16", "int32", "float64"}
        What pixels are measured as.
    value_range : float or None
        The value that is shown as 1.0, where it is not the usual one: what the user or the file says.

    Examples
    --------
    >>> Kind(1, "uint16").max_value, Kind(1, "uint16", 4095).max_value, Kind(1, "int16").max_value
    (65535, 4095, 0)
    >>> Kind(3, "uint8").name, Kind(1, "uint16", 4095).name
    ('uint8 x 3', 'uint16 x 1 to 4095')
    """

    channels: int
    dtype: str
    value_range: float | None = None

    def __post_init__(self) -> None:
        if type(self.channels) is not int or self.channels < 1 or self.dtype not in (*_INTEGERS, "float64"):
            raise DataError(f"no kind of image has {self.channels!r:.80} channels of {self.dtype!r:.80}")
        value = self.value_range
        if value is None:
            return
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise DataError(f"no kind of image has 1.0 at {value!r:.80}")
        number = int(value) if value == int(value) else value
        object.__setattr__(self, "value_range", None if number == _USUAL.get(self.dtype) else number)

    @property
    def max_value(self) -> float:
        """The value that is shown as 1.0; 0 where values are taken as they are."""
        return self.value_range or _USUAL.get(self.dtype, 0)

    @property
    def as_is(self) -> bool:
        """Whether values are taken as they are, so that their scale is not known."""
        return not self.max_value

    @property
    def is_float(self) -> bool:
        """Whether pixels are floating-point numbers."""
        return self.dtype == "float64"

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest integer of the type."""
        limits = np.iinfo(self.dtype)
        return int(limits.min), int(limits.max)

    @property
    def ends(self) -> tuple[int, int]:
        """The smallest integer, and the largest that is shown as at most 1.0: where values are clipped."""
        low, high = self.limits
        return low, min(high, int(self.max_value)) if self.max_value else high

    @property
    def offset(self) -> int:
        """What is added to signed integers for the kernels, which take unsigned ones; 0 for all others."""
        return 0 if self.is_float else -self.limits[0]

    @property
    def described(self) -> tuple[Any, ...]:
        """The arguments that make the kind again."""
        return (self.channels, self.dtype) + (() if self.value_range is None else (self.value_range,))

    @property
    def name(self) -> str:
        """A short name that no other kind has: the type, the channels, and what is 1.0 where that is not the usual."""
        return f"{self.dtype} x {self.channels}" + ("" if self.value_range is None else f" to {self.value_range!r}")

    def __str__(self) -> str:
        channels = f"{self.channels} channel{'' if self.channels == 1 else 's'}"
        values = "floats" if self.is_float else f"{np.iinfo(self.dtype).bits} {'signed ' * bool(self.offset)}bits"
        said = "" if self.value_range is None else f", where 1.0 is {self.value_range:.15g}"
        return f"{channels} of {values}{said}"


class Given(NamedTuple):
    """How a statistic is made from another one that is measured anyway.

    Attributes
    ----------
    name : str
        Of the other statistic, which is filled before: one of pixels, or one that stands before it in the table.
    derive : callable
        Fills the rows of a batch, right after decoding costs more than the work: ``derive(first, stop, *columns of the
        other, *own columns)``.
    kernel : callable or None
        Fills what is not derived, from the pixels; None where nothing is left.
    """

    name: str
    derive: Any
    kernel: Any = None


class Column(NamedTuple):
    """What a row holds under one name: a dtype, and a shape for each image.

    Of the dtype "object" are bytes, of any length.
    """

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Number:
    """A derived number. Attributes, tables, JSON and documentation all read it from here.

    Attributes
    ----------
    name : str
        The attribute of a result, with a dot below a namespace: ``std``, ``per_image.std``.
    value : callable
        Takes the view of a part and returns nested lists of `Fraction`, int or float, one entry a channel, or what
        `shape` says, in units of pixel values; or the array itself, where it is long and has no units.
    says : str
        One line for tables.
    formula : str
        The definition, for the documentation.
    used_by : str
        Who uses it, for the documentation.
    power : int
        How it scales with the pixel values: 1 for a mean, 2 for a variance, 0 for a count.
    root : bool
        Whether the square root of `value` is taken.
    shape : tuple of str
        ``("C",)`` for a number a channel, ``()`` for one of the whole image; a length in digits, or a name for one that
        differs between results.
    dtype : str
        Of the array.
    in_table : bool
        Whether tables show it, as a row with a value for each channel.
    in_json : bool
        Whether a saved result holds it in addition to the totals that it is derived from.
    """

    name: str
    value: Callable[[View], Any]
    says: str
    formula: str
    used_by: str = ""
    power: int = 1
    root: bool = False
    shape: tuple[str, ...] = ("C",)
    dtype: str = "float64"
    in_table: bool = True
    in_json: bool = True

    def evaluate(self, view: View, unit: Fraction) -> NDArray[Any]:
        """Return the number as an array.

        Parameters
        ----------
        view : mapping
            What `Statistic.view` returned.
        unit : Fraction
            What a pixel value of 1 is shown as.
        """
        exact = unit**self.power
        rounded = float(unit) ** (self.power / (1 + self.root))

        found = self.value(view)
        if isinstance(found, np.ndarray):  # counts
            return found

        def one(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return [one(part) for part in value]
            if isinstance(value, float):
                return (math.sqrt(value) if self.root else value) * rounded
            if not self.power:
                return value if isinstance(value, int) else float(value)
            # Rounded once, and once more by a square root.
            number = float(value * exact)
            return math.sqrt(number) if self.root else number

        return np.array(one(found), dtype=self.dtype)


class Statistic:
    """What is measured of every image. A subclass is one file, and one line in `gpustats.statistics`.

    Parameters
    ----------
    kind : Kind
        Of the images; `problem` has no objection to it.
    binning : Binning, optional
        The bins that a user asked for, where images are to be measured.

    Attributes
    ----------
    name : str
        What users ask for, and the prefix of the columns.
    exact : bool
        Whether totals are integers, so that they do not depend on order.
    combine : mapping of str to callable
        The names of a part, and how two values of a name become one: ``operator.add``, ``min``, ``max``.
    counts : frozenset of str
        The names in `combine` that count something: integers from 0, also where values are floats or negative.
    later : frozenset of str
        The names in `combine` that results saved by earlier versions do not have: None in these, and in what is pooled
        with them.
    numbers : tuple of Number
        What is derived from a part.
    whole_pixels : bool
        Whether a kernel needs the channels of a pixel together. Others are given planes one by one where images lie in
        memory so.
    whole : bool
        Whether `measure` makes a row of an image as a whole, where it has a shape, neighbours and a file, and not
        `kernel` from its values.
    of_original : bool
        Whether `measure` reads nothing but the image as it came (`Whole.source`): its file, before it was resized.
    outputs : frozenset of str or None
        What the CUDA kernels have to compute beside sums and extremes: ``"histogram"``, ``"cross"``. None where there
        is no CUDA kernel.
    """

    name: ClassVar[str]
    exact: ClassVar[bool] = True
    combine: ClassVar[Mapping[str, Callable[[Any, Any], Any]]]
    counts: ClassVar[frozenset[str]] = frozenset()
    later: ClassVar[frozenset[str]] = frozenset()
    numbers: ClassVar[tuple[Number, ...]] = ()
    whole_pixels: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    of_original: ClassVar[bool] = False
    outputs: ClassVar[frozenset[str] | None] = None

    def __init__(self, kind: Kind, binning: Binning | None = None) -> None:
        self.kind = kind
        self.binning = binning

    @property
    def most_pixels(self) -> int:
        """The largest image, larger ones fail as ``too_large``; by default one whose sums of squares take 64 bits."""
        return 1 << 48 if self.kind.dtype in ("uint8", "int8") else 1 << 32

    @classmethod
    def problem(cls, kind: Kind) -> str | None:
        """Return why images of this kind cannot have the statistic; None where they can."""
        return None

    @classmethod
    def order_problem(cls, color_order: str) -> str | None:
        """Return why images whose channels have another order than RGB cannot have it; None where they can."""
        return None

    def columns(self) -> Mapping[str, Column]:
        """Return what a row holds, in the order of the arguments of the kernel."""
        raise NotImplementedError

    def kernel(self) -> Any:
        """Return the function that fills a row on the CPU.

        It is called as ``kernel(pixels, channels, row, first, *columns)``: a contiguous array of pixel values with
        `channels` interleaved channels, the row to fill, the channel of the image that the first of these is, and the
        columns, each of shape (N, ...).

        Raises
        ------
        DataError
            Where options do not fit images of this kind, or are missing.
        """
        raise NotImplementedError

    def given(self, names: tuple[str, ...]) -> Given | None:
        """Return how it is made from another of these statistics on the CPU; None where it takes its own kernel."""
        return None

    def measure(self, image: Whole) -> tuple[Any, ...]:
        """Return the columns of a row from an image as a whole; see `whole`."""
        raise NotImplementedError

    def of_jpegs(self, files: Jpegs) -> Columns:
        """Return the columns of many JPEG files, as `measure` would give them one by one; see `of_original`."""
        raise NotImplementedError

    def on_gpu(self, outputs: Outputs) -> Columns:
        """Return the columns of a batch from what the CUDA kernels computed; none of what they added up themselves."""
        raise NotImplementedError

    def of_pooled(self, bins: NDArray[np.int64]) -> Part:
        """Return the totals of a batch from bins that the CUDA kernels added up, shape (C, 256)."""
        raise NotImplementedError

    def row_problem(self, columns: Columns, row: int) -> ImageError | None:
        """Return why an image cannot be measured, now that its row is filled; None where all is well."""
        return None

    def fold(self, columns: Columns) -> Part:
        """Return the totals of the rows of a batch."""
        raise NotImplementedError

    def fold_segments(self, columns: Columns, starts: Sequence[int]) -> list[Part]:
        """Return the totals of each segment of the rows; a segment ends where the next one starts, the first is at 0.

        By default each is folded alone. Where many groups are asked for, all at once is several times as fast.
        """
        length = len(next(iter(columns.values())))
        return [
            self.fold({name: column[start:stop] for name, column in columns.items()})
            for start, stop in zip(starts, [*starts[1:], length], strict=True)
        ]

    def merge(self, a: Part, b: Part) -> Part:
        """Return the totals of two parts together; both stay as they are."""
        return {name: _combined(combine, a[name], b[name]) for name, combine in self.combine.items()}

    def of_images(self, columns: Columns) -> Mapping[str, tuple[NDArray[Any], int]]:
        """Return what the table of images says of each row: by name, an array (N, C), and how it scales with values.

        In units of pixel values; the second is the power of the unit, as in `Number`.
        """
        return {}

    def of_whole_images(self, columns: Columns, channels: Sequence[str]) -> Mapping[str, tuple[NDArray[Any], int]]:
        """Return what the table says of all channels of a row together: by name, an array (N,), and how it scales.

        Numbers or texts; what is masked is null. `channels` are the names of the channels.
        """
        return {}

    def view(self, part: Part) -> View:
        """Return a part as `numbers` read it."""
        return part

    def facts(self, part: Part, unit: Fraction) -> list[str]:
        """Return lines about a part that stand above a table of numbers; a pixel value of 1 is shown as `unit`."""
        return []

    def plain(self, part: Part) -> Part:
        """Return a copy of a part in plain containers of integers, floats and texts, which `read` takes."""
        return {name: copy.deepcopy(value) for name, value in part.items() if value is not None}

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a total."""
        return (self.kind.channels,)

    def read(self, data: Any) -> Part:
        """Read a part from plain containers.

        Raises
        ------
        DataError
            Where a number is missing, is of another type or number, or contradicts another.
        """
        if not isinstance(data, dict):
            raise DataError(f"'{self.name}' should be a table of numbers, got {data!r:.80}")
        part: Part = {}
        for name in self.combine:
            if name in self.later and name not in data:
                part[name] = None
                continue
            check = self._check(name)
            part[name] = _numbers(data.get(name), self.shape(name), check, name)
        if not self.consistent(part):
            what = "integers" if self.exact else "moments"
            raise DataError(f"the {what} contradict one another: the file was changed or damaged")
        return part

    def _check(self, name: str) -> Callable[[Any, str], Any]:
        """Return what checks a number of a total."""
        if name in self.counts:
            return natural
        if not self.exact:
            return finite
        return whole if self.kind.offset else natural

    def consistent(self, part: Part) -> bool:
        """Return whether the numbers of a part can be true together."""
        return True

    def agrees(self, part: Part, moments: Part) -> bool:
        """Return whether a part can be of the same pixels as these moments, which every result has."""
        return True


def over(numerator: Any, denominator: int) -> Any:
    """Return a quotient, exact for integers and fractions; NaN where there is nothing to divide by."""
    if not denominator:
        return math.nan
    return numerator / denominator if isinstance(numerator, float) else Fraction(numerator) / denominator


def _numbers(value: Any, shape: tuple[int, ...], check: Callable[[Any, str], Any], name: str) -> Any:
    if not shape:
        return check(value, name)
    if not isinstance(value, list) or len(value) != shape[0]:
        raise DataError(f"'{name}' should hold {shape[0]} numbers, got {value!r:.80}")
    return [_numbers(item, shape[1:], check, name) for item in value]


def _combined(combine: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    if a is None or b is None:
        return None
    return [_combined(combine, x, y) for x, y in zip(a, b, strict=True)] if isinstance(a, list) else combine(a, b)
