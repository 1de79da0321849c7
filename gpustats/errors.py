"""Errors that gpustats raises on purpose; each message says what was given, what is wrong and what to do.

More of those that carry a result are in `gpustats.run`.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "DataError",
    "DeviceError",
    "DeviceLost",
    "GpustatsError",
    "ImagesFailedWarning",
    "MergeError",
    "OptionError",
    "first_line",
]


class GpustatsError(Exception):
    """Base of every error that gpustats raises on purpose."""


class DataError(GpustatsError, ValueError):
    """The data given cannot be read as a whole: a missing path, a folder without images, a broken result file.

    Also raised for the first image that fails under ``on_error="raise"``.
    """


class OptionError(GpustatsError, ValueError):
    """An option has a value that is not supported."""


class DeviceError(GpustatsError, RuntimeError):
    """The device asked for cannot be used: a missing package, driver or GPU."""


class DeviceLost(DeviceError):
    """The GPU that was asked for stopped working during the run.

    Attributes
    ----------
    partial : Stats
        The statistics of the images read by then, with ``complete=False``.
    """

    partial: Any = None


class MergeError(GpustatsError, ValueError):
    """Two results that do not measure the same thing were added."""


class ImagesFailedWarning(UserWarning):
    """A run is finished, but some images could not be read and do not count."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that is not empty, the name of its type where there is none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
