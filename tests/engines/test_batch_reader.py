"""Files and images that are read and screened together without the interpreter lock, and the memory they are in."""

from __future__ import annotations

import io
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpustats.decode.decoder import jpeg_header
from gpustats.engines.base import Outcome
from gpustats.engines.feed import Feed
from gpustats.engines.filling import Filling
from gpustats.engines.gpu_batch import EncodedBatch
from gpustats.engines.screen import screen
from gpustats.engines.tuning import Tuning
from gpustats.failures import Failure, ImageError
from gpustats.sources import Batch, open_source
from gpustats.sources.files.names import Names
from gpustats.statistics.rows import NO_ROWS
from tests.badfiles import everything
from tests.gpu.test_engine import HARD, batch_of, engine_for, fake, on_cpu, photos_of, run
from tests.images import encoded, photo

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the GPU engine exists where DALI does, on Linux")

ROOM = 100_000


def filling(images: int = 100, size: int = ROOM, pixels: int = 10**9) -> Filling:
    limits = np.array([images, size, pixels, 10**9], np.int64)
    return Filling(images, lambda: np.zeros(size, np.uint8), lambda: limits)


def contents(batch: EncodedBatch) -> dict[str, bytes]:
    return {batch.keys[i]: batch.image(i).data for i in range(len(batch))}


def written(folder: Path, files: dict[str, bytes]) -> list[str]:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [str(folder / name) for name in files]


def drained(feed: Feed) -> tuple[list[EncodedBatch], list[Batch]]:
    """Return what the GPU was given, and what the CPU was, which is done with it at once."""
    cpu: list[Batch] = []

    def work() -> None:
        for batch in feed.for_cpu(steal=False):
            cpu.append(batch)
            feed.done_by_cpu(Outcome(NO_ROWS, [Failure(key, "corrupt", "") for key in batch.keys]))

    worker = threading.Thread(target=work)
    worker.start()
    threads = feed.start()
    gpu = []
    while (batch := feed.next_for_gpu()) is not None:
        gpu.append(batch)
    feed.close_cpu()
    for thread in (*threads, worker):
        thread.join(30)
        assert not thread.is_alive()
    return gpu, cpu


def feed_of(batches: Iterator[Batch], memory: int, **tuning: Any) -> Feed:
    return Feed(batches, Tuning(**tuning), max_pixels=10**8, max_bytes=1 << 30, memory=memory)


# -- files
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HARD)
def test_files_and_images_in_memory_are_sorted_alike(tmp_path: Path, name: str) -> None:
    [path] = written(tmp_path, {"file": HARD[name]})
    from_file, from_memory = filling(), filling()
    taken = np.zeros(1, np.bool_)
    assert from_file.read(Names([path]), 0, ["key"], ["group"], taken) == 1
    added = from_memory.add("key", "group", HARD[name])
    expected = screen(HARD[name], 10**9) is not None
    assert taken.tolist() == [expected] == [bool(added)]
    if expected:
        batches = from_file.take(), from_memory.take()
        assert [contents(batch) for batch in batches] == [{"key": HARD[name]}] * 2
        assert [batch.groups for batch in batches] == [["group"]] * 2
        assert [(batch.heights.item(), batch.widths.item()) for batch in batches] == [screen(HARD[name], 10**9)] * 2


@pytest.mark.parametrize("batch_size", [1, 3, 256])
@pytest.mark.parametrize("memory", [1 << 14, 1 << 17, 1 << 26])
@pytest.mark.parametrize("kind", ["files", "bytes", "both"])
def test_images_of_any_kind_and_size_in_batches_of_any_size(
    tmp_path: Path, kind: str, memory: int, batch_size: int
) -> None:
    """Every image is in one batch for the GPU, whole, or handed to the CPU as it was given."""
    images = {**photos_of(40), **{f"large{i}": encoded(photo(150 + i, 200, seed=i)) for i in range(5)}, **HARD}
    paths = written(tmp_path, images)
    items: list[Any] = list(images.values()) if kind == "bytes" else paths
    if kind == "both":
        items[::3] = list(images.values())[::3]
    batches = iter([Batch(list(images), [f"g{key}" for key in images], items)])
    gpu, cpu = drained(feed_of(batches, memory, batch_size=batch_size, readers=2))
    found = [(key, group) for batch in gpu for key, group in zip(batch.keys, batch.groups, strict=True)]
    found += [(key, group) for batch in cpu for key, group in zip(batch.keys, batch.groups, strict=True)]
    assert sorted(found) == sorted((key, f"g{key}") for key in images)
    assert all(len(batch) <= batch_size for batch in gpu)
    for batch in gpu:
        assert contents(batch) == {key: images[key] for key in batch.keys}
        assert int(batch.sizes.sum()) <= len(batch.arena)
    given = dict(zip(images, items, strict=True))
    assert all(item == given[key] for batch in cpu for key, item in zip(batch.keys, batch.items, strict=True))
    if memory == 1 << 26:
        ordinary = {key for key, data in images.items() if screen(data, 10**8) is not None}
        assert {key for batch in gpu for key in batch.keys} == ordinary


def test_names_that_are_not_utf8_or_hold_a_null_character(tmp_path: Path) -> None:
    data = encoded(photo())
    odd = os.fsdecode(b"\xff\xfe.jpg")
    paths = written(tmp_path, {"ä ö.jpg": data, odd: data, "c.jpg": data})
    fill, taken = filling(), np.zeros(3, np.bool_)
    assert fill.read(Names(paths), 0, ["a", "b", "c"], [""] * 3, taken) == 3
    assert taken.all()
    assert contents(fill.take()) == dict.fromkeys("abc", data)
    with pytest.raises(ValueError, match="null character"):
        Names(["a\0b.jpg"])
    batch = Batch(["null", "good"], ["", ""], ["a\0b.jpg", paths[0]])
    _, cpu = drained(feed_of(iter([batch]), 1 << 26))
    assert [key for part in cpu for key in part.keys] == ["null", "good"], "the CPU engine says which is wrong"


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_bytes(b"")
    paths = [str(tmp_path / name) for name in ("folder", "pipe", "empty", "missing")] + ["/dev/zero", "/dev/null", ""]
    fill, taken = filling(), np.ones(len(paths), np.bool_)
    assert fill.read(Names(paths), 0, paths, [""] * len(paths), taken) == len(paths)
    assert not taken.any()
    assert len(fill) == 0


def test_files_that_are_no_jpegs_are_not_read_to_their_end(tmp_path: Path) -> None:
    """Behind what was read of one stands what was in the arena before: another image, with its end marker."""
    stale = encoded(photo(250, 250), quality=95)
    size = 70_000
    assert len(stale) < size
    arena = np.zeros(2 * size, np.uint8)
    arena[: len(stale)] = np.frombuffer(stale, np.uint8)
    arena[size - 2 : size] = 0xFF, 0xD9
    fill = Filling(10, lambda: arena, lambda: np.array([10, 2 * size, 10**9, 10**9], np.int64))
    paths = written(tmp_path, {"png": b"\x89PNG" + bytes(size - 4)})
    taken = np.ones(1, np.bool_)
    fill.read(Names(paths), 0, ["png"], [""], taken)
    assert taken.tolist() == [False]
    assert arena[size - 2 : size].tolist() == [0xFF, 0xD9], "not read"
    assert bytes(arena[:4]) == b"\x89PNG"


@pytest.mark.parametrize("kind", ["files", "in memory"])
def test_nothing_is_written_behind_the_limit_of_an_arena(tmp_path: Path, kind: str) -> None:
    images = photos_of(60)
    total = sum(map(len, images.values()))
    paths, keys = written(tmp_path, images), list(images)
    for limit in range(total // 2, total // 2 + 2000, 97):
        arena = np.zeros(2 * total, np.uint8)
        limits = np.array([100, limit, 10**9, 10**9], np.int64)
        fill = Filling(100, lambda arena=arena: arena, lambda limits=limits: limits)  # type: ignore[misc]
        if kind == "files":
            count = fill.read(Names(paths), 0, keys, keys, np.zeros(len(keys), np.bool_))
        else:
            count = next(i for i, (key, data) in enumerate(images.items()) if not fill.add(key, "", data))
        batch = fill.take()
        assert batch.keys == keys[:count]
        assert limit - len(images[keys[count]]) < int(batch.sizes.sum()) <= limit
        assert not arena[limit:].any()


def test_a_jpeg_of_several_reads(tmp_path: Path) -> None:
    large = encoded(photo(600, 700), quality=98)
    assert len(large) > 3 << 16
    fill = filling(size=1 << 22)
    names = Names(written(tmp_path, {"a": large, "b": large}))
    fill.read(names, 0, ["a", "b"], ["", ""], np.zeros(2, np.bool_))
    assert contents(fill.take()) == {"a": large, "b": large}


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc")
def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    files = {**photos_of(5), **HARD, **{f"large{i}": encoded(photo(400, 400)) for i in range(3)}}
    paths = written(tmp_path, files)
    before = len(os.listdir("/proc/self/fd"))
    drained(feed_of(open_source(paths).batches(), 1 << 18, readers=1))
    assert len(os.listdir("/proc/self/fd")) == before


def test_several_threads_read_the_same_files(tmp_path: Path) -> None:
    paths = written(tmp_path, photos_of(60))
    expected = {path: Path(path).read_bytes() for path in paths}
    found: list[dict[str, bytes]] = []

    def read() -> None:
        fill = filling(size=1 << 22)
        fill.read(Names(paths), 0, paths, [""] * len(paths), np.zeros(len(paths), np.bool_))
        found.append(contents(fill.take()))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [expected] * 8


# -- arenas
# ---------------------------------------------------------------------------------------------------------------


def test_an_arena_is_used_again_only_when_nobody_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that are halved, images that the decoder did not write: all find the right bytes."""
    seen: list[int] = []

    def fault(number: int, images: list[np.ndarray]) -> list[np.ndarray]:
        if len(images) > 4:
            raise RuntimeError("cudaErrorMemoryAllocation out of memory")
        seen.append(len(images))
        if number % 3 == 0:  # of a first half and of a second half in turn
            images[-1] = np.zeros_like(images[-1])
        return images

    fake(monkeypatch, fault)
    images = photos_of(200)

    def batches() -> Iterator[Batch]:
        for start in range(0, 200, 8):
            yield from batch_of(dict(list(images.items())[start : start + 8]))

    recycle = Feed.recycle

    def emptied(feed: Feed, batch: EncodedBatch) -> None:
        if batch.whole:  # before a reader may fill it again
            batch.arena[:] = 0  # whoever still needs it finds nothing
        recycle(feed, batch)

    monkeypatch.setattr(Feed, "recycle", emptied)
    engine = engine_for(batch_size=8, readers=1)
    assert run(engine, batches()) == on_cpu(batches())
    assert engine.report()["not_written"] > 10


# -- the screen
# ---------------------------------------------------------------------------------------------------------------


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    return data[:2] + segment(marker, body) + data[2:]


def without_jfif(data: bytes) -> bytes:
    assert data[2:4] == b"\xff\xe0"
    return data[:2] + data[4 + struct.unpack(">H", data[4:6])[0] :]


def renamed(data: bytes, ids: bytes) -> bytes:
    """Give the components other names, in the frame and in the scan."""
    changed = bytearray(data)
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    for i, name in enumerate(ids):
        changed[frame + 10 + 3 * i] = name
        changed[scan + 5 + 2 * i] = name
    return bytes(changed)


def adobe(transform: int) -> bytes:
    return b"Adobe\0\x64\0\0\0\0" + bytes([transform])


PLAIN = encoded(photo(40, 50, seed=3), subsampling=0)


@pytest.mark.parametrize(
    ("data", "takes"),
    {
        "JFIF": (PLAIN, True),
        "no marker": (without_jfif(PLAIN), True),
        "no marker, components 0, 1, 2": (renamed(without_jfif(PLAIN), b"\0\1\2"), True),
        "components RGB": (renamed(without_jfif(PLAIN), b"RGB"), False),
        "Adobe says YCbCr": (with_segment(without_jfif(PLAIN), 0xEE, adobe(1)), True),
        "Adobe says RGB": (with_segment(without_jfif(PLAIN), 0xEE, adobe(0)), False),
        "Adobe says YCCK": (with_segment(without_jfif(PLAIN), 0xEE, adobe(2)), False),
        "Adobe's words in another segment": (with_segment(without_jfif(PLAIN), 0xE2, adobe(0)), True),
        "another segment 14": (with_segment(without_jfif(PLAIN), 0xEE, b"Other" + bytes(20)), True),
    }.values(),
    ids=lambda value: None if isinstance(value, bytes) else str(value),
)
def test_the_screen_agrees_with_libjpeg(data: bytes, takes: bool) -> None:
    """What libjpeg decodes as something else than YCbCr is not for the GPU."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft(None, None)
        image.load()
    assert (screen(data, 10**9) is not None) == takes
    if takes:
        expected = np.asarray(Image.open(io.BytesIO(PLAIN)))
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), expected)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restart", [0, 3])
def test_the_size_of_ordinary_files(subsampling: str, mode: str, progressive: bool, restart: int) -> None:
    image = photo(67, 300, seed=1).convert(mode)
    data = encoded(image, subsampling=subsampling, progressive=progressive, restart_marker_blocks=restart)
    assert screen(data, 67 * 300) == (67, 300)
    assert screen(data, 67 * 300 - 1) is None


def test_broken_files_are_left_to_the_cpu_or_look_whole() -> None:
    """Whatever the screen takes begins and ends as a JPEG, and has the size that Pillow reads."""
    for name, (data, *_) in everything().items():
        size = screen(data, 10**12)
        if size is not None:
            assert data[:2] == b"\xff\xd8", name
            with Image.open(io.BytesIO(data)) as image:
                assert (image.height, image.width) == size, name


def test_changed_headers_never_give_another_size_or_colour_than_libjpeg() -> None:
    """Bytes of a header set to other values: the screen refuses, reads what libjpeg reads, or libjpeg refuses."""
    rng = np.random.default_rng(0)
    taken = 0
    for position in range(2, PLAIN.index(b"\xff\xda") + 14):
        for value in {0, 1, 0x11, 0xC0, 0xD9, 0xDA, 0xFF, *rng.integers(0, 256, 9).tolist()}:
            data = PLAIN[:position] + bytes([value]) + PLAIN[position + 1 :]
            size = screen(data, 10**12)
            with suppress(ImageError):
                header = jpeg_header(data)
                if size is not None and header is not None:
                    taken += 1
                    assert header[:2] == size, (position, value)
                    assert header[2] in ("YCbCr", "Gray"), (position, value)
    assert taken > 5000


def test_a_file_with_too_many_scans_is_left_to_the_cpu() -> None:
    """A few kilobytes that ask for thousands of passes over all pixels."""
    data = encoded(photo(64, 64), progressive=True)
    frame, scan = data.index(b"\xff\xc2"), data.index(b"\xff\xda")
    huge = data[: frame + 5] + struct.pack(">HH", 8000, 8000) + data[frame + 9 : -2]
    length = struct.unpack(">H", data[scan + 2 : scan + 4])[0]
    one = data[scan : scan + 2 + length] + b"\0" * 4
    assert screen(huge + b"\xff\xd9", 10**9) == (8000, 8000)
    assert screen(huge + one * 50 + b"\xff\xd9", 10**9) == (8000, 8000), "encoders write about ten"
    assert screen(huge + one * 5000 + b"\xff\xd9", 10**9) is None


def with_scans(scans: int, height: int, width: int) -> bytes:
    """A progressive JPEG whose header claims a size, with so many short scans."""
    data = encoded(photo(64, 64), progressive=True)
    frame, scan = data.index(b"\xff\xc2"), data.index(b"\xff\xda")
    length = struct.unpack(">H", data[scan + 2 : scan + 4])[0]
    one = data[scan : scan + 2 + length] + b"\0" * 4
    header = data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 : scan]
    assert b"\xff\xda" not in header
    return header + one * scans + b"\xff\xd9"


@pytest.mark.parametrize(("scans", "takes"), [(199, True), (200, True), (201, False)])
def test_how_much_work_scans_may_be(scans: int, takes: bool) -> None:
    """Pixels times scans of 2,000,000,000, as the CPU decoder allows."""
    assert (screen(with_scans(scans, 2000, 5000), 10**9) is not None) == takes


@pytest.mark.parametrize(("scans", "takes"), [(99, True), (100, True), (101, False)])
def test_how_many_scans_may_be(scans: int, takes: bool) -> None:
    """A hundred, of an image that is too large for more."""
    assert (screen(with_scans(scans, 8000, 8000), 10**9) is not None) == takes
