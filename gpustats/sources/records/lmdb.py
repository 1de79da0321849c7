"""LMDB databases whose values are encoded images, or Caffe's Datum around one."""

from __future__ import annotations

import os
from collections.abc import Iterator

from gpustats.decode.formats import IMAGE_SUFFIXES, sniff
from gpustats.failures import Failure, ImageError
from gpustats.sources.base import Sample, ShardSource
from gpustats.sources.files.file import File
from gpustats.sources.files.shared import SharedFile
from gpustats.sources.options import SourceOptions
from gpustats.sources.records.lmdb_pages import Value, walk
from gpustats.sources.records.protobuf import fields

__all__ = ["LmdbSource"]


class LmdbSource(ShardSource):
    """The images of one LMDB environment, in the order of its keys.

    A value is an encoded image, or a Caffe Datum that holds one (then its label is the group). Datums of raw pixels are
    refused, since nothing says whether they are BGR; so are pickled values. The keys of a named database follow its
    name.

    Parameters
    ----------
    file : File
        A folder with ``data.mdb``, or the file itself.
    key, options
        See `ShardSource`.
    """

    def __init__(self, file: File, key: str, options: SourceOptions) -> None:
        super().__init__(file, key)
        self._max_bytes = options.max_bytes

    def holder(self) -> str | None:
        """Return what identifies the data file."""
        return self.container() or super().holder()

    def container(self) -> str | None:
        """Return the path of the data file."""
        path = self.file.path
        return os.path.join(path, "data.mdb") if path is not None and os.path.isdir(path) else path

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the values."""
        path = self.container()
        if path is None:
            raise ImageError("unsupported", "LMDB is read from this machine only; copy it here first")
        with open(path, "rb") as stream:
            file = SharedFile(stream.fileno())
        for number, value in enumerate(walk(file.read_at, file.size())):
            if isinstance(value, ImageError):
                yield Failure(f"{self.key}: entry {number}", value.reason, str(value))
            else:
                name = value.key.decode("utf-8", "backslashreplace")
                yield from self._value(f"{self.key}/{name}", value, file)

    def _value(self, key: str, value: Value, file: SharedFile) -> Iterator[Sample | Failure]:
        if value.size > self._max_bytes:
            yield Failure(key, "too_large", f"the value has {value.size:,} bytes")
        elif sniff(value.head) is not None:
            yield key, "", file.reader(value.offset, value.size)
        elif value.head[:1] == b"\x80" and value.head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
            yield Failure(key, "unsupported", "the value is pickled, and pickles are not read: they can run programs")
        else:
            yield from self._datum(key, memoryview(file.read_at(value.offset, value.size)))

    def _datum(self, key: str, value: memoryview) -> Iterator[Sample | Failure]:
        """Read Caffe's Datum: channels 1, height 2, width 3, data 4, label 5, encoded 7."""
        try:
            datum = dict(fields(value))
        except ValueError:
            datum = {}
        data = datum.get(4)
        if not isinstance(data, memoryview):
            if _may_be_metadata(key.rpartition("/")[2], value):
                self.skipped["non_image"] += 1
            else:
                what = "the first bytes of the value are those of no image format" if value else "the value is empty"
                yield Failure(key, "not_an_image", what)
        elif datum.get(7) or sniff(bytes(data[:16])) is not None:
            yield key, str(datum.get(5, "")), bytes(data)
        else:
            size = " x ".join(str(datum.get(number, "?")) for number in (3, 2, 1))
            yield Failure(key, "unsupported", f"a Caffe Datum of raw pixels ({size}): its channel order is not known")


def _may_be_metadata(name: str, value: memoryview) -> bool:
    """Return whether an entry may be a count, a list of keys, a label or the like, and not a damaged image."""
    if not value or os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
        return False
    if name.startswith("__") or len(value) <= 8:
        return True
    try:
        return all(word.isprintable() for word in str(value, "utf-8").split())
    except UnicodeDecodeError:
        return False
