"""MNIST's idx files, plain or compressed: a magic number, the sizes of the axes, and the values in big-endian order.

Reference: the file format section of http://yann.lecun.com/exdb/mnist/
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import BinaryIO, cast

import numpy as np

from gpustats.failures import Failure, ImageError
from gpustats.sources.arrays.layout import image_view, resolve
from gpustats.sources.base import Sample, ShardSource
from gpustats.sources.files.file import File, LocalFile
from gpustats.sources.items import check_bytes
from gpustats.sources.options import SourceOptions

__all__ = ["IdxSource"]

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_BATCH = 256


class IdxSource(ShardSource):
    """The images of one idx file, of one channel each; the labels file next to it, if there is one, gives the group.

    Parameters
    ----------
    file, key
        See `ShardSource`.
    options : SourceOptions
        `layout` counts for files of four axes.
    """

    def __init__(self, file: File, key: str, options: SourceOptions) -> None:
        super().__init__(file, key)
        self._options = options

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the images."""
        with ExitStack() as stack:
            stream = _open(self.file.open(), stack)
            try:
                dtype, shape = _header(stream)
                if len(shape) < 2:
                    raise ImageError("unsupported", f"the file holds numbers of shape {shape}: labels, not images")
                layout = "NHW" if len(shape) == 3 else "HW"
                if self._options.layout != "auto" or len(shape) > 3:
                    layout = resolve(shape, self._options.layout, self.key)
                rows = shape if layout[0] == "N" else (1, *shape)
                size = math.prod(rows[1:]) * dtype.itemsize
                if not size:
                    raise ImageError("corrupt", f"the header gives a shape of {shape}: images without pixels")
                check_bytes(size * _BATCH, self._options.max_bytes)
                labels = yield from self._labels(rows[0])
                for start in range(0, rows[0], _BATCH):
                    count = min(_BATCH, rows[0] - start)
                    data = stream.read(count * size)
                    images = np.frombuffer(data, dtype, len(data) // size * (size // dtype.itemsize)).reshape(
                        -1, *rows[1:]
                    )
                    for i, image in enumerate(images, start):
                        yield f"{self.key}/{i}", labels[i] if labels else "", image_view(image, layout)
                    if len(data) < count * size:
                        raise ImageError(
                            "truncated", f"the file ends after {start + len(images):,} of {rows[0]:,} images"
                        )
                if stream.read(1):  # a compressed file is checked here, at its end
                    raise ImageError("corrupt", f"the file goes on after the {rows[0]:,} images of its header")
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise ImageError("corrupt", f"the compressed file is damaged: {error}") from None

    def _labels(self, count: int) -> Generator[Failure, None, list[str]]:
        """Return the labels in the file next to this one, none where there is no such file or it is damaged."""
        name = self.file.name.replace("images", "labels").replace("idx3", "idx1")
        if self.file.path is None or name == self.file.name:
            return []
        for candidate in (name, name + ".gz", name.removesuffix(".gz")):
            path = self.file.sibling(candidate)
            if os.path.isfile(path):
                try:
                    return _read_labels(path, count)
                except (ImageError, OSError, EOFError, ValueError, zlib.error) as error:
                    without = f"the labels in {candidate} cannot be read, so the images have no group: {error}"
                    yield Failure(f"{self.key}: labels", "corrupt", without)
                    return []
        return []


def _read_labels(path: str, count: int) -> list[str]:
    with ExitStack() as stack:
        stream = _open(LocalFile(path).open(), stack)
        dtype, shape = _header(stream)
        if shape != (count,):
            raise ImageError("corrupt", f"they are of shape {shape}, for {count:,} images")
        data = stream.read(count * dtype.itemsize + 1)
        return [str(value) for value in np.frombuffer(data, dtype, count).tolist()]


def _open(stream: BinaryIO, stack: ExitStack) -> BinaryIO:
    stream = stack.enter_context(stream)
    packed = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    return stack.enter_context(cast(BinaryIO, gzip.GzipFile(fileobj=stream))) if packed else stream


def _header(stream: BinaryIO) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise ImageError("corrupt", "this is no idx file: the magic number is wrong")
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ImageError("truncated", "the file ends within its header")
    return np.dtype(_TYPES[magic[2]]), tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
