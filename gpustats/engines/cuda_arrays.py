"""Images in GPU memory: CuPy arrays, torch CUDA tensors. They go straight to the kernels and never leave the GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from gpustats.failures import Failure
from gpustats.float_moments import FloatMoments
from gpustats.launch import LaunchPlan, plan_batch
from gpustats.moments import ImageMoments
from gpustats.raw_moments import RawMoments
from gpustats.rows import Rows

__all__ = ["Launch", "is_on_device", "measure"]

Launch: TypeAlias = "Callable[[int, LaunchPlan], RawMoments]"
"""Runs a plan on a device and waits for its result."""

_KERNEL_DTYPES = {"uint8": "uint8", "uint16": "uint16", "float16": "float32", "float32": "float32"}
_NOT_FINITE = "a pixel is not finite (NaN or infinite), or too large for a variance"
_VALUES_AT_ONCE = 1 << 24


def is_on_device(item: object) -> bool:
    """Tell whether an item is an array in CUDA memory."""
    return hasattr(item, "__cuda_array_interface__")


def measure(images: Sequence[tuple[str, str, Any]], launch: Launch | None = None) -> tuple[list[Rows], list[Failure]]:
    """Measure images of a batch, one launch for those of one type, shape of memory and device.

    Parameters
    ----------
    images : sequence of (key, group, array)
        Arrays of shape (H, W) or (H, W, C) with CuPy's methods, of uint8, uint16, float16, float32 or float64. There
        is no kernel for float64; CuPy's own reductions measure it, in two passes.
    launch : callable, optional
        Runs a plan; by default `gpustats.kernels.Reducer`.

    Returns
    -------
    rows : list
        Rows of one kind each; several where the images differ.
    failures : list of Failure
        Images with values that are not finite, of no pixels, or of a type that cannot be measured.
    """
    launch = launch or _launch_with_cupy
    batches: dict[tuple[int, str, int, str], list[tuple[str, str, Any]]] = {}
    failures: list[Failure] = []
    for key, group, image in images:
        image = image[:, :, None] if image.ndim == 2 else image
        if 0 in image.shape:
            failures.append(Failure(key, "corrupt", f"an image of shape {tuple(image.shape)} has no pixels"))
        elif image.dtype.name not in (*_KERNEL_DTYPES, "float64"):
            failures.append(Failure(key, "unsupported", f"pixels of type {image.dtype} are not measured"))
        else:
            image, layout = _contiguous(image)
            kind = (int(image.device.id), image.dtype.name, int(image.shape[2]), layout)
            batches.setdefault(kind, []).append((key, group, image))
    rows: list[Rows] = []
    for (device_id, dtype, channels, layout), batch in batches.items():
        if dtype == "float64":
            with np.errstate(invalid="ignore", over="ignore"):  # such an image becomes a failure
                part, bad = _rows_of_float64(batch)
        else:
            arrays = [image for _, _, image in batch]
            plan = plan_batch(
                [image.data.ptr for image in arrays],
                [image.shape[0] for image in arrays],
                [image.shape[1] for image in arrays],
                channels,
                dtype,
                "CHW" if layout == "CHW" else "HWC",
            )
            part, bad = _rows(batch, launch(device_id, plan))
        failures += bad
        if len(part):
            rows.append(part)
    return rows, failures


def _contiguous(image: Any) -> tuple[Any, str]:
    """Return the image, copied on its device where no kernel reads it as it is, and how it lies in memory."""
    target = _KERNEL_DTYPES.get(image.dtype.name, image.dtype.name)
    planes = image.transpose(2, 0, 1)
    if image.dtype.name == target and not image.flags.c_contiguous and planes.flags.c_contiguous:
        return image, "CHW"
    return image.astype(target, order="C", copy=not (image.dtype.name == target and image.flags.c_contiguous)), "HWC"


def _rows(batch: Sequence[tuple[str, str, Any]], raw: RawMoments) -> tuple[Rows, list[Failure]]:
    height = np.array([image.shape[0] for _, _, image in batch], np.uint64)
    width = np.array([image.shape[1] for _, _, image in batch], np.uint64)
    keys, groups = [key for key, _, _ in batch], [group for _, group, _ in batch]
    if raw.shift is None or raw.nonfinite is None:
        return ImageMoments(
            keys,
            groups,
            height,
            width,
            raw.sum,
            raw.sumsq,
            raw.min,
            raw.max,
            max_value=int(np.iinfo(raw.min.dtype).max),
        ), []
    count = (height * width).astype(np.float64)[:, None]
    mean = raw.shift + raw.sum / count
    deviation = np.maximum(raw.sumsq - raw.sum * raw.sum / count, 0)
    good = (raw.nonfinite == 0).all(axis=1) & np.isfinite(mean).all(axis=1) & np.isfinite(deviation).all(axis=1)
    low, high = raw.min.astype(np.float64), raw.max.astype(np.float64)
    return _finite_rows(keys, groups, height, width, (mean, deviation, low, high), good)


def _rows_of_float64(batch: Sequence[tuple[str, str, Any]]) -> tuple[Rows, list[Failure]]:
    values = []
    for _, _, image in batch:
        mean = image.mean(axis=(0, 1), dtype=np.float64)
        rows = max(_VALUES_AT_ONCE // (image.shape[1] * image.shape[2]), 1)  # as many at a time as are copied
        deviation = sum(((image[i : i + rows] - mean) ** 2).sum(axis=(0, 1)) for i in range(0, image.shape[0], rows))
        values.append([x.tolist() for x in (mean, deviation, image.min(axis=(0, 1)), image.max(axis=(0, 1)))])
    columns = np.array(values, np.float64).transpose(1, 0, 2)
    good = np.isfinite(columns).all(axis=(0, 2))
    height, width = (np.array([image.shape[axis] for _, _, image in batch], np.uint64) for axis in (0, 1))
    keys, groups = [key for key, _, _ in batch], [group for _, group, _ in batch]
    return _finite_rows(keys, groups, height, width, tuple(columns), good)


def _finite_rows(
    keys: list[str], groups: list[str], height: Any, width: Any, values: Sequence[Any], good: Any
) -> tuple[Rows, list[Failure]]:
    failures = [Failure(key, "corrupt", _NOT_FINITE) for key, fine in zip(keys, good, strict=True) if not fine]
    kept = [i for i, fine in enumerate(good) if fine]
    mean, deviation, low, high = (value[good] for value in values)
    rows = FloatMoments(
        [keys[i] for i in kept], [groups[i] for i in kept], height[good], width[good], mean, deviation, low, high
    )
    return rows, failures


_reducers: dict[int, Any] = {}


def _launch_with_cupy(device_id: int, plan: LaunchPlan) -> RawMoments:
    import cupy

    from gpustats.kernels import Reducer

    if device_id not in _reducers:
        _reducers[device_id] = Reducer(device_id)
    # The legacy stream waits for what CuPy and PyTorch have queued on theirs, so the values are there.
    moments: RawMoments = _reducers[device_id].launch(plan, cupy.cuda.Stream.null).result()
    return moments
