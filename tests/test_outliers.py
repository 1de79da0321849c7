"""The ends of the table of images: the right images, whatever the table is and however it is cut."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats import DataError, OptionError
from gpustats.result.outliers import Odd, Outliers
from tests.images import photo

pytest.importorskip("pyarrow")


def images() -> list[np.ndarray]:
    """Twenty photographs, and one of each kind of odd ones."""
    rng = np.random.default_rng(0)
    usual = [np.asarray(photo(30, 40, seed)) // 2 + 60 for seed in range(20)]
    odd = {
        "darkest": rng.integers(3, 20, (30, 40, 3)),
        "brightest": rng.integers(235, 250, (30, 40, 3)),
        "flattest": np.full((30, 40, 3), 120),
        "most_contrast": rng.choice([1, 254], (30, 40, 1)) * np.ones((1, 1, 3)),
        "most_tinted": rng.integers(90, 110, (30, 40, 3)) + np.array([120, 0, -80]),
        "widest": rng.integers(60, 200, (10, 90, 3)),
        "tallest": rng.integers(60, 200, (90, 10, 3)),
        "largest": rng.integers(60, 200, (100, 100, 3)),
        "smallest": rng.integers(60, 200, (3, 3, 3)),
    }
    assert list(odd) == ODD
    return [*usual, *(image.astype(np.uint8) for image in odd.values())]


ODD = ["darkest", "brightest", "flattest", "most_contrast", "most_tinted", "widest", "tallest", "largest", "smallest"]


def compute(data: Any, **options: Any) -> gpustats.Stats:
    return gpustats.compute(data, **{"device": "cpu", "progress": False, "layout": "HWC", "per_image": True} | options)


def test_each_end_has_its_image() -> None:
    found = compute(images()).outliers(1)
    assert found.images == 29
    assert {name: odd[0].key for name, odd in found.items() if name in ODD} == {
        name: str(20 + place) for place, name in enumerate(ODD)
    }
    assert set(found) == set(ODD), "no histogram was computed"
    assert found["largest"][0].value == 10_000
    assert found["widest"][0].value == 9
    assert found["flattest"][0].value == 0


def test_values_and_order() -> None:
    stats = compute(images())
    means = [np.asarray(stats.image_table[f"mean_{c}"]) for c in "RGB"]
    average = np.mean(means, axis=0)
    order = np.argsort(average, kind="stable")
    found = stats.outliers(5)
    keys = stats.image_table["key"].to_pylist()
    assert [odd.key for odd in found["darkest"]] == [keys[i] for i in order[:5]]
    assert [odd.value for odd in found["darkest"]] == pytest.approx(average[order[:5]])
    assert [odd.key for odd in found["brightest"]] == [keys[i] for i in order[::-1][:5]]
    everything = stats.outliers(1000)
    assert all(len(odd) == 29 for odd in everything.values())
    assert [odd.key for odd in everything["darkest"]] == [odd.key for odd in everything["brightest"]][::-1]


def test_with_a_histogram_there_are_more_ends() -> None:
    black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    usual = [np.random.default_rng(i).integers(1, 255, (8, 8, 3), dtype=np.uint8) for i in range(5)]
    found = compute([*usual, black, white], statistics=["histogram"]).outliers(1)
    assert (found["most_black"], found["most_white"]) == ([("5", 1.0)], [("6", 1.0)])
    assert found["lowest_entropy"][0].value == 0


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize("rows", [2, 7, 65_536])
def test_files_and_pieces_give_the_same(
    tmp_path: Path, ending: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = images()
    expected = compute(data).outliers(4)
    monkeypatch.setattr("gpustats.result.outliers._ROWS", rows)
    stats = compute(data, per_image=tmp_path / f"t.{ending}", workers=1)
    found = stats.outliers(4, tmp_path / f"t.{ending}")
    values = {name: [odd.value for odd in odds] for name, odds in found.items()}
    assert values == {name: pytest.approx([odd.value for odd in odds]) for name, odds in expected.items()}
    assert found.images == 29
    with pytest.raises(DataError, match="compute with per_image=True, or name its file"):
        stats.outliers()


def test_other_files_of_the_same_pixels_are_alike(tmp_path: Path) -> None:
    for level in range(3):
        image = Image.fromarray(np.random.default_rng(0).integers(0, 9, (40, 30, 3), dtype=np.uint8))
        image.save(tmp_path / f"{level}.png", compress_level=4 * level)
    found = gpustats.compute(tmp_path, device="cpu", progress=False, per_image=True).outliers(1)
    assert [sorted(keys) for keys in found.alike] == [["0.png", "1.png", "2.png"]]
    assert found["most_bytes"][0] == ("0.png", (tmp_path / "0.png").stat().st_size)


def test_images_that_are_alike() -> None:
    data = images()
    found = compute([*data, data[3], data[5], data[3]]).outliers(5)
    assert [sorted(keys) for keys in found.alike] == [["29", "3", "31"], ["30", "5"]]
    assert len(compute([*data, data[3], data[5]]).outliers(1).alike) == 1
    almost = data[3].copy()
    almost[0, 0, 0] += 1
    assert compute([*data, almost]).outliers().alike == []


def test_failures_are_left_out(tmp_path: Path) -> None:
    for i in range(4):
        photo(20, 30, i).save(tmp_path / f"{i}.png")
    (tmp_path / "bad.png").write_bytes(b"x")
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = gpustats.compute(tmp_path, progress=False, per_image=True)
    found = stats.outliers(9)
    assert found.images == 4
    assert all(odd.key != "bad.png" for odds in found.values() for odd in odds)


def test_what_is_printed() -> None:
    text = repr(compute([*images(), images()[0]]).outliers(2))
    assert text.startswith("gpustats.Outliers of 30 images\n\n  brightest (average of the channels' means)\n")
    assert re.search(r"\n  most contrast \(average of the channels' stds\)\n +0\.\d+  23\n", text)
    assert re.search(r"\n  alike \(.*\)\n      (0\n    = 29|29\n    = 0)$", text)
    assert repr(Outliers({"darkest": [Odd("a\x1b[2J.jpg", 0.5)]}, 1, [])).endswith("a\\x1b[2J.jpg")


def test_one_channel_has_no_tint() -> None:
    found = compute([image[:, :, :1] for image in images()]).outliers(1)
    assert "most_tinted" not in found
    assert found["darkest"][0].key == "20"
    with pytest.raises(KeyError, match="there is no 'most_tinted'; there are brightest, "):
        found["most_tinted"]


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "3"])
def test_a_number_that_makes_no_sense(k: Any) -> None:
    with pytest.raises(OptionError, match="k should be an integer from 1"):
        compute(images()[:2]).outliers(k)


def test_files_that_are_no_table(tmp_path: Path) -> None:
    stats = compute(images()[:2])
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    made = r"x\.parquet: no table of images \(.*\); per_image of compute writes one"
    for name, message in [
        ("x.parquet", made),
        ("gone.parquet", r"gone\.parquet: cannot be read: No such file"),
        (".", "Is a"),
    ]:
        with pytest.raises(DataError, match=message):
            stats.outliers(1, tmp_path / name)
    with pytest.raises(DataError, match="this is no table of images: it has the columns a, b"):
        stats.outliers(1, tmp_path / "x.csv")
