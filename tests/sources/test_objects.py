"""Images that are in the program: keys, labels, batches, tensors, PIL images, datasets that raise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import gpustats
from gpustats import DataError
from gpustats.sources import SourceOptions, load, open_source
from tests.sources.packing import contents

GREY = np.arange(35, dtype=np.uint8).reshape(5, 7)
COLOR = np.arange(105, dtype=np.uint8).reshape(5, 7, 3)
BATCH = np.stack([COLOR, COLOR + 1])


def seen(data: Any, **options: Any) -> list[tuple[str, str, Any]]:
    found = contents(data, **options)
    assert found.failures == []
    return found.images


@pytest.mark.parametrize(
    ("label", "group"),
    [
        (3, "3"),
        (0, "0"),
        ("cat", "cat"),
        (None, ""),
        (np.int64(5), "5"),
        (np.array(6), "6"),
        (np.float32(0.5), "0.5"),
        (np.array([1, 2]), ""),
        ({"a": 1}, ""),
        ([1], ""),
        ((1,), ""),
        (True, "True"),
    ],
)
def test_labels(label: Any, group: str) -> None:
    for element in ((COLOR, label), {"image": COLOR, "label": label}, (b"encoded", label), (Image.new("L", (2, 2)), label)):  # fmt: skip # noqa: E501
        [(key, found, _)] = seen(iter([element]))
        assert (key, found) == ("0", group)


@pytest.mark.parametrize("image", ["image", "images", "img", "pixel_values", "input"])
@pytest.mark.parametrize("label", ["label", "labels", "target", "class"])
def test_entries_of_dictionaries(image: str, label: str) -> None:
    assert seen(iter([{"x": 1, label: 4, image: COLOR}])) == [("0", "4", COLOR.tolist())]


def test_the_order_of_the_entries() -> None:
    images = ["image", "pixel_values", "input"]
    labels = ["label", "labels", "target", "class"]
    for i in range(3):
        element = {name: GREY + images.index(name) for name in reversed(images[i:])}
        assert seen(iter([element])) == [("0", "", (GREY + i).tolist())]
    for i in range(4):
        element = {name: name for name in reversed(labels[i:])} | {"image": GREY}
        assert seen(iter([element])) == [("0", labels[i], GREY.tolist())]


def test_batches_are_counted_image_by_image() -> None:
    expected = [BATCH[0].tolist(), BATCH[1].tolist(), COLOR.tolist(), BATCH[0].tolist(), BATCH[1].tolist()]
    for labels, groups in [
        ([1, "b"], ["1", "b"]),
        ((1, 2), ["1", "2"]),
        (np.array([1, 2]), ["1", "2"]),
        ([1], ["", ""]),
        ([1, 2, 3], ["", ""]),
        (np.array([[1], [2]]), ["", ""]),
        (7, ["", ""]),
        (None, ["", ""]),
    ]:
        found = seen(iter([(BATCH, labels), (COLOR, 9), [BATCH]]))
        assert [key for key, _, _ in found] == ["0", "1", "2", "3", "4"]
        assert [group for _, group, _ in found] == [*groups, "9", "", ""]
        assert [image for _, _, image in found] == expected


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (COLOR, 1),
        (BATCH, 2),
        ([COLOR, GREY], 2),
        ((COLOR, GREY), 2),
        ((COLOR, 3), 1),
        ((BATCH, [1, 2]), 2),
        ([(COLOR, 3), (GREY, 4)], 2),
        ([[COLOR, 3]], 1),
        (Image.new("RGB", (7, 5)), 1),
        ([Image.new("RGB", (7, 5)), COLOR], 2),
    ],
)
def test_what_is_taken_for_images(data: Any, count: int) -> None:
    found = seen(data)
    assert [key for key, _, _ in found] == [str(i) for i in range(count)]


def test_an_image_with_its_label_is_one_image() -> None:
    assert seen((COLOR, 3)) == [("0", "3", COLOR.tolist())]
    assert seen([(COLOR, 3), (GREY, 4)]) == [("0", "3", COLOR.tolist()), ("1", "4", GREY.tolist())]


def test_what_is_not_read() -> None:
    for data in (3, {"a": 1}, {"a": np.zeros(3)}, None):
        with pytest.raises(DataError, match=f"cannot read images from {type(data).__name__} "):
            open_source(data)
    with pytest.raises(DataError, match="element 0 is dict; expected an array, a tensor, a PIL image"):
        contents(iter([{"x": 1}, COLOR]))
    found = contents(iter([COLOR, {"x": 1}, None, COLOR]))  # that it is not the first shows that others can be read
    assert (found.keys, found.failures) == (["0", "3"], [("1", "unsupported"), ("2", "unsupported")])
    assert "element 2 is NoneType; expected an array" in found.messages[1]
    with pytest.raises(DataError, match="element 0 is float"):
        contents(iter([3.5]))
    with pytest.raises(DataError, match="the list is empty"):
        open_source(())


def test_an_ambiguous_shape_stops_the_run_only_at_the_start() -> None:
    odd = np.zeros((3, 2, 3), np.uint8)
    with pytest.raises(DataError, match="element 0: two axes could be the channels"):
        contents(iter([odd, COLOR]))
    found = contents(iter([COLOR, (odd, 5), GREY]))
    assert found.keys == ["0", "2"]
    assert found.failures == [("1", "unsupported")]
    assert "element 1: two axes could be the channels" in found.messages[0]
    assert [len(image) for _, _, image in seen(iter([odd]), layout="HWC")] == [3]
    assert [len(image) for _, _, image in seen(iter([odd]), layout="CHW")] == [2]


class Dataset:
    """A dataset with an index."""

    def __init__(self, *elements: Any) -> None:
        self.elements = elements

    def __len__(self) -> int:
        return len(self.elements)

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.elements[index], Exception):
            raise self.elements[index]
        return self.elements[index]


class DataLoader(Dataset):
    """Known by its name."""

    def __iter__(self) -> Any:
        return iter(self.elements)

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("a loader is iterated over")


def test_datasets_with_an_index() -> None:
    data = Dataset((COLOR, 1), KeyError("gone"), GREY, RuntimeError("x\ny"))
    source = open_source(data)
    assert source.count() == 4
    found = contents(data)
    assert found.images == [("0", "1", COLOR.tolist()), ("2", "", GREY.tolist())]
    assert found.failures == [("1", "unreadable"), ("3", "unreadable")]
    assert found.messages == ["KeyError: 'gone'", "RuntimeError: x\ny"]
    assert contents([data, data]).failures[0] == ("0/1", "unreadable")
    assert contents([data, data]).keys == ["0/0", "0/2", "1/0", "1/2"]


def test_loaders_are_iterated_over() -> None:
    data = DataLoader((BATCH, [4, 5]), (BATCH, [6, 7]))
    assert [(key, group) for key, group, _ in seen(data)] == [("0", "4"), ("1", "5"), ("2", "6"), ("3", "7")]


def raising(*elements: Any) -> Any:
    for element in elements:
        if isinstance(element, BaseException):
            raise element
        yield element


def test_an_iterable_that_raises_ends_the_run() -> None:
    odd = ValueError("odd")
    with pytest.raises(
        gpustats.SourceStopped, match="generator raised ValueError after 3 images: odd; the partial"
    ) as e:
        gpustats.compute(raising(BATCH, COLOR, odd, COLOR), progress=False)
    assert (e.value.partial.n_images, e.value.partial.complete, e.value.__cause__) == (3, False, odd)
    assert e.value.partial.totals == gpustats.compute([*BATCH, COLOR], progress=False).totals
    for call in (gpustats.compute, gpustats.inspect):
        with pytest.raises(DataError, match=r"generator raised ValueError after 0 images: odd$"):
            call(raising(odd))
    with pytest.raises(DataError, match=r"generator raised ValueError after 1 images: odd$"):
        gpustats.inspect(raising(COLOR, odd))
    found = contents([raising(COLOR, odd), iter([COLOR])])
    assert (found.keys, found.failures) == (["0/0", "1/0"], [("0", "unreadable")])
    with pytest.raises(DataError, match=r"^as it is$"):
        contents(raising(BATCH, DataError("as it is")))
    with pytest.raises(KeyboardInterrupt):
        contents(raising(BATCH, KeyboardInterrupt()))
    assert open_source(raising()).count() is None


class Changing(Dataset):
    """A dataset whose length is another after some of its items were asked for."""

    def __init__(self, length: int, then: int) -> None:
        self.length, self.then = length, then

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if index == 3:
            self.length = self.then
        if index >= self.length:
            raise IndexError(index)
        return COLOR


@pytest.mark.parametrize("then", [4, 9])
def test_a_dataset_that_changes_its_length(then: int) -> None:
    with pytest.raises(
        gpustats.SourceStopped, match=f"after 6 images: its length was 6 at first and is {then} at the en"
    ) as e:
        gpustats.compute(Changing(6, then), progress=False)
    assert (e.value.partial.n_images, len(e.value.partial.failures)) == (min(then, 6), max(6 - then, 0))


@pytest.mark.parametrize(
    ("mode", "shape", "dtype"),
    [
        ("1", (5, 7), "uint8"),
        ("L", (5, 7), "uint8"),
        ("LA", (5, 7, 2), "uint8"),
        ("RGB", (5, 7, 3), "uint8"),
        ("RGBA", (5, 7, 4), "uint8"),
        ("F", (5, 7), "float32"),
        ("I;16", (5, 7), "uint16"),
        ("P", (5, 7, 3), "uint8"),
        ("CMYK", (5, 7, 3), "uint8"),
        ("YCbCr", (5, 7, 3), "uint8"),
        ("HSV", (5, 7, 3), "uint8"),
    ],
)
def test_modes_of_pil_images(mode: str, shape: tuple[int, ...], dtype: str) -> None:
    image = Image.new("RGB", (7, 5), (200, 100, 50)).convert(mode) if mode != "I;16" else Image.new(mode, (7, 5), 60000)
    [sample] = [s for s in open_source([image]).samples() if isinstance(s, tuple)]
    pixels: Any = load(sample[2], 280)
    assert (pixels.shape, pixels.dtype) == (shape, dtype)
    kept = {"P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "1": "L"}.get(mode, mode)
    assert np.array_equal(pixels, np.asarray(image.convert(kept)))


def test_a_pil_image_that_is_too_large_or_damaged(tmp_path: Any) -> None:
    image = Image.new("RGB", (7, 5))
    assert contents([image], max_bytes=280).failures == []
    found = contents([image], max_bytes=279)
    assert (found.failures, found.messages) == ([("0", "too_large")], ["7 x 5 pixels are more than the limit"])
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:900])
    with Image.open(tmp_path / "a.jpg") as lazy:
        found = contents([lazy])
    assert found.failures == [("0", "corrupt")]
    assert found.messages[0].startswith("PIL image: ")


class Tensor:
    """As much of a tensor as is looked at."""

    __module__ = "torch"

    def __init__(self, array: NDArray[Any], device: str = "cpu", dtype: str = "") -> None:
        self.array, self.shape = array, array.shape
        self.dtype = dtype or f"torch.{array.dtype}"
        self.device = SimpleNamespace(type=device)
        self.detached = False

    def __len__(self) -> int:
        return len(self.array)

    def __dlpack__(self, **_: Any) -> Any:
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1 if self.device.type == "cpu" else 2, 0)

    def detach(self) -> Tensor:
        copy = Tensor(self.array, self.device.type, self.dtype)
        copy.detached = True
        return copy

    def float(self) -> Tensor:
        copy = Tensor(self.array.astype(np.float32), self.device.type)
        copy.detached = self.detached
        return copy

    def numpy(self) -> NDArray[Any]:
        assert self.detached, "one that needs a gradient has no array"
        assert self.dtype != "torch.bfloat16"
        return self.array


def test_tensors() -> None:
    planes = np.ascontiguousarray(BATCH.transpose(0, 3, 1, 2))
    assert [image for _, _, image in seen([Tensor(planes)])] == BATCH.tolist()
    both = np.zeros((3, 9, 3), np.uint8)
    assert np.shape(seen([Tensor(both)])[0][2]) == (9, 3, 3), "channels first where both could be"
    half = (COLOR / 256).astype(np.float32)
    [(_, _, image)] = seen([Tensor(half, dtype="torch.bfloat16")])
    assert np.array_equal(np.array(image, np.float32), half)


class OnlyDlpack:
    """An array of another library."""

    def __init__(self, array: NDArray[Any], device: int = 1) -> None:
        self.array, self.device = array, device

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self.device, 0)


class OnlyInterface:
    """An array of an older library."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__


@pytest.mark.parametrize("kind", [OnlyDlpack, OnlyInterface])
def test_arrays_of_other_libraries(kind: Callable[[NDArray[Any]], Any]) -> None:
    assert seen([kind(COLOR)]) == [("0", "", COLOR.tolist())]
    assert seen(kind(BATCH)) == [("0", "", BATCH[0].tolist()), ("1", "", BATCH[1].tolist())]


def test_arrays_in_gpu_memory_need_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    cuda = OnlyInterface(COLOR)
    del cuda.__array_interface__
    cuda.__cuda_array_interface__ = {}  # type: ignore[attr-defined]
    for array in (OnlyDlpack(COLOR, 2), cuda, Tensor(COLOR, "cuda")):
        with pytest.raises(DataError, match="is in GPU memory; install CuPy"):
            contents([array])


def test_arrays_in_gpu_memory_are_handed_to_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(from_dlpack=lambda value: value.array + 1, asarray=lambda value: value.array + 2)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    cuda = OnlyInterface(COLOR)
    del cuda.__array_interface__
    cuda.__cuda_array_interface__ = {}  # type: ignore[attr-defined]
    assert seen([OnlyDlpack(COLOR, 2)])[0][2] == (COLOR + 1).tolist()
    assert seen([cuda])[0][2] == (COLOR + 2).tolist()


def test_labels_of_sources() -> None:
    assert open_source(COLOR).label == "ndarray of shape (5, 7, 3)"
    assert open_source(Dataset(COLOR)).label == "Dataset"
    assert open_source(raising()).label == "generator"
    assert open_source([COLOR]).label == "list"
    with pytest.raises(ValueError, match="column= is an option for"):
        open_source(COLOR, SourceOptions(column="x"))
