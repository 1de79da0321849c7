"""Screening on the host: the header shows in a few microseconds whether a GPU decoder should get a file.

A bad sample costs a DALI pipeline its whole batch, nvJPEG is said to take truncated scans for whole ones, and some
kinds decode differently
on a GPU. So only what is plainly an ordinary JPEG goes there; everything else goes to the CPU decoder, whose verdict
counts.
"""

from __future__ import annotations

from gpustats.decode.decoder import check_size, jpeg_header

__all__ = ["screen"]

_SOF_HUFFMAN_8_BIT = (0xC0, 0xC1, 0xC2)  # baseline, extended sequential, progressive (ITU-T T.81, table B.1)


def screen(data: bytes, max_pixels: int) -> tuple[int, int] | None:
    """Return height and width of a JPEG for the GPU, None for what the CPU should decode.

    An ordinary JPEG ends with its end marker, is Huffman coded with 8 bits a sample, and is grey or YCbCr.

    Raises
    ------
    ImageError
        ``too_large``, where the header gives more than `max_pixels`.
    """
    if not data.endswith(b"\xff\xd9") or not _has_ordinary_frame(data):
        return None
    header = jpeg_header(data)
    if header is None:
        return None
    height, width, color_space = header
    check_size(height, width, max_pixels)
    return (height, width) if color_space in ("YCbCr", "Gray") else None


def _has_ordinary_frame(data: bytes) -> bool:
    """Walk the marker segments up to the frame header."""
    position, end = 2, len(data) - 10
    if data[:2] != b"\xff\xd8":
        return False
    while position < end and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _SOF_HUFFMAN_8_BIT:
            return data[position + 4] == 8 and data[position + 9] in (1, 3)
        if marker == 0xDA:  # behind a frame of another kind
            return False
        position += 2 + (data[position + 2] << 8 | data[position + 3])
    return False
