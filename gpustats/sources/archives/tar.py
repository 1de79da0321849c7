"""Tar archives and WebDataset shards, plain or compressed; read in place, never extracted."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import BinaryIO, TypeAlias, cast

from gpustats.failures import Failure, ImageError
from gpustats.sources.archives.samples import Extensions, parted
from gpustats.sources.archives.tarwalk import Member, walk
from gpustats.sources.base import Sample, ShardSource, held_until
from gpustats.sources.files.file import File
from gpustats.sources.files.shared import SharedFile
from gpustats.sources.items import Item
from gpustats.sources.kinds import OUTSIDE, member_kind
from gpustats.sources.options import SourceOptions

__all__ = ["TarSource"]

_FIELD_LIMIT = 1 << 20  # bytes of a label
_FIELDS_SHOWN = 20
_MOST_IMAGES = 64  # of a sample that is held in memory until its label is known

_Image: TypeAlias = "tuple[str, str, Item]"  # name, extension and item


class TarSource(ShardSource):
    """The images of one tar archive.

    Members that share their name up to the first dot of its last part are one sample, as in WebDataset. The group of
    its images is the content of the sample's ``.cls`` member (or of the one that ``group=`` names), else the
    first-level folder. ``column=`` names the extension to read where samples have several images: ``column="jpg"``; see
    `archives.samples`.

    Parameters
    ----------
    file, key
        See `ShardSource`.
    options : SourceOptions
        `column` and `group` count.
    """

    def __init__(self, file: File, key: str, options: SourceOptions) -> None:
        super().__init__(file, key)
        self._max_bytes = options.max_bytes
        self._column = options.column
        self._group_field = options.group or "cls"
        self._must_group = options.group is not None
        self._grouped = False  # a sample had what names the group
        self._fields: set[str] = set()

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the images sample by sample."""
        with ExitStack() as stack:
            stack.callback(lambda: self.notes.offer(dict.fromkeys(sorted(filter(None, self._fields)), "")))
            stream = stack.enter_context(self.file.open())
            wrap = _decompressor(stream)
            if wrap is not None:
                stream = stack.enter_context(wrap(stream))
            handle = SharedFile(stream.fileno()) if wrap is None and self.file.path is not None else None
            try:
                samples = self._samples(stream, handle)
                if self._must_group:
                    samples = held_until(samples, lambda: self._grouped, lambda: self._lacks(self._group_field))
                yield from samples
            except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
                if isinstance(error, OSError) and error.errno is not None:  # bz2 and gzip give damage no number
                    raise
                reason = "truncated" if isinstance(error, EOFError) else "corrupt"
                raise ImageError(reason, f"the compressed archive is damaged: {error}") from None  # type: ignore[arg-type]

    def _samples(self, stream: BinaryIO, handle: SharedFile | None) -> Iterator[Sample | Failure]:
        extensions = Extensions(self._column)
        sample: str | None = None
        images: list[_Image] = []
        label: str | None = None
        held: list[Sample] = []  # of a sample whose images may turn out to be of several kinds
        end = handle.size() if handle is not None else None
        try:
            for member in walk(stream):
                name = member.name.removeprefix("./")
                stem, field, extension = parted(name)
                if stem != sample or len(images) == _MOST_IMAGES:
                    yield from self._flush(images, label, extensions, held)
                    images = []
                    sample, label = (stem, None) if stem != sample else (sample, label)
                key = f"{self.key}/{name}"
                if member.kind == "file" and field and len(self._fields) < _FIELDS_SHOWN:
                    self._fields.add(field)
                kind = member_kind(name) if member.kind in ("file", "sparse") else member.kind
                if kind == "outside":
                    yield Failure(key, "unsupported", OUTSIDE)
                elif kind in ("image", "non_image") and extensions.take(field, extension, kind == "image"):
                    if member.kind == "sparse":
                        yield Failure(key, "unsupported", "sparse members of tar archives are not read")
                    elif member.size > self._max_bytes:
                        yield Failure(key, "too_large", f"the archive claims {member.size:,} bytes for this member")
                    elif end is not None and member.offset + member.size > end:
                        yield Failure(key, "truncated", "the archive ends within this member")
                    elif handle is not None:
                        images.append((name, extension, handle.reader(member.offset, member.size)))
                    else:
                        data = stream.read(member.size)
                        if len(data) < member.size:
                            yield Failure(key, "truncated", "the archive ends within this member")
                        else:
                            images.append((name, extension, data))
                elif kind != "folder":
                    if (field == self._group_field or self._group_field.startswith(field + ".")) and field:
                        label = self._read_label(stream, member, field)
                        self._grouped |= label is not None
                    self.skipped[kind] += 1
        except (ImageError, EOFError, OSError, zlib.error, lzma.LZMAError):
            yield from self._flush(images, label, extensions, held)  # what came before the damage is whole
            yield from held
            raise
        yield from self._flush(images, label, extensions, held)
        extensions.settle()
        yield from held
        extensions.finish()

    def _lacks(self, name: str) -> ImageError:
        found = ", ".join(sorted(filter(None, self._fields))) or "none"
        return ImageError("unsupported", f"no sample has a member '{name}'; there are: {found}")

    def _flush(
        self, images: list[_Image], label: str | None, extensions: Extensions, held: list[Sample]
    ) -> Iterator[Sample]:
        """Yield the images of one sample, or hold them until the next one with several has shown what they are."""
        wait = extensions.check((name, extension) for name, extension, _ in images)
        if wait:
            yield from held
            held.clear()
        for name, extension, item in images:
            self.notes.choose("extension", extension)
            group = label if label is not None else name.partition("/")[0] if "/" in name else ""
            found = (f"{self.key}/{name}", group, item)
            if wait:
                held.append(found)
            else:
                yield found

    def _read_label(self, stream: BinaryIO, member: Member, field: str) -> str | None:
        if member.size > _FIELD_LIMIT:
            return None
        text = stream.read(member.size).decode("utf-8", "surrogateescape").strip()
        if field == self._group_field:
            return text
        try:  # "json.label": one entry of a JSON member
            value = json.loads(text)[self._group_field.removeprefix(field + ".")]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return str(value)


def _decompressor(stream: BinaryIO) -> Callable[[BinaryIO], BinaryIO] | None:
    """Detect the compression from the first bytes; file name endings may be wrong."""
    head = stream.read(6)
    stream.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return lambda raw: cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if head.startswith(b"BZh"):
        return lambda raw: cast(BinaryIO, bz2.BZ2File(raw))
    if head == b"\xfd7zXZ\0":
        return lambda raw: cast(BinaryIO, lzma.LZMAFile(raw))
    return None
