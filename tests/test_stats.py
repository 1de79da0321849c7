"""The numbers by name, printing, saving and merging."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats
from gpustats import DataError, MergeError, Stats, merge
from gpustats.definition import Definition, color_order
from gpustats.failures import Failure, FailureLog
from gpustats.saved import checksum
from gpustats.statistics.totals import Totals
from tests.rows import random_images, raw_rows, rows_of


def stats_of(images: list[np.ndarray], **options: object) -> Stats:
    totals = Totals()
    totals.fold(rows_of(images))
    return Stats(totals, **options)  # type: ignore[arg-type]


def test_every_definition_against_numpy_float64() -> None:
    images = random_images(5, 30)
    stats = stats_of(images)
    unit = [image.reshape(-1, 3) / 255 for image in images]
    pooled = np.concatenate(unit)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12)  # noqa: E731
    close(stats.mean, pooled.mean(axis=0))
    close(stats.std, pooled.std(axis=0))
    close(stats.std_unbiased, pooled.std(axis=0, ddof=1))
    close(stats.per_image.mean, np.mean([x.mean(axis=0) for x in unit], axis=0))
    close(stats.per_image.std, np.mean([x.std(axis=0) for x in unit], axis=0))
    close(stats.per_image.std_unbiased, np.mean([x.std(axis=0, ddof=1) for x in unit if len(x) > 1], axis=0))
    close(stats.per_image.rms_std, np.sqrt(np.mean([x.var(axis=0) for x in unit], axis=0)))
    close(stats.std_of_means, np.std([x.mean(axis=0) for x in unit], axis=0))
    close(stats.min, pooled.min(axis=0))
    close(stats.max, pooled.max(axis=0))
    assert (stats.n_images, stats.n_pixels) == (30, len(pooled))
    assert stats.height_range == (min(i.shape[0] for i in images), max(i.shape[0] for i in images))
    assert stats.width_range == (min(i.shape[1] for i in images), max(i.shape[1] for i in images))


def test_std_of_a_constant_image_is_exactly_zero() -> None:
    stats = stats_of([np.full((3, 3, 3), 77, np.uint8)] * 3)
    for values in (stats.std, stats.per_image.std, stats.per_image.rms_std, stats.std_of_means):
        assert values.tolist() == [0, 0, 0]


def test_one_pixel_has_no_unbiased_std() -> None:
    stats = stats_of([np.full((1, 1, 3), 9, np.uint8)])
    assert np.isnan(stats.std_unbiased).all()
    assert np.isnan(stats.per_image.std_unbiased).all()
    assert stats.std.tolist() == [0, 0, 0]


def test_empty_gives_nan_and_prints() -> None:
    stats = Stats(Totals())
    assert "0 images" in repr(stats)
    assert stats.mean.size == 0
    assert json.loads(stats.to_json())["images"] == 0


def test_scaled_to_255() -> None:
    stats = stats_of(random_images(6, 10))
    large = stats.scaled(255)
    for name in ("mean", "std", "std_unbiased", "std_of_means", "min", "max"):
        np.testing.assert_allclose(getattr(large, name), getattr(stats, name) * 255, rtol=1e-15)
    np.testing.assert_allclose(large.per_image.rms_std, stats.per_image.rms_std * 255, rtol=1e-15)
    assert large.max.tolist() == [255, 255, 255]
    assert large.scaled(1).mean.tolist() == stats.mean.tolist()
    for bad in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="positive number"):
            stats.scaled(bad)


def test_results_cannot_be_written_to() -> None:
    stats = stats_of(random_images(6, 2))
    stats.mean[0] = 1
    assert stats.mean[0] != 1, "each array is a copy"
    for thing, name in [(stats, "complete"), (stats.definition, "frame")]:
        with pytest.raises(FrozenInstanceError):
            setattr(thing, name, 1)


def test_results_are_equal_by_what_they_say() -> None:
    stats, other = stats_of(random_images(6, 2)), stats_of(random_images(6, 2))
    assert stats == other == replace(stats, runs=({"engine": "gpu"},))
    log = FailureLog()
    log.add(Failure("a", "corrupt", "b"))
    for different in (
        stats.scaled(255),
        replace(stats, complete=False),
        replace(stats, failures=log),
        replace(stats, skipped={"hidden": 1}),
        replace(stats, definition=Definition("BGR")),
        stats + other,
        stats_of(random_images(7, 2)),
    ):
        assert stats != different
    assert stats != 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(stats)


def test_results_are_summed() -> None:
    parts = [stats_of(random_images(seed, 3)) for seed in range(3)]
    assert sum(parts) == merge(parts)
    assert sum([], Stats()) == Stats()
    for other in (1, "0", None):
        with pytest.raises(TypeError):
            other + parts[0]  # type: ignore[operator]


def test_failures_are_reached_by_their_place() -> None:
    log = FailureLog()
    for key in "cab":
        log.add(Failure(key, "corrupt", "x"))
    stats = replace(result(), failures=log)
    assert stats.failures[0].key == "a"
    assert stats.failures[-1].key == "c"
    assert [failure.key for failure in stats.failures[1:]] == ["b", "c"]
    assert len(stats.failures) == 3
    with pytest.raises(IndexError):
        stats.failures[3]


def test_a_table_of_pandas() -> None:
    pytest.importorskip("pandas")
    stats = result()
    table = stats.to_pandas()
    assert list(table.columns) == ["R", "G", "B"]
    assert {"mean", "std", "var", "per_image.std", "min"} <= set(table.index)
    for name in table.index:
        assert table.loc[name].tolist() == stats.number(name).tolist()
    assert Stats().to_pandas().shape == (0, 3)


def test_merge_is_the_result_of_one_run() -> None:
    images = random_images(7, 20)
    first = stats_of(images[:8])
    second = replace(first, totals=Totals())
    second.totals.fold(rows_of(images[8:], first=8))
    whole = stats_of(images)
    assert (first + second).totals == (second + first).totals == whole.totals
    assert gpustats.merge([first, second]).mean.tolist() == whole.mean.tolist()
    assert (first + Stats(Totals())).totals == first.totals
    assert first.n_images == 8, "the parts stay as they are"
    assert not (first + replace(second, complete=False)).complete


def test_merge_refuses_what_cannot_be_pooled() -> None:
    stats = stats_of(random_images(7, 2))
    with pytest.raises(MergeError, match="nothing to merge"):
        gpustats.merge([])
    with pytest.raises(MergeError, match="different definitions"):
        stats + replace(stats, definition=Definition(color_order="BGR"))
    with pytest.raises(MergeError, match="of 8 bits"):
        stats + stats_of(random_images(7, 2, np.uint16))
    with pytest.raises(TypeError):
        stats + 1  # type: ignore[operator]


def test_save_and_load_keep_every_integer(tmp_path: Path) -> None:
    log = FailureLog()
    log.add(Failure("x\udcff\x1b.jpg", "truncated", "JPEG: image file is truncated"))
    stats = stats_of(random_images(8, 9), failures=log, skipped={"hidden": 2}, runs=({"engine": "cpu"},))
    path = tmp_path / "stats.json"
    stats.scaled(255).save(path)
    loaded = Stats.load(path)
    assert loaded.totals == stats.totals
    assert list(loaded.failures) == list(log)
    assert loaded.scale == Fraction(255)
    assert loaded.to_dict() == stats.scaled(255).to_dict()
    assert list(tmp_path.iterdir()) == [path], "nothing is left beside it"


def test_integers_beyond_float64_survive(tmp_path: Path) -> None:
    stats = stats_of([np.full((50, 50, 3), 255, np.uint8)])
    for _ in range(60):  # 2**60 images: sums far above 2**64
        stats.totals.merge(Totals.from_dict(stats.totals.to_dict()))
    stats.save(tmp_path / "s.json")
    assert Stats.load(tmp_path / "s.json").totals == stats.totals
    assert stats.totals["moments"]["sumsq"][0] == 255 * 255 * 2500 << 60
    assert stats.std.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a gpustats result"),
        (b"\xff\xfe", "not text"),
        (b"[1]", "not a gpustats result"),
        (b'{"format": "gpustats.stats", "version": 99}', "version 99"),
        (b'{"format": "gpustats.stats", "version": 1}', "incomplete or damaged"),
    ],
)
def test_load_says_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        Stats.load(path)


def result() -> Stats:
    log = FailureLog()
    for failure in (Failure("a", "corrupt", "x"), Failure("b", "missing", "y"), Failure("c", "corrupt", "z")):
        log.add(failure)
    return stats_of(random_images(8, 3), failures=log, skipped={"hidden": 2}, runs=({"engine": "cpu"},))


MISSING = ["skipped", "runs", "scale", "definition", "failures", "complete", "totals"]


@pytest.mark.parametrize("name", MISSING)
def test_a_result_without_one_of_its_parts_is_refused(name: str) -> None:
    data = result().to_dict()
    assert Stats.from_dict(data).to_dict() == data
    del data[name]
    with pytest.raises(DataError, match=rf"the result is incomplete or damaged: KeyError\('{name}'\)"):
        Stats.from_dict(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, 'not a gpustats result \\(no "format": "gpustats.stats"\\)'),
        (
            {"version": 3},
            "written in version 3 of the result format, this gpustats .* reads versions 1 to 2; update gpustats",
        ),
        ({"version": None}, "written in version None"),
        ({"version": "1"}, "written in version '1'"),
        ({"version": 1}, "incomplete or damaged: KeyError"),
        *(
            ({"skipped": bad}, "incomplete or damaged|non-negative integer")
            for bad in (None, [1], {"a": "x"}, {"a": None})
        ),
        *(
            ({"skipped": {"a": bad}}, "incomplete or damaged|non-negative")
            for bad in (math.inf, math.nan, -1, 1.5, True)
        ),
        *(({"runs": bad}, "incomplete or damaged") for bad in (None, 3, [3], ["x"])),
        *(({"scale": bad}, "incomplete or damaged") for bad in (None, "x", "1/0", [], math.inf, math.nan)),
        *(({"scale": bad}, "the result is damaged: scale") for bad in ("0", "-1", 0, -0.5)),
        *(({"complete": bad}, "the result is damaged: .* complete") for bad in (None, 1, "true", 0)),
        ({"totals": None}, "the numbers are incomplete or damaged"),
        (
            {"definition": None},
            "'definition' should hold color_order, transform, exif_transpose, frame, mode, nodata, "
            "statistics, got None",
        ),
        *(
            ({"failures": bad}, "the list of failures in the file is damaged")
            for bad in (
                None,
                {"by_reason": {"corrupt": 1}},
                {"by_reason": [], "listed": []},
                {"by_reason": {"corrupt": 1}, "listed": 1},
                {"by_reason": {"corrupt": "many"}, "listed": []},
                {"by_reason": {"corrupt": 1}, "listed": [{"key": "a", "reason": "corrupt"}]},
            )
        ),
    ],
)
def test_a_damaged_result_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Stats.from_dict(result().to_dict() | change)


@pytest.mark.parametrize("bad", [None, 3, "text", [], ["format"], {}])
def test_what_is_no_result_is_refused(bad: object) -> None:
    with pytest.raises(DataError, match="not a gpustats result"):
        Stats.from_dict(bad)


@pytest.mark.parametrize(("channels", "order"), [(0, "RGB"), (1, "L"), (2, "unnamed"), (3, "RGB"), (4, "unnamed")])
def test_the_colour_order_of_so_many_channels(channels: int, order: str) -> None:
    assert color_order(channels) == order


def test_a_result_of_integers_need_not_say_so() -> None:
    data = result().to_dict()
    del data["exact"]
    assert Stats.from_dict(data).totals == result().totals


@pytest.mark.parametrize(
    "change",
    [
        {"color_order": 1},
        {"color_order": None},
        {"transform": 0},
        {"exif_transpose": 0},
        {"exif_transpose": None},
        {"frame": True},
        {"frame": "0"},
        {"frame": 0.0},
        {"mode": "odd"},
        {"another": 1},
        {"statistics": None},
        {"statistics": [1]},
    ],
)
def test_a_damaged_definition_is_refused(change: dict[str, Any]) -> None:
    data = Definition("BGR", "resize", True, 3).to_dict()
    assert data == {
        "color_order": "BGR",
        "transform": "resize",
        "exif_transpose": True,
        "frame": 3,
        "mode": "RGB",
        "nodata": [],
        "statistics": ["moments"],
    }
    assert Definition.from_dict(data) == Definition("BGR", "resize", True, 3)
    with pytest.raises(
        DataError,
        match="'definition' should hold color_order, transform, exif_transpose, frame, mode, nodata, statistics, got ",
    ):
        Definition.from_dict(data | change)


@pytest.mark.parametrize("name", ["color_order", "transform", "exif_transpose", "frame", "statistics"])
def test_a_definition_without_one_of_its_parts_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="'definition' should hold"):
        Definition.from_dict({k: v for k, v in Definition().to_dict().items() if k != name})
    with pytest.raises(DataError, match="'definition' should hold"):
        Definition.from_dict(list(Definition().to_dict()))


LISTED = [{"key": "a", "reason": "corrupt", "message": "m"}]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {},
        {"by_reason": {}},
        {"listed": []},
        {"by_reason": [], "listed": []},
        {"by_reason": {}, "listed": None},
        {"by_reason": {}, "listed": ["a"]},
        {"by_reason": {}, "listed": LISTED},
        *({"by_reason": {"corrupt": bad}, "listed": []} for bad in (None, "x", -1, 1.5, True, math.inf, math.nan)),
        *(
            {"by_reason": {"corrupt": 1}, "listed": [{k: v for k, v in LISTED[0].items() if k != name}]}
            for name in LISTED[0]
        ),
    ],
)
def test_a_damaged_list_of_failures_is_refused(bad: object) -> None:
    assert len(FailureLog.from_dict({"by_reason": {"corrupt": 5}, "listed": LISTED})) == 5
    with pytest.raises(DataError, match="the list of failures in the file is damaged"):
        FailureLog.from_dict(bad)


def test_failures_are_counted_by_reason_and_listed_in_order() -> None:
    log = result().failures
    assert log.to_dict() == {
        "count": 3,
        "by_reason": {"corrupt": 2, "missing": 1},
        "listed": [
            {"key": "a", "reason": "corrupt", "message": "x"},
            {"key": "b", "reason": "missing", "message": "y"},
            {"key": "c", "reason": "corrupt", "message": "z"},
        ],
    }
    backwards = log.to_dict() | {"listed": log.to_dict()["listed"][::-1]}
    assert FailureLog.from_dict(backwards) == log


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_failures_beyond_the_list_are_counted(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.failures.LISTED_AT_MOST", limit)
    failures = [Failure(name, "corrupt", "") for name in "cadb"]
    log, other = FailureLog(), FailureLog()
    for place, failure in enumerate(failures):
        (log if place < 2 else other).add(failure)
    merged = log.merged(other)
    for failure in failures[2:]:
        log.add(failure)
    for one in (log, merged):
        assert (len(one), [f.key for f in one]) == (4, list("abcd")[:limit])
    assert len(other) == 2, "a merge changes no part"


def test_every_counter_is_merged() -> None:
    first, second = result(), replace(result(), skipped={"hidden": 1, "non_image": 5}, runs=({"a": 1}, {"b": 2}))
    empty = Stats(Totals(), skipped={"hidden": 10}, runs=({"c": 3},), definition=Definition("L"))
    both = first + second
    assert both.skipped == {"hidden": 3, "non_image": 5}
    assert both.runs == ({"engine": "cpu"}, {"a": 1}, {"b": 2})
    assert both.failures.counts == {"corrupt": 4, "missing": 2}
    assert len(list(both.failures)) == 6
    assert (both.n_images, both.n_pixels) == (6, 2 * first.n_pixels)
    assert both.complete
    for parts in ([empty, first, second], [first, second, empty], [first, empty, second]):
        whole = gpustats.merge(iter(parts))
        assert whole.totals == both.totals
        assert whole.skipped == {"hidden": 13, "non_image": 5}
        assert whole.failures == both.failures
        assert sorted(map(str, whole.runs)) == sorted(map(str, (*both.runs, {"c": 3})))
        assert whole.definition == first.definition, "that of the first part with images"
    assert first.skipped == {"hidden": 2}
    assert gpustats.merge([empty, empty]).definition == Definition("L")
    assert gpustats.merge([empty]).skipped == {"hidden": 10}


@pytest.mark.parametrize("incomplete", [0, 1, 2])
def test_one_part_that_was_stopped_makes_the_whole_incomplete(incomplete: int) -> None:
    parts = [replace(result(), complete=i != incomplete) for i in range(3)]
    assert not gpustats.merge(parts).complete
    assert not Stats.from_dict(parts[incomplete].to_dict()).complete
    assert not gpustats.merge([result(), Stats(Totals(), complete=False)]).complete


def test_the_scale_of_a_merge_is_that_of_its_first_images() -> None:
    assert (result().scaled(255) + result().scaled(3)).scale == 255
    assert (Stats(Totals()) + result().scaled(3)).scale == 3


def test_a_result_of_floats_may_follow_an_empty_one() -> None:
    totals, one = Totals(), np.ones((1, 3))
    totals.fold(raw_rows("float64", [1], [1], mean=one, deviation=one * 0, min=one, max=one))
    for parts in ([Stats(Totals()), Stats(totals)], [Stats(totals), Stats(Totals())]):
        assert gpustats.merge(parts).totals == totals


def test_everything_is_in_the_json() -> None:
    stats = replace(result(), complete=False).scaled(Fraction(1, 3))
    data = json.loads(stats.to_json())
    assert data == stats.to_dict()
    per_image = {name: getattr(stats.per_image, name).tolist() for name in ("mean", "std", "std_unbiased", "rms_std")}
    arrays = {
        name: getattr(stats, name).tolist()
        for name in ("mean", "var", "std", "std_unbiased", "std_of_means", "min", "max")
    }
    assert data == arrays | {
        "format": "gpustats.stats",
        "version": 2,
        "gpustats": gpustats.__version__,
        "complete": False,
        "images": 3,
        "pixels": stats.n_pixels,
        "exact": True,
        "channels": ["R", "G", "B"],
        "scale": "1/3",
        "value_range": 255,
        "per_image": per_image,
        "height_range": list(stats.height_range),
        "width_range": list(stats.width_range),
        "definition": {
            "color_order": "RGB",
            "transform": "none",
            "exif_transpose": False,
            "frame": 0,
            "mode": "RGB",
            "nodata": [],
            "statistics": ["moments"],
        },
        "failures": stats.failures.to_dict(),
        "skipped": {"hidden": 2},
        "runs": [{"engine": "cpu"}],
        "totals": stats.totals.to_dict(),
        "checksum": checksum(stats.totals.to_dict()),
    }


@pytest.mark.parametrize(("channels", "order"), [(0, "RGB"), (1, "L"), (2, "unnamed"), (3, "RGB"), (4, "unnamed")])
def test_color_order_of_arrays(channels: int, order: str) -> None:
    assert color_order(channels) == order


def test_channels_are_the_letters_of_the_color_order() -> None:
    assert replace(result(), definition=Definition("BGR")).channels == ("B", "G", "R")
    assert replace(result(), definition=Definition("unnamed")).channels == ("0", "1", "2")
    assert Stats(Totals(), definition=Definition("unnamed")).channels == tuple("unnamed")


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, bytes]:
    """A file with a result in it, and its bytes."""
    path = tmp_path / "stats.json"
    result().save(path)
    return path, path.read_bytes()


def unchanged(saved: tuple[Path, bytes]) -> bool:
    path, content = saved
    return path.read_bytes() == content and list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="needs resource limits")
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(saved: tuple[Path, bytes]) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))  # a full disk, after 300 bytes
        with pytest.raises(DataError, match=r"stats\.json: cannot be written: File too large"):
            replace(result(), skipped={}).save(saved[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert unchanged(saved)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_file_that_cannot_be_put_in_place_leaves_the_old_one(
    saved: tuple[Path, bytes], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def failing(*paths: object) -> None:
        raise error

    monkeypatch.setattr("os.replace", failing)
    with pytest.raises((DataError, KeyboardInterrupt)) as caught:
        replace(result(), skipped={}).save(saved[0])
    assert isinstance(caught.value, KeyboardInterrupt) or "cannot be written: No space left" in str(caught.value)
    assert unchanged(saved)


def test_a_saved_result_replaces_the_old_one(saved: tuple[Path, bytes]) -> None:
    other = replace(result(), skipped={"other": 1})
    other.save(str(saved[0]))
    assert Stats.load(str(saved[0])).to_dict() == other.to_dict()
    assert saved[0].read_bytes().endswith(b"}\n")
    assert list(saved[0].parent.iterdir()) == [saved[0]]


@pytest.mark.parametrize("error", [b"{", b"[1, 2", b"nonsense", b'{"format": "gpustats.stats"'])
def test_cut_json_is_named(tmp_path: Path, error: bytes) -> None:
    (tmp_path / "s.json").write_bytes(error)
    with pytest.raises(DataError, match=r"s\.json: not a gpustats result \(no JSON: "):
        Stats.load(tmp_path / "s.json")


def test_load_and_save_say_which_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: cannot be read: No such file"):
        Stats.load(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot be written"):
        stats_of(random_images(0, 1)).save(tmp_path / "no" / "folder.json")


def test_repr_is_one_screen_and_html_escapes_names() -> None:
    log = FailureLog()
    for i in range(50):
        log.add(Failure(f"<script>{i}\x1b[2J.jpg", "corrupt", "<b>"))
    stats = stats_of(random_images(8, 9), failures=log)
    text, html = repr(stats), stats._repr_html_()
    assert text.count("\n") < 30
    assert max(map(len, text.splitlines())) <= 120
    assert "50 FAILED" in text
    assert "\x1b" not in text + html
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
