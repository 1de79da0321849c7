"""Hugging Face datasets: stored images where there are any, else what a loop over the dataset gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats
from gpustats import DataError, Stats
from gpustats.sources import SourceOptions, open_source
from tests.images import encoded, photo
from tests.sources.packing import contents

datasets: Any = pytest.importorskip("datasets")
PIL: Any = pytest.importorskip("PIL.Image")

IMAGES = [encoded(photo(40 + i, 50, seed=i), quality=60) for i in range(6)]


def compute(data: Any, **options: Any) -> Stats:
    return gpustats.compute(data, progress=False, device="cpu", **options)


def integers(stats: Stats) -> dict[str, Any]:
    return {name: value for name, value in stats.totals.to_dict().items() if name != "key_hash"}


def groups(data: Any, **options: Any) -> set[str]:
    samples = open_source(data, SourceOptions(**options)).samples()
    return {sample[1] for sample in samples if isinstance(sample, tuple)}


@pytest.fixture(scope="module")
def stored() -> Any:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": image, "path": f"{i}.jpg"} for i, image in enumerate(IMAGES)], "label": [0, 1] * 3}
    return datasets.Dataset.from_dict(rows, features=features)


CHAINS: dict[str, Any] = {
    "plain": lambda data: data,
    "shuffle": lambda data: data.shuffle(buffer_size=4, seed=0),
    "torch format": lambda data: data.with_format("numpy"),
    "map": lambda data: data.map(lambda row: row),
    "map to features": lambda data: data.map(lambda row: row, features=data.features),
    "filter": lambda data: data.filter(lambda row: True),
    "map of labels": lambda data: data.map(lambda label: {"twice": 2 * label}, input_columns="label"),
    "map of bytes": lambda data: data.cast_column("image", datasets.Image(decode=False)).map(lambda row: row),
    "map to arrays": lambda data: data.map(lambda row: {"image": np.asarray(row["image"])}),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_an_iterable_dataset_gives_the_integers_of_its_images(chain: str, stored: Any) -> None:
    expected = integers(compute(stored))
    assert expected["images"] == 6
    data = CHAINS[chain](stored.to_iterable_dataset())
    assert integers(compute(data)) == expected
    # After a map without features nothing says what the labels stand for.
    assert groups(data) == ({"cat", "dog"} if data.features else {"0", "1"})


def test_what_a_map_does_to_the_images_counts(stored: Any) -> None:
    changed = stored.to_iterable_dataset().map(lambda row: {"image": row["image"].resize((8, 6))})
    stats = compute(changed)
    assert stats.totals.pixels == 6 * 48
    assert stats.runs[0]["source"] == "IterableDataset as it yields its rows"
    assert stats.runs[0]["images_from"] == {"column 'image'": 6}


def test_rows_without_an_image_and_with_paths(stored: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(IMAGES[0])
    data = stored.cast_column("image", datasets.Image(decode=False)).to_iterable_dataset()
    paths = [str(tmp_path / "a.jpg"), str(tmp_path / "gone.jpg"), None, "https://127.0.0.1:1/a.jpg"]

    def swap(row: dict[str, Any], number: int) -> dict[str, Any]:
        return {"image": {"bytes": None, "path": paths[number]} if number < 4 else row["image"]}

    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = compute(data.map(swap, with_indices=True))
    assert stats.n_images == 3
    assert {f.key: f.reason for f in stats.failures} == {"row/1": "missing", "row/2": "missing", "row/3": "unsupported"}


def test_the_column_of_mapped_rows(stored: Any) -> None:
    twice = stored.to_iterable_dataset().map(lambda row: {"a": row["image"], "b": row["image"], "c": row["label"]})
    none = stored.to_iterable_dataset().map(lambda row: {"c": 1}, remove_columns=["image", "label"])
    assert compute(twice.remove_columns("image"), column="b", group="c").n_images == 6
    assert groups(twice, column="b", group="c") == {"0", "1"}
    with pytest.raises(
        DataError,
        match=r"several columns may hold images: a \(JpegImageFile\), b \(JpegImageFile\); choose with column=",
    ):
        compute(twice.remove_columns("image"))
    with pytest.raises(DataError, match=r"no column of c may hold images"):
        compute(none)
    with pytest.raises(DataError, match=r"there is no column 'x'"):
        compute(twice, column="x")


def test_what_a_dataset_raises_is_passed_on(stored: Any) -> None:
    def broken() -> Any:
        yield from ({"image": image} for image in IMAGES)
        raise OSError("the disk is gone")

    data = datasets.IterableDataset.from_generator(broken)
    for dataset in (data, data.map(lambda row: row)):
        with pytest.raises(DataError, match=r"raised OSError after \d+ (rows|images): the disk is gone"):
            compute(dataset)


def test_other_objects_of_the_package(stored: Any) -> None:
    with pytest.raises(DataError, match=r"holds several splits: give one of 'train'"):
        compute(datasets.DatasetDict({"train": stored}))
    with pytest.raises(DataError, match=r"is no Dataset or IterableDataset"):
        compute(stored.features["image"])


def rows(count: int) -> Any:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    images = [{"bytes": b"image %d" % i, "path": f"é{i}.jpg" if i % 3 else None} for i in range(count)]
    labels = [None if i % 5 == 4 else i % 2 for i in range(count)]
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)


def expected_rows(count: int, key: str = "row") -> list[tuple[str, str, bytes]]:
    return [
        (
            f"{key}/{i}" + (f"/é{i}.jpg" if i % 3 else ""),
            "" if i % 5 == 4 else ("cat", "dog")[i % 2],
            b"image %d" % i,
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
def test_rows_are_numbered_through(count: int) -> None:
    data = rows(count)
    assert contents(data) == (expected_rows(count), [], [], {})
    assert open_source(data).count() == count
    assert contents([data, data]).images == [*expected_rows(count, "0"), *expected_rows(count, "1")]
    parts = datasets.concatenate_datasets([rows(3), data])
    assert [key.split("/")[1] for key in contents(parts).keys] == [str(i) for i in range(count + 3)]
    iterable = data.to_iterable_dataset(num_shards=min(count, 3))
    assert contents(iterable).images == expected_rows(count)
    assert open_source(iterable).count() is None


def test_mapped_rows_are_numbered_through() -> None:
    data = rows(40).cast_column("image", datasets.Image(decode=False)).to_iterable_dataset().map(lambda row: row)
    found = contents(data)
    assert [(key, image) for key, _, image in found.images] == [(f"row/{i}", b"image %d" % i) for i in range(40)]


def test_labels_of_rows() -> None:
    data = datasets.Dataset.from_dict({"jpg": [b"a", b"b"], "label": [7, None], "text": ["caf\udce9", "日本"][1:] * 2})
    assert contents(data).groups == ["7", ""]
    assert contents(data, group="text").groups == ["日本", "日本"]
    for options, message in [({"column": "x"}, "there is no column 'x'"), ({"group": "x"}, "there is no column 'x'")]:
        with pytest.raises(DataError, match=message):
            contents(data, **options)
    with pytest.raises(DataError, match="the column 'label' is of type int64, not images"):
        contents(data, column="label")
    with pytest.raises(
        DataError, match=r"several columns may hold images: a \(binary\), b \(binary\); choose with column="
    ):
        contents(datasets.Dataset.from_dict({"a": [b"1"], "b": [b"2"]}))
    with pytest.raises(DataError, match=r"no column holds images or paths; the columns are: a \(int64\)"):
        contents(datasets.Dataset.from_dict({"a": [1]}))


def test_rows_that_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "é.jpg"
    path.write_bytes(b"on disk")
    images = [
        {"bytes": b"x" * 11, "path": None},
        {"bytes": None, "path": str(path)},
        None,
        {"bytes": None, "path": "https://host/a.jpg"},
        {"bytes": None, "path": "zip://a.jpg::b.zip"},
        {"bytes": None, "path": str(tmp_path / "gone.jpg")},
        {"bytes": b"x" * 10, "path": ""},
        {"bytes": None, "path": ""},
    ]
    features = datasets.Features({"image": datasets.Image()})
    data = datasets.Dataset.from_dict({"image": images}, features=features)
    here = tmp_path.as_posix()
    found = contents(data, max_bytes=10)
    assert found.images == [(f"row/1/{here}/é.jpg", "", b"on disk"), ("row/6", "", b"x" * 10)]
    assert found.failures == [
        ("row/0", "too_large"),
        ("row/2", "missing"),
        ("row/3/https://host/a.jpg", "unsupported"),
        ("row/4/zip://a.jpg::b.zip", "unsupported"),
        (f"row/5/{here}/gone.jpg", "missing"),
        ("row/7", "missing"),
    ]
    assert found.messages[1] == "the row has no image in 'image'"
    assert found.messages[2] == "the row holds a URL and no bytes; download or embed the images first"
    mapped = data.cast_column("image", datasets.Image(decode=False)).to_iterable_dataset().map(lambda row: row)
    found = contents(mapped, max_bytes=10)
    assert [(key, reason) for key, reason in found.failures if key != "row/0"] == [
        ("row/2", "missing"),
        ("row/3", "unsupported"),
        ("row/4", "unsupported"),
        ("row/5", "missing"),
        ("row/7", "missing"),
    ]


def test_where_a_dataset_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = datasets.Dataset.iter

    def broken(self: Any, batch_size: int) -> Any:
        for number, table in enumerate(real(self, batch_size)):
            if number == 2:
                raise OSError("the disk is gone")
            yield table

    monkeypatch.setattr(datasets.Dataset, "iter", broken)
    with pytest.raises(DataError, match=r"Hugging Face Dataset raised OSError after 32 rows: the disk is gone"):
        contents(rows(40))
