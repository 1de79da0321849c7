"""Images that are in the program already: arrays, tensors, PIL images, datasets, loaders and any iterable of these.

Hugging Face and tables are known by the module of a type; none is imported here. What an element may be is in
`elements`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError
from gpustats.sources.arrays.slabs import array_samples
from gpustats.sources.base import Sample, Source
from gpustats.sources.elements import described, from_module, is_element, is_image
from gpustats.sources.endless import is_endless
from gpustats.sources.iterables import IterableSource, MapSource
from gpustats.sources.kinds import takes_of
from gpustats.sources.notes import Notes
from gpustats.sources.options import SourceOptions

__all__ = ["ArraySource", "as_list", "open_object"]

_ACCEPTED = (
    "give a folder, a file, a glob, a URL, an array, a tensor, a PIL image, a Hugging Face or PyTorch dataset, "
    "a DataLoader, an iterable of images, or a list of these"
)


def as_list(data: Any) -> list[Any] | None:
    """Return the entries of a column or an iterator of paths, which is then read as a list; None for anything else.

    Raises
    ------
    DataError
        Where it never ends, or is a table of several columns.
    """
    if getattr(data, "is_nested", False) is True and from_module(data, "torch"):
        return list(data.unbind())  # a nested tensor: of different sizes
    if any(from_module(data, package) for package in ("pandas", "polars", "pyarrow")) and not hasattr(data, "read"):
        values = next((getattr(data, name) for name in ("to_list", "to_pylist") if hasattr(data, name)), None)
        if values is None or len(getattr(data, "shape", ())) == 2 or hasattr(data, "column_names"):
            raise DataError(f"a {type(data).__name__} may have several columns; give one of them: data['path']")
        return list(values())
    if isinstance(data, np.ndarray) and data.ndim == 1 and data.dtype.kind in "UO":
        return list(data.tolist())
    if is_endless(data):
        raise DataError(f"{type(data).__name__} never ends; give a part of it: itertools.islice(data, 1000)")
    return None


def open_object(data: Any, key: str, options: SourceOptions) -> Source:
    """Return the source for an object that is no path.

    Raises
    ------
    DataError
        Where it is nothing that holds images.
    """
    if from_module(data, "datasets"):
        from gpustats.sources.tables.huggingface import HuggingFaceSource, check_dataset, decoded_rows

        check_dataset(data)
        notes = Notes()
        rows = decoded_rows(data, key, options, notes)
        if rows is None:
            return HuggingFaceSource(data, key, options)
        chosen = replace(options, column=None, group=None)
        source = IterableSource(rows, key or "row", chosen, f"{described(data)} as it yields its rows")
        source.notes = notes
        notes.kinds["huggingface"] += 1
        source.takes = takes_of("huggingface") | takes_of("object")
        return source
    if from_module(data, "ray") and hasattr(data, "iter_rows"):
        return IterableSource(_Rows(data), key, options, label=described(data))
    if is_element(data) and not isinstance(data, list | tuple):
        single = IterableSource([data], key, options, label=described(data))
        single.lists = True
        single.takes = takes_of("object") if not is_image(data) else _ONLY_ARRAY
        return single
    if not isinstance(data, dict):
        if isinstance(getattr(data, "shape", None), tuple) and len(data.shape) > 1 and hasattr(data, "dtype"):
            return ArraySource(data, key, options)
        if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, list | tuple):
            return _of_dataset(data, key, options)
        if hasattr(data, "__iter__"):
            source = IterableSource(data, key, options, label=described(data))
            source.lists = isinstance(data, list | tuple)
            return source
    raise DataError(f"cannot read images from {type(data).__name__} {data!r:.80}; {_ACCEPTED}")


class _Rows:
    """The rows of a dataset of Ray, which has no iterator of its own."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Any]:
        return iter(self._data.iter_rows())


def _of_dataset(data: Any, key: str, options: SourceOptions) -> Source:
    """Return the source of a dataset with an index: its files, where its items are these (torchvision's classes)."""
    from gpustats.sources.vision import files_of, transform_of

    files = None if {"column", "picked", "group"} & options.given else files_of(data)
    source = MapSource(data if files is None else files, key, options)
    source.label = described(data)
    transform = transform_of(data)
    if files is not None:
        source.names_once = True  # as often as the dataset has them
        source.place = ("files of", described(data))
    elif transform is not None:
        source.place = (f"{transform} of", described(data))
    return source


_ONLY_ARRAY = takes_of("object") - {"column", "group", "picked", "repeats"}


class ArraySource(Source):
    """An array that is read piece by piece, such as `zarr.Array`, `h5py.Dataset` or a Dask array.

    Parameters
    ----------
    data : array-like
        Has `shape` and `dtype`; a slice becomes a NumPy array.
    key : str
        What keys begin with; "" for a source that is not part of a list.
    options : SourceOptions
        `layout` counts.
    """

    def __init__(self, data: Any, key: str, options: SourceOptions) -> None:
        super().__init__(described(data), _ONLY_ARRAY)
        self.notes.kinds["object"] += 1
        self._data = data
        self._key = key
        self._options = options

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return tuple(self._data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its values."""
        kind: np.dtype[Any] = np.dtype(self._data.dtype)
        return kind

    def __getitem__(self, place: Any) -> Any:
        return np.asarray(self._data[place])

    def parts(self) -> Iterator[Sample | Failure]:
        """Yield the images."""
        chunks = getattr(self._data, "chunks", None)
        chunk = chunks[0] if isinstance(chunks, tuple) and isinstance(chunks[0], int) else 1
        try:
            for key, group, item in array_samples(
                self, self._options.layout, self._key or "0", self._options.max_bytes, chunk=chunk
            ):
                yield key if self._key else key.removeprefix("0/"), group, item
        except ImageError as error:
            raise DataError(f"{self.label}: {error}") from None
