"""Mistakes of a user: each is one clear error in the words of the command line, and never a table of no images."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gpustats
from tests.command_line import invoke
from tests.images import encoded, photo

JPEG = encoded(photo(20, 30))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data and of things that are none; not to be changed."""
    here = tmp_path_factory.mktemp("wrong")
    for name in ("photos/a", "empty", "texts", "hidden", "mixed", "all_bad", "noise"):
        (here / name).mkdir(parents=True)
    for name in ("one.jpg", "photos/a/1.jpg", "photos/2.jpg", "mixed/good.jpg", "hidden/.x.jpg"):
        (here / name).write_bytes(JPEG)
    for name in ("fake.jpg", "all_bad/0.jpg", "all_bad/1.jpg", "texts/a.txt", "texts/b.md", "x.bin", "bad.h5"):
        (here / name).write_bytes(b"no image")
    for name in ("all_bad/2.jpg", "mixed/cut.jpg"):
        (here / name).write_bytes(JPEG[:400])
    (here / "all_bad/3.png").write_bytes(b"")
    Image.fromarray(np.zeros((8, 9), np.uint16)).save(here / "deep.png")
    write_tables(here)
    write_arrays(here)
    with tarfile.open(here / "shard.tar", "w") as archive:
        for i in range(3):
            for ending, data in (("jpg", JPEG), ("cls", b"1"), ("json", b'{"kind": "x"}')):
                member = tarfile.TarInfo(f"{i:03d}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    (here / "cut.tar").write_bytes((here / "shard.tar").read_bytes()[:300])
    (here / "cut.zip").write_bytes(b"PK\3\4" + bytes(100))
    return here


def write_tables(here: Path) -> None:
    (here / "data.csv").write_text("path,label\none.jpg,x\n")
    (here / "data.jsonl").write_text('{"path": "one.jpg", "label": "x"}\n')
    (here / "no_paths.csv").write_text("a,b\n1,2\n")
    (here / "missing.txt").write_text("gone.jpg\nlost.jpg\n")
    (here / "one_missing.txt").write_text("one.jpg\ngone.jpg\n")
    (here / "bad.json").write_text('{"a": 1}')


def write_arrays(here: Path) -> None:
    np.save(here / "rgb.npy", np.zeros((2, 8, 9, 3), np.uint8))
    np.save(here / "grey.npy", np.zeros((2, 8, 9, 1), np.uint8))
    np.save(here / "floats.npy", np.zeros((2, 8, 9, 3), np.float32))
    np.save(here / "integers.npy", np.full((5, 8, 9, 3), 1 << 40))
    np.save(here / "masks.npy", np.zeros((5, 8, 9, 3), bool))
    np.save(here / "nan.npy", np.full((2, 8, 9, 3), np.nan))
    np.save(here / "unclear.npy", np.zeros((5, 8, 9), np.uint8))
    np.save(here / "numbers.npy", np.zeros(5, np.uint8))
    np.savez(here / "two.npz", x=np.zeros((2, 8, 9, 3), np.uint8), y=np.zeros(2))


# What is given to `gpustats`, the exit code, and what the error must say.
WRONG: list[tuple[str, int, list[str]]] = [
    # The data.
    ("compute nowhere/", 1, ["nowhere/", "no such file or folder"]),
    ("compute nothing/*.jpg", 1, ["nothing/*.jpg", "no images found"]),
    ("compute gone-{000..003}.tar", 1, ["gone-{000..003}.tar", "none of the 4 files exists"]),
    ("compute empty", 1, ["empty: no images found"]),
    ("compute texts", 1, ["texts: no images found", "skipped"]),
    ("compute hidden", 1, ["hidden: no images found", "1 hidden"]),
    ("compute ''", 1, ["the path is empty"]),
    ("compute fake.jpg", 1, ["fake.jpg: not_an_image: the first bytes are those of no image format"]),
    ("compute deep.png", 1, ["deep.png: unsupported: PNG with 16 bits a sample"]),
    ("compute mixed/cut.jpg", 1, ["mixed/cut.jpg: truncated: "]),
    ("compute fake.jpg deep.png", 1, ["none of 2 images could be read", "1 not_an_image (fake.jpg: ", "1 unsupported"]),
    (
        "compute all_bad",
        1,
        ["all_bad: none of 4 images could be read: 3 not_an_image (0.jpg: ", ", 1 truncated (2.jpg: "],
    ),
    ("compute missing.txt", 1, ["missing.txt: none of 2 images could be read: 2 missing (gone.jpg: no such file)"]),
    ("compute x.bin", 1, ["x.bin: files ending in '.bin' are not read"]),
    ("compute cut.tar", 1, ["cut.tar: truncated: the archive is cut off"]),
    ("compute cut.zip", 1, ["cut.zip: corrupt: "]),
    ("compute bad.h5", 1, ["bad.h5: not an HDF5 file"]),
    ("compute bad.json", 1, ["bad.json: unsupported: JSON is read as a list of objects"]),
    ("compute no_paths.csv", 1, ["no_paths.csv", "no column with paths among a, b", "--column"]),
    ("compute rgb.npy grey.npy", 1, ["the images differ", "3 channels", "1 channel of", "compute them separately"]),
    ("compute rgb.npy floats.npy", 1, ["the images differ", "3 channels of 8 bits", "3 channels of floats"]),
    ("compute integers.npy", 1, ["none of 5 images could be read", "pixels of type int64", "they fit into int32"]),
    ("compute masks.npy", 1, ["none of 5 images could be read", "pixels of type bool"]),
    (
        "compute nan.npy",
        1,
        ["none of 2 images could be read", "2 unsupported (nan.npy/0: a channel has no"],
    ),
    ("compute unclear.npy", 1, ["unclear.npy: unsupported: no axis looks like the channels", "--layout"]),
    ("compute numbers.npy", 1, ["numbers.npy: unsupported: an array of shape (5,) is no image"]),
    # Options that are good, for other data.
    ("compute data.csv --column foo", 1, ["data.csv", "there is no column 'foo'; there are: path, label"]),
    ("compute data.csv --group foo", 1, ["data.csv", "there is no column 'foo'; there are: path, label"]),
    ("compute data.jsonl --group foo", 1, ["data.jsonl", "there is no column 'foo'; there are: path, label"]),
    (
        "compute shard.tar --column foo",
        1,
        ["shard.tar", "no member has the extension 'foo'; there are: cls, jpg, json"],
    ),
    ("compute shard.tar --group foo", 1, ["shard.tar", "no sample has a member 'foo'; there are: cls, jpg, json"]),
    ("compute shard.tar --group json.foo", 1, ["shard.tar", "no sample has a member 'json.foo'"]),
    ("compute two.npz --column foo", 1, ["two.npz", "there is no array 'foo'; there are: x, y"]),
    ("compute two.npz --column y", 1, ["two.npz", "the array 'y' has shape (2,), not images"]),
    ("compute rgb.npy --layout HW", 1, ["rgb.npy", "(2, 8, 9, 3)", "does not have the axes of --layout HW"]),
    ("compute photos --column foo", 1, ["--column is an option for", "photos does not use it"]),
    ("compute photos --feature foo", 1, ["--feature is an option for TFRecord files; photos does not use it"]),
    ("compute photos --layout HW", 1, ["--layout is an option for", "photos does not use it"]),
    ("compute photos --root empty", 1, ["--root is an option for", "photos does not use it"]),
    ("compute photos --storage-option anon=true", 1, ["--storage-option is an option for URLs; photos does not"]),
    ("compute floats.npy --statistics histogram", 1, ["the statistic 'histogram' cannot be computed"]),
    # Files beside the data.
    ("compute one.jpg --checkpoint one.jpg", 1, ["one.jpg: not a gpustats checkpoint"]),
    ("compute one.jpg --failures nowhere/x", 1, ["nowhere/x", "No such file or directory"]),
    ("show nope.json", 1, ["nope.json: cannot be read: No such file or directory"]),
    ("show one.jpg", 1, ["one.jpg: not a gpustats result (it is not text)"]),
    ("show bad.json", 1, ["bad.json: not a gpustats result"]),
    ("show texts", 1, ["texts: cannot be read: Is a directory"]),
    # Stops that were asked for.
    ("compute all_bad --max-failures 0", 1, ["images failed, more than --max-failures 0", "one of them: "]),
    ("compute mixed --on-error raise", 1, ["cut.jpg: truncated: "]),
    # Usage: what no data could mend.
    ("compute", 2, ["missing argument 'PATH...'", "gpustats compute --help"]),
    ("comptue photos", 2, ["no such command 'comptue'", "did you mean 'compute'?"]),
    ("photos", 2, ["no such command 'photos'", "gpustats compute photos"]),
    ("nonsense", 2, ["no such command 'nonsense'", "gpustats --help"]),
    ("--nonsense", 2, ["no such option", "--nonsense", "gpustats --help"]),
    ("compute photos --worker 2", 2, ["no such option", "did you mean '--workers'?"]),
    ("compute photos --json", 2, ["'--json' requires an argument"]),
    ("compute photos --workers 0", 2, ["--workers", "0 is not in the range"]),
    ("compute photos --workers two", 2, ["--workers", "'two' is not a valid integer"]),
    ("compute photos --max-pixels -3", 2, ["--max-pixels", "-3 is not in the range"]),
    ("compute photos --on-error ignore", 2, ["--on-error", "'ignore' is not one of 'skip', 'raise'"]),
    ("compute photos --changed never", 2, ["--changed", "'never' is not one of 'mtime', 'hash'"]),
    ("compute photos --device tpu", 2, ["--device should be 'auto', 'cpu', 'gpu' or 'cuda:N', got 'tpu'"]),
    ("compute photos --device cuda:x", 2, ["--device should be", "got 'cuda:x'"]),
    ("compute photos --layout NHCW", 2, ["--layout should be one of auto, HW, HWC", "got 'NHCW'"]),
    ("compute photos --memory lots", 2, ["--memory should be at least 64 MiB", "got 'lots'"]),
    ("compute photos --memory 1MB", 2, ["--memory should be at least 64 MiB", "got '1MB'"]),
    ("compute photos --statistics mode", 2, ["unknown statistic 'mode'; known are moments, histogram, covariance, "]),
    ("compute photos --storage-option foo", 2, ["--storage-option should be NAME=VALUE, got 'foo'"]),
    ("compute photos --max-failures abc", 2, ["--max-failures should be a count (100) or a share", "got 'abc'"]),
    ("compute photos --max-failures 200%", 2, ["--max-failures should be a count", "got 200%"]),
    ("demo --count 0", 2, ["--count", "0 is not in the range"]),
]


@pytest.mark.parametrize(("given", "code", "words"), WRONG, ids=[given for given, _, _ in WRONG])
def test_a_mistake_is_one_line(here: Path, given: str, code: int, words: list[str]) -> None:
    done = invoke(*(word.strip("'") for word in given.split()), cwd=here)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("gpustats: error: ")
    assert done.err.count("\n") == 1, done.err
    for word in words:
        assert word in done.err
    assert len(done.err) < 400


@pytest.mark.parametrize(
    ("given", "images", "failed"),
    [("mixed", 1, 1), ("one_missing.txt", 1, 1), ("one.jpg fake.jpg", 1, 1), ("photos all_bad", 2, 4)],
)
def test_a_result_of_some_images_has_an_exit_code_of_its_own(here: Path, given: str, images: int, failed: int) -> None:
    done = invoke("compute", *given.split(), cwd=here)
    assert done.code == 3
    assert f"  {images} image" in done.out
    assert [line[:18] for line in done.err.splitlines()] == ["gpustats: failed: "] * failed


def test_too_many_failures_show_what_was_read_if_anything_was(here: Path) -> None:
    done = invoke("compute", "mixed", "--max-failures", "10%", cwd=here)
    assert done.code == 1
    assert "more than --max-failures 10%; one of them: cut.jpg: truncated" in done.err
    assert done.err.count("cut.jpg") == 1, "a failure is named once"
    assert "1 image," in done.out
    lost = invoke("compute", "all_bad", "--max-failures", "1", cwd=here)
    assert (lost.code, lost.out) == (1, "")
    assert lost.err.startswith("gpustats: error: ")


def test_without_a_command_there_is_help() -> None:
    done = invoke()
    assert done.code == 2
    assert "Usage: gpustats" in done.out + done.err
    doctor = invoke("doctor", "--device", "x")
    assert doctor.code == 2
    assert "--device should be 'auto', 'cpu', 'gpu' or 'cuda:N', got 'x'" in doctor.err


def test_in_python_the_error_carries_the_failures(here: Path) -> None:
    with pytest.raises(gpustats.AllImagesFailed, match="none of 4 images could be read: 3 not_an_image") as caught:
        gpustats.compute(here / "all_bad", progress=False)
    assert isinstance(caught.value, gpustats.DataError)
    partial = caught.value.partial
    assert partial.n_images == 0
    assert partial.failures.counts == {"not_an_image": 3, "truncated": 1}
    assert [failure.key for failure in partial.failures] == ["0.jpg", "1.jpg", "2.jpg", "3.png"]


def test_python_is_told_in_its_own_words(here: Path) -> None:
    with pytest.raises(gpustats.DataError, match=r"does not have the axes of layout='HW'"):
        gpustats.compute(here / "rgb.npy", layout="HW", progress=False)
    with pytest.raises(gpustats.TooManyFailures, match=r"more than max_failures=0\.1; one of them"):
        gpustats.compute(here / "mixed", max_failures=0.1, progress=False)
    with pytest.raises(gpustats.OptionError, match=r"^workers should be a positive integer"):
        gpustats.compute(here / "mixed", workers=0)
    with pytest.raises(gpustats.DataError, match=r"^column= is an option for"):
        gpustats.compute(here / "photos", column="x")


def test_an_isolated_decoder_uses_the_words_of_the_command_line(here: Path) -> None:
    done = invoke("compute", "photos", "--isolate", "--workers", "1", "--max-pixels", "5", cwd=here)
    assert done.code == 1
    assert "more than --max-pixels 5" in done.err


def test_the_three_commonest_reasons(tmp_path: Path) -> None:
    deep = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(deep, "PNG")
    contents = {"a": (b"no image", 4), "b": (JPEG[:300], 3), "c": (deep.getvalue(), 2)}
    for name, (content, count) in contents.items():
        for i in range(count):
            (tmp_path / f"{name}{i}.jpg").write_bytes(content)
    (tmp_path / "d.jpg").symlink_to("gone")
    with pytest.raises(gpustats.AllImagesFailed) as caught:
        gpustats.compute(tmp_path, progress=False)
    words = str(caught.value)
    assert "none of 10 images could be read: 4 not_an_image (a0.jpg: " in words
    assert words.index("4 not_an_image") < words.index("3 truncated (b0.jpg: ") < words.index("2 unsupported (c0.jpg: ")
    assert "missing" not in words


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0)
    done = invoke("compute", "locked", cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.err == "gpustats: error: locked: unreadable: the folder cannot be listed: Permission denied\n"


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()

    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("gpustats.sources.places.folder.os.scandir", refuse)
    monkeypatch.setattr("gpustats.sources.kinds.os.walk", lambda *arguments, **options: iter(()))
    done = invoke("compute", "locked", cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.err == "gpustats: error: locked: unreadable: the folder cannot be listed: Permission denied\n"


def test_a_group_that_comes_late_in_a_shard_is_found(tmp_path: Path) -> None:
    def shard(name: str, endings: list[str]) -> Path:
        with tarfile.open(tmp_path / name, "w") as archive:
            for i, ending in enumerate(endings):
                for part, data in (("jpg", JPEG), (ending, b"x")):
                    member = tarfile.TarInfo(f"{i:03d}.{part}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        return tmp_path / name

    late = shard("late.tar", ["txt"] * 50 + ["kind"])
    assert gpustats.compute(late, group="kind", progress=False).n_images == 51
    never = shard("never.tar", ["txt"] * 70 + ["kind"])
    with pytest.raises(gpustats.DataError, match=r"no sample has a member 'kind'; there are: jpg, txt"):
        gpustats.compute(never, group="kind", progress=False)
    one = shard("one.tar", ["kind", "txt"])
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = gpustats.compute([one, shard("other.tar", ["txt"])], group="kind", progress=False)
    assert stats.n_images == 2
    assert [failure.key for failure in stats.failures] == [f"{tmp_path / 'other.tar'}".replace(os.sep, "/")]


def test_a_feature_for_the_group_that_no_record_has(tmp_path: Path) -> None:
    writer = pytest.importorskip("tfrecord.writer", reason="needs tfrecord to write a file")
    records = writer.TFRecordWriter(str(tmp_path / "a.tfrecord"))
    records.write({"image/encoded": (JPEG, "byte"), "label": (3, "int")})
    records.close()
    done = invoke("compute", "a.tfrecord", "--group", "foo", cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert "there is no feature 'foo' for the group; there are: image/encoded, label" in done.err
    assert invoke("compute", "a.tfrecord", "--group", "label", cwd=tmp_path).code == 0
    wrong = invoke("compute", "a.tfrecord", "--feature", "foo", cwd=tmp_path)
    assert (wrong.code, wrong.out) == (1, "")
    assert (
        "no bytes feature 'foo'; there are: image/encoded (bytes), label (integers); choose with --feature" in wrong.err
    )
