"""How statistics share one launch of a CUDA kernel: what it has to compute, and the columns that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpustats.cuda.outputs import Outputs
from gpustats.errors import DeviceError
from gpustats.statistics.base import Columns, Statistic

__all__ = ["columns_of", "wanted"]


def wanted(statistics: Sequence[Statistic]) -> dict[str, Any]:
    """Return the arguments of `plan_batch` that say what the kernel has to compute.

    Raises
    ------
    DeviceError
        Where a statistic has no CUDA kernel.
    """
    outputs: set[str] = set()
    for statistic in statistics:
        if statistic.outputs is None:
            raise DeviceError(f"the statistic {statistic.name!r} has no CUDA kernel; compute with device='cpu'")
        outputs |= statistic.outputs
    return dict.fromkeys(sorted(outputs), True)


def columns_of(statistics: Sequence[Statistic], outputs: Outputs) -> Columns:
    """Return the columns of all statistics from what a kernel computed."""
    return {
        f"{statistic.name}.{name}": column
        for statistic in statistics
        for name, column in statistic.on_gpu(outputs).items()
    }
