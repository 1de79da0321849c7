"""The values of an LMDB database, from the pages of its file.

LMDB's own library maps the file into memory and trusts it: at a file that was cut off, or one wrong byte in a page, it
ends the process. Here every page is read and checked, and a damaged one costs what lies below it.

The format, data version 1: ``MDB_meta``, ``MDB_page`` and ``MDB_node`` in
https://github.com/LMDB/lmdb/blob/LMDB_0.9.31/libraries/liblmdb/mdb.c
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gpustats.failures import ImageError

__all__ = ["HEAD", "Value", "walk"]

HEAD = 16
"""Bytes of a value that `walk` reads."""

_MAGIC, _VERSION = 0xBEEFC0DE, 1
# A page's head; magic, version, address, map size, list of free pages, main database, last page, transaction.
_META = struct.Struct("<Q2xH4xIIQQ48s48sQQ")
_DATABASE = struct.Struct("<IHHQQQQQ")  # page size, flags, depth, branch, leaf and overflow pages, entries, root
_PAGE = struct.Struct("<QHHHH")  # number, padding, flags, lower and upper bound of the free space
_NODE = struct.Struct("<HHHH")  # low and high half of a size, flags, size of the key; a page's number in a branch
_NONE = (1 << 64) - 1

_BRANCH, _LEAF, _OVERFLOW, _META_PAGE = 1, 2, 4, 8
_BIG, _DATABASE_WITHIN, _DUPLICATES = 1, 2, 4

_Read = Callable[[int, int], bytes]


class Value(NamedTuple):
    """A value: its key after the names of its databases, and its first `HEAD` bytes."""

    key: bytes
    offset: int
    size: int
    head: bytes


def walk(read: Callable[[int, int], bytes], file_size: int) -> Iterator[Value | ImageError]:
    """Yield the values in the order of their keys; those of a named database follow the page that names it.

    Parameters
    ----------
    read : callable
        Is given a position and a number of bytes; returns fewer where the file ends.
    file_size : int
        Bytes in the file.

    Yields
    ------
    Value or ImageError
        What is wrong with a page or a value; the others follow.

    Raises
    ------
    ImageError
        Where this is no LMDB database of a known version.
    """
    (transaction, page_size, entries, root), older = _metas(read)
    pages = _Pages(read, page_size, file_size)
    stack = [] if root == _NONE else [(root, b"")]
    found = 0
    damaged = False
    while stack:
        number, prefix = stack.pop()
        try:
            children, nodes = pages.tree_page(number)
        except ImageError as error:
            damaged = True
            yield error
            continue
        stack.extend((child, prefix) for child in reversed(children))
        within = []
        for node in nodes:
            found += 1
            key = prefix + node.key
            try:
                if node.flags & _DUPLICATES:
                    raise ImageError("unsupported", f"LMDB: the key {key!r} has several values, which are not read")
                if node.flags & _DATABASE_WITHIN:
                    *_, more, inner = _DATABASE.unpack(pages.content(node))
                    entries += more
                    within += [(inner, key + b"/")] if inner != _NONE else []
                else:
                    yield Value(key, *pages.place(node))
            except (ImageError, struct.error) as error:
                damaged = True
                yield error if isinstance(error, ImageError) else _corrupt(f"the database {key!r}")
        stack.extend(reversed(within))
    if transaction - older > 1:
        yield ImageError("corrupt", "LMDB: the two heads are not of successive transactions: images may be missing")
    if found != entries and not damaged:
        yield ImageError("corrupt", f"LMDB: {found:,} entries were found where {entries:,} should be")


class _Node(NamedTuple):
    """An entry of a leaf: `data` is where its content begins, or the number of the page does that holds it."""

    key: bytes
    flags: int
    size: int
    data: int
    page: bytes
    start: int


class _Pages:
    """Reads and checks pages."""

    def __init__(self, read: _Read, page_size: int, file_size: int) -> None:
        self._read = read
        self._size = page_size
        self._file_size = file_size
        self._seen = bytearray(file_size // page_size // 8 + 1)  # a bit for each page: none is part of two values

    def tree_page(self, number: int) -> tuple[list[int], list[_Node]]:
        """Return the children of a branch, or the nodes of a leaf."""
        start = number * self._size
        page = self._at(number, self._size)
        claimed, _, flags, lower, upper = _PAGE.unpack_from(page)
        kind = flags & ~0xC010  # without what only a running transaction means: dirty, loose, kept
        sound = _PAGE.size <= lower <= upper <= self._size and lower % 2 == 0
        if claimed != number or kind not in (_BRANCH, _LEAF) or not sound:
            raise _corrupt(f"page {number:,}")
        places = [place for (place,) in struct.iter_unpack("<H", page[_PAGE.size : lower])]
        if len(set(places)) < len(places) or min(places, default=upper) < upper:
            raise _corrupt(f"page {number:,}")
        children: list[int] = []
        nodes: list[_Node] = []
        for place in places:
            if place + _NODE.size > self._size:
                raise _corrupt(f"page {number:,}")
            low, high, node_flags, key_size = _NODE.unpack_from(page, place)
            data = place + _NODE.size + key_size
            if kind == _BRANCH:
                children.append(low | high << 16 | node_flags << 32)
                continue
            size = low | high << 16
            if data + (8 if node_flags & _BIG else size) > self._size:
                raise _corrupt(f"page {number:,}")
            nodes.append(_Node(page[place + _NODE.size : data], node_flags, size, data, page, start))
        return children, nodes

    def content(self, node: _Node) -> bytes:
        """Return a value that is stored in its leaf."""
        return node.page[node.data : node.data + node.size]

    def place(self, node: _Node) -> tuple[int, int, bytes]:
        """Return where a value begins in the file, its size, and its first bytes."""
        if not node.flags & _BIG:
            return node.start + node.data, node.size, self.content(node)[:HEAD]
        number = int.from_bytes(node.page[node.data : node.data + 8], "little")
        offset = number * self._size + _PAGE.size
        if offset + node.size > self._file_size:
            raise ImageError("truncated", f"LMDB: the file ends within the value of {node.key!r}")
        head = self._at(number, _PAGE.size + min(HEAD, node.size))
        claimed, _, flags, low, high = _PAGE.unpack_from(head)
        if claimed != number or not flags & _OVERFLOW or (low | high << 16) * self._size < _PAGE.size + node.size:
            raise _corrupt(f"the value of {node.key!r}")
        return offset, node.size, head[_PAGE.size :]

    def _at(self, number: int, count: int) -> bytes:
        position = number * self._size
        if position + count > self._file_size:
            raise ImageError("truncated", f"LMDB: the file ends before page {number:,}")
        if self._seen[number >> 3] >> (number & 7) & 1:
            raise ImageError("corrupt", f"LMDB: page {number:,} is referred to from two places")
        self._seen[number >> 3] |= 1 << (number & 7)
        data = self._read(position, count)
        if len(data) < count:
            raise ImageError("truncated", "LMDB: the file has become shorter")
        return data


def _metas(read: _Read) -> tuple[tuple[int, int, int, int], int]:
    """Return transaction, page size, entries and root of the newer head, and the transaction of the older.

    Transactions write the first two pages in turn. Both have to be whole: without the newer, the database would be that
    of the transaction before.
    """
    first = _meta(read(0, _META.size), 0)
    second = _meta(read(first[1], _META.size), 1)
    older, newer = sorted((first, second))
    if older[0] == newer[0] and older != newer:
        raise ImageError("corrupt", "LMDB: the two heads of the database contradict each other")
    return newer, older[0]


def _meta(page: bytes, number: int) -> tuple[int, int, int, int]:
    if len(page) == _META.size:
        claimed, flags, magic, version, _, _, free, main, _, transaction = _META.unpack(page)
        page_size = _DATABASE.unpack(free)[0]  # it stands there
        known = (claimed, magic, version) == (number, _MAGIC, _VERSION) and flags & _META_PAGE
        if known and page_size in (1 << n for n in range(9, 17)):
            *_, entries, root = _DATABASE.unpack(main)
            return transaction, page_size, entries, root
    raise ImageError("corrupt", "LMDB: this is no database, or one of another version or processor, or it is damaged")


def _corrupt(what: str) -> ImageError:
    return ImageError("corrupt", f"LMDB: {what} is damaged")
