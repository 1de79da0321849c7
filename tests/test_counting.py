"""The first images of a process are counted by NumPy: the same integers, and numba comes when there are more."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gpustats.statistics import compiled
from gpustats.statistics.compiled import Compiled, at_first, ready
from gpustats.statistics.counting import count_row
from gpustats.statistics.sums import row_u8, row_u16


def columns(dtype, channels):
    wide = [np.full((3, channels), 7, np.uint64) for _ in range(3)]
    return (*wide, *(np.full((3, channels), 7, dtype) for _ in range(2)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 12])
@pytest.mark.parametrize("pixels", [0, 1, 2, 31, 32, 33, 257, 1024, 5000, 140_000])
def test_same_row_as_compiled_code(dtype, channels, pixels):
    """Also with no pixel at all, as where all are masked, and with more values than are counted at once."""
    random = np.random.default_rng(pixels + channels)
    top = int(np.iinfo(dtype).max)
    for low, high in ((0, top + 1), (top, top + 1), (3, 9)):
        values = random.integers(low, high, pixels * channels, dtype=dtype)
        rows = []
        for kernel in (count_row, ready(row_u8 if dtype is np.uint8 else row_u16)):
            rows.append(columns(dtype, channels))
            kernel(values, channels, 1, 0, *rows[-1])
        for counted, reduced in zip(*rows, strict=True):
            np.testing.assert_array_equal(counted, reduced)


@pytest.mark.parametrize("kernel", [count_row, row_u8], ids=["NumPy", "numba"])
def test_a_plane_fills_only_its_own_channel(kernel):
    row = columns(np.uint8, 3)
    ready(kernel)(np.array([1, 2, 3], np.uint8), 1, 2, 1, *row)
    assert [column[2].tolist() for column in row] == [[7, 3, 7], [7, 6, 7], [7, 14, 7], [7, 1, 7], [7, 3, 7]]
    assert all((column[:2] == 7).all() for column in row)


def kernel_that_notes(calls):
    def plain(values):
        calls.append("NumPy")

    kernel = Compiled(lambda values: None, plain)
    kernel.dispatcher = lambda values: calls.append("numba")
    return kernel


@pytest.fixture
def few_images(monkeypatch):
    monkeypatch.setattr(compiled, "_FEW_IMAGES", 5)
    monkeypatch.setattr(compiled, "_many", False)


@pytest.mark.parametrize(("size", "few"), [(1, 5), (compiled._FEW_VALUES // 3, 3)])
def test_few_images_then_compiled_code(few_images, size, few):
    calls = []
    kernel = kernel_that_notes(calls)
    values = np.empty(size, np.uint8)
    for _ in range(few + 2):
        kernel.start(values)
    assert calls == ["NumPy"] * few + ["numba"] * 2


@pytest.mark.parametrize(("images", "call"), [(5, "NumPy"), (6, "numba")])
def test_where_many_images_are_expected_the_first_is_not_counted(few_images, images, call):
    calls = []
    compiled.expect(images)
    compiled.expect(1)
    kernel_that_notes(calls).start(np.empty(1, np.uint8))
    assert calls == [call]


def test_a_large_image_is_never_counted(few_images):
    calls = []
    kernel_that_notes(calls).start(np.empty(compiled._FEW_VALUES + 1, np.uint8))
    assert calls == ["numba"]


def test_compiled_code_is_called_directly_once_it_is_there():
    kernel = kernel_that_notes([])
    assert at_first(kernel) is kernel.dispatcher
    kernel.dispatcher = None
    assert at_first(kernel) == kernel.start
    assert at_first(count_row) is count_row


@pytest.mark.parametrize(("images", "loaded"), [(3, False), (129, True)])
def test_numba_is_loaded_for_many_images_only(images, loaded):
    code = (
        "import sys, numpy as np, gpustats\n"
        f"stats = gpustats.compute([np.full((8, 9, 3), 7, np.uint8)] * {images}, device='cpu', progress=False)\n"
        f"assert stats.n_images == {images} and abs(stats.mean - 7 / 255).max() < 1e-15\n"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(loaded)
