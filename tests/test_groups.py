"""Groups: each is the result of its images alone, together they are the whole, and nothing is lost on the way."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gpustats
from gpustats import DataError, Stats
from gpustats.result.groups import SHOWN
from gpustats.statistics.grouped import Grouped
from gpustats.statistics.rows import Rows
from gpustats.statistics.totals import Totals
from tests.command_line import invoke
from tests.rows import built, random_images

NAMES = ("moments", "histogram", "covariance")
FAILED = pytest.warns(gpustats.ImagesFailedWarning)


def compute(data: Any, **options: Any) -> Stats:
    return gpustats.compute(data, **{"device": "cpu", "progress": False} | options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of two folders and below them, and two beside these."""
    rng = np.random.default_rng(0)
    root = tmp_path / "set"
    for name in ("a/1.png", "a/2.png", "a/deep/3.png", "b/1.png", "9.png", "8.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (*rng.integers(2, 9, 2), 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / name)
    return root


def alone(files: list[Path]) -> dict[str, Any]:
    """Return the totals of some files, but for their keys."""
    data = compute([str(file) for file in files], statistics=NAMES).totals.to_dict()
    return {name: value for name, value in data.items() if name != "key_hash"}


def without_keys(stats: Stats) -> dict[str, Any]:
    return {name: value for name, value in stats.totals.to_dict().items() if name != "key_hash"}


def whole(stats: Stats) -> Totals:
    assert stats.grouped is not None
    return stats.grouped.whole()


def test_the_folders_of_a_folder(folder: Path) -> None:
    stats = compute(folder, statistics=NAMES, group_by="folder")
    assert list(stats.groups) == ["", "a", "b"]
    assert stats.groups.by == "folder"
    assert without_keys(stats.groups["a"]) == alone([folder / "a/1.png", folder / "a/2.png", folder / "a/deep/3.png"])
    assert without_keys(stats.groups["b"]) == alone([folder / "b/1.png"])
    assert without_keys(stats.groups[""]) == alone([folder / "9.png", folder / "8.png"])
    assert whole(stats) == stats.totals
    assert gpustats.merge(stats.groups.values()).totals == stats.totals


def test_a_group_is_a_result_of_its_own(folder: Path) -> None:
    stats = compute(folder, statistics=NAMES, group_by="folder")
    group = stats.groups["a"]
    assert isinstance(group, Stats)
    assert group.n_images == 3
    assert len(group.groups) == 0
    for name in group.numbers():
        assert group.number(name).shape == stats.number(name).shape
    assert group.quantile(0.5).tolist() == group.median.tolist()
    assert stats.scaled(255).groups["a"].mean.tolist() == group.scaled(255).mean.tolist()
    assert "3 images" in repr(group)


@pytest.mark.parametrize(
    "options", [{"isolate": True, "workers": 1}, {"workers": 1}, {"workers": 3}, {"memory": "128MiB"}]
)
def test_every_engine_gives_the_same_groups(folder: Path, options: dict[str, Any]) -> None:
    expected = compute(folder, statistics=NAMES, group_by="folder")
    stats = compute(folder, statistics=NAMES, group_by="folder", **options)
    assert {name: stats.groups[name].totals for name in stats.groups} == {
        name: expected.groups[name].totals for name in expected.groups
    }


def test_a_checkpoint_gives_the_same_groups_by_whatever_comes_next(folder: Path, tmp_path: Path) -> None:
    moved = (folder / "a/2.png").rename(tmp_path / "2.png")
    compute(folder, checkpoint=tmp_path / "c")
    moved.rename(folder / "a/2.png")
    for group_by, names in (("folder", ["", "a", "b"]), (lambda key: key[-5:], [f"{i}.png" for i in (1, 2, 3, 8, 9)])):
        stats = compute(folder, checkpoint=tmp_path / "c", group_by=group_by)
        assert sorted(stats.groups) == names
        assert whole(stats) == stats.totals == compute(folder).totals
    assert stats.runs[0]["checkpoint"]["images_reused"] == 6


def test_labels_columns_and_functions(tmp_path: Path) -> None:
    for name, value in (("x", 51), ("y", 102), ("z", 153)):
        Image.new("RGB", (2, 2), (value,) * 3).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text("path,label,other\nx.png,cat,1\ny.png,dog,2\nz.png,,1\n")
    table = tmp_path / "t.csv"
    found = {
        by: {name: group.n_images for name, group in compute(table, group_by=by).groups.items()}
        for by in ("label", "other")
    }
    assert found == {"label": {"": 1, "cat": 1, "dog": 1}, "other": {"1": 2, "2": 1}}
    assert compute(table, group_by="label", group="other").groups.keys() == {"1", "2"}
    assert compute(table, group="other", group_by="other").groups["1"].mean.tolist() == pytest.approx([0.4] * 3)

    def half(key: str) -> int | None:
        return None if key == "z.png" else key < "y"

    stats = compute(table, group_by=half)
    assert stats.groups.by == "half"
    assert {name: group.n_images for name, group in stats.groups.items()} == {"": 1, "False": 1, "True": 1}
    labelled = [(np.full((2, 2, 3), i, np.uint8), i % 2) for i in range(5)]
    assert {n: g.n_images for n, g in compute(iter(labelled), group_by="label").groups.items()} == {"0": 3, "1": 2}


def test_a_function_that_raises_costs_each_key_once(folder: Path, tmp_path: Path) -> None:
    def broken(key: str) -> str:
        if key.startswith("a/"):
            raise KeyError("no such\nclass")
        return "x"

    options: dict[str, Any] = {"group_by": broken, "failures": tmp_path / "f.jsonl"}
    with FAILED:
        stats = compute(folder, **options)
    assert [(f.key, f.reason, f.message) for f in stats.failures] == [
        (key, "unsupported", "group_by raised KeyError: 'no such\\nclass'")
        for key in ("a/1.png", "a/2.png", "a/deep/3.png")
    ]
    assert len((tmp_path / "f.jsonl").read_text().splitlines()) == 3
    assert (stats.n_images, stats.groups["x"].n_images) == (3, 3)
    with pytest.raises(DataError, match=r"a/.*: unsupported: group_by raised KeyError"):
        compute(folder, **options, on_error="raise")
    with pytest.raises(gpustats.TooManyFailures):
        compute(folder, **options, max_failures=2)

    def always(key: str) -> str:
        raise RuntimeError

    with pytest.raises(gpustats.AllImagesFailed, match="6 unsupported") as caught:
        compute(folder, group_by=always)
    nothing = caught.value.partial
    assert (nothing.n_images, len(nothing.groups), len(nothing.failures)) == (0, 0, 6)
    assert Stats.from_dict(json.loads(nothing.to_json())).groups.by == "always"


def test_images_that_cannot_be_read_stay_failures_beside_those_of_the_function(folder: Path) -> None:
    (folder / "b").mkdir(exist_ok=True)
    (folder / "b" / "bad.png").write_bytes(b"no image")

    def broken(key: str) -> str:
        if key.startswith("a/"):
            raise KeyError(key)
        return "x"

    with FAILED:
        stats = compute(folder, group_by=broken)
    assert sorted((f.key, f.reason) for f in stats.failures if f.key == "b/bad.png") == [("b/bad.png", "not_an_image")]
    assert len(stats.failures) == 4


def test_what_is_no_group_by(folder: Path, tmp_path: Path) -> None:
    for wrong in ("", 3, ["folder"], True):
        with pytest.raises(ValueError, match=f"group_by should be 'folder', .* or None, got {re.escape(repr(wrong))}"):
            compute(folder, group_by=wrong)
    with pytest.raises(ValueError, match="group_by='a' and group='b' name two columns"):
        compute(folder, group_by="a", group="b")
    with pytest.raises(DataError, match=r"group_by='kind' names a column: group= is an option for WebDataset"):
        compute(folder, group_by="kind")
    (tmp_path / "t.csv").write_text("path,label\nset/a/1.png,cat\n")
    for data in (tmp_path / "t.csv", np.zeros((2, 3, 3), np.uint8)):
        with pytest.raises(DataError, match="group_by='folder' is for folders and archives, and not for"):
            compute(data, group_by="folder")
    with pytest.raises(DataError, match="there is no column 'nothing'"):
        compute(tmp_path / "t.csv", group_by="nothing")


def test_without_it_there_are_none(folder: Path) -> None:
    stats = compute(folder)
    assert len(stats.groups) == 0
    assert list(stats.groups) == []
    assert repr(stats.groups) == "no groups"
    assert "groups" not in stats.to_dict()
    with pytest.raises(KeyError, match="there are no groups; compute with group_by="):
        _ = stats.groups["a"]
    grouped = compute(folder, group_by="folder").groups
    with pytest.raises(KeyError, match="there is no group 'c'; the first are 'a', '', 'b'"):
        _ = grouped["c"]
    assert repr(grouped) == "3 groups by folder: 'a', '', 'b'"


def test_results_are_pooled_group_by_group(folder: Path) -> None:
    stats = compute(folder, statistics=NAMES, group_by="folder")
    a = compute([str(folder / "a")], statistics=NAMES, group_by=lambda key: "a")
    assert "left out, because not every pooled result has it: groups" in repr(stats + a), "by something else"
    twice = stats + stats
    assert {n: g.n_images for n, g in twice.groups.items()} == {"": 4, "a": 6, "b": 2}
    assert whole(twice) == twice.totals
    assert len(stats.groups["a"].groups) == 0
    less = stats + compute(folder, group_by="folder")
    assert less.groups["a"].totals.statistics == ("moments",)
    assert less.groups["a"].totals.left_out == ("histogram", "covariance")
    assert whole(less) == less.totals

    def first(key: str) -> str:
        return key[0]

    other = compute(folder / "b", statistics=NAMES, group_by=first) + compute(folder, group_by=first)
    assert {name: group.totals.statistics for name, group in other.groups.items()} == dict.fromkeys(
        "189ab", ("moments",)
    )
    without = stats + compute(folder)
    assert without.grouped is None
    assert without.left_out == ("groups",)
    again = Stats.from_dict(json.loads(without.to_json()))
    assert again.left_out == ("groups",)
    assert "groups" in (again + stats).left_out
    assert (Stats() + stats).groups.keys() == stats.groups.keys()


def test_saved_and_loaded(folder: Path, tmp_path: Path) -> None:
    stats = compute(folder, statistics=NAMES, group_by="folder")
    stats.save(tmp_path / "s.json")
    again = Stats.load(tmp_path / "s.json")
    assert again.to_json() == stats.to_json() == (tmp_path / "s.json").read_text().rstrip("\n")
    assert json.loads(again.to_json()) == stats.to_dict()
    assert repr(again) == repr(stats)
    assert {n: g.totals for n, g in again.groups.items()} == {n: g.totals for n, g in stats.groups.items()}
    group = json.loads(stats.to_json())["groups"]["groups"]["a"]
    assert (group["images"], group["mean"]) == (3, stats.groups["a"].mean.tolist())


def test_damaged_groups_are_refused(folder: Path) -> None:
    data = compute(folder, group_by="folder").to_dict()
    groups = data["groups"]["groups"]

    def read(**changes: Any) -> None:
        Stats.from_dict(data | {"groups": {"by": "folder", "groups": groups} | changes})

    read()
    for changes in ({"groups": None}, {"groups": []}, {"groups": {"a": 1}}, {"groups": {"a": {}}}):
        with pytest.raises(DataError, match="the groups are incomplete or damaged"):
            read(**changes)
    with pytest.raises(DataError, match="the groups are incomplete or damaged"):
        Stats.from_dict(data | {"groups": None})
    lost = {name: group for name, group in groups.items() if name != "b"}
    with pytest.raises(DataError, match="the groups do not add up to the whole"):
        read(groups=lost)
    twice = groups | {"c": groups["b"]}
    with pytest.raises(DataError, match="the groups do not add up to the whole"):
        read(groups=twice)
    empty = {"totals": Totals().to_dict()}
    with pytest.raises(DataError, match='the group "x" is not of the same images'):
        read(groups=groups | {"x": empty})
    moved = json.loads(json.dumps(groups))
    for place, step in (("a", 1), ("b", -1)):
        moved[place]["totals"]["moments"]["image_std"][0] += step
    read(groups=moved)
    moved["a"]["totals"]["moments"]["image_std"][0] += 1
    with pytest.raises(DataError, match="the groups do not add up to the whole"):
        read(groups=moved)


def test_floats_have_groups_too() -> None:
    images = [(np.full((2, 3, 1), i, np.float32), "ab"[i % 2]) for i in range(6)]
    stats = compute(images, group_by="label", layout="HWC")
    assert stats.groups["a"].mean.tolist() == [2]
    assert stats.groups["b"].mean.tolist() == [3]
    again = Stats.from_dict(json.loads(stats.to_json()))
    assert again.groups["a"].std.tolist() == stats.groups["a"].std.tolist()


def test_they_are_shown(folder: Path) -> None:
    stats = compute(folder, group_by="folder")
    lines = repr(stats).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("  group by folder"))
    head = [
        "group",
        "by",
        "folder",
        "images",
        "mean",
        "R",
        "mean",
        "G",
        "mean",
        "B",
        "std",
        "R",
        "std",
        "G",
        "std",
        "B",
    ]
    assert lines[start].split() == head
    assert [line.split()[:2] for line in lines[start + 1 :]] == [["a", "3"], ["(no", "group)"], ["b", "1"]]
    group = stats.groups["b"]
    numbers = [f"{value:.5g}" for value in (*group.mean, *group.std)]
    assert lines[-1].split() == ["b", "1", *numbers]
    assert max(map(len, lines)) <= 80
    grey = repr(compute(folder, group_by="folder", mode="L")).splitlines()
    assert grey[start].split() == ["group", "by", "folder", "images", "pixels", "mean", "L", "std", "L"]
    html = stats._repr_html_()
    assert "<th>group by folder</th>" in html
    assert "<th style='text-align:left'>(no group)</th><td>2</td>" in html


def test_many_groups_and_hostile_names_are_shown_on_a_screen() -> None:
    names = ["<b>\x1b[2J", "x" * 60, *(f"g{i}" for i in range(20))]
    images = [(np.zeros((2, 2, 5), np.uint8), name) for name in names]
    images += [(np.zeros((2, 2, 5), np.uint8), "g7")]
    stats = compute(images, group_by="label", layout="HWC")
    text, html = repr(stats), stats._repr_html_()
    rows = text.splitlines()[-SHOWN - 1 :]
    assert rows[0].split() == ["g7", "2", "8"]
    assert rows[1].split()[0] == "<b>\\x1b[2J"
    assert rows[-1] == "  ... and 12 more: stats.groups"
    assert "mean 0" not in text, "more than three channels are too wide"
    assert "&lt;b&gt;" in html
    assert "<b>\\x1b" not in html
    assert "... and 12 more: stats.groups<" in html
    long = compute([(np.zeros((2, 2, 1), np.uint8), "x" * 60)], group_by="label", layout="HWC")
    assert "  " + "x" * 60 + "  " not in repr(long)
    assert re.search(r"^  x{20,}\.\.\.  ", repr(long), re.MULTILINE)
    wide = [(np.full((999, 999, 3), 55, np.uint8), "x" * 60)]
    assert max(map(len, repr(compute(wide, group_by="label", layout="HWC")).splitlines())) <= 80


def test_the_command_line(folder: Path) -> None:
    done = invoke("compute", folder, "--group-by", "folder")
    assert done.code == 0
    assert "\n  group by folder " in done.out
    assert "\n  (no group) " in done.out
    data = json.loads(invoke("compute", folder, "--group-by", "folder", "--json", "-").out)
    assert data["groups"]["by"] == "folder"
    assert set(data["groups"]["groups"]) == {"", "a", "b"}


@settings(max_examples=25, deadline=None)
@given(st.data(), st.integers(0, 2**32), st.sampled_from([NAMES, ("moments",)]))
def test_any_split_and_order_gives_the_same_groups(data: st.DataObject, seed: int, names: tuple[str, ...]) -> None:
    images = random_images(seed, 12)
    groups = data.draw(st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=12, max_size=12))
    expected = {}
    for group in set(groups):
        expected[group] = Totals(names)
        for i in range(12):
            if groups[i] == group:
                expected[group].fold(built([images[i]], names, first=i))
    order = data.draw(st.permutations(range(12)))
    cuts = sorted(data.draw(st.lists(st.integers(0, 12), max_size=3)))
    merged = Grouped(names)
    for start, stop in zip([0, *cuts], [*cuts, 12], strict=True):
        part = Grouped(names)
        which = order[start:stop]
        if which:
            rows = Rows.joined([built([images[i]], names, first=i) for i in which])
            part.fold(Rows(rows.kind, rows.keys, [groups[i] for i in which], rows.height, rows.width, rows.columns))
        merged.merge(part)
    assert {name: merged[name] for name in merged} == expected


def test_thousands_of_groups_are_kept_small_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some are packed away between every two batches, and added to when their images come again."""
    images = random_images(1, 40)
    rows = built(images, NAMES)
    grouped, expected = Grouped(NAMES), Totals(NAMES)
    for start in range(0, 2000, 40):
        keys = [f"{start + i}" for i in range(40)]
        names = [f"g{(start + i) % 1000}" for i in range(40)]
        batch = Rows(rows.kind, keys, names, rows.height, rows.width, rows.columns)
        grouped.fold(batch)
        expected.fold(batch)
    assert len(grouped) == len(list(grouped)) == 1000
    assert "g1" in grouped
    assert "g1000" not in grouped
    assert len(grouped._at_hand) <= 256
    assert max(map(len, grouped._packed.values())) < 2000
    assert grouped.whole() == expected
    assert grouped["g3"].images == 2
    name = next(iter(grouped._at_hand))
    grouped[name].merge(grouped[name])
    assert grouped[name].images == 2, "what is read is a copy"
    assert grouped.largest(2) == ["g0", "g1"]
    small = Grouped()
    small.fold(batch)
    assert max(len(packed) for packed in small._packed.values() or [b""]) < 400


def test_an_interrupted_run_has_the_groups_of_what_was_read(folder: Path) -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(gpustats.Interrupted) as caught:
        compute(folder, group_by="folder", workers=1, progress=stop)
    partial = caught.value.partial
    assert whole(partial) == partial.totals
