"""The values of a Parquet column, read in pieces.

Arrow loads a page whole, and writers put a thousand values into one: of photographs that is a page of 100 MB, held
three times over before the first image can be had. Here a page is decompressed half a megabyte at a time, and a value
is handed out once its last byte is there. The encodings and compressions that writers use for images by default are
read so (see `parquet_footer.find_columns`); for the rest there is Arrow.

The format: https://github.com/apache/parquet-format (README.md, Encodings.md, parquet.thrift).
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpustats.failures import ImageError
from gpustats.sources import snappy
from gpustats.sources.base import check_bytes
from gpustats.sources.parquet_footer import Column
from gpustats.sources.protobuf import varint
from gpustats.sources.thrift import Struct, read_struct

__all__ = ["Value", "values"]

Value: TypeAlias = "memoryview | ImageError | None"

_PIECE = 1 << 19

_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_DETAILS = {_DATA_PAGE: 5, _DICTIONARY_PAGE: 7, _DATA_PAGE_V2: 8}
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8


def values(stream: BinaryIO, column: Column, max_bytes: int) -> Iterator[Value]:
    """Yield the values in the order of the rows.

    Parameters
    ----------
    stream : file object
        The Parquet file; others may seek in it between two values.
    column : Column
        What to read.
    max_bytes : int
        Larger values are passed over.

    Yields
    ------
    memoryview, ImageError or None
        A value, why there is none, or None where the row has none.

    Raises
    ------
    ImageError
        "corrupt" where the pages are not what the format says, "unsupported" for what no known writer does.
    """
    dictionary: _Page | None = None
    indices: list[NDArray[np.int64]] | None = []
    for page in _pages(stream, column):
        if page.kind == _DICTIONARY_PAGE:
            if dictionary is not None or page.encoding not in (_PLAIN, _PLAIN_DICTIONARY):
                raise _corrupt("a second dictionary, or one in an unknown encoding")
            dictionary = page
        elif page.encoding in (_PLAIN_DICTIONARY, _RLE_DICTIONARY):
            if indices is None:
                raise ImageError("unsupported", "Parquet: values in a dictionary follow values outside of it")
            indices.append(_indices(page, column.depth))
        elif page.encoding == _PLAIN:
            # A dictionary is passed over once, for all the rows that refer to it. They come first: a writer gives a
            # dictionary up when it has grown too large.
            if indices is not None:
                yield from _look_up(dictionary, indices, max_bytes)
                indices = None
            yield from _plain(page, column.depth, max_bytes)
        else:
            raise ImageError("unsupported", f"Parquet: a page in encoding {page.encoding}")
    if indices is not None:
        yield from _look_up(dictionary, indices, max_bytes)


def _corrupt(what: str) -> ImageError:
    return ImageError("corrupt", f"Parquet: {what}")


class _Cursor:
    """A position of its own in a file object that others move about in."""

    def __init__(self, stream: BinaryIO, position: int) -> None:
        self._stream = stream
        self.position = position

    def read(self, count: int) -> bytes:
        """Read exactly so many bytes."""
        self._stream.seek(self.position)
        data = self._stream.read(count)
        self._moved(len(data), count)
        return data

    def read_into(self, buffer: memoryview) -> None:
        """Fill the buffer."""
        self._stream.seek(self.position)
        self._moved(self._stream.readinto(buffer), len(buffer))  # type: ignore[attr-defined]

    def _moved(self, count: int, wanted: int) -> None:
        if count != wanted:
            raise _corrupt("the file ends within a page")
        self.position += count


@dataclass(frozen=True, slots=True)
class _Page:
    """A page whose header has been read.

    Attributes
    ----------
    stream : file object
        Where it lies.
    kind, encoding : int
        As in parquet.thrift.
    count : int
        Values, missing ones counted.
    levels : memoryview or None
        Definition levels that lie outside of the body: those of data pages of version 2.
    position, compressed_size : int
        Where the body lies.
    size : int
        Its bytes once decompressed.
    codec : str
        Parquet's name of the compression.
    """

    stream: BinaryIO
    kind: int
    encoding: int
    count: int
    levels: memoryview | None
    position: int
    compressed_size: int
    size: int
    codec: str


def _pages(stream: BinaryIO, column: Column) -> Iterator[_Page]:
    """Yield the dictionary and the pages that hold the rows."""
    if column.start < 0:
        raise _corrupt("a column that begins before the file")
    cursor = _Cursor(stream, column.start)
    rows = 0
    while rows < column.rows:
        header = read_struct(cursor.read)
        page = _page(stream, column, header, cursor.position)
        cursor.position += _number(header, 3)
        if page is None:
            continue
        if page.kind != _DICTIONARY_PAGE:
            rows += page.count
        if rows > column.rows:
            raise _corrupt(f"more values than the {column.rows:,} rows of the row group")
        yield page


def _page(stream: BinaryIO, column: Column, header: Struct, position: int) -> _Page | None:
    """Return the page whose body begins at `position`; None for one that holds no values."""
    kind, size, compressed_size = (_number(header, field) for field in (1, 2, 3))
    if kind not in _DETAILS:
        return None
    details = header.get(_DETAILS[kind])
    if not isinstance(details, dict):
        raise _corrupt("the header of a page does not say what is in it")
    if kind != _DATA_PAGE_V2:
        if kind == _DATA_PAGE and column.depth and _number(details, 3) != _RLE:
            raise ImageError("unsupported", "Parquet: definition levels that are not run-length encoded")
        encoding = _number(details, 2)
        return _Page(stream, kind, encoding, _number(details, 1), None, position, compressed_size, size, column.codec)
    repetition, definition = _number(details, 6), _number(details, 5)
    outside = repetition + definition
    if outside > min(size, compressed_size):
        raise _corrupt("levels that are larger than their page")
    count = _number(details, 1)
    levels = memoryview(_Cursor(stream, position + repetition).read(_levels_size(definition, count)))
    codec = column.codec if details.get(7, True) else "UNCOMPRESSED"
    body = (position + outside, compressed_size - outside, size - outside)
    return _Page(stream, kind, _number(details, 4), count, levels, *body, codec)


def _number(struct: Struct, field: int) -> int:
    value = struct.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise _corrupt(f"the header of a page has no valid field {field}")
    return value


class _Body:
    """The decompressed bytes of a page, taken in order."""

    def __init__(self, page: _Page) -> None:
        self._pieces = _pieces(page)
        self._piece = memoryview(b"")
        self._position = 0

    def take(self, count: int) -> memoryview:
        """Take exactly so many bytes."""
        end = self._position + count
        if end <= len(self._piece):
            taken = self._piece[self._position : end]
            self._position = end
            return taken
        parts = [self._piece[self._position :]]
        missing = count - len(parts[0])
        for piece in self._pieces:
            parts.append(piece[:missing])
            self._piece, self._position = piece, len(parts[-1])
            missing -= self._position
            if not missing:
                return memoryview(b"".join(parts))
        raise _corrupt("a page ends within a value")

    def size(self) -> int:
        """Take a number of bytes."""
        return int.from_bytes(self.take(4), "little")

    def value(self, max_bytes: int) -> memoryview | ImageError:
        """Take a value, or pass it over and return why."""
        size = self.size()
        try:
            check_bytes(size, max_bytes)
        except ImageError as error:
            for start in range(0, size, _PIECE):
                self.take(min(_PIECE, size - start))
            return error
        return self.take(size)

    def rest(self, most: int) -> memoryview:
        """Take all that is left."""
        parts: list[memoryview] = []
        size = 0
        for piece in chain([self._piece[self._position :]], self._pieces):
            parts.append(piece)
            size += len(piece)
            if size > most:
                raise _corrupt("a page of indices that is too long")
        return memoryview(b"".join(parts))


def _pieces(page: _Page) -> Iterator[memoryview]:
    """Yield the body of a page, decompressed."""
    if page.codec == "SNAPPY":
        return snappy.pieces(
            lambda start, buffer: _Cursor(page.stream, page.position + start).read_into(buffer),
            page.compressed_size,
            page.size,
        )
    if page.codec == "UNCOMPRESSED":
        return _plain_pieces(page)
    return _decompressed_pieces(page)


def _plain_pieces(page: _Page) -> Iterator[memoryview]:
    cursor = _Cursor(page.stream, page.position)
    for start in range(0, page.compressed_size, _PIECE):
        yield memoryview(cursor.read(min(_PIECE, page.compressed_size - start)))


def _decompressed_pieces(page: _Page) -> Iterator[memoryview]:
    import pyarrow as pa

    part = pa.PythonFile(_Part(page), "r")
    with pa.CompressedInputStream(part, page.codec.lower()) as decompressed:
        while piece := decompressed.read(_PIECE):
            yield memoryview(piece)


class _Part(io.RawIOBase):
    """The body of a page as a file."""

    def __init__(self, page: _Page) -> None:
        self._cursor = _Cursor(page.stream, page.position)
        self._left = page.compressed_size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._left)
        self._cursor.read_into(memoryview(buffer)[:count])
        self._left -= count
        return count


def _plain(page: _Page, depth: int, max_bytes: int) -> Iterator[Value]:
    """Yield the values of a page that holds them itself."""
    body = _Body(page)
    for present in _presence(page, body, depth).tolist():
        yield body.value(max_bytes) if present else None


def _indices(page: _Page, depth: int) -> NDArray[np.int64]:
    """Return the indices of a page that refers to the dictionary, -1 for a missing value."""
    body = _Body(page)
    present = _presence(page, body, depth)
    indices = np.full(page.count, -1, np.int64)
    count = int(np.count_nonzero(present))
    if count:
        width = body.take(1)[0]
        indices[present] = _runs(body.rest(8 * count + 64), width, count)
    return indices


def _look_up(dictionary: _Page | None, pages: list[NDArray[np.int64]], max_bytes: int) -> Iterator[Value]:
    """Yield the values that indices stand for.

    The dictionary streams past. A value is held from when it comes by until its last row has been served; writers
    number values as they first appear, so hardly more than those that appear again are held.
    """
    indices = np.concatenate(pages) if pages else np.empty(0, np.int64)
    size = 0 if dictionary is None else dictionary.count
    if indices.size and indices.max() >= size:
        raise _corrupt(f"a row refers to value {indices.max()} of a dictionary of {size}")
    body = None if dictionary is None else _Body(dictionary)
    rows = Counter(indices.tolist())
    held: dict[int, memoryview | ImageError] = {}
    passed = 0
    for index in indices.tolist():
        if index < 0 or body is None:
            yield None
            continue
        while passed <= index:
            value = body.value(max_bytes)
            if rows[passed]:
                held[passed] = value
            passed += 1
        rows[index] -= 1
        yield held[index] if rows[index] else held.pop(index)


def _presence(page: _Page, body: _Body, depth: int) -> NDArray[np.bool_]:
    """Return which values of a page are there."""
    if not depth:
        return np.ones(page.count, np.bool_)
    levels = page.levels if page.levels is not None else body.take(_levels_size(body.size(), page.count))
    present: NDArray[np.bool_] = _runs(levels, depth.bit_length(), page.count) == depth
    return present


def _levels_size(size: int, count: int) -> int:
    if size > 8 * count + 64:
        raise _corrupt(f"{size:,} bytes of levels for {count:,} values")
    return size


def _runs(data: memoryview, width: int, count: int) -> NDArray[np.int64]:
    """Decode the hybrid of run lengths and packed bits: `count` numbers of `width` bits."""
    if width > 31:
        raise _corrupt(f"numbers of {width} bits")
    numbers = np.zeros(count, np.int64)
    done = position = 0
    while done < count:
        try:
            head, position = varint(data, position)
        except ValueError as error:
            raise _corrupt(f"levels or indices: {error}") from None
        if head & 1:
            packed = np.frombuffer(data[position : position + (head >> 1) * width], np.uint8)
            position += len(packed)
            bits = np.unpackbits(packed, bitorder="little")
            run = min(8 * (head >> 1), count - done, len(bits) // width if width else count)
            for bit in range(width):
                numbers[done : done + run] |= bits[bit::width][:run].astype(np.int64) << bit
        else:
            repeated = data[position : position + (width + 7) // 8]
            position += len(repeated)
            run = min(head >> 1, count - done) if 8 * len(repeated) >= width else 0
            numbers[done : done + run] = int.from_bytes(repeated, "little")
        if not run:
            raise _corrupt("levels or indices: a run of none")
        done += run
    return numbers
