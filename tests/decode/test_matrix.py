"""Every container with every type, depth and number of bands: measured as it is, or refused by name; no third outcome.

The containers are written by tifffile, imagecodecs, NumPy and Pillow; the truth is the array that they were given.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

import gpustats
from tests.badfiles import chunk

BANDS = (1, 2, 3, 4, 7)
KINDS = {
    "1 bit": ("uint8", 1),
    "8 bits": ("uint8", 8),
    "12 bits": ("uint16", 12),
    "16 bits": ("uint16", 16),
    "32 bits": ("uint32", 32),
    "int8": ("int8", 8),
    "int16": ("int16", 16),
    "int32": ("int32", 32),
    "float16": ("float16", 16),
    "float32": ("float32", 32),
    "float64": ("float64", 64),
}
"""NumPy's type and the bits of a value."""


_FEW, _ALL = {1, 2, 3, 4}, {1, 2, 3, 4, 7}
MEASURED: dict[tuple[str, str, str], set[int]] = {
    **{("TIFF", kind, "native"): _ALL for kind in KINDS if kind != "1 bit"},
    **{("array", kind, mode): _ALL for mode in ("RGB", "native") for kind in KINDS},
    **{(name, kind, "native"): _FEW for name in ("PNG", "JPEG 2000") for kind in ("8 bits", "12 bits", "16 bits")},
    **{("JPEG 2000", kind, "native"): _FEW for kind in ("1 bit", "int8", "int16")},
    **{(name, "8 bits", "RGB"): _FEW for name in ("TIFF", "PNG", "JPEG 2000")},
    **{(name, "1 bit", mode): {1} for name in ("TIFF", "PNG", "PNM") for mode in ("RGB", "native")},
    **{("PNM", kind, "native"): {1, 3} for kind in ("8 bits", "12 bits", "16 bits")},
    ("PNM", "8 bits", "RGB"): {1, 3},
    **{
        ("PIL image", kind, mode): {1}
        for mode in ("RGB", "native")
        for kind in ("1 bit", "12 bits", "16 bits", "int16", "int32", "float32")
    },
    **{("PIL image", "8 bits", mode): _FEW for mode in ("RGB", "native")},
}
"""Bands of the images that are measured, by container, kind and mode; the others are refused."""


class NoSuchFile(Exception):
    """The container cannot hold such an image, or nobody writes it."""


def pixels(kind: str, bands: int) -> Any:
    """Return values over the whole range of a kind, which wrap or clip where a decoder takes them for another."""
    dtype, bits = KINDS[kind]
    rng = np.random.default_rng(bits + bands)
    if dtype.startswith("float"):
        return rng.normal(0, 100, (9, 7, bands)).astype(dtype)
    lowest = 0 if dtype.startswith("u") else -(1 << (bits - 1))
    array = rng.integers(lowest, lowest + (1 << bits), (9, 7, bands), dtype=np.int64)
    array[0, 0], array[0, 1] = lowest, lowest + (1 << bits) - 1
    return array.astype(dtype)


def _stored(array: Any) -> Any:
    return array if array.shape[2] > 1 else array[..., 0]


def tiff(array: Any, kind: str) -> bytes:
    bands = array.shape[2]
    if kind == "12 bits":
        rows = b"".join(packed(row, 12) for row in array)
        return tiff_of_rows(rows, 12, bands)
    file = io.BytesIO()
    layout = {"planarconfig": "contig"} if bands > 1 else {}
    photometric = "rgb" if bands in (3, 4) else "minisblack"
    extra = {"extrasamples": ["unassalpha"]} if bands in (2, 4) else {}
    if kind == "1 bit":
        if bands > 1:
            raise NoSuchFile
        array = array > 0
    tifffile.imwrite(file, _stored(array), photometric=photometric, **layout, **extra)
    return file.getvalue()


def packed(values: Any, bits: int) -> bytes:
    """Return a row of values one bit behind the other, with the highest first."""
    wide = np.unpackbits(values.astype(">u4").view(np.uint8).reshape(-1, 4), axis=1)[:, 32 - bits :]
    return np.packbits(wide.ravel()).tobytes()


def tiff_of_rows(rows: bytes, bits: int, bands: int) -> bytes:
    """Return an uncompressed TIFF of 7 x 9 pixels."""
    colours = 2 if bands in (3, 4) else 1
    tags = [(256, 7), (257, 9), (258, bits), (259, 1), (262, colours), (273, 8), (277, bands), (278, 9)]
    tags += [(279, len(rows)), *([(338, 2)] if bands in (2, 4) else [])]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    start = 8 + len(rows) + len(rows) % 2
    padding = bytes(len(rows) % 2)
    return struct.pack("<2sHI", b"II", 42, start) + rows + padding + struct.pack("<H", len(tags)) + directory + bytes(4)


def png(array: Any, kind: str) -> bytes:
    bands = array.shape[2]
    if kind not in ("1 bit", "8 bits", "12 bits", "16 bits") or bands > 4 or (kind == "1 bit" and bands > 1):
        raise NoSuchFile
    if kind == "1 bit":
        header = struct.pack(">IIBBBBB", 7, 9, 1, 0, 0, 0, 0)
        rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in array[..., 0])
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + body
    return bytes(imagecodecs.png_encode(_stored(array)))


def pnm(array: Any, kind: str) -> bytes:
    bands = array.shape[2]
    if kind not in ("1 bit", "8 bits", "12 bits", "16 bits") or bands not in (1, 3) or (kind == "1 bit" and bands > 1):
        raise NoSuchFile
    if kind == "1 bit":  # black is 1
        return b"P4\n7 9\n" + b"".join(np.packbits(1 - row).tobytes() for row in array[..., 0])
    maximum = (1 << KINDS[kind][1]) - 1
    body = array.astype(">u2" if maximum > 255 else np.uint8).tobytes()
    return (b"P6" if bands == 3 else b"P5") + b"\n7 9\n%d\n" % maximum + body


def jpeg2000(array: Any, kind: str) -> bytes:
    if array.dtype.kind == "f" or array.dtype.itemsize > 2:
        raise NoSuchFile
    if array.shape[2] > 4:
        array = np.ascontiguousarray(array)
    try:
        data = imagecodecs.jpeg2k_encode(_stored(array), level=0, reversible=True, bitspersample=KINDS[kind][1])
    except Exception:  # noqa: BLE001 - what the encoder cannot write is no case
        raise NoSuchFile from None
    return bytes(data)


def pil_image(array: Any, kind: str) -> Image.Image:
    if kind == "1 bit":
        array = array > 0
    if kind == "float64":  # Pillow makes float32 of it
        raise NoSuchFile
    try:
        image = Image.fromarray(_stored(array))
    except (TypeError, KeyError, ValueError):
        raise NoSuchFile from None
    if array.dtype.kind in "iu" and not np.array_equal(np.asarray(image), _stored(array)):  # int8 becomes unsigned
        raise NoSuchFile
    return image


CONTAINERS: dict[str, Callable[[Any, str], Any]] = {
    "TIFF": tiff,
    "PNG": png,
    "PNM": pnm,
    "JPEG 2000": jpeg2000,
    "PIL image": pil_image,
    "array": lambda array, kind: array,
}

REFUSES = (
    "samples? of|bits a sample|bands|signed|floats|pixels of type|mode|whose colours|values up to|channels|"
    "palette|components|not measured|no image|more than 8 bits|two axes"
)
"""What a refusal names: the type, the depth, the bands or the mode."""


def measured(data: Any, mode: str, **options: Any) -> Any:
    """Return the integers or floats of a result, or the words with which the image was refused."""
    options |= {"layout": "HWC"} if isinstance(data, np.ndarray) else {}
    try:
        return gpustats.compute([data], mode=mode, progress=False, workers=1, **options)
    except gpustats.AllImagesFailed as error:
        (failure,) = error.partial.failures
        assert failure.reason == "unsupported", failure
        return failure.message


def holds(stats: gpustats.Stats, array: Any) -> bool:
    """Say whether a result is that of an array."""
    moments = stats.totals["moments"]
    wide = array.reshape(-1, array.shape[2]).astype(object if array.dtype.kind in "iu" else np.float64)
    lowest, highest = wide.min(axis=0).tolist(), wide.max(axis=0).tolist()
    if moments["n"] != [len(wide)] * array.shape[2] or (moments["min"], moments["max"]) != (lowest, highest):
        return False
    if array.dtype.kind in "iu":
        return bool(moments["sum"] == wide.sum(axis=0).tolist() and moments["sumsq"] == (wide**2).sum(axis=0).tolist())
    return np.allclose(stats.mean, wide.mean(axis=0), rtol=1e-12) and np.allclose(
        stats.std, wide.std(axis=0), rtol=1e-9
    )


def truth(array: Any, container: str, kind: str, mode: str) -> Any:
    """Return the array of which a result should be: as stored, or what the mode makes of its channels."""
    bands = array.shape[2]
    if kind == "1 bit" and container not in ("array", "JPEG 2000"):
        array = array * np.uint8(255)
    if mode == "native" or container in ("PIL image", "array"):
        return array
    return np.repeat(array[..., :1], 3, axis=2) if bands < 3 else array[..., :3]


@pytest.mark.parametrize("mode", ["RGB", "native"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_measured_as_it_is_or_refused_by_name(container: str, kind: str, mode: str) -> None:
    done = set()
    for bands in BANDS:
        array = pixels(kind, bands)
        try:
            data = CONTAINERS[container](array, kind)
        except NoSuchFile:
            continue
        found = measured(data, mode)
        if isinstance(found, str):
            assert re.search(REFUSES, found), found
        else:
            assert holds(found, truth(array, container, kind, mode)), (bands, found)
            done.add(bands)
    assert done == MEASURED.get((container, kind, mode), set())


RANGES = {"1 bit": 255.0, "8 bits": 255.0, "12 bits": 4095.0, "16 bits": 65535.0, "32 bits": 2.0**32 - 1}
RANGES |= {"int8": 128.0, "int16": 32768.0, "int32": 2.0**31, "float16": 1e4, "float32": 1e4, "float64": 1e4}
DEEP_RGB = {
    **{("TIFF", kind): _FEW for kind in KINDS if kind != "1 bit"},
    ("TIFF", "1 bit"): {1},
    **{("PNG", kind): _FEW for kind in ("8 bits", "12 bits", "16 bits")},
    ("PNG", "1 bit"): {1},
    **{("JPEG 2000", kind): _FEW for kind in ("1 bit", "8 bits", "12 bits", "16 bits", "int8", "int16")},
    **{("PNM", kind): {1, 3} for kind in ("8 bits", "12 bits", "16 bits")},
    ("PNM", "1 bit"): {1},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_as_rgb_where_the_user_says_what_1_is(container: str, kind: str) -> None:
    done = set()
    for bands in BANDS:
        array = pixels(kind, bands)
        try:
            data = CONTAINERS[container](array, kind)
        except NoSuchFile:
            continue
        found = measured(data, "RGB", value_range=RANGES[kind])
        if isinstance(found, str):
            assert re.search(REFUSES, found), found
            continue
        expected = truth(array, container, kind, "RGB")
        assert found.value_range == RANGES[kind]
        assert np.allclose(found.max, expected.max(axis=(0, 1)).astype(float) / RANGES[kind], rtol=1e-12)
        assert holds(found.scaled(RANGES[kind]), expected), (bands, found)
        done.add(bands)
    expected_bands = DEEP_RGB.get((container, kind), MEASURED.get((container, kind, "RGB"), set()))
    assert done == expected_bands
