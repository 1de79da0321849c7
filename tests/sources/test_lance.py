"""Lance datasets, written by its own package, and formats that are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gpustats
from gpustats import DataError
from gpustats.sources import SourceOptions, open_source
from tests.images import encoded, photo
from tests.sources.packing import contents, need

IMAGES = [f"image {number}".encode() for number in range(10)]


def write(path: Path, rows: int = 4, **columns: Any) -> Path:
    need("lance").write_dataset(need("pyarrow").table(columns), str(path), max_rows_per_file=rows)
    return path


def test_rows_of_several_fragments(tmp_path: Path) -> None:
    path = write(tmp_path / "a.lance", image=IMAGES, label=[f"g{number % 2}" for number in range(10)])
    assert contents(path).images == [(f"a.lance/{n}", f"g{n % 2}", image) for n, image in enumerate(IMAGES)]
    assert contents([path, path]).skipped == {"repeated": 1}
    assert open_source(path).count() == 10


def test_deleted_rows_and_older_versions_do_not_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.lance", image=IMAGES, n=list(range(10)))
    need("lance").dataset(str(path)).delete("n >= 2 and n < 5")
    assert [data for *_, data in contents(path).images] == IMAGES[:2] + IMAGES[5:]
    assert open_source(path).count() == 7


def test_which_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.lance", one=IMAGES, two=IMAGES)
    found = contents(path)
    assert found.failures == [("a.lance", "unsupported")]
    assert found.messages[0].startswith("several columns may hold images: one (binary), two (binary)")
    assert len(contents(path, column="two").images) == 10
    assert contents(path, column="three").failures == [("a.lance", "unsupported")]


def test_a_row_with_several_images(tmp_path: Path) -> None:
    path = write(tmp_path / "a.lance", images=[IMAGES[:2], IMAGES[2:5]])
    assert [data for *_, data in contents(path).images] == IMAGES[:5]
    assert open_source(path).count() is None


def test_a_damaged_fragment_costs_no_other(tmp_path: Path) -> None:
    path = write(tmp_path / "a.lance", image=IMAGES)
    fragment = need("lance").dataset(str(path)).get_fragments()[1]
    (path / "data" / fragment.data_files()[0].path).write_bytes(b"damaged")
    found = contents(path)
    assert [data for *_, data in found.images] == IMAGES[:4] + IMAGES[8:]
    assert [reason for _, reason in found.failures] == ["corrupt"]


def test_a_damaged_dataset(tmp_path: Path) -> None:
    path = write(tmp_path / "a.lance", image=IMAGES)
    for manifest in (path / "_versions").iterdir():
        manifest.write_bytes(b"damaged")
    assert contents(path).failures == [("a.lance", "corrupt")]


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.lance" / "_versions").mkdir(parents=True)
    monkeypatch.setitem(__import__("sys").modules, "lance", None)
    with pytest.raises(DataError, match=r"reading Lance needs the package pylance; install it with: .*lance"):
        open_source(tmp_path / "a.lance", SourceOptions())


@pytest.mark.parametrize(
    ("names", "given", "said"),
    [
        (["x.beton"], "x.beton", "FFCV's .beton"),
        (["x.rec"], "x.rec", "MXNet's RecordIO"),
        (["meta/info.json", "videos/chunk-000/a.mp4"], "", "LeRobot's videos"),
    ],
)
def test_formats_that_are_refused_by_name(names: list[str], given: str, said: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 100)
    with pytest.raises(DataError, match=f"{said} is not read from its files; give the dataset object"):
        gpustats.compute(tmp_path / given)


def test_folders_of_images_beside_an_index_are_read(tmp_path: Path) -> None:
    for name in ("index.json", "meta/info.json", "data.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "a.jpg").write_bytes(encoded(photo(4, 4)))
    assert gpustats.compute(tmp_path, progress=False, device="cpu").n_images == 1
