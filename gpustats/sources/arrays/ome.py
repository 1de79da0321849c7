"""OME-Zarr: images of a microscope, in several resolutions, with axes for time, channel and depth.

The specification of NGFF, "multiscales" metadata: https://ngff.openmicroscopy.org/latest/
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from gpustats.failures import ImageError
from gpustats.sources.base import Sample
from gpustats.sources.items import check_bytes

__all__ = ["Multiscale", "multiscale", "planes"]

_OLD_AXES = ("t", "c", "z", "y", "x")  # of versions before 0.3, which name none


class Multiscale(NamedTuple):
    """The array of the full resolution, and the names of its axes."""

    array: str
    axes: tuple[str, ...]


def multiscale(folder: str) -> Multiscale | None:
    """Return what the metadata of a store says; None where it is no OME-Zarr image.

    Raises
    ------
    ImageError
        Where it is one, and the metadata is damaged.
    """
    attributes: Any = {}
    for name in (".zattrs", "zarr.json"):
        try:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                attributes = json.load(file)
        except (OSError, ValueError, RecursionError):
            continue
        if name == "zarr.json" and isinstance(attributes, dict):
            attributes = attributes.get("attributes")
            attributes = attributes.get("ome", attributes) if isinstance(attributes, dict) else {}
        break
    if not isinstance(attributes, dict) or "multiscales" not in attributes:
        return None
    try:
        first = attributes["multiscales"][0]
        array = str(first["datasets"][0]["path"])
        axes = [axis["name"] if isinstance(axis, dict) else axis for axis in first.get("axes", _OLD_AXES)]
    except (TypeError, LookupError, AttributeError) as error:
        raise ImageError("corrupt", f"the multiscales of OME-Zarr are damaged: {error!r}") from None
    if ".." in array.split("/") or array.startswith("/"):
        raise ImageError("unsupported", "the multiscales of OME-Zarr name an array outside of the store")
    return Multiscale(array, tuple(map(str, axes)))


def planes(array: Any, axes: tuple[str, ...], key: str, max_bytes: int) -> Iterator[Sample]:
    """Yield each plane (y, x) with all its channels as one image; the key ends in its place in time and depth.

    Raises
    ------
    ImageError
        Where the axes are not those of the array.
    """
    shape = tuple(array.shape)
    if len(axes) != len(shape) or not {"y", "x"} <= set(axes) or len(set(axes)) != len(axes):
        raise ImageError("unsupported", f"an array of shape {shape} has not the axes {', '.join(axes)}")
    inside = [axes.index(name) for name in ("y", "x", "c") if name in axes]
    check_bytes(math.prod(shape[axis] for axis in inside) * array.dtype.itemsize, max_bytes)
    others = [axis for axis in range(len(shape)) if axis not in inside]
    kept = sorted(inside)
    for place in itertools.product(*(range(shape[axis]) for axis in others)):
        index: list[Any] = [slice(None)] * len(shape)
        for axis, number in zip(others, place, strict=True):
            index[axis] = number
        plane = np.asarray(array[tuple(index)]).transpose([kept.index(axis) for axis in inside])
        yield "/".join([key, *map(str, place)]), "", plane
