"""From the pixels of images to rows, for any statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.failures import ImageError
from gpustats.statistics import for_kind
from gpustats.statistics.base import Kind, Statistic
from gpustats.statistics.binning import Binning
from gpustats.statistics.compiled import at_first, ready
from gpustats.statistics.missing import present, valid_values
from gpustats.statistics.original import Original, Whole
from gpustats.statistics.rows import NO_ROWS, Rows, mixture
from gpustats.wording import option

__all__ = ["RowBuilder", "RowBuilders"]

_UINT8 = np.dtype(np.uint8)
_MEASURED = {
    **{name: name for name in ("uint8", "uint16", "uint32", "int8", "int16", "int32")},
    **{"uint64": "uint32", "int64": "int32"},  # where the values fit
    **dict.fromkeys(("float16", "float32", "float64"), "float64"),
}
"""What pixels of a type are measured as."""

_OF_ONE_KIND = 8
"""Images that there is room for at a time where kinds are separate: a batch may hold as many kinds as images."""


class RowBuilder:
    """Reduces the images of one batch to rows. All must be of one kind.

    Parameters
    ----------
    count : int
        Images at most.
    statistics : tuple of str
        What to measure.
    nodata : tuple of float
        Values that do not count, see `gpustats.statistics.missing.present`.
    value_range : float
        The value that is shown as 1.0, 0 for what the image says, or else the usual one.
    binning : Binning, optional
        Bins for the histogram of floats.
    """

    def __init__(
        self,
        count: int,
        statistics: tuple[str, ...],
        nodata: tuple[float, ...] = (),
        value_range: float = 0,
        binning: Binning | None = None,
    ) -> None:
        self._count = count
        self._names = statistics
        self._nodata = nodata
        self._binning = binning
        self._value_range = value_range
        self._keys: list[str] = []
        self._groups: list[str] = []
        self._size = np.empty((2, count), np.uint64)
        self._kind: Kind | None = None
        self._own: list[dict[str, NDArray[Any]]] = []  # columns of each statistic
        self._calls: list[tuple[Any, bool, tuple[NDArray[Any], ...]]] = []  # kernel, whole pixels, columns
        self._derived: list[tuple[Any, tuple[NDArray[Any], ...]]] = []  # from columns of others to columns
        # Those that measure whole images, with what they found, in Python: that is cheap right after a decoder.
        self._whole: list[tuple[Statistic, dict[str, NDArray[Any]], list[tuple[Any, ...]]]] = []
        self._like: tuple[int] | None = None  # channels of 8-bit images, once there is one
        self._most_values = 0  # in one of these that no statistic finds too large

    def add(
        self,
        key: str,
        group: str,
        pixels: NDArray[Any],
        value_range: float = 0,
        original: Original | None = None,
    ) -> None:
        """Measure one image.

        Parameters
        ----------
        key, group : str
            Its name and group.
        pixels : ndarray of integers or floats, shape (H, W) or (H, W, C)
            Of any strides and byte order. Masked values, NaN and infinity are left out.
        value_range : float
            The value that the image itself says to be 1.0; 0 where it says none.
        original : Original, optional
            What the image is, for statistics that want to know; by default its pixels.

        Raises
        ------
        ImageError
            Where a channel has no valid value, or values of this type cannot be measured.
        DataError
            Where the image is of another kind than one before it, or a statistic cannot be had of its kind.
        """
        row = len(self._keys)
        if (
            pixels.shape[2:] == self._like
            and pixels.dtype is _UINT8
            and type(pixels) is np.ndarray  # not a masked array
            and pixels.size <= self._most_values
            and pixels.flags.c_contiguous
            and not value_range
        ):
            # What decoders give, thousands of times a second: nothing is left to check.
            flat, channels = pixels.reshape(-1), pixels.shape[2]
            for kernel, _, columns in self._calls:
                kernel(flat, channels, row, 0, *columns)
            if self._whole:
                self._look(row, Whole(pixels, None, original))
        else:
            self._measure(key, row, pixels[:, :, None] if pixels.ndim == 2 else pixels, value_range, original)
        self._size[0, row], self._size[1, row] = pixels.shape[:2]
        self._keys.append(key)
        self._groups.append(group)

    def kind_of(self, pixels: NDArray[Any], value_range: float = 0) -> Kind:
        """Return what an image is measured as.

        Raises
        ------
        ImageError
            Where it cannot be measured.
        """
        channels = pixels.shape[2] if pixels.ndim > 2 else 1
        kind = Kind(channels, _measured_as(pixels), self._value_range or value_range or None)
        _check_range(kind)
        return kind

    def _measure(self, key: str, row: int, pixels: NDArray[Any], value_range: float, original: Original | None) -> None:
        """Check an image, and fill its row."""
        height, width, _ = pixels.shape
        kind = self.kind_of(pixels, value_range)
        if row == 0:
            if kind != self._kind:
                self._allocate(kind)
        elif kind != self._kind:
            raise DataError(mixture((self._kind, self._keys[0]), (kind, key)))
        statistics = for_kind(self._names, kind, self._binning)
        for statistic in statistics:
            if height * width > statistic.most_pixels:
                limit = f"images of more than {statistic.most_pixels:,} pixels are not measured ({statistic.name})"
                raise ImageError("too_large", limit)
        valid = present(pixels, self._nodata)
        values = _for_kernels(np.ma.getdata(pixels), kind)
        if valid is None:
            self._fill(row, values)
            if kind.is_float and self._problem(statistics, row):
                finite = np.isfinite(values)
                valid = None if finite.all() else finite
        elif kind.is_float:
            valid &= np.isfinite(values)
        if valid is not None:
            self._fill_valid(row, values, valid)
        self._derive(row, row + 1)
        self._look(row, Whole(values, valid, original))
        if problem := self._problem(statistics, row):
            raise problem

    def _derive(self, first: int, stop: int) -> None:
        """Fill of rows what is made from other columns."""
        for derive, both in self._derived:
            derive(first, stop, *both)

    def _look(self, row: int, image: Whole) -> None:
        """Measure an image as a whole."""
        for statistic, _, rows in self._whole:
            rows[row:] = [statistic.measure(image)]

    def _problem(self, statistics: Sequence[Statistic], row: int) -> ImageError | None:
        """Return what a statistic finds wrong with a row."""
        found = (statistic.row_problem(own, row) for statistic, own in zip(statistics, self._own, strict=True))
        return next(filter(None, found), None)

    def _fill(self, row: int, pixels: NDArray[Any]) -> None:
        """Fill a row from all values of an image."""
        channels = pixels.shape[2]
        planes, interleaved = _planes(pixels)
        whole = planes[0] if interleaved else None
        for kernel, whole_pixels, columns in self._calls:
            if whole is None and whole_pixels:
                whole = np.ascontiguousarray(pixels).reshape(-1)
            if whole is not None and (interleaved or whole_pixels):
                kernel(whole, channels, row, 0, *columns)
            else:
                for channel, plane in enumerate(planes):
                    kernel(plane, 1, row, channel, *columns)

    def _fill_valid(self, row: int, values: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Fill a row from the valid values of an image."""
        for kernel, whole_pixels, columns in self._calls:
            parts = valid_values(values, valid, whole_pixels)
            for channel, part in enumerate(parts):
                kernel(part, values.shape[2] // len(parts), row, channel, *columns)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another image."""
        return len(self._keys) == self._count

    def rows(self) -> Rows:
        """Return the rows of the images added so far."""
        done = len(self._keys)
        if not done:
            return NO_ROWS
        self._derive(0, done)
        for _, own, found in self._whole:
            for column, values in zip(own.values(), zip(*found[:done], strict=True), strict=True):
                column[:done] = np.array(values, column.dtype)
        columns = {
            f"{statistic}.{name}": column[:done]
            for statistic, own in zip(self._names, self._own, strict=True)
            for name, column in own.items()
        }
        return Rows(self._kind, self._keys, self._groups, self._size[0, :done], self._size[1, :done], columns)

    def parts(self) -> list[Rows]:
        """Return the same as `rows`, as `RowBuilders.parts` does."""
        return [self.rows()]

    def _allocate(self, kind: Kind) -> None:
        statistics = for_kind(self._names, kind, self._binning)
        self._kind = kind
        self._own = [
            {name: np.empty((self._count, *column.shape), column.dtype) for name, column in s.columns().items()}
            for s in statistics
        ]
        columns = {s.name: tuple(own.values()) for s, own in zip(statistics, self._own, strict=True)}
        self._calls, self._derived = [], []
        for statistic in statistics:
            own = columns[statistic.name]
            if (given := statistic.given(self._names)) is not None:
                self._derived.append((ready(given.derive), (*columns[given.name], *own)))
                if given.kernel is not None:
                    self._calls.append((at_first(given.kernel), statistic.whole_pixels, own))
            elif not statistic.whole:
                self._calls.append((at_first(statistic.kernel()), statistic.whole_pixels, own))
        self._whole = [(s, own, []) for s, own in zip(statistics, self._own, strict=True) if s.whole]
        if kind == Kind(kind.channels, "uint8") and not self._nodata:
            self._like = (kind.channels,)
            self._most_values = min(statistic.most_pixels for statistic in statistics)


class RowBuilders:
    """Reduces images of any kinds to rows of each.

    Parameters
    ----------
    make : callable
        Makes a `RowBuilder` for so many images.
    """

    def __init__(self, make: Callable[[int], RowBuilder]) -> None:
        self._make = make
        self._like = make(0)
        self._of: dict[Kind, RowBuilder] = {}
        self._done: list[Rows] = []

    def add(
        self, key: str, group: str, pixels: NDArray[Any], value_range: float = 0, original: Original | None = None
    ) -> None:
        """Measure one image, see `RowBuilder.add`."""
        kind = self._like.kind_of(pixels, value_range)
        builder = self._of.get(kind)
        if builder is None:
            builder = self._of[kind] = self._make(_OF_ONE_KIND)
        builder.add(key, group, pixels, value_range, original)
        if builder.is_full:
            self._done.append(self._of.pop(kind).rows())

    def parts(self) -> list[Rows]:
        """Return the rows of the images added so far, those of one kind together."""
        parts: dict[Kind | None, list[Rows]] = {}
        for rows in (*self._done, *(builder.rows() for builder in self._of.values())):
            parts.setdefault(rows.kind, []).append(rows)
        return [Rows.joined(of_kind) for kind, of_kind in parts.items() if kind is not None]


def _planes(pixels: NDArray[Any]) -> tuple[Sequence[NDArray[Any]], bool]:
    """Return contiguous flat arrays and whether they are one with interleaved channels or one a channel."""
    if not pixels.flags.c_contiguous:
        planar = pixels.transpose(2, 0, 1)  # CHW in memory is reduced channel by channel, without a copy
        if planar.flags.c_contiguous:
            return [plane.reshape(-1) for plane in planar], False
    return [np.ascontiguousarray(pixels).reshape(-1)], True


def _measured_as(pixels: NDArray[Any]) -> str:
    """Return the type that an image is measured as."""
    measured = _MEASURED.get(pixels.dtype.newbyteorder("=").name)
    if measured is None:
        raise ImageError("unsupported", _type_advice(pixels.dtype))
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize == 8:
        limits, low, high = np.iinfo(measured), pixels.min(), pixels.max()
        if low < limits.min or high > limits.max:  # a masked value where nothing counts
            raise ImageError(
                "unsupported",
                f"pixels of type {pixels.dtype} are measured where they fit into {measured}, and these are "
                f"from {low} to {high}",
            )
    return measured


def _check_range(kind: Kind) -> None:
    """Raise `ImageError` where no pixel can have the value that is said to be 1.0: it is that of another type."""
    if kind.value_range is not None and not kind.is_float and kind.value_range > kind.limits[1] + 1:
        raise ImageError(
            "unsupported",
            f"{option('value_range', kind.value_range)} is for other images: these are of type {kind.dtype}, with "
            f"values up to {kind.limits[1]}",
        )


def _for_kernels(values: NDArray[Any], kind: Kind) -> NDArray[Any]:
    """Return values as kernels take them: of unsigned integers, float32 or float64; themselves where they are that."""
    if kind.is_float:
        return values.astype(np.float64 if values.dtype.itemsize == 8 else np.float32, copy=False)
    values = values.astype(kind.dtype, copy=False)
    if not kind.offset:
        return values
    unsigned = np.dtype(f"u{kind.dtype}")
    # To add half of all values is to flip the first bit.
    shifted: NDArray[Any] = values.view(unsigned) ^ np.array(kind.offset, unsigned)
    return shifted


def _type_advice(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "b":
        return "pixels of type bool are masks, not images; convert them first, for example with .astype('uint8') * 255"
    return f"pixels of type {dtype} are not measured; convert them to integers of at most 32 bits or to a float type"
