"""Results are never lost: where they are written, what is replaced, and what is noticed when they are read."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.result.saving import check_target, descriptor_of, write_text
from tests.command_line import invoke

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "one.png"
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(path)
    return path


@pytest.fixture(scope="module")
def stats(image: Path) -> gpustats.Stats:
    return gpustats.compute(image, progress=False)


def shell(command: str, image: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `$run` computes the image."""
    script = f'run() {{ "{sys.executable}" -m gpustats "$@"; }}; image="{image}"; {command}'
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


def test_a_file_is_written_whole_and_nothing_is_left_beside_it(stats: gpustats.Stats, tmp_path: Path) -> None:
    stats.save(tmp_path / "a.json")
    stats.save(tmp_path / "a.json")
    assert os.listdir(tmp_path) == ["a.json"]
    assert gpustats.Stats.load(tmp_path / "a.json").totals == stats.totals
    long = tmp_path / ("n" * 250 + ".json")
    stats.save(long)
    assert gpustats.Stats.load(long).totals == stats.totals


@POSIX
def test_the_mode_of_a_file_is_kept_and_a_new_one_follows_the_umask(stats: gpustats.Stats, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    before = os.umask(0o027)
    try:
        stats.save(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    file.chmod(0o604)
    stats.save(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o604


@POSIX
def test_links_are_followed(stats: gpustats.Stats, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real/a.json")
    (tmp_path / "new.json").symlink_to("real/b.json")
    for name in ("link.json", "new.json"):
        stats.save(tmp_path / name)
        assert (tmp_path / name).is_symlink()
    assert sorted(os.listdir(tmp_path / "real")) == ["a.json", "b.json"]
    assert gpustats.Stats.load(tmp_path / "real/a.json").totals == stats.totals


@POSIX
def test_a_named_pipe_stays_one(stats: gpustats.Stats, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_target(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    stats.save(pipe)
    reader.join(30)
    assert json.loads(read[0])["images"] == 1
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@FULL
def test_a_device_stays_one(stats: gpustats.Stats, tmp_path: Path) -> None:
    before = os.stat("/dev/null")
    stats.save("/dev/null")
    (tmp_path / "null").symlink_to("/dev/null")
    stats.save(tmp_path / "null")
    assert os.stat("/dev/null") == before
    with pytest.raises(gpustats.DataError, match=r"^/dev/full: cannot be written: No space left on device$"):
        stats.save("/dev/full")


@POSIX
def test_open_descriptors(tmp_path: Path) -> None:
    assert descriptor_of("/dev/fd/7") == 7
    assert descriptor_of("/proc/self/fd/12") == descriptor_of(f"/proc/{os.getpid()}/fd/12") == 12
    assert descriptor_of(f"/proc/{os.getpid() + 1}/fd/12") is None
    assert descriptor_of(str(tmp_path)) is descriptor_of("fd/7") is None
    (tmp_path / "out").symlink_to("/dev/fd/7")
    assert descriptor_of(str(tmp_path / "out")) == 7
    (tmp_path / "loop").symlink_to("loop")
    assert descriptor_of(str(tmp_path / "loop")) is None


@POSIX
def test_open_descriptors_share_their_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "file", "w") as file:
        monkeypatch.setattr("sys.stdout", file)
        file.write("before ")
        write_text(f"/dev/fd/{file.fileno()}", lambda: ["te", "xt "])
        file.write("after")
    assert (tmp_path / "file").read_text() == "before text after"


@POSIX
@pytest.mark.parametrize("shape", ["--json /dev/stdout > out", "--json /dev/stdout | cat > out"])
def test_standard_output_holds_the_json_alone(image: Path, tmp_path: Path, shape: str) -> None:
    done = shell(f"run compute $image {shape}", image, tmp_path)
    assert done.stderr == ""
    assert json.loads((tmp_path / "out").read_text())["images"] == 1


@POSIX
def test_process_substitution(image: Path, tmp_path: Path) -> None:
    done = shell("run compute $image --json >(cat > out); wait $!; sleep 0.1", image, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Normalize" in done.stdout
    assert json.loads((tmp_path / "out").read_text())["images"] == 1


@FULL
@pytest.mark.parametrize("command", ["compute $image --json -", "--help", "show stats.json"])
def test_a_full_disk_under_standard_output_is_one_line(
    image: Path, stats: gpustats.Stats, tmp_path: Path, command: str
) -> None:
    stats.save(tmp_path / "stats.json")
    done = shell(f"run {command} > /dev/full", image, tmp_path)
    assert done.returncode == 1
    assert done.stderr == "gpustats: error: standard output cannot be written: No space left on device\n"


@POSIX
def test_a_reader_that_has_gone_is_no_error(image: Path, tmp_path: Path) -> None:
    done = shell("run --help | true; echo ${PIPESTATUS[0]}", image, tmp_path)
    assert done.stdout in ("0\n", "1\n")
    assert done.stderr == ""


@FULL
def test_what_cannot_be_saved_is_printed(image: Path) -> None:
    done = invoke("compute", image, "--json", "/dev/full")
    assert done.code == 1
    assert "Normalize" in done.out
    assert done.err == "gpustats: error: /dev/full: cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere/x.json", "there is no folder nowhere"),
        ("folder", "it is a folder; give the name of a file"),
        ("new/", "it is a folder; give the name of a file"),
        ("file/x.json", "there is no folder file"),
        ("", "the path is empty"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_path_that_cannot_be_written_is_found_before_the_run(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, reason: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("gpustats.compute", lambda *arguments, **options: pytest.fail("it ran"))
    done = invoke("compute", image, "--json", path, cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    shown = path or "''"
    assert done.err == f"gpustats: error: {shown}: cannot be written: {reason}\n"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_what_may_not_be_written(stats: gpustats.Stats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.json"
    file.write_text("old")
    monkeypatch.setattr("gpustats.result.saving.os.access", lambda path, mode: False)
    for write in (check_target, stats.save):
        with pytest.raises(gpustats.DataError, match="cannot be written: Permission denied"):
            write(file)
    assert file.read_text() == "old"


@pytest.mark.parametrize("number", ["EACCES", "EROFS", "EBUSY"])
def test_a_file_in_a_closed_folder_is_written_in_place(
    stats: gpustats.Stats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(getattr(errno, number), "no")

    monkeypatch.setattr("gpustats.result.saving.os.replace", refuse)
    file = tmp_path / "a.json"
    with pytest.raises(gpustats.DataError, match="cannot be written: no"):
        stats.save(file)
    file.write_text("old")
    stats.save(file)
    assert os.listdir(tmp_path) == ["a.json"]
    assert gpustats.Stats.load(file).totals == stats.totals


def test_a_failed_replacement_leaves_the_old_file_alone(
    stats: gpustats.Stats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.json"
    file.write_text("old")

    def refuse(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gpustats.result.saving.os.fsync", refuse)
    with pytest.raises(gpustats.DataError, match="No space left"):
        stats.save(file)
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def large() -> gpustats.Stats:
    """A result with integers above 2**53."""
    stats = replace(gpustats.compute(np.full((8, 8, 3), 65533, np.uint16), progress=False), runs=())
    for _ in range(20):
        stats = stats + stats
    stats += gpustats.compute(np.full((6, 5, 3), 777, np.uint16), progress=False)
    assert stats.totals["moments"]["sumsq"][0] > 1 << 53
    return stats


def test_integers_that_were_rounded_are_noticed(tmp_path: Path) -> None:
    stats = large()
    data = stats.to_dict()
    assert gpustats.Stats.from_dict(json.loads(json.dumps(data))).totals == stats.totals
    rounded = json.loads(json.dumps(data), parse_int=lambda digits: int(float(digits)))
    assert rounded != data
    with pytest.raises(gpustats.DataError, match=r"do not fit their checksum: .* rounds integers above 2\*\*53"):
        gpustats.Stats.from_dict(rounded)
    floats = json.loads(json.dumps(data), parse_int=lambda digits: float(digits) if len(digits) > 16 else int(digits))
    with pytest.raises(gpustats.DataError, match="by a program that rounds integers"):
        gpustats.Stats.from_dict(floats)


def test_a_file_that_another_program_wrote_again_without_a_change_is_read(tmp_path: Path) -> None:
    for stats in (large(), gpustats.compute(np.full((5, 6, 3), 0.5), progress=False), gpustats.Stats()):
        data = stats.to_dict()
        again = json.loads(json.dumps(dict(reversed(data.items())), indent=4, sort_keys=True))
        assert gpustats.Stats.from_dict(again).totals == stats.totals
        whole = json.loads(json.dumps(data).replace(".0,", ",").replace(".0]", "]"))  # as JavaScript writes 1.0
        assert gpustats.Stats.from_dict(whole).totals == stats.totals


def test_a_result_without_a_checksum_is_read(stats: gpustats.Stats) -> None:
    data = stats.to_dict()
    del data["checksum"]
    assert gpustats.Stats.from_dict(data).totals == stats.totals
    with pytest.raises(gpustats.DataError, match="do not fit their checksum"):
        gpustats.Stats.from_dict(data | {"checksum": None})
