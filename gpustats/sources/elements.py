"""What one element of a dataset, a loader or a list is: images and their labels, in whatever they are nested.

PyTorch, CuPy and Pillow are known by the module of a type and by its protocol; none is imported here.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gpustats.decode.formats import sniff
from gpustats.errors import DataError
from gpustats.failures import ImageError
from gpustats.sources.choice import choose_one, listed
from gpustats.sources.options import SourceOptions
from gpustats.wording import option

__all__ = [
    "Elements",
    "described",
    "each_label",
    "from_module",
    "is_array",
    "is_element",
    "is_image",
    "is_path",
    "is_pil",
]

_IMAGE_ENTRIES = (("image", "images", "img"), ("pixel_values",), ("input", "inputs"))
_LABEL_ENTRIES = ("label", "labels", "target", "class", "cls")
_ARRAY_PROTOCOLS = ("__cuda_array_interface__", "__array_interface__", "__dlpack__")
_DEEPEST = 5


class Elements:
    """Finds the images in elements of one source.

    An element is an image or a batch of them; an image with its label; a list of images; a list of elements; or names
    with values (a dict, a dataclass, a named tuple), of which the entry with an image is taken, also in deeper levels.

    Parameters
    ----------
    options : SourceOptions
        `column` or `picked` says where the image is: a name, with dots for deeper levels, a position, or a function
        that returns it. `group` says where the label is.
    label : str
        What the source is called in errors.

    Attributes
    ----------
    place : str or None
        Where the image was found that was yielded last; None where there was no choice.
    """

    def __init__(self, options: SourceOptions, label: str) -> None:
        self._given = options.picked if options.picked is not None else options.column
        self._group = options.group
        self._label = label
        self._chosen: str | None = None
        self.place: str | None = None

    def parted(self, element: Any, number: int) -> Iterator[tuple[Any, Any]]:
        """Yield images (single ones or batches) and their labels.

        Raises
        ------
        DataError
            Where the element, number `number` of the source, has no image, or several that are equally good.
        """
        self.place = None
        try:
            found = self._found(element) if self._given is None else self._at_the_place(element, self._given)
            if isinstance(found, list):
                for part in found:
                    yield from self.parted(part, number)
                return
            image, label = found
            if self._group is not None:
                label = _reach(element, self._group)
        except ImageError as error:
            raise DataError(f"{self._label}: element {number}: {error}") from error.__cause__
        if isinstance(image, list | tuple) and image and all(map(is_image, image)):
            yield from zip(image, each_label(label, len(image)), strict=True)
        elif is_image(image) or is_path(image):
            yield image, label
        else:
            raise DataError(
                f"{self._label}: element {number} is {described(image)}; expected an array, a tensor, a PIL image, "
                "encoded bytes, or one of these with a label"
            )

    def _at_the_place(self, element: Any, place: str | int | Callable[[Any], Any]) -> tuple[Any, Any] | list[Any]:
        """Return what is where the user says, and the label beside it."""
        if isinstance(place, str) and isinstance(element, list) and all(_named(part) is not None for part in element):
            return element  # a batch of elements as a list
        self.place = getattr(place, "__name__", str(place))
        return _reach(element, place), _beside(element, place) if isinstance(place, str) else None

    def _found(self, element: Any) -> tuple[Any, Any] | list[Any]:
        """Return image and label, or a list of elements."""
        if is_image(element) or is_path(element):
            return element, None
        if isinstance(element, list | tuple) and element and _named(element) is None:
            first, rest = element[0], element[1:]
            if is_image(first):
                return self._of_images(element)
            if isinstance(first, list | tuple) and first and all(map(is_image, first)):
                if isinstance(element, list) and rest and _alike(element):
                    if not _pairs(element):
                        raise _several(element)
                    return list(element)
                if len(first) > 1 and rest and (_is_single(rest[0]) or max(map(_axes, first)) > 3):  # two views
                    raise _several(first, "0.")
                return first, rest[0] if rest else None
            if is_path(first) and not any(map(is_path, rest)) and not any(True for _ in _candidates(element)):
                return first, rest[0] if rest else None
            if _alike(element):
                return list(element)
        return self._of_entries(element)

    def _of_images(self, element: Sequence[Any]) -> tuple[Any, Any] | list[Any]:
        """Return the first of a sequence, or all where they are a batch as a list."""
        images = [part for part in element if _may_be_image(part, element[0])]
        if len(images) == len(element) > 1:
            single = all(is_pil(part) or not is_array(part) or len(part.shape) < 4 for part in element)
            if isinstance(element, list) and single and len(set(map(_sort_of, element))) == 1:
                return list(element)
            if len(element) > 2 or (isinstance(element, list) and single):
                raise _several(element)
            self.place = "0"
        return element[0], element[1] if len(element) > 1 else None

    def _of_entries(self, element: Any) -> tuple[Any, Any]:
        """Return the entry that is an image, the same in every element, and the label beside it."""
        if self._chosen is None:
            candidates = dict(_candidates(element))
            likely = {name: value for name, value in candidates.items() if _begins_as_an_image(value)}
            candidates = likely or candidates
            many = {name: value for name, value in candidates.items() if _axes(value) != 2}  # two: tokens and the like
            shown = {name: f"({described(value)})" for name, value in (many or candidates).items()}
            for names in _IMAGE_ENTRIES:
                usual = {name: text for name, text in shown.items() if name.rpartition(".")[2] in names}
                if usual:
                    shown = usual
                    break
            self._chosen = choose_one(shown, what="entries", choose_with=option("column"))
            if self._chosen is None:
                return element, None
        self.place = self._chosen
        return _reach(element, self._chosen), _beside(element, self._chosen)


def _named(value: Any) -> Mapping[str, Any] | None:
    """Return the entries of a value that has names for them: a mapping, a dataclass, a named tuple; else None."""
    if isinstance(value, Mapping):
        return value
    # One with an index or an iterator is a dataset, whose fields are its own affair.
    if dataclasses.is_dataclass(value) and not any(hasattr(value, name) for name in ("__iter__", "__getitem__")):
        return {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    return None


def _reach(value: Any, place: str | int | Callable[[Any], Any]) -> Any:
    """Return what is at a place of an element."""
    if callable(place):
        try:
            return place(value)
        except Exception as error:
            problem = f"the function given as {option('column')} raised {type(error).__name__}: {error}"
            raise ImageError("unreadable", problem) from error
    if isinstance(place, str):
        entries = _named(value)
        if entries is not None and place in entries:
            return entries[place]
        parts = place.split(".")
        for length in range(len(parts) - 1, 0, -1):
            first, rest = ".".join(parts[:length]), ".".join(parts[length:])
            if entries is not None and first in entries:
                return _reach(entries[first], rest)
            if entries is None and first.isdecimal() and isinstance(value, list | tuple) and int(first) < len(value):
                return _reach(value[int(first)], rest)
        if entries is None and place.isdecimal():
            place = int(place)
    if isinstance(place, int) and isinstance(value, list | tuple) and -len(value) <= place < len(value):
        return value[place]
    there = _named(value)
    what = listed(dict.fromkeys(map(str, there), "")) if there is not None else described(value)
    raise ImageError("unsupported", f"there is no entry {place!r}; there are: {what}")


def _candidates(value: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield names and values of what may be images in an element."""
    entries = _named(value)
    if entries is None and isinstance(value, list | tuple):
        entries = {str(position): entry for position, entry in enumerate(value)}
    if entries is None or depth == _DEEPEST:
        return
    for name, entry in entries.items():
        full = f"{prefix}{name}"
        if is_image(entry) or (isinstance(entry, list | tuple) and entry and all(map(is_image, entry))):
            if _axes(entry) >= 2:
                yield full, entry
        else:
            yield from _candidates(entry, full + ".", depth + 1)


def _beside(element: Any, place: str) -> Any:
    """Return the label that stands beside an image or above it."""
    parts = place.split(".")
    for length in range(len(parts) - 1, -1, -1):
        try:
            entries = _named(_reach(element, ".".join(parts[:length])) if length else element)
        except ImageError:  # a key with dots in it
            continue
        for name in _LABEL_ENTRIES if entries is not None else ():
            if name in entries:  # type: ignore[operator]
                return entries[name]  # type: ignore[index]
    return None


def _alike(element: Sequence[Any]) -> bool:
    """Say whether the parts of a sequence are elements themselves, each with an image."""
    return all(any(True for _ in _candidates(part)) for part in element)


def _may_be_image(value: Any, first: Any) -> bool:
    """Say whether a value beside an image is one too, and no label."""
    if not is_image(value) or not is_array(value):
        return is_image(value)
    return len(value.shape) > 2 or (
        len(value.shape) == 2 and tuple(value.shape) == tuple(getattr(first, "shape", ()))[:2]
    )


def _pairs(element: Sequence[Any]) -> bool:
    """Say whether a list holds images with something beside them, rather than images together and labels together."""
    return all(type(part) is tuple or (len(part) > 1 and not _may_be_image(part[1], part[0])) for part in element)


def _is_single(label: Any) -> bool:
    """Say whether a label is one, and no sequence of labels or names with values."""
    return not (hasattr(label, "__len__") and getattr(label, "shape", True)) or isinstance(label, str | bytes)


def _sort_of(image: Any) -> object:
    """Return what images of one batch have in common: the type of the values and the number of channels."""
    if is_pil(image):
        return image.getbands()
    if not is_array(image):
        return None
    shape = image.shape
    ends = (shape[-1], shape[0]) if len(shape) > 2 else ()
    return str(image.dtype), len(shape), next((size for size in ends if size in (1, 3, 4)), 0)


def _axes(value: Any) -> int:
    """Return how many axes an array has; 3 for an image of another kind."""
    return len(value.shape) if is_array(value) and hasattr(value, "shape") else 3


def _begins_as_an_image(value: Any) -> bool:
    """Say whether bytes are those of an image, and no label or text; True for what is no bytes."""
    return not isinstance(value, bytes | bytearray | memoryview) or sniff(bytes(value[:16])) is not None


def _several(element: Sequence[Any], prefix: str = "") -> ImageError:
    shown = listed({f"{prefix}{position}": f"({described(part)})" for position, part in enumerate(element)})
    return ImageError(
        "unsupported",
        f"several entries may be images: {shown}; choose with {option('column')}, a position or a function",
    )


def each_label(labels: Any, count: int) -> list[Any]:
    """Return a label for each image: those of a list or an array with as many."""
    if isinstance(labels, list | tuple) or (hasattr(labels, "shape") and len(labels.shape) == 1):
        found = list(labels)
        if len(found) == count:
            return found
    return [None] * count


def described(value: Any) -> str:
    """Return the type of a value, and its shape where it has one."""
    try:
        shape = getattr(value, "shape", None)
    except RuntimeError:  # a nested tensor of PyTorch
        return f"{type(value).__name__} without a shape"
    return type(value).__name__ + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) and shape else "")


def is_element(value: Any) -> bool:
    """Say whether a value holds an image in memory, and is no path or list of paths."""
    if isinstance(value, tuple) and len(value) == 2 and is_path(value[0]) and isinstance(value[1], int):
        return True
    return is_image(value) or any(True for _ in _candidates(value))


def is_image(value: Any) -> bool:
    """Say whether a value is an image or a batch of images: an array, a PIL image, encoded bytes, an open file."""
    return is_array(value) or is_pil(value) or isinstance(value, bytes | bytearray | memoryview) or _is_file(value)


def _is_file(value: Any) -> bool:
    return hasattr(value, "read") and hasattr(value, "readable")


def is_path(value: Any) -> bool:
    """Say whether a value is the path of a file."""
    return isinstance(value, str | os.PathLike)


def is_array(value: object) -> bool:
    """Say whether a value is an array or a tensor."""
    if is_pil(value) or getattr(value, "is_nested", False) is True:
        return False
    return any(hasattr(value, protocol) for protocol in _ARRAY_PROTOCOLS)


def is_pil(value: object) -> bool:
    """Say whether a value is a PIL image."""
    return from_module(value, "PIL") and hasattr(value, "getbands")


def from_module(value: object, name: str) -> bool:
    """Say whether the type of a value, or one that it derives from, is of a package."""
    return any(base.__module__.partition(".")[0] == name for base in type(value).__mro__)
