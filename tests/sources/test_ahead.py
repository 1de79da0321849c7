"""Remote files are fetched ahead: latency is hidden, bytes are bounded, and failing requests change no integer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import gpustats
from benchmarks.latency import served
from gpustats.failures import Failure, ImageError
from gpustats.sources import SourceOptions, ahead, open_source
from gpustats.sources.ahead import fetched_ahead
from gpustats.sources.base import Batch, Part, grouped
from gpustats.sources.files import remote
from gpustats.sources.files import retry as retrying
from gpustats.sources.files.remote import UNKNOWN, FirstFound, RemoteFile
from gpustats.sources.files.retry import ATTEMPTS, Attempts, Budget, retry
from gpustats.sources.places import remote_folder
from gpustats.sources.reader import Reader
from tests.images import encoded, photo
from tests.sources.test_containers import integers

fsspec: Any = pytest.importorskip("fsspec", reason="fsspec is not installed")


class Slow:
    """A file system that notes what is asked at a time, in threads or in an event loop."""

    protocol = "slow"

    def __init__(self, loop: Any = None, wait: float = 0.01) -> None:
        self.loop, self.async_impl, self.wait = loop, loop is not None, wait
        self.asked: Counter[str] = Counter()
        self.most = self._now = 0
        self._lock = threading.Lock()

    def _begin(self, path: str) -> None:
        with self._lock:
            self.asked[path] += 1
            self._now += 1
            self.most = max(self.most, self._now)

    def _end(self, path: str) -> bytes:
        with self._lock:
            self._now -= 1
        if path.startswith("bad"):
            raise FileNotFoundError(path)
        return path.encode()

    def cat_file(self, path: str) -> bytes:
        self._begin(path)
        time.sleep(self.wait)
        return self._end(path)

    def info(self, path: str) -> dict[str, int]:
        return {"size": len(path)}

    async def _info(self, path: str) -> dict[str, int]:
        return self.info(path)

    async def _cat_file(self, path: str) -> bytes:
        self._begin(path)
        await asyncio.sleep(self.wait)
        return self._end(path)


@pytest.fixture(params=["threads", "loop"])
def slow(request: pytest.FixtureRequest) -> Iterator[Slow]:
    if request.param == "threads":
        yield Slow()
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield Slow(loop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def files(system: Any, names: list[str], size: int | None = None) -> Iterator[tuple[str, str, RemoteFile]]:
    for name in names:
        yield name, "", RemoteFile(system, name, f"slow://{name}", len(name) if size is None else size)


def read(batches: Any) -> list[Any]:
    found: list[Any] = []
    for batch in batches:
        assert isinstance(batch, Batch)
        for item in batch.items:
            assert callable(item)
            try:
                found.append(item(1 << 30))
            except ImageError as error:
                found.append(error.reason)
    return found


def test_the_order_and_number_of_files(slow: Slow) -> None:
    names = [f"{number:04d}" for number in range(700)]
    assert read(fetched_ahead(grouped(files(slow, names)))) == [name.encode() for name in names]
    assert set(slow.asked.values()) == {1}
    assert 20 < slow.most <= ahead.REQUESTS


def test_files_of_sizes_that_nobody_knows_fill_the_requests(slow: Slow) -> None:
    """As behind a web server, whose listings hold none."""
    slow.wait = 0.05
    names = [f"{number:04d}" for number in range(1000)]
    found = ((name, "", RemoteFile(slow, name, f"slow://{name}")) for name in names)
    assert read(fetched_ahead(grouped(found))) == [name.encode() for name in names]
    assert slow.most > 60 >= ahead._AHEAD_BYTES // UNKNOWN - 4, "they count as those that came before"


def test_large_files_are_not_all_held(slow: Slow) -> None:
    slow.wait = 0.0
    names = [f"{number:02d}" for number in range(50)]
    batches = fetched_ahead(grouped(files(slow, names, size=20 << 20)))
    next(batches)
    time.sleep(0.2)
    assert len(slow.asked) <= 4, "three of 20 MiB are ahead of the first"
    batches.close()


def test_a_failure_is_that_of_its_file(slow: Slow) -> None:
    names = ["a", "bad", "c"]
    assert read(fetched_ahead(grouped(files(slow, names)))) == [b"a", "missing", b"c"]


def test_a_run_that_is_stopped_asks_for_no_more(slow: Slow) -> None:
    slow.wait = 0.05
    batches = fetched_ahead(grouped(files(slow, [f"{number:04d}" for number in range(2000)])))
    first = next(batches)
    assert isinstance(first, Batch)
    batches.close()
    asked = sum(slow.asked.values())
    time.sleep(0.2)
    assert sum(slow.asked.values()) <= asked + ahead.REQUESTS
    assert asked < 400
    for item in first.items:
        assert callable(item)
        try:
            item(1 << 20)
        except Exception as error:  # noqa: BLE001
            assert isinstance(error, ImageError) or type(error).__name__ == "CancelledError"  # noqa: PT017


def test_requests_that_are_stopped_before_they_begin_are_waited_for_by_nobody() -> None:
    """A task that is cancelled before its first step never runs, and its bytes would never come."""
    loop = asyncio.new_event_loop()
    go = threading.Event()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        loop.call_soon_threadsafe(go.wait)
        batches = fetched_ahead(grouped(files(Slow(loop), ["a", "b"])))
        batch = next(batches)
        assert isinstance(batch, Batch)
        batches.close()
        go.set()
        for item in batch.items:
            with pytest.raises(ImageError, match="the run was stopped"):
                item._future.result(timeout=20)  # type: ignore[union-attr]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_what_is_not_remote_passes(slow: Slow) -> None:
    part = Part("p", open_source, ("x",))
    entries = [("a", "", "a.jpg"), *files(slow, ["b"]), ("c", "", b"c"), part, Failure("d", "missing", "x")]
    found = list(fetched_ahead(grouped(entries)))
    assert [type(entry).__name__ for entry in found] == ["Batch", "Part", "Batch"]
    first = found[0]
    assert isinstance(first, Batch)
    assert (first.items[0], first.items[2], first.items[1](9)) == ("a.jpg", b"c", b"b")  # type: ignore[operator]
    assert found[1] is part


def test_the_size_of_a_listing_may_be_out_of_date(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "_FIRST_DELAY", 0.0)

    async def info(path: str) -> dict[str, int]:
        return {"size": len(path)}

    slow._info, slow.info = info, lambda path: {"size": len(path)}  # type: ignore[attr-defined]
    assert read(fetched_ahead(grouped(files(slow, ["abc"], size=2)))) == [b"abc"]
    assert RemoteFile(slow, "abc", "slow://abc")(9) == b"abc"
    with pytest.raises(ImageError, match="the image has 3 bytes"):
        RemoteFile(slow, "abc", "slow://abc")(2)


def test_the_first_file_that_is_found(slow: Slow) -> None:
    def first(*names: str) -> FirstFound:
        return FirstFound([file for _, _, file in files(slow, list(names))])

    entries = [
        (str(number), "", first(*names)) for number, names in enumerate((("a", "b"), ("bad", "b"), ("bad", "bad2")))
    ]
    assert read(fetched_ahead(grouped(entries))) == [b"a", b"b", "missing"]
    assert first("bad", "b")(9) == b"b"
    with pytest.raises(ImageError, match="no such file"):
        first("bad", "bad2")(9)


# Attempts


def test_a_budget_ends_repetitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "time", SimpleNamespace(sleep=lambda seconds: None))
    budget = Budget(free=7, share=0.5)
    asked = []

    def fails() -> None:
        asked.append(1)
        raise OSError

    for _ in range(100):
        with pytest.raises(ImageError, match=r"reading failed"):
            retry(fails, budget)
    assert len(asked) == 100 + 7
    with pytest.raises(ImageError, match="too many other requests failed"):
        retry(fails, budget)
    for _ in range(4):
        retry(lambda: 1, budget)
    asked.clear()
    with pytest.raises(ImageError, match="too many other requests failed"):
        retry(fails, budget)
    assert len(asked) == 1 + 2, "two of four successes"
    for _ in range(100):
        retry(lambda: 1, budget)
    assert [budget.take() for _ in range(8)] == [True] * 7 + [False], "it does not grow beyond its start"


def test_attempts_are_limited_without_a_budget() -> None:
    attempts = Attempts()
    pauses = [attempts.after(OSError()) for _ in range(ATTEMPTS - 1)]
    assert all(0.05 * 2**number <= pause <= 0.1 * 2**number for number, pause in enumerate(pauses))
    with pytest.raises(ImageError, match=f"after {ATTEMPTS} attempts"):
        attempts.after(OSError())


# Listing


class Folders(Slow):
    """Folders with images; listing takes time."""

    def __init__(self, folders: int) -> None:
        super().__init__(wait=0.02)
        self.folders = folders

    def ls(self, path: str, detail: bool) -> list[dict[str, Any]]:
        self._begin(path)
        time.sleep(self.wait)
        self._end(path)
        if path.endswith("/f003/"):
            raise PermissionError
        if path.rstrip("/") == "root":
            return [{"name": f"root/f{number:03d}", "type": "directory"} for number in range(self.folders)]
        return [{"name": f"{path}{number}.jpg", "size": 3} for number in range(2)]


def test_folders_are_listed_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    system = Folders(100)
    monkeypatch.setattr("gpustats.sources.files.remote.connect", lambda url, options: (system, "root"))
    found = list(open_source("slow://root", SourceOptions()).samples())
    names = [entry[0] for entry in found if isinstance(entry, tuple)]
    assert names == [f"f{number:03d}/{image}.jpg" for number in range(100) if number != 3 for image in range(2)]
    failures = [entry for entry in found if isinstance(entry, Failure)]
    assert [(failure.key, failure.reason) for failure in failures] == [("f003", "unreadable")], "the others count"
    assert 4 < system.most <= 2 * remote_folder._LISTERS, "while it was opened, and then"
    source = open_source("slow://root", SourceOptions())
    system.asked.clear()
    for asked in (0, 1):
        assert len(list(source.samples())) == 199
        assert system.asked["root/"] == asked, "opening it has listed it already"
        assert system.asked["root/f000/"] == asked, "and the first folder, in which it found an image"


def test_s3_gets_as_many_connections_as_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url, **options: asked.append(options) or (Slow(), "x"))
    for url, options in (
        ("s3://b/a.jpg", None),
        ("s3://b/a.jpg", {"anon": True, "config_kwargs": {"x": 1}}),
        ("s3://b/a.jpg", {"config_kwargs": {"max_pool_connections": 5}}),
        ("gs://b/a.jpg", {"token": "anon"}),
    ):
        remote.connect(url, SourceOptions(storage_options=options))
    assert asked == [
        {"config_kwargs": {"max_pool_connections": ahead.REQUESTS}},
        {"anon": True, "config_kwargs": {"max_pool_connections": ahead.REQUESTS, "x": 1}},
        {"config_kwargs": {"max_pool_connections": 5}},
        {"token": "anon"},
    ]


# A real server


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images in subfolders."""
    folder = tmp_path_factory.mktemp("web")
    for number in range(200):
        path = folder / f"class_{number % 5}" / f"it's {number:03d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(photo(9 + number % 30, 40, seed=number)))
    return folder


@pytest.mark.parametrize("fail_every", [0, 100, 9])
def test_latency_and_errors_change_no_integer(web: Path, fail_every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    monkeypatch.setattr(retrying, "_FIRST_DELAY", 0.01)
    with served(web, 0.05, fail_every) as url:
        expected = integers(web)
        assert integers(url) == expected
        names = [path.relative_to(web).as_posix() for path in sorted(web.rglob("*.jpg"))]
        urls = [url + name.replace(" ", "%20").replace("'", "%27") for name in names]
        assert integers(urls) == expected
        (web / "list.csv").write_text("path\n" + "".join(f"{name}\n" for name in names))
        assert integers(web / "list.csv", root=url) == expected
        keys = [name.removesuffix(".jpg") for name in names]
        assert integers(keys, root=url, suffixes=(".png", ".jpg")) == expected
        found = gpustats.inspect(url)
        assert (found.images, found.complete, found.bytes, len(found.sizes)) == (200, True, None, 100)


def test_many_requests_are_under_way(web: Path) -> None:
    """200 images one after the other would take 10 s of latency alone."""
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    with served(web, 0.05) as url:
        started = time.monotonic()
        with closing(Reader(open_source(url, SourceOptions()))) as batches:
            assert len(read(batches)) == 200
        assert time.monotonic() - started < 5


def test_a_body_that_is_too_large_is_not_read(web: Path) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    with served(web, 0) as url:
        source = open_source(url, SourceOptions(max_bytes=100))
        with closing(Reader(source)) as batches:
            assert set(read(batches)) == {"too_large"}
        assert read(fetched_ahead(grouped(open_source([f"{url}gone.jpg", f"{url}x"]).parts()))) == ["missing"]
