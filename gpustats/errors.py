"""Errors that gpustats raises on purpose; each message says what was given, what is wrong and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpustats.stats import Stats

__all__ = [
    "DataError",
    "DeviceError",
    "GpustatsError",
    "ImagesFailedWarning",
    "Interrupted",
    "MergeError",
    "TooManyFailures",
]


class GpustatsError(Exception):
    """Base of every error that gpustats raises on purpose."""


class DataError(GpustatsError, ValueError):
    """The data given cannot be read as a whole: a missing path, a folder without images, a broken result file.

    Also raised for the first image that fails under ``on_error="raise"``.
    """


class DeviceError(GpustatsError, RuntimeError):
    """The device asked for cannot be used: a missing package, driver or GPU."""


class MergeError(GpustatsError, ValueError):
    """Two results that do not measure the same thing were added."""


class TooManyFailures(GpustatsError, RuntimeError):
    """More images failed than ``max_failures`` allows.

    Attributes
    ----------
    partial : Stats
        What had been read by then, with ``complete=False``.
    """

    def __init__(self, message: str, partial: Stats) -> None:
        super().__init__(message)
        self.partial = partial


class Interrupted(KeyboardInterrupt):
    """The run was stopped by Ctrl-C; what had been read is kept.

    Attributes
    ----------
    partial : Stats
        The statistics of the images read by then, with ``complete=False``.
    """

    def __init__(self, partial: Stats) -> None:
        super().__init__("interrupted; the partial result is in .partial")
        self.partial = partial


class ImagesFailedWarning(UserWarning):
    """A run is finished, but some images could not be read and do not count."""
