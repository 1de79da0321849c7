"""``.npy`` files, mapped into memory, and ``.npz`` archives, streamed; nothing pickled is read."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError
from gpustats.sources.arrays.layout import resolve
from gpustats.sources.arrays.slabs import array_samples
from gpustats.sources.base import Sample, ShardSource
from gpustats.sources.choice import choose_one
from gpustats.sources.files.file import File
from gpustats.sources.items import check_bytes
from gpustats.sources.options import SourceOptions
from gpustats.wording import option

__all__ = ["NumpyFileSource"]

# NumPy reads the header as Python source: a damaged one raises what the tokenizer raises.
_DAMAGE = (
    *(ValueError, TypeError, OverflowError, EOFError, SyntaxError, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError),
)


class NumpyFileSource(ShardSource):
    """The images of an ``.npy`` or ``.npz`` file; the key is an image's number, in ``.npz`` after the array's name.

    Of an ``.npz`` file the arrays of three and four axes count, or those of two axes if there are no others; the rest
    are labels and the like. Where several hold many images each, ``column=`` chooses one, and ``column="*"`` takes all.

    Parameters
    ----------
    file, key
        See `ShardSource`.
    options : SourceOptions
        `layout` and `column` count.
    """

    def __init__(self, file: File, key: str, options: SourceOptions) -> None:
        super().__init__(file, key)
        self._options = options

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the images."""
        try:
            if self.file.name.lower().endswith(".npz"):
                yield from self._archive()
            elif self.file.path is not None:
                # Not np.load, which would take an archive of arrays for one.
                array = np.lib.format.open_memmap(self.file.path, mode="r")
                yield from array_samples(array, self._options.layout, self.key, self._options.max_bytes)
            else:
                with self.file.open() as stream:
                    yield from self._stream(stream, self.key, None)
        except _DAMAGE as error:
            raise ImageError("corrupt", f"not a whole NumPy file of images: {error}") from None

    def _archive(self) -> Iterator[Sample | Failure]:
        column = self._options.column
        with self.file.open() as file, zipfile.ZipFile(file) as archive:
            infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if column not in (None, "*", *infos):
                raise ImageError("unsupported", f"there is no array '{column}'; there are: {', '.join(infos)}")
            for name in self._images_of(archive, infos) if column in (None, "*") else [column]:
                with archive.open(infos[name]) as stream:
                    for sample in self._stream(stream, f"{self.key}/{name}", infos[name].file_size):
                        self.notes.choose("array", name)
                        yield sample

    def _images_of(self, archive: zipfile.ZipFile, infos: dict[str, zipfile.ZipInfo]) -> list[str]:
        """Return the arrays that are images by their number of axes, and damaged ones; count the others."""
        shapes: dict[str, tuple[int, ...] | None] = {}
        for name, info in infos.items():
            try:
                with archive.open(info) as stream:
                    shapes[name] = _shape_and_type(stream)[0]
            except (*_DAMAGE, ImageError):
                shapes[name] = None
        self.notes.offer({name: shape or "damaged" for name, shape in shapes.items()})
        axes = {name: 3 if shape is None else len(shape) for name, shape in shapes.items()}
        least = 3 if any(number >= 3 for number in axes.values()) else 2
        images = [name for name, number in axes.items() if number >= least]
        if others := len(axes) - len(images):
            self.skipped["non_image"] += others
        if self._options.column is None:
            batches = {name: shape for name in images if (shape := shapes[name]) and self._holds_many(shape)}
            how = f"{option('column')}, or read all with {option('column', '*')}"
            choose_one(batches, what="arrays", choose_with=how)
        return images

    def _holds_many(self, shape: tuple[int, ...]) -> bool:
        try:
            return resolve(shape, self._options.layout, "").startswith("N")
        except DataError:  # its turn comes
            return False

    def _stream(self, stream: IO[bytes], key: str, size: int | None) -> Iterator[Sample | Failure]:
        """Read image by image, so that a compressed array is never in memory whole."""
        shape, fortran, dtype = _shape_and_type(stream)
        if len(shape) < 2:
            if self._options.column is not None:
                raise ImageError("unsupported", f"the array '{self._options.column}' has shape {shape}, not images")
            self.skipped["non_image"] += 1  # labels
            return
        if dtype.hasobject:
            raise ImageError("unsupported", f"{key}: arrays of Python objects are not read")
        if fortran:
            raise ImageError("unsupported", f"{key}: arrays in Fortran order are read from .npy files only")
        if size is not None and math.prod(shape) * dtype.itemsize > size:
            raise ImageError("truncated", f"{key}: the header claims more than the file holds")
        row = math.prod(shape[1:]) * dtype.itemsize
        check_bytes(row, self._options.max_bytes)

        def read(start: int, stop: int) -> Any:
            data = _exactly(stream, (stop - start) * row)
            return np.frombuffer(data, dtype).reshape(stop - start, *shape[1:])

        header = _Header(tuple(shape), dtype, stream)
        yield from array_samples(header, self._options.layout, key, self._options.max_bytes, read=read)


def _shape_and_type(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array: its shape, whether it is in Fortran order, its type."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ImageError("unsupported", f"version {version} of the NumPy format is for records, not images")
    return readers[version](stream)


class _Header:
    """Shape and type of an array in a stream; `[...]` reads it whole."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], stream: IO[bytes]) -> None:
        self.shape, self.dtype, self._stream = shape, dtype, stream

    def __getitem__(self, _: object) -> Any:
        data = _exactly(self._stream, math.prod(self.shape) * self.dtype.itemsize)
        return np.frombuffer(data, self.dtype).reshape(self.shape)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ImageError("truncated", "the file ends within an array")
    return data
