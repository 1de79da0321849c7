"""A small seeded mutator of files: what disks, networks and attackers do to them."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["mutated"]

_INTERESTING = (
    b"\x00",
    b"\xff",
    b"\x7f\xff",
    b"\x80\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\0",
    b"\xff\xd8",
)


def _flip_bits(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _flip_bits_of_the_header(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 1, 2, 4))):
        data[dice.randrange(min(len(data), 700))] ^= 1 << dice.randrange(8)


def _truncate(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


def _zero_a_piece(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    size = min(dice.choice((1, 16, 512, 4096, len(data))), len(data) - start)
    data[start : start + size] = bytes(size)


def _scramble_a_piece(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    size = min(dice.choice((1, 4, 16, 512)), len(data) - start)
    data[start : start + size] = dice.randbytes(size)


def _delete_a_piece(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    del data[start : start + dice.choice((1, 2, 16, 512))]


def _repeat_a_piece(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    data[start:start] = data[start : start + dice.choice((1, 4, 64, 512))] * dice.choice((1, 2, 40))


def _write_a_number(data: bytearray, dice: random.Random) -> None:
    number = dice.choice(_INTERESTING)
    start = dice.randrange(min(len(data), 700))
    data[start : start + len(number)] = number


def _append(data: bytearray, dice: random.Random) -> None:
    data += dice.randbytes(dice.choice((1, 100, 5000)))


_MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip_bits,
    _flip_bits_of_the_header,
    _truncate,
    _zero_a_piece,
    _scramble_a_piece,
    _delete_a_piece,
    _repeat_a_piece,
    _write_a_number,
    _append,
)


def mutated(data: bytes, seed: int) -> bytes:
    """Return `data` after one to three mutations; the same for a seed on every platform."""
    dice = random.Random(seed)
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        if out:
            dice.choice(_MUTATIONS)(out, dice)
    return bytes(out)
