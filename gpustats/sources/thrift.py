"""Structures in Thrift's compact protocol, as far as the page headers of Parquet go.

The protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from gpustats.failures import ImageError

__all__ = ["Struct", "read_struct"]

Struct: TypeAlias = "dict[int, bool | int | Struct]"
"""Fields by their number. Binary values and floats are passed over."""

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 12

_MAX_BYTES = 16 << 20
_MAX_DEPTH = 4


def read_struct(read: Callable[[int], bytes], depth: int = 0) -> Struct:
    """Read one structure.

    Parameters
    ----------
    read : callable
        Reads exactly so many bytes.
    depth : int
        How many structures this one lies in.

    Raises
    ------
    ImageError
        "corrupt" where this is no structure, or one with lists, maps, or fields larger than 16 MiB.
    """
    if depth > _MAX_DEPTH:
        raise ImageError("corrupt", "Thrift: too many structures within one another")
    struct: Struct = {}
    field = 0
    while head := read(1)[0]:
        step, kind = head >> 4, head & 15
        field = field + step if step else _zigzag(_varint(read))
        if kind in (_TRUE, _FALSE):
            struct[field] = kind == _TRUE
        elif kind in (_I16, _I32, _I64):
            struct[field] = _zigzag(_varint(read))
        elif kind == _STRUCT:
            struct[field] = read_struct(read, depth + 1)
        elif kind in (_BYTE, _DOUBLE):
            read(1 if kind == _BYTE else 8)
        elif kind == _BINARY:
            size = _varint(read)
            if size > _MAX_BYTES:
                raise ImageError("corrupt", f"Thrift: a field of {size:,} bytes")
            read(size)
        else:
            raise ImageError("corrupt", f"Thrift: a field of type {kind}")
    return struct


def _varint(read: Callable[[int], bytes]) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = read(1)[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise ImageError("corrupt", "Thrift: a number that does not end")


def _zigzag(value: int) -> int:
    return value >> 1 ^ -(value & 1)
