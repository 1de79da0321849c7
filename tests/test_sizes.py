"""Distributions of sizes: exact counts that add up in any order, and what is derived from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats import DataError, OptionError, Stats
from gpustats.result.sizes import Distribution, Sizes
from gpustats.statistics import for_kind
from gpustats.statistics.base import Kind
from gpustats.statistics.counted import count, merged, read_counts, read_names, rounded
from tests.command_line import invoke


def compute(data: Any, **options: Any) -> Stats:
    return gpustats.compute(data, **{"device": "cpu", "progress": False, "statistics": ["sizes"]} | options)


SHAPES = [(40, 30), (100, 64), (64, 64), (200, 333), (7, 90)]  # width, height


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of five formats and modes, and one that cannot be read."""
    root = tmp_path / "set"
    root.mkdir()
    modes = ("RGB", "L", "P", "RGBA", "RGB")
    for i, (size, mode, ending) in enumerate(zip(SHAPES, modes, ("jpg", "png", "gif", "png", "bmp"), strict=True)):
        image = Image.effect_noise(size, 50).convert(mode)
        image.save(root / f"{i}.{ending}")
    (root / "bad.jpg").write_bytes(b"nothing")
    return root


FAILED = pytest.mark.filterwarnings("ignore::gpustats.ImagesFailedWarning")


def test_modes_of_jpegs(tmp_path: Path) -> None:
    """As their headers say, whatever they are decoded to."""
    for mode in ("L", "RGB", "CMYK"):
        Image.new(mode, (40, 30), 7 if mode == "L" else (7,) * len(mode)).save(tmp_path / f"{mode}.jpg")
    sizes = compute(tmp_path, workers=1).sizes
    assert (sizes.modes, sizes.formats) == ({"L": 1, "RGB": 1, "CMYK": 1}, {"JPEG": 3})


@FAILED
@pytest.mark.parametrize("options", [{}, {"workers": 1, "isolate": True}, {"resize": 8, "crop": 4}], ids=str)
def test_sizes_of_files(folder: Path, options: dict[str, Any]) -> None:
    """As they came: also where they are resized, and without the one that failed."""
    sizes = compute(folder, **options).sizes
    widths, _heights = zip(*SHAPES, strict=True)
    assert (sizes.width.values, sizes.width.counts) == (sorted(widths), [1] * 5)
    assert (sizes.height.values, sizes.height.counts) == ([30, 64, 90, 333], [1, 2, 1, 1])
    assert sizes.shorter.values == sorted({min(shape) for shape in SHAPES})
    assert sizes.aspect.values == pytest.approx(sorted(w / h for w, h in SHAPES), rel=2**-11)
    files = [path.stat().st_size for path in folder.iterdir() if path.name != "bad.jpg"]
    assert (sizes.bytes_total, sizes.bytes_min, sizes.bytes_max) == (sum(files), min(files), max(files))
    assert sizes.bytes.median == pytest.approx(np.median(files), rel=2**-9)
    assert sizes.formats == {"PNG": 2, "BMP": 1, "GIF": 1, "JPEG": 1}
    assert sizes.modes == {"L": 1, "P": 1, "RGB": 2, "RGBA": 1}
    assert next(iter(sizes.modes)) == "RGB", "the most frequent first"


@FAILED
def test_they_are_shown_and_saved(folder: Path, tmp_path: Path) -> None:
    stats = compute(folder)
    lines = repr(stats).splitlines()
    assert all(len(line) <= 80 for line in lines)
    for start in ("  width: 7 to 200, median 64", "  height: 30 to 333", "  width / height:", "  files: "):
        assert any(line.startswith(start) for line in lines), start
    text = " ".join(repr(stats).split())
    assert "2 PNG, 1 BMP, 1 GIF, 1 JPEG" in text
    assert "stored as 2 RGB, 1 L, 1 P, 1 RGBA" in text
    assert "suggested resize of the shorter side: 7 (enlarges 0.0% of the images)" in text
    stats.save(tmp_path / "s.json")
    loaded = Stats.load(tmp_path / "s.json")
    assert loaded == stats
    assert repr(loaded.sizes) == repr(stats.sizes)
    data = json.loads((tmp_path / "s.json").read_text())["sizes"]
    assert data["width"] == {"min": 7, "q05": 7, "q25": 40, "q50": 64, "q75": 100, "q95": 200, "max": 200}
    assert data["formats"] == stats.sizes.formats
    assert data["resize"] == {"size": 7, "enlarged": 0.0}
    done = invoke("compute", folder, "--statistics", "sizes")
    assert "suggested resize" in done.out


@FAILED
def test_groups_checkpoints_and_merges(folder: Path, tmp_path: Path) -> None:
    whole = compute(folder)
    grouped = compute(folder, group_by=lambda key: key[-3:])
    assert grouped.groups["png"].sizes.formats == {"PNG": 2}
    assert sum(group.sizes.bytes_total for group in grouped.groups.values()) == whole.sizes.bytes_total
    parts = [compute(sorted(folder.iterdir())[i::2], root=folder) for i in range(2)]
    assert (parts[0] + parts[1]).totals["sizes"] == (parts[1] + parts[0]).totals["sizes"] == whole.totals["sizes"]
    moved = (folder / "0.jpg").rename(tmp_path / "0.jpg")
    compute(folder, checkpoint=tmp_path / "c")
    moved.rename(folder / "0.jpg")
    resumed = compute(folder, checkpoint=tmp_path / "c")
    assert resumed.runs[0]["checkpoint"]["images_reused"] == 5
    assert resumed.totals == whole.totals


@FAILED
def test_a_table_and_a_checkpoint_do_not_change_the_result(folder: Path, tmp_path: Path) -> None:
    """Their rows have the sizes; the totals have what was asked for."""
    plain = compute(folder, statistics=())
    for options in ({"per_image": True}, {"checkpoint": tmp_path / "c"}, {"duplicates": True}):
        stats = compute(folder, statistics=(), **options)
        assert (stats.totals, stats.definition.statistics) == (plain.totals, ("moments",))
        with pytest.raises(DataError, match=r"there are no sizes: compute with statistics=\['sizes'\]"):
            _ = stats.sizes
    later = compute(folder, statistics=(), checkpoint=tmp_path / "c", per_image=True)
    assert later.runs[0]["checkpoint"]["images_reused"] == 6
    rows = {row["key"]: row for row in later.image_table.to_pylist()}
    assert (rows["3.png"]["format"], rows["3.png"]["mode"]) == ("PNG", "RGBA")
    assert rows["3.png"]["bytes"] == (folder / "3.png").stat().st_size
    assert [rows["bad.jpg"][name] for name in ("bytes", "format", "mode")] == [None] * 3


def test_arrays_have_no_bytes() -> None:
    images = [np.zeros((height, 640, 3), np.uint8) for height in (300, 400, 480)]
    stats = compute(images, per_image=True)
    assert (stats.sizes.bytes_total, stats.sizes.formats, len(stats.sizes.bytes)) == (0, {}, 0)
    assert stats.sizes.modes == {"uint8 x 3": 3}
    assert "files" not in repr(stats.sizes)
    assert repr(stats.sizes.bytes) == "no values"
    row = stats.image_table.to_pylist()[0]
    assert (row["bytes"], row["format"], row["mode"]) == (None, None, "uint8 x 3")
    both = stats + compute([np.zeros((2, 2, 3), np.uint8)])
    assert both.sizes.width.max == 640
    found = gpustats.Accumulator(statistics=["sizes"]).update(images).result()
    assert found.totals["sizes"] == stats.totals["sizes"]
    assert "most_bytes" not in stats.outliers(1) or not stats.outliers(1)["most_bytes"]


def test_files_and_arrays_together() -> None:
    (sizes,) = for_kind(("sizes",), Kind(3, "uint8"))
    array = compute([np.zeros((2, 2, 3), np.uint8)]).totals["sizes"]
    file = {**array, "bytes": [[10], [1]], "format": [["PNG"], [1]], "bytes_sum": 10, "bytes_min": 10, "bytes_max": 10}
    for a, b in ((array, file), (file, array)):
        pooled = sizes.merge(a, b)
        assert (pooled["bytes_min"], pooled["bytes_max"], pooled["bytes_sum"]) == (10, 10, 10)
        assert pooled["width"] == [[2], [2]]
        assert sizes.consistent(pooled)
    assert sizes.merge(array, array)["bytes_min"] is None


@pytest.mark.parametrize(
    ("shorter", "options", "expected"),
    [
        ([100] * 10, {}, (96, 0.0)),
        ([100] * 9 + [40], {}, (96, 0.1)),
        ([100] * 8 + [40] * 2, {}, (32, 0.0)),
        ([100] * 8 + [40] * 2, {"share": 0.8}, (96, 0.2)),
        ([256] * 10, {}, (256, 0.0)),
        ([20] * 10, {}, (20, 0.0)),
        ([100] * 10, {"multiple": 1}, (100, 0.0)),
        ([1, 2, 3, 400], {"share": 0}, (384, 0.75)),
        ([1, 2, 3, 400], {"share": 1}, (1, 0.0)),
    ],
)
def test_what_to_resize_to(shorter: list[int], options: dict[str, Any], expected: tuple[int, float]) -> None:
    stats = compute([np.zeros((500, side, 3), np.uint8) for side in shorter], layout="HWC")
    assert stats.sizes.resize(**options) == pytest.approx(expected)


def test_wrong_arguments() -> None:
    sizes = compute([np.zeros((5, 4, 3), np.uint8)]).sizes
    for wrong in (-0.1, 1.1, "0.5", True):
        with pytest.raises(OptionError, match="share should be a number from 0 to 1"):
            sizes.resize(share=wrong)  # type: ignore[arg-type]
    for multiple in (0, 1.5, True):
        with pytest.raises(OptionError, match="multiple should be an integer from 1"):
            sizes.resize(multiple=multiple)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a quantile should be a number from 0 to 1"):
        sizes.width.quantile(2)
    with pytest.raises(ValueError, match="there is no value"):
        sizes.bytes.quantile(0.5)
    with pytest.raises(DataError, match="there are no sizes"):
        _ = Stats().sizes


# -- counts
# ---------------------------------------------------------------------------------------------------------


def test_values_are_rounded_to_digits() -> None:
    values = np.array([0, 1, 511, 512, 513, 514, 1023, 1025, (1 << 53) - 1], np.uint64)
    assert rounded(values, 9).tolist() == [0, 1, 511, 512, 514, 514, 1024, 1024, 1 << 53]
    many = np.random.default_rng(0).integers(1, 1 << 40, 10_000).astype(np.uint64)
    found = rounded(many, 9)
    assert (np.abs(found.astype(float) - many.astype(float)) <= many * 2.0**-9).all()
    assert len(np.unique(found)) <= 40 * 257, "few, whatever occurs"


def test_quantiles_are_those_of_numpy() -> None:
    for values in (np.random.default_rng(1).integers(0, 50, 137), np.arange(4), np.array([7])):
        for q in (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1, 68 / 137):
            assert Distribution(count(values)[0]).quantile(q) == np.quantile(values, q, method="inverted_cdf")


@pytest.mark.parametrize("texts", [False, True])
def test_counts_of_segments(texts: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        values = rng.integers(0, 9, rng.integers(0, 40))
        starts = [0, *sorted(rng.integers(0, len(values) + 1, 5).tolist())]
        parts = [values[a:b].tolist() for a, b in zip(starts, [*starts[1:], len(values)], strict=True)]
        expected = [[sorted({*part}), [part.count(value) for value in sorted({*part})]] for part in parts]
        if texts:
            values = values.astype("S3")
            expected = [[[str(value).encode() for value in found], counts] for found, counts in expected]
        assert count(values, starts) == expected


def test_counts_add_up_in_any_order() -> None:
    a, b, none = count(np.array([3, 1, 3, 2, 3]), [0, 3, 5])
    assert merged(a, b) == merged(b, a) == [[1, 2, 3], [1, 1, 3]]
    assert merged(a, [[1], [1]]) == merged([[1], [1]], a) == [[1, 3], [2, 2]]
    assert merged(a, [[3], [1]]) == merged([[3], [1]], a) == [[1, 3], [1, 3]]
    assert merged(a, none) == merged(none, a) == a == [[1, 3], [1, 2]]


@pytest.mark.parametrize(
    "damaged", [None, [], [[1], [1], [1]], [[1, 2], [1]], [[2, 1], [1, 1]], [[1, 1], [1, 1]], [[1], [0]], [[-1], [1]]]
)
def test_damaged_counts(damaged: Any) -> None:
    with pytest.raises(DataError):
        read_counts(damaged, "width")


def test_damaged_names() -> None:
    assert read_names([["a", "b"], [1, 2]], "format") == [["a", "b"], [1, 2]]
    with pytest.raises(DataError, match="should hold names"):
        read_names([[1], [1]], "format")


@pytest.mark.parametrize(
    "change",
    [
        {"width": [[4], [2]]},
        {"bytes": [[10], [1]]},
        {"bytes_min": 5, "bytes_max": 5},
        {"format": [["PNG"], [1]]},
        {"mode": [[""], [2]]},
        {"bytes_sum": -1},
        {"aspect": None},
    ],
    ids=str,
)
def test_damaged_sizes(change: dict[str, Any]) -> None:
    (sizes,) = for_kind(("sizes",), Kind(3, "uint8"))
    part = compute([np.zeros((5, 4, 3), np.uint8)]).totals["sizes"]
    assert sizes.read(part) == part
    assert Sizes(part).width.max == 4
    with pytest.raises(DataError):
        sizes.read({**part, **change})
    assert not sizes.agrees(part, {"images": [2, 2, 2]})
