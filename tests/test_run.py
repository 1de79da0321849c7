"""A run from the outside: options that are checked, failures that are counted, what is said and what is recorded."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats
from gpustats import DataError, ImagesFailedWarning, Interrupted, TooManyFailures
from gpustats.failures import Failure, FailureFile, FailureLimit, printable
from tests.images import encoded, photo

BAD = np.zeros((2, 2, 3), bool)
GOOD = np.zeros((2, 2, 3), np.uint8)


def compute(data: Any, **options: Any) -> gpustats.Stats:
    return gpustats.compute(data, **{"progress": False, "device": "cpu"} | options)


def quiet(data: Any, **options: Any) -> gpustats.Stats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImagesFailedWarning)
        return compute(data, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers should be a positive integer or None, got 0"),
        ({"workers": -1}, "workers should be a positive integer or None, got -1"),
        ({"workers": "2"}, "workers should be a positive integer or None, got '2'"),
        ({"on_error": "stop"}, "on_error should be 'skip' or 'raise', got 'stop'"),
        ({"on_error": None}, "on_error should be 'skip' or 'raise', got None"),
        ({"changed": "size"}, "changed should be 'mtime' or 'hash', got 'size'"),
        ({"max_pixels": 0}, "max_pixels should be a positive integer, got 0"),
        ({"max_pixels": 1e6}, "max_pixels should be a positive integer, got 1000000.0"),
        ({"memory": 1}, "memory should be at least 64 MiB"),
        ({"max_failures": -1}, "max_failures should be a count"),
    ],
)
def test_a_value_that_is_not_supported_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute([GOOD], **options)


def test_the_smallest_values_that_are_supported() -> None:
    options = {"workers": 1, "max_pixels": 4, "memory": 64 << 20, "max_failures": 0, "changed": "hash"}
    assert compute([GOOD], on_error="raise", **options).n_images == 1


def test_one_failure_and_several_in_the_warning() -> None:
    with pytest.warns(ImagesFailedWarning) as caught:
        compute([GOOD, BAD])
    (one,) = caught
    assert one.filename == __file__ or "test_run" in one.filename, "where the user called"
    assert str(one.message).startswith("1 of 2 images could not be read and do not count: 1: unsupported: pixels of ")
    assert not str(one.message).endswith("...")
    with pytest.warns(ImagesFailedWarning) as caught:
        compute([BAD, GOOD, BAD])
    (several,) = caught
    assert str(several.message).startswith("2 of 3 images could not be read and do not count: 0: unsupported: ")
    assert str(several.message).endswith(" ...")


def test_a_run_without_failures_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stats = compute([GOOD, GOOD])
    assert (stats.complete, len(stats.failures)) == (True, 0)


def test_raise_stops_at_the_first_with_its_words_and_no_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError) as caught:
            compute([GOOD, BAD, GOOD], on_error="raise", failures=tmp_path / "f.jsonl")
    assert str(caught.value).startswith("1: unsupported: pixels of type bool are masks")
    (line,) = (tmp_path / "f.jsonl").read_text().splitlines()
    assert json.loads(line)["key"] == "1", "what stopped the run is in the list of failures"


@pytest.mark.parametrize(("limit", "fails"), [(0, True), (1, True), (2, False), (3, False), (0.3, True), (0.5, False)])
def test_the_limit_at_the_end(limit: float, fails: bool) -> None:
    data = [BAD, BAD, GOOD, GOOD]
    if not fails:
        assert len(quiet(data, max_failures=limit).failures) == 2
        return
    with pytest.raises(
        TooManyFailures, match=rf"\d of \d images failed, more than max_failures={limit}; one of them: 0"
    ):
        compute(data, max_failures=limit)


def stopped(count: int, bad: Callable[[int], bool], **options: Any) -> TooManyFailures:
    with pytest.raises(TooManyFailures) as caught:
        compute((BAD if bad(i) else GOOD for i in range(count)), workers=1, **options)
    return caught.value


def test_a_count_is_judged_on_the_way() -> None:
    error = stopped(100_000, lambda i: i < 3, max_failures=2)
    assert not error.partial.complete
    assert error.partial.n_images < 50_000
    assert 2 < len(error.partial.failures) <= 3
    assert error.partial.runs[0]["source"]


def test_a_share_is_judged_on_the_way_from_1000_images_on() -> None:
    error = stopped(100_000, lambda i: i % 2 == 0, max_failures=0.4)
    assert not error.partial.complete
    seen = error.partial.n_images + len(error.partial.failures)
    assert 1000 <= seen < 50_000
    assert f"{len(error.partial.failures):,} of {seen:,} images failed, more than max_failures=0.4" in str(error)
    first_bad = quiet((BAD if i < 300 else GOOD for i in range(2000)), max_failures=0.5, workers=1)
    assert len(first_bad.failures) == 300, "a bad beginning is no verdict"


def test_a_share_counts_every_image_seen() -> None:
    """Those too that were read but not yet added to the totals: 38 of 100 fail all along, 40 may."""
    stats = quiet((BAD if i % 50 < 19 else GOOD for i in range(3000)), max_failures=0.4, workers=1)
    assert (stats.n_images, len(stats.failures)) == (1860, 1140)


def test_a_share_is_judged_at_the_end_whatever_the_number() -> None:
    error = stopped(999, lambda i: i % 2 == 0, max_failures=0.4)
    assert error.partial.complete, "everything was read"
    assert error.partial.n_images == 499
    assert len(error.partial.failures) == 500


@pytest.mark.parametrize(
    ("limit", "failed", "seen", "on_the_way", "at_the_end"),
    [
        (None, 10, 10, False, False),
        (0, 0, 0, False, False),
        (0, 1, 1, True, True),
        (5, 5, 5, False, False),
        (5, 6, 10**6, True, True),
        (0.0, 0, 1000, False, False),
        (0.0, 1, 1000, True, True),
        (0.0, 1, 999, False, True),
        (1.0, 1000, 1000, False, False),
        (0.5, 500, 999, False, True),
        (0.5, 500, 1000, False, False),
        (0.5, 501, 1000, True, True),
        (1, 2, 2, True, True),
    ],
)
def test_when_failures_are_too_many(
    limit: float | None, failed: int, seen: int, on_the_way: bool, at_the_end: bool
) -> None:
    judge = FailureLimit(limit)
    assert judge.exceeded(failed, seen) is on_the_way
    assert judge.exceeded(failed, seen, final=True) is at_the_end


@pytest.mark.parametrize("bad", [-1, -0.0001, 1.0001, True, False, float("nan"), "1", [1], float("inf")])
def test_limits_that_are_none(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"max_failures should be a count .* got "):
        FailureLimit(bad)


def test_how_a_limit_is_written() -> None:
    assert [str(FailureLimit(limit)) for limit in (0, 12345, 0.01, 1.0)] == [
        f"max_failures={limit}" for limit in ("0", "12,345", "0.01", "1.0")
    ]


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        compute(tmp_path)
    assert str(caught.value) == f"{tmp_path}: no images found"
    (tmp_path / ".hidden.png").write_bytes(encoded(photo(), "PNG"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError) as caught:
        compute(tmp_path)
    assert str(caught.value) == f"{tmp_path}: no images found (skipped: 1 hidden name, 1 file that is no image)"
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(gpustats.AllImagesFailed) as failed:
        compute(tmp_path)
    stats = failed.value.partial
    assert (stats.n_images, len(stats.failures), dict(stats.skipped)) == (0, 1, {"hidden": 1, "non_image": 1})
    assert stats.complete


def test_what_is_recorded_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "a\x1b.png").write_bytes(encoded(photo(), "PNG"))
    stats = compute(tmp_path / "a\x1b.png", workers=1)
    (run,) = stats.runs
    assert run.pop("decoders").keys() >= {"simplejpeg", "imagecodecs", "numpy", "pillow"}
    assert run == {
        "source": printable(str(tmp_path / "a\x1b.png")),
        "gpustats": gpustats.__version__,
        "engine": "cpu",
        "device": "cpu (1 thread)",
        "images_by_decoder": {"imagecodecs": 1},
        "seconds": run["seconds"],
    }
    assert 0 <= run["seconds"] == round(run["seconds"], 3)
    assert stats.definition.color_order == "RGB"
    again = compute(tmp_path, checkpoint=tmp_path / "c")
    assert again.runs[0]["checkpoint"] == {"images_reused": 0, "images_removed": 0}


@pytest.mark.parametrize(("shape", "order"), [((2, 2), "L"), ((2, 2, 3), "RGB"), ((9, 9, 4), "unnamed")])
def test_the_color_order_is_that_of_the_images(shape: tuple[int, ...], order: str) -> None:
    assert compute([np.zeros(shape, np.uint8)]).definition.color_order == order


def test_progress_counts_good_bad_and_reused_images(tmp_path: Path) -> None:
    data = [GOOD, BAD, *[GOOD] * 98]
    for _ in range(2):
        told: list[int] = []
        quiet(data, checkpoint=tmp_path / "c", progress=told.append)
        assert sum(told) == 100


def test_an_interrupt_gives_the_part_that_was_stored(tmp_path: Path) -> None:
    def stop(images: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"interrupted; the partial result is in \.partial") as caught:
        compute([GOOD] * 500, checkpoint=tmp_path / "c", progress=stop, workers=1)
    partial = caught.value.partial
    assert not partial.complete
    assert partial.runs[0]["checkpoint"]["images_reused"] == 0
    done = compute([GOOD] * 500, checkpoint=tmp_path / "c")
    assert done.runs[0]["checkpoint"]["images_reused"] == partial.n_images


class Terminal:
    """A standard error that says whether it is a terminal, and takes everything."""

    encoding = "utf-8"

    def __init__(self, terminal: bool) -> None:
        self.terminal, self.text = terminal, ""

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(
    ("progress", "terminal", "shown"),
    [(None, True, True), (None, False, False), (True, False, True), (True, True, True), (False, True, False)],
)
def test_when_a_bar_is_shown(monkeypatch: pytest.MonkeyPatch, progress: Any, terminal: bool, shown: bool) -> None:
    stream = Terminal(terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    compute([GOOD] * 3, progress=progress)
    assert ("images" in stream.text) == shown


@pytest.mark.parametrize(("progress", "shown"), [(None, True), (True, True), (False, False)])
def test_in_a_notebook_the_bar_is_the_one_that_tqdm_chooses(
    monkeypatch: pytest.MonkeyPatch, progress: Any, shown: bool
) -> None:
    import tqdm.auto

    class Chosen(tqdm.auto.tqdm):
        made = 0

        def __init__(self, *arguments: Any, **options: Any) -> None:
            Chosen.made += 1
            super().__init__(*arguments, **options)

    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", type(sys)("ipykernel.zmqshell"))
    monkeypatch.setattr(tqdm.auto, "tqdm", Chosen)
    monkeypatch.setattr(sys, "stderr", Terminal(False))
    compute([GOOD] * 3, progress=progress)
    assert Chosen.made == shown


def test_no_bar_without_a_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert compute([GOOD] * 3, progress=None).n_images == 3


def test_a_bar_knows_how_many_there_are_and_how_many_are_done(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpustats.progress import ProgressBar
    from gpustats.sources import open_source

    monkeypatch.setattr(sys, "stderr", Terminal(terminal=True))
    with ProgressBar(open_source(photos)) as bar:
        bar._counter.join(10)
        bar.update(7)
        bar.update(2)
        assert (bar._bar.total, bar._bar.n, bar._bar.unit) == (45, 9, " images")
        assert bar._counter.daemon
    assert bar._bar.disable, "closed"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV with two columns of images and two that could be groups."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(encoded(photo(seed=ord(name)), "PNG"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(encoded(photo(seed=9), "PNG"))
    (tmp_path / "t.csv").write_text("one,two,label,split\na.png,b.png,x,y\n")
    return tmp_path / "t.csv"


@pytest.mark.parametrize(
    ("before", "now", "named"),
    [
        ({"column": "one"}, {"column": "two"}, "column was one, now two"),
        ({"column": "one", "group": "label"}, {"column": "one", "group": "split"}, "group was label, now split"),
        ({"column": "one"}, {"column": "one", "group": "split"}, "group was not set, now split"),
        ({"column": "one"}, {"column": "one", "root": "{folder}/elsewhere"}, "root was not set, now .*/elsewhere"),
        ({"column": "one"}, {"column": "one", "max_pixels": 10**6}, "max_pixels was 512000000, now 1000000"),
        ({"column": "one"}, {"column": "one", "changed": "hash"}, "changed was mtime, now hash"),
    ],
)
def test_a_checkpoint_is_of_one_set_of_options(
    table: Path, before: dict[str, Any], now: dict[str, Any], named: str
) -> None:
    def filled(options: dict[str, Any]) -> dict[str, Any]:
        return {k: v.format(folder=table.parent) if k == "root" else v for k, v in options.items()}

    checkpoint = table.parent / "c"
    assert compute(table, checkpoint=checkpoint, **filled(before)).n_images == 1
    with pytest.raises(DataError, match=rf"this checkpoint belongs to another run: .*{named}"):
        compute(table, checkpoint=checkpoint, **filled(now))
    again = compute(table, checkpoint=checkpoint, **filled(before))
    assert again.runs[0]["checkpoint"]["images_reused"] == 1


def test_a_checkpoint_is_of_one_layout_decoder_and_definition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, checkpoint = np.zeros((4, 3, 5, 3), np.uint8), tmp_path / "c"
    compute(images, layout="NHWC", checkpoint=checkpoint)
    refused = "this checkpoint belongs to another run: "
    with pytest.raises(DataError, match=refused + "layout was NHWC, now NCHW"):
        compute(images, layout="NCHW", checkpoint=checkpoint)
    with monkeypatch.context() as patch:
        patch.setattr("gpustats.engines.cpu.decode.versions", lambda: {"pillow": "0"})
        with pytest.raises(DataError, match=refused + r'decoders was \{"image.*\}, now \{"pillow": "0"\}\. Give'):
            compute(images, layout="NHWC", checkpoint=checkpoint)
    with monkeypatch.context() as patch:
        patch.setattr("gpustats.api.Definition", lambda **_: gpustats.result.stats.Definition(transform="resize 3 box"))
        with pytest.raises(DataError, match=refused + r'definition was \{"color_order": .*, now .*"resize 3 box"'):
            compute(images, layout="NHWC", checkpoint=checkpoint)
    with monkeypatch.context() as patch:
        real = gpustats.engines.cpu.CpuEngine.report
        patch.setattr("gpustats.engines.cpu.CpuEngine.report", lambda self: real(self) | {"engine": "other"})
        with pytest.raises(DataError, match=refused + "engine was cpu, now other"):
            compute(images, layout="NHWC", checkpoint=checkpoint)
    assert compute(images, layout="NHWC", checkpoint=checkpoint).runs[0]["checkpoint"]["images_reused"] == 4


def test_failures_are_written_as_they_happen_one_ascii_line_each(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text("of an earlier run\n" * 100)
    failures = [Failure("ü\n\udce9\x1b", "corrupt", 'a "word"'), Failure("b", "missing", "")]
    with FailureFile(path) as file:
        assert path.read_bytes() == b"", "written anew"
        for count, failure in enumerate(failures, start=1):
            file.add(failure)
            lines = path.read_bytes().decode("ascii").splitlines()
            assert [Failure(**json.loads(line)) for line in lines] == failures[:count], "at once, not when it is closed"
    assert path.read_bytes().endswith(b"}\n")
    assert list(json.loads(lines[0])) == ["key", "reason", "message"]


def test_a_failure_file_that_cannot_be_opened(tmp_path: Path) -> None:
    for name, reason in [("no/where", "No such file or directory"), (".", "Is a directory"), ("a\0b", "null")]:
        with pytest.raises(DataError, match=rf": the list of failures cannot be written: .*{reason}"):
            FailureFile(os.path.join(tmp_path, name))
    with pytest.raises(DataError) as caught:
        FailureFile(tmp_path / "no\x1b" / "where")
    assert "\x1b" not in str(caught.value)


class Full:
    """A file on a full disk."""

    def write(self, text: str) -> None:
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("when", ["add", "close", "close after an error"])
def test_a_full_disk_under_the_failure_file(tmp_path: Path, when: str) -> None:
    def use() -> None:
        with FailureFile(tmp_path / "f") as file:
            file._file.close()
            file._file = Full()  # type: ignore[assignment]
            if when == "add":
                file.add(Failure("a", "corrupt", ""))
            elif when == "close after an error":
                raise RuntimeError("the first error is the one to tell")

    if when == "close after an error":
        with pytest.raises(RuntimeError, match="the first error"):
            use()
    else:
        with pytest.raises(DataError, match=r"f: the list of failures cannot be written: No space left on device"):
            use()
