"""Which axis is what: every shape of two to five axes, with and without a layout, and the views that come of it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from gpustats import DataError
from gpustats.failures import ImageError
from gpustats.sources.arrays.layout import image_view, resolve
from gpustats.sources.arrays.slabs import array_samples

CHANNELS = (1, 3, 4)
SIZES = (1, 2, 3, 4, 5, 7)


def expected(shape: tuple[int, ...], channels_first: bool) -> str | None:
    """The table of the module, written once more."""
    if len(shape) == 2:
        return "HW"
    if len(shape) not in (3, 4):
        return None
    batch = "N" * (len(shape) - 3)
    first, last = shape[-3] in CHANNELS, shape[-1] in CHANNELS
    if first and last:
        return batch + "CHW" if channels_first else None
    if first or last:
        return batch + ("CHW" if first else "HWC")
    if not batch and shape[1] == shape[2] and shape[0] != shape[1]:
        return "NHW"
    return None


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("axes", [0, 1, 2, 3, 4, 5])
def test_every_shape(axes: int, channels_first: bool) -> None:
    for shape in itertools.product(SIZES if axes < 5 else (1, 3), repeat=axes):
        layout = expected(shape, channels_first)
        if layout is not None:
            assert resolve(shape, "auto", "x", channels_first) == layout, shape
        else:
            with pytest.raises(DataError, match=r"^x: ") as caught:
                resolve(shape, "auto", "x", channels_first)
            message = str(caught.value)
            if axes not in (3, 4):
                assert "is no image and no batch of images" in message
            else:
                both = shape[-1] in CHANNELS
                assert ("two axes could be" if both else "no axis looks like") in message, shape
                names = "'HWC', 'CHW', 'NHW'" if axes == 3 else "'NHWC', 'NCHW'"
                assert message.endswith(f"say which with layout=, one of {names}")


def test_a_cube_is_not_taken_for_a_batch() -> None:
    for shape in [(5, 5, 5), (28, 28, 28), (2, 2, 2)]:
        with pytest.raises(DataError, match="no axis looks like the channels"):
            resolve(shape, "auto", "x")


def test_a_tensor_of_which_both_ends_could_be_channels() -> None:
    assert resolve((3, 9, 3), "auto", "x", True) == "CHW"
    assert resolve((2, 1, 9, 4), "auto", "x", True) == "NCHW"
    assert resolve((9, 9, 3), "auto", "x", True) == "HWC"


@pytest.mark.parametrize("layout", ["HW", "HWC", "CHW", "NHW", "NHWC", "NCHW"])
def test_a_layout_that_is_said(layout: str) -> None:
    for axes in range(1, 6):
        shape = (3,) * axes
        whole = {"HW": "NHW", "HWC": "NHWC", "CHW": "NCHW"}
        if axes == len(layout):
            assert resolve(shape, layout, "x") == layout
        elif layout[0] == "N" and axes == len(layout) - 1:
            assert resolve(shape, layout, "x") == layout[1:], "one image of them"
        elif layout[0] != "N" and axes == len(layout) + 1:
            assert resolve(shape, layout, "x") == whole[layout], "a batch of them"
        else:
            with pytest.raises(
                DataError, match=rf"x: an array of shape .* does not have the axes of layout='{layout}'"
            ):
                resolve(shape, layout, "x")


@pytest.mark.parametrize(("layout", "count"), [("HW", 1), ("HWC", 1), ("CHW", 1), ("NHW", 2), ("NHWC", 2), ("NCHW", 2)])
def test_the_images_of_an_array_are_views(layout: str, count: int) -> None:
    sizes = {"N": 2, "H": 5, "W": 7, "C": 3}
    array = np.arange(np.prod([sizes[axis] for axis in layout])).reshape([sizes[axis] for axis in layout])
    images = [image_view(image, layout) for image in (array if layout[0] == "N" else [array])]
    assert len(images) == count
    axes = layout.removeprefix("N")
    for i, image in enumerate(images):
        one = array[i] if layout[0] == "N" else array
        assert image.shape == (5, 7, 3)[: len(axes)]
        assert np.shares_memory(image, array)
        assert np.array_equal(image, np.moveaxis(one, 0, -1) if axes == "CHW" else one)


class Recorded:
    """An array that remembers which slices were read."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, []

    def __getitem__(self, index: Any) -> Any:
        self.read.append(index)
        return self.array[index]


@pytest.mark.parametrize(
    ("image", "count", "chunk", "steps"),
    [
        ((1024, 1024), 40, 1, [(0, 16), (16, 32), (32, 40)]),  # 16 MiB at once
        ((1024, 1024), 40, 5, [(0, 15), (15, 30), (30, 40)]),  # whole chunks
        ((1024, 1024), 32, 16, [(0, 16), (16, 32)]),
        ((1024, 1024), 18, 17, [(0, 1 + 15), (16, 18)]),
        ((5000, 5000), 2, 1, [(0, 1), (1, 2)]),
        ((5000, 5000), 2, 7, [(0, 1), (1, 2)]),
    ],
)
def test_arrays_are_read_in_slabs(image: tuple[int, int], count: int, chunk: int, steps: list[tuple[int, int]]) -> None:
    array = Recorded(np.broadcast_to(np.zeros((), np.uint8), (count, *image)))
    samples = list(array_samples(array, "NHW", "k", 1 << 30, chunk=chunk))
    assert [key for key, _, _ in samples] == [f"k/{i}" for i in range(count)]
    if chunk == 17:  # a chunk that is too large for a slab: images as many as fit
        assert all(index.stop - index.start <= 16 for index in array.read)
        assert array.read[0].start == 0
        return
    assert [(index.start, index.stop) for index in array.read] == steps


def test_the_largest_image_of_an_array() -> None:
    array = np.zeros((2, 5, 6), np.uint16)
    assert len(list(array_samples(array, "NHW", "k", 60))) == 2
    with pytest.raises(ImageError, match="has 60 bytes, more than the limit of 59"):
        list(array_samples(array, "NHW", "k", 59))
    one = np.zeros((5, 6, 3), np.uint16)
    [(key, group, image)] = array_samples(one, "auto", "k", 180)
    assert (key, group, image.shape) == ("k", "", (5, 6, 3))  # type: ignore[union-attr]
    with pytest.raises(ImageError, match="more than the limit of 179"):
        list(array_samples(one, "auto", "k", 179))
    with pytest.raises(ImageError, match=r"^k\\n: two axes") as caught:
        list(array_samples(np.zeros((3, 2, 3), np.uint8), "auto", "k\n", 100))
    assert caught.value.reason == "unsupported"
    assert list(array_samples(np.zeros((0, 5, 6), np.uint8), "NHW", "k", 100)) == []
    assert len(list(array_samples(np.zeros((2, 0, 6), np.uint8), "NHW", "k", 100))) == 2, "images without a pixel"
