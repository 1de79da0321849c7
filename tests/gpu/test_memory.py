"""The encoded bytes that the GPU engine holds at any time, measured on the objects themselves."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpustats.engines.feed import Feed
from gpustats.engines.screen import screen
from gpustats.limits.memory import ByteLimit
from gpustats.sources import Batch, open_source
from tests.gpu.host_reduce import HostReducer
from tests.gpu.test_engine import batch_of, engine_for, fake, on_cpu, run
from tests.images import encoded, photo

pytestmark = pytest.mark.timeout(30)  # a deadlock is a failure


class Held:
    """Counts the bytes of files that are alive."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.RLock()

    def add(self, size: int) -> None:
        with self._lock:
            self.now += size
            self.most = max(self.most, self.now)

    def reader(self, data: bytes) -> Callable[[int], bytes]:
        """Return an item that reads `data` anew each time."""
        held = self

        class Counted(bytes):
            def __new__(cls) -> Counted:
                held.add(len(data))
                return super().__new__(cls, data)

            def __del__(self) -> None:
                held.add(-len(self))

        return lambda max_bytes: Counted()


def count_arenas(monkeypatch: pytest.MonkeyPatch, held: Held) -> None:
    """Count the memory of batches, too, from when it is made until nothing refers to it."""
    make = Feed._arena

    def arena(feed: Feed) -> Any:
        spare = bool(feed._spare)
        memory = make(feed)
        if not spare:
            held.add(memory.nbytes)
            weakref.finalize(memory, held.add, -memory.nbytes)
        return memory

    monkeypatch.setattr(Feed, "_arena", arena)


def padded(data: bytes, size: int) -> bytes:
    """Bring a JPEG to `size` bytes or a little less by application segments, as cameras write them."""
    start, rest = data[:2], data[2:]
    while len(start) + len(rest) + 1000 < size:
        length = min(size - len(start) - len(rest) - 4, 65000)
        start += b"\xff\xef" + (length + 2).to_bytes(2, "big") + bytes(length)
    return start + rest


JPEG = encoded(photo(30, 40))
PNG = encoded(photo(30, 40), "PNG")


def open_when_nothing_moves(asked: list[int], gate: threading.Event) -> None:
    """Open the gate when the source was asked for nothing more for a while: everybody who can wait waits then."""
    seen = -1
    while seen != len(asked):
        seen = len(asked)
        gate.wait(0.2)
    gate.set()


@pytest.mark.parametrize(
    ("memory", "size"), [(1 << 20, 20_000), (1 << 20, 200_000), (8 << 20, 200_000), (1 << 20, 1_000_000)]
)
@pytest.mark.parametrize("kind", ["jpeg", "png", "both"])
def test_bytes_held_while_decoders_stand_still(
    monkeypatch: pytest.MonkeyPatch, memory: int, size: int, kind: str
) -> None:
    held = Held()
    jpeg, png = held.reader(padded(JPEG, size)), held.reader(PNG + bytes(size - len(PNG)))
    asked: list[int] = []
    gate = threading.Event()
    of_kind = {"jpeg": [jpeg], "png": [png], "both": [jpeg, png]}[kind]

    def batches() -> Iterator[Batch]:
        for i in range(30):
            asked.append(i)
            items = [of_kind[(i + k) % len(of_kind)] for k in range(3)]
            yield Batch([f"{i}/{k}" for k in range(3)], [""] * 3, items)  # type: ignore[arg-type]

    fake(monkeypatch, lambda number, images: images)
    launch, for_cpu = HostReducer.launch, Feed.for_cpu

    def launch_later(*args: Any) -> Any:
        gate.wait()
        return launch(*args)

    def for_cpu_later(*args: Any, **options: Any) -> Iterator[Batch]:
        gate.wait()
        yield from for_cpu(*args, **options)

    monkeypatch.setattr(HostReducer, "launch", launch_later)
    monkeypatch.setattr(Feed, "for_cpu", for_cpu_later)
    count_arenas(monkeypatch, held)
    watcher = threading.Thread(target=open_when_nothing_moves, args=(asked, gate))
    watcher.start()
    engine = engine_for(memory=memory, batch_size=64)
    totals, failures = run(engine, batches())
    watcher.join()
    assert totals.images + len(failures) == 90
    not_asked_for_yet = 2 * size  # a function does not say how much it will read: one image for each of two readers
    assert held.most <= memory + not_asked_for_yet
    assert held.most > memory // 8, "reads ahead"


@pytest.mark.parametrize("memory", [1000, 1 << 20])
@pytest.mark.parametrize("kind", ["files", "in memory"])
def test_images_larger_than_the_limit_pass_alone(tmp_path: Path, kind: str, memory: int) -> None:
    """Between small ones, that their reader has not handed over yet."""
    large = padded(JPEG, 400_000)
    assert screen(large, 10**9) == (30, 40)
    images = {f"{i}.{name}": data for i in range(6) for name, data in (("jpg", large), ("png", PNG))}
    for name, data in images.items():
        (tmp_path / name).write_bytes(data)

    def batches() -> Iterator[Batch]:
        return open_source(tmp_path).batches() if kind == "files" else batch_of(images)

    engine = engine_for(memory=memory, readers=3)
    assert run(engine, batches()) == on_cpu(batches())


def test_a_gpu_that_is_given_up_leaves_its_images_to_a_cpu_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(number: int, images: Any) -> Any:
        raise RuntimeError("an illegal memory access was encountered")

    fake(monkeypatch, broken)
    images = [padded(JPEG, 5_000), PNG + bytes(5_000 - len(PNG))]

    def batches() -> Iterator[Batch]:
        for i in range(60):
            yield Batch([f"{i}/{k}" for k in range(4)], [""] * 4, [images[(i + k) % 2] for k in range(4)])

    engine = engine_for(memory=1 << 18)
    assert run(engine, batches()) == on_cpu(batches())
    assert engine.report()["gpu_given_up"]


def test_the_limit_of_bytes() -> None:
    limit = ByteLimit(100)
    assert limit.take(60) == 60
    assert limit.try_take(41) is None
    assert limit.try_take(40) == 40
    limit.release(100)
    assert limit.take(5000) == 100, "alone"
    assert limit.try_take(1) is None
    passed = threading.Event()

    def wait() -> None:
        limit.take(1)
        passed.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not passed.is_set()
    limit.close()
    thread.join(10)
    assert passed.is_set()
