"""Images with the same content: found by a hash, in any order, in bounded memory, across results."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats import DataError, OptionError, Stats
from gpustats.statistics import duplicates as module
from gpustats.statistics.base import Kind
from gpustats.statistics.duplicates import Contents, Duplicates
from gpustats.statistics.rows import Rows
from tests.command_line import invoke


def compute(data: Any, **options: Any) -> Stats:
    return gpustats.compute(data, **{"device": "cpu", "progress": False, "duplicates": True} | options)


def found(stats: Stats) -> Duplicates:
    assert stats.duplicates is not None
    return stats.duplicates


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images, two of them copied, and one with the same pixels in another file."""
    root = tmp_path / "set"
    root.mkdir()
    for i in range(5):
        Image.effect_noise((20 + i, 10), 50).convert("RGB").save(root / f"{i}.png")
    shutil.copy(root / "1.png", root / "a.png")
    shutil.copy(root / "1.png", root / "b.png")
    shutil.copy(root / "3.png", root / "c.png")
    Image.open(root / "4.png").save(root / "other.png", compress_level=0)
    return root


LISTED = (("1.png", "a.png", "b.png"), ("3.png", "c.png"))


@pytest.mark.parametrize("options", [{}, {"isolate": True, "workers": 1}, {"resize": 8}, {"exif": "turn"}], ids=str)
def test_files_are_compared_byte_by_byte(folder: Path, options: dict[str, Any]) -> None:
    duplicates = found(compute(folder, **options))
    assert (duplicates.images, duplicates.sets, duplicates.copies) == (9, 2, 3)
    assert tuple(duplicates) == LISTED
    assert (duplicates[0], len(duplicates), duplicates.sizes) == (LISTED[0], 2, (3, 2))
    assert compute(folder, duplicates=False).duplicates is None


def test_a_checkpoint_keeps_the_hashes(folder: Path, tmp_path: Path) -> None:
    moved = (folder / "3.png").rename(tmp_path / "3.png")
    assert found(compute(folder, checkpoint=tmp_path / "c")).copies == 2
    moved.rename(folder / "3.png")
    stats = compute(folder, checkpoint=tmp_path / "c")
    assert stats.runs[0]["checkpoint"]["images_reused"] == 8
    assert tuple(found(stats)) == LISTED


def test_results_are_pooled(folder: Path, tmp_path: Path) -> None:
    paths = sorted(folder.iterdir())
    parts = [compute(paths[i::3], root=folder) for i in range(3)]
    names = [tuple(Path(key).name for key in keys) for keys in found(gpustats.merge(parts))]
    assert tuple(names) == LISTED
    assert gpustats.merge(parts) == gpustats.merge(parts[::-1])
    assert found(gpustats.merge([*parts, Stats()])).copies == 3
    parts[0].save(tmp_path / "s.json")
    loaded = Stats.load(tmp_path / "s.json")
    assert loaded == parts[0]
    for pooled in (loaded + parts[1], parts[1] + loaded, loaded + parts[1] + parts[2]):
        assert pooled.duplicates is None
        assert "duplicates (a saved result has no hashes)" in " ".join(repr(pooled).split())
    assert (parts[0] + compute(paths[1::3], root=folder, duplicates=False)).duplicates is None


def test_they_are_shown_and_saved(folder: Path, tmp_path: Path) -> None:
    done = invoke("compute", folder, "--duplicates", "--json", tmp_path / "s.json")
    assert "duplicates: 3 of 9 images are copies" in done.out
    assert "1.png = a.png = b.png" in done.out
    assert all(len(line) <= 80 for line in repr(compute(folder)).splitlines())
    assert json.loads((tmp_path / "s.json").read_text())["duplicates"] == {
        "images": 9,
        "sets": 2,
        "copies": 3,
        "listed": [{"images": 3, "keys": list(LISTED[0])}, {"images": 2, "keys": list(LISTED[1])}],
    }
    assert tuple(found(Stats.load(tmp_path / "s.json"))) == LISTED
    assert "no duplicates among 2 images" in repr(
        compute([np.zeros((2, 3, 3), np.uint8), np.ones((2, 3, 3), np.uint8)])
    )


def test_arrays_are_compared_by_type_shape_and_values() -> None:
    zeros = np.zeros((2, 6, 3), np.uint8)
    images = [zeros, np.zeros((3, 4, 3), np.uint8), zeros.copy(), np.asfortranarray(zeros), zeros + np.uint8(1)]
    assert tuple(found(compute(images, layout="HWC"))) == (("0", "2", "3"),)
    wide = [np.full((2, 3), 258, ">u2"), np.full((2, 3), 258, "<u2"), np.full((2, 3), 513, "<u2")]
    assert tuple(found(compute(wide))) == (("0", "1"),)
    masked = [np.ma.MaskedArray(zeros, False), np.ma.MaskedArray(zeros, zeros == 1), zeros]
    masked.append(np.ma.MaskedArray(zeros, np.arange(36).reshape(2, 6, 3) < 3))
    assert found(compute(masked, layout="HWC")).copies == 1
    total = gpustats.Accumulator(duplicates=True, layout="HWC")
    for image in images:
        total = total.update(image)
    assert found(total.result()).copies == 2


def rows(hashes: list[int], first: int = 0) -> Rows:
    count = len(hashes)
    column = np.array([[h % 5, h] for h in hashes], np.uint64).reshape(-1, 2)
    size = np.ones(count, np.uint64)
    keys = [f"{first + i:04d}" for i in range(count)]
    return Rows(Kind(3, "uint8"), keys, [""] * count, size, size, {"duplicates.hash": column})


def test_the_same_in_any_order_and_any_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOGETHER", 7)
    hashes = np.random.default_rng(0).integers(0, 60, 100).tolist()
    by_hash: dict[int, list[str]] = {}
    for i, h in enumerate(hashes):
        by_hash.setdefault(h, []).append(f"{i:04d}")
    expected = sorted((tuple(keys) for keys in by_hash.values() if len(keys) > 1), key=lambda keys: (-len(keys), keys))
    batches = [rows(hashes[i : i + 9], i) for i in range(0, 100, 9)]
    for order in (batches, batches[::-1], batches[5:] + batches[:5]):
        contents = Contents()
        for batch in order:
            contents.fold(batch)
            contents.fold(rows([]))
        assert contents.duplicates() == contents.duplicates()
        assert list(contents.duplicates()) == expected
        assert contents.duplicates().copies == 100 - len(by_hash)
    assert Contents().duplicates() == Duplicates(0, 0, 0)


def test_both_halves_of_the_hash_count() -> None:
    same = rows([1, 2, 3, 4])
    same.columns["duplicates.hash"][:] = [[1, 1], [1, 2], [2, 1], [1, 1]]  # type: ignore[index]
    contents = Contents()
    contents.fold(same)
    assert list(contents.duplicates()) == [("0000", "0003")]


def test_all_are_counted_and_some_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETS_LISTED", 3)
    monkeypatch.setattr(module, "KEYS_LISTED", 2)
    monkeypatch.setattr(module, "_TOGETHER", 4)
    hashes = [0] * 5 + [1] * 4 + [2] * 2 + [3] * 2 + [4] * 2 + [5]
    listed = []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(hashes))
        contents = Contents()
        for i in order.tolist():
            contents.fold(rows([hashes[i]], i))
        duplicates = contents.duplicates()
        assert (duplicates.sets, duplicates.copies, duplicates.sizes) == (5, 10, (5, 4, 2))
        listed.append(duplicates.listed)
    assert all(a == b for a, b in itertools.pairwise(listed))
    assert listed[0][:2] == (("0000", "0001"), ("0005", "0006"))


@pytest.mark.parametrize(
    "change",
    [
        {"sets": 3},
        {"sets": 1},
        {"images": 3},
        {"copies": None},
        {"listed": [{"images": 1, "keys": ["a"]}]},
        {"listed": [{"images": 2, "keys": ["a", "b", "c"]}]},
        {"listed": [{"images": 2, "keys": []}]},
        {"listed": 5},
    ],
    ids=str,
)
def test_damaged_duplicates(change: dict[str, Any]) -> None:
    listed = [{"images": 2, "keys": ["a", "b"]}, {"images": 2, "keys": ["c", "d"]}]
    data = {"images": 4, "sets": 2, "copies": 2, "listed": listed}
    assert Duplicates.from_dict(data).to_dict() == data
    with pytest.raises(DataError):
        Duplicates.from_dict(data | change)


def test_keys_that_are_not_utf8(tmp_path: Path) -> None:
    contents = Contents()
    odd = rows([1, 1])
    odd.keys[0] = "caf\udce9"  # type: ignore[index]
    contents.fold(odd)
    assert list(contents.duplicates()) == [("0001", "caf\udce9")]


def test_wrong_options() -> None:
    with pytest.raises(OptionError, match="duplicates should be True or False, got 'yes'"):
        compute("no such folder", duplicates="yes")
