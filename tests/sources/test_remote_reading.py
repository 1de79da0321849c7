"""Reading from afar with a file system that does as it is told: short bodies, errors, ranges, streams, folders."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gpustats import DataError
from gpustats.failures import Failure, ImageError
from gpustats.sources import SourceOptions, open_source
from gpustats.sources.files import retry as retrying
from gpustats.sources.files import stream as remote_stream
from gpustats.sources.files.remote import RemoteFile
from gpustats.sources.files.retry import ATTEMPTS, retry
from gpustats.sources.files.stream import open_stream
from gpustats.sources.places import remote_folder
from tests.sources.packing import contents

fsspec: Any = pytest.importorskip("fsspec", reason="fsspec is not installed")

DATA = bytes(i * 7 % 251 for i in range(5000))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(retrying, "time", SimpleNamespace(sleep=pauses.append))
    return pauses


class Status(Exception):
    """An error as aiohttp raises it."""

    def __init__(self, status: int) -> None:
        super().__init__("https://user:hunter2@host")
        self.status = status


class System:
    """A file system with one file. `faults` are taken one by one: an exception to raise, or a body to give."""

    def __init__(
        self, *faults: Any, size: int | None = len(DATA), protocol: Any = "memory", ranges: bool = True
    ) -> None:
        self.faults, self.size, self.protocol, self.ranges = list(faults), size, protocol, ranges
        self.asked: list[Any] = []
        self.responses: list[Any] = []

    def _fault(self) -> Any:
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, BaseException):
            raise fault
        return fault

    def info(self, path: str) -> dict[str, Any]:
        return {"name": path, "size": self.size}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        self.asked.append((start, end))
        fault = self._fault()
        return DATA[start:end] if fault is None else fault

    def open(self, path: str, mode: str, block_size: int, headers: Any = None) -> Any:
        assert (mode, block_size) == ("rb", 0)
        if headers is not None:
            assert headers == {"Range": "bytes=0-0"}
            self._fault()
            file: Any = io.BytesIO(DATA[:1])
            file = SimpleNamespace(r=SimpleNamespace(status=206 if self.ranges else 200))
            return _Context(file)
        self.asked.append("open")
        self.responses.append(_Response(self))
        return self.responses[-1]


class _Context:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __enter__(self) -> Any:
        return self.value

    def __exit__(self, *_: object) -> None:
        pass


class _Response(io.BytesIO):
    def __init__(self, system: System) -> None:
        super().__init__(DATA)
        self.system = system

    def read(self, size: int | None = -1, /) -> bytes:
        fault = self.system._fault()
        return super().read(size) if fault is None else fault


def file(system: System) -> RemoteFile:
    return RemoteFile(system, "path/a.jpg", "memory://path/a.jpg")


def test_a_body_that_is_too_short_is_asked_for_again() -> None:
    system = System(DATA[:-1], DATA + b"x", b"")
    assert file(system)(5000) == DATA
    assert len(system.asked) == 4
    system = System(*[DATA[:-1]] * ATTEMPTS)
    with pytest.raises(ImageError, match=rf"reading failed after {ATTEMPTS} attempts: OSError") as caught:
        file(system)(5000)
    assert caught.value.reason == "unreadable"
    assert file(System(DATA[:-1], size=None))(5000) == DATA[:-1], "nothing says how long it is"


def test_a_body_as_large_as_allowed() -> None:
    system = System()
    assert file(system)(5000) == DATA
    with pytest.raises(ImageError, match="more than the limit of 4,999") as caught:
        file(system)(4999)
    assert caught.value.reason == "too_large"
    assert len(system.asked) == 1, "refused before it is read"


def caused(error: Exception, cause: Exception | None) -> Exception:
    error.__cause__ = cause
    return error


def boto(status: object) -> Exception:
    error = OSError("x")
    error.response = {"ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "reason", "attempts", "shown"),
    [
        (FileNotFoundError("x"), "missing", 1, "no such file"),
        (caused(FileNotFoundError("x"), Status(404)), "missing", 1, "no such file"),
        (caused(FileNotFoundError("x"), Status(410)), "missing", 1, "no such file"),
        (caused(FileNotFoundError("x"), Status(503)), "unreadable", 6, "after 6 attempts: Status (HTTP status 503)"),
        (caused(FileNotFoundError("x"), Status(403)), "unreadable", 1, "reading failed: Status (HTTP status 403)"),
        (Status(399), "unreadable", 6, "after 6 attempts: Status (HTTP status 399)"),
        (Status(400), "unreadable", 1, "reading failed: Status (HTTP status 400)"),
        (Status(499), "unreadable", 1, "reading failed: Status (HTTP status 499)"),
        (Status(500), "unreadable", 6, "after 6 attempts: Status (HTTP status 500)"),
        (Status(408), "unreadable", 6, "after 6 attempts: Status (HTTP status 408)"),
        (Status(425), "unreadable", 6, "after 6 attempts: Status (HTTP status 425)"),
        (Status(429), "unreadable", 6, "after 6 attempts: Status (HTTP status 429)"),
        (boto(403), "unreadable", 1, "reading failed: OSError (HTTP status 403)"),
        (boto("403"), "unreadable", 6, "after 6 attempts: OSError"),
        (boto(None), "unreadable", 6, "after 6 attempts: OSError"),
        (PermissionError("x"), "unreadable", 1, "reading failed: PermissionError"),
        (NotImplementedError("x"), "unreadable", 1, "reading failed: NotImplementedError"),
        (TypeError("x"), "unreadable", 1, "reading failed: TypeError"),
        (ImportError("x"), "unreadable", 1, "reading failed: ImportError"),
        (ConnectionResetError("x"), "unreadable", 6, "after 6 attempts: ConnectionResetError"),
        (ImageError("corrupt", "as it is"), "corrupt", 1, "as it is"),
    ],
)
def test_which_errors_are_tried_again(
    error: Exception, reason: str, attempts: int, shown: str, no_pauses: list[float]
) -> None:
    cause = error.__cause__
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        error.__cause__ = cause
        raise error

    with pytest.raises(ImageError) as caught:
        retry(fails)
    assert caught.value.reason == reason
    assert str(caught.value).endswith(shown)
    assert len(calls) == attempts
    assert len(no_pauses) == attempts - 1
    for attempt, pause in enumerate(no_pauses):
        assert 0.05 * 2**attempt <= pause <= 0.1 * 2**attempt


def test_what_succeeds_at_last_is_given() -> None:
    faults = [OSError("x")] * (ATTEMPTS - 1)

    def succeeds_at_last() -> str:
        if faults:
            raise faults.pop()
        return "given"

    assert retry(succeeds_at_last) == "given"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_stream, "_BLOCK", 1000)
    monkeypatch.setattr(remote_stream, "_CHUNK", 700)
    monkeypatch.setattr(remote_stream, "_BEHIND", 2100)


BLOCKS: dict[str, Callable[..., System]] = {
    "blocks": System,
    "response": lambda *faults: System(*faults, protocol="http", ranges=False),
    "unknown length": lambda *faults: System(*faults, size=None),
}


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", BLOCKS)
def test_a_stream_is_the_file(kind: str) -> None:
    with open_stream(BLOCKS[kind](), "p") as stream:
        assert stream.read() == DATA
        assert stream.tell() == len(DATA)
        assert stream.read(10) == b""
        for place in (0, 4999, 1000, 999, 2500, 0, 3, 4200):
            assert stream.seek(place) == place
            assert stream.read(1200) == DATA[place : place + 1200]
        stream.seek(10)
        stream.seek(5, 1)
        assert stream.read(3) == DATA[15:18]
        stream.seek(6000)
        assert stream.read(3) == b""
        with pytest.raises((ValueError, OSError)):
            stream.seek(-1)
        assert stream.readable()
        assert stream.seekable()
    if kind != "unknown length":
        with open_stream(BLOCKS[kind](), "p") as stream:
            assert stream.seek(-7, 2) == 4993
            assert stream.read() == DATA[-7:]
    else:
        with open_stream(BLOCKS[kind](), "p") as stream, pytest.raises(OSError, match="does not say how long"):
            stream.seek(0, 2)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("kind", "faults"),
    [
        ("blocks", [OSError("x"), b"", DATA[:999], DATA[:1001]]),
        ("response", [None, OSError("x"), None, b"", OSError("y")]),
        ("unknown length", [OSError("x"), None, OSError("y")]),
    ],
)
def test_a_stream_goes_on_after_errors(kind: str, faults: list[Any]) -> None:
    system = BLOCKS[kind](*faults)
    with open_stream(system, "p") as stream:
        assert stream.read() == DATA
    assert system.faults == []


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("kind", "body"), [("blocks", DATA[:999]), ("blocks", DATA[:1001]), ("response", b"")])
def test_a_stream_that_stays_too_short_is_an_error(kind: str, body: bytes) -> None:
    with (
        open_stream(BLOCKS[kind](*[body] * 200), "p") as stream,
        pytest.raises(ImageError, match=rf"after {ATTEMPTS} attempts: OSError"),
    ):
        stream.read()


@pytest.mark.usefixtures("small_blocks")
def test_which_parts_are_asked_for() -> None:
    system = System()
    with open_stream(system, "p") as stream:
        stream.seek(4990)
        assert stream.read(10) == DATA[4990:]
    assert system.asked == [(4000, 5000)], "the last part ends with the file; nothing is fetched ahead after a jump"
    system = System()
    with open_stream(system, "p") as stream:
        stream.read(1)
    assert set(system.asked) <= {(i * 1000, i * 1000 + 1000) for i in range(5)}
    system = System()
    with open_stream(system, "p") as stream:
        assert stream.read() == DATA
    assert sorted(system.asked) == [(i * 1000, i * 1000 + 1000) for i in range(5)], "each once"


@pytest.mark.usefixtures("small_blocks")
def test_one_response_serves_small_steps_back() -> None:
    system = BLOCKS["response"]()
    with open_stream(system, "p") as stream:
        raw: Any = stream.raw  # type: ignore[attr-defined]
        raw.seek(4000)
        raw.read(100)
        raw.seek(2900)
        assert raw.read(10) == DATA[2900:2910]
        assert system.asked == ["open"]
        raw.seek(100)
        assert raw.read(10) == DATA[100:110]
        assert system.asked == ["open", "open"], "too far back"
        assert sum(len(data) for _, data in raw._chunks) <= 2100
        assert [response.closed for response in system.responses] == [True, False]
    assert [response.closed for response in system.responses] == [True, True]


@pytest.mark.usefixtures("small_blocks")
def test_a_response_that_failed_is_closed_and_not_read_again() -> None:
    system = BLOCKS["response"](None, None, OSError("x"))
    with open_stream(system, "p") as stream:
        assert stream.read() == DATA
    assert system.asked == ["open", "open"]
    assert [response.closed for response in system.responses] == [True, True]


@pytest.mark.usefixtures("small_blocks")
def test_few_blocks_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_stream, "_BLOCK", 100)
    system = System()
    with open_stream(system, "p") as stream:
        raw: Any = stream.raw  # type: ignore[attr-defined]
        for place in range(0, 5000, 50):
            assert raw.read(50) == DATA[place : place + 50]
            assert len(raw._blocks) <= 7
    assert sorted(system.asked) == [(i, i + 100) for i in range(0, 5000, 100)], "each once"


@pytest.mark.parametrize(
    ("protocol", "ranges", "parts"),
    [
        ("s3", False, True),
        (("http", "https"), True, True),
        ("https", False, False),
        (["http"], False, False),
    ],
)
def test_whether_parts_are_served(protocol: Any, ranges: bool, parts: bool) -> None:
    system = System(protocol=protocol, ranges=ranges)
    with open_stream(system, "p") as stream:
        assert stream.read() == DATA
    assert ("open" in system.asked) is not parts


def test_names_of_remote_files() -> None:
    one = RemoteFile(System(), "p", "https://host/d/caf%C3%A9%20x.tar")
    assert (one.name, one.path, one.sibling("b.jpg")) == ("café x.tar", None, "https://host/d/b.jpg")
    assert RemoteFile(System(), "p", "https://host/d/a.zarr/").name == "a.zarr"


@pytest.fixture
def memory() -> Any:
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    return system


def test_a_folder_of_images(memory: Any) -> None:
    for name in ("b.jpg", "a/z.PNG", "a/deep/x.jpg", "é/日本.jpg", "a/x.txt", ".hidden.jpg", ".cache/x.jpg", "a.tar"):
        memory.pipe_file(f"/root/{name}", name.encode())
    expected = [("a/deep/x.jpg", "a"), ("a/z.PNG", "a"), ("b.jpg", ""), ("é/日本.jpg", "é")]
    for url in ("memory://root", "memory://root/"):
        found = contents(url)
        assert found.images == [(key, group, key.encode()) for key, group in expected]
        assert (found.failures, found.skipped) == ([], {"non_image": 2, "hidden": 2})
    assert contents(["memory://root"]).keys == [f"memory://root/{key}" for key, _ in expected]
    assert contents("memory://root", max_bytes=8).failures == [
        ("a/deep/x.jpg", "too_large"),
        ("é/日本.jpg", "too_large"),
    ]


def test_a_folder_of_containers(memory: Any, tmp_path: Any) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("c/1.jpg", "x.txt"):
            archive.writestr(name, name)
    for name in ("b.zip", "d/a.zip"):
        memory.pipe_file(f"/root/{name}", (tmp_path / "a.zip").read_bytes())
    for name in ("labels.csv", "a.tar"):
        memory.pipe_file(f"/root/zz-{name}", b"x")
    found = contents("memory://root")
    assert found.images == [(f"{name}/c/1.jpg", "c", b"c/1.jpg") for name in ("b.zip", "d/a.zip")]
    assert (found.failures, found.skipped) == ([], {"non_image": 4})
    assert contents("memory://root/b.zip").keys == ["b.zip/c/1.jpg"]
    assert contents(["memory://root/b.zip"]).keys == ["memory://root/b.zip/c/1.jpg"]
    assert contents(["memory://root"]).keys == [f"memory://root/{name}/c/1.jpg" for name in ("b.zip", "d/a.zip")]
    found = contents("memory://root/{b,gone}.zip")
    assert found.keys == ["b.zip/c/1.jpg"]
    assert found.failures == [("gone.zip", "missing")]
    assert open_source("memory://root").takes == {"storage_options", "column"}


def test_single_remote_files(memory: Any) -> None:
    memory.pipe_file("/root/é.jpg", b"image")
    memory.pipe_file("/root/l.txt", "é.jpg\n".encode())
    assert contents("memory://root/é.jpg").images == [("é.jpg", "", b"image")]
    for data in (["memory://root/é.jpg", "memory://root/l.txt"], ["memory://root/é.jpg", "memory://root"]):
        found = contents(data)
        assert (found.keys, found.skipped["repeated"]) == (["memory://root/é.jpg"], 1)
    assert contents(["memory://root/é.jpg", "memory://root/l.txt"], repeats="count").keys == [
        "memory://root/é.jpg",
        "memory://root/l.txt/é.jpg",
    ]
    assert open_source("memory://root/é.jpg").count() == 1
    assert contents("memory://root/l.txt").images == [("é.jpg", "", b"image")]
    assert open_source("memory://root/l.txt").count() is None
    assert contents("memory://root/gone.jpg").failures == [("gone.jpg", "missing")]
    with pytest.raises(DataError, match=r"memory://root/gone: cannot be listed: no such file"):
        open_source("memory://root/gone")


def test_urls_that_are_not_read() -> None:
    for url, message in [
        ("file:///a.tar", "give the path without the scheme"),
        ("local:///a.tar", "give the path without the scheme"),
        ("zip://a.jpg::memory://x.zip", r"chained URLs \('::'\) are not read"),
        ("nothing://a.tar", "cannot be opened: ValueError"),
    ]:
        with pytest.raises(DataError, match=message):
            open_source(url)
    with pytest.raises(ValueError, match="feature= is an option for"):
        open_source("memory://x/a.jpg", SourceOptions(feature="x"))


class Loop(System):
    """Folders within folders without end, or what a listing may hold beside files."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth

    def ls(self, path: str, detail: bool) -> list[dict[str, Any]]:
        here = path.rstrip("/")
        level = here.count("/d")
        entries = [{"name": here, "type": "directory"}, {"name": f"{here}/a{level}.jpg?x=1", "size": 9}]
        entries += [{"name": f"{here}/d/e/too_deep.jpg"}, {"name": "elsewhere/b.jpg"}]
        return entries + [{"name": f"{here}/d", "type": "directory"}] * (level < self.depth)


def test_folders_without_end() -> None:
    def walked(depth: int) -> list[Any]:
        source: Any = remote_folder.RemoteFolderSource.__new__(remote_folder.RemoteFolderSource)
        source._system, source._path, source._prefix, source._budget = Loop(depth), "root", "", None
        source._listed, source._opening = {}, False
        return [entry if isinstance(entry, Failure) else entry[0] for entry in source._walk(Counter())]

    assert walked(1) == ["a0.jpg", "d/a1.jpg"]
    assert len(walked(64)) == 65
    *_, last = found = walked(70)
    assert len(found) == 66
    assert isinstance(last, Failure)
    assert last.message == "the folder cannot be listed: folders are nested more than 64 deep: a loop"
