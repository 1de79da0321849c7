"""Images that are in the program already: arrays, tensors, PIL images, datasets, loaders and any iterable of these.

Hugging Face and tables are known by the module of a type; none is imported here. What an element may be is in
`elements`.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gpustats.decode.formats import IMAGE_SUFFIXES
from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError
from gpustats.sources.arrays.layout import image_view, resolve
from gpustats.sources.arrays.slabs import array_samples
from gpustats.sources.base import Sample, Source
from gpustats.sources.elements import (
    Elements,
    described,
    each_label,
    from_module,
    is_array,
    is_element,
    is_image,
    is_path,
    is_pil,
)
from gpustats.sources.files.file import key_of
from gpustats.sources.items import Item
from gpustats.sources.kinds import suffix, takes_of
from gpustats.sources.notes import Notes
from gpustats.sources.options import SourceOptions
from gpustats.sources.values import as_array, encoded, pil_reader
from gpustats.wording import option

__all__ = ["ArraySource", "IterableSource", "MapSource", "as_list", "open_object"]

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
    if isinstance(data, itertools.cycle | itertools.count) or _endless(data):
        raise DataError(f"{type(data).__name__} never ends; give a part of it: itertools.islice(data, 1000)")
    return None


def _endless(data: Any) -> bool:
    """Say whether a value is known to go on for ever.

    ``itertools.repeat`` without a number, a dataset of Grain after ``repeat()``, whose length is the largest there is,
    one of ``tf.data`` after ``repeat()``, and one of webdataset with as many repetitions.
    """
    try:
        if isinstance(data, itertools.repeat):
            return data.__length_hint__() < 0
        if from_module(data, "grain"):
            return len(data) >= sys.maxsize
        if from_module(data, "tensorflow"):
            return int(data.cardinality()) == -1  # tf.data.INFINITE_CARDINALITY
        return from_module(data, "webdataset") and getattr(data, "repetitions", 1) >= sys.maxsize
    except (TypeError, AttributeError):  # without a length; of `repeat` it is the word for no end
        return isinstance(data, itertools.repeat)


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


_ONLY_ARRAY = takes_of("object") - {"column", "group", "picked"}


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


class IterableSource(Source):
    """An iterable of images, (image, label), or batches of these; a `DataLoader` for one. Keys count from 0.

    What an element may be is in `elements`; a path is read, and is its own key.

    Arrays, tensors and PIL images are measured as they are: 8- and 16-bit values exactly, floats as floats, each with
    its own channels. Where the iterable raises in the middle, what it gave counts, and `notes` say why it ended.

    Parameters
    ----------
    data : iterable
        Consumed once.
    key : str
        What keys begin with; "" for a source that is not part of a list.
    options : SourceOptions
        `layout`, `column` and `group` count.
    label : str
        For messages.
    """

    lists = False
    place: tuple[str, str] | None = None
    """What the images are from, and its name; None where only the entry of the elements was chosen."""

    def __init__(self, data: Iterable[Any], key: str, options: SourceOptions, label: str) -> None:
        super().__init__(label, takes_of("object"))
        self.notes.kinds["object"] += 1
        self._data = data
        self._prefix = key + "/" if key else ""
        self._layout = options.layout
        self._max_bytes = options.max_bytes
        self._order = options.color_order
        self._elements_of = Elements(options, label)
        self.again = not hasattr(type(data), "__next__")  # an iterator

    def parts(self) -> Iterator[Sample | Failure]:
        """Yield the images."""
        number = 0
        iterator = iter(self._elements())
        while True:
            try:
                element = next(iterator)
            except StopIteration:
                return
            except (DataError, KeyboardInterrupt, GeneratorExit):
                raise
            except Exception as error:
                problem = f"{self.label} raised {type(error).__name__} after {number:,} images: {_last_word(error)}"
                stopped = DataError(problem)
                stopped.__cause__ = error
                if self._prefix or not number:
                    raise stopped from error
                self.notes.stopped = stopped
                return
            if isinstance(element, Failure):
                yield element
                number += 1
                continue
            for entry in self._entries(element, number):
                yield entry
                number += 1

    def _entries(self, element: Any, number: int) -> Iterator[Sample | Failure]:
        """Yield the images of an element, the first of which has this number."""
        for place, (group, item) in enumerate(self._images(element, number), number):
            if self.place is not None:
                self.notes.choose(*self.place)
            elif self._elements_of.place is not None:
                self.notes.choose("entry", self._elements_of.place)
            key = self._prefix + (key_of(item) if isinstance(item, str) else str(place))
            yield Failure(key, item.reason, str(item)) if isinstance(item, ImageError) else (key, group, item)

    def count(self) -> int | None:
        """Return None: an element may be a batch."""
        return None

    def _elements(self) -> Iterable[Any]:
        return self._data

    def _images(self, element: Any, number: int) -> Iterator[tuple[str, Item | ImageError]]:
        """Yield the images of an element; what is wrong with one that is not the first is a failure of it."""
        try:
            for image, label in self._elements_of.parted(element, number):
                yield from self._items(image, label, number)
        except DataError as error:
            if number == 0:
                raise
            yield "", ImageError("unsupported", str(error))

    def _items(self, image: Any, label: Any, number: int) -> Iterator[tuple[str, Item | ImageError]]:
        group = _label(label)
        if is_pil(image):
            if self._order is not None:
                raise DataError(f"{self.label}: {option('color_order')} is for arrays; a PIL image says what it has")
            yield group, pil_reader(image)
        elif is_array(image):
            array = as_array(image)
            layout = resolve(array.shape, self._layout, f"{self.label}, element {number}", from_module(image, "torch"))
            if layout[0] != "N":
                yield group, image_view(array, layout)
            else:
                for single, one in zip(array, each_label(label, len(array)), strict=True):
                    yield _label(one), image_view(single, layout)
        elif is_path(image):
            path = os.fsdecode(image)
            if "://" in path:
                yield group, ImageError("unsupported", "a URL in an iterable is not read; give a list of URLs")
            elif suffix(path) not in IMAGE_SUFFIXES and os.path.isdir(path):
                self.skipped["folder"] += 1
            else:
                yield group, path
        else:
            try:
                yield group, encoded(image, self._max_bytes)
            except ImageError as error:
                yield group, error


class MapSource(IterableSource):
    """A dataset with a length and an index, as PyTorch's map-style `Dataset`; an item that raises is a failure.

    Items are fetched one after the other: wrap the dataset in a `DataLoader` with workers where fetching is slow.
    """

    counts_images = True

    def __init__(self, data: Any, key: str, options: SourceOptions) -> None:
        super().__init__(data, key, options, label=described(data))
        self._dataset = data

    def count(self) -> int | None:
        """Return the length; None for a loader, whose length is that of its batches."""
        return None if _is_loader(self._dataset) else len(self._dataset)

    def _elements(self) -> Iterator[Any]:
        if _is_loader(self._dataset):
            yield from self._dataset
            return
        length = len(self._dataset)
        for i in range(length):
            yield self._element(i)
        if len(self._dataset) != length:
            raise RuntimeError(f"its length was {length:,} at first and is {len(self._dataset):,} at the end")

    def _element(self, place: int) -> Any:
        try:
            return self._dataset[place]
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything; one item, named
            return Failure(f"{self._prefix}{place}", "unreadable", f"{type(error).__name__}: {error}")

    def places(self) -> int | None:
        """Return the length; None for a loader, which has batches."""
        return None if _is_loader(self._dataset) else len(self._dataset)

    def at(self, places: Sequence[int]) -> Iterator[Sample | Failure]:
        """Yield the images at some places.

        Raises
        ------
        DataError
            Where an element is not one image: there are more images than places.
        """
        for place in places:
            element = self._element(place)
            found = [element] if isinstance(element, Failure) else list(self._entries(element, place))
            if len(found) > 1:
                raise DataError(
                    f"{self.label}: element {place} holds {len(found)} images, and a sample is drawn of elements; give "
                    "one image an element, or an iterator: iter(dataset)"
                )
            yield from found


def _is_loader(value: object) -> bool:
    return any(base.__name__ == "DataLoader" for base in type(value).__mro__)


def _last_word(error: Exception) -> str:
    """Return the message of an error, without the traceback that a worker process of PyTorch puts before it."""
    text = str(error)
    return text.rstrip().rpartition("\n")[2] if "Original Traceback" in text else text


def _label(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is None or (hasattr(value, "shape") and len(value.shape)) or isinstance(value, dict | list | tuple):
        return ""
    return str(value.item() if hasattr(value, "item") else value)
