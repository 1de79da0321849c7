"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gpustats
from tests.images import encoded, photo


def cli(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "gpustats", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        cwd=cwd,
        env=os.environ | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"},
    )
    assert "Traceback" not in done.stderr
    return done


def test_compute_prints_a_table_and_a_line_to_paste(photos: Path) -> None:
    done = cli("compute", photos, "--workers", "2")
    stats = gpustats.compute(photos, progress=False)
    assert done.returncode == 0
    assert done.stderr == ""
    mean, std = (", ".join(f"{x:.6f}" for x in values) for values in (stats.mean, stats.std))
    assert done.stdout.splitlines()[-1] == f"transforms.Normalize(mean=[{mean}], std=[{std}])"
    assert "45 images" in done.stdout


def test_json_to_stdout_and_to_a_file(photos: Path, tmp_path: Path) -> None:
    done = cli("compute", photos, "--json", "-")
    data = json.loads(done.stdout)
    expected = gpustats.compute(photos, progress=False)
    assert data["totals"] == expected.totals.to_dict()
    file = tmp_path / "stats.json"
    assert cli("compute", photos, "--json", file, "--quiet").returncode == 0
    assert gpustats.Stats.load(file).totals == expected.totals
    shown = cli("show", file)
    assert shown.returncode == 0
    assert "45 images" in shown.stdout
    assert "Normalize" in shown.stdout


def test_the_same_bytes_of_integers_for_any_number_of_workers(photos: Path) -> None:
    one, seven = (json.loads(cli("compute", photos, "--json", "-", "--workers", n).stdout) for n in ("1", "7"))
    assert json.dumps(one["totals"]) == json.dumps(seven["totals"])


def test_several_paths(photos: Path) -> None:
    data = json.loads(cli("compute", photos / "a", photos / "b", "--json", "-").stdout)
    assert data["images"] == 45


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compute", "no/such/folder"], "gpustats: error: no/such/folder: no such file or folder\n"),
        (["show", "none.json"], "gpustats: error: none.json: cannot be read: No such file or directory\n"),
        (["compute", "."], "gpustats: error: .: no images found\n"),
        (
            ["compute", ".", "--storage-option", "anon"],
            "gpustats: error: --storage-option should be NAME=VALUE, got 'anon'\n",
        ),
        (
            ["compute", ".", "--storage-option", "anon=true"],
            "gpustats: error: storage_options= is an option for URLs; . does not use it\n",
        ),
    ],
)
def test_an_error_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = cli(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "bad.jpg: not_an_image: the file is empty"),
        (b"text", "bad.jpg: not_an_image: the first bytes are those of no image format"),
        (encoded(photo())[:700], "bad.jpg: truncated: JPEG: image file is truncated"),
    ],
)
def test_failures_are_listed_and_change_the_exit_code(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.jpg").write_bytes(content)
    alone = cli("compute", tmp_path)
    assert alone.returncode == 3
    assert message in alone.stderr
    assert "Normalize" not in alone.stdout
    (tmp_path / "good.jpg").write_bytes(encoded(photo()))
    done = cli("compute", tmp_path)
    assert done.returncode == 3
    assert f"gpustats: failed: {message}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "1 image," in done.stdout
    stopped = cli("compute", tmp_path, "--on-error", "raise")
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert message in stopped.stderr
    many = cli("compute", tmp_path, "--max-failures", "0")
    assert many.returncode == 1
    assert "more than max_failures=0" in many.stderr
    assert "INCOMPLETE" in many.stdout


def test_terminal_control_characters_in_names_are_escaped(tmp_path: Path) -> None:
    name = "x\x1b[2Jy.jpg"
    try:
        (tmp_path / name).write_bytes(b"")
    except OSError:
        pytest.skip("this file system refuses control characters in names")
    done = cli("compute", tmp_path)
    assert "\x1b" not in done.stdout + done.stderr
    assert "x\\x1b[2Jy.jpg" in done.stderr


def test_demo_makes_images_once(tmp_path: Path) -> None:
    done = cli("demo", "--count", "12", cwd=tmp_path)
    assert done.returncode == 0
    assert "writing 12 synthetic JPEGs into gpustats-demo" in done.stderr
    files = sorted((tmp_path / "gpustats-demo").rglob("*.jpg"))
    assert len(files) == 12
    again = cli("demo", cwd=tmp_path)
    assert "gpustats-demo exists: computing what is in it" in again.stderr
    assert again.stdout == done.stdout
    assert sorted((tmp_path / "gpustats-demo").rglob("*.jpg")) == files


def test_every_command_is_documented_with_an_example() -> None:
    assert "Example: gpustats compute photos/" in cli("--help").stdout
    for command in ("compute", "show", "demo"):
        text = cli(command, "--help").stdout
        assert f"Example: gpustats {command}" in text
    assert cli("--version").stdout == f"gpustats {gpustats.__version__}\n"


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process on Windows")
def test_ctrl_c_keeps_the_partial_result(tmp_path: Path) -> None:
    data = encoded(photo(400, 600))
    (tmp_path / "one.jpg").write_bytes(data)
    (tmp_path / "list.txt").write_text("one.jpg\n" * 8 + "gone.jpg\n" + "one.jpg\n" * 200_000)
    failed = tmp_path / "failed.jsonl"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gpustats",
            "compute",
            "list.txt",
            "--json",
            "-",
            "--failures",
            "failed.jsonl",
            "--repeats",
            "count",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    # The ninth is written down when the eight before it count.
    while process.poll() is None and not (failed.exists() and failed.read_bytes()):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert "Traceback" not in err
    result = json.loads(out)
    assert result["complete"] is False
    assert 8 <= result["images"] < 200_000
