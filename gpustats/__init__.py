"""Exact per-channel statistics of image datasets, as fast as the machine can decode the images.

>>> import gpustats
>>> stats = gpustats.compute("photos/")  # doctest: +SKIP
>>> stats.mean, stats.std                # doctest: +SKIP
"""

__version__ = "0.1.0"

from gpustats.api import compute
from gpustats.errors import (
    DataError,
    DeviceError,
    GpustatsError,
    ImagesFailedWarning,
    Interrupted,
    MergeError,
    TooManyFailures,
)
from gpustats.failures import Failure
from gpustats.moments import Accumulator, ImageMoments
from gpustats.stats import Stats, merge

__all__ = [
    "Accumulator",
    "DataError",
    "DeviceError",
    "Failure",
    "GpustatsError",
    "ImageMoments",
    "ImagesFailedWarning",
    "Interrupted",
    "MergeError",
    "Stats",
    "TooManyFailures",
    "__version__",
    "compute",
    "merge",
]
