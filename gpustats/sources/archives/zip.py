"""Zip archives, stored, deflated or bzip2; members are read side by side."""

from __future__ import annotations

import bz2
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator

from gpustats.failures import Failure, ImageError
from gpustats.sources.archives.samples import Extensions, parted
from gpustats.sources.base import Sample, ShardSource
from gpustats.sources.files.file import File
from gpustats.sources.items import check_bytes
from gpustats.sources.kinds import OUTSIDE, member_kind
from gpustats.sources.options import SourceOptions

__all__ = ["ZipSource"]

_INFLATE: dict[int, Callable[[], Callable[[bytes, int], bytes]]] = {  # data and the most bytes to give
    zipfile.ZIP_DEFLATED: lambda: zlib.decompressobj(-zlib.MAX_WBITS).decompress,
    zipfile.ZIP_BZIP2: lambda: bz2.BZ2Decompressor().decompress,
}
_LOCAL_HEADER = struct.Struct("<4s2B4HL2L2H")


class ZipSource(ShardSource):
    """The images of one zip archive; the first-level folder is the group.

    ``column=`` names the extension to read where members of one name have several; see `archives.samples`.

    The central directory is read at the start (about half a kilobyte a member). Each thread reads a member's compressed
    bytes under a lock and inflates and checks them on its own.

    Parameters
    ----------
    file, key, options
        See `ShardSource`.
    """

    def __init__(self, file: File, key: str, options: SourceOptions) -> None:
        super().__init__(file, key)
        self._max_bytes = options.max_bytes
        self._column = options.column

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the images in the order of the directory."""
        stream = self.file.open()
        try:
            archive = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError) as error:
            stream.close()
            raise ImageError("corrupt", f"not a whole zip archive: {error}") from None
        except BaseException:
            stream.close()
            raise
        end = stream.seek(0, 2)
        reader = _Reader(archive)
        infos = archive.infolist()
        extensions = self._extensions(infos)
        for position, info in enumerate(infos):
            infos[position] = None  # type: ignore[call-overload]  # let go of what was passed
            if info.is_dir():
                continue
            name, key = info.filename, f"{self.key}/{info.filename}"
            kind = member_kind(name)
            _, field, extension = parted(name)
            if kind == "outside":
                yield Failure(key, "unsupported", OUTSIDE)
            elif kind == "hidden" or not extensions.take(field, extension, kind == "image"):
                self.skipped[kind] += 1
            elif archive.NameToInfo.get(name, info) is not info:
                self.skipped["replaced"] += 1  # a later member of the same name takes its place
            elif info.flag_bits & 1:
                yield Failure(key, "unsupported", "the member is encrypted")
            elif info.compress_type != zipfile.ZIP_STORED and info.compress_type not in _INFLATE:
                name = zipfile.compressor_names.get(info.compress_type, str(info.compress_type))  # type: ignore[attr-defined]
                yield Failure(key, "unsupported", f"the member is compressed by {name}; deflate and bzip2 are read")
            elif max(info.file_size, info.compress_size) > self._max_bytes:
                size = max(info.file_size, info.compress_size)
                yield Failure(key, "too_large", f"the archive claims {size:,} bytes for this member")
            elif info.header_offset + info.compress_size > end:
                yield Failure(key, "truncated", "the archive ends within this member")
            else:
                self.notes.choose("extension", extension)
                yield key, name.partition("/")[0] if "/" in name else "", reader.reader(info)
        extensions.finish()

    def _extensions(self, infos: list[zipfile.ZipInfo]) -> Extensions:
        """Look at all names before the first image is read: members of one name may be far from each other."""
        extensions = Extensions(self._column)
        if self._column is None:
            names = (info.filename for info in infos if member_kind(info.filename) == "image")
            extensions.check((name, parted(name)[2]) for name in names)
        extensions.settle()
        return extensions


class _Reader:
    """Reads members of one archive for several threads; the file is closed with the last of its readers."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        assert archive.fp is not None
        self._file = archive.fp
        self._lock = threading.Lock()

    def __del__(self) -> None:
        self._archive.close()
        self._file.close()

    def reader(self, info: zipfile.ZipInfo) -> Callable[[int], bytes]:
        def read(max_bytes: int) -> bytes:
            check_bytes(info.file_size, max_bytes)
            try:
                return self._read(info)
            except MemoryError:
                raise ImageError("too_large", "not enough memory to read this member") from None
            except zipfile.BadZipFile as error:
                raise ImageError("corrupt", f"the member is damaged: {error}") from None
            except (OSError, ValueError) as error:
                raise ImageError("unreadable", getattr(error, "strerror", None) or str(error)) from None

        return read

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        with self._lock:
            # The local header gives its own length; sizes and checksum are those of the central directory.
            if info.header_offset < 0:  # zipfile's sign for a file with a missing piece
                raise zipfile.BadZipFile("the member begins before the file")
            self._file.seek(info.header_offset)
            header = self._file.read(_LOCAL_HEADER.size)
            if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
                raise zipfile.BadZipFile("no member header where the directory says")
            *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
            data = self._file.read(name_length + extra_length + info.compress_size)[name_length + extra_length :]
        if len(data) < info.compress_size:
            raise ImageError("truncated", "the archive ends within this member")
        if info.compress_type in _INFLATE:
            try:  # one byte more than was claimed is enough to see that the claim was wrong
                data = _INFLATE[info.compress_type]()(data, info.file_size + 1)
            except (zlib.error, OSError) as error:  # OSError: bzip2's word for damaged data
                raise zipfile.BadZipFile(str(error)) from None
        if len(data) != info.file_size:
            raise ImageError(
                "corrupt", f"the member does not have the {info.file_size:,} bytes that the directory says"
            )
        if zlib.crc32(data) != info.CRC:
            raise ImageError("corrupt", "the checksum of the member (CRC-32) is wrong")
        return data
