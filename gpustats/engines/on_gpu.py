"""How statistics share one launch of a CUDA kernel: what it has to compute, and the columns that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpustats.cuda.outputs import Outputs
from gpustats.errors import DataError, DeviceError
from gpustats.statistics import for_kind
from gpustats.statistics.base import Columns, Kind, Statistic

__all__ = ["columns_of", "kernel_problem", "wanted"]

_HINT = "copy arrays to main memory first (.get() in CuPy, .cpu() in PyTorch)"


def kernel_problem(names: tuple[str, ...], kind: Kind) -> str | None:
    """Return why images of a kind cannot have the statistics on the GPU; None where they can."""
    try:
        return _without_kernel(for_kind(names, kind))
    except DataError as error:
        return str(error)


def wanted(statistics: Sequence[Statistic]) -> dict[str, Any]:
    """Return the arguments of `plan_batch` that say what the kernel has to compute.

    Raises
    ------
    DeviceError
        Where a statistic has no CUDA kernel.
    """
    problem = _without_kernel(statistics)
    if problem:
        raise DeviceError(f"{problem}; {_HINT}")
    outputs = {output for statistic in statistics for output in statistic.outputs or ()}
    return dict.fromkeys(sorted(outputs), True)


def _without_kernel(statistics: Sequence[Statistic]) -> str | None:
    lacking = [repr(statistic.name) for statistic in statistics if statistic.outputs is None]
    return f"there is no CUDA kernel for the statistic {', '.join(lacking)}" if lacking else None


def columns_of(statistics: Sequence[Statistic], outputs: Outputs) -> Columns:
    """Return the columns of all statistics from what a kernel computed."""
    return {
        f"{statistic.name}.{name}": column
        for statistic in statistics
        for name, column in statistic.on_gpu(outputs).items()
    }
