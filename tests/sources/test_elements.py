"""What loaders, datasets and lists yield: nested entries, batches as lists, bytes, open files, paths, columns."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats import DataError
from gpustats.sources import open_source
from tests.sources.packing import contents, need

RNG = np.random.default_rng(4)
COLORS = RNG.integers(0, 256, (6, 9, 7, 3), np.uint8)
PLANES = np.ascontiguousarray(COLORS.transpose(0, 3, 1, 2))
LABELS = [f"l{number}" for number in range(6)]
SIZES = [COLORS[number, : 5 + number % 3] for number in range(6)]
MASKS = np.zeros((6, 9, 7, 1), np.uint8)


def png(pixels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


ENCODED = [png(pixels) for pixels in COLORS]


def compute(data: Any, **options: Any) -> gpustats.Stats:
    return gpustats.compute(data, device="cpu", progress=False, **options)


def check(stats: gpustats.Stats, images: Any = COLORS) -> None:
    """Compare with NumPy's numbers."""
    pixels = np.concatenate([image.reshape(-1, 3) for image in images])
    assert stats.n_images == len(images)
    assert stats.mean == pytest.approx(pixels.mean(0) / 255, rel=1e-12)
    assert stats.std == pytest.approx(pixels.std(0) / 255, rel=1e-12)


@dataclass
class Item:
    pixels: Any
    label: Any = None


class Pair(NamedTuple):
    name: str
    picture: Any
    label: Any


class Loader:
    """A loader with batches of three."""

    def __init__(self, collate: Callable[[list[Any]], Any], data: Any) -> None:
        self.batches = [collate(list(data)[start : start + 3]) for start in (0, 3)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


PAIRS = list(zip(COLORS, LABELS, strict=True))

ELEMENTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "tuples": (PAIRS, {}),
    "lists": ([list(pair) for pair in PAIRS], {}),
    "dicts": ([{"image": image, "label": label} for image, label in PAIRS], {}),
    "dicts with other names": ([{"x": image, "label": label, "y": 3} for image, label in PAIRS], {}),
    "dataclasses": ([Item(image, label) for image, label in PAIRS], {}),
    "named tuples": ([Pair("n", image, label) for image, label in PAIRS], {}),
    "nested dicts": ([{"observation": {"top": image}, "label": label} for image, label in PAIRS], {}),
    "dicts in tuples": ([({"image": image}, label) for image, label in PAIRS], {"group": "1"}),
    "labels first": ([(label, image) for image, label in PAIRS], {"group": "0"}),
    "tokens beside": ([{"ids": np.ones((4, 4), int), "x": i, "label": label} for i, label in PAIRS], {}),
    "zipped": (Loader(lambda batch: tuple(zip(*batch, strict=True)), PAIRS), {}),
    "lists of pairs": (Loader(list, PAIRS), {}),
    "lists of pairs of arrays": (Loader(list, [(image, np.zeros(4)) for image, _ in PAIRS]), {}),
    "lists of lists of arrays": (Loader(list, [[image, np.zeros((5, 4))] for image, _ in PAIRS]), {}),
    "lists of images and masks": (Loader(list, list(zip(COLORS, MASKS, strict=True))), {}),
    "lists of dicts": (Loader(list, [{"image": image, "label": label} for image, label in PAIRS]), {}),
    "lists in tuples": (Loader(lambda b: ([i for i, _ in b], [label for _, label in b]), PAIRS), {}),
    "lists in dicts": (
        Loader(lambda b: {"image": [i for i, _ in b], "label": [label for _, label in b]}, PAIRS), {}),
    "batches in dicts": (
        Loader(lambda b: {"a": {"pixel_values": np.stack([i for i, _ in b])}, "label": [x for _, x in b]}, PAIRS),
        {},
    ),
    "encoded in dicts": ([{"jpg": data, "label": label} for data, label in zip(ENCODED, LABELS, strict=True)], {}),
    "a name": ([{"a": image, "b": image + 1, "c": label} for image, label in PAIRS], {"column": "a", "group": "c"}),
    "a name and its label": ([{"a": image, "b": image + 1, "label": label} for image, label in PAIRS], {"column": "a"}),
    "a name in lists of dicts": (
        Loader(list, [{"a": image, "b": image, "label": label} for image, label in PAIRS]), {"column": "a"}),
    "a key with dots": (
        [{"observation.images.top": image, "observation.images.left": image + 1, "l": label} for image, label in PAIRS],
        {"column": "observation.images.top", "group": "l"},
    ),
    "dots and a key with dots": (
        [{"a.b": {"c.d": [0, image]}, "l": {"x": label}} for image, label in PAIRS],
        {"column": "a.b.c.d.1", "group": "l.x"},
    ),
    "a position": ([(label, image, image + 1) for image, label in PAIRS], {"column": 1, "group": "0"}),
    "a position from the end": ([(label, image + 1, image) for image, label in PAIRS], {"column": -1, "group": "0"}),
    "a function": (
        Loader(lambda b: SimpleNamespace(x=[image for image, _ in b]), PAIRS),
        {"column": lambda element: element.x},
    ),
}  # fmt: skip


NO_GROUP = ("a function", "lists of pairs of arrays", "lists of lists of arrays", "lists of images and masks")


@pytest.mark.parametrize("way", ELEMENTS)
def test_images_and_labels_in_whatever_they_are_nested(way: str) -> None:
    data, options = ELEMENTS[way]
    check(compute(data, **options))
    groups = [group for _, group, _ in contents(data, **named(options)).images]
    assert groups == ([""] * 6 if way in NO_GROUP else LABELS)


def named(options: dict[str, Any]) -> dict[str, Any]:
    """The options as a source takes them."""
    column = options.get("column")
    return {**options, "column": None, "picked": column} if not isinstance(column, str | None) else options


def test_samples_of_webdataset_as_bytes() -> None:
    data = [
        {"__key__": f"{number}", "cls": f"l{number}".encode(), "json": b"{}", "png": image}
        for number, image in enumerate(ENCODED)
    ]
    check(compute(data))
    assert contents(iter(data)).groups == LABELS


@dataclass
class DatasetWithFields:
    """A dataset that happens to be a dataclass; its first field is no image of it."""

    mean_image: Any
    images: Any

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.images[index]


def test_a_dataset_that_is_a_dataclass() -> None:
    data = DatasetWithFields(MASKS[0], COLORS)
    check(compute(data))
    assert compute([data, data]).n_images == 12


def test_a_mapping_of_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=COLORS, y=np.arange(6))
    with np.load(tmp_path / "a.npz") as file:
        check(compute(file))
    with pytest.raises(DataError, match=r"several entries may hold images: train .*, test "):
        compute({"train": COLORS, "test": COLORS})
    check(compute({"train": COLORS, "test": COLORS}, column="train"))


def test_a_checkpoint_knows_the_function_by_its_name(tmp_path: Path) -> None:
    def first(element: Any) -> Any:
        return element[0]

    data = [(image, 1) for image in COLORS]
    compute(data, column=first, checkpoint=tmp_path / "c")
    check(compute(data, column=first, checkpoint=tmp_path / "c"))
    with pytest.raises(DataError, match="picked"):
        compute(data, column=0, checkpoint=tmp_path / "c")


@pytest.mark.parametrize("form", [list, iter])
def test_lists_of_different_sizes(form: Any) -> None:
    batches = [SIZES[:4], SIZES[4:]]
    check(compute(form(batches)), SIZES)
    check(compute(form([(batches[0], LABELS[:4]), (batches[1], LABELS[4:])])), SIZES)
    check(compute(form([[Image.fromarray(image) for image in batch] for batch in batches])), SIZES)


def test_what_was_chosen_is_in_the_result() -> None:
    data = [{"a": {"x": image}, "label": 1} for image in COLORS]
    assert compute(data).runs[0]["images_from"] == {"entry 'a.x'": 6}
    assert compute(data, column="a.x").runs[0]["images_from"] == {"entry 'a.x'": 6}
    assert compute(PAIRS, column=-2).runs[0]["images_from"] == {"entry '-2'": 6}
    assert compute(list(zip(COLORS, MASKS, strict=True))).runs[0]["images_from"] == {"entry '0'": 6}
    batches = Loader(lambda b: {"a": np.stack(b), "label": 1}, COLORS)
    assert compute(batches).runs[0]["images_from"] == {"entry 'a'": 6}, "images and not batches"
    assert "images_from" not in compute(PAIRS).runs[0]


def test_several_images_of_an_element_are_asked_about() -> None:
    for element, shown in [
        ({"a": COLORS[0], "b": COLORS[1]}, r"a \(ndarray of shape \(9, 7, 3\)\), b \("),
        ({"image": COLORS[0], "img": COLORS[1]}, r"image \(ndarray of shape \(9, 7, 3\)\), img \("),
        ((COLORS[0], COLORS[1], COLORS[2]), r"0 \(ndarray of shape \(9, 7, 3\)\), 1 \("),
        ([COLORS, MASKS, MASKS], r"0 \(ndarray of shape \(6, 9, 7, 3\)\), 1 \("),
        ([[COLORS[0], COLORS[1]], [COLORS[2], COLORS[3]]], r"0 \(list\), 1 \(list\)"),
        ((3, {"l": COLORS[0], "r": COLORS[1]}), r"1.l \(ndarray of shape \(9, 7, 3\)\), 1.r \("),
        (((COLORS[0], COLORS[1]), 5), r"0.0 \(ndarray of shape \(9, 7, 3\)\), 0.1 \("),  # two views and a label
        (([COLORS[0], COLORS[1]], np.int64(5)), r"0.0 \(ndarray of shape \(9, 7, 3\)\), 0.1 \("),
        ([[COLORS, COLORS], np.arange(6)], r"0.0 \(ndarray of shape \(6, 9, 7, 3\)\), 0.1 \("),  # the same in a batch
        ([COLORS[0], MASKS[0]], r"0 \(ndarray of shape \(9, 7, 3\)\), 1 \(ndarray of shape \(9, 7, 1\)"),
        ([COLORS[0], COLORS[0] / 255], r"0 \(ndarray of shape \(9, 7, 3\)\), 1 \("),
        ([Image.fromarray(COLORS[0]), Image.new("L", (7, 9))], r"0 \(Image\), 1 \("),
    ]:
        with pytest.raises(DataError, match=rf"element 0: several entries may .*: {shown}.*; choose with column="):
            contents(iter([element]))
    check(compute(iter([(COLORS[0], COLORS[1], COLORS[2])]), column=1), COLORS[1:2])
    check(compute(iter([(COLORS[0], COLORS[1])]), column=list), COLORS[:2])


def test_an_entry_that_is_not_there() -> None:
    names, places = {"b": COLORS[0], "a": {"c": COLORS[0]}}, (1, 2, COLORS[0])
    for good, bad, column, there in [
        (names, {"a": COLORS[0]}, "b", "a"),
        (names, {"a": {"b": COLORS[0], "d": 1}}, "a.c", "b, d"),
        (places, (COLORS[0], 1), 2, "tuple"),
    ]:
        with pytest.raises(DataError, match=f"element 0: there is no entry .*; there are: {there}$"):
            contents(iter([bad, good]), **named({"column": column}))
        (message,) = contents(iter([good, bad]), **named({"column": column})).messages
        assert re.search(f"element 1: there is no entry .*; there are: {there}$", message)
    with pytest.raises(DataError, match="element 0 is int; expected an array"):
        contents(iter([{"a": 3}]), column="a")
    with pytest.raises(DataError, match="element 0: the function given as column= raised ZeroDivisionError: "):
        compute(iter([COLORS[0]]), column=lambda element: 1 // 0)


@pytest.mark.parametrize("column", [True, 3.5, []])
def test_columns_that_are_none(column: Any) -> None:
    with pytest.raises(ValueError, match="column should be a name, a position, a function or None"):
        compute(PAIRS, column=column)


def test_a_position_is_for_elements_only(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", COLORS)
    for data in (tmp_path / "a.npz", [tmp_path / "a.npz"], COLORS):
        with pytest.raises(
            ValueError, match="column= as a position or a function is an option for arrays, tensors and"
        ):
            compute(data, column=0)


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview, io.BytesIO])
def test_encoded_images_in_memory(form: Callable[[bytes], Any]) -> None:
    check(compute([form(data) for data in ENCODED]))
    check(compute(form(data) for data in ENCODED))
    check(compute(form(ENCODED[0])), COLORS[:1])
    check(compute({"bytes": form(ENCODED[0])}), COLORS[:1])
    check(compute([(form(data), label) for data, label in zip(ENCODED, LABELS, strict=True)]))


def test_open_files(tmp_path: Path) -> None:
    for number, data in enumerate(ENCODED):
        (tmp_path / f"{number}.png").write_bytes(data)
    files = [(tmp_path / f"{number}.png").open("rb") for number in range(6)]
    try:
        check(compute(files))
        check(compute(files))  # they are at their ends now
        check(compute([tmp_path / "0.png", *files[1:]]))
        assert contents(files, max_bytes=10).failures == [(str(number), "too_large") for number in range(6)]
    finally:
        for file in files:
            file.close()
    assert contents(files[:1]).failures == [("0", "unreadable")]
    with (tmp_path / "0.png").open() as text:
        found = contents([text])
    assert found.messages == ["the file is open as text; open it with mode 'rb'"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, data in enumerate(ENCODED):
        path = tmp_path / "photos" / f"{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "photos"


def test_iterables_of_paths(folder: Path) -> None:
    check(compute(folder.rglob("*.png")), COLORS[[0, 2, 4, 1, 3, 5]])
    stats = compute(folder.rglob("*"))
    check(stats)
    assert stats.skipped == {"folder": 2}
    found = contents(iter([folder / "0" / "0.png", str(folder / "gone.png"), folder / "0" / "0.png"]))
    assert found.keys == [(folder / "0" / "0.png").as_posix()]
    assert found.failures == [(f"{folder.as_posix()}/gone.png", "missing")]
    assert found.skipped == {"repeated": 1}
    found = contents(iter(["http://me:secret@127.0.0.1:1/a.jpg"]))
    assert found.failures == [("0", "unsupported")]
    assert found.messages == ["a URL in an iterable is not read; give a list of URLs"]
    samples = [(str(folder / f"{number % 2}" / f"{number}.png"), number % 2) for number in range(6)]
    assert contents(samples).groups == [f"{number % 2}" for number in range(6)], "as ImageFolder.samples"


def test_columns_of_tables(folder: Path) -> None:
    paths = [str(folder / f"{number % 2}" / f"{number}.png") for number in range(6)]
    check(compute(np.array(paths)))
    check(compute(np.array(paths, object)))
    check(compute(need("pyarrow").array(paths)))
    pandas = need("pandas")
    frame = pandas.DataFrame({"path": paths, "n": range(6)}, index=range(10, 16))
    check(compute(frame["path"]))
    check(compute(frame[frame.n > 2]["path"]), COLORS[3:])
    check(compute(pandas.Series(ENCODED)))
    with pytest.raises(DataError, match=r"a DataFrame may have several columns; give one of them: data\['path'\]"):
        compute(frame)
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = compute(pandas.Series([paths[0], None, float("nan")]))
    assert (stats.n_images, len(stats.failures)) == (1, 2)


def test_columns_of_polars(folder: Path) -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    paths = [str(folder / f"{number % 2}" / f"{number}.png") for number in range(6)]
    check(compute(polars.Series("path", paths)))
    with pytest.raises(DataError, match="a DataFrame may have several columns"):
        compute(polars.DataFrame({"path": paths}))


@pytest.mark.parametrize("endless", [itertools.cycle(COLORS), itertools.count(), itertools.repeat(COLORS[0])])
def test_iterables_that_never_end(endless: Any) -> None:
    with pytest.raises(DataError, match=r"never ends; give a part of it: itertools\.islice"):
        open_source(endless)


def test_iterables_that_end() -> None:
    check(compute(itertools.islice(itertools.cycle(COLORS), 6)))
    assert compute(itertools.repeat(COLORS[0], 4)).n_images == 4


def test_arrays_that_are_read_piece_by_piece(tmp_path: Path) -> None:
    for data in (COLORS, PLANES, COLORS[0]):
        array = need("zarr").create_array(str(tmp_path / f"{data.ndim}{data.shape[1]}.zarr"), shape=data.shape,
                                          chunks=data.shape, dtype="u1")  # fmt: skip
        array[...] = data
        expected = COLORS if data.ndim == 4 else COLORS[:1]
        check(compute(array), expected)
        check(compute([array]), expected)
        with need("h5py").File(tmp_path / "a.h5", "w") as file:
            file["x"] = data
            check(compute(file["x"]), expected)
            assert contents(file["x"]).keys == [str(number) for number in range(len(expected))]
            assert contents([file["x"], COLORS[0]]).keys[0] == ("0/0" if data.ndim == 4 else "0")
    with need("h5py").File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros((4, 3, 3, 3), np.uint8)
        with pytest.raises(DataError, match=r"Dataset of shape .*say which with layout="):
            compute(file["x"])


class Tensor:
    """As much of a tensor that NumPy cannot hold as is looked at."""

    __module__ = "torch"
    shape = (9, 7, 3)
    dtype = "torch.float8_e5m2"
    device = SimpleNamespace(type="cpu")

    def __dlpack__(self) -> Any:
        raise AssertionError

    def detach(self) -> Tensor:
        return self

    def numpy(self) -> Any:
        raise TypeError("Got unsupported ScalarType Float8_e5m2")


def test_tensors_that_numpy_cannot_hold() -> None:
    with pytest.raises(
        DataError, match=r"Tensor of shape \(9, 7, 3\) and type torch\.float8_e5m2 cannot be read.*\.to_dense"
    ):
        compute([Tensor()])
