"""Rows as bytes, one blob an image, and back, exactly. Works for every kind of row that is a dataclass of arrays."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from gpustats.errors import DataError
from gpustats.float_moments import FloatMoments
from gpustats.moments import ImageMoments
from gpustats.rows import Rows

__all__ = ["pack", "unpack"]

_KINDS = {kind.__name__: kind for kind in (ImageMoments, FloatMoments)}
_NAMES = ("keys", "groups")


def pack(rows: Rows) -> tuple[str, list[bytes]]:
    """Return the form of the rows, as text, and one blob a row: its numbers in the order of the fields, little-endian.

    Keys and groups are not in it.
    """
    values = {field.name: getattr(rows, field.name) for field in fields(rows) if field.name not in _NAMES}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    form, record = _form(
        type(rows).__name__,
        tuple((name, array.dtype.newbyteorder("<").str, array.shape[1:]) for name, array in arrays.items()),
        tuple((name, value) for name, value in values.items() if name not in arrays),
    )
    packed = np.empty(len(rows), record)
    for name, array in arrays.items():
        packed[name] = array
    data, size = packed.tobytes(), record.itemsize
    return form, [data[i : i + size] for i in range(0, len(data), size)]


@functools.lru_cache(maxsize=32)
def _form(kind: str, arrays: tuple[Any, ...], scalars: tuple[Any, ...]) -> tuple[str, np.dtype[Any]]:
    form = {"rows": kind, "arrays": arrays, "scalars": dict(scalars)}
    return json.dumps(form, sort_keys=True), _record(arrays)


def unpack(form: str, keys: list[str], groups: list[str], blobs: Sequence[bytes]) -> Rows:
    """Return the rows that `pack` took apart.

    Raises
    ------
    DataError
        Where form and blobs do not fit.
    """
    try:
        described = json.loads(form)
        record = _record(described["arrays"])
        packed = np.frombuffer(b"".join(blobs), record)
        if len(packed) != len(keys) or any(len(blob) != record.itemsize for blob in blobs):
            raise ValueError("a row is incomplete")
        arrays = {
            name: packed[name].astype(np.dtype(dtype).newbyteorder("=")) for name, dtype, _ in described["arrays"]
        }
        kind: Any = _KINDS[described["rows"]]
        rows: Rows = kind(keys=keys, groups=groups, **arrays, **described["scalars"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"stored rows are damaged: {error}") from None
    return rows


def _record(arrays: Any) -> np.dtype[Any]:
    return np.dtype([(name, kind, tuple(shape)) for name, kind, shape in arrays])
