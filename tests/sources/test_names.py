"""Sizes and times of many files at once, with and without the C library's statx."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from gpustats.sources.files import names
from gpustats.sources.files.names import Names, sizes_and_times


@pytest.fixture(params=["statx", "os.stat"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "os.stat":
        monkeypatch.setattr(names, "_statx", lambda: None)
    elif names._statx() is None:
        pytest.skip("the C library has no statx")
    return str(request.param)


def test_the_same_as_os_stat_says(way: str, tmp_path: Path) -> None:
    paths = []
    for i, time in enumerate([0, 1, 999_999_999, 10**9, 1_764_000_000_123_456_789, 2**32 * 10**9 + 5, -1, -(10**9)]):
        path = tmp_path / f"{i}.jpg"
        path.write_bytes(bytes(i * 1000))
        os.utime(path, ns=(time, time))
        paths.append(str(path))
    large = tmp_path / "large"
    with open(large, "wb") as file:
        file.truncate(5 << 30)
    odd = tmp_path / os.fsdecode(b"caf\xe9 \xff")
    odd.write_bytes(b"x")
    (tmp_path / "link").symlink_to(large)
    (tmp_path / "ü").mkdir()
    paths += [str(large), str(odd), str(tmp_path / "link"), str(tmp_path / "ü")]
    expected = [(status.st_size, status.st_mtime_ns) for status in map(os.stat, paths)]
    found = sizes_and_times(paths)
    assert found == expected
    assert all(type(number) is int for pair in found if pair for number in pair)
    assert sizes_and_times(paths[:1]) == expected[:1]
    assert sizes_and_times([]) == []


def test_files_are_looked_at_in_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if names._statx() is None:
        pytest.skip("the C library has no statx")
    (tmp_path / "a").write_bytes(b"ab")
    expected = sizes_and_times([str(tmp_path / "a")] * 3)
    monkeypatch.setattr(names, "_size_and_time", lambda path: pytest.fail("one by one"))
    assert sizes_and_times([str(tmp_path / "a")] * 3) == expected


def test_a_machine_that_forbids_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(address: int, starts: object, found: np.ndarray, good: np.ndarray) -> None:
        found[:] = 7
        good[:] = False

    (tmp_path / "a").write_bytes(b"ab")
    monkeypatch.setattr(names, "_statx", lambda: forbidden)
    assert sizes_and_times([str(tmp_path / "a"), "nowhere"]) == [(2, (tmp_path / "a").stat().st_mtime_ns), None]


def test_what_cannot_be_looked_at(way: str, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(b"abc")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    paths = [str(tmp_path / "missing"), str(good), str(tmp_path / "dangling"), str(good / "below"), "", str(good)]
    found = sizes_and_times(paths)
    expected = (3, good.stat().st_mtime_ns)
    assert found == [None, expected, None, None, None, expected]


def test_relative_paths_start_at_the_working_directory(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"ab")
    monkeypatch.chdir(tmp_path)
    found = sizes_and_times(["a", "./a"])
    assert found == [(2, (tmp_path / "a").stat().st_mtime_ns)] * 2


def test_a_path_with_a_null_character_is_one_that_cannot_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ab")
    paths = [str(tmp_path / "a"), "a\0b"]
    found: Sequence[object] = sizes_and_times(paths)
    assert found == [(2, (tmp_path / "a").stat().st_mtime_ns), None]
    with pytest.raises(ValueError, match="null character"):
        Names(paths)


def test_names_are_found_by_their_starts() -> None:
    paths = ["a", "", "ü/é.jpg", os.fsdecode(b"\xff\xfe"), "last"]
    some = Names(paths)
    text = bytes(some.text)
    ends = [text.index(b"\0", start) for start in some.starts.tolist()]
    assert [text[a:b] for a, b in zip(some.starts.tolist(), ends, strict=True)] == [os.fsencode(path) for path in paths]
    assert some.address == some.text.ctypes.data
    assert some.starts.dtype == np.int64
