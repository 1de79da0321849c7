"""Lists, globs, ranges in braces and folders: keys, groups, what is passed over, options, names of any bytes."""

from __future__ import annotations

import os
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gpustats import DataError
from gpustats.sources import SourceOptions, open_source
from gpustats.sources.places.patterns import expand_braces, has_braces
from tests.sources.packing import contents

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX file names and links")
NAMES = ["a.jpg", "é/日本.jpg", "caf\udce9/\udcff.jpg"]


def fill(folder: Path, *names: str) -> Path:
    """Write files that hold their own names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    return folder


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder of names of any bytes."""
    try:
        return fill(tmp_path / "odd", *NAMES)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")


def pack(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def triples(prefix: str, *names: str, group: str | None = None) -> list[tuple[str, str, bytes]]:
    return [(prefix + name, name.rpartition("/")[0] if group is None else group, os.fsencode(name)) for name in names]


@posix
def test_a_folder_of_names_of_any_bytes(odd: Path) -> None:
    ordered = sorted(NAMES)
    assert contents(odd) == (triples("", *ordered), [], [], {})
    assert open_source(odd).count() == 3
    assert contents(str(odd) + "/").keys == ordered


@posix
def test_globs_of_names_of_any_bytes(odd: Path) -> None:
    assert contents(f"{odd}/*/*.jpg") == (triples("", *sorted(NAMES[1:])), [], [], {})
    assert contents(f"{odd}/*").images == triples("", *sorted(NAMES))


@posix
def test_lists_of_names_of_any_bytes(odd: Path) -> None:
    paths = [f"{odd}/{name}" for name in NAMES]
    found = contents(paths)
    assert found.images == [(path, "", os.fsencode(name)) for path, name in zip(paths, NAMES, strict=True)]
    assert open_source(paths).count() == 3
    assert open_source([*paths, str(odd)]).count() is None
    assert contents([odd / NAMES[2]]).images == [(paths[2], "", os.fsencode(NAMES[2]))]
    assert contents(paths[2]).images == [("\udcff.jpg", "", os.fsencode(NAMES[2]))]
    assert open_source(paths[2]).count() == 1


def shards(folder: Path) -> list[str]:
    """Three archives, each with an image, a text, a hidden file and one outside."""
    return [pack(folder / f"s-{i}.zip", f"c/{i}.jpg", "x.txt", ".h.jpg", f"../{i}.jpg").as_posix() for i in range(3)]


def test_what_the_parts_pass_over_is_added_up(tmp_path: Path) -> None:
    listed = shards(tmp_path)
    expected = {"non_image": 3, "hidden": 3}
    for data, prefix in [
        (listed, tmp_path.as_posix() + "/"),
        (f"{tmp_path.as_posix()}/s-*.zip", ""),
        (f"{tmp_path.as_posix()}/s-{{0..2}}.zip", ""),
        (tmp_path, ""),
    ]:
        found = contents(data)
        assert found.images == [(f"{prefix}s-{i}.zip/c/{i}.jpg", "c", b"c/%d.jpg" % i) for i in range(3)]
        assert found.failures == [(f"{prefix}s-{i}.zip/../{i}.jpg", "unsupported") for i in range(3)]
        assert found.skipped == expected, data
        assert open_source(data).count() is None
    fill(tmp_path, "more/.h.jpg", "more/x.txt", "more/1.jpg")
    found = contents([*listed, str(tmp_path / "more")])
    assert found.skipped == {"non_image": 4, "hidden": 4}
    assert contents(f"{tmp_path}/*").skipped == {"non_image": 4, "hidden": 4}
    found = contents(f"{tmp_path}/{{more,s-1.zip,gone}}")
    assert found.keys == ["more/1.jpg", "s-1.zip/c/1.jpg"]
    assert found.skipped == {"non_image": 2, "hidden": 2}
    assert found.failures == [("s-1.zip/../1.jpg", "unsupported"), ("gone", "missing")]


def test_a_folder_of_shards_holds_those_of_one_kind(tmp_path: Path) -> None:
    shards(tmp_path)
    fill(tmp_path, "labels.csv", "readme", "deep/x.h5", "a.tar", ".hidden.zip")
    pack(tmp_path / "deep" / "d.zip", "e/f.jpg")
    os.remove(tmp_path / "a.tar")
    found = contents(tmp_path)
    assert found.keys == ["deep/d.zip/e/f.jpg", *(f"s-{i}.zip/c/{i}.jpg" for i in range(3))]
    assert found.skipped == {"non_image": 3 + 3, "hidden": 3 + 1}
    (tmp_path / "deep" / "1.jpg").write_bytes(b"x")
    assert contents(tmp_path).keys == ["deep/1.jpg"], "loose images come first"
    assert contents([tmp_path / "deep"]).images == [(f"{tmp_path.as_posix()}/deep/1.jpg", "", b"x")]


def test_entries_that_cannot_be_opened_are_failures(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "model.onnx")
    here = tmp_path.as_posix()
    found = contents([f"{here}/gone", f"{here}/a.jpg", f"{here}/model.onnx", f"{here}/gone.zip"])
    assert found.keys == [f"{here}/a.jpg"]
    assert found.failures == [(f"{here}/gone", "missing"), (f"{here}/model.onnx", "unreadable"), (f"{here}/gone.zip", "missing")]  # fmt: skip # noqa: E501
    assert "files ending in '.onnx' are not read" in found.messages[1]


def test_keys_in_a_list(tmp_path: Path) -> None:
    import numpy as np

    fill(tmp_path, "d/a/1.jpg", "d/2.jpg", "d4/4.jpg", "e/3.jpg", "f/[1].jpg", "list.txt")
    (tmp_path / "list.txt").write_text("d4/4.jpg\n")
    here = tmp_path.as_posix()
    array = np.zeros((2, 2, 3), np.uint8)
    found = contents([f"{here}/d/", array, f"{here}/e/*.jpg", f"{here}/list.txt", f"{here}/f/[1].jpg"])
    assert [(key, group) for key, group, _ in found.images] == [
        (f"{here}/d/2.jpg", ""),
        (f"{here}/d/a/1.jpg", "a"),
        ("1/0", ""),
        ("3.jpg", ""),
        (f"{here}/list.txt/d4/4.jpg", ""),
        (f"{here}/f/[1].jpg", ""),
    ]
    assert open_source([f"{here}/f/[1].jpg"]).count() is None, "it may be a pattern"
    assert (open_source([here, here]).label, open_source(here).label) == ("a list of 2", here)


def test_groups_of_a_glob(tmp_path: Path) -> None:
    fill(tmp_path, "t/cat/1.jpg", "t/cat/deep/2.jpg", "t/dog/3.jpg", "t/4.jpg", "v/cat/5.jpg")
    here = tmp_path.as_posix()
    for pattern, expected in [
        ("t/*", [("4.jpg", ""), ("cat/1.jpg", "cat"), ("cat/deep/2.jpg", "cat"), ("dog/3.jpg", "dog")]),
        ("t/**", [("4.jpg", ""), ("cat/1.jpg", "cat"), ("cat/deep/2.jpg", "cat"), ("dog/3.jpg", "dog")]),
        ("t/**/*.jpg", [("4.jpg", ""), ("cat/1.jpg", "cat"), ("cat/deep/2.jpg", "cat"), ("dog/3.jpg", "dog")]),
        ("[tv]/cat", [("t/cat/1.jpg", "t"), ("t/cat/deep/2.jpg", "t"), ("v/cat/5.jpg", "v")]),
        ("t/cat/?.jpg", [("1.jpg", "")]),
        ("t/*t/", [("cat/1.jpg", "cat"), ("cat/deep/2.jpg", "cat")]),
    ]:
        found = contents(f"{here}/{pattern}")
        assert [(key, group) for key, group, _ in found.images] == expected, pattern
        assert (found.failures, found.skipped) == ([], {})


def test_a_glob_beside_folders_with_like_names(tmp_path: Path) -> None:
    fill(tmp_path, "ab/1.jpg", "ab.jpg", "abc/2.jpg", "abc.txt")
    found = contents(f"{tmp_path}/ab*")
    assert found.keys == ["ab/1.jpg", "ab.jpg", "abc/2.jpg"]
    assert found.skipped == {"non_image": 1}


def test_a_folder_that_vanishes_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a/1.jpg", "b/2.jpg", "c.jpg")
    real = os.stat

    def stat(path: Any, *args: Any, **options: Any) -> Any:
        if str(path).endswith("a/"):
            raise FileNotFoundError(2, "No such file or directory")
        return real(path, *args, **options)

    monkeypatch.setattr(os, "stat", stat)
    found = contents(tmp_path)
    assert found.keys == ["b/2.jpg", "c.jpg"]
    assert found.failures == [("a/", "unreadable")]


def test_a_glob_relative_to_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "x/1.jpg", "2.jpg")
    monkeypatch.chdir(tmp_path)
    assert contents("*").images == [("2.jpg", "", b"2.jpg"), ("x/1.jpg", "x", b"x/1.jpg")]
    assert contents("{x,y}").keys == ["x/1.jpg"]
    assert contents("x/*").images == [("1.jpg", "", b"x/1.jpg")]
    assert contents(".").images == [("2.jpg", "", b"2.jpg"), ("x/1.jpg", "x", b"x/1.jpg")]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a{0..2}", ["a0", "a1", "a2"]),
        ("{008..011}.tar", ["008.tar", "009.tar", "010.tar", "011.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{5..5}", ["5"]),
        ("{a,b}{1..2}x", ["a1x", "a2x", "b1x", "b2x"]),
        ("{a,}", ["a", ""]),
        ("{x}/{1..2}", ["{x}/1", "{x}/2"]),
        ("{a,b}/c/{d,e}", ["a/c/d", "a/c/e", "b/c/d", "b/c/e"]),
    ],
)
def test_what_braces_stand_for(pattern: str, expected: list[str]) -> None:
    assert expand_braces(pattern) == expected
    assert has_braces(pattern)


def test_braces_that_stand_for_nothing() -> None:
    for pattern in ("{a}", "{1..}", "{a..c}", "plain", "{}"):
        assert not has_braces(pattern)


def test_the_most_that_braces_may_stand_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for pattern in ("{0..1000000}", "{0..999}{0..1000}", "{2..1}"):
        with pytest.raises(DataError, match=r"is empty or too long|that is more than 1,000,000 files"):
            expand_braces(pattern)
    monkeypatch.setattr("gpustats.sources.places.patterns._MOST_SHARDS", 100)
    assert len(expand_braces("{1..100}")) == 100
    assert len(expand_braces("{0..9}{0..9}")) == 100
    for pattern in ("{0..100}", "{2..1}"):
        with pytest.raises(DataError, match="is empty or too long"):
            expand_braces(pattern)
    for pattern in ("{0..9}{0..10}", "{0..99}{a,b}", "{a,b}{0..99}"):
        with pytest.raises(DataError, match="that is more than 100 files"):
            expand_braces(pattern)


def test_keys_of_braces(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for i in range(2):
            pack(tmp_path / split / f"{i}.zip", f"{split}{i}.jpg")
    here = tmp_path.as_posix()
    found = contents(f"{here}/{{train,val}}/{{0..2}}.zip")
    assert found.keys == [f"{split}/{i}.zip/{split}{i}.jpg" for split in ("train", "val") for i in range(2)]
    assert found.failures == [("train/2.zip", "missing"), ("val/2.zip", "missing")]
    found = contents(f"{here}/train/{{0..1}}.zip")
    assert found.keys == ["0.zip/train0.jpg", "1.zip/train1.jpg"]
    assert open_source(f"{here}/train/{{0..1}}.zip").label == f"{here}/train/{{0..1}}.zip"
    with pytest.raises(DataError, match="none of the 2 files exists"):
        open_source(f"{here}/train/{{7..8}}.zip")


def test_options_are_those_of_what_is_found(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s-0.tar", "w"):
        pass
    fill(tmp_path, "a.jpg", "d/x.jpg")
    here = tmp_path.as_posix()
    for data in (f"{here}/s-{{0..1}}.tar", f"{here}/s*.tar", [f"{here}/s-0.tar"], [f"{here}/d", f"{here}/s-0.tar"]):
        assert open_source(data, SourceOptions(column="x")).takes >= {"column", "group"}
        with pytest.raises(ValueError, match="layout= is an option for"):
            open_source(data, SourceOptions(layout="HWC"))
    for data in (f"{here}/a.jpg", f"{here}/a*", f"{here}/d", [f"{here}/a.jpg", f"{here}/d"]):
        with pytest.raises(ValueError, match="column= is an option for"):
            open_source(data, SourceOptions(column="x"))
    # What cannot be opened may have had a use for them.
    assert contents([f"{here}/gone.tar"], column="x").failures == [(f"{here}/gone.tar", "missing")]


def test_options_that_make_no_sense() -> None:
    for name in ("column", "feature", "group", "root"):
        for value in ("", 3, b"x"):
            with pytest.raises(ValueError, match=f"{name} should be a name or None, got "):
                SourceOptions(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="storage_options should be a dict, got str"):
        SourceOptions(storage_options="x")  # type: ignore[arg-type]
    for layout in ("auto", "HW", "HWC", "CHW", "NHW", "NHWC", "NCHW"):
        assert SourceOptions(layout=layout).given == ({"layout"} if layout != "auto" else set())
    assert SourceOptions(max_bytes=3).given == set()


@posix
def test_links_and_cycles(tmp_path: Path) -> None:
    root = fill(tmp_path / "root", "b/1.jpg", "z.txt", ".hidden/2.jpg", "b/.3.jpg")
    fill(tmp_path, "away/4.jpg", "away/5.txt")
    (root / "a").symlink_to(tmp_path / "away")
    (root / "c").symlink_to(root / "b")
    (root / "b" / "up").symlink_to(root)
    (root / "x.jpg").symlink_to(tmp_path / "away" / "4.jpg")
    (root / "broken.jpg").symlink_to(tmp_path / "nowhere")
    (root / "loop.jpg").symlink_to(root / "loop.jpg")
    (root / "loop").symlink_to(root / "loop")
    found = contents(root)
    assert found.images == [("a/4.jpg", "a", b"away/4.jpg"), ("b/1.jpg", "b", b"b/1.jpg"), ("x.jpg", "", b"away/4.jpg")]
    assert found.failures == [("broken.jpg", "missing"), ("loop.jpg", "unreadable")]
    assert found.skipped == {"linked_folder": 2, "hidden": 2, "non_image": 3}
    source = open_source(root)
    assert source.count() == 5, "those that fail are counted when they are read"
    assert source.skipped == {}, "counting leaves no trace"


@posix
def test_folders_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a/1.jpg", "b/2.jpg", "b/c/3.jpg", "d.jpg")
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).rstrip("/").endswith(("/b", "top")):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = contents(tmp_path)
    assert found.keys == ["a/1.jpg", "d.jpg"]
    assert (found.failures, found.messages) == (
        [("b/", "unreadable")],
        ["the folder cannot be listed: Permission denied"],
    )
    assert open_source(tmp_path).count() == 2
    (tmp_path / "top").mkdir()
    assert contents(tmp_path / "top").failures == [(".", "unreadable")]
    assert contents([tmp_path / "top"]).failures == [(f"{tmp_path.as_posix()}/top/.", "unreadable")]


def test_the_order_of_folders_and_files(tmp_path: Path) -> None:
    names = ["a-b/2.jpg", "a.jpg", "a/1.jpg", "a/b/c/3.jpg", "a/b/d.jpg", "a/b.jpg", "a/c/4.jpg", "a0.jpg", "b/x/5.jpg"]
    fill(tmp_path, *names)
    found = contents(tmp_path)
    assert found.keys == sorted(names)
    assert found.groups == [name.partition("/")[0] if "/" in name else "" for name in sorted(names)]


def test_many_folders_within_one_another(tmp_path: Path) -> None:
    deep = "/".join("d" * 3 for _ in range(300))
    try:
        fill(tmp_path, f"{deep}/x.jpg", "z.jpg")
    except OSError:
        pytest.skip("this system takes no path that long")
    assert contents(tmp_path).keys == [f"{deep}/x.jpg", "z.jpg"]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm", ".avif", ".jp2"])  # fmt: skip # noqa: E501
def test_endings_of_images(suffix: str, tmp_path: Path) -> None:
    fill(tmp_path, f"a{suffix}", f"b{suffix.upper()}", suffix[1:], f"c{suffix}.txt")
    found = contents(tmp_path)
    assert found.keys == [f"a{suffix}", f"b{suffix.upper()}"]
    assert found.skipped == {"non_image": 2}
