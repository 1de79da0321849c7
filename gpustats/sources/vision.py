"""torchvision's dataset classes by their files: paths and labels, where an item is the file as Pillow decodes it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpustats.sources.elements import from_module, is_path, is_pil

__all__ = ["files_of", "transform_of"]

_PAIRS = ("samples", "imgs", "_samples")
_PATHS = ("images", "_images", "_image_files", "image_files")
_LABELS = ("targets", "_labels", "labels")
_TRANSFORMS = ("transform", "target_transform", "transforms")


def files_of(data: Any) -> list[tuple[str, Any]] | None:
    """Return path and label of every item of a dataset of torchvision; None where items are more than their files.

    A transform changes pixels, so then the items count. Whether an item is its file is not taken for granted: the
    first, the middle and the last one are compared with what Pillow decodes.

    Parameters
    ----------
    data : object
        Anything; a ``Subset`` of such a dataset and a ``ConcatDataset`` of several count too.
    """
    names = {base.__name__ for base in type(data).__mro__}
    if from_module(data, "torch") and "Subset" in names:
        whole = files_of(data.dataset)
        return None if whole is None else [whole[int(place)] for place in data.indices]
    if from_module(data, "torch") and "ConcatDataset" in names:
        parts = [files_of(part) for part in data.datasets]
        return None if None in parts else [pair for part in parts for pair in part or ()]
    if not from_module(data, "torchvision") or transform_of(data) or not _is_theirs(type(data).__getitem__):
        return None
    found = _listed(data) if _is_theirs(getattr(data, "loader", None)) else None
    if not found or len(found) != len(data):
        return None
    return found if all(_is_file(data, place, found[place]) for place in {0, len(found) // 2, len(found) - 1}) else None


def transform_of(data: Any) -> str | None:
    """Return the name of the transform that a dataset of torchvision applies; None where it has none."""
    names = _TRANSFORMS if from_module(data, "torchvision") else ()
    return next((name for name in names if getattr(data, name, None) is not None), None)


def _is_theirs(function: Any) -> bool:
    """Say whether a function is of torchvision, or there is none."""
    return function is None or str(getattr(function, "__module__", "")).partition(".")[0] == "torchvision"


def _listed(data: Any) -> list[tuple[str, Any]] | None:
    """Return paths and labels as one of the usual attributes has them."""
    for name in _PAIRS:
        pairs = getattr(data, name, None)
        if isinstance(pairs, Sequence) and all(isinstance(pair, Sequence) and len(pair) == 2 for pair in pairs):
            return [(os.fspath(path), label) for path, label in pairs] if _paths(pair[0] for pair in pairs) else None
    for name in _PATHS:
        paths = getattr(data, name, None)
        if isinstance(paths, Sequence) and _paths(paths):
            labels = next((getattr(data, label) for label in _LABELS if hasattr(data, label)), None)
            usable = isinstance(labels, Sequence) and len(labels) == len(paths)
            return list(zip(map(os.fspath, paths), labels if usable else [None] * len(paths), strict=True))  # type: ignore[arg-type]
    return None


def _paths(values: Any) -> bool:
    return all(map(is_path, values))


def _is_file(data: Any, place: int, pair: tuple[str, Any]) -> bool:
    """Say whether an item of a dataset is the image of a file and this label."""
    from PIL import Image

    path, label = pair
    try:
        item = data[place]
        image, *rest = item if isinstance(item, tuple) else (item,)
        if not is_pil(image) or (label is not None and rest[:1] != [label]):
            return False
        with Image.open(path) as file:
            return np.array_equal(np.asarray(file.convert("RGB")), np.asarray(image.convert("RGB")))
    except Exception:  # noqa: BLE001 - a damaged file, or a dataset of another kind; its items are read one by one
        return False
