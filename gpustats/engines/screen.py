"""Screening on the host: the header shows in less than a microsecond whether a GPU decoder should get a file.

A bad sample costs a DALI pipeline its whole batch, nvJPEG is said to take truncated scans for whole ones, and some
kinds decode differently on a GPU. So only what is plainly an ordinary JPEG goes there; everything else goes to the CPU
decoder, whose verdict counts.
"""

from __future__ import annotations

import numpy as np

from gpustats.decode.headers import MAX_SCANS, SCAN_WORK, SHORTEST_SCAN
from gpustats.statistics.compiled import compiled

__all__ = ["SHORTEST", "ordinary_jpeg", "screen"]

SHORTEST = 64
"""Bytes that a file must have to be looked at; the smallest JPEGs take more than a hundred."""


def screen(data: bytes, max_pixels: int) -> tuple[int, int] | None:
    """Return height and width of a JPEG for the GPU, None for what the CPU should decode or refuse.

    An ordinary JPEG ends with its end marker, is Huffman coded with 8 bits a sample, and is grey or YCbCr.
    """
    if len(data) < SHORTEST:
        return None
    height, width, _ = ordinary_jpeg(np.frombuffer(data, np.uint8), 0, len(data))
    return (height, width) if 0 < height * width <= max_pixels else None


@compiled
def ordinary_jpeg(data, start, end):  # type: ignore[no-untyped-def]
    """Return height, width and components of an ordinary JPEG in ``data[start:end]``, zeros for everything else.

    Walks the marker segments up to the first scan (ITU-T T.81, annex B). What decoders forgive, such as fill bytes
    before a marker, is not ordinary.
    """
    if end - start < SHORTEST or data[start] != 0xFF or data[start + 1] != 0xD8:
        return 0, 0, 0
    if data[end - 2] != 0xFF or data[end - 1] != 0xD9:
        return 0, 0, 0
    height = width = components = 0
    progressive = False
    transform = -1
    position = start + 2
    while position + 4 <= end and data[position] == 0xFF:
        marker = data[position + 1]
        length = _word(data, position + 2)
        body, after = position + 4, position + 2 + length
        if length < 2 or after > end or marker < 0xC0 or 0xD0 <= marker <= 0xD9 or marker == 0xFF:
            return 0, 0, 0
        if marker <= 0xC2:  # baseline, extended sequential, progressive; table B.1
            components = data[body + 5] if length >= 11 else 0
            if height or (components != 1 and components != 3) or length != 8 + 3 * components or data[body] != 8:
                return 0, 0, 0
            height, width = _word(data, body + 1), _word(data, body + 3)
            progressive = marker == 0xC2
            if not _known_sampling(data, body + 6, components):
                return 0, 0, 0
            if components == 3 and data[body + 6] == 82 and data[body + 9] == 71 and data[body + 12] == 66:
                return 0, 0, 0  # the components are called "RGB": libjpeg takes them at their word
        elif marker <= 0xCF and marker != 0xC4 and marker != 0xC8 and marker != 0xCC:  # another coding process
            return 0, 0, 0
        elif marker == 0xEE and length >= 14:
            if data[body] == 65 and data[body + 1] == 100 and data[body + 2] == 111 and data[body + 3] == 98:
                transform = data[body + 11]
        elif marker == 0xDA:
            scanned = data[body] if length >= 3 else 0
            if not (height and width) or not 1 <= scanned <= components or length != 6 + 2 * scanned:
                return 0, 0, 0
            if components == 3 and transform != -1 and transform != 1:  # Adobe's marker says that it is no YCbCr
                return 0, 0, 0
            if (progressive or scanned < components) and _too_many_scans(data, after, end, height * width):
                return 0, 0, 0
            return height, width, components
        position = after
    return 0, 0, 0


@compiled
def _word(data, at):  # type: ignore[no-untyped-def]
    return np.int64(data[at]) << 8 | np.int64(data[at + 1])


@compiled
def _known_sampling(data, at, components):  # type: ignore[no-untyped-def]
    """Return whether the chroma is sampled as 4:4:4, 4:4:0, 4:2:2, 4:2:0 or 4:1:1, which all decoders know; the factors
    of a single component mean nothing, but encoders write them."""
    first = data[at + 1]
    if components == 3 and (data[at + 4] != 0x11 or data[at + 7] != 0x11):
        return False
    return first == 0x11 or first == 0x12 or first == 0x21 or first == 0x22 or first == 0x41


@compiled
def _too_many_scans(data, start, end, pixels):  # type: ignore[no-untyped-def]
    """Return whether a small file would keep a decoder busy, see `gpustats.decode.headers`."""
    if pixels * ((end - start) // SHORTEST_SCAN) <= SCAN_WORK:
        return False
    scans = 1
    for i in range(start, end - 1):
        if data[i] == 0xFF and data[i + 1] == 0xDA:
            scans += 1
    return scans > MAX_SCANS and scans * pixels > SCAN_WORK
