"""Folders of chunks with an ``index.json``, read from their files: MosaicML's MDS and LitData's optimized format."""

from __future__ import annotations

import bz2
import hashlib
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, BinaryIO, TypeAlias

from gpustats.decode.formats import sniff
from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError
from gpustats.sources.arrays.layout import image_view, may_hold_images, resolve
from gpustats.sources.base import Entry, Part, Sample, ShardSource
from gpustats.sources.choice import choose_one, listed
from gpustats.sources.files.file import File
from gpustats.sources.files.remote import RemoteFile
from gpustats.sources.files.root import Root
from gpustats.sources.files.shared import SharedFile
from gpustats.sources.items import check_bytes
from gpustats.sources.options import SourceOptions, missing_extra
from gpustats.sources.records.chunk_index import OTHER_WAY, Chunk, Column, read_index
from gpustats.sources.records.chunk_values import Piece, form_of, items_of, shape_of, text_of
from gpustats.sources.tables.columns import GROUP_COLUMNS, IMAGE_COLUMNS, choose_columns, pick
from gpustats.sources.tables.rows import table_samples
from gpustats.wording import option

__all__ = ["ChunksSource"]

_FIRST = 4 << 10  # bytes of a value that are enough to see what it is
_LOOKED_AT = 8  # samples

Values: TypeAlias = "dict[str, tuple[int, int]]"
"""Offset and size of the values of a sample, by the name of the column."""


class ChunksSource(ShardSource):
    """The images of a folder in the format MDS or LitData; its chunks are parts.

    A chunk begins with the number of its samples and where each begins. A sample begins with the sizes of those values
    whose size may differ. Compressed chunks are unpacked whole; of others, worker threads read the images.

    Parameters
    ----------
    file : File
        The folder.
    key : str
        See `ShardSource`.
    options : SourceOptions
        `column`, `group` and `layout` count.
    part : (Chunk, tuple of Column, int), optional
        Read one chunk: what it is, its columns, and the number of its first sample.
    """

    counts_images = True

    def __init__(
        self,
        file: File,
        key: str,
        options: SourceOptions,
        part: tuple[Chunk, tuple[Column, ...], int] | None = None,
    ) -> None:
        super().__init__(file, key if part is None else f"{key}/{part[0].name}")
        self._options = options
        self._part = part
        self._folder_key = key

    def container(self) -> str | None:
        """Return the path of the chunk; None for the whole folder, and behind a URL."""
        return None if self._part is None else self.file.below(self._part[0].name).path

    def parts(self) -> Iterator[Entry]:
        """Yield the chunks as parts, or the samples of one."""
        if self._part is not None:
            yield from super().parts()
            return
        try:
            chunks = read_index(self.file)
        except (ImageError, OSError) as error:
            reason = error.reason if isinstance(error, ImageError) else "unreadable"
            yield Failure(self.key, reason, str(error))
            return
        start = 0
        for chunk, columns in chunks:
            arguments = (self.file, self.key, self._options, (chunk, columns, start))
            yield Part(f"{self.key}/{chunk.name}", ChunksSource, arguments, self._known(chunk, columns))
            start += chunk.samples

    def count(self) -> int | None:
        """Return the number of samples; None where one may hold several images."""
        try:
            counts = [self._known(chunk, columns) for chunk, columns in read_index(self.file)]
        except (ImageError, OSError):
            return None
        return None if None in counts else sum(count or 0 for count in counts)

    def _known(self, chunk: Chunk, columns: tuple[Column, ...]) -> int | None:
        return None if any(form_of(column.encoding) == "list" for column in columns) else chunk.samples

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the images of the chunk."""
        assert self._part is not None
        chunk, columns, start = self._part
        piece, size = _opened(self.file.below(chunk.name), chunk, self._options.max_bytes)
        offsets = _offsets(piece, size, chunk)
        footer = piece.read_at(max(size - 12, 0), 12)
        if offsets[0] == offsets[-1] and footer[4:] == b"LDARW01\0":  # empty samples, and an Arrow file behind them
            yield from self._rows(piece, size - 12 - struct.unpack("<I", footer[:4])[0], size - 12, start)
            return
        samples: list[Values | ImageError] = []
        for begin, end in pairwise(offsets):
            try:
                samples.append(_values(piece, columns, begin, end, size))
            except ImageError as error:
                samples.append(error)
        image = self._choose(columns, piece, [values for values in samples if isinstance(values, dict)][:_LOOKED_AT])
        names = [column.name for column in columns if column.name != image.name]
        group = pick(names, self._options.group, GROUP_COLUMNS, "column")
        self.notes.offer({column.name: f"({column.encoding})" for column in columns}, group)
        for number, values in enumerate(samples, start):
            key = f"{self._folder_key}/{number}"
            try:
                if isinstance(values, ImageError):
                    raise values
                items = items_of(image.encoding, piece, *values[image.name], self._view)
            except ImageError as error:
                yield Failure(key, error.reason, str(error))
                continue
            label = self._label(columns, group, piece, values)
            for place, item in enumerate(items):
                self.notes.choose("column", image.name)
                yield f"{key}/{place}" if form_of(image.encoding) == "list" else key, label, item

    def _rows(self, piece: Piece, begin: int, end: int, start: int) -> Iterator[Sample | Failure]:
        """Yield the images of the Arrow file in a chunk of LitData, whose rows are numbered from `start`."""
        try:
            import pyarrow as pa
        except ImportError:
            raise missing_extra(self.key, "LitData's Arrow chunks", "pyarrow", "parquet") from None
        try:
            if isinstance(piece, _Unpacked):
                data = pa.py_buffer(piece.reader(max(begin, 0), end - max(begin, 0)))
            else:
                with pa.memory_map(self.container()) as file:
                    data = file.read_buffer()[max(begin, 0) : end]
            table = pa.ipc.open_file(data)
            columns = choose_columns(table.schema, self._options.column, self._options.group)
            self.notes.offer({entry.name: entry.type for entry in table.schema}, columns.group)
            root = Root(self.file, self._options)
            for number in range(table.num_record_batches):
                batch = table.get_batch(number)
                for sample in table_samples(batch, columns, self._folder_key, start, root.item, self._options):
                    self.notes.choose("column", columns.image)
                    yield sample
                start += batch.num_rows
        except pa.ArrowException as error:
            raise ImageError("corrupt", f"the Arrow file in the chunk is damaged: {error}") from None

    def _choose(self, columns: tuple[Column, ...], piece: Piece, samples: list[Values]) -> Column:
        """Return the column with the images, by its encoding and by the first samples."""
        shown = {column.name: f"({column.encoding})" for column in columns}
        if self._options.column is not None:
            pick(shown, self._options.column, (), "column")
            name: str | None = self._options.column
        else:
            found: dict[str, list[str]] = {form: [] for form in ("encoded", "bytes", "array")}
            for column in columns:
                heads = [piece.read_at(offset, min(size, _FIRST)) for offset, size in (v[column.name] for v in samples)]
                form = form_of(column.encoding)
                if form in ("encoded", "pil", "list"):
                    found["encoded"].append(column.name)
                elif form == "bytes" and any(sniff(head[:16]) is not None for head in heads):
                    found["bytes"].append(column.name)
                elif form == "array" and any(self._image_axes(shape_of(column.encoding, head)) for head in heads):
                    found["array"].append(column.name)
            likely = next(filter(None, found.values()), [])
            candidates = {name: shown[name] for name in likely}
            name = choose_one(candidates, what="columns", choose_with=option("column"), usual=IMAGE_COLUMNS)
        image = next((column for column in columns if column.name == name), None)
        if image is None or form_of(image.encoding) is None:
            raise ImageError("unsupported", f"no column holds images that are read; the columns are: {listed(shown)}")
        return image

    def _image_axes(self, shape: tuple[int, ...] | None) -> bool:
        return shape is not None and may_hold_images(shape, self._options.layout)

    def _view(self, array: Any) -> Any:
        """Return an array as one image."""
        try:
            layout = resolve(array.shape, self._options.layout.removeprefix("N"), "the sample")
        except DataError as error:
            raise ImageError("unsupported", str(error)) from None
        if layout.startswith("N"):
            raise ImageError("unsupported", f"an array of shape {array.shape} holds several images")
        return image_view(array, layout)

    def _label(self, columns: tuple[Column, ...], group: str | None, piece: Piece, values: Values) -> str:
        if group is None:
            return ""
        offset, size = values[group]
        encoding = next(column.encoding for column in columns if column.name == group)
        return text_of(encoding, piece.read_at(offset, min(size, _FIRST)))


class _Unpacked:
    """A chunk in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def read_at(self, offset: int, size: int) -> bytes:
        return bytes(self._data[offset : offset + size])

    def reader(self, offset: int, size: int) -> memoryview:
        return self._data[offset : offset + size]


def _opened(file: File, chunk: Chunk, max_bytes: int) -> tuple[Piece, int]:
    """Return the bytes of a chunk and how many there are. A chunk behind a URL is fetched whole."""
    if isinstance(file, RemoteFile):
        check_bytes(chunk.size, max_bytes)
        data = file.fetch()
        _check_hash(io.BytesIO(data), chunk)
        data = _unpack(chunk.packed, data, chunk.size) if chunk.packed else data
        return _Unpacked(data), len(data)
    with file.open() as stream:
        _check_hash(stream, chunk)
        if not chunk.packed:
            shared = SharedFile(stream.fileno())
            return shared, shared.size()
        check_bytes(max(chunk.size, os.fstat(stream.fileno()).st_size), max_bytes)
        stream.seek(0)
        data = _unpack(chunk.packed, stream.read(), chunk.size)
    return _Unpacked(data), len(data)


def _check_hash(stream: BinaryIO, chunk: Chunk) -> None:
    """Compare a file with one of the hashes that the index has for it, where it has any; xxHash, the fastest, first."""
    known = [(name, value) for name, value in chunk.hashes if name in _XXHASH or name in hashlib.algorithms_guaranteed]
    if not known:
        return
    name, value = min(known, key=lambda entry: entry[0] not in _XXHASH)
    import xxhash

    digest: Any = getattr(xxhash, name)() if name in _XXHASH else hashlib.new(name, usedforsecurity=False)
    while piece := stream.read(_PIECE):
        digest.update(piece)
    if digest.hexdigest() != value.lower():
        raise ImageError("corrupt", f"the file does not have the {name} that the index says")


_XXHASH = ("xxh3_64", "xxh3_128", "xxh128", "xxh64", "xxh32")
_PIECE = 1 << 20


def _by_imagecodecs(name: str) -> Callable[[bytes, int], bytes]:
    def unpack(data: bytes, most: int) -> bytes:
        import imagecodecs

        return bytes(getattr(imagecodecs, name)(data, out=most))

    return unpack


_UNPACK: dict[str, Callable[[bytes, int], bytes]] = {  # data and the most bytes to give
    "gz": lambda data, most: zlib.decompressobj(wbits=31).decompress(data, most),
    "bz2": lambda data, most: bz2.BZ2Decompressor().decompress(data, most),
    "zstd": _by_imagecodecs("zstd_decode"),
    "br": _by_imagecodecs("brotli_decode"),
    "snappy": _by_imagecodecs("snappy_decode"),
}


def _unpack(how: str, data: bytes, size: int) -> bytes:
    """Return a file unpacked, of at most `size` bytes."""
    unpack = _UNPACK.get(how)
    if unpack is None:
        raise ImageError("unsupported", f"chunks compressed by {how!r:.40} are not read")
    try:
        unpacked = unpack(data, size + 1)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - five decoders, each with its own words for damage
        raise ImageError("corrupt", f"the chunk cannot be unpacked by {how}: {error}") from None
    if len(unpacked) > size:
        raise ImageError("corrupt", f"the chunk has more than the {size:,} bytes that the index says")
    return unpacked


def _offsets(piece: Piece, size: int, chunk: Chunk) -> tuple[int, ...]:
    """Return where the samples begin and where the last one ends."""
    head = piece.read_at(0, 6)
    if head == b"LDFZ01":
        raise ImageError("unsupported", f"LitData's framed chunks are not read from their files; {OTHER_WAY}")
    count = struct.unpack("<I", head[:4])[0] if len(head) >= 4 else -1
    if count != chunk.samples or 4 * (count + 2) > size:
        raise ImageError("corrupt", f"the index says {chunk.samples:,} samples, and the file {max(count, 0):,}")
    return struct.unpack(f"<{count + 1}I", piece.read_at(4, 4 * (count + 1)))


def _values(piece: Piece, columns: tuple[Column, ...], begin: int, end: int, size: int) -> Values:
    """Return offset and size of every value of a sample."""
    varying = sum(column.size is None for column in columns)
    if not 0 <= begin <= end <= size:
        raise ImageError("truncated", "the file ends within this sample")
    head = piece.read_at(begin, 4 * varying)
    sizes = iter(struct.unpack(f"<{varying}I", head) if len(head) == 4 * varying else ())
    at = begin + 4 * varying
    values = {}
    for column in columns:
        length = next(sizes, -1) if column.size is None else column.size
        values[column.name] = (at, length)
        at += length
    if at != end:
        raise ImageError("corrupt", "the values of the sample do not have the length of the sample")
    return values
