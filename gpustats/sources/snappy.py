"""A large block of Snappy, decompressed in pieces.

Snappy's raw format has no frames: a block is one run of elements, and decoders want it whole. But compressors take
their input 64 KiB at a time and refer to nothing before it, so elements that end where the output is a multiple of
64 KiB are a block of their own once their length is put in front.

The format: https://github.com/google/snappy/blob/main/format_description.txt
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.failures import ImageError
from gpustats.sources.protobuf import varint
from gpustats.statistics.compiled import compiled

__all__ = ["cut", "pieces"]

_FRAGMENT = 65536
_PIECE = 1 << 19
_ROOM = 10  # for the length of a piece, in front of its elements
# An element of three bytes stands for at most 64: no block decompresses to more than this many times its size.
_MAX_GAIN = 22


def pieces(read_into: Callable[[int, memoryview], None], compressed_size: int, size: int) -> Iterator[memoryview]:
    """Yield what a block decompresses to.

    Parameters
    ----------
    read_into : callable
        Fills a buffer with the bytes of the block from a position on.
    compressed_size, size : int
        Bytes before and after.

    Raises
    ------
    ImageError
        "corrupt" where the block says another size. What is wrong with its elements, Arrow says, with its own errors.
    """
    import pyarrow as pa

    codec = pa.Codec("snappy")
    array = np.empty(_ROOM + min(_PIECE, compressed_size), np.uint8)
    buffer = array.data
    head = buffer[: min(_ROOM, compressed_size)]
    read_into(0, head)
    try:
        said, position = varint(head, 0)
    except ValueError as error:
        raise ImageError("corrupt", f"Snappy: the length of a block: {error}") from None
    produced = 0 if said == size else -1
    stop = _ROOM
    while position < compressed_size and produced >= 0:
        count = min(len(buffer) - stop, compressed_size - position)
        read_into(position, buffer[stop : stop + count])
        position += count
        stop += count
        consumed, made = cut(array[_ROOM:stop], position == compressed_size)
        if consumed <= 0:
            yield _whole(codec, read_into, compressed_size, size)[produced:]
            return
        length = _varint(made)
        begin, end = _ROOM - len(length), _ROOM + consumed
        buffer[begin:_ROOM] = length
        yield memoryview(codec.decompress(buffer[begin:end], made)).cast("B")
        produced += made
        array[_ROOM : _ROOM + stop - end] = array[end:stop]
        stop -= consumed
    if produced != size or stop != _ROOM:
        raise ImageError("corrupt", f"Snappy: a block that does not decompress to {size:,} bytes")


def _whole(codec: Any, read_into: Callable[[int, memoryview], None], compressed_size: int, size: int) -> memoryview:
    """Decompress a block that cannot be cut."""
    if size > _MAX_GAIN * compressed_size:
        raise ImageError("corrupt", f"Snappy: {compressed_size:,} bytes cannot hold {size:,}")
    block = bytearray(compressed_size)
    read_into(0, memoryview(block))
    return memoryview(codec.decompress(block, size)).cast("B")


def _varint(length: int) -> bytes:
    out = bytearray()
    while length > 127:
        out.append(length & 127 | 128)
        length >>= 7
    out.append(length)
    return bytes(out)


@compiled
def cut(data: NDArray[np.uint8], last: bool) -> tuple[int, int]:
    """Find the last place at which elements can be parted.

    Parameters
    ----------
    data : ndarray of uint8, shape (N,)
        Elements, from the beginning of a block without its length, or from where the last cut was.
    last : bool
        Whether the block ends with `data`.

    Returns
    -------
    consumed, produced : int
        Bytes of `data` before the cut, and what they decompress to. (-1, 0) where an element refers to something before
        `data`: this block cannot be cut.
    """
    position = produced = 0
    end = made = 0
    while position < data.size:
        tag = data[position]
        kind = tag & 3
        if kind == 0:
            length = (tag >> 2) + 1
            step = 1
            if length > 60:
                step += length - 60
                if position + step > data.size:
                    break
                length = 1
                for i in range(1, step):
                    length += int(data[position + i]) << 8 * (i - 1)
            step += length
            if position + step > data.size:
                break
        else:
            step = 2 if kind == 1 else 3 if kind == 2 else 5
            if position + step > data.size:
                break
            if kind == 1:
                length = 4 + ((tag >> 2) & 7)
                offset = (int(tag) >> 5) << 8 | int(data[position + 1])
            else:
                length = (tag >> 2) + 1
                offset = 0
                for i in range(1, step):
                    offset |= int(data[position + i]) << 8 * (i - 1)
            if offset > produced:
                return -1, 0
        position += step
        produced += length
        if produced % _FRAGMENT == 0:
            end, made = position, produced
    if last and position == data.size:
        return position, produced
    return end, made
