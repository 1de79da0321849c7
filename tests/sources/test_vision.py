"""Datasets as those of torchvision, tf.data, Grain and LeRobot, by stand-ins; `test_loaders_real` has the packages."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.sources import open_source
from tests.sources.packing import contents, need

IMAGES = np.random.default_rng(5).integers(0, 256, (6, 5, 4, 3), np.uint8)


class Stored:
    """A list of paths and labels, and a loader, as torchvision's ``DatasetFolder`` has them."""

    transform: Any = None
    target_transform: Any = None
    read = 0

    def __init__(self, samples: list[tuple[str, Any]]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        Stored.read += 1
        path, label = self.samples[index]
        image = Image.open(path).convert("RGB")
        return image if self.transform is None else self.transform(image), label


Stored.__module__ = Stored.__getitem__.__module__ = "torchvision.datasets.folder"


class Other(Stored):
    """With items of its own."""

    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index)


class Names(Stored):
    """With paths in an attribute of their own."""

    def __init__(self, samples: list[tuple[str, Any]], labels: list[Any] | None) -> None:
        self._samples_, self._image_files, self._labels = samples, [path for path, _ in samples], labels

    samples = property(lambda self: None)  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._image_files)

    def __getitem__(self, index: int) -> Any:
        Stored.read += 1
        path, label = self._samples_[index]
        return Image.open(path).convert("RGB"), label


Names.__module__ = Names.__getitem__.__module__ = "torchvision.datasets.food101"


@pytest.fixture
def samples(tmp_path: Path) -> list[tuple[str, Any]]:
    Stored.read = 0
    found = []
    for number, image in enumerate(IMAGES):
        path = tmp_path / f"{number}.png"
        Image.fromarray(image).save(path)
        found.append((str(path), number % 2))
    return found


def by_files(data: Any) -> bool:
    """Check the numbers, and say whether the files were read."""
    Stored.read = 0
    stats = gpustats.compute(data, device="cpu", progress=False)
    assert stats.n_images == len(data)
    if stats.exact:
        assert stats.totals["moments"]["sum"] == IMAGES.reshape(-1, 3).sum(0).tolist()
    return Stored.read < len(data)


def test_where_items_are_their_files(samples: list[tuple[str, Any]], tmp_path: Path) -> None:
    data = Stored(samples)
    assert by_files(data)
    found = contents(data)
    assert found.keys == [path for path, _ in samples]
    assert [group for _, group, _ in found.images] == ["0", "1"] * 3
    assert by_files(Names(samples, [label for _, label in samples]))
    assert by_files(Names(samples, None))
    assert open_source(data).count() == 6
    source = open_source(Stored([samples[0], samples[0]]))
    assert len(list(source.samples())) == 2  # as often as the dataset has it
    assert source.notes.images_from == {"files of 'Stored'": 2}


def test_where_items_are_more_than_their_files(samples: list[tuple[str, Any]]) -> None:
    assert not by_files(Other(samples))
    for name in ("transform", "target_transform"):
        data = Stored(samples)
        setattr(data, name, lambda value: value)
        assert not by_files(data)
        stats = gpustats.compute(data, progress=False)
        assert stats.runs[0]["images_from"] == {f"{name} of 'Stored'": 6}
    data = Stored(samples)
    data.loader = lambda path: path  # type: ignore[attr-defined]
    assert not by_files(data)
    assert not by_files(Names(samples, [5] * 6))  # labels that are not those of the items
    assert gpustats.compute(Stored(samples), column="0", progress=False).runs[0]["images_from"] == {"entry '0'": 6}
    for place in (0, 3, 5):  # another image in one of the places that are compared
        names = Names(samples, None)
        names._image_files[place] = samples[(place + 1) % 6][0]
        assert not by_files(names)
    short = Names(samples, None)
    short._image_files.pop()
    short.__class__ = type("Short", (Names,), {"__len__": lambda self: 6, "__module__": Names.__module__})
    assert not by_files(short)


class Forever:
    """A dataset that is endless, as its library says it."""

    def __iter__(self) -> Any:
        raise AssertionError("it is not read")


def test_the_rows_of_ray() -> None:
    class Dataset:
        def __len__(self) -> int:
            raise AttributeError("use count()")

        def __iter__(self) -> Any:
            raise TypeError("Dataset objects aren't iterable")

        def iter_rows(self) -> Any:
            return iter([{"image": image, "label": number} for number, image in enumerate(IMAGES)])

    Dataset.__module__ = "ray.data"
    data = Dataset()
    for _ in range(2):
        stats = gpustats.compute(data, device="cpu", progress=False, group_by="label")
        assert (stats.n_images, len(stats.groups)) == (6, 6)
        assert stats.runs[0]["images_from"] == {"entry 'image'": 6}
    assert gpustats.compute(data, device="cpu", progress=False, column="image").n_images == 6


def test_datasets_that_never_end() -> None:
    def of(module: str, **members: Any) -> Any:
        return type("Forever", (Forever,), {"__module__": f"{module}.x", **members})()

    def pipe(repetitions: int = 1, nsamples: int = -1, first: Any = None) -> Any:
        return of("webdataset", repetitions=repetitions, nsamples=nsamples, pipeline=[] if first is None else [first])

    drawn = SimpleNamespace(nshards=sys.maxsize)
    loader = type("DataLoader", (Forever,), {"__module__": "torch.x", "dataset": pipe(first=drawn), "num_workers": 0})()
    loader.dataset.__class__.__name__ = "IterableDataset"
    for data in (
        of("tensorflow", cardinality=lambda self: -1),
        of("grain", __len__=lambda self: sys.maxsize),
        pipe(sys.maxsize),
        pipe(first=drawn),
        pipe(first=loader),
        loader,
    ):
        with pytest.raises(gpustats.DataError, match=r" never ends; give a part of it: itertools.islice"):
            gpustats.compute(data)
    for data in (
        of("tensorflow", cardinality=lambda self: -2),
        of("tensorflow"),
        of("grain"),
        of("webdataset"),
        pipe(),
        pipe(sys.maxsize, nsamples=5),
        pipe(first=drawn, nsamples=5),
        pipe(first=loader, nsamples=5),
    ):
        with pytest.raises(AssertionError, match="it is not read"):
            gpustats.compute(data)


def test_a_folder_of_lerobot(tmp_path: Path) -> None:
    parquet, pa = need("pyarrow.parquet"), need("pyarrow")
    for name in ("meta/episodes", "data/chunk-000"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "meta" / "info.json").write_text("{}")
    parquet.write_table(pa.table({"episode_index": [0, 1]}), tmp_path / "meta" / "episodes" / "file-000.parquet")
    encoded = []
    for number, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        encoded.append({"bytes": (tmp_path / f"{number}.png").read_bytes(), "path": None})
        (tmp_path / f"{number}.png").unlink()
    table = pa.table({"observation.images.top": encoded, "action": [[0.0]] * 6})
    parquet.write_table(table, tmp_path / "data" / "chunk-000" / "file-000.parquet")
    stats = gpustats.compute(tmp_path, progress=False)
    assert (stats.n_images, len(stats.failures)) == (6, 0)
    assert stats.runs[0]["images_from"] == {"column 'observation.images.top'": 6}
    (tmp_path / "videos").mkdir()
    with pytest.raises(gpustats.DataError, match="LeRobot's videos is not read from its files"):
        gpustats.compute(tmp_path)
