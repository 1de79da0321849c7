"""Structures in Thrift's compact protocol, as the headers of Parquet's pages and its footer are.

The protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from gpustats.failures import ImageError

__all__ = ["Struct", "Value", "read_struct"]

Value: TypeAlias = "bool | int | bytes | Struct | list[Value]"
"""A field. A float is its eight bytes."""

Struct: TypeAlias = "dict[int, Value]"
"""Fields by their number."""

_Read: TypeAlias = Callable[[int], bytes]

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12

_MAX_BYTES = 16 << 20
_MAX_DEPTH = 10


def read_struct(read: Callable[[int], bytes], max_bytes: int = _MAX_BYTES) -> Struct:
    """Read one structure.

    Parameters
    ----------
    read : callable
        Reads exactly so many bytes, or raises.
    max_bytes : int
        How long the structure may be.

    Raises
    ------
    ImageError
        "corrupt" where this is no structure, or one with maps, too long, or too deep.
    """
    left = max_bytes

    def limited(count: int) -> bytes:
        nonlocal left
        left -= count
        if left < 0:
            raise ImageError("corrupt", f"Thrift: a structure of more than {max_bytes:,} bytes")
        return read(count)

    return _struct(limited, 0)


def _struct(read: _Read, depth: int) -> Struct:
    struct: Struct = {}
    field = 0
    while head := read(1)[0]:
        step, kind = head >> 4, head & 15
        field = field + step if step else _zigzag(_varint(read))
        struct[field] = kind == _TRUE if kind in (_TRUE, _FALSE) else _value(read, kind, depth)
    return struct


def _value(read: _Read, kind: int, depth: int) -> Value:
    """Read a field, or an element of a list."""
    if kind in (_I16, _I32, _I64):
        return _zigzag(_varint(read))
    if kind == _BINARY:
        return read(_varint(read))
    if kind == _DOUBLE:
        return read(8)
    if kind == _BYTE:
        return int.from_bytes(read(1), "big", signed=True)
    if kind in (_TRUE, _FALSE):
        return read(1)[0] == _TRUE
    if kind not in (_STRUCT, _LIST, _SET):
        raise ImageError("corrupt", f"Thrift: a field of type {kind}")
    if depth == _MAX_DEPTH:
        raise ImageError("corrupt", "Thrift: too many structures within one another")
    if kind == _STRUCT:
        return _struct(read, depth + 1)
    head = read(1)[0]
    count = head >> 4 if head < 0xF0 else _varint(read)
    return [_value(read, head & 15, depth + 1) for _ in range(count)]


def _varint(read: _Read) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = read(1)[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise ImageError("corrupt", "Thrift: a number that does not end")


def _zigzag(value: int) -> int:
    return value >> 1 ^ -(value & 1)
