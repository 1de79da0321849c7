"""Every option of the command line with a value that is allowed, and what it changes."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.decode.extras import EXTRAS
from gpustats.engines.device import gpu_problem
from gpustats.limits.interrupts import interrupt_on_terminate
from tests.command_line import Done, commands, invoke
from tests.images import encoded, photo

CASES: dict[tuple[str, str], list[str]] = {}


def case(command: str, *options: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Note that a test shows the effect of these options."""

    def note(test: Callable[..., None]) -> Callable[..., None]:
        for option in options:
            CASES.setdefault((command, option), []).append(test.__name__)
        return test

    return note


def test_every_option_has_a_case() -> None:
    have = {(command, name) for command, names in commands().items() for name in names}
    assert {("compute", "--json"), ("demo", "--count"), ("show", "file"), ("", "--version")} <= have
    without = sorted(have - set(CASES))
    assert without == [("", "--help")] * (("", "--help") in without), "write a test for what is new"
    assert sorted(set(CASES) - have) == [], "gone from the command line"


def test_options_are_told_apart_from_what_they_do_not_know() -> None:
    done = invoke("compute", ".", "--no-such-option")
    assert done.code == 2
    assert "--no-such-option" in done.err


def flat(path: Path, value: int, size: tuple[int, int] = (4, 4)) -> Path:
    """Write an image of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three good images, of 51, 102 and 153, and one bad."""
    for value in (51, 102, 153):
        flat(tmp_path / "images" / f"{value}.png", value)
    (tmp_path / "images" / "bad.jpg").write_bytes(b"no image")
    return tmp_path / "images"


def compute(*arguments: object, code: int = 0, cwd: Path | None = None) -> dict[str, Any]:
    """Run `compute ... --json -` and return the result."""
    done = invoke("compute", *arguments, "--json", "-", cwd=cwd)
    assert done.code == code, done.err
    data: dict[str, Any] = json.loads(done.out)
    return data


def mean_of(data: dict[str, Any]) -> float:
    integers = data["totals"]
    return float(integers["moments"]["sum"][0]) / int(integers["pixels"])


def last_line(done: Done) -> str:
    return done.err.splitlines()[-1]


@case("", "--version")
def test_version() -> None:
    extras = [name for module, name in EXTRAS.values() if find_spec(module) is not None]
    names = ("simplejpeg", "imagecodecs", "numpy", "pillow", *extras)
    decoders = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    assert invoke("--version") == Done(0, f"gpustats {gpustats.__version__} ({decoders})\n", "")
    assert "Usage" in invoke().out + invoke().err, "without a command: help"


@case("compute", "paths")
def test_one_path_and_several(tmp_path: Path) -> None:
    for name in "abc":
        flat(tmp_path / name / "x.png", 51)
    assert compute(tmp_path)["images"] == 3
    assert compute(tmp_path / "a", tmp_path / "c")["images"] == 2
    assert compute(tmp_path / "a" / "x.png")["images"] == 1


def test_paths_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b c.png", "ü.png"):
        flat(tmp_path / name, 51)

    def given(data: bytes, *arguments: object) -> Done:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        return invoke("compute", *arguments, "--json", "-", cwd=tmp_path)

    for data in ("a.png\nb c.png\n\nü.png\n", "a.png\r\nb c.png\r\nü.png", "a.png\0b c.png\0ü.png\0"):
        assert json.loads(given(data.encode(), "-").out)["images"] == 3
    assert json.loads(given(b"a.png\n", "-").out)["images"] == 1
    assert json.loads(given(b"a.png\n", "-", "b c.png").out)["images"] == 2
    assert given(b"\n", "-") == Done(
        1, "", "gpustats: error: standard input: there is no path in it; give one a line\n"
    )


@case("merge", "files", "--output")
def test_merge(folder: Path, tmp_path: Path) -> None:
    parts = []
    for name in ("51", "102"):
        parts.append(tmp_path / f"{name}.json")
        gpustats.compute(folder / f"{name}.png", progress=False).save(parts[-1])
    whole = gpustats.merge(map(gpustats.Stats.load, parts))
    shown = invoke("merge", *parts, cwd=tmp_path)
    assert shown == Done(0, f"{whole.to_text()}\n\n{whole.normalize_line()}\n", "")
    for option in ("--output", "-o"):
        assert invoke("merge", *parts, option, "all.json", cwd=tmp_path) == shown
        assert gpustats.Stats.load(tmp_path / "all.json") == whole
        assert gpustats.Stats.from_dict(json.loads(invoke("merge", *parts, option, "-").out)) == whole
    assert invoke("merge", parts[0]).out.startswith("gpustats.Stats\n  1 image,")
    grey = tmp_path / "grey.json"
    gpustats.compute(np.zeros((4, 4), np.uint8), progress=False).save(grey)
    differ = invoke("merge", parts[0], grey)
    assert (differ.code, differ.out) == (1, "")
    assert differ.err.startswith("gpustats: error: results of different definitions cannot be pooled")
    lost = invoke("merge", parts[0], tmp_path / "gone.json")
    assert (lost.code, lost.err.count("\n")) == (1, 1)
    assert invoke("merge").code == 2
    assert invoke("merge", parts[0], "-o", tmp_path / "no" / "x").code == 1


@case("compute", "--json")
def test_json_to_a_file_beside_the_table_and_to_standard_output_alone(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    done = invoke("compute", folder, "--json", file)
    assert done.code == 3
    assert "3 images" in done.out
    assert "Normalize(mean=[0.400000, 0.400000, 0.400000]" in done.out
    saved = json.loads(file.read_text(encoding="utf-8"))
    assert saved["images"] == 3
    piped = invoke("compute", folder, "--json", "-")
    assert json.loads(piped.out)["totals"] == saved["totals"]
    assert not Path("-").exists()
    assert "Normalize" not in piped.out
    lost = invoke("compute", folder, "--json", tmp_path / "nowhere" / "out.json")
    assert (lost.code, lost.out) == (1, "")
    assert last_line(lost).startswith(f"gpustats: error: {tmp_path / 'nowhere' / 'out.json'}: ")


@case("compute", "--verbose")
def test_what_was_decided_is_said_on_request(folder: Path) -> None:
    if gpu_problem() is None:
        pytest.skip("there is a GPU, so there is nothing to say")

    def said(*options: str) -> list[str]:
        command = [sys.executable, "-m", "gpustats", "compute", str(folder), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 3
        return [line for line in done.stderr.splitlines() if line.startswith("gpustats: computing on the CPU: ")]

    assert said() == []
    assert said("--verbose") == said("-v") == [f"gpustats: computing on the CPU: {gpu_problem()}"]


@case("doctor", "--device")
def test_the_doctor_shows_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.engines.device.gpu_problem", lambda number: f"no device {number}")
    found = {line.split("  ")[0]: line[10:].strip() for line in invoke("doctor").out.splitlines()}
    assert found["gpustats"].startswith(f"{gpustats.__version__}, Python ")
    assert found["GPU"] == "not used: no device 0"
    assert re.fullmatch(r"cpu \(\d+ threads?\)", found["device"])
    assert re.fullmatch(r"simplejpeg \S+, imagecodecs \S+, numpy \S+, pillow \S+.*", found["decoders"])
    assert re.fullmatch(r"\d+ that this process may use", found["cores"])
    assert re.fullmatch(r"\d+\.\d GiB available", found["memory"])
    assert found["parquet"].startswith("pyarrow ")
    assert "GPU" not in {line.split("  ")[0] for line in invoke("doctor", "--device", "cpu").out.splitlines()}
    lost = invoke("doctor", "--device", "cuda:7")
    assert (lost.code, last_line(lost)) == (1, "gpustats: error: --device cuda:7 cannot be used: no device 7")
    real = metadata.version

    def version(name: str) -> str:
        if name == "h5py":
            raise metadata.PackageNotFoundError
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    assert re.search(r"^hdf5 +not installed; pip install '.*\[hdf5\].*'$", invoke("doctor").out, re.MULTILINE)


@case("compute", "--device")
def test_device(folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.engines.device.gpu_problem", lambda number: f"no device {number}")
    with caplog.at_level(logging.INFO, "gpustats"):
        compute(folder, "--device", "cpu", code=3)
        assert caplog.messages == []
        compute(folder, "--device", "auto", code=3)
        assert len(caplog.messages) == 1
        compute(folder, code=3)
        assert len(caplog.messages) == 2, "auto is what is taken without the option"
    done = invoke("compute", folder, "--device", "cuda:7")
    assert done == Done(1, "", "gpustats: error: --device cuda:7 cannot be used: no device 7\n")


@case("compute", "--workers")
def test_workers(folder: Path) -> None:
    assert compute(folder, "--workers", "3", code=3)["runs"][0]["device"] == "cpu (3 threads)"
    assert compute(folder, "--workers", "1", code=3)["runs"][0]["device"] == "cpu (1 thread)"
    assert invoke("compute", folder, "--workers", "0").code == 2


@case("compute", "--statistics")
def test_statistics_one_by_one_and_separated_by_commas(folder: Path) -> None:
    def computed(*options: str) -> list[str]:
        data = compute(folder, *options, code=3)
        assert set(data["totals"]) >= set(data["definition"]["statistics"])
        return list(data["definition"]["statistics"])

    assert computed() == ["moments"]
    assert computed("--statistics", "covariance") == ["moments", "covariance"]
    both = ["moments", "histogram", "covariance"]
    assert computed("--statistics", "covariance,histogram") == both
    assert computed("--statistics", "covariance", "--statistics", "histogram") == both
    assert invoke("compute", folder, "--statistics", "mode") == Done(
        2,
        "",
        "gpustats: error: unknown statistic 'mode'; "
        "known are moments, histogram, covariance, sharpness, sizes, duplicates\n",
    )
    assert "histogram, covariance, sharpness, sizes." in " ".join(invoke("compute", "--help").out.split())


@case("compute", "--histogram-range", "--bins")
def test_histogram_range_and_bins(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[[-3.0], [0.1], [0.9], [1.0], [5.0]]], np.float32))
    options = ("--layout", "HWC", "--statistics", "histogram", "--histogram-range", "-1", "1")
    four = compute(tmp_path / "a.npy", *options, "--bins", "4")
    assert four["histogram"] == [[0, 0, 1, 2]]
    assert (four["definition"]["histogram_range"], four["definition"]["bins"]) == ([-1.0, 1.0], 4)
    assert len(compute(tmp_path / "a.npy", *options)["histogram"][0]) == 256
    assert invoke("compute", tmp_path / "a.npy", "--bins", "4") == Done(
        2, "", "gpustats: error: --bins divides a range; give --histogram-range too\n"
    )
    assert invoke("compute", tmp_path / "a.npy", *options, "--bins", "many").code == 2
    assert invoke("compute", tmp_path / "a.npy", "--histogram-range", "1").code == 2


@case("compute", "--mode")
def test_mode(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 51)).save(tmp_path / "a.png")
    found = {mode: compute(tmp_path, "--mode", mode) for mode in ("RGB", "L", "RGBA", "native")}
    assert {mode: data["definition"]["mode"] for mode, data in found.items()} == {mode: mode for mode in found}
    sums = {mode: [total // 16 for total in data["totals"]["moments"]["sum"]] for mode, data in found.items()}
    assert sums == {"RGB": [255, 0, 0], "L": [76], "RGBA": [255, 0, 0, 51], "native": [255, 0, 0, 51]}
    assert (found["RGBA"]["channels"], found["native"]["channels"]) == (list("RGBA"), list("0123"))
    assert compute(tmp_path)["totals"] == found["RGB"]["totals"]
    assert invoke("compute", tmp_path, "--mode", "rgb").code == 2


@case("compute", "--pages")
def test_pages(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), (0, 0, shade)) for shade in (0, 255)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    assert [compute(tmp_path, "--pages", which)["images"] for which in ("first", "all")] == [1, 2]
    done = invoke("compute", tmp_path, "--pages", "all", "--isolate")
    assert (done.code, "--pages all is not for --isolate" in done.err) == (2, True)


@case("compute", "--value-range")
def test_value_range(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 4095\n\x03\xff\x0f\xff")
    done = invoke("compute", tmp_path)
    assert "--value-range with the value that is 1.0 measures it as RGB; --mode native measures it" in done.err
    data = compute(tmp_path, "--value-range", "4095")
    assert (data["channels"], data["max"], data["value_range"]) == (list("RGB"), [1.0] * 3, 4095)
    assert "values divided by 4095" in invoke("compute", tmp_path, "--value-range", "4095").out
    done = invoke("compute", tmp_path, "--value-range", "2000")
    assert "unsupported: it has the value 4095, and --value-range 2,000" in done.err
    done = invoke("compute", tmp_path, "--value-range", "-1")
    assert (done.code, "--value-range should be the pixel value that is shown as 1.0" in done.err) == (2, True)


@case("compute", "--isolate")
def test_isolate(folder: Path) -> None:
    run = compute(folder, "--isolate", "--workers", "1", code=3)["runs"][0]
    assert (run["isolated"], run["device"]) == (True, "cpu (1 process)")
    assert "isolated" not in compute(folder, code=3)["runs"][0]


@case("compute", "--on-error")
def test_on_error(folder: Path) -> None:
    stopped = invoke("compute", folder, "--on-error", "raise")
    assert (stopped.code, stopped.out) == (1, "")
    assert stopped.err.startswith("gpustats: error: bad.jpg: not_an_image: ")
    assert invoke("compute", folder, "--on-error", "skip").code == 3
    assert invoke("compute", folder).code == 3
    assert invoke("compute", folder, "--on-error", "ignore").code == 2


@case("compute", "--max-failures")
@pytest.mark.parametrize(
    ("given", "stops", "shown"),
    [
        ("0", True, "0"),
        ("1", False, ""),
        ("25%", False, ""),
        ("24%", True, "24%"),
        ("24.9%", True, "24.9%"),
        ("0.25", False, ""),
        ("0.2", True, "0.2"),
        ("1.0", False, ""),
        ("100%", False, ""),
        ("0%", True, "0%"),
        ("1%", True, "1%"),
    ],
)
def test_max_failures_as_a_count_and_as_a_share(folder: Path, given: str, stops: bool, shown: str) -> None:
    """One image of four is bad."""
    done = invoke("compute", folder, "--max-failures", given, "--json", "-")
    assert done.code == (1 if stops else 3)
    if given != "0":  # a count is judged on the way, when not all of the four may have been seen
        assert json.loads(done.out)["images"] == 3, "the partial result is shown either way"
    found = re.search(rf"1 of \d images? failed, more than --max-failures {re.escape(shown)};", done.err)
    assert bool(found) == stops


@case("compute", "--sample", "--seed")
@pytest.mark.parametrize(("given", "least", "most"), [("20", 20, 20), ("50%", 10, 30), ("0.5", 10, 30)])
def test_sample_and_seed(tmp_path: Path, given: str, least: int, most: int) -> None:
    for i in range(40):
        flat(tmp_path / f"{i}.png", 5 * i)
    found = [
        json.loads(invoke("compute", tmp_path, "--sample", given, "--seed", seed, "--json", "-").out)
        for seed in ("1", "1", "2")
    ]
    assert all(least <= data["images"] <= most for data in found)
    assert found[0]["totals"] == found[1]["totals"] != found[2]["totals"]
    assert (found[0]["estimate"]["of"], found[2]["estimate"]["seed"]) == (40, 2)
    done = invoke("compute", tmp_path, "--sample", given)
    assert re.search(r"estimate from \d+ of 40 images \(seed 0\)", done.out)
    assert re.search(r"transforms.Normalize\(.*\)  # estimate from \d+ of 40 images", done.out)


@case("compute", "--tolerance")
def test_tolerance(tmp_path: Path) -> None:
    for i in range(150):
        flat(tmp_path / f"{i}.png", 100 + i % 9)
    done = invoke("compute", tmp_path, "--tolerance", "0.01")
    assert done.code == 0
    assert "estimate from 100 of 150 images (seed 0)\n  tolerance 0.01: reached" in done.out
    assert "all 150 images were read" in invoke("compute", tmp_path, "--tolerance", "1e-9").out


@pytest.mark.parametrize("given", ["many", "5 %x", "1e", "--1", "%", ""])
def test_max_failures_that_make_no_sense(folder: Path, given: str) -> None:
    done = invoke("compute", folder, f"--max-failures={given}")
    assert (done.code, done.out) == (2, "")
    message = f"--max-failures should be a count (100) or a share (0.01, 1%), got {given!r}"
    assert done.err == f"gpustats: error: {message}; see 'gpustats compute --help'\n"


@pytest.mark.parametrize("given", ["200%", "1.5", "-1", "-1%"])
def test_max_failures_out_of_range(folder: Path, given: str) -> None:
    done = invoke("compute", folder, f"--max-failures={given}")
    assert done.code == 2
    assert "--max-failures should be a count" in done.err
    assert f"got {given}\n" in done.err


@case("compute", "--column")
def test_column(tmp_path: Path) -> None:
    flat(tmp_path / "a.png", 51)
    flat(tmp_path / "b.png", 102)
    (tmp_path / "list.csv").write_text("one,two\na.png,b.png\n")
    for column, mean in (("one", 51), ("two", 102)):
        assert mean_of(compute(tmp_path / "list.csv", "--column", column)) == mean


@case("compute", "--feature")
def test_feature(tmp_path: Path) -> None:
    tfrecord = pytest.importorskip("tfrecord.writer", reason="needs tfrecord to write a file")
    writer = tfrecord.TFRecordWriter(str(tmp_path / "a.tfrecord"))
    data = [(flat(tmp_path / "x.png", value).read_bytes(), "byte") for value in (51, 102)]
    writer.write({"one": data[0], "two": data[1]})
    writer.close()
    for feature, mean in (("one", 51), ("two", 102)):
        assert mean_of(compute(tmp_path / "a.tfrecord", "--feature", feature)) == mean


@case("compute", "--group", "--changed", "--checkpoint")
def test_group_and_checkpoint_and_how_changes_are_told(tmp_path: Path) -> None:
    """The column of the group is a part of what a checkpoint is compared with."""
    flat(tmp_path / "a.png", 51)
    (tmp_path / "list.csv").write_text("path,kind,other\na.png,cat,x\n")
    command = [tmp_path / "list.csv", "--checkpoint", tmp_path / "run", "--group"]
    assert compute(*command, "kind")["runs"][0]["checkpoint"]["images_reused"] == 0
    assert compute(*command, "kind")["runs"][0]["checkpoint"]["images_reused"] == 1
    other = invoke("compute", *command, "other")
    assert other.code == 1
    assert "group" in other.err
    assert "no_such" in invoke("compute", tmp_path / "list.csv", "--group", "no_such").err


@case("compute", "--per-image")
def test_per_image(folder: Path, tmp_path: Path) -> None:
    compute(folder, "--per-image", tmp_path / "t.csv", code=3)
    head, *rows = (tmp_path / "t.csv").read_text().splitlines()
    assert head.startswith("key,group,height,width,bytes,format,mode,n_R,")
    assert sorted(row.split(",")[0] for row in rows) == ["102.png", "153.png", "51.png", "bad.jpg"]
    assert invoke("compute", folder, "--per-image", tmp_path / "no" / "t.csv").code == 1


@case("outliers", "file", "-k")
def test_outliers(folder: Path, tmp_path: Path) -> None:
    flat(folder / ("long" * 30) / "x.png", 7)
    invoke("compute", folder, "--per-image", tmp_path / "t.csv", "--statistics", "sharpness,covariance")
    found = {k: invoke("outliers", tmp_path / "t.csv", "-k", k) for k in (1, 2)}
    assert [done.code for done in found.values()] == [0, 0]
    lines = found[1].out.splitlines()
    assert all(len(line) <= 80 for done in found.values() for line in done.out.splitlines())
    assert lines[lines.index("  brightest (average of the channels' means)") + 1].split() == ["0.6", "153.png"]
    darkest = lines[lines.index("  darkest (average of the channels' means)") + 1]
    assert len(darkest) == 80
    assert darkest.endswith("longlong/x.png")
    for name in ("blurriest", "most colorful", "fewest bytes", "widest"):
        assert f"\n  {name} (" in found[1].out
    assert len(found[2].out.splitlines()) > len(lines)
    assert invoke("outliers", tmp_path / "t.csv", "-k", "0").code == 2
    lost = invoke("outliers", tmp_path / "no.parquet")
    assert (lost.code, lost.err.count("\n")) == (1, 1)


@case("compute", "--duplicates")
def test_duplicates(folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "51.png").read_bytes())
    assert compute(folder, "--duplicates", code=3)["duplicates"]["listed"] == [
        {"images": 2, "keys": ["51.png", "copy.png"]}
    ]
    assert "duplicates" not in compute(folder, code=3)


@case("compute", "--group-by")
def test_group_by(tmp_path: Path) -> None:
    for name, value in (("a", 51), ("b", 102)):
        flat(tmp_path / "set" / name / "x.png", value)
    (tmp_path / "list.csv").write_text("path,kind\nset/a/x.png,cat\nset/b/x.png,dog\n")

    def groups(*arguments: object) -> dict[str, float]:
        return {name: mean_of(group) for name, group in compute(*arguments)["groups"]["groups"].items()}

    assert groups(tmp_path / "set", "--group-by", "folder") == {"a": 51, "b": 102}
    assert groups(tmp_path / "list.csv", "--group-by", "kind") == {"cat": 51, "dog": 102}
    assert "groups" not in compute(tmp_path / "set")
    assert "\n  group by folder " in invoke("compute", tmp_path / "set", "--group-by", "folder").out


def test_a_touched_file_is_read_again_by_mtime_and_not_by_its_content(tmp_path: Path) -> None:
    image = flat(tmp_path / "images" / "a.png", 51)

    def reused(*options: str) -> int:
        command = [tmp_path / "images", "--checkpoint", tmp_path / ("run" + "".join(options)), *options]
        compute(*command)
        os.utime(image, (1, os.stat(image).st_mtime + 60))
        return int(compute(*command)["runs"][0]["checkpoint"]["images_reused"])

    assert reused() == reused("--changed", "mtime") == 0
    assert reused("--changed", "hash") == 1


@case("compute", "--suffixes")
@case("inspect", "--suffixes")
def test_suffixes(tmp_path: Path) -> None:
    flat(tmp_path / "a.png", 51)
    flat(tmp_path / "a.bmp", 102)
    (tmp_path / "list.txt").write_text("a\n")
    for suffix, mean in ((".png", 51), (".gif,.bmp", 102)):
        assert mean_of(compute(tmp_path / "list.txt", "--suffixes", suffix)) == mean
        assert inspected(tmp_path / "list.txt", "--suffixes", suffix)["images"] == 1
    assert invoke("compute", tmp_path / "list.txt").code == 1


@case("compute", "--root")
def test_root(tmp_path: Path) -> None:
    flat(tmp_path / "one" / "a.png", 51)
    flat(tmp_path / "two" / "a.png", 102)
    (tmp_path / "list.txt").write_text("a.png\n")
    for root, mean in (("one", 51), ("two", 102)):
        assert mean_of(compute(tmp_path / "list.txt", "--root", tmp_path / root)) == mean


@case("compute", "--layout")
def test_layout(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 4, 3), np.uint8))
    for layout, channels, size in (("HWC", 3, (3, 4)), ("CHW", 3, (4, 3)), ("NHW", 1, (4, 3))):
        integers = compute(tmp_path / "a.npy", "--layout", layout)["totals"]
        assert len(integers["moments"]["sum"]) == channels
        assert (integers["height_max"], integers["width_max"]) == size


@case("compute", "--repeats")
def test_repeats(tmp_path: Path) -> None:
    flat(tmp_path / "a" / "51.png", 51)
    flat(tmp_path / "102.png", 102)
    paths = [tmp_path, tmp_path / "a"]
    once = compute(*paths)
    assert (once["images"], once["skipped"], mean_of(once)) == (2, {"repeated": 1}, 76.5)
    assert compute(*paths, "--repeats", "once")["totals"] == once["totals"]
    counted = compute(*paths, "--repeats", "count")
    assert (counted["images"], counted["skipped"], mean_of(counted)) == (3, {}, 68)
    assert "1 named again" in invoke("compute", *paths).out


@case("compute", "--color-order")
def test_color_order(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((6, 4, 3), np.uint8))
    data = compute(tmp_path / "a.npy", "--color-order", "BGR")
    assert (data["channels"], data["definition"]["color_order"]) == (["B", "G", "R"], "BGR")
    assert compute(tmp_path / "a.npy")["channels"] == ["R", "G", "B"]
    wrong = invoke("compute", tmp_path / "a.npy", "--color-order", "L")
    assert (wrong.code, wrong.err) == (1, "gpustats: error: --color-order L does not fit images of 3 channels\n")
    assert invoke("compute", tmp_path / "a.npy", "--color-order", "BB").code == 2


@case("compute", "--storage-option")
def test_storage_options_reach_the_file_system_by_name_and_type(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def stop(data: object, **options: Any) -> gpustats.Stats:
        given.append(options["storage_options"])
        raise gpustats.DataError("seen")

    monkeypatch.setattr("gpustats.compute", stop)
    options = ["anon=true", "n=3", "text=a=b", "empty=", 'deep={"x": [1]}', "host=http://x:1", "number=1.50"]
    assert invoke("compute", "s3://x", *(word for o in options for word in ("--storage-option", o))).err == (
        "gpustats: error: seen\n"
    )
    invoke("compute", "s3://x")
    assert given == [
        {"anon": True, "n": 3, "text": "a=b", "empty": "", "deep": {"x": [1]}, "host": "http://x:1", "number": 1.5},
        None,
    ]
    for bad, shown in (("anon", "anon"), ("=secret", "")):
        done = invoke("compute", "s3://x", "--storage-option", bad)
        assert done.code == 2
        assert done.err.startswith(f"gpustats: error: --storage-option should be NAME=VALUE, got {shown!r};")
        assert "secret" not in done.err


@case("compute", "--failures")
def test_failures(folder: Path, tmp_path: Path) -> None:
    compute(folder, "--failures", tmp_path / "bad.jsonl", code=3)
    [line] = (tmp_path / "bad.jsonl").read_text().splitlines()
    assert json.loads(line)["key"] == "bad.jpg"


@case("compute", "--max-pixels")
def test_max_pixels(tmp_path: Path) -> None:
    flat(tmp_path / "a.png", 51, (4, 4))
    flat(tmp_path / "b.png", 51, (4, 5))
    assert compute(tmp_path, "--max-pixels", "20")["images"] == 2
    data = compute(tmp_path, "--max-pixels", "19", code=3)
    assert (data["images"], data["failures"]["by_reason"]) == (1, {"too_large": 1})
    assert compute(tmp_path)["images"] == 2
    assert invoke("compute", tmp_path, "--max-pixels", "0").code == 2


@case("compute", "--memory")
def test_memory(tmp_path: Path) -> None:
    flat(tmp_path / "a.png", 51)
    with (tmp_path / "b.jpg").open("wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(100 << 20)
    limited = compute(tmp_path, "--memory", "128MiB", code=3)
    assert limited["failures"]["by_reason"] == {"too_large": 1}
    done = invoke("compute", tmp_path, "--memory", "lots")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("gpustats: error: --memory should be at least 64 MiB")


@case("compute", "--quiet")
def test_quiet(folder: Path) -> None:
    loud, quiet, short = (invoke("compute", folder, *options) for options in ([], ["--quiet"], ["-q"]))
    assert loud.err.startswith("gpustats: failed: bad.jpg: not_an_image: ")
    assert (quiet.err, short.err) == ("", "")
    assert quiet.code == short.code == loud.code == 3
    assert "Normalize" in quiet.out
    errors = invoke("compute", folder, "--quiet", "--max-failures", "0")
    assert re.match(r"gpustats: error: 1 of \d images? failed", errors.err), "an error is told all the same"


def test_twenty_failures_are_listed(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i:02d}.jpg").write_bytes(b"")
    flat(tmp_path / "good.png", 51)
    done = invoke("compute", tmp_path)
    assert [line.split(":")[2] for line in done.err.splitlines()] == [f" {i:02d}.jpg" for i in range(20)]
    assert "00.jpg" not in done.out, "a failure is listed once"
    (tmp_path / "20.jpg").write_bytes(b"")
    more = invoke("compute", tmp_path).err.splitlines()
    assert len(more) == 21
    assert more[-1] == "gpustats: ... and 1 more; --failures FILE lists them"


def test_an_interrupt_shows_what_there_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = gpustats.compute(folder / "51.png", progress=False)

    def interrupted(*arguments: object, **options: object) -> gpustats.Stats:
        raise gpustats.Interrupted(partial)

    monkeypatch.setattr("gpustats.compute", interrupted)
    done = invoke("compute", folder, "--quiet")
    assert done.code == 130
    assert done.err == "gpustats: interrupted: the numbers are those of the images read so far\n"
    assert "1 image," in done.out


@case("show", "file")
def test_show(folder: Path, tmp_path: Path) -> None:
    stats = gpustats.compute(folder / "51.png", progress=False)
    stats.save(tmp_path / "stats.json")
    done = invoke("show", tmp_path / "stats.json")
    assert (done.code, done.err) == (0, "")
    mean, std = (", ".join([number] * 3) for number in ("0.200000", "0.000000"))
    assert done.out == f"{stats!r}\n\ntransforms.Normalize(mean=[{mean}], std=[{std}])\n"
    stats.scaled(255).save(tmp_path / "scaled.json")
    scaled = invoke("show", tmp_path / "scaled.json").out
    assert "values on [0, 255]" in scaled
    assert scaled.splitlines()[-1] == done.out.splitlines()[-1], "the line to paste is for values on [0, 1]"
    (tmp_path / "bad.json").write_text("{")
    bad = invoke("show", tmp_path / "bad.json")
    assert (bad.code, bad.out) == (1, "")
    assert bad.err.startswith(f"gpustats: error: {tmp_path / 'bad.json'}: ")


@case("demo", "folder", "--count", "--workers", "--quiet")
def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = invoke("demo", "few", "--count", "3", cwd=tmp_path)
    assert done.code == 0
    assert done.err == "gpustats: writing 3 synthetic JPEGs into few\n"
    assert sorted(p.name for p in (tmp_path / "few").rglob("*.jpg")) == [f"image_{i:05d}.jpg" for i in range(3)]
    assert "3 images" in done.out
    workers: list[Any] = []
    real = gpustats.compute

    def noted(data: object, **options: Any) -> gpustats.Stats:
        workers.append((options["workers"], options["progress"]))
        return real(data, **options)

    monkeypatch.setattr("gpustats.compute", noted)
    again = invoke("demo", "few", "--workers", "2", cwd=tmp_path)
    assert again.err == "gpustats: few exists: computing what is in it\n"
    quiet = invoke("demo", "few", "--quiet", cwd=tmp_path)
    assert (quiet.code, quiet.err) == (0, "")
    assert workers == [(2, None), (None, False)]
    assert "(2 threads)" in again.out
    (tmp_path / "file").write_bytes(b"")
    lost = invoke("demo", "file/folder", "--count", "1", "-q", cwd=tmp_path)
    assert (lost.code, lost.out) == (1, "")
    assert lost.err == "gpustats: error: file/folder: cannot be written: Not a directory\n"
    assert invoke("demo", "few", "--count", "0", cwd=tmp_path).code == 2


def test_demo_has_a_folder_and_a_number_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def write(folder: Path, count: int) -> None:
        asked.append((str(folder), count))
        flat(folder / "a.png", 51)

    monkeypatch.setattr("gpustats.datasets.demo.write_images", write)
    assert invoke("demo", cwd=tmp_path).code == 0
    assert asked == [("gpustats-demo", 300)]


def test_progress_is_shown_where_there_is_a_terminal_unless_quiet(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress: list[Any] = []

    def noted(data: object, **options: Any) -> gpustats.Stats:
        progress.append(options["progress"])
        raise gpustats.DataError("seen")

    monkeypatch.setattr("gpustats.compute", noted)
    invoke("compute", folder)
    invoke("compute", folder, "--quiet")
    assert progress == [None, False]


def test_warnings_of_libraries_go_to_the_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def warned(data: object, **options: Any) -> gpustats.Stats:
        warnings.warn("of a library", stacklevel=1)
        raise gpustats.DataError("seen")

    monkeypatch.setattr("gpustats.compute", warned)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert invoke("compute", folder) == Done(1, "", "gpustats: error: seen\n")
    assert [record.name for record in caplog.records] == ["py.warnings"]
    assert "of a library" in caplog.text
    with pytest.warns(UserWarning, match="later"):  # the program's own way is back
        warnings.warn("later", stacklevel=1)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process at once on Windows")
def test_sigterm_does_what_the_handler_of_ctrl_c_does() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    calls: list[int] = []
    try:
        interrupt_on_terminate()
        signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            pytest.fail("the handler was not called")
        assert calls == [signal.SIGINT]
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what a shell gives a job in the background
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_names_that_the_terminal_cannot_show_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "ü☃.jpg").write_bytes(encoded(photo())[:200])
    assert "ü☃.jpg: truncated" in invoke("compute", tmp_path).err


@case("compute", "--resize", "--crop", "--crop-pct", "--interpolation", "--recipe")
def test_resize_and_crop(tmp_path: Path) -> None:
    photo(300, 400).save(tmp_path / "a.png")

    def done(*options: object) -> str:
        data = compute(tmp_path / "a.png", *options)
        transform: str = data["definition"]["transform"]
        return f"{transform}: {data['totals']['height_min']}x{data['totals']['width_min']}"

    assert done() == "none: 300x400"
    assert done("--resize", 30) == "resize 30 bilinear: 30x40"
    assert done("--resize", "30x30", "--interpolation", "lanczos") == "resize 30x30 lanczos: 30x30"
    assert done("--crop", "10x20") == "center crop 10x20: 10x20"
    assert done("--crop", 45, "--crop-pct", 0.9) == "resize 50 bilinear, center crop 45x45: 45x45"
    assert done("--recipe", "clip") == "resize 224 bicubic, center crop 224x224: 224x224"


@case("compute", "--fast")
def test_fast(tmp_path: Path) -> None:
    photo(300, 400).save(tmp_path / "a.jpg")
    whole, fast = (compute(tmp_path, "--resize", 30, *options) for options in ([], ["--fast"]))
    assert fast["definition"]["transform"] == f"JPEG at reduced scale, {whole['definition']['transform']}"
    assert fast["totals"]["moments"] != whole["totals"]["moments"]
    done = invoke("compute", tmp_path, "--fast")
    assert done.code == 2
    assert "--fast decodes JPEGs at a scale near that of a resize; give --resize, too" in done.err


@pytest.mark.parametrize("given", ["3x", "x3", "1x2x3", "-4", "big", "2.5"])
def test_sizes_that_are_none(folder: Path, given: str) -> None:
    done = invoke("compute", folder, f"--resize={given}")
    assert done.code == 2
    assert "--resize" in done.err
    assert "256x512" in done.err


@case("compute", "--kinds")
def test_kinds(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    photo().convert("L").save(tmp_path / "b.png")
    assert "the images differ" in invoke("compute", tmp_path, "--mode", "native", "--kinds", "one").err
    data = compute(tmp_path, "--mode", "native", "--kinds", "separate")
    assert {name: kind["images"] for name, kind in data["kinds"].items()} == {"uint8 x 1": 1, "uint8 x 3": 1}


@case("compute", "--exif")
def test_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a.jpg").write_bytes(encoded(photo(20, 30), exif=exif))
    assert [compute(tmp_path, "--exif", how)["totals"]["height_min"] for how in ("ignore", "turn")] == [20, 30]


@case("compute", "--nodata")
def test_nodata(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 3), 51, np.uint8)
    pixels[0] = 0
    pixels[1, :, 0] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert compute(tmp_path, "--nodata=0")["mean"] == [0.2] * 3
    assert compute(tmp_path, "--nodata", "tag")["mean"] == [0.1, 0.15, 0.15], "a PNG has no such tag"
    assert compute(tmp_path, "--nodata", "0,0,0")["mean"] == [0.2 * 8 / 12, 0.2, 0.2]
    assert compute(tmp_path)["mean"] == [0.1, 0.15, 0.15]
    done = invoke("compute", tmp_path, "--nodata=black")
    assert (done.code, "0,0,0" in done.err) == (2, True)


@case("compute", "--alpha", "--mask")
def test_pixels_that_are_left_out(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 4), 51, np.uint8)
    pixels[0] = 0
    (tmp_path / "data").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(pixels).save(tmp_path / "data" / "a.png")
    Image.fromarray(np.repeat(np.array([[255], [0], [0], [1]], np.uint8), 4, axis=1)).save(tmp_path / "masks" / "a.png")
    assert compute(tmp_path / "data")["mean"] == [0.15] * 3
    assert compute(tmp_path / "data", "--alpha", "mask")["mean"] == [0.2] * 3
    assert compute(tmp_path / "data", "--mask", tmp_path / "masks")["mean"] == [0.1] * 3
    done = invoke("compute", tmp_path / "data", "--mask", tmp_path / "gone")
    assert (done.code, "gone: there is no such folder" in done.err) == (1, True)


@case("compute", "--for", "--bgr", "--scale", "--format")
def test_the_text_to_paste_and_the_form_of_the_table(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.jpg").unlink()
    Image.new("RGB", (4, 4), (0, 51, 204)).save(folder / "blue.png")
    stats = gpustats.compute(folder, progress=False)

    def pasted(*options: str) -> str:
        done = invoke("compute", folder, *options)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(repr(stats.scaled(255 if "--scale" in options else 1)))
        return done.out.partition("largest value\n\n")[2].removesuffix("\n")

    assert pasted().startswith("transforms.Normalize(mean=[0.3"), "one line, without --for"
    assert pasted("--for", "detectron2") == stats.export("detectron2")
    assert pasted("--for", "jax", "--bgr") == stats.export("jax", bgr=True)
    assert pasted("--scale", "255") == stats.export("torchvision", scale=255)
    assert pasted("--bgr") == stats.export("torchvision", bgr=True)

    printed = {form: invoke("compute", folder, "--format", form) for form in ("text", "json", "csv", "markdown")}
    assert {done.code for done in printed.values()} == {0}
    assert printed["text"].out == invoke("compute", folder).out
    assert json.loads(printed["json"].out)["totals"] == stats.totals.to_dict()
    assert "\nmean,0.3" in printed["csv"].out
    assert "\n| `mean` | 0.3" in printed["markdown"].out
    scaled = invoke("compute", folder, "--format", "csv", "--scale", "255", "--json", tmp_path / "s.json")
    assert "values on [0, 255]" in scaled.out
    assert gpustats.Stats.load(tmp_path / "s.json").scale == 255


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--for", "kera"], "there is no export 'kera'. Did you mean 'keras'?"),
        (["--scale", "0"], "scale should be a positive number such as 255, got 0.0"),
        (
            ["--for", "keras", "--format", "csv"],
            "--for is about the text to paste, which is printed with --format text",
        ),
        (["--bgr", "--json", "-"], "--bgr is about the text to paste, which is printed with --format text only"),
        (["--json", "-", "--format", "csv"], "--json - and --format csv both write to standard output; choose one"),
    ],
)
def test_options_of_what_is_printed_that_make_no_sense(folder: Path, options: list[str], message: str) -> None:
    """They are found before anything is read."""
    (folder / "bad.jpg").unlink()
    done = invoke("compute", folder, *options)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"gpustats: error: {message}")


def test_a_text_that_cannot_be_written_leaves_the_table(folder: Path) -> None:
    done = invoke("compute", folder / "51.png", "--for", "keras")
    assert done.code == 1
    assert "1 image," in done.out
    assert done.err == "gpustats: error: channel R is constant (std 0): nothing can be divided by its std\n"


@case("export", "file", "--for", "--scale", "--bgr")
def test_export(folder: Path, tmp_path: Path) -> None:
    stats = gpustats.compute(folder / "51.png", progress=False) + gpustats.compute(folder / "102.png", progress=False)
    file = tmp_path / "stats.json"
    stats.save(file)
    for options, expected in [
        (["keras"], stats.export("keras")),
        (["plain", "--scale", "255"], stats.export("plain", scale=255)),
        (["plain", "--bgr"], stats.export("plain", bgr=True)),
    ]:
        assert invoke("export", file, "--for", *options) == Done(0, expected + "\n", "")
    assert invoke("export", file).code == 2, "without --for"
    for options, message in [
        (["--for", "keas"], "there is no export 'keas'. Did you mean 'keras'?"),
        (["--for", "timm", "--bgr"], "timm is for RGB images with values on [0, 1]"),
    ]:
        done = invoke("export", file, *options)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"gpustats: error: {message}")
    lost = invoke("export", tmp_path / "none.json", "--for", "keras")
    assert (lost.code, last_line(lost)) == (
        1,
        f"gpustats: error: {tmp_path / 'none.json'}: cannot be read: No such file or directory",
    )
    listed = invoke("export", "--help").out
    for name, export in gpustats.EXPORTS.items():
        assert f"  {name:<16}{export.what}\n" in listed


@case("compare", "a", "b", "--json", "--fail-above")
def test_compare(folder: Path, tmp_path: Path) -> None:
    first = gpustats.compute([folder / "51.png", folder / "102.png"], progress=False)
    second = gpustats.compute([folder / "102.png", folder / "153.png"], progress=False)
    for name, stats in (("a.json", first), ("b.json", second)):
        stats.save(tmp_path / name)
    found = gpustats.compare(first, second)
    done = invoke("compare", "a.json", "b.json", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("gpustats.Comparison\n  a: a.json\n  b: b.json\n")
    assert "what the network sees of a" in done.out
    assert "  frozen: Normalize with the numbers of b.json" in done.out
    piped = invoke("compare", "a.json", "b.json", "--json", "-", cwd=tmp_path)
    assert json.loads(piped.out)["seen_mean"] == found.seen_mean.tolist()
    beside = invoke("compare", "a.json", "b.json", "--json", "c.json", cwd=tmp_path)
    assert beside.out == done.out
    assert json.loads((tmp_path / "c.json").read_text()) == json.loads(piped.out)
    assert "imagenet" in invoke("compare", "--help").out
    assert found.shift == 2
    for limit, code in (("1.99", 4), ("2", 0), ("2.1", 0)):
        judged = invoke("compare", "a.json", "b.json", "--fail-above", limit, cwd=tmp_path)
        assert judged.code == code
        assert judged.out == done.out
        assert judged.err == ("gpustats: the shift of 2 is above --fail-above 1.99\n" if code else "")
    assert invoke("compare", "a.json", "imagenet", "--fail-above", "0.01", cwd=tmp_path).code == 4
    assert invoke("compare", "a.json", "b.json", "--fail-above", "-1", cwd=tmp_path).code == 2
    for arguments, message in [
        (["a.json", "inception", "--fail-above", "1"], "--fail-above has nothing to judge: there is no shift between"),
        (["a.json", "imagenet", "--fail-above", "nan"], "--fail-above should be a number such as 0.5, got nan"),
        (["a.json", "imagnet"], "there is no preset and no file 'imagnet'. Did you mean 'imagenet'?"),
        (["none.json", "imagenet"], "none.json: cannot be read: No such file or directory"),
        (["a.json", "mnist"], "a.json has 3 channels (R, G, B), mnist has 1 channel (L)"),
        (["a.json", "b.json", "--json", "nowhere/x.json"], "nowhere/x.json: cannot be written: No such file"),
    ]:
        lost = invoke("compare", *arguments, cwd=tmp_path)
        assert lost.code == 1
        assert lost.err.startswith(f"gpustats: error: {message}")


@case("verify", "path", "--dataset", "--column", "--workers", "--quiet")
def test_verify(folder: Path) -> None:
    """What its options do is shown in tests/answers/test_verify.py, on datasets that can be verified."""
    assert "15 of 15 values agree" in invoke("verify").out
    loud = invoke("verify", folder / "51.png", "--quiet", "--workers", "1")
    assert (loud.code, loud.out) == (1, "")
    assert "1 images of 4-4 x 4-4 (3 channels of 8 bits) are not the training images of CIFAR-10" in loud.err
    assert "option for" in invoke("verify", folder, "--column", "x").err
    assert invoke("verify", "--workers", "0").code == 2


@case("inspect", "paths", "--json", "--quiet")
def test_inspect(folder: Path, tmp_path: Path) -> None:
    found = inspected(folder / "51.png")
    assert (found["images"], found["complete"]) == (1, True)
    assert "first 1 " in invoke("inspect", folder / "51.png").out
    (tmp_path / "bad").mkdir()
    flat(tmp_path / "bad" / "a.png", 1)
    (tmp_path / "bad" / "b.png").write_bytes(b"no image")
    assert [invoke("inspect", tmp_path / "bad", *more).err == "" for more in ([], ["--quiet"])] == [False, True]


def inspected(*arguments: object) -> Any:
    done = invoke("inspect", *arguments, "--json", "-")
    assert done.code == 0, done.err
    return json.loads(done.out)


@case("inspect", "--seconds")
def test_inspect_for_some_seconds(tmp_path: Path) -> None:
    for number in range(200):
        flat(tmp_path / f"{number:03d}.png", 1)
    assert inspected(tmp_path)["complete"]
    assert not inspected(tmp_path, "--seconds", "1e-9")["complete"]


@case("inspect", "--max-pixels")
def test_inspect_within_a_limit(folder: Path, tmp_path: Path) -> None:
    flat(tmp_path / "small.png", 1)
    flat(tmp_path / "large.png", 1, (40, 40))
    assert invoke("inspect", tmp_path, "--max-pixels", 100).code == 3


@case("inspect", "--column", "--group", "--group-by", "--root", "--repeats")
def test_inspect_a_table(tmp_path: Path) -> None:
    for name in ("one/a.png", "two/b.png"):
        flat(tmp_path / name, 1)
    (tmp_path / "t.csv").write_text("path,other,kind\na.png,b.png,x\na.png,b.png,x\n")
    table = tmp_path / "t.csv"
    assert inspected(table, "--root", tmp_path / "one", "--group", "kind")["groups"] == {"x": 1}
    assert inspected(table, "--root", tmp_path / "two", "--column", "other")["images_from"] == {"column 'other'": 1}
    assert inspected(table, "--root", tmp_path / "one", "--repeats", "count")["images"] == 2
    assert inspected(table, "--root", tmp_path / "one", "--group-by", "kind")["group_from"] == "kind"


@case("inspect", "--layout", "--color-order")
def test_inspect_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((5, 3, 4, 3), np.uint8))
    assert invoke("inspect", tmp_path / "x.npy").code == 1
    found = inspected(tmp_path / "x.npy", "--layout", "NCHW", "--color-order", "BGR")
    assert (found["images"], found["sizes"][0]) == (5, [4, 3])
    assert invoke("inspect", tmp_path / "x.npy", "--color-order", "BB").code == 2


@case("inspect", "--feature", "--storage-option")
def test_inspect_refuses_options_without_a_use(folder: Path) -> None:
    for option, value in (("--feature", "x"), ("--storage-option", "anon=true")):
        done = invoke("inspect", folder, option, value)
        assert (done.code, f"{option} is an option for" in done.err) == (1, True)
