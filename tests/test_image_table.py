"""The table of images: a row for every image, whose sums are the totals, whatever writes and reads it."""

from __future__ import annotations

import csv
import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
from PIL import Image

import gpustats
from gpustats import DataError, Stats
from gpustats.failures import Failure
from gpustats.result.image_table import ImageTable
from tests.command_line import invoke
from tests.rows import built, random_images

FAILED = pytest.mark.filterwarnings("ignore::gpustats.ImagesFailedWarning")
pytestmark = FAILED
NAMES = ("moments", "histogram")


def compute(data: Any, **options: Any) -> Stats:
    return gpustats.compute(data, **{"device": "cpu", "progress": False} | options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images in two folders, one of them 16 x 1, and two that cannot be read."""
    rng = np.random.default_rng(0)
    for i, size in enumerate([(4, 5), (1, 16), (7, 3), (2, 2), (9, 9), (1, 1)]):
        path = tmp_path / "set" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    (tmp_path / "set" / "bad, \n\u00fc.jpg").write_bytes(b"nothing")
    (tmp_path / "set" / "a" / "empty.jpg").write_bytes(b"")
    return tmp_path / "set"


def read(path: Path) -> dict[str, list[Any]]:
    """Return the columns of a table, sorted by key."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{n: None if v == "" else v for n, v in row.items()} for row in csv.DictReader(file)]
        for row in rows:
            for name, value in row.items():
                if value is not None and name not in ("key", "group", "format", "mode", "reason", "message"):
                    row[name] = float(value)  # type: ignore[assignment]
    else:
        rows = pq.read_table(path).to_pylist()
    rows.sort(key=lambda row: row["key"])
    return {name: [row[name] for row in rows] for name in rows[0]}


def assert_sums_are_the_totals(table: dict[str, list[Any]], stats: Stats, top: int = 255) -> None:
    good = [i for i, reason in enumerate(table["reason"]) if reason is None]
    moments = stats.totals["moments"]
    assert len(good) == stats.n_images
    assert sum(table["height"][i] * table["width"][i] for i in good) == stats.n_pixels
    for c, name in enumerate(stats.channels):
        n, mean, std = (np.array([table[f"{what}_{name}"][i] for i in good]) for what in ("n", "mean", "std"))
        assert n.sum() == moments["n"][c]
        assert int(np.rint(mean * top * n).sum()) == moments["sum"][c], "every sum comes back exactly"
        np.testing.assert_allclose((n * (std**2 + mean**2)).sum() * top**2, moments["sumsq"][c], rtol=1e-12)
        assert min(table[f"min_{name}"][i] for i in good) == pytest.approx(stats.min[c], rel=1e-15)
        assert max(table[f"max_{name}"][i] for i in good) == pytest.approx(stats.max[c], rel=1e-15)


@pytest.mark.parametrize("ending", ["parquet", "csv", "CSV"])
@pytest.mark.parametrize("options", [{}, {"isolate": True, "workers": 1}, {"statistics": ["histogram", "covariance"]}])
def test_the_sums_of_the_rows_are_the_totals(
    folder: Path, tmp_path: Path, ending: str, options: dict[str, Any]
) -> None:
    path = tmp_path / f"t.{ending}"
    stats = compute(folder, per_image=path, **options)
    table = read(path if ending != "CSV" else path.rename(tmp_path / "t.csv"))
    assert len(table["key"]) == 8
    assert_sums_are_the_totals(table, stats)
    failed = {key: reason for key, reason in zip(table["key"], table["reason"], strict=True) if reason is not None}
    assert failed == {failure.key: failure.reason for failure in stats.failures}
    place = table["key"].index("a/empty.jpg")
    assert (table["group"][place], table["height"][place], table["mean_R"][place]) == (None, None, None)
    assert dict(zip(table["key"], table["group"], strict=True))["b/1.png"] == "b"
    assert ("entropy_R" in table) == ("statistics" in options)


def test_every_row_against_numpy(folder: Path, tmp_path: Path) -> None:
    compute(folder, per_image=tmp_path / "t.parquet", statistics=["histogram"])
    for row in pq.read_table(tmp_path / "t.parquet").to_pylist():
        if row["reason"] is not None:
            continue
        pixels = np.asarray(Image.open(folder / row["key"])).astype(float)
        assert (row["height"], row["width"]) == pixels.shape[:2]
        for c, name in enumerate("RGB"):
            plane = pixels[..., c].ravel()
            expected = {
                "n": plane.size,
                "mean": plane.mean() / 255,
                "std": plane.std() / 255,
                "min": plane.min() / 255,
                "max": plane.max() / 255,
                "entropy": scipy.stats.entropy(np.bincount(plane.astype(int)), base=2),
                "clipped_share_low": (plane == 0).mean(),
                "clipped_share_high": (plane == 255).mean(),
            }
            found = {what: row[f"{what}_{name}"] for what in expected}
            assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_an_arrow_table_in_memory(folder: Path, tmp_path: Path) -> None:
    stats = compute(folder, per_image=True)
    assert isinstance(stats.image_table, pa.Table)
    rows = sorted(stats.image_table.to_pylist(), key=lambda row: row["key"])
    assert_sums_are_the_totals({name: [row[name] for row in rows] for name in rows[0]}, stats)
    for name in ("key", "group", "format", "mode", "reason", "message"):
        assert stats.image_table.schema.field(name).type == pa.string()
    assert stats.image_table.schema.field("n_R").type == stats.image_table.schema.field("width").type == pa.int64()
    assert stats.scaled(255).image_table is stats.image_table
    assert (stats + stats).image_table is None
    for off in (None, False):
        assert compute(folder, per_image=off).image_table is None
    grouped = compute(folder, per_image=True, group_by="folder")
    assert grouped.groups["a"].image_table is None


def test_a_checkpoint_gives_a_whole_table(folder: Path, tmp_path: Path) -> None:
    moved = (folder / "a" / "0.png").rename(tmp_path / "0.png")
    compute(folder, checkpoint=tmp_path / "c")
    moved.rename(folder / "a" / "0.png")
    stats = compute(folder, checkpoint=tmp_path / "c", per_image=tmp_path / "t.parquet")
    assert stats.runs[0]["checkpoint"]["images_reused"] == 7
    table = read(tmp_path / "t.parquet")
    assert len(table["key"]) == 8
    assert_sums_are_the_totals(table, stats)


@pytest.mark.parametrize("images", ["uint16", "float", "five"])
def test_other_kinds_of_images(images: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    if images == "float":
        stats = compute(rng.normal(3, 2, (4, 5, 6, 3)).astype(np.float32), per_image=True)
        means = np.array([stats.image_table[f"mean_{name}"].to_pylist() for name in "RGB"])
        np.testing.assert_allclose(means.mean(axis=1), stats.mean, rtol=1e-12)
        return
    dtype, channels = (np.uint16, 3) if images == "uint16" else (np.uint8, 5)
    pixels = rng.integers(0, np.iinfo(dtype).max + 1, (4, 5, 6, channels)).astype(dtype)
    stats = compute(list(pixels), per_image=True, layout="HWC")
    table = stats.image_table.to_pydict()
    assert_sums_are_the_totals(table, stats, int(np.iinfo(dtype).max))
    assert set(stats.channels) == {name.removeprefix("mean_") for name in table if name.startswith("mean_")}


def test_masked_values_do_not_count(tmp_path: Path) -> None:
    image = np.ma.MaskedArray(np.full((2, 3, 1), 51, np.uint8), np.array([[[1], [0], [0]]] * 2, bool))
    stats = compute([image], per_image=True, layout="HWC")
    [row] = stats.image_table.to_pylist()
    assert (row["height"], row["width"], row["n_L"], row["mean_L"]) == (2, 3, 4, 0.2)


def test_rows_are_written_while_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.result.image_table._ROWS", 8)
    images = random_images(1, 20)
    with ImageTable(tmp_path / "t.csv", NAMES) as table:
        table.add(Failure("first", "missing", "before any kind is known"))
        table.fold(built(images[:5], NAMES))
        assert (tmp_path / "t.csv").read_text() == ""
        table.fold(built(images[5:10], NAMES, first=5))
        assert len((tmp_path / "t.csv").read_text().splitlines()) == 12
        for i in range(8):
            table.add(Failure(f"bad{i}", "corrupt", "x"))
        assert len((tmp_path / "t.csv").read_text().splitlines()) == 20
        table.fold(built(images[10:15], NAMES, first=10))
        assert len((tmp_path / "t.csv").read_text().splitlines()) == 20
        table.fold(built(images[15:], NAMES, first=15))
    text = (tmp_path / "t.csv").read_text()
    assert len(list(csv.reader(io.StringIO(text)))) == 30
    assert len({len(row) for row in csv.reader(io.StringIO(text))}) == 1
    with ImageTable(tmp_path / "t.parquet", NAMES) as table:
        for i in range(4):
            table.fold(built(images[5 * i : 5 * i + 5], NAMES, first=5 * i))
            table.add(Failure(f"bad{i}", "corrupt", "x"))
    file = pq.ParquetFile(tmp_path / "t.parquet")
    assert file.num_row_groups > 1
    assert file.metadata.num_rows == 24


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_an_interrupted_run_leaves_a_table_that_can_be_read(folder: Path, tmp_path: Path, ending: str) -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / f"t.{ending}"
    with pytest.raises(gpustats.Interrupted) as caught:
        compute(folder, per_image=path, workers=1, progress=stop)
    table = read(path)
    assert sum(reason is None for reason in table["reason"]) == caught.value.partial.n_images > 0


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_table_without_images(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t.{ending}"
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match="no images found"):
        compute(tmp_path / "set", per_image=path)
    names = pq.read_schema(path).names if ending == "parquet" else path.read_text().strip().split(",")
    assert names == ["key", "group", "height", "width", "reason", "message"]
    (tmp_path / "set" / "bad.jpg").write_bytes(b"")
    with pytest.raises(gpustats.AllImagesFailed):
        compute(tmp_path / "set", per_image=path)
    assert (read(path)["key"], read(path)["width"]) == (["bad.jpg"], [None])


def test_what_cannot_be_written_is_an_error_before_the_first_image(folder: Path, tmp_path: Path) -> None:
    done: list[int] = []
    for ending in ("parquet", "csv"):
        path = tmp_path / "nowhere" / f"t.{ending}"
        with pytest.raises(DataError, match=r"the table of images cannot be written: No such file"):
            compute(folder, per_image=path, progress=done.append)
    for wrong in ("table.json", "table", "", 3, b"t.csv", ["t.csv"]):
        with pytest.raises(ValueError, match=r"per_image should be a file that ends in .parquet or .csv, or True, got"):
            compute(folder, per_image=wrong, progress=done.append)
    assert sum(done) == 0


def test_without_pyarrow_csv_is_left(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for target in (True, tmp_path / "t.parquet"):
        with pytest.raises(DataError, match=r"need the package pyarrow; install it with: .*parquet.*, or give a file"):
            compute(folder, per_image=target)
    assert not (tmp_path / "t.parquet").exists()
    compute(folder, per_image=tmp_path / "t.csv")
    assert len(read(tmp_path / "t.csv")["key"]) == 8


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode on Windows")
def test_names_that_are_not_utf8_are_escaped(tmp_path: Path) -> None:
    rows = built([np.zeros((1, 1, 3), np.uint8)], ("moments",))
    rows.keys[0] = os.fsdecode(b"caf\xe9.png")  # type: ignore[index]
    for ending in ("parquet", "csv"):
        with ImageTable(tmp_path / f"t.{ending}", ("moments",)) as table:
            table.fold(rows)
        assert read(tmp_path / f"t.{ending}")["key"] == ["caf\\udce9.png"]


def test_a_full_disk_ends_the_run_with_a_reason(folder: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    link = folder.parent / "t.csv"
    link.symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"t\.csv: the table of images cannot be written: No space left"):
        compute(folder, per_image=link)


def test_the_command_line(folder: Path, tmp_path: Path) -> None:
    done = invoke("compute", folder, "--per-image", tmp_path / "t.parquet")
    assert done.code == 3
    assert len(read(tmp_path / "t.parquet")["key"]) == 8
    lost = invoke("compute", folder, "--per-image", tmp_path / "t.txt")
    assert lost.code == 2
    assert "--per-image should be a file that ends in .parquet or .csv" in lost.err


@pytest.mark.parametrize("module", ["pandas", "polars", "duckdb"])
def test_other_tools_read_it(folder: Path, tmp_path: Path, module: str) -> None:
    tool = pytest.importorskip(module)
    stats = compute(folder, per_image=tmp_path / "t.parquet")
    compute(folder, per_image=tmp_path / "t.csv")
    for name in ("t.parquet", "t.csv"):
        path = str(tmp_path / name)
        if module == "duckdb":
            sums = "sum(n_R), sum(height * width), sum(bytes)"
            query = f"select sum(mean_R * n_R) / sum(n_R), count(*), {sums} from '{path}'"
            [(mean, rows, *found)] = tool.sql(query).fetchall()
            files = sum(file.stat().st_size for file in folder.rglob("*.png"))
            assert found == [stats.totals["moments"]["n"][0], stats.n_pixels, files]
            [(formats,)] = tool.sql(f"select list(distinct format) from '{path}' where reason is null").fetchall()
            assert formats == ["PNG"]
        else:
            frame = tool.read_csv(path) if name.endswith("csv") else tool.read_parquet(path)
            mean, rows = (frame["mean_R"] * frame["n_R"]).sum() / frame["n_R"].sum(), len(frame)
        assert (mean, rows) == (pytest.approx(stats.mean[0], rel=1e-12), 8)


def test_channels_have_the_names_of_their_order() -> None:
    images = np.zeros((2, 5, 6, 3), np.uint8)
    images[..., 0] = 255
    options: dict[str, Any] = {"layout": "NHWC", "per_image": True}
    table = compute(images, **options, color_order="BGR").image_table
    assert (table["mean_B"].to_pylist(), table["mean_R"].to_pylist()) == ([1.0, 1.0], [0.0, 0.0])
    assert compute(images, **options).image_table["mean_R"].to_pylist() == [1.0, 1.0]
    with pytest.raises(DataError, match="color_order='L' does not fit images of 3 channels"):
        compute(images, **options, color_order="L")
