"""What fuzzing found, each made anew by a few lines."""

from __future__ import annotations

import struct

from tests.fuzz.targets import CONTAINERS


def test_an_idx_file_of_images_without_pixels() -> None:
    data = struct.pack(">IIII", 0x803, 4, 0, 8) + bytes(288)
    assert CONTAINERS["idx"].check(data) == "refused"


def test_a_npy_header_that_is_not_python() -> None:
    (data,) = CONTAINERS["npy"].seeds()
    assert CONTAINERS["npy"].check(data.replace(b"'shape': (", b"'shape': [")) == "refused"
    assert CONTAINERS["npy"].check(data.replace(b"'fortran_order'", b"'fortran_order ")) == "refused"
