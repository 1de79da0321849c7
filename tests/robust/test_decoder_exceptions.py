"""Whatever a decoder raises, of whatever type, costs one image and not the run."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import simplejpeg
from PIL import BmpImagePlugin, Image, JpegImagePlugin

import gpustats
from gpustats.engines.screen import screen
from tests.gpu.test_engine import batch_of, engine_for, needs_dali, run
from tests.images import encoded, photo


class Unheard(Exception):
    """An exception of a package that nobody has heard of."""


ERRORS = [
    KeyError(6),
    IndexError("string index out of range"),
    RuntimeError("internal error"),
    OSError("broken"),
    ZeroDivisionError("division by zero"),
    AssertionError(),
    TypeError("an integer is required"),
    AttributeError("no such attribute"),
    RecursionError("too deep"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    struct.error("unpack requires 4 bytes"),
    zlib.error("inflate"),
    StopIteration(),
    Unheard("?"),
    MemoryError(),
]
each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


def subsampled_441() -> bytes:
    """A whole JPEG with 4:4:1 chroma: the header of a 4:2:0 image of 16 x 16, changed to 8 x 32 and factors 1 x 4."""
    data = bytearray(encoded(photo(16, 16), subsampling=2))
    frame = data.index(b"\xff\xc0")
    assert data[frame + 11] == 0x22
    data[frame + 5 : frame + 9] = struct.pack(">HH", 32, 8)
    data[frame + 11] = 0x14
    return bytes(data)


def raising(error: BaseException) -> Any:
    def raise_it(*args: Any, **options: Any) -> Any:
        raise error

    return raise_it


def only_for(victim: bytes, original: Any, error: BaseException) -> Any:
    """A decoder function that fails for one file."""

    def decode(data: bytes, *args: Any, **options: Any) -> Any:
        if bytes(data) == victim:
            raise error
        return original(data, *args, **options)

    return decode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(5):
        (tmp_path / f"{i}.jpg").write_bytes(encoded(photo(20, 30, seed=i)))
    return tmp_path


def test_a_jpeg_that_simplejpeg_does_not_know_is_read_by_pillow(folder: Path) -> None:
    data = subsampled_441()
    with pytest.raises(KeyError):
        simplejpeg.decode_jpeg_header(data)
    (folder / "441.jpg").write_bytes(data)
    stats = gpustats.compute(folder, device="cpu")
    assert stats.n_images == 6
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    alone = gpustats.compute(folder / "441.jpg", device="cpu")
    np.testing.assert_array_equal(alone.scaled(255).mean, pixels.reshape(-1, 3).mean(axis=0))
    assert screen(data, 10**9) is None


@needs_dali
def test_a_jpeg_that_simplejpeg_does_not_know_on_the_gpu_engine() -> None:
    images = {f"{i}": encoded(photo(20, 30, seed=i)) for i in range(6)} | {"441": subsampled_441()}
    totals, failures = run(engine_for(), batch_of(images))
    assert (totals.images, failures) == (7, [])


@each_error
@pytest.mark.parametrize("function", ["decode_jpeg_header", "decode_jpeg"])
def test_what_simplejpeg_raises_leaves_the_image_to_pillow(
    folder: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: Exception
) -> None:
    expected = gpustats.compute(folder, device="cpu")
    victim = (folder / "2.jpg").read_bytes()
    monkeypatch.setattr(simplejpeg, function, only_for(victim, getattr(simplejpeg, function), error))
    stats = gpustats.compute(folder, device="cpu")
    assert stats.totals == expected.totals
    assert list(stats.failures) == []
    assert stats.runs[0]["images_by_decoder"] == {"pillow": 1, "simplejpeg": 4}


@each_error
@pytest.mark.parametrize("call", ["__init__", "load", "convert"])
def test_what_pillow_raises_is_a_failure_of_the_image(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: Exception
) -> None:
    (folder / "x.bmp").write_bytes(encoded(photo(20, 30), "BMP"))
    monkeypatch.setattr(BmpImagePlugin.BmpImageFile, call, raising(error))
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = gpustats.compute(folder, device="cpu")
    assert stats.n_images == 5
    (failure,) = stats.failures
    assert failure.key == "x.bmp"
    assert failure.reason == ("too_large" if isinstance(error, MemoryError) else "corrupt")
    assert failure.message


@pytest.mark.parametrize("error", [error for error in ERRORS if not isinstance(error, MemoryError)], ids=repr)
@pytest.mark.parametrize(("kind", "function"), [("PNG", "spng_decode"), ("WEBP", "webp_decode")])
def test_what_imagecodecs_raises_leaves_the_image_to_pillow(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, function: str, error: Exception
) -> None:
    for i in range(3):
        (folder / f"{i}.jpg").write_bytes(encoded(photo(20, 30, seed=i), kind))
    expected = gpustats.compute(folder, device="cpu")
    assert expected.runs[0]["images_by_decoder"] == {"imagecodecs": 3, "simplejpeg": 2}
    victim = (folder / "2.jpg").read_bytes()
    monkeypatch.setattr(imagecodecs, function, only_for(victim, getattr(imagecodecs, function), error))
    stats = gpustats.compute(folder, device="cpu")
    assert (stats.totals, list(stats.failures)) == (expected.totals, [])
    assert stats.runs[0]["images_by_decoder"] == {"imagecodecs": 2, "pillow": 1, "simplejpeg": 2}


def test_no_memory_for_imagecodecs_is_a_failure_of_the_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "x.png").write_bytes(encoded(photo(20, 30), "PNG"))
    monkeypatch.setattr(imagecodecs, "spng_decode", raising(MemoryError()))
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = gpustats.compute(folder, device="cpu")
    assert [(failure.key, failure.reason) for failure in stats.failures] == [("x.png", "too_large")]


@each_error
def test_both_decoders_raise(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    victim = (folder / "2.jpg").read_bytes()
    monkeypatch.setattr(simplejpeg, "decode_jpeg", only_for(victim, simplejpeg.decode_jpeg, error))
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", raising(error))
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = gpustats.compute(folder, device="cpu")
    assert (stats.n_images, [failure.key for failure in stats.failures]) == (4, ["2.jpg"])


@each_error
@needs_dali
def test_what_the_header_parser_raises_in_the_screen_of_the_gpu_engine(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    images = {f"{i}": encoded(photo(20, 30, seed=i)) for i in range(6)}
    expected, _ = run(engine_for(), batch_of(images))
    monkeypatch.setattr(simplejpeg, "decode_jpeg_header", only_for(images["3"], simplejpeg.decode_jpeg_header, error))
    totals, failures = run(engine_for(), batch_of(images))
    assert failures == []
    assert totals == expected


@each_error
def test_what_an_item_raises_when_it_is_read_is_a_failure_of_the_image(error: Exception) -> None:
    images = {f"{i}": encoded(photo(20, 30, seed=i)) for i in range(4)}
    batch = next(batch_of(images))
    batch.items[1] = raising(error)
    totals, failures = run(engine_for(), iter([batch]))
    assert totals.images == 3
    assert [failure.key for failure in failures] == ["1"]
