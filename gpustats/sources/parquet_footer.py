"""Where the pages of a Parquet column lie, from the footer of the file.

Arrow tells it too, but its C++ ends the process at a column that is damaged or encrypted, and it joins the names of
nested columns by dots, so that a column called "image.bytes" cannot be told from the member of a struct.

The format: https://github.com/apache/parquet-format (README.md, parquet.thrift).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from gpustats.failures import ImageError
from gpustats.sources.thrift import Struct, Value, read_struct

__all__ = ["Column", "find_columns"]

_MAGIC = b"PAR1"
_MAX_BYTES = 16 << 20  # of a footer: seconds to read
_MAX_ROWS = 1 << 20

_BYTE_ARRAY = 6
_OPTIONAL, _REPEATED = 1, 2
_CODECS = {0: "UNCOMPRESSED", 1: "SNAPPY", 2: "GZIP", 4: "BROTLI", 6: "ZSTD"}
_ENCODINGS = frozenset({0, 2, 3, 8})  # PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY


@dataclass(frozen=True, slots=True)
class Column:
    """One column of one row group.

    Attributes
    ----------
    start : int
        Where its first page begins in the file.
    rows : int
        Values, missing ones counted.
    codec : str
        Parquet's name of the compression.
    depth : int
        Definition level of a value that is there: how many of its parents, itself counted, may be missing.
    """

    start: int
    rows: int
    codec: str
    depth: int


def find_columns(stream: BinaryIO, path: Sequence[str]) -> list[Column | None]:
    """Look a column of byte strings up in every row group.

    Parameters
    ----------
    stream : file object
        The Parquet file.
    path : sequence of str
        Names from the root to the leaf.

    Returns
    -------
    list of Column or None
        None for a row group that `parquet_pages.values` does not read: other compressions and encodings, lists, a name
        that is there twice, encryption, more than a million rows. Empty where that goes for the whole file.
    """
    try:
        return _find(_footer(stream), [name.encode("utf-8", "surrogateescape") for name in path])
    except ImageError:  # Arrow says what is wrong with it, or is more lenient
        return []


def _footer(stream: BinaryIO) -> Struct:
    stream.seek(-8, io.SEEK_END)
    tail = stream.read(8)
    size = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or size > _MAX_BYTES:
        raise ImageError("unsupported", "Parquet: an encrypted or very large footer")
    stream.seek(-8 - size, io.SEEK_END)
    footer = io.BytesIO(stream.read(size))

    def read(count: int) -> bytes:
        data = footer.read(count)
        if len(data) < count:
            raise ImageError("corrupt", "Parquet: the footer is cut off")
        return data

    return read_struct(read, _MAX_BYTES)


def _find(footer: Struct, path: list[bytes]) -> list[Column | None]:
    leaves = [leaf for leaf in _leaves(_structs(footer.get(2))) if leaf.path == path]
    if len(leaves) != 1 or leaves[0].kind != _BYTE_ARRAY:
        return []
    return [_column(group, leaves[0]) for group in _structs(footer.get(4))]


class _Leaf(NamedTuple):
    """A column in the schema; `path` holds the names from the root on, `depth` is None within a list."""

    number: int
    path: list[bytes]
    depth: int | None
    kind: int


def _leaves(elements: list[Struct]) -> list[_Leaf]:
    """Return the leaves of a schema, which is a tree in preorder."""
    leaves: list[_Leaf] = []
    above: list[tuple[bytes, int | None, int]] = []  # name, level, and children still to come
    for place, element in enumerate(elements):
        while above and not above[-1][2]:
            above.pop()
        level: int | None = 0
        if above:
            parent, level, children = above[-1]
            above[-1] = parent, level, children - 1
        elif place:
            raise ImageError("corrupt", "Parquet: a schema of several trees")
        repetition, children = _number(element.get(3, 0)), _number(element.get(5, 0))
        if place and level is not None:
            level = None if repetition == _REPEATED else level + (repetition == _OPTIONAL)
        name = element.get(4)
        if not isinstance(name, bytes):
            raise ImageError("corrupt", "Parquet: a column without a name")
        if children:
            above.append((name, level, children))
        elif place:
            names = [*(parent for parent, _, _ in above[1:]), name]
            leaves.append(_Leaf(len(leaves), names, level, _number(element.get(1, -1))))
    return leaves


def _column(group: Struct, leaf: _Leaf) -> Column | None:
    chunks, rows = _structs(group.get(1)), _number(group.get(3))
    chunk = chunks[leaf.number] if leaf.number < len(chunks) else {}
    found = chunk.get(3)
    encrypted = 8 in chunk or 9 in chunk
    if not isinstance(found, dict) or encrypted or chunk.get(1):  # 1: the column lies in another file
        return None
    codec, encodings = _CODECS.get(_number(found.get(4))), found.get(2)
    readable = (
        found.get(3) == leaf.path
        and isinstance(encodings, list)
        and _ENCODINGS.issuperset(map(_number, encodings))
        and _number(found.get(5)) == rows <= _MAX_ROWS
    )
    if codec is None or leaf.depth is None or not readable:
        return None
    start, dictionary = _number(found.get(9)), _number(found.get(11, 0))
    # Some writers say 0 where there is no dictionary.
    return Column(min(start, dictionary) if dictionary > 0 else start, rows, codec, leaf.depth)


def _structs(value: Value | None) -> list[Struct]:
    if not isinstance(value, list):
        raise ImageError("corrupt", "Parquet: a footer without schema or row groups")
    structs = [item for item in value if isinstance(item, dict)]
    if len(structs) != len(value):
        raise ImageError("corrupt", "Parquet: a footer with other things than columns")
    return structs


def _number(value: Value | None) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ImageError("corrupt", "Parquet: a footer without a number that has to be there")
    return value
