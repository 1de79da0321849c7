"""A file that is named more than once counts once, with its first group, and the result says so."""

from __future__ import annotations

import csv
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.sources import SourceOptions, open_source
from gpustats.sources import once as module
from gpustats.sources.reader import Reader
from tests.sources.packing import contents, need

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs links")
IMAGES = 20


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty images of one grey each in two folders."""
    for number in range(IMAGES):
        path = tmp_path / "photos" / f"class_{number % 2}" / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3), (number * 10,) * 3).save(path)
    return tmp_path / "photos"


def names(photos: Path) -> list[str]:
    return sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))


def compute(data: Any, **options: Any) -> gpustats.Stats:
    return gpustats.compute(data, device="cpu", progress=False, **options)


def write_csv(path: Path, rows: Iterable[tuple[str, str]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([("path", "label"), *rows])
    return path


def write_text(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{name}\n" for name, _ in rows), encoding="utf-8")
    return path


def write_json_lines(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    path.write_text("".join(json.dumps({"path": name, "label": label}) + "\n" for name, label in rows))
    return path


def write_coco(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    path.write_text(json.dumps({"images": [{"file_name": name, "label": label} for name, label in rows]}))
    return path


def write_parquet(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    arrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    columns = list(zip(*rows, strict=True))
    parquet.write_table(arrow.table({"path": columns[0], "label": columns[1]}), path, row_group_size=7)
    return path


def huggingface(path: Path, rows: Iterable[tuple[str, str]]) -> Any:
    found = [{"path": str(path.parent / name), "label": label} for name, label in rows]
    return need("datasets").Dataset.from_list(found)


def python_list(path: Path, rows: Iterable[tuple[str, str]]) -> Any:
    return [path.parent / name for name, _ in rows]


WRITERS: dict[str, Callable[[Path, Any], Any]] = {
    "m.csv": write_csv,
    "m.tsv": lambda path, rows: write_csv(path, rows, "\t"),
    "l.txt": write_text,
    "m.jsonl": write_json_lines,
    "m.json": write_coco,
    "m.parquet": write_parquet,
    "huggingface": huggingface,
    "list": python_list,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_one_row_for_each_box(kind: str, photos: Path) -> None:
    """Image number n is named n % 4 + 1 times, as detection tables do."""
    rows = [(f"photos/{name}", name[:7]) for number, name in enumerate(names(photos)) for _ in range(number % 4 + 1)]
    data = WRITERS[kind](photos.parent / kind, rows)
    expected = compute(photos)
    stats = compute(data)
    assert stats.n_images == IMAGES
    assert stats.mean.tolist() == expected.mean.tolist()
    assert stats.std.tolist() == expected.std.tolist()
    assert stats.skipped == {"repeated": len(rows) - IMAGES}
    assert "skipped: 30 named again" in " ".join(repr(stats).split())
    weighted = compute(data, repeats="count")
    pixels = [np.asarray(Image.open(photos.parent / name)) for name, _ in rows]
    assert (weighted.n_images, weighted.skipped) == (len(rows), {})
    assert weighted.mean == pytest.approx(np.mean(np.stack(pixels), (0, 1, 2)) / 255, rel=1e-12)
    assert weighted.std == pytest.approx(np.std(np.stack(pixels) / 255, (0, 1, 2)), rel=1e-12)


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind not in ("l.txt", "list")])
def test_the_first_group_counts_and_another_one_is_said(kind: str, photos: Path) -> None:
    rows = [(f"photos/class_0/{n}.png", group) for n, group in [("00", "a"), ("02", "b"), ("00", "c"), ("02", "b")]]
    data = WRITERS[kind](photos.parent / kind, rows)
    found = contents(data)
    assert found.groups == ["a", "b"]
    assert found.skipped == {"repeated": 1, "repeated_other_group": 1}
    assert "1 named again, 1 named again with another group (the first one counts)" in " ".join(
        repr(compute(data)).split()
    )
    assert contents(data, repeats="count").groups == ["a", "b", "c", "b"]


def test_a_name_without_a_group_says_nothing_about_it(photos: Path) -> None:
    rows = [("photos/class_0/00.png", ""), ("photos/class_0/00.png", "a"), ("photos/class_0/00.png", "")]
    found = contents(write_csv(photos.parent / "m.csv", rows))
    assert (found.groups, found.skipped) == ([""], {"repeated_other_group": 1, "repeated": 1})
    found = contents(write_csv(photos.parent / "m.csv", rows[1:]))
    assert (found.groups, found.skipped) == (["a"], {"repeated": 1})


@posix
def test_what_the_same_file_is(photos: Path) -> None:
    here = photos.parent
    (here / "link").symlink_to(photos / "class_0")
    (photos / "class_0" / "again.png").symlink_to(photos / "class_0" / "00.png")
    same = ["photos/class_0/00.png", "./photos/class_0/00.png", "photos//class_0/./00.png", str(photos / "class_0/00.png")]  # fmt: skip # noqa: E501
    same += ["photos/class_1/../class_0/00.png", "link/00.png", "link/../class_0/00.png"]
    others = ["photos/class_0/again.png", "photos/class_0/02.png", "photos/class_1/01.png"]
    found = contents(write_text(here / "l.txt", [(name, "") for name in same + others]))
    assert found.keys == [same[0], *others], "a link to a file is a file of its own, as in a folder"
    assert found.skipped == {"repeated": len(same) - 1}
    (here / "deep").mkdir()
    found = contents(write_text(here / "deep" / "l.txt", [(name, "") for name in same[:2]]), root=str(here))
    assert (found.keys, found.skipped) == (same[:1], {"repeated": 1})


def test_equal_names_in_different_folders_are_different_files(tmp_path: Path) -> None:
    for folder in "abc":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_bytes(folder.encode())
    found = contents([tmp_path / "a", tmp_path / "b" / "1.png", f"{tmp_path}/c/*.png"])
    assert ([data for *_, data in found.images], found.skipped) == ([b"a", b"b", b"c"], {})


def test_a_file_that_is_missing_is_one_failure(photos: Path) -> None:
    found = contents(write_text(photos.parent / "l.txt", [("gone.png", ""), ("./gone.png", ""), ("a\0.png", "")] * 2))
    assert found.failures == [("gone.png", "missing"), ("a\0.png", "unreadable")]
    assert found.skipped == {"repeated": 4}


def overlapping(photos: Path) -> dict[str, tuple[list[Any], int]]:
    """Lists whose entries name the same files, and how many names there are too many (negative: with another group)."""
    table = write_csv(photos.parent / "m.csv", [(f"photos/{name}", "") for name in names(photos)])
    return {
        "a folder and one in it": ([photos, photos / "class_0"], 10),
        "a folder in another, and that": ([photos / "class_0", photos], -10),
        "the same folder": ([photos, f"{photos}/", photos / ".." / "photos"], 40),
        "a folder and a file in it": ([photos, photos / "class_0" / "00.png"], 1),
        "a file and its folder": ([photos / "class_0" / "00.png", photos], -1),
        "the same file": ([photos, photos / "class_0" / "00.png", photos / "class_0" / "00.png"], 2),
        "a glob": ([photos, f"{photos}/*/0*.png"], 10),
        "a manifest": ([photos, table, photos / "class_1"], 30),
        "manifests by a glob": ([photos, f"{photos.parent}/*.csv"], 20),
        "a list in a list": ([photos, [photos / "class_0"]], 10),
    }


@pytest.mark.parametrize("way", [
    "a folder and one in it", "a folder in another, and that", "the same folder", "a folder and a file in it",
    "a file and its folder", "the same file", "a glob", "a manifest", "manifests by a glob", "a list in a list",
])  # fmt: skip
def test_paths_that_overlap(way: str, photos: Path) -> None:
    data, repeated = overlapping(photos)[way]
    expected = compute(photos)
    stats = compute(data, workers=3)
    kind = "repeated" if repeated > 0 else "repeated_other_group"
    assert (stats.n_images, stats.skipped) == (IMAGES, {kind: abs(repeated)})
    assert stats.mean.tolist() == expected.mean.tolist()
    assert compute(data, repeats="count").n_images == IMAGES + abs(repeated)


def test_containers_that_are_named_twice(photos: Path, tmp_path: Path) -> None:
    import tarfile

    shards = tmp_path / "shards"
    shards.mkdir()
    for number in range(3):
        with tarfile.open(shards / f"{number}.tar", "w") as archive:
            for name in names(photos):
                archive.add(photos / name, name)
    for data, files, repeated in [
        ([shards, shards / "0.tar"], 3, 1),
        ([shards / "0.tar", f"{shards}/*.tar"], 3, 1),
        ([shards / "0.tar", f"{shards}/../shards/0.tar"], 1, 1),
        ([shards, f"{shards}/{{0..1}}.tar"], 3, 2),
        ([shards / "0.tar", photos], 2, 0),
    ]:
        stats = compute(data, workers=2)
        assert stats.n_images == files * IMAGES, "images in different containers are different images"
        assert stats.skipped == ({"repeated": repeated} if repeated else {})


def test_arrays_of_a_store_are_told_apart(tmp_path: Path) -> None:
    h5py = need("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "xy":
            file[name] = np.zeros((5, 6, 7, 3), np.uint8)
    stats = compute([f"{tmp_path}/a.h5::x", f"{tmp_path}/a.h5::y", f"{tmp_path}/./a.h5::x"])
    assert (stats.n_images, stats.skipped) == (10, {"repeated": 1})


def test_what_is_in_the_program_counts_as_it_is_given(photos: Path) -> None:
    image = np.zeros((6, 5, 3), np.uint8)
    assert compute([image, image]).n_images == 2
    assert compute([image, photos, image]).n_images == IMAGES + 2
    assert compute(iter([image] * 3)).n_images == 3


def test_rows_with_the_image_itself_are_not_compared(tmp_path: Path, photos: Path) -> None:
    arrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    data = (photos / "class_0" / "00.png").read_bytes()
    parquet.write_table(arrow.table({"image": [data, data]}), tmp_path / "a.parquet")
    assert compute(tmp_path / "a.parquet").n_images == 2


def test_tables_of_paths_that_share_files(tmp_path: Path, photos: Path) -> None:
    """An image whose rows are in two files of a table, whichever of them is read first."""
    rows = [(f"photos/{name}", f"{name[:7]}") for name in names(photos)]
    for number in range(4):
        write_parquet(photos.parent / f"t-{number}.parquet", [*rows[number * 5 : number * 5 + 5], (rows[0][0], "x")])
    found: list[Any] = []
    reader = Reader(open_source(f"{photos.parent}/*.parquet"))
    threads = [threading.Thread(target=lambda: found.extend(reader)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(group for batch in found for group in batch.groups) == sorted(group for _, group in rows)


def test_a_folder_pays_nothing(photos: Path) -> None:
    assert not isinstance(open_source(photos), module.Once)
    assert not isinstance(open_source(photos / "class_0" / "00.png"), module.Once)
    assert not isinstance(open_source([photos], SourceOptions(repeats="count")), module.Once)


def test_options_that_are_wrong(photos: Path) -> None:
    with pytest.raises(ValueError, match="repeats should be 'once' or 'count', got 'twice'"):
        compute([photos], repeats="twice")
    with pytest.raises(ValueError, match=r"repeats= is an option for .*text lists"):
        compute(photos, repeats="count")


def test_the_table_of_names_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = module._Seen()
    for number in range(30_000):
        assert seen.add(f"{number}", f"{number % 7}") is None
    assert all(seen.add(f"{number}", f"{number % 7}") is True for number in range(30_000))
    assert all(seen.add(f"{number}", f"{number % 7 + 1}") is False for number in range(30_000))
    assert all(seen.add(f"{number}", "") is True for number in range(0, 30_000, 9))
    assert seen._names.itemsize * len(seen._names) + seen._groups.itemsize * len(seen._groups) <= 36 * 30_000
    monkeypatch.setattr(module, "_hash", lambda text, size: 1023)  # the last place of the table
    seen = module._Seen()
    assert (seen.add("a", "x"), seen.add("b", "x")) == (None, True)


def test_folders_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_FOLDERS_KEPT", 3)
    rows = [(f"{tmp_path}/{number}/a.jpg", "") for number in range(9)]
    source = open_source(write_text(tmp_path / "l.txt", rows * 2))
    assert len(list(source.samples())) == 9
    assert source.skipped == {"repeated": 9}
    assert len(source._folders) <= 3  # type: ignore[attr-defined]


def test_the_key_that_a_checkpoint_keeps_is_the_first(photos: Path, tmp_path: Path) -> None:
    rows = [(f"photos/{name}", "") for name in names(photos)]
    table = write_csv(photos.parent / "m.csv", rows + [(f"./{name}", label) for name, label in rows])
    first = compute(table, checkpoint=tmp_path / "c")
    again = compute(table, checkpoint=tmp_path / "c")
    assert again.totals == first.totals
    assert again.skipped == first.skipped == {"repeated": IMAGES}
    assert again.runs[0]["checkpoint"]["images_reused"] == IMAGES
    with pytest.raises(gpustats.DataError, match="repeats"):
        compute(table, checkpoint=tmp_path / "c", repeats="count")
    assert os.path.exists(tmp_path / "c")


def test_what_was_chosen_is_counted_once_too(tmp_path: Path, photos: Path) -> None:
    files = [f"photos/{name}" for name in names(photos)]
    for number, rows in enumerate((files * 3, files[:5] + files[:2])):
        with open(tmp_path / f"{number}.csv", "w", newline="") as file:
            csv.writer(file).writerows([["path"], *([name] for name in rows)])
    found = {"column 'path'": IMAGES}
    both = [str(tmp_path / "0.csv"), str(tmp_path / "1.csv")]
    for data in (tmp_path / "0.csv", both):
        stats = gpustats.compute(data, progress=False)
        assert (stats.n_images, stats.runs[0]["images_from"]) == (IMAGES, found)
    again = gpustats.compute(both[0], repeats="count", progress=False)
    assert again.runs[0]["images_from"] == {"column 'path'": 3 * IMAGES}
