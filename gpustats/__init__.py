"""Exact per-channel statistics of image datasets, as fast as the machine can decode the images.

>>> import gpustats
>>> stats = gpustats.compute("photos/")  # doctest: +SKIP
>>> stats.mean, stats.std                # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from gpustats.install import __version__
from gpustats.result.kinds import Kinds
from gpustats.result.stats import Stats, merge
from gpustats.run import AllImagesFailed, Interrupted, SourceStopped, TooManyFailures

if TYPE_CHECKING:
    from gpustats.inspection.inspect import inspect
    from gpustats.inspection.inspection import Inspection
    from gpustats.result.compare import compare
    from gpustats.result.comparison import Comparison
    from gpustats.result.export_table import EXPORTS
    from gpustats.result.presets import presets

__all__ = [
    "EXPORTS",
    "Accumulator",
    "AllImagesFailed",
    "Comparison",
    "DataError",
    "DeviceError",
    "DeviceLost",
    "Failure",
    "GpustatsError",
    "ImagesFailedWarning",
    "Inspection",
    "Interrupted",
    "Kinds",
    "MergeError",
    "OptionError",
    "SourceStopped",
    "Stats",
    "TooManyFailures",
    "__version__",
    "compare",
    "compute",
    "inspect",
    "merge",
    "presets",
]

_LATER = {
    "Comparison": "gpustats.result.comparison",
    "Inspection": "gpustats.inspection.inspection",
    "EXPORTS": "gpustats.result.export_table",
    "compare": "gpustats.result.compare",
    "inspect": "gpustats.inspection.inspect",
    "presets": "gpustats.result.presets",
}
"""What is imported when it is used, so that ``import gpustats`` stays light."""


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
