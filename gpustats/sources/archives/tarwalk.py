"""A walk over the headers of a tar archive, without its contents.

The standard library's reader ends in silence at a damaged header in the middle of an archive and keeps every member in
memory; here damage is an error and nothing is kept. Formats: v7, ustar, GNU long names, pax (POSIX.1-2001).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from gpustats.failures import ImageError

__all__ = ["Member", "walk"]

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_CHUNK = 1 << 16
_REGULAR = frozenset(b"0\x007")
_KINDS = {ord("1"): "link", ord("2"): "link", ord("5"): "folder"}
_NAME_LIMIT = 1 << 20  # bytes of a long name or of a pax header: more is an attack


class Member(NamedTuple):
    """A member of an archive: `kind` is "file", "folder", "link", "sparse" or "special"."""

    name: str
    kind: str
    offset: int
    size: int


def walk(stream: BinaryIO) -> Iterator[Member]:
    """Yield the members in order. Between two, the caller may read from `Member.offset`, where the stream stands.

    Raises
    ------
    ImageError
        Where a header is damaged, the archive ends without its end mark, or something follows that.
    """
    position = 0
    long_name: str | None = None
    pax: dict[str, str] = {}
    while True:
        stream.seek(position)
        header = stream.read(_BLOCK)
        if len(header) < _BLOCK:
            what = "is empty" if position == 0 and not header else "is cut off: it has no end mark"
            raise ImageError("truncated", f"the archive {what} (at byte {position:,})")
        if header == _ZEROS:
            _check_rest(stream, position)
            return
        name, flag, size = _parse(header, position)
        offset = position + _BLOCK
        if flag in b"xLgK":
            if size > _NAME_LIMIT:
                raise ImageError("corrupt", f"the header at byte {position:,} claims a name of {size:,} bytes")
            data = stream.read(size)
            if flag == ord("x"):
                pax = _parse_pax(data, position)
            elif flag == ord("L"):
                long_name = _text(data)
        else:
            try:
                size = int(pax.get("size", size))
            except ValueError:
                raise ImageError("corrupt", f"the header at byte {position:,} is damaged") from None
            kind = "file" if flag in _REGULAR else _KINDS.get(flag, "special")
            if flag == ord("S") or any(key.startswith("GNU.sparse.") for key in pax):
                kind = "sparse"
            name = pax.get("path", long_name if long_name is not None else name)
            if kind == "file" and name.endswith("/"):  # a folder as v7 wrote it
                kind = "folder"
            if kind in ("link", "folder"):
                size = 0
            if not 0 <= size < 1 << 62:
                raise ImageError("corrupt", f"the header at byte {position:,} claims {size:,} bytes")
            yield Member(name, kind, offset, size)
            long_name, pax = None, {}
        position = offset + (size + _BLOCK - 1) // _BLOCK * _BLOCK


def _check_rest(stream: BinaryIO, position: int) -> None:
    """Read on to the end of the file: only there a compressed one is checked. Writers fill their last block up."""
    while rest := stream.read(_CHUNK):
        if rest.count(0) < len(rest):
            raise ImageError(
                "unsupported",
                f"more data follows the end of the archive (at byte {position:,}), as in archives joined by cat: it "
                "was not read; give the archives one by one",
            )


def _parse(header: bytes, position: int) -> tuple[str, int, int]:
    """Return name, type flag and size of a header block."""
    try:
        checksum = _number(header[148:156])
        size = _number(header[124:136])
    except ValueError:
        checksum = size = -1
    # The checksum counts its own field as eight blanks; old archives summed signed bytes.
    others = header[:148] + header[156:]
    unsigned = sum(others) + 256
    if checksum != unsigned and checksum != unsigned - 256 * sum(byte > 127 for byte in others):
        if position == 0:
            raise ImageError("corrupt", "this is no tar archive: the first header is not one")
        raise ImageError("corrupt", f"the header at byte {position:,} is damaged: what follows was not read")
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and header[345]:
        name = f"{_text(header[345:500])}/{name}"
    return name, header[156], size


def _number(field: bytes) -> int:
    if field[0] in (0x80, 0xFF):  # base 256, for what octal digits cannot hold
        return int.from_bytes(field[1:], "big") - (256 ** (len(field) - 1) if field[0] == 0xFF else 0)
    return int(field.split(b"\0")[0].strip() or b"0", 8)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _parse_pax(data: bytes, position: int) -> dict[str, str]:
    """Read records of the form ``length key=value newline``, where the length counts the whole record."""
    records = {}
    start = 0
    while start < len(data) and data[start]:
        blank = data.find(b" ", start, start + 20)
        try:
            end = start + int(data[start:blank])
            key, _, value = data[blank + 1 : end - 1].partition(b"=")
        except ValueError:
            blank = end = -1
        if blank < 0 or end <= blank or end > len(data):
            raise ImageError("corrupt", f"the extended header at byte {position:,} is damaged")
        records[_text(key)] = value.decode("utf-8", "surrogateescape")
        start = end
    return records
