"""Images that a loop yields: loaders, datasets with an index, iterables and lists of images.

What an element may be is in `elements`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gpustats.decode.formats import IMAGE_SUFFIXES
from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError
from gpustats.sources.arrays.layout import image_view, resolve
from gpustats.sources.base import Sample, Source
from gpustats.sources.elements import Elements, described, each_label, from_module, is_array, is_path, is_pil
from gpustats.sources.files.file import key_of
from gpustats.sources.items import Item
from gpustats.sources.kinds import suffix, takes_of
from gpustats.sources.loaders import is_loader, left_out, loader_of, own_workers, reads_an_index, remarks
from gpustats.sources.options import SourceOptions
from gpustats.sources.repetition import Repetition, same_images
from gpustats.sources.values import as_array, encoded, pil_reader
from gpustats.wording import option

__all__ = ["IterableSource", "MapSource"]


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
        self._loader = loader_of(data)
        self._once = options.repeats == "once"
        self._repetition: Repetition | None = None

    def parts(self) -> Iterator[Sample | Failure]:
        """Yield the images."""
        number = 0
        workers = own_workers(self._loader)
        watch = self._repetition = Repetition(workers) if self._may_repeat() else None
        iterator = iter(self._elements())
        while True:
            try:
                element = next(iterator)
            except StopIteration:
                break
            except (DataError, KeyboardInterrupt, GeneratorExit):
                raise
            except Exception as error:  # noqa: BLE001 - the user's code may raise anything; it is the cause
                problem = f"{self.label} raised {type(error).__name__} after {number:,} images: {_last_word(error)}"
                return self._stop(problem, number, error)
            if isinstance(element, Failure):
                yield element
                number += 1
                continue
            for entry in self._entries(element, number):
                yield entry
                number += 1
            if watch is not None and watch.after_element() and self._once:
                return self._stop(same_images(self.label, workers), number)
        if watch is not None and watch.at_the_end() and self._once:
            return self._stop(same_images(self.label, workers), number)
        self._remark(watch)

    def _may_repeat(self) -> bool:
        """Say whether images may come again that the user did not name twice."""
        return not self.lists and (self._loader is None or not reads_an_index(self._loader))

    def _stop(self, problem: str, number: int, cause: Exception | None = None) -> None:
        """End the run after some images; what came so far counts."""
        stopped = DataError(problem)
        stopped.__cause__ = cause
        if self._prefix or not number:
            raise stopped from cause
        self.notes.stopped = stopped

    def _remark(self, watch: Repetition | None) -> None:
        """Say where the elements are not those of the dataset, each once."""
        self.notes.remarks += remarks(self._data)
        for known, most in left_out(self._data):
            if known:
                self.notes.skipped["dropped_last"] += known
            elif known is None:
                said = f"images that do not fill a batch are left out, up to {most:,}; how many is not known"
                self.notes.remarks.append(said)
        if watch is not None and (remark := watch.remark()) is not None:
            self.notes.remarks.append(remark)

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
        watch = self._repetition
        if is_pil(image):
            if self._order is not None:
                raise DataError(f"{self.label}: {option('color_order')} is for arrays; a PIL image says what it has")
            if watch is not None:
                watch.add(image)
            yield group, pil_reader(image)
        elif is_array(image):
            array = as_array(image)
            layout = resolve(array.shape, self._layout, f"{self.label}, element {number}", from_module(image, "torch"))
            batch = array if layout[0] == "N" else [array]
            labels = each_label(label, len(batch)) if layout[0] == "N" else [label]
            for single, one in zip(batch, labels, strict=True):
                if watch is not None:
                    watch.add(single)
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
                data = encoded(image, self._max_bytes)
                if watch is not None:
                    watch.add(data)
                yield group, data
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
        return None if is_loader(self._dataset) else len(self._dataset)

    def _may_repeat(self) -> bool:
        return is_loader(self._dataset) and super()._may_repeat()

    def _elements(self) -> Iterator[Any]:
        if is_loader(self._dataset):
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
        return None if is_loader(self._dataset) else len(self._dataset)

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
