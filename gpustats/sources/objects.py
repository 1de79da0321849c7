"""Images that are in the program already: arrays, tensors, PIL images, datasets, loaders and any iterable of these.

PyTorch, CuPy, Pillow and Hugging Face are known by the module of a type and by its protocol; none is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from gpustats.decode.formats import EIGHT_BIT_MODES
from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError
from gpustats.install import pip_install
from gpustats.sources.arrays.layout import image_view, resolve
from gpustats.sources.base import Sample, Source
from gpustats.sources.items import Item
from gpustats.sources.kinds import takes_of
from gpustats.sources.options import SourceOptions
from gpustats.wording import option

__all__ = ["IterableSource", "MapSource", "is_image_object", "open_object"]

_IMAGE_ENTRIES = ("image", "images", "img", "pixel_values", "input")
_LABEL_ENTRIES = ("label", "labels", "target", "class")
_ARRAY_PROTOCOLS = ("__cuda_array_interface__", "__array_interface__", "__dlpack__")
_PIL_AS_IT_IS = frozenset({"L", "LA", "RGB", "RGBA", "F", "I;16", "I;16B", "I;16L"})
_ACCEPTED = (
    "give a folder, a file, a glob, a URL, an array, a tensor, a PIL image, a Hugging Face or PyTorch dataset, "
    "a DataLoader, an iterable of images, or a list of these"
)


def is_image_object(value: object) -> bool:
    """Say whether a value is an image, a batch of images, or such a thing with its label."""
    if isinstance(value, tuple | list) and len(value) > 1 and not isinstance(value[0], str):
        value = value[0]
    return _is_array(value) or _is_pil(value)


def open_object(data: Any, key: str, options: SourceOptions) -> Source:
    """Return the source for an object that is no path.

    Raises
    ------
    DataError
        Where it is nothing that holds images.
    """
    if _from_module(data, "datasets"):
        from gpustats.sources.tables.huggingface import HuggingFaceSource, check_dataset, decoded_rows

        check_dataset(data)
        rows = decoded_rows(data, key, options)
        if rows is None:
            return HuggingFaceSource(data, key, options)
        source = IterableSource(rows, key or "row", options, f"{_describe(data)} as it yields its rows")
        source.takes = takes_of("huggingface") | takes_of("object")
        return source
    if _is_array(data) or _is_pil(data):
        return IterableSource([data], key, options, label=_describe(data))
    if not isinstance(data, dict | bytes | bytearray | memoryview):
        if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, list | tuple):
            return MapSource(data, key, options)
        if hasattr(data, "__iter__"):
            return IterableSource(data, key, options, label=_describe(data))
    raise DataError(f"cannot read images from {type(data).__name__} {data!r:.80}; {_ACCEPTED}")


class IterableSource(Source):
    """An iterable of images, (image, label), or batches of these; a `DataLoader` for one. Keys count from 0.

    Arrays, tensors and PIL images are measured as they are: 8- and 16-bit values exactly, floats as floats, each with
    its own channels.

    Parameters
    ----------
    data : iterable
        Consumed once.
    key : str
        What keys begin with; "" for a source that is not part of a list.
    options : SourceOptions
        `layout` counts.
    label : str
        For messages.
    """

    def __init__(self, data: Iterable[Any], key: str, options: SourceOptions, label: str) -> None:
        super().__init__(label, takes_of("object"))
        self._data = data
        self._prefix = key + "/" if key else ""
        self._layout = options.layout
        self._order = options.color_order

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
                raise DataError(
                    f"{self.label} raised {type(error).__name__} after {number:,} images: {error}"
                ) from error
            if isinstance(element, Failure):
                yield element
                number += 1
                continue
            for group, item in self._images(element, number):
                key = f"{self._prefix}{number}"
                yield Failure(key, item.reason, str(item)) if isinstance(item, ImageError) else (key, group, item)
                number += 1

    def count(self) -> int | None:
        """Return None: an element may be a batch."""
        return None

    def _elements(self) -> Iterable[Any]:
        return self._data

    def _images(self, element: Any, number: int) -> Iterator[tuple[str, Item | ImageError]]:
        image, label = _parted(element)
        if _is_pil(image):
            if self._order is not None:
                raise DataError(f"{self.label}: {option('color_order')} is for arrays; a PIL image says what it has")
            yield _label(label), _pil_reader(image)
            return
        if not _is_array(image):
            if isinstance(image, bytes):
                yield _label(label), image
                return
            raise DataError(
                f"{self.label}: element {number} is {type(image).__name__}; expected an array, a tensor, a PIL image, "
                "encoded bytes, or one of these with a label"
            )
        try:
            array = as_array(image)
            layout = resolve(array.shape, self._layout, f"{self.label}, element {number}", _from_module(image, "torch"))
        except DataError as error:
            if number == 0:
                raise
            yield _label(label), ImageError("unsupported", str(error))
            return
        if layout[0] != "N":
            yield _label(label), image_view(array, layout)
            return
        labels = _labels(label, len(array))
        for i in range(len(array)):
            yield labels[i], image_view(array[i], layout)


class MapSource(IterableSource):
    """A dataset with a length and an index, as PyTorch's map-style `Dataset`; an item that raises is a failure.

    Items are fetched one after the other: wrap the dataset in a `DataLoader` with workers where fetching is slow.
    """

    def __init__(self, data: Any, key: str, options: SourceOptions) -> None:
        super().__init__(data, key, options, label=_describe(data))
        self._dataset = data

    def count(self) -> int | None:
        """Return the length."""
        return len(self._dataset)

    def _elements(self) -> Iterator[Any]:
        if _is_loader(self._dataset):
            yield from self._dataset
            return
        for i in range(len(self._dataset)):
            try:
                element = self._dataset[i]
            except Exception as error:  # noqa: BLE001 - the user's code may raise anything; one item, named
                element = Failure(f"{self._prefix}{i}", "unreadable", f"{type(error).__name__}: {error}")
            yield element


def as_array(value: Any) -> Any:
    """Return a NumPy or CuPy array over the memory of `value`, without a copy where that is possible.

    Raises
    ------
    DataError
        Where it is in GPU memory and CuPy is missing, or where values are masked.
    """
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.getmaskarray(value).any():
            raise DataError(
                f"{_describe(value)} has masked values, which cannot be left out; pass the values that count as an "
                "array without a mask"
            )
        return value.data
    if isinstance(value, np.ndarray):
        return value
    if _from_module(value, "torch"):
        value = value.detach()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()  # NumPy has no bfloat16; float32 holds every value of it
        if value.device.type == "cpu":
            return value.numpy()
    if hasattr(value, "__cuda_array_interface__") or _dlpack_device(value) == 2:
        try:
            import cupy
        except ImportError:
            raise DataError(
                f"{_describe(value)} is in GPU memory; install CuPy ({pip_install('cuda13')}, or [cuda12] for "
                "CUDA 12) or move it to the CPU"
            ) from None
        return cupy.from_dlpack(value) if not hasattr(value, "__cuda_array_interface__") else cupy.asarray(value)
    if hasattr(value, "__array_interface__"):
        return np.asarray(value)
    return np.from_dlpack(value)


def _dlpack_device(value: Any) -> int | None:
    function = getattr(value, "__dlpack_device__", None)
    return int(function()[0]) if callable(function) else None


def _is_array(value: object) -> bool:
    return not _is_pil(value) and any(hasattr(value, protocol) for protocol in _ARRAY_PROTOCOLS)


def _is_pil(value: object) -> bool:
    return _from_module(value, "PIL") and hasattr(value, "getbands")


def _is_loader(value: object) -> bool:
    return any(base.__name__ == "DataLoader" for base in type(value).__mro__)


def _from_module(value: object, name: str) -> bool:
    return any(base.__module__.partition(".")[0] == name for base in type(value).__mro__)


def _describe(value: object) -> str:
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__}{' of shape ' + str(tuple(shape)) if isinstance(shape, tuple) else ''}"


def _parted(element: Any) -> tuple[Any, Any]:
    """Return image and label of an element."""
    if isinstance(element, dict):
        image = next((element[name] for name in _IMAGE_ENTRIES if name in element), element)
        return image, next((element[name] for name in _LABEL_ENTRIES if name in element), None)
    if isinstance(element, tuple | list) and element:
        return element[0], element[1] if len(element) > 1 else None
    return element, None


def _label(value: Any) -> str:
    if value is None or (hasattr(value, "shape") and len(value.shape)) or isinstance(value, dict | list | tuple):
        return ""
    return str(value.item() if hasattr(value, "item") else value)


def _labels(values: Any, count: int) -> list[str]:
    if isinstance(values, list | tuple) or (hasattr(values, "shape") and len(values.shape) == 1):
        texts = [_label(value) for value in values]
        if len(texts) == count:
            return texts
    return [""] * count


def _pil_reader(image: Any) -> Callable[[int], Any]:
    """Return a function that gives the pixels: channels as they are, palettes and 8-bit colour spaces as RGB."""

    def read(max_bytes: int) -> Any:
        if image.width * image.height * 8 > max_bytes:
            raise ImageError("too_large", f"{image.width} x {image.height} pixels are more than the limit")
        mode = image.mode
        if mode not in _PIL_AS_IT_IS and mode not in EIGHT_BIT_MODES:
            raise ImageError("unsupported", f"PIL image of mode {mode}; pass it as an array of uint8, uint16 or floats")
        if "16" not in mode and any(";16" in str(tile) for tile in getattr(image, "tile", ())):  # not yet decoded
            raise ImageError("unsupported", "PIL image of 16 bits a sample, of which Pillow would give 8")
        try:
            if mode in _PIL_AS_IT_IS:
                return np.asarray(image)
            return np.asarray(image.convert("L" if mode == "1" else "RGB"))
        except Exception as error:  # noqa: BLE001 - a lazy image may hold a damaged file
            raise ImageError("corrupt", f"PIL image: {error}") from None

    return read
