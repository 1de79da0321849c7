"""Folders, globs, lists and single files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gpustats import DataError
from gpustats.failures import Failure, ImageError, printable
from gpustats.sources import load, open_source
from gpustats.sources.base import Within, batched
from tests.images import encoded, photo

JPEG = encoded(photo(4, 5))
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX file names and links")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG)


def keys(data: object) -> list[str]:
    return [sample[0] for sample in open_source(data).samples() if not isinstance(sample, Failure)]


def test_folder_in_byte_order_with_groups_and_counts(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a/z.PNG", "a/deep/x.jpeg", "a.jpg", "a-b/c.webp", "B/d.tif", "é/ü.bmp", "a/y.gif")
    touch(tmp_path, "a/notes.txt", "README", ".hidden.jpg", ".cache/x.jpg", "a/.DS_Store", "jpg", "a/_.jpg.tmp")
    source = open_source(tmp_path)
    samples = list(source.samples())
    names = [key for key, _, _ in samples]
    assert names == sorted(names, key=lambda name: name.encode())
    assert set(names) == {"b.jpg", "a/z.PNG", "a/deep/x.jpeg", "a.jpg", "a-b/c.webp", "B/d.tif", "é/ü.bmp", "a/y.gif"}
    groups = {key: group for key, group, _ in samples}
    assert groups["a/deep/x.jpeg"] == "a"
    assert groups["b.jpg"] == ""
    assert source.skipped == {"non_image": 4, "hidden": 3}
    assert source.count() == 8
    assert all(Path(item) == tmp_path / key for key, _, item in samples)


@posix
def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(root, "real/1.jpg", "real/2.jpg")
    touch(tmp_path, "outside/3.jpg")
    (root / "real" / "loop").symlink_to(root)
    (root / "again").symlink_to(root / "real")
    (root / "outside").symlink_to(tmp_path / "outside")
    (root / "file.jpg").symlink_to(root / "real" / "1.jpg")
    (root / "self").symlink_to(root / "self")
    source = open_source(root)
    found = [sample for sample in source.samples() if not isinstance(sample, Failure)]
    assert sorted(key for key, _, _ in found) == ["again/1.jpg", "again/2.jpg", "file.jpg", "outside/3.jpg"]
    assert source.skipped["linked_folder"] == 2


@posix
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
    try:
        with open(name, "wb") as file:
            file.write(JPEG)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    [(key, _, item)] = open_source(tmp_path).samples()
    assert load(item, 10**9) == JPEG
    assert printable(key) == "\\udcff\\udcfe.jpg"


@posix
def test_a_folder_that_cannot_be_listed_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).rstrip("/").endswith("b"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    samples = list(open_source(tmp_path).samples())
    assert [s.key if isinstance(s, Failure) else s[0] for s in samples] == ["a/1.jpg", "b/", "c/3.jpg"]
    assert samples[1] == Failure("b/", "unreadable", "the folder cannot be listed: Permission denied")


def test_globs(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.jpg", "x/deep/2.jpg", "y/3.jpg", "y/3.txt", "z.jpg")
    assert keys(f"{tmp_path}/*/*.jpg") == ["x/1.jpg", "y/3.jpg"]
    assert keys(f"{tmp_path}/**/*.jpg") == ["x/1.jpg", "x/deep/2.jpg", "y/3.jpg", "z.jpg"]
    assert keys(f"{tmp_path}/[xy]") == ["x/1.jpg", "x/deep/2.jpg", "y/3.jpg"]
    assert keys(f"{tmp_path}/x/**") == ["1.jpg", "deep/2.jpg"]
    assert keys(f"{tmp_path}/*.nothing") == []
    samples = list(open_source(f"{tmp_path}/*/*").samples())
    assert [group for _, group, _ in samples] == ["x", "x", "y"]


def test_a_glob_prefers_a_path_of_that_very_name(tmp_path: Path) -> None:
    touch(tmp_path, "[x]/1.jpg", "x/2.jpg")
    assert keys(tmp_path / "[x]") == ["1.jpg"]


def test_lists(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.jpg", "y/2.jpg", "3.jpg", "z/4.jpg")
    (tmp_path / "list.txt").write_text("# two\nx/1.jpg\n\n3.jpg\r\n", encoding="utf-8")
    assert keys(tmp_path / "list.txt") == ["x/1.jpg", "3.jpg"]
    assert open_source(tmp_path / "list.txt").count() == 2
    mixed = [tmp_path / "x" / "1.jpg", str(tmp_path / "z"), f"{tmp_path}/y/*.jpg"]
    assert keys(mixed) == [(tmp_path / "x" / "1.jpg").as_posix(), (tmp_path / "z" / "4.jpg").as_posix(), "2.jpg"]
    assert keys(tmp_path / "3.jpg") == ["3.jpg"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "path is empty"),
        ([], "list is empty"),
        ("no/such/place", "no/such/place: no such file or folder"),
        ("no\0null", "not a path"),
        (3, "cannot read images from int 3"),
    ],
)
def test_what_cannot_be_opened(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(data)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(DataError, match=r"files ending in '\.onnx' are not read"):
        open_source(tmp_path / "model.onnx")


def test_load_names_the_reason(tmp_path: Path) -> None:
    for item, reason, message in [
        (str(tmp_path / "none.jpg"), "missing", "no such file"),
        (str(tmp_path), "unreadable", "(?i)directory|regular|denied"),
        ("a\0b", "unreadable", "null"),
    ]:
        with pytest.raises(ImageError, match=message) as caught:
            load(item, 100)
        assert caught.value.reason == reason
    touch(tmp_path, "x.jpg")
    with pytest.raises(ImageError, match="more than the limit of 10") as caught:
        load(str(tmp_path / "x.jpg"), 10)
    assert caught.value.reason == "too_large"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="not a regular file"):
        load(str(tmp_path / "pipe.jpg"), 100)


def test_batches_hold_all_samples_and_failures() -> None:
    samples = [("k", "g", b"x")] * 20 + [Failure("f", "missing", "m")] + [("k", "g", b"x")] * 20
    batches = list(batched(samples, 16))
    assert [len(b) + len(b.failures) for b in batches] == [16, 16, 9]
    assert sum(len(b) for b in batches) == 40
    assert list(batched([])) == []


def test_a_batch_lies_in_one_container() -> None:
    a, b, loose = ("a", "", b"x"), ("b", "", b"x"), ("loose", "", "loose.jpg")
    said = [loose, Within("1.tar"), a, a, Within(None), Within("2.tar"), b, Within("2.tar"), b, Within(None), loose]
    found = [(batch.container, batch.keys) for batch in batched(said)]
    assert found == [(None, ["loose"]), ("1.tar", ["a", "a"]), ("2.tar", ["b", "b"]), (None, ["loose"])]
