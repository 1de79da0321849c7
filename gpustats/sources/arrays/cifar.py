"""CIFAR-10 and CIFAR-100 as published for Python: pickles, read by an unpickler that builds plain data only."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Iterator
from typing import Any

import numpy as np

from gpustats.failures import Failure, ImageError
from gpustats.sources.base import Sample, ShardSource
from gpustats.sources.files.file import File
from gpustats.sources.items import check_bytes
from gpustats.sources.options import SourceOptions

__all__ = ["CifarSource", "load_plain"]

_FILE_LIMIT = 1 << 30
_LABELS = (b"labels", b"fine_labels", "labels", "fine_labels")
_DATA = (b"data", "data")


class CifarSource(ShardSource):
    """The 32 x 32 colour images of one batch file; the label (of CIFAR-100 the fine one) is the group.

    Parameters
    ----------
    file, key, options
        See `ShardSource`.
    """

    def __init__(self, file: File, key: str, options: SourceOptions) -> None:
        super().__init__(file, key)
        self._max_bytes = min(options.max_bytes, _FILE_LIMIT)

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the images."""
        with self.file.open() as stream:
            data = stream.read(self._max_bytes + 1)
        check_bytes(len(data), self._max_bytes)
        batch = load_plain(data)
        pixels = next((batch[name] for name in _DATA if name in batch), None) if isinstance(batch, dict) else None
        if (
            not isinstance(pixels, np.ndarray)
            or pixels.dtype != np.uint8
            or pixels.ndim != 2
            or pixels.shape[1] != 3072
        ):
            raise ImageError("unsupported", "the pickle is no CIFAR batch (no 'data' of 3,072 bytes an image)")
        labels = next((batch[name] for name in _LABELS if name in batch), None)
        if not isinstance(labels, list) or len(labels) != len(pixels):
            labels = [""] * len(pixels)
        images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        for i, (label, image) in enumerate(zip(labels, images, strict=True)):
            yield f"{self.key}/{i}", str(label), image


def load_plain(data: bytes) -> Any:
    """Unpickle containers, numbers, text and NumPy arrays of numbers; anything else is an error and nothing is called.

    Raises
    ------
    ImageError
        Where the pickle is damaged, or names anything else.
    """
    try:
        # Lengths and memo positions are looked at first: the unpickler would allocate what they claim.
        for opcode, argument, _ in pickletools.genops(data):
            if "PUT" in opcode.name and isinstance(argument, int) and argument > len(data):
                raise ImageError("corrupt", "the pickle claims a position beyond its length")
        return _PlainUnpickler(io.BytesIO(data), encoding="bytes").load()
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001 - damaged pickles raise anything
        raise ImageError("corrupt", f"a damaged pickle: {error}") from None


class _PlainUnpickler(pickle.Unpickler):
    """Finds the few names of NumPy that an array of numbers needs, as stand-ins that can do no more than that."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _reconstruct
        if module in ("numpy.core.numeric", "numpy._core.numeric") and name == "_frombuffer":
            return _from_buffer
        if module == "numpy" and name == "ndarray":
            return _Array
        if module == "numpy" and name == "dtype":
            return _Type
        if module == "_codecs" and name == "encode":
            return _latin1
        raise ImageError("unsupported", f"the pickle names {module}.{name}: only plain data and NumPy arrays are read")


class _Type:
    """Replaces `numpy.dtype`."""

    def __init__(self, code: Any, *_: Any) -> None:
        text = code.decode("ascii") if isinstance(code, bytes) else str(code)
        self.dtype = np.dtype(text)
        if self.dtype.kind not in "buif":
            raise ImageError("unsupported", f"the pickle holds an array of type {text}")

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order in ("<", ">"):
            self.dtype = np.dtype(order + self.dtype.str[1:])


class _Array(np.ndarray[Any, Any]):
    """Replaces `numpy.ndarray`; filled by `__setstate__`."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        if not isinstance(kind, _Type) or not isinstance(raw, bytes):
            raise ImageError("unsupported", "the pickle holds an array of objects")
        if np.prod(shape, dtype=object) * kind.dtype.itemsize != len(raw):
            raise ImageError("corrupt", "an array in the pickle is not of the size it claims")
        flags = 1 if fortran else 0
        state = (1, tuple(shape), kind.dtype, flags, raw)
        super().__setstate__(state)


def _reconstruct(*_: Any) -> Any:
    return np.empty(0, np.uint8).view(_Array)


def _from_buffer(raw: Any, kind: Any, shape: Any, order: Any = "C", *_: Any) -> Any:
    if not isinstance(kind, _Type) or not isinstance(raw, bytes | bytearray) or order not in ("C", "F"):
        raise ImageError("unsupported", "the pickle holds an array of objects")
    return np.frombuffer(raw, kind.dtype).reshape(shape, order=order)


def _latin1(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", b"latin1"):
        raise ImageError("unsupported", f"the pickle asks for the encoding {encoding!r}")
    return text.encode("latin1")
