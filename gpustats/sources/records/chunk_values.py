"""The values of MDS and LitData samples that may be images: encoded, PIL's pixels, arrays, and lists of these."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from gpustats.decode.formats import IMAGE_SUFFIXES
from gpustats.failures import ImageError
from gpustats.sources.items import Item
from gpustats.sources.values import pil_reader

__all__ = ["Piece", "form_of", "items_of", "shape_of", "text_of"]

_DAMAGE = (struct.error, ValueError, LookupError, TypeError)
_ENCODED = frozenset({"jpeg", "png", "tiff", "tifffile"})
_LISTS = {"jpegarray": ("jpeg", 0), "jpeg_array": ("jpeg", 0)}  # of what, and the bytes before their number
_LISTS |= {f"list[{inner}]": (inner, 4) for inner in ("jpeg", "png", "pil")}
_ARRAYS = frozenset({"ndarray", "numpy", "tensor"})
_TEXTS = frozenset({"str", "text", "str_int", "str_float", "str_decimal"})

# What numbers stand for in headers: MDS's dtypes, LitData's of NumPy and of PyTorch.
_MDS = {8: "u1", 9: "i1", 16: "u2", 17: "i2", 18: "f2", 32: "u4", 33: "i4", 34: "f4", 64: "u8", 65: "i8", 66: "f8"}
_NUMPY = dict(enumerate(("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")))
_TORCH = {0: "f4", 1: "f4", 2: "f8", 3: "f8", 8: "f2", 9: "f2", 11: "u1", 12: "i1", 13: "i2", 14: "i2"}
_TORCH |= {15: "i4", 16: "i4", 17: "i8", 18: "i8", 19: "?", 20: "u2"}


class Piece(Protocol):
    """Bytes of a chunk, in memory or in a file."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return some of them."""
        ...

    def reader(self, offset: int, size: int) -> Item:
        """Return an item that gives some of them."""
        ...


def form_of(encoding: str) -> str | None:
    """Return what a value is by its encoding: "encoded", "pil", "list", "array", "bytes", or None for no image.

    >>> form_of("image:png"), form_of("ndarray:uint8:32,32,3"), form_of("list[jpeg]"), form_of("pkl")
    ('encoded', 'array', 'list', None)
    """
    name, _, detail = encoding.partition(":")
    if name in _ENCODED or name == "image" or (name == "file" and f".{detail}" in IMAGE_SUFFIXES):
        return "encoded"
    if name in ("pil", "bytes"):
        return name
    return "list" if encoding in _LISTS else "array" if name in _ARRAYS else None


def items_of(encoding: str, piece: Piece, offset: int, size: int, view: Callable[[Any], Any]) -> list[Item]:
    """Return the images of a value.

    Parameters
    ----------
    encoding : str
        One with a `form_of`.
    piece : Piece
        Where it is.
    offset, size : int
        Where in it.
    view : callable
        Makes an array (H, W) or (H, W, C).

    Raises
    ------
    ImageError
        Where a list is damaged.
    """
    form = form_of(encoding)
    if form == "list":
        inner, before = _LISTS[encoding]
        return [
            item
            for start, length in _listed(piece, offset, size, before)
            for item in items_of(inner, piece, start, length, view)
        ]
    data = piece.reader(offset, size)
    if form == "pil":
        return [lambda max_bytes: pil_reader(_pil(_loaded(data, max_bytes)))(max_bytes)]
    if form == "array":
        return [lambda max_bytes: view(_array(encoding, _loaded(data, max_bytes)))]
    return [data]


def _loaded(item: Item, max_bytes: int) -> bytes:
    return bytes(item(max_bytes) if callable(item) else item)  # type: ignore[arg-type]


def _listed(piece: Piece, offset: int, size: int, before: int) -> list[tuple[int, int]]:
    """Return where the entries of a list are, and how long: their number and their lengths come first."""
    head = piece.read_at(offset + before, 4) if size >= before + 4 else b""
    count = struct.unpack("<I", head)[0] if len(head) == 4 else 0
    start = before + 4 + 4 * count
    if not count or start > size:
        raise ImageError("corrupt", "the list of images is damaged")
    sizes = struct.unpack(f"<{count}I", piece.read_at(offset + before + 4, 4 * count))
    if start + sum(sizes) != size:
        raise ImageError("corrupt", "the images of the list do not have the length of the list")
    found = []
    for length in sizes:
        found.append((offset + start, length))
        start += length
    return found


def _pil(data: bytes) -> Any:
    from PIL import Image

    try:
        width, height, named = struct.unpack_from("<3I", data)
        mode = data[12 : 12 + named].decode("ascii")
        if width * height > 8 * len(data):
            raise ValueError("not enough image data")
        return Image.frombytes(mode, (width, height), data[12 + named :])
    except (struct.error, ValueError, KeyError, OSError) as error:
        raise ImageError("corrupt", f"not the pixels of a PIL image: {error}") from None


def shape_of(encoding: str, data: bytes) -> tuple[int, ...] | None:
    """Return the shape of the array that a value is, from its first bytes; None where its header is damaged."""
    try:
        return _header(encoding, data)[1]
    except _DAMAGE:
        return None


def _array(encoding: str, data: bytes) -> np.ndarray[Any, Any]:
    try:
        dtype, shape, start = _header(encoding, data)
        return np.frombuffer(data, dtype, offset=start).reshape(shape)
    except _DAMAGE as error:
        raise ImageError("corrupt", f"not an array: {error}") from None


def _header(encoding: str, data: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return the type, the shape, and where the values begin."""
    name, *given = encoding.split(":")
    if name != "ndarray":
        order = "<" if name == "numpy" else ">"
        code, axes = struct.unpack_from(order + "2I", data)
        kinds = _NUMPY if name == "numpy" else _TORCH
        return np.dtype(kinds[code]), struct.unpack_from(f"{order}{axes}I", data, 8), 8 + 4 * axes
    start = 0
    if given and given[0]:
        dtype = np.dtype(given[0])
    else:
        dtype, start = np.dtype(_MDS[data[0]]), 1
    if len(given) > 1:
        return dtype, tuple(map(int, given[1].split(","))), start
    axes, width = data[start] >> 2, 1 << (data[start] & 3)
    end = start + 1 + axes * width
    shape = np.frombuffer(data[start + 1 : end], f"<u{width}").tolist()
    return dtype, tuple(shape), end


def text_of(encoding: str, data: bytes) -> str:
    """Return a value as the name of a group; "" for what is no text and no number."""
    if encoding in _TEXTS:
        return data.decode("utf-8", "replace")
    try:
        return str(np.frombuffer(data, "?" if encoding == "bool" else encoding if encoding != "int" else "<i8")[0])
    except (TypeError, ValueError, LookupError):
        return ""
