"""What the headers of image files say, read before a decoder gets the file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sized

from gpustats.failures import ImageError

__all__ = [
    "MAX_SCANS",
    "SCAN_WORK",
    "SHORTEST_SCAN",
    "jpeg_frame",
    "jpeg_peak_bytes",
    "jpeg_precision",
    "jpeg_scans",
    "may_hide_scans",
    "png_damage",
    "webp_size",
]

MAX_SCANS = 100
"""Scans of a large progressive JPEG. Encoders write about ten; every one goes over all pixels and may be a few bytes
in the file, so that a small file can ask for hours."""

SCAN_WORK = 2_000_000_000
"""Pixels times scans that may pass however many scans there are: 2.5 s at 1.26 ns a pixel and scan."""

SHORTEST_SCAN = 10


def may_hide_scans(data: Sized, pixels: int) -> bool:
    """Say whether a JPEG is long enough to hold scans that take many seconds; cheap, to be asked for every image."""
    return pixels * (len(data) // SHORTEST_SCAN) > SCAN_WORK


def jpeg_scans(data: bytes, pixels: int) -> bool:
    """Say whether libjpeg must hold the coefficients of the whole image: it comes in more than one scan.

    Parameters
    ----------
    data : bytes
        A JPEG file.
    pixels : int
        Its size.

    Raises
    ------
    ImageError
        Where its scans would keep a decoder busy for minutes.
    """
    start = _several_scans(data)
    if start and may_hide_scans(data, pixels):
        scans = data.count(b"\xff\xda", start)  # inside a scan, 0xFF is followed by 0 or a restart marker
        if scans > MAX_SCANS and scans * pixels > SCAN_WORK:
            raise ImageError(
                "too_large", f"JPEG: {scans:,} scans over {pixels:,} pixels; more than {MAX_SCANS} are not decoded"
            )
    return start > 0


def jpeg_peak_bytes(data: bytes, pixels: int) -> int:
    """Return the bytes a pixel that Pillow takes for a JPEG at its peak, see `gpustats.decode.formats.Format`.

    libjpeg holds the coefficients of an image with several scans, 2 bytes a sample.
    """
    return 15 if jpeg_scans(data, pixels) else 7


def _several_scans(data: bytes) -> int:
    """Return where the first of several scans starts, 0 where the whole image comes in one."""
    frame, scan = _frame_and_scan(data)
    if not scan:
        return 0
    components, progressive = (data[frame + 9], data[frame + 1] & 3 == 2) if frame else (0, False)
    return scan if progressive or data[scan + 4] < components else 0


def jpeg_precision(data: bytes) -> int:
    """Return the bits a sample of a JPEG (ITU-T T.81, B.2.2), 0 where it has no frame header before its first scan."""
    frame = jpeg_frame(data)
    return data[frame + 4] if frame else 0


def jpeg_frame(data: bytes) -> int:
    """Return where the frame header of a JPEG starts, 0 where there is none before its first scan."""
    return _frame_and_scan(data)[0]


def _frame_and_scan(data: bytes) -> tuple[int, int]:
    """Return where the frame header and the first scan header start (ITU-T T.81, annex B), 0 for what is not there."""
    position, last, frame = 2, len(data) - 9, 0
    while 0 <= (position := data.find(b"\xff", position)) < last:  # libjpeg skips what is no marker, too
        marker = data[position + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:  # no segment follows
            position += 1 if marker == 0xFF else 2
            continue
        if marker == 0xDA:
            return frame, position
        if marker == 0xD9:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = position
        position += 2 + (data[position + 2] << 8 | data[position + 3])
    return frame, 0


def png_damage(data: bytes) -> str | None:
    """Return what is wrong with the checksums of a PNG's critical chunks, None where they are right.

    Pillow does not look at those of the pixels, and what a damaged disk leaves of them often inflates all the same.
    """
    view = memoryview(data)
    position = 8
    while position + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        end = position + 8 + size
        if end + 4 > len(data):
            return None  # cut off: Pillow says whether that matters
        if kind[:1].isupper() and zlib.crc32(view[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return f"the checksum of {kind.decode('ascii', 'replace')} is wrong"
        if kind == b"IEND":
            return None
        position = end + 4
    return None


def webp_size(data: bytes) -> tuple[int, int]:
    """Return height and width from the first chunk of a WebP file (RFC 9649, sections 2.5 to 2.7).

    Raises
    ------
    ImageError
        Where the header is cut off or damaged.
    """
    chunk, payload = data[12:16], data[20:30]
    if len(payload) == 10:
        if chunk == b"VP8X":
            return int.from_bytes(payload[7:10], "little") + 1, int.from_bytes(payload[4:7], "little") + 1
        if chunk == b"VP8L":
            bits = int.from_bytes(payload[1:5], "little")
            return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
        if chunk == b"VP8 ":
            width, height = struct.unpack("<HH", payload[6:10])
            return height & 0x3FFF, width & 0x3FFF
    raise ImageError("truncated" if len(data) < 30 else "corrupt", "WebP: the header is damaged")
