"""`inspect` says what `compute` then reads, reads little to know it, and says what it does not know."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats import AllImagesFailed, DataError, OptionError
from gpustats.engines.cpu import CpuEngine
from gpustats.inspection import estimate, walk
from gpustats.sources.kinds import KINDS
from tests.command_line import invoke
from tests.images import encoded, photo
from tests.sources.packing import PACKERS, need


@pytest.fixture(scope="module")
def files(photos: Path) -> list[Path]:
    return sorted(photos.rglob("*.jpg"))


@pytest.mark.parametrize("name", [name for name in PACKERS if name != "pil_images"])
def test_what_it_says_is_what_a_run_reads(name: str, files: list[Path], tmp_path: Path) -> None:
    data = PACKERS[name](files, tmp_path)
    found = gpustats.inspect(data)
    stats = gpustats.compute(data, progress=False, device="cpu", group_by="label")
    assert (found.images, found.complete) == (stats.n_images, True)
    assert found.images_from == stats.runs[0].get("images_from", {})
    assert found.groups == {group: result.n_images for group, result in stats.groups.items()}
    assert found.skipped == stats.skipped
    sizes = [(height, width) for height, width in found.sizes]
    assert len(sizes) == min(len(files), 100)
    assert (min(h for h, _ in sizes), max(w for _, w in sizes)) == (stats.totals.height_min, stats.totals.width_max)
    assert found.seconds is not None
    assert found.seconds > 0
    assert not len(found.failures)


def test_loose_files(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/2.jpg", "b/3.png", "4.webp", "5.bmp", "6.tif", "7.gif", "8.ppm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        photo(5, 9).save(tmp_path / name)
    (tmp_path / "notes.doc").write_text("x")
    (tmp_path / "bad.png").write_bytes(b"no image")
    found = gpustats.inspect(tmp_path)
    assert (found.images, found.complete, found.listed) == (8, True, 9)
    assert found.bytes == sum(path.stat().st_size for path in tmp_path.rglob("*.*") if path.suffix != ".doc")
    assert found.forms == {"JPEG": 2, "PNG": 1, "WebP": 1, "BMP": 1, "TIFF": 1, "GIF": 1, "PNM": 1}
    assert set(found.sizes) == {(5, 9)}
    assert found.groups == {"a": 2, "b": 1, "": 5}
    assert [(failure.key, failure.reason) for failure in found.failures] == [("bad.png", "not_an_image")]
    assert (found.kinds, found.rules, found.columns) == ({}, {}, {})
    assert max(map(len, found.to_text().splitlines())) <= 80


def test_nothing_is_decoded_but_a_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(150):
        photo(4, 4).save(tmp_path / f"{i:03d}.png")
    decoded: list[int] = []
    measure = CpuEngine.measure

    def watched(self: CpuEngine, batch: Any, *rest: Any) -> Any:
        decoded.append(len(batch))
        return measure(self, batch, *rest)

    monkeypatch.setattr(CpuEngine, "measure", watched)
    found = gpustats.inspect(tmp_path)
    assert (found.images, len(found.sizes), found.forms) == (150, 100, {"PNG": 100})
    assert sum(decoded) <= 1 + 2 * estimate._TIMED
    decoded.clear()
    monkeypatch.setattr(estimate, "_TIMED_PIXELS", 20)
    gpustats.inspect(tmp_path)
    assert sum(decoded) == 1 + 1, "two of 16 pixels would be too many"


def test_headers_that_are_long_or_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "exif.jpg").write_bytes(encoded(photo(20, 30), comment=b"x" * 60_000, icc_profile=b"p" * 60_000))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)).save(tmp_path / "a.tif")
    found = gpustats.inspect(tmp_path)
    assert (found.sizes, len(found.failures)) == (((200, 300), (20, 30)), 0)


def test_missing_files_are_listed(tmp_path: Path) -> None:
    photo(4, 4).save(tmp_path / "a.png")
    (tmp_path / "l.csv").write_text("path,label\na.png,x\ngone.png,y\n")
    found = gpustats.inspect(tmp_path / "l.csv")
    assert (found.images, found.groups) == (1, {"x": 1})
    assert [(failure.key, failure.reason) for failure in found.failures] == [("gone.png", "missing")]
    assert (found.columns, found.group_from) == ({"path": "", "label": ""}, "label")
    assert "WOULD FAIL" in found.to_text()
    assert "gone.png: missing: no such file" in repr(found)


def test_the_time_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(30):
        photo(4, 4).save(tmp_path / f"{i:02d}.png")
    now = itertools.count()
    monkeypatch.setattr(walk.time, "monotonic", lambda: float(next(now)))
    found = gpustats.inspect(tmp_path, seconds=9.5)
    assert (found.images, found.complete) == (10, False)
    assert "at least 10 images" in found.to_text()
    assert "estimate: at least about" in found.to_text()
    assert found.bytes == sum((tmp_path / f"{i:02d}.png").stat().st_size for i in range(10))


def test_the_very_last_image_may_come_when_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(4, 4).save(tmp_path / "a.png")
    now = itertools.count(step=100)
    monkeypatch.setattr(walk.time, "monotonic", lambda: float(next(now)))
    assert gpustats.inspect(tmp_path, seconds=1).complete


def test_endless_iterables_are_bounded() -> None:
    taken = []

    def endless() -> Iterator[Any]:
        for number in itertools.count():
            taken.append(number)
            yield np.zeros((6, 5, 3), np.uint8), number % 2

    found = gpustats.inspect(endless())
    assert (found.images, found.complete, len(taken)) == (100, False, 101)
    assert (found.forms, set(found.sizes)) == ({"uint8 array of 3 channels": 100}, {(6, 5)})
    assert found.kinds == {"object": 1}


def test_objects_that_know_their_length() -> None:
    asked: list[int] = []

    class Dataset:
        def __len__(self) -> int:
            return 5000

        def __getitem__(self, index: int) -> Any:
            asked.append(index)
            return np.zeros((4, 5), np.uint8), 1

    found = gpustats.inspect(Dataset())
    assert (found.images, found.complete, found.listed) == (5000, True, 100)
    assert max(asked) == 100
    assert "of the first 100 images" in found.to_text()
    array = gpustats.inspect(np.zeros((5000, 6, 5, 3), np.uint8))
    assert (array.images, array.complete, array.bytes) == (5000, True, 5000 * 90)
    assert "all 5 x 6 (width x height)" in array.to_text()


def test_tables_are_counted_by_their_footers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = need("pyarrow.parquet")
    arrow = need("pyarrow")
    image = encoded(photo(4, 4), "PNG")
    table = arrow.table({"image": [image] * 300, "label": ["x"] * 300, "n": list(range(300))})
    for name in ("a", "b"):
        parquet.write_table(table, tmp_path / f"{name}.parquet", row_group_size=50)
    found = gpustats.inspect(tmp_path)
    assert (found.images, found.complete, found.kinds) == (600, True, {"parquet": 2})
    assert 100 <= found.listed < 300
    assert found.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert found.columns == {"image": "binary", "label": "string", "n": "int64"}
    assert found.group_from == "label"
    assert f"{found.listed} images: x ({found.listed})" in " ".join(found.to_text().split())
    now = itertools.count()
    monkeypatch.setattr(walk.time, "monotonic", lambda: float(next(now)))
    found = gpustats.inspect(tmp_path / "a.parquet", seconds=9.5)
    assert (found.images, found.complete, found.listed < 20) == (300, True, True)


@pytest.mark.parametrize("kind", ["parquet", "lance"])
def test_a_row_with_several_images_is_not_counted_as_one(kind: str, tmp_path: Path) -> None:
    arrow = need("pyarrow")
    image = encoded(photo(4, 4), "PNG")
    table = arrow.table({"images": [[image, image]] * 200})
    if kind == "parquet":
        need("pyarrow.parquet").write_table(table, tmp_path / "a.parquet", row_group_size=20)
    else:
        need("lance").write_dataset(table, str(tmp_path / "a.lance"), max_rows_per_file=20)
    assert gpustats.inspect(tmp_path / f"a.{kind}").images == 400


def test_what_has_to_be_chosen(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number, ending in itertools.product(range(3), ("jpg", "seg.png", "cls")):
            data = b"7" if ending == "cls" else encoded(photo(4, 4), "JPEG" if ending == "jpg" else "PNG")
            info = tarfile.TarInfo(f"{number}.{ending}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    for command in (gpustats.inspect, lambda data: gpustats.compute(data, progress=False)):
        with pytest.raises(AllImagesFailed, match=r"choose with column= \(column='jpg'\)"):
            command(tmp_path / "a.tar")
    found = gpustats.inspect(tmp_path / "a.tar", column="jpg")
    assert (found.images, found.groups, found.images_from) == (3, {"7": 3}, {"extension 'jpg'": 3})
    assert found.columns == {"cls": "", "jpg": "", "seg.png": ""}
    rule = KINDS["tar"]
    assert found.rules == {rule.title: f"{rule.images}; asks where there are: {rule.ask}"}
    assert " ".join(f"{rule.title}: {rule.images}".split()) in " ".join(found.to_text().split())


def test_groups_by_a_function(tmp_path: Path) -> None:
    for name in ("a1.png", "a2.png", "b1.png"):
        photo(4, 4).save(tmp_path / name)
    found = gpustats.inspect(tmp_path, group_by=lambda key: {"a": "x"}[key[0]])
    assert (found.groups, found.images) == ({"x": 2}, 2)
    assert [failure.message for failure in found.failures] == ["group_by raised KeyError: 'b'"]


def test_json(tmp_path: Path) -> None:
    photo(4, 6).save(tmp_path / "a.png")
    found = gpustats.inspect(tmp_path)
    data = json.loads(found.to_json())
    assert data == found.to_dict()
    assert (data["images"], data["sizes"], data["complete"], data["failures"]["count"]) == (1, [[4, 6]], True, 0)


def test_errors_are_those_of_compute(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "readme.doc").write_text("x")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no image")
    for data, options in [
        (tmp_path / "gone", {}),
        (tmp_path / "x", {}),
        (tmp_path / "bad", {}),
        (tmp_path / "bad", {"feature": "x"}),
        (tmp_path / "bad", {"layout": "XY"}),
        (3, {}),
    ]:
        errors = []
        for command in (gpustats.inspect, gpustats.compute):
            with pytest.raises((DataError, OptionError)) as raised, warnings.catch_warnings():
                command(data, **options)
            errors.append((type(raised.value), str(raised.value)))
        assert errors[0] == errors[1]
    for seconds in (0, -1, "x", True, float("nan")):
        with pytest.raises(OptionError, match="seconds should be a positive number"):
            gpustats.inspect(tmp_path, seconds=seconds)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="max_pixels should be"):
        gpustats.inspect(tmp_path, max_pixels=0)


def test_images_that_are_too_large(tmp_path: Path) -> None:
    photo(4, 4).save(tmp_path / "a.png")
    photo(40, 40).save(tmp_path / "b.png")
    found = gpustats.inspect(tmp_path, max_pixels=100)
    assert (found.images, found.failures[0].reason) == (1, "too_large")


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    photo(4, 6).save(tmp_path / "a" / "1.png")
    done = invoke("inspect", tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "1 image\n" in done.out
    done = invoke("inspect", tmp_path, "--json", tmp_path / "found.json")
    assert (done.code, "1 image\n" in done.out) == (0, True)
    assert json.loads((tmp_path / "found.json").read_text())["groups"] == {"a": 1}
    (tmp_path / "bad.png").write_bytes(b"no image")
    done = invoke("inspect", tmp_path, "--json", "-")
    assert (done.code, json.loads(done.out)["images"]) == (3, 1)
    assert "would fail: bad.png: not_an_image" in done.err
    assert invoke("inspect", tmp_path, "--quiet").err == ""
    assert invoke("inspect", tmp_path / "gone").code == 1
    assert invoke("inspect", tmp_path, "--seconds", "0").code == 2
