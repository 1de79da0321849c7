"""Read-ahead for the GPU: what goes where, batch limits, halving, failures of the source, the GPU given up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gpustats.engines.feed import Feed, Stopped
from gpustats.engines.gpu_batch import EncodedBatch, EncodedImage
from gpustats.engines.tuning import Tuning
from gpustats.failures import Failure
from gpustats.sources import Batch
from tests.images import encoded, photo

BYTES_OF_ONE = 16 * 16 * 3


def jpegs(count: int, first: int = 0, size: int = 16) -> Batch:
    data = encoded(photo(size, size))
    keys = [f"j{i + first:02d}" for i in range(count)]
    return Batch(keys, ["g" + key for key in keys], [data] * count)


def feed_of(batches: list[Batch] | Iterator[Batch], max_pixels: int = 10**6, **tuning: Any) -> Feed:
    settings = {"readers": 1, "batch_size": 4, "batch_bytes": 1 << 20, **tuning}
    return Feed(iter(batches), Tuning(**settings), max_pixels=max_pixels, max_bytes=1 << 20, memory=1 << 30)


def drained(feed: Feed) -> tuple[list[list[str]], list[Batch]]:
    """Start the readers; return the keys of the GPU's batches and what the CPU was given."""
    threads = feed.start()
    gpu = []
    while (batch := feed.next_for_gpu()) is not None:
        gpu.append(batch.keys)
    assert feed.next_for_gpu() is None, "the end is told again to who asks again"
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    feed.close_cpu()
    return gpu, list(feed.for_cpu(steal=False))


def test_full_batches_and_a_rest() -> None:
    gpu, cpu = drained(feed_of([jpegs(3), jpegs(2, first=3), jpegs(1, first=5)]))
    assert gpu == [["j00", "j01", "j02", "j03"], ["j04", "j05"]]
    assert cpu == []


@pytest.mark.parametrize(
    ("room", "sizes"), [(2 * BYTES_OF_ONE, [2, 2]), (2 * BYTES_OF_ONE - 1, [1, 1, 1]), (1, [1, 1, 1])]
)
def test_bytes_of_pixels_bound_a_batch(room: int, sizes: list[int]) -> None:
    gpu, _ = drained(feed_of([jpegs(sum(sizes))], batch_bytes=room))
    assert [len(batch) for batch in gpu] == sizes


def test_what_the_gpu_does_not_take_goes_to_the_cpu_with_its_key_and_group() -> None:
    array = np.zeros((2, 2, 3), np.uint8)
    png = encoded(photo(), "PNG")
    good = jpegs(1)
    mixed = Batch(["a", *good.keys, "b"], ["ga", *good.groups, "gb"], [array, *good.items, png])
    gpu, cpu = drained(feed_of([mixed]))
    assert gpu == [["j00"]]
    [batch] = cpu
    assert (batch.keys, batch.groups) == (["a", "b"], ["ga", "gb"])
    assert batch.items[0] is array
    assert batch.items[1] == png


@pytest.mark.parametrize(("limit", "takes"), [(256, True), (255, False)])
def test_images_too_large_for_the_gpu_go_to_the_cpu(limit: int, takes: bool) -> None:
    gpu, cpu = drained(feed_of([jpegs(1)], max_gpu_pixels=limit))
    assert (bool(gpu), bool(cpu)) == (takes, not takes)


def test_failures_of_the_source_and_of_reading_are_passed_on_once() -> None:
    cut = Failure("shard", "truncated", "it ends early")
    only = Batch([], [], [], (Failure("other", "missing", "no such file"),))
    good = jpegs(2)

    def broken(most: int) -> bytes:
        raise OSError("the disk is gone")

    keys, groups = [*good.keys, "gone", "broken"], [*good.groups, "", ""]
    mixed = Batch(keys, groups, [*good.items, "no/such/file.jpg", broken], (cut,))
    gpu, cpu = drained(feed_of([mixed, only], max_pixels=10**6))
    assert gpu == [["j00", "j01"]]
    assert [(key, item) for batch in cpu for key, item in zip(batch.keys, batch.items, strict=True)] == [
        ("gone", "no/such/file.jpg")
    ], "the CPU engine says what is wrong with a file"
    told = [(f.key, f.reason) for batch in cpu for f in batch.failures]
    assert told == [("shard", "truncated"), ("broken", "unreadable"), ("other", "missing")]


def test_images_over_max_pixels_are_left_to_the_cpu_which_refuses_them() -> None:
    gpu, cpu = drained(feed_of([jpegs(2), jpegs(1, first=2, size=20)], max_pixels=256))
    assert gpu == [["j00", "j01"]]
    assert [key for batch in cpu for key in batch.keys] == ["j02"]


def test_work_for_the_cpu_comes_in_batches_of_bounded_size() -> None:
    """Each over 3 MB: three are more than 8 MiB, and a batch ends with the one that passes it."""
    cut = Failure("shard", "truncated", "it ends early")
    large = b"no jpeg" + bytes(3 << 20)
    batch = Batch([str(i) for i in range(7)], [""] * 7, [large] * 7, (cut,))
    feed = Feed(iter([batch]), Tuning(readers=1), max_pixels=10**6, max_bytes=1 << 30, memory=1 << 40)
    _, cpu = drained(feed)
    assert [part.keys for part in cpu] == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert [failure for part in cpu for failure in part.failures] == [cut]


def test_halving_down_to_one_image() -> None:
    feed = feed_of([], batch_size=5, batch_bytes=1000)
    assert [feed.halve_batches() for _ in range(4)] == [True, True, False, False]


def test_batches_made_before_a_halving_are_too_large_after_it() -> None:
    def batch(count: int) -> EncodedBatch:
        return EncodedBatch.of([EncodedImage("key", "", b"")] * count, [(16, 16, 3)] * count)

    feed = feed_of([], batch_size=4, batch_bytes=4 * BYTES_OF_ONE)
    assert [feed.is_too_large(batch(n)) for n in (1, 4, 5)] == [False, False, True]
    feed.halve_batches()
    assert [feed.is_too_large(batch(n)) for n in (1, 2, 3)] == [False, False, True]
    by_bytes = feed_of([], batch_size=100, batch_bytes=3 * BYTES_OF_ONE)
    assert [by_bytes.is_too_large(batch(n)) for n in (1, 3, 4)] == [False, False, True]
    by_bytes.halve_batches()
    assert [by_bytes.is_too_large(batch(n)) for n in (1, 2)] == [False, True], "one image is a batch, however large"
    assert feed_of([], batch_bytes=1).is_too_large(batch(1)) is False


def test_halved_batches_are_read_as_such() -> None:
    feed = feed_of([jpegs(8)], batch_size=8)
    feed.halve_batches()
    assert [len(batch) for batch in drained(feed)[0]] == [4, 4]


def test_after_the_gpu_is_closed_everything_goes_to_the_cpu() -> None:
    feed = feed_of([jpegs(3)])
    feed.close_gpu()
    gpu, cpu = drained(feed)
    assert gpu == []
    assert [batch.keys for batch in cpu] == [["j00", "j01", "j02"]], "in one piece, without a detour"


def test_a_batch_that_waits_for_the_gpu_when_it_is_closed_goes_to_the_cpu_image_by_image() -> None:
    """The queue holds two batches; the third waits."""
    feed = feed_of([jpegs(6)], batch_size=2)
    reader = feed.start()[0]
    first = feed.next_for_gpu()
    assert first is not None
    feed.close_gpu()
    rest = [first]
    while (batch := feed.next_for_gpu()) is not None:
        rest.append(batch)
    reader.join(30)
    feed.close_cpu()
    cpu = list(feed.for_cpu(steal=False))
    keys = [key for batch in rest for key in batch.keys] + [key for batch in cpu for key in batch.keys]
    assert sorted(keys) == [f"j{i:02d}" for i in range(6)]
    assert all(batch.groups == ["g" + batch.keys[0]] for batch in cpu if len(batch) == 1)


def test_stealing_takes_whole_batches_of_the_source_and_then_what_is_queued() -> None:
    feed = feed_of([jpegs(2), jpegs(1, first=2)])
    work = feed.for_cpu(steal=True)
    assert next(work).keys == ["j00", "j01"]
    feed.images_to_cpu([EncodedImage("queued", "", b"")])
    assert next(work).keys == ["queued"], "what is queued comes first"
    assert next(work).keys == ["j02"]
    feed.close_cpu()
    assert list(work) == []


def test_a_reader_that_waits_for_memory_ends_with_the_run() -> None:
    batch = Batch(["a", "b"], ["", ""], [b"x" * 900] * 2)
    feed = Feed(iter([batch]), Tuning(readers=1), max_pixels=10**6, max_bytes=1 << 20, memory=4000)
    [reader] = feed.start()
    assert next(feed.for_cpu(steal=False)).keys == ["a"]
    feed.stop()
    reader.join(30)
    assert not reader.is_alive()


def test_an_error_of_the_source_stops_the_run() -> None:
    def batches() -> Iterator[Batch]:
        yield jpegs(1)
        raise ZeroDivisionError("broken")

    feed = feed_of(batches())
    for thread in feed.start():
        thread.join(30)
    assert isinstance(feed.error, ZeroDivisionError)
    with pytest.raises(Stopped):
        feed.next_for_gpu()
    with pytest.raises(Stopped):
        feed.images_to_cpu([EncodedImage("late", "", b"")])
    assert list(feed.for_cpu(steal=True)) == []


@pytest.mark.parametrize("readers", [1, 2, 5])
def test_the_end_is_told_once_all_readers_are_done(readers: int) -> None:
    feed = feed_of([jpegs(3, first=3 * i) for i in range(6)], readers=readers, batch_size=100)
    threads = feed.start()
    assert [thread.name for thread in threads] == [f"gpustats-read-{i}" for i in range(readers)]
    gpu, cpu = [], []
    while (batch := feed.next_for_gpu()) is not None:
        gpu += batch.keys
    feed.close_cpu()
    cpu = list(feed.for_cpu(steal=False))
    assert (sorted(gpu), cpu) == ([f"j{i:02d}" for i in range(18)], [])
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
