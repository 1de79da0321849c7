"""How statistics share one launch of a CUDA kernel: what it has to compute, and the columns that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.cuda.outputs import Outputs
from gpustats.errors import DataError, DeviceError
from gpustats.statistics import for_kind
from gpustats.statistics.base import Columns, Kind, Part, Statistic

__all__ = ["columns_of", "kernel_problem", "pooled_parts", "wanted"]

_HINT = "copy arrays to main memory first (.get() in CuPy, .cpu() in PyTorch)"


def kernel_problem(names: tuple[str, ...], kind: Kind) -> str | None:
    """Return why images of a kind cannot have the statistics on the GPU; None where they can."""
    try:
        return _without_kernel(for_kind(names, kind))
    except DataError as error:
        return str(error)


def wanted(statistics: Sequence[Statistic], per_image: bool = True) -> dict[str, Any]:
    """Return the arguments of `plan_batch` that say what the kernel has to compute.

    Parameters
    ----------
    statistics : sequence of Statistic
        What is measured.
    per_image : bool
        Whether bins are asked for image by image; otherwise they are added up on the device, batch by batch.

    Raises
    ------
    DeviceError
        Where a statistic has no CUDA kernel.
    """
    problem = _without_kernel(statistics)
    if problem:
        raise DeviceError(f"{problem}; {_HINT}")
    outputs = {output for statistic in statistics for output in statistic.outputs or ()}
    if not per_image and "histogram" in outputs:
        outputs.add("pooled")
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


def pooled_parts(statistics: Sequence[Statistic], outputs: Outputs, left_out: NDArray[np.bool_]) -> dict[str, Part]:
    """Return the totals of the statistics whose bins the device has added up; none where it was not asked to.

    Parameters
    ----------
    statistics : sequence of Statistic
        What is measured.
    outputs : Outputs
        What the kernel computed.
    left_out : ndarray of bool, shape (N,)
        Images that do not count, each of one colour.
    """
    if outputs.pooled is None:
        return {}
    bins = outputs.pooled.copy()
    np.subtract.at(bins, (np.arange(len(bins)), outputs.min[left_out]), outputs.pixels[left_out, None].astype(np.int64))
    return {s.name: s.of_pooled(bins) for s in statistics if s.outputs and "histogram" in s.outputs}
