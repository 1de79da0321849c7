"""What the raw output of a kernel launch means: exact numbers for every image and channel; NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.cuda.tiles import LaunchPlan

__all__ = ["Outputs", "finish"]


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a kernel computed for every image and channel of a batch, n images of C channels.

    Attributes
    ----------
    pixels : ndarray of uint64, shape (n,)
        Pixels of an image.
    sum, sumsq : ndarray, shape (n, C)
        uint64 and exact; for float32 images float64 sums of (x - shift) and of its square.
    min, max : ndarray, shape (n, C)
        In the dtype of the images. An image without (finite) values has the identities of min and max: the
        dtype's largest and smallest value, or inf and -inf.
    cross : ndarray of uint64, shape (n, C * (C - 1) / 2), optional
        Sums of x_i * x_j in the order (0, 1), (0, 2), ..., (1, 2), ...
    histogram : ndarray of uint64, shape (n, C, 256), optional
    shift, nonfinite : ndarray of float64 and uint64, shape (n, C), float32 images only
        What was subtracted before summing; how many values were NaN or infinite and left out.
    """

    pixels: NDArray[np.uint64]
    sum: NDArray[Any]
    sumsq: NDArray[Any]
    min: NDArray[Any]
    max: NDArray[Any]
    cross: NDArray[np.uint64] | None = None
    histogram: NDArray[np.uint64] | None = None
    shift: NDArray[np.float64] | None = None
    nonfinite: NDArray[np.uint64] | None = None


def finish(plan: LaunchPlan, buffer: NDArray[np.uint8]) -> Outputs:
    """Turn the output buffer of a launch into one row an image.

    Parameters
    ----------
    plan : LaunchPlan
    buffer : ndarray of uint8
        The first `plan.output_bytes` bytes of the output buffer, after the launch.

    Raises
    ------
    RuntimeError
        If the kernel did not visit every pixel of every image exactly once.
    """
    out = plan.views(buffer)
    width = 1 if np.any(plan.row_channel >= 0) else plan.channels
    whole = width == plan.channels
    # Position of a row's first channel in arrays of shape (images * channels,).
    at = plan.row_image * plan.channels + np.maximum(plan.row_channel, 0)
    place = at[:, None] + np.arange(width)
    shape = (plan.images, plan.channels)
    pixels = np.zeros(plan.images, np.uint64)
    np.add.at(pixels, plan.row_image, plan.row_pixels.astype(np.uint64))
    pixels //= np.uint64(plan.channels // width)  # planes were counted one by one

    if plan.dtype.kind == "f":
        results = out["results"]
        _check(plan, results["count"] != plan.row_pixels[:, None])
        empty = results["count"] == results["nonfinite"]
        names = ("sum", "sumsq", "shift", "nonfinite")
        fields = {name: np.zeros(shape, results[name].dtype) for name in names}
        for name, field in fields.items():
            field.reshape(-1)[place] = results[name]
        low, high = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        low.reshape(-1)[place] = np.where(empty, np.float32(np.inf), results["min"])
        high.reshape(-1)[place] = np.where(empty, np.float32(-np.inf), results["max"])
        return Outputs(pixels=pixels, min=low, max=high, **fields)

    def gathered(values: NDArray[Any]) -> NDArray[np.uint64]:
        """Sum rows (rows, width, ...) into (images, channels, ...)."""
        total = np.zeros((plan.images * plan.channels, *values.shape[2:]), np.uint64)
        np.add.at(total, place, values.astype(np.uint64))
        return total.reshape(*shape, *values.shape[2:])

    sums = out["sums"]
    _check(plan, (out["counts"] != plan.row_pixels * width)[:, None])
    cross = None
    if plan.cross:
        cross = np.zeros((plan.images, plan.channels * (plan.channels - 1) // 2), np.uint64)
        if whole:
            np.add.at(cross, plan.row_image, sums[:, 2 * width :].astype(np.uint64))
    most = int(np.iinfo(plan.dtype).max)
    if plan.histogram:
        _check(plan, out["histogram"].sum(axis=2, dtype=np.int64) != plan.row_pixels[:, None])
        histogram = gathered(out["histogram"])
        value = np.arange(256, dtype=np.uint64)
        seen = histogram > 0
        some = seen.any(axis=2)
        return Outputs(
            pixels=pixels,
            sum=histogram @ value,
            sumsq=histogram @ (value * value),
            min=np.where(some, seen.argmax(axis=2), most).astype(plan.dtype),
            max=np.where(some, most - seen[:, :, ::-1].argmax(axis=2), 0).astype(plan.dtype),
            cross=cross,
            histogram=histogram,
        )
    flat = np.zeros((plan.images * plan.channels, 2), np.uint32)
    np.maximum.at(flat, place, out["extremes"])
    extremes = flat.reshape(*shape, 2)
    return Outputs(
        pixels=pixels,
        sum=gathered(sums[:, :width]),
        sumsq=gathered(sums[:, width : 2 * width]),
        min=(most - extremes[:, :, 0]).astype(plan.dtype),
        max=extremes[:, :, 1].astype(plan.dtype),
        cross=cross,
    )


def _check(plan: LaunchPlan, wrong: NDArray[np.bool_]) -> None:
    """Raise if a row was not visited as it should have been; `wrong` has shape (rows, any)."""
    rows = np.flatnonzero(wrong.any(axis=1))
    if rows.size:
        names = ", ".join(str(i) for i in np.unique(plan.row_image[rows])[:10])
        raise RuntimeError(
            f"kernel {plan.kernel} did not visit every pixel exactly once; images concerned (places in the"
            f" batch): {names}; {rows.size} of {len(plan.row_image)} rows. Their sums would be wrong."
        )
