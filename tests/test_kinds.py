"""Results by kind: each is that of its images alone, and nothing is lost between them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats import DataError, ImagesFailedWarning, Kinds, OptionError, Stats, api, run
from gpustats.statistics.base import Kind
from gpustats.statistics.builder import RowBuilder, RowBuilders
from tests.command_line import invoke

DEEP, GREY, COLOUR, TWELVE = "uint16 x 1", "uint8 x 1", "uint8 x 3", "uint16 x 1 to 4095"


def kinds_of(data: Any, **options: Any) -> Kinds:
    found = gpustats.compute(data, **{"progress": False, "mode": "native", "kinds": "separate"} | options)
    assert isinstance(found, Kinds)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of four kinds in two groups, a copy among them, two that are damaged, and a file that is none."""
    rng = np.random.default_rng(3)
    root = tmp_path / "set"
    for number in range(13):
        place = root / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        size = (int(rng.integers(3, 20)), int(rng.integers(3, 20)))
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(place / f"colour{number}.png")
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(place / f"grey{number}.png")
        Image.fromarray(rng.integers(0, 65536, size, dtype=np.uint16)).save(place / f"deep{number}.png")
        twelve = rng.integers(0, 4096, size, dtype=np.uint16)
        (place / f"twelve{number}.pgm").write_bytes(b"P5 %d %d 4095\n" % size[::-1] + twelve.astype(">u2").tobytes())
    shutil.copy(root / "a" / "grey2.png", root / "b" / "grey-copy.png")
    (root / "a" / "bad.png").write_bytes((root / "a" / "colour0.png").read_bytes()[:60])
    (root / "b" / "bad.jpg").write_bytes(b"no image")
    (root / "notes.txt").write_text("no image")
    return root


def alone(folder: Path, prefix: str) -> Path:
    """Return a folder with the images of one kind."""
    part = folder.with_name(f"only {prefix}")
    shutil.copytree(
        folder, part, ignore=lambda place, names: [n for n in names if "." in n and not n.startswith(prefix)]
    )
    return part


@pytest.mark.filterwarnings("ignore::gpustats.ImagesFailedWarning")
@pytest.mark.parametrize("options", [{}, {"workers": 1}, {"device": "cpu", "workers": 2}], ids=str)
def test_each_result_is_that_of_its_images_alone(folder: Path, options: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"statistics": ["histogram"], "group_by": "folder", "duplicates": True, **options}
    results = kinds_of(folder, **asked)
    assert list(results) == [DEEP, TWELVE, GREY, COLOUR]
    for name, prefix in ((DEEP, "deep"), (TWELVE, "twelve"), (GREY, "grey"), (COLOUR, "colour")):
        expected = gpustats.compute(alone(folder, prefix), mode="native", progress=False, **asked)
        found, wanted = (stats.to_dict() | {"runs": None} for stats in (results[name], expected))
        assert found == wanted, "integers, definition, groups, duplicates and all"
        assert set(found["groups"]["groups"]) == {"a", "b"}
    assert results[GREY].duplicates is not None
    assert results[GREY].duplicates.listed == (("a/grey2.png", "b/grey-copy.png"),)
    assert results.n_images == sum(stats.n_images for stats in results.values()) == 53


def test_failures_are_told_once(folder: Path) -> None:
    with pytest.warns(ImagesFailedWarning, match="2 of 55 images"):
        results = kinds_of(folder)
    assert [(failure.key, failure.reason) for failure in results.failures] == [
        ("a/bad.png", "truncated"),
        ("b/bad.jpg", "not_an_image"),
    ]
    assert results.skipped == {"non_image": 1}
    assert results.complete
    for stats in results.values():
        assert (len(stats.failures), stats.skipped) == (0, {})
        assert stats.runs[0]["kinds"] == {DEEP: 13, TWELVE: 13, GREY: 14, COLOUR: 13}
        assert f"one of the kinds {DEEP} (13)" in str(stats)
        assert "2 FAILED, of no kind" in " ".join(str(stats).split())
    assert str(results).count("bad.png: truncated") == 1
    assert "2 FAILED: 1 not_an_image, 1 truncated" in results.to_text()
    assert max(map(len, results.to_text().splitlines())) <= 80


def test_decoders_are_counted_once(folder: Path) -> None:
    shutil.rmtree(folder / "b")
    (folder / "a" / "bad.png").unlink()
    stats = kinds_of(folder)[GREY]
    assert stats.runs[0]["images_by_decoder"] == {"imagecodecs": 21, "numpy": 7}
    assert sum(stats.runs[0]["kinds"].values()) == 28


def test_a_limit_of_failures_is_about_all_images() -> None:
    """It is first looked at after 1,000 images, of which most are still to be folded."""
    images = [b"no image" if i % 10 == 9 else np.full((1, 1), i % 251, np.uint8) for i in range(2000)]
    with pytest.warns(ImagesFailedWarning):
        results = kinds_of(iter(images), max_failures=0.12, workers=1)
    assert results.n_images == 1800


def test_what_one_kind_says(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (51, 0, 255)).save(tmp_path / "a.png")
    results = kinds_of(tmp_path, mode="RGB")
    assert list(results) == [COLOUR]
    assert results[COLOUR].mean.tolist() == [0.2, 0.0, 1.0]
    with pytest.raises(KeyError, match=r"there is no kind 'uint8 x 1'; there are 'uint8 x 3'"):
        results[GREY]
    with pytest.raises(TypeError):
        results[GREY] = results[COLOUR]  # type: ignore[index]


def test_kinds_of_arrays() -> None:
    images = [np.full((2, 3, 3), 51, np.uint8), np.full((4, 4), 0.5), np.full((2, 2), -3, np.int16)] * 20
    results = kinds_of(iter(images))
    assert {name: stats.max.tolist() for name, stats in results.items()} == {
        "float64 x 1": [0.5],
        "int16 x 1": [-3.0],
        COLOUR: [0.2, 0.2, 0.2],
    }
    assert [stats.n_images for stats in results.values()] == [20] * 3
    assert [stats.exact for stats in results.values()] == [False, True, True]
    with pytest.raises(DataError, match="'covariance' cannot be computed for images with 1 channel of floats"):
        kinds_of(iter(images), statistics=["covariance"])


def test_as_many_kinds_as_images(tmp_path: Path) -> None:
    values = range(256, 512)
    for value in values:
        (tmp_path / f"{value}.pgm").write_bytes(b"P5 2 1 %d\n" % value + value.to_bytes(2, "big") + bytes(2))
    results = kinds_of(tmp_path)
    assert sorted(results) == sorted(Kind(1, "uint16", value).name for value in values)
    assert all(stats.mean.tolist() == [0.5] for stats in results.values())
    assert max(map(len, results["uint16 x 1 to 300"].to_text().splitlines())) <= 80


@pytest.mark.parametrize(("rows", "size"), [("_ROWS_WAITING", 20), ("_BYTES_WAITING", 4000)])
def test_rows_of_many_kinds_do_not_pile_up(rows: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One histogram of 16 bits takes some hundred bytes here, and each kind has too few images to be folded alone."""
    monkeypatch.setattr(run, rows, size)
    waiting = []

    class Watched(run.Run):
        def _account(self, outcome: Any) -> None:
            super()._account(outcome)
            waiting.append(sum(len(tally.buffer) for tally in self._tallies.values()))

    monkeypatch.setattr(api, "Run", Watched)
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 65536, (8, 8, channels), dtype=np.uint16) for _ in range(30) for channels in (1, 2, 3, 5)]
    results = kinds_of((image for image in images), layout="HWC", statistics=["histogram"], workers=1)
    assert [stats.n_images for stats in results.values()] == [30] * 4
    assert max(waiting) < 60


def test_room_for_images_of_a_kind() -> None:
    made = []

    def make(count: int) -> RowBuilder:
        made.append(count)
        return RowBuilder(count, ("moments",))

    builders = RowBuilders(make)
    for number in range(20):
        builders.add(str(number), "", np.full((2, 2), number, (np.uint8, np.uint16)[number % 2]))
    assert [list(map(int, rows.keys)) for rows in builders.parts()] == [[*range(0, 20, 2)], [*range(1, 20, 2)]]
    assert max(made) <= 8, "a row has 6 KB with a histogram"
    assert RowBuilders(make).parts() == []


@pytest.mark.filterwarnings("ignore::gpustats.ImagesFailedWarning")
def test_a_checkpoint_continues(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    first = kinds_of(folder, checkpoint=kept)
    again = kinds_of(folder, checkpoint=kept, workers=1)
    assert again == first
    assert again[GREY].runs[0]["checkpoint"]["images_reused"] == 55
    assert again[GREY].runs[0]["kinds"] == first[GREY].runs[0]["kinds"]
    with pytest.raises(DataError, match=r"the images differ: .* compute them separately \(kinds='separate'\)"):
        gpustats.compute(folder, mode="native", checkpoint=kept, progress=False)
    assert kinds_of(folder, checkpoint=kept) == first
    shutil.rmtree(folder / "b")
    assert kinds_of(folder, checkpoint=kept) == kinds_of(folder)


def test_what_was_read_is_kept_where_a_run_ends() -> None:
    def images(stop: BaseException) -> Iterator[np.ndarray]:
        yield np.full((2, 2), 51, np.uint8)
        yield np.full((2, 2), 13107, np.uint16)
        raise stop

    with pytest.raises(gpustats.SourceStopped) as stopped:
        kinds_of(images(ValueError("lost")))
    partial = stopped.value.partial
    assert isinstance(partial, Kinds)
    assert {name: stats.n_images for name, stats in partial.items()} == {DEEP: 1, GREY: 1}
    assert not partial.complete
    assert not partial[GREY].complete
    assert "INCOMPLETE" in partial.to_text()
    with pytest.raises(gpustats.Interrupted) as interrupted:
        kinds_of(images(KeyboardInterrupt()))
    assert isinstance(interrupted.value.partial, Kinds)
    with pytest.raises(gpustats.TooManyFailures) as failed:
        kinds_of(iter([np.ones((2, 2), np.uint8), np.ones((2, 2, 3), np.uint8), b"no image"]), max_failures=0)
    assert isinstance(failed.value.partial, Kinds)
    assert len(failed.value.partial.failures) == 1
    with pytest.raises(gpustats.AllImagesFailed) as all_failed:
        kinds_of(iter([b"no image", b"none"]))
    assert isinstance(all_failed.value.partial, Kinds)
    assert len(all_failed.value.partial) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kinds": "all"}, "kinds should be 'one' or 'separate', got 'all'"),
        ({"isolate": True}, "kinds='separate' is not for isolate"),
        ({"per_image": True}, "kinds='separate' is not for per_image, which writes one table"),
        ({"per_image": "x.csv"}, "kinds='separate' is not for per_image"),
        ({"color_order": "BGR"}, "kinds='separate' is not for color_order"),
        ({"sample": 3}, "kinds='separate' is not for sample"),
        ({"tolerance": 0.1}, "kinds='separate' is not for tolerance"),
    ],
)
def test_what_it_does_not_go_with(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=re.escape(words)):
        kinds_of("nothing", **options)


@pytest.mark.filterwarnings("ignore::gpustats.ImagesFailedWarning")
def test_results_are_saved_together(folder: Path, tmp_path: Path) -> None:
    results = kinds_of(folder)
    path = tmp_path / "kinds.json"
    results.save(path)
    data = json.loads(path.read_text())
    assert data == json.loads(results.to_json()) == results.to_dict()
    grouped = kinds_of(folder, group_by="folder")
    assert Kinds.from_dict(json.loads(grouped.to_json())).to_dict() == grouped.to_dict()
    assert data["failures"]["count"] == 2
    assert Kinds.load(path) == results
    assert Stats.from_dict(data["kinds"][GREY]) == results[GREY]
    with pytest.raises(DataError, match=r"it holds a result for each kind of images, .* gpustats.Kinds.load reads it"):
        Stats.load(path)
    results[GREY].save(tmp_path / "one.json")
    with pytest.raises(DataError, match=r'no "format": "gpustats.kinds"'):
        Kinds.load(tmp_path / "one.json")
    assert results.scaled(255)[GREY].mean.tolist() == (results[GREY].scaled(255).mean).tolist()
    assert results.scaled(255).failures == results.failures
    assert Kinds({}, results.failures) != Kinds({})
    assert Kinds({}) != 3


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"kinds": None},
        {"kinds": {GREY: {}}},
        {"complete": 3},
        {"skipped": {"a": -1}},
        {"failures": {}},
        {"failures": None},
    ],
    ids=str,
)
def test_files_that_are_damaged(change: dict[str, Any]) -> None:
    data = kinds_of(np.ones((1, 2, 2), np.uint8), layout="NHW").to_dict()
    assert list(Kinds.from_dict(data)) == [GREY]
    with pytest.raises(DataError):
        Kinds.from_dict(data | change)
    with pytest.raises(DataError, match="other kinds than uint8 x 3"):
        Kinds.from_dict(data | {"kinds": {COLOUR: data["kinds"][GREY]}})


def test_the_command_line(folder: Path, tmp_path: Path) -> None:
    options = ("compute", folder, "--mode", "native", "--kinds", "separate")
    done = invoke(*options, "--json", tmp_path / "kinds.json")
    assert done.code == 3
    assert re.findall(r"^\[(.*)\]$", done.out, re.MULTILINE) == [DEEP, TWELVE, GREY, COLOUR]
    assert done.out.startswith("gpustats.Kinds\n  53 images of 4 kinds\n  2 FAILED: 1 not_an_image, 1 truncated\n")
    assert done.out.count("transforms.Normalize") == 4
    assert done.err.count("bad.png: truncated") == 1
    assert max(map(len, done.out.splitlines())) <= 100
    results = Kinds.load(tmp_path / "kinds.json")
    assert json.loads(invoke(*options, "--json", "-").out)["kinds"].keys() == results.keys()
    assert json.loads(invoke(*options, "--format", "json").out)["images"] == 53
    csv = invoke(*options, "--format", "csv").out
    assert f"# kind {TWELVE}\n" in csv
    assert csv.count("\nmean,") == 4
    assert f"\n## {GREY}\n" in invoke(*options, "--format", "markdown").out
    shown = invoke("show", tmp_path / "kinds.json")
    assert shown.code == 0
    assert re.findall(r"^\[(.*)\]$", shown.out, re.MULTILINE) == [DEEP, TWELVE, GREY, COLOUR]
    merged = invoke("merge", tmp_path / "kinds.json", tmp_path / "kinds.json")
    assert merged.code == 1
    assert "it holds a result for each kind of images" in merged.err
    mixed = invoke("compute", folder, "--mode", "native")
    assert mixed.code == 1
    assert "compute them separately (--kinds separate)" in mixed.err


def test_text_to_paste_that_one_kind_cannot_have(folder: Path) -> None:
    done = invoke("compute", folder, "--mode", "native", "--kinds", "separate", "--bgr", "--quiet")
    assert done.code == 1
    assert done.out.count("gpustats.Stats") == 4, "the numbers of all are shown"
    assert done.out.count("transforms.Normalize") == 1
    assert "uint8 x 1: " in done.err
