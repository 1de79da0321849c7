"""libtiff writes to standard error by itself; a run keeps it silent and puts its handlers back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

import gpustats
from gpustats.decode.libtiff import _setters, silent_libtiff
from tests.command_line import invoke

pytestmark = pytest.mark.skipif(not features.check("libtiff"), reason="Pillow has no libtiff")


def damaged(compression: str) -> bytes:
    """A TIFF whose header is whole and whose compressed pixels are not."""
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "TIFF", compression=compression)
    data = bytearray(file.getvalue())
    data[30:400] = bytes(byte ^ 0x5A for byte in data[30:400])
    return bytes(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for compression in ("tiff_lzw", "jpeg"):
        for i in range(5):
            (tmp_path / f"{compression}{i}.tif").write_bytes(damaged(compression))
    Image.new("RGB", (4, 4)).save(tmp_path / "good.tif")
    return tmp_path


def decode(path: Path) -> None:
    with Image.open(path) as image, pytest.raises(OSError, match="decoder error"):
        image.load()


def test_libtiff_says_nothing_during_a_run(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if not _setters():
        pytest.skip("libtiff is a part of Pillow's own library here")
    decode(folder / "tiff_lzw0.tif")
    assert "Using code not yet in table" in capfd.readouterr().err, "Pillow alone lets it write"
    done = invoke("compute", folder, "--quiet", "--workers", "4")
    assert (done.code, done.err) == (3, "")
    with pytest.warns(gpustats.ImagesFailedWarning):
        assert len(gpustats.compute(folder, progress=False, isolate=True).failures) == 10
    assert capfd.readouterr() == ("", "")
    decode(folder / "jpeg0.tif")
    assert "JPEGLib" in capfd.readouterr().err, "afterwards the program has what it had"


def test_handlers_are_put_back_in_order() -> None:
    before = [setter(None) for setter in _setters()]
    for setter, handler in zip(_setters(), before, strict=True):
        setter(handler)
    with silent_libtiff(), silent_libtiff():
        pass
    for setter, handler in zip(_setters(), before, strict=True):
        assert setter(handler) == handler


def test_without_access_to_libtiff_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise OSError("no")

    monkeypatch.setattr("gpustats.decode.libtiff.ctypes.CDLL", refuse)
    _setters.cache_clear()
    try:
        assert _setters() == ()
        with silent_libtiff():
            pass
    finally:
        _setters.cache_clear()
