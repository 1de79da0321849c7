"""Values of an image that do not count: masked values, a value that stands for no data, NaN and infinity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import OptionError
from gpustats.failures import ImageError
from gpustats.wording import named, option

__all__ = ["check_nodata", "check_value_range", "present", "valid_values"]


def check_nodata(nodata: object) -> tuple[float, ...]:
    """Return the option `nodata` as a tuple: empty for none, one number for every channel, or one a channel.

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> check_nodata(None), check_nodata(-9999), check_nodata((0, 0, 0))
    ((), (-9999.0,), (0.0, 0.0, 0.0))
    """
    if nodata is None:
        return ()
    values = tuple(nodata) if isinstance(nodata, tuple | list) else (nodata,)
    numbers = all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in values)
    if not values or not numbers or not all(np.isfinite(value) for value in values):
        hint = "; NaN and infinity are always left out" if numbers and values else ""
        raise OptionError(
            f"{named('nodata')} should be a number, one for each channel of a pixel, or 'tag', got {nodata!r}{hint}"
        )
    return tuple(float(value) for value in values)


def check_value_range(value_range: object) -> float:
    """Return the option `value_range` as a float, 0 for None.

    Raises
    ------
    OptionError
        For anything but a positive number.

    Examples
    --------
    >>> check_value_range(None), check_value_range(4095)
    (0.0, 4095.0)
    """
    if value_range is None:
        return 0.0
    number = isinstance(value_range, int | float | np.number) and not isinstance(value_range, bool)
    if not number or not 0 < float(value_range) < np.inf:  # type: ignore[arg-type]
        raise OptionError(
            f"{named('value_range')} should be the pixel value that is shown as 1.0, such as 4095 for 12 bits, got "
            f"{value_range!r}"
        )
    return float(value_range)  # type: ignore[arg-type]


def present(pixels: NDArray[Any], nodata: tuple[float, ...]) -> NDArray[np.bool_] | None:
    """Return which values of an image count, None where all do.

    Parameters
    ----------
    pixels : ndarray or MaskedArray, shape (H, W, C)
        Masked values do not count.
    nodata : tuple of float
        See `check_nodata`. One number: values that are equal to it do not count. Several: pixels whose channels are
        equal to them, one by one, do not count.

    Raises
    ------
    ImageError
        Where the image has another number of channels, or no pixel of its type can be equal to a number.
    """
    missing = np.ma.getmaskarray(pixels) if isinstance(pixels, np.ma.MaskedArray) else None
    if nodata:
        values = np.ma.getdata(pixels)
        wanted = [_as_stored(value, values.dtype) for value in nodata]
        if len(wanted) == 1:
            equal = values == wanted[0]
        elif len(wanted) == values.shape[2]:
            whole = (values == np.array(wanted, values.dtype)).all(axis=2)
            equal = np.broadcast_to(whole[:, :, None], values.shape)
        else:
            raise ImageError(
                "unsupported", f"{named('nodata')} has {len(wanted)} numbers, and the image {values.shape[2]} channels"
            )
        missing = equal if missing is None else missing | equal
    return None if missing is None or not missing.any() else ~missing


def _as_stored(value: float, dtype: np.dtype[Any]) -> Any:
    """Return a number as a value of a type."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            stored = dtype.type(value)
        if np.isfinite(stored):
            return stored
    elif value.is_integer() and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        return dtype.type(int(value))
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    holds = f"{'numbers' if dtype.kind == 'f' else 'integers'} from {limits.min} to {limits.max}"
    raise ImageError(
        "unsupported", f"{option('nodata', value)} cannot occur among pixels of type {dtype}, which holds {holds}"
    )


def valid_values(values: NDArray[Any], valid: NDArray[np.bool_], whole_pixels: bool) -> list[NDArray[Any]]:
    """Return the values that count: an array for each channel, or one with the channels interleaved.

    Parameters
    ----------
    values : ndarray, shape (H, W, C)
        The image.
    valid : ndarray of bool, shape (H, W, C)
        Which of them count.
    whole_pixels : bool
        Whether the channels of a pixel are needed together.

    Raises
    ------
    ImageError
        Where a channel has no value that counts, or where whole pixels are needed and only some channels of one count.
    """
    if not valid.any(axis=(0, 1)).all():
        raise ImageError("unsupported", "a channel has no valid pixel: all are masked, nodata, NaN or infinite")
    whole = np.asarray(valid.all(axis=2))
    if whole_pixels:
        if not np.array_equal(whole, valid.any(axis=2)):
            raise ImageError("unsupported", "a covariance needs pixels that are valid in all channels or in none")
        return [values[whole].reshape(-1)]
    return [values[:, :, channel][valid[:, :, channel]] for channel in range(values.shape[2])]
