"""TIFF files whose tags leave no doubt, for imagecodecs, which decodes without the interpreter lock.

Pillow decides what is a whole image. It has a reader of its own for pixels that are not compressed, and libtiff for all
others, and it looks at more tags than these need. So a file goes to imagecodecs only where it is of an ordinary kind:
8 bits a sample, grey or RGB, with or without alpha, in strips or tiles of which each lies within the file. All other
files, and those that imagecodecs refuses, are left to Pillow. libtiff decodes the file, but where it is too forgiving:
what is compressed with deflate or as a JPEG is decoded piece by piece.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpustats.decode.headers import jpeg_frame, jpeg_scans
from gpustats.decode.plain import Doubt, Plain

__all__ = ["plain_tiff"]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _ORIENTATION, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES = 273, 274, 277, 278, 279
_RESOLUTIONS, _PLANAR, _PREDICTOR = (282, 283), 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 322, 323, 324, 325, 338, 339
_STRIP_TAGS, _TILE_TAGS = (_STRIPS, _STRIP_ROWS, _STRIP_BYTES), (_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES)
_DIRECTORIES = (34665, 34853)  # EXIF and GPS, which Pillow reads
_NEVER = {40965, 0xBC01, *range(512, 522)}
"""Tags that Pillow or libtiff takes for a reason to read a file in another way."""

_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of a value by its type (TIFF 6.0, section 2)."""
_LONG, _RATIONAL, _UNDEFINED = 4, 5, 7
_INTEGERS = {3: "H", _LONG: "I"}

_RAW, _LZW, _JPEG, _PACKBITS, _DEFLATE = 1, 5, 7, 32773, (8, 32946)
_PREDICTED = (_LZW, *_DEFLATE)
_HORIZONTAL = 2  # a predictor
_GREY, _RGB, _YCBCR = 1, 2, 6
_COLOURS = {_GREY: 1, _RGB: 3, _YCBCR: 3}
_JPEG_COLOURS = {_GREY: ("GRAYSCALE", "GRAYSCALE"), _RGB: ("RGB", "RGB"), _YCBCR: ("YCBCR", "RGB")}
_SEQUENTIAL = (0xC0, 0xC1)  # frame headers of JPEG, Huffman-coded
_UNASSOCIATED_ALPHA = 2
_ALL_ROWS, _MOST_ROWS = (1 << 32) - 1, (1 << 16) - 1
_TABLES, _SUBSAMPLING = 347, 530
_LARGE_TILE = 1 << 20  # pixels; a larger tile is larger than the image


class _Tags:
    """The first directory of a file; it raises `Doubt` or `struct.error` where there is anything odd about it."""

    def __init__(self, data: bytes, order: str) -> None:
        self._data, self._order = data, order
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        position, end = start + 2, start + 2 + 12 * count
        if start < 8 or end + 4 > len(data):
            raise Doubt
        self._numbers: dict[int, int] = {}
        self._others: dict[int, tuple[int, int, int]] = {}
        high_half = 16 if order == ">" else 0
        last, left = 0, len(data)
        for tag, kind, count, value in struct.iter_unpack(order + "HHII", data[position:end]):
            if count == 1 and kind in _INTEGERS:
                self._numbers[tag] = value if kind == _LONG else value >> high_half & 0xFFFF
            else:
                size = count * _SIZES.get(kind, 0)
                if size <= 4:
                    value = position + 8
                else:
                    left -= size
                if not size or left < 0 or value + size > len(data):
                    raise Doubt
                self._others[tag] = kind, count, value
            if tag <= last or tag in _NEVER:
                raise Doubt
            last, position = tag, position + 12

    def __contains__(self, tag: int) -> bool:
        return tag in self._numbers or tag in self._others

    def is_one(self, tag: int, kind: int) -> bool:
        """Say whether a tag is missing, or one value of this type; all integers are of one."""
        if tag in self._others:
            return self._others[tag][:2] == (kind, 1)
        return kind in _INTEGERS or tag not in self._numbers

    def bytes(self, tag: int) -> bytes:
        """Return the bytes of a tag, none where it is missing."""
        kind, count, position = self._others.get(tag, (_UNDEFINED, 0, 0))
        if kind != _UNDEFINED or tag in self._numbers:
            raise Doubt
        return self._data[position : position + count]

    def value(self, tag: int, default: int = 0) -> int:
        """Return the one integer of a tag."""
        if tag in self._others:
            raise Doubt
        return self._numbers.get(tag, default)

    def values(self, tag: int, *default: int) -> tuple[int, ...]:
        """Return the integers of a tag."""
        if tag in self._numbers:
            return (self._numbers[tag],)
        if tag not in self._others:
            return default
        kind, count, position = self._others[tag]
        if kind not in _INTEGERS:
            raise Doubt
        return struct.unpack_from(f"{self._order}{count}{_INTEGERS[kind]}", self._data, position)


_Fill = Callable[[bytes, NDArray[np.uint8]], None]
"""Decodes the bytes of a strip or a tile into an array of its size."""


class _Pieces(NamedTuple):
    """The strips of an image, or its tiles, which are all of the same size."""

    tiled: bool
    high: int
    wide: int
    starts: tuple[int, ...]
    sizes: tuple[int, ...]


def plain_tiff(data: bytes) -> Plain | None:
    """Return a TIFF (revision 6.0) that imagecodecs can decode, None where Pillow should have it."""
    order = _ORDERS.get(data[:4])
    if order is None:
        return None
    try:
        tags = _Tags(data, order)
        samples = tags.value(_SAMPLES, 1)
        if not _is_ordinary(tags, samples):
            return None
        shape = tags.value(_HEIGHT), tags.value(_WIDTH), samples
        pieces = _pieces(tags, *shape, len(data))
        fill = _filler(tags, data, samples)
    except (struct.error, Doubt):
        return None
    return Plain(*shape, data, fill and partial(_assembled, data, shape, pieces, fill))


def _is_ordinary(tags: _Tags, samples: int) -> bool:
    """Say whether samples are 8-bit colours with no more than alpha, compressed in one of the usual ways."""
    compression = tags.value(_COMPRESSION, _RAW)
    colours = tags.value(_PHOTOMETRIC)
    extra = samples - _COLOURS.get(colours, 0)
    return (
        compression in (_RAW, _PACKBITS, _JPEG, *_PREDICTED)
        and (colours != _YCBCR or compression == _JPEG)
        and extra in ((0,) if compression == _JPEG else (0, 1))
        and tags.values(_EXTRA_SAMPLES) == (_UNASSOCIATED_ALPHA,) * extra
        and tags.values(_BITS) == (8,) * samples
        and set(tags.values(_SAMPLE_FORMAT, 1)) == {1}
        and all(tags.value(tag, 1) == 1 for tag in (_PLANAR, _ORIENTATION, _FILL_ORDER))
        and tags.value(_PREDICTOR, 1) in ((1, _HORIZONTAL) if compression in _PREDICTED else (1,))
        and all(tags.is_one(tag, _RATIONAL) for tag in _RESOLUTIONS)
        and all(tags.is_one(tag, _LONG) for tag in _DIRECTORIES)
    )


def _filler(tags: _Tags, data: bytes, samples: int) -> _Fill | None:
    """Return what decodes a strip or a tile, None where libtiff should decode the whole file."""
    compression = tags.value(_COMPRESSION, _RAW)
    if compression in _DEFLATE:
        return partial(_inflate, predicted=tags.value(_PREDICTOR) == _HORIZONTAL)
    if compression != _JPEG:
        return None
    colours = tags.value(_PHOTOMETRIC)
    sampling = tags.values(_SUBSAMPLING, 2, 2) if colours == _YCBCR else (1, 1)
    if len(sampling) != 2 or not set(sampling) <= {1, 2, 4}:
        raise Doubt
    components = bytes((sampling[0] << 4 | sampling[1],)) + b"\x11" * (samples - 1)
    return partial(_decode_jpeg, tables=tags.bytes(_TABLES), colours=colours, components=components)


def _pieces(tags: _Tags, height: int, width: int, samples: int, end: int) -> _Pieces:
    """Return all strips or tiles of a file that ends there; raises `Doubt` where some are missing or odd."""
    if _TILES in tags:
        high, wide = tags.value(_TILE_HEIGHT), tags.value(_TILE_WIDTH)
        starts, sizes = tags.values(_TILES), tags.values(_TILE_BYTES)
        others: tuple[int, ...] = _STRIP_TAGS
        if high % 16 or wide % 16 or high * wide > max(height * width, _LARGE_TILE):
            raise Doubt
    else:
        rows = tags.value(_STRIP_ROWS, _ALL_ROWS)
        high, wide = min(rows, height), width
        starts, sizes = tags.values(_STRIPS), tags.values(_STRIP_BYTES)
        others = _TILE_TAGS
        if _MOST_ROWS < rows < _ALL_ROWS:
            raise Doubt
    if not (height and width and high and wide):
        raise Doubt
    down, across = -(-height // high), -(-width // wide)
    if not len(starts) == len(sizes) == down * across or any(tag in tags for tag in others) or not min(sizes):
        raise Doubt
    if any(start + size > end for start, size in zip(starts, sizes, strict=True)):
        raise Doubt
    if tags.value(_COMPRESSION, _RAW) == _RAW:
        last = high if _TILES in tags else height - (down - 1) * high
        row = wide * samples
        if sizes[-1] != last * row or sizes.count(high * row) != len(sizes) - (last != high):
            raise Doubt
    return _Pieces(_TILES in tags, high, wide, starts, sizes)


def _assembled(data: bytes, shape: tuple[int, int, int], pieces: _Pieces, fill: _Fill) -> NDArray[np.uint8]:
    """Return the pixels of a file whose strips or tiles are decoded one by one."""
    height, width, samples = shape
    tiled, high, wide, starts, sizes = pieces
    pixels = np.empty(shape, np.uint8)
    tile = np.empty((high, wide, samples), np.uint8) if tiled else None
    corners = itertools.product(range(0, height, high), range(0, width, wide))
    for start, size, (top, left) in zip(starts, sizes, corners, strict=True):
        place = pixels[top : top + high, left : left + wide]
        fill(data[start : start + size], place if tile is None else tile)
        if tile is not None:
            place[...] = tile[: len(place), : place.shape[1]]
    return pixels


def _inflate(data: bytes, out: NDArray[np.uint8], *, predicted: bool) -> None:
    """Decode a strip or a tile that is compressed with deflate.

    The libtiff of imagecodecs 2026.3.6 makes pixels of damaged data. libdeflate looks at their checksum; where that is
    right, it may take an end that zlib, and so Pillow, calls damaged.

    Raises
    ------
    DeflateError, Doubt
        Where the data are damaged, or do not inflate to as many bytes as they should.
    """
    import imagecodecs

    flat: Any = out.reshape(-1)
    if len(imagecodecs.deflate_decode(data, raw=False, out=flat)) != flat.size:
        raise Doubt
    if predicted:
        imagecodecs.delta_decode(out, axis=1, out=out)


def _decode_jpeg(data: bytes, out: NDArray[np.uint8], *, tables: bytes, colours: int, components: bytes) -> None:
    """Decode a strip or a tile that is a JPEG; its frame header (ITU-T T.81, B.2.2) should say what the tags say.

    Raises
    ------
    Jpeg8Error, Doubt, struct.error
        Where the data are damaged, or are another image than they should be.
    """
    import imagecodecs

    frame = jpeg_frame(data)
    precision, height, width, count = struct.unpack_from(">BHHB", data, frame + 4)
    sampling = data[frame + 11 : frame + 10 + 3 * count : 3]
    if (precision, height, width, sampling) != (8, *out.shape[:2], components):
        raise Doubt
    if data[frame + 1] not in _SEQUENTIAL or jpeg_scans(data, height * width):
        raise Doubt
    stored, wanted = _JPEG_COLOURS[colours]
    pixels = imagecodecs.jpeg8_decode(data, tables=tables or None, colorspace=stored, outcolorspace=wanted)
    out[...] = pixels.reshape(out.shape)
