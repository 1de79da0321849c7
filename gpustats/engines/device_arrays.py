"""Images in GPU memory: CuPy arrays, torch CUDA tensors. They go straight to the kernels and never leave the GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpustats.cuda.outputs import Outputs
from gpustats.cuda.tiles import LaunchPlan, Layout, plan_batch
from gpustats.engines.on_gpu import columns_of, wanted
from gpustats.failures import Failure
from gpustats.statistics import for_kind
from gpustats.statistics.base import Columns, Kind, Statistic
from gpustats.statistics.rows import Rows

__all__ = ["Launch", "is_on_device", "measure"]

Launch: TypeAlias = "Callable[[int, LaunchPlan], Outputs]"
"""Runs a plan on a device and waits for its result."""

Image: TypeAlias = "tuple[str, str, Any]"
"""Key, group and array of an image."""

_KERNEL_DTYPES = {"uint8": "uint8", "uint16": "uint16", "float16": "float32", "float32": "float32"}
_VALUES_AT_ONCE = 1 << 24


def is_on_device(item: object) -> bool:
    """Return whether an item is an array in CUDA memory."""
    return hasattr(item, "__cuda_array_interface__")


def measure(
    images: Sequence[Image], statistics: tuple[str, ...] = ("moments",), launch: Launch | None = None
) -> tuple[list[Rows], list[Failure], list[Image]]:
    """Measure images of a batch, one launch for those of one type, shape of memory and device.

    Parameters
    ----------
    images : sequence of (key, group, array)
        Arrays of shape (H, W) or (H, W, C) with CuPy's methods. There is no kernel for float64; CuPy's own reductions
        measure it, in two passes.
    statistics : tuple of str
        What to measure.
    launch : callable, optional
        Runs a plan; by default `gpustats.cuda.launcher.Reducer`.

    Returns
    -------
    rows : list
        Rows of one kind each; several where the images differ.
    failures : list of Failure
        Images of no pixels, or of a type that cannot be measured.
    others : list of (key, group, array)
        Images for the CPU: with values that are not finite, which it leaves out, and of integers without a kernel.
    """
    launch = launch or _launch_with_cupy
    # Whoever makes the values may still be at work, on a stream of its own that no other stream waits for.
    for device in {int(image.device.id): image.device for _, _, image in images}.values():
        device.synchronize()
    batches: dict[tuple[int, str, int, str], list[Image]] = {}
    failures: list[Failure] = []
    others: list[Image] = []
    for key, group, image in images:
        image = image[:, :, None] if image.ndim == 2 else image
        if 0 in image.shape:
            failures.append(Failure(key, "corrupt", f"an image of shape {tuple(image.shape)} has no pixels"))
        elif image.dtype.kind in "iu" and image.dtype.name not in _KERNEL_DTYPES:
            others.append((key, group, image))
        elif image.dtype.name not in (*_KERNEL_DTYPES, "float64"):
            failures.append(Failure(key, "unsupported", f"pixels of type {image.dtype} are not measured"))
        else:
            image, layout = _contiguous(image)
            place = (int(image.device.id), image.dtype.name, int(image.shape[2]), layout)
            batches.setdefault(place, []).append((key, group, image))
    rows: list[Rows] = []
    for (device_id, dtype, channels, layout), batch in batches.items():
        kind = Kind(channels, "float64" if dtype.startswith("float") else dtype)
        measured = for_kind(statistics, kind)
        asked = wanted(measured)
        arrays = [image for _, _, image in batch]
        heights, widths = ([image.shape[axis] for image in arrays] for axis in (0, 1))
        columns: Columns
        with np.errstate(invalid="ignore", over="ignore"):  # such an image becomes a failure
            if dtype == "float64":
                columns = _columns_of_float64(arrays, measured)
            else:
                order: Layout = "CHW" if layout == "CHW" else "HWC"
                addresses = [image.data.ptr for image in arrays]
                plan = plan_batch(addresses, heights, widths, channels, dtype, order, **asked)
                columns = columns_of(measured, launch(device_id, plan))
        keys, groups = [key for key, _, _ in batch], [group for _, group, _ in batch]
        whole = Rows(kind, keys, groups, np.array(heights, np.uint64), np.array(widths, np.uint64), columns)
        good = _finite(whole, measured)
        others += [image for image, usable in zip(batch, good.tolist(), strict=True) if not usable]
        rows.append(whole if good.all() else whole.take(good))
    return rows, failures, others


def _contiguous(image: Any) -> tuple[Any, str]:
    """Return the image, copied on its device where no kernel reads it as it is, and its layout in memory."""
    target = _KERNEL_DTYPES.get(image.dtype.name, image.dtype.name)
    planes = image.transpose(2, 0, 1)
    if image.dtype.name == target and not image.flags.c_contiguous and planes.flags.c_contiguous:
        return image, "CHW"
    return image.astype(target, order="C", copy=not (image.dtype.name == target and image.flags.c_contiguous)), "HWC"


def _columns_of_float64(images: Sequence[Any], statistics: Sequence[Statistic]) -> Columns:
    """Measure float64 arrays with CuPy's own reductions, in two passes; only moments can be had of floats."""
    (statistic,) = statistics
    values = []
    for image in images:
        mean = image.mean(axis=(0, 1), dtype=np.float64)
        rows = max(_VALUES_AT_ONCE // (image.shape[1] * image.shape[2]), 1)  # as many at a time as are copied
        deviation = sum(((image[i : i + rows] - mean) ** 2).sum(axis=(0, 1)) for i in range(0, image.shape[0], rows))
        values.append([x.tolist() for x in (mean, deviation, image.min(axis=(0, 1)), image.max(axis=(0, 1)))])
    mean, deviation, low, high = np.array(values, np.float64).transpose(1, 0, 2)
    n = np.repeat([[image.shape[0] * image.shape[1]] for image in images], mean.shape[1], axis=1).astype(np.uint64)
    named = {"n": n, "mean": mean, "deviation": deviation, "min": low, "max": high}
    return {f"{statistic.name}.{name}": column for name, column in named.items()}


def _finite(rows: Rows, statistics: Sequence[Statistic]) -> NDArray[np.bool_]:
    """Return which images have finite values only."""
    good = np.ones(len(rows), np.bool_)
    for statistic in statistics:
        columns = rows.of(statistic.name)
        good &= [statistic.row_problem(columns, row) is None for row in range(len(rows))]
    return good


_reducers: dict[int, Any] = {}


def _launch_with_cupy(device_id: int, plan: LaunchPlan) -> Outputs:
    import cupy

    from gpustats.cuda.launcher import Reducer

    if device_id not in _reducers:
        _reducers[device_id] = Reducer(device_id)
    outputs: Outputs = _reducers[device_id].launch(plan, cupy.cuda.Stream.null).result()
    return outputs
