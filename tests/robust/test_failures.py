"""Every kind of bad file: the right reason, nothing counted that Pillow refuses, nothing else lost."""

from __future__ import annotations

import io
import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFile

import gpustats
from gpustats.decode.decoder import Decoder
from gpustats.failures import LISTED_AT_MOST, Failure, FailureLimit, FailureLog, ImageError
from gpustats.limits.memory import MemoryBudget
from gpustats.sources.places import folder
from tests import badfiles
from tests.images import encoded, photo, write_photos

BAD = badfiles.everything()
GOOD = badfiles.odd_but_good()


def pillow_reads(data: bytes) -> bool:
    """Pillow's strict verdict, without its limit on size."""
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                image.convert("RGB")
    except Exception:  # noqa: BLE001 - any error is a no
        return False
    return True


def decode(data: bytes, max_pixels: int = 512_000_000) -> str:
    decoder = Decoder(max_pixels, MemoryBudget(1 << 30, 1))
    try:
        decoder.decode(data)
    except ImageError as error:
        return error.reason
    finally:
        decoder.release()
    return "good"


@pytest.mark.parametrize("name", BAD)
def test_reason(name: str) -> None:
    data, reason = BAD[name]
    assert decode(data) == reason


@pytest.mark.parametrize("name", badfiles.damaged())
def test_damaged_files_are_refused_by_pillow_too(name: str) -> None:
    # Pillow does not check the checksums of PNG pixels; gpustats does.
    assert pillow_reads(BAD[name][0]) == (name in ("zeroed_pixels.png", "zeroed_tail.png"))


@pytest.mark.parametrize("name", GOOD)
def test_odd_images_count(name: str) -> None:
    assert pillow_reads(GOOD[name])
    assert decode(GOOD[name]) == "good"


@pytest.mark.parametrize("device", ["threads", "processes"])
def test_a_folder_of_everything(tmp_path: Path, device: str) -> None:
    write_photos(tmp_path, 30)
    expected = gpustats.compute(tmp_path, progress=False)
    folder = tmp_path / "z"
    folder.mkdir()
    for name, (data, _) in BAD.items():
        (folder / name).write_bytes(data)
    reasons = {name: reason for name, (_, reason) in BAD.items()} | badfiles.unreadable(folder)
    listed = tmp_path / "bad.jsonl"
    with pytest.warns(gpustats.ImagesFailedWarning, match=r"could not be read"):
        stats = gpustats.compute(tmp_path, isolate=device == "processes", failures=listed, progress=False)
    assert stats.totals == expected.totals
    assert {failure.key.removeprefix("z/"): failure.reason for failure in stats.failures} == reasons
    lines = [json.loads(line) for line in listed.read_text().splitlines()]
    assert sorted(Failure(**line) for line in lines) == list(stats.failures)


def test_a_folder_named_like_an_image_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "x.jpg" / "y.jpg").write_bytes(encoded(photo()))
    assert gpustats.compute(tmp_path, progress=False).n_images == 1
    with pytest.raises(gpustats.AllImagesFailed) as caught:
        gpustats.compute([str(tmp_path / "x.jpg"), str(tmp_path / "gone.jpg")], progress=False)
    assert [failure.reason for failure in caught.value.partial.failures] == ["missing", "unreadable"]


def test_a_file_that_vanishes_while_the_run_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(photo())
    for i in range(400):
        (tmp_path / f"{i:03d}.jpg").write_bytes(data)
    listing = folder._listing

    def then_vanish(*arguments: Any) -> Any:
        entries = listing(*arguments)
        (tmp_path / "399.jpg").unlink()  # the scan has seen it, nobody has read it yet
        return entries

    monkeypatch.setattr(folder, "_listing", then_vanish)
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = gpustats.compute(tmp_path, workers=1, progress=False)
    assert stats.n_images == 399
    assert [(failure.key, failure.reason) for failure in stats.failures] == [("399.jpg", "missing")]


def test_the_failure_file_names_all_where_the_result_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.failures.LISTED_AT_MOST", 10)
    for i in range(50):
        (tmp_path / f"{i:02d}.jpg").write_bytes(b"no image")
    (tmp_path / "good.png").write_bytes(encoded(photo(), "PNG"))
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = gpustats.compute(tmp_path, failures=tmp_path / "bad.jsonl", progress=False)
    assert len(stats.failures) == 50
    assert [failure.key for failure in stats.failures] == [f"{i:02d}.jpg" for i in range(10)]
    keys = {json.loads(line)["key"] for line in (tmp_path / "bad.jsonl").read_text().splitlines()}
    assert keys == {f"{i:02d}.jpg" for i in range(50)}


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode on Windows")
def test_a_name_that_is_not_utf8_survives_the_failure_file(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.jpg")
    try:
        (tmp_path / name).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (tmp_path / "good.png").write_bytes(encoded(photo(), "PNG"))
    with pytest.warns(gpustats.ImagesFailedWarning):
        gpustats.compute(tmp_path, failures=tmp_path / "bad.jsonl", progress=False)
    (line,) = (tmp_path / "bad.jsonl").read_text().splitlines()
    assert json.loads(line)["key"] == name


def test_a_failure_file_that_cannot_be_written(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(gpustats.DataError, match=r"bad\.jsonl: the list of failures cannot be written: No such"):
        gpustats.compute(photos, failures=tmp_path / "nowhere" / "bad.jsonl", progress=False)
    if os.path.exists("/dev/full"):
        with pytest.raises(gpustats.DataError, match=r"cannot be written: No space left"):
            gpustats.compute([str(tmp_path / "gone.jpg")], failures="/dev/full", progress=False)


def test_a_share_of_failures(tmp_path: Path) -> None:
    write_photos(tmp_path, 9)
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with pytest.warns(gpustats.ImagesFailedWarning):
        assert gpustats.compute(tmp_path, max_failures=0.1, progress=False).n_images == 9
    with pytest.raises(gpustats.TooManyFailures, match=r"1 of 10 images failed, more than max_failures=0.09") as caught:
        gpustats.compute(tmp_path, max_failures=0.09, progress=False)
    assert caught.value.partial.n_images == 9
    assert caught.value.partial.complete


def test_a_share_is_judged_early_once_enough_was_seen() -> None:
    limit = FailureLimit(0.1)
    assert not limit.exceeded(failed=999, seen=999)
    assert limit.exceeded(failed=101, seen=1000)
    assert not limit.exceeded(failed=100, seen=1000)
    assert limit.exceeded(failed=2, seen=10, final=True)
    assert not FailureLimit(None).exceeded(failed=10, seen=10, final=True)
    assert not FailureLimit(1).exceeded(failed=1, seen=1)


@pytest.mark.parametrize("bad", [-1, -0.1, 1.5, True, float("nan"), "many"])
def test_limits_that_make_no_sense(bad: object, photos: Path) -> None:
    with pytest.raises(ValueError, match=r"max_failures should be a count"):
        gpustats.compute(photos, max_failures=bad, progress=False)  # type: ignore[arg-type]


def test_the_list_of_failures_does_not_depend_on_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.failures.LISTED_AT_MOST", 5)
    failures = [Failure(f"{i:02d}", "corrupt", "") for i in range(20)]
    forward, backward, halves = FailureLog(), FailureLog(), [FailureLog(), FailureLog()]
    for log, some in (
        (forward, failures),
        (backward, failures[::-1]),
        (halves[0], failures[::2]),
        (halves[1], failures[1::2]),
    ):
        for failure in some:
            log.add(failure)
    assert forward == backward == halves[0].merged(halves[1]) == halves[1].merged(halves[0])
    assert LISTED_AT_MOST > 5
