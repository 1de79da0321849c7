"""Exact per-channel statistics of image datasets, as fast as the machine can decode the images.

>>> import gpustats
>>> stats = gpustats.compute("photos/")  # doctest: +SKIP
>>> stats.mean, stats.std                # doctest: +SKIP
"""

from gpustats.accumulator import Accumulator
from gpustats.api import compute
from gpustats.errors import (
    DataError,
    DeviceError,
    DeviceLost,
    GpustatsError,
    ImagesFailedWarning,
    MergeError,
    OptionError,
)
from gpustats.failures import Failure
from gpustats.result.stats import Stats, merge
from gpustats.run import AllImagesFailed, Interrupted, TooManyFailures
from gpustats.version import __version__

__all__ = [
    "Accumulator",
    "AllImagesFailed",
    "DataError",
    "DeviceError",
    "DeviceLost",
    "Failure",
    "GpustatsError",
    "ImagesFailedWarning",
    "Interrupted",
    "MergeError",
    "OptionError",
    "Stats",
    "TooManyFailures",
    "__version__",
    "compute",
    "merge",
]
