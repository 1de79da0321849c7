"""AVIF of 10 and 12 bits: the values that imagecodecs wrote, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import features

import gpustats
from gpustats.decode.avif import deep_avif
from gpustats.decode.decoder import Decoder
from gpustats.failures import ImageError
from gpustats.limits.memory import MemoryBudget

pytestmark = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")

LOSSLESS: dict[str, Any] = {"level": 100, "speed": 10}


def random(bits: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(bits).integers(0, 1 << bits, shape, dtype=np.uint16)


def written(array: np.ndarray, bits: int, **settings: Any) -> bytes:
    data: bytes = imagecodecs.avif_encode(array, bitspersample=bits, **LOSSLESS | settings)
    return data


def decoded(data: bytes, mode: str = "native", **options: Any) -> tuple[Any, str, float]:
    decoder = Decoder(10**6, MemoryBudget(1 << 30, 1), mode=mode, **options)
    pixels, name = decoder.decode(data)
    return np.ma.copy(pixels), name, decoder.value_range


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_values_are_those_that_were_written(bits: int, channels: int) -> None:
    array = random(bits, 33, 47, channels)
    pixels, name, value_range = decoded(written(array, bits))
    assert (pixels.dtype, pixels.shape) == (np.uint16, array.shape)
    assert np.array_equal(pixels, array)
    assert (name, value_range) == ("imagecodecs", (1 << bits) - 1)


@pytest.mark.parametrize("pixelformat", ["420", "422", "444", "400"])
def test_other_files_are_what_imagecodecs_makes_of_them(pixelformat: str) -> None:
    data = written(random(10, 33, 47, 3), 10, pixelformat=pixelformat, level=80)
    expected = imagecodecs.avif_decode(data).reshape(33, 47, -1)
    assert np.array_equal(decoded(data)[0], expected)


def test_a_run(tmp_path: Path) -> None:
    array = random(12, 20, 30, 4)
    (tmp_path / "a.avif").write_bytes(written(array, 12))
    stats = gpustats.compute(tmp_path, mode="native", progress=False)
    assert stats.totals["moments"]["sum"] == array.sum(axis=(0, 1), dtype=np.int64).tolist()
    assert (stats.value_range, stats.runs[0]["images_by_decoder"]) == (4095, {"imagecodecs": 1})
    coloured = gpustats.compute(tmp_path, value_range=4095, progress=False)
    assert coloured.totals["moments"]["sum"] == array[:, :, :3].sum(axis=(0, 1), dtype=np.int64).tolist()
    with pytest.raises(gpustats.DataError, match=r"AVIF with 12 bits a sample; .* value_range= with .*mode='native'"):
        gpustats.compute(tmp_path, progress=False)


def test_transparent_pixels() -> None:
    array = random(10, 20, 30, 4)
    array[:4, :, 3] = 0
    pixels, _, _ = decoded(written(array, 10), "RGB", deep=True, alpha_masks=True)
    assert np.array_equal(np.ma.getmaskarray(pixels)[:, :, 0], array[:, :, 3] == 0)


def test_what_is_refused() -> None:
    several = written(random(10, 3, 20, 30, 3), 10)
    with pytest.raises(ImageError, match="AVIF of more than 8 bits with 3 frames; only still images are read"):
        decoded(several)
    data = written(random(10, 20, 30, 4), 10)
    with pytest.raises(ImageError, match="multiplied by alpha"):
        decoded(data.replace(b"auxl", b"prem"))
    with pytest.raises(ImageError, match="max_pixels"):
        Decoder(599, MemoryBudget(1 << 30, 1), mode="native").decode(data)
    assert deep_avif(data).peak() == 12 * 20 * 30 * 4


def test_damaged_files_are_failures() -> None:
    array = random(10, 33, 47, 3)
    data = written(array, 10)
    reasons = set()
    for cut in range(12, len(data) - 1, 301):
        with pytest.raises(ImageError) as caught:
            decoded(data[:cut])
        reasons.add(caught.value.reason)
    assert reasons <= {"truncated", "corrupt"}
    rng = np.random.default_rng(4)
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            damaged[int(rng.integers(12, (400, len(data))[int(rng.integers(2))]))] = int(rng.integers(256))
        try:
            pixels, _, _ = decoded(bytes(damaged))
        except ImageError:
            continue
        assert pixels.shape[2] in (1, 3, 4)
