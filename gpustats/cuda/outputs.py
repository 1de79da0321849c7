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
    pooled : ndarray of int64, shape (C, 256), optional
        The same of all images together, where the plan asks for that.
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
    pooled: NDArray[np.int64] | None = None
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
    if plan.dtype.kind == "f":
        return _floats(plan, out["results"])
    width = plan.row_channels
    _check(plan, (out["counts"] != plan.row_pixels * width)[:, None])
    most = int(np.iinfo(plan.dtype).max)
    extremes = np.zeros((plan.images * plan.channels, 2), np.uint32)
    np.maximum.at(extremes, _places(plan), out["extremes"])
    from_top, high = extremes.reshape(plan.images, plan.channels, 2).transpose(2, 0, 1)
    return Outputs(
        pixels=_pixels(plan),
        sum=_added(plan, out["sums"][:, :width]),
        sumsq=_added(plan, out["sums"][:, width : 2 * width]),
        min=(most - from_top).astype(plan.dtype),
        max=high.astype(plan.dtype),
        cross=_products(plan, out["sums"][:, 2 * width :]) if plan.cross else None,
        histogram=_bins(plan, out["histogram"]) if plan.histogram and not plan.pooled else None,
        pooled=_pooled(plan, out["histogram"]) if plan.pooled else None,
    )


def _places(plan: LaunchPlan) -> NDArray[np.int64]:
    """Return the indices of each row's channels in arrays of shape (images * channels, ...)."""
    first = plan.row_image * plan.channels + np.maximum(plan.row_channel, 0)
    places: NDArray[np.int64] = first[:, None] + np.arange(plan.row_channels)
    return places


def _pixels(plan: LaunchPlan) -> NDArray[np.uint64]:
    """Return the pixels of each image."""
    pixels: NDArray[np.uint64] = np.zeros(plan.images, np.uint64)
    np.add.at(pixels, plan.row_image, plan.row_pixels.astype(np.uint64))
    pixels //= np.uint64(plan.channels // plan.row_channels)  # planes were counted one by one
    return pixels


def _added(plan: LaunchPlan, values: NDArray[Any]) -> NDArray[np.uint64]:
    """Add rows, shape (rows, width, ...), to images, shape (images, channels, ...).

    The rows of an image, or of a plane of one, follow one another. `np.add.at` would take ten times as long for bins.
    """
    rest = values.shape[2:]
    places = _places(plan)
    steps = np.diff(places[:, 0], prepend=-1)
    if (steps < 0).any():
        raise ValueError("the rows of a plan are not in the order of its images")
    first = np.flatnonzero(steps)
    added = values.astype(np.uint64)
    if len(first) < len(values):
        added = np.add.reduceat(added, first, axis=0)
    total = np.zeros((plan.images * plan.channels, *rest), np.uint64)
    if added.size == total.size:
        total = added
    else:  # images without rows have sums of 0
        total[places[first]] = added
    return total.reshape(plan.images, plan.channels, *rest)


def _products(plan: LaunchPlan, values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Add the products of rows, shape (rows, pairs), to images; images of one channel have no pair."""
    cross = np.zeros((plan.images, plan.channels * (plan.channels - 1) // 2), np.uint64)
    np.add.at(cross, plan.row_image, values.astype(np.uint64))
    return cross


def _bins(plan: LaunchPlan, bins: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Add the bins of rows, shape (rows, width, 256), to images."""
    _check(plan, bins.sum(axis=2, dtype=np.int64) != plan.row_pixels[:, None])
    return _added(plan, bins)


def _pooled(plan: LaunchPlan, bins: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the bins of all images together."""
    counted, pixels = bins[0].sum(axis=1, dtype=np.int64), int(plan.row_pixels.sum())
    if (counted != pixels).any():
        raise RuntimeError(
            f"kernel {plan.kernel} counted {counted.tolist()} values in the channels of {pixels} pixels; its bins would"
            " be wrong"
        )
    pooled: NDArray[np.int64] = bins[0].astype(np.int64)
    return pooled


def _floats(plan: LaunchPlan, results: NDArray[Any]) -> Outputs:
    """Return what the kernel of float32 images found, one row an image or a plane."""
    _check(plan, results["count"] != plan.row_pixels[:, None])
    empty = results["count"] == results["nonfinite"]
    places = _places(plan)

    def placed(values: NDArray[Any]) -> NDArray[Any]:
        target = np.zeros((plan.images, plan.channels), values.dtype)
        target.reshape(-1)[places] = values
        return target

    return Outputs(
        pixels=_pixels(plan),
        sum=placed(results["sum"]),
        sumsq=placed(results["sumsq"]),
        min=placed(np.where(empty, np.float32(np.inf), results["min"])),
        max=placed(np.where(empty, np.float32(-np.inf), results["max"])),
        shift=placed(results["shift"]),
        nonfinite=placed(results["nonfinite"]),
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
