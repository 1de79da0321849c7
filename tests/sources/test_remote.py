"""Remote data from real servers on loopback that fail one request in ten."""

from __future__ import annotations

import functools
import http.server
import itertools
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

import gpustats
from gpustats import DataError, ImagesFailedWarning
from gpustats.sources.files import public_url
from gpustats.sources.files import retry as retrying
from tests.sources.packing import PACKERS
from tests.sources.test_containers import integers

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
pytest.importorskip("aiohttp", reason="aiohttp is not installed")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files; every tenth request fails in one of three ways. Ranges only where the server is told so."""

    protocol_version = "HTTP/1.1"
    ranges = False
    seen: list[str]
    numbers: Iterator[int]

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.seen.append(self.path)
        number = next(self.numbers)
        if number % 30 == 9:
            self.send_error(503)
        elif number % 30 == 19:
            self.close_connection = True  # without an answer
        elif number % 30 == 29 and not self.path.endswith("/"):
            size = os.path.getsize(self.translate_path(self.path))
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(b"x" * (size // 2))
            self.close_connection = True  # in the middle of the body
        elif self.ranges and "Range" in self.headers and not self.path.endswith("/"):
            self._part()
        else:
            super().do_GET()

    def do_HEAD(self) -> None:
        if next(self.numbers) % 10 == 9:
            self.send_error(503)
        else:
            super().do_HEAD()

    def _part(self) -> None:
        data = Path(self.translate_path(self.path)).read_bytes()
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(part)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: Any) -> None:
        """Say nothing where a client hangs up."""


@pytest.fixture(params=[False, True], ids=["plain", "ranges"])
def serve(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], str]]:
    """Start a server over a folder; returns its address with a user and a password in it."""
    monkeypatch.setattr(retrying, "_FIRST_DELAY", 0.005)
    servers = []

    def start(folder: Path) -> str:
        handler = type("H", (Handler,), {"ranges": request.param, "seen": [], "numbers": itertools.count()})
        server = Server(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://user:hunter2@127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_folder_behind_http(serve: Callable[[Path], str], photos: Path) -> None:
    assert integers(serve(photos)) == integers(photos)


@pytest.mark.parametrize("name", ["tar_gnu", "tar_gz", "zip_deflated", "parquet", "tfrecords", "text_list"])
def test_a_container_behind_http(name: str, serve: Callable[[Path], str], photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.rglob("*.jpg"))
    if name == "text_list":
        tmp_path.joinpath("img").symlink_to(photos)
        (tmp_path / "list.txt").write_text("".join(f"img/{f.relative_to(photos).as_posix()}\n" for f in files))
        packed = tmp_path / "list.txt"
    else:
        packed = PACKERS[name](files, tmp_path)
    url = serve(tmp_path) + ("" if packed == tmp_path else f"/{packed.name}?X-Signature=hunter2")
    assert integers(url) == integers(photos)


def test_shards_by_range_and_large_blocks(
    serve: Callable[[Path], str], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpustats.sources.files import stream as remote_stream

    monkeypatch.setattr(remote_stream, "_BLOCK", 1000)
    monkeypatch.setattr(remote_stream, "_CHUNK", 700)
    monkeypatch.setattr(remote_stream, "_BEHIND", 3000)
    PACKERS["tar_shards"](sorted(photos.rglob("*.jpg")), tmp_path)
    assert integers(serve(tmp_path) + "/s-{000..004}.tar") == integers(photos)


def test_what_is_shown_holds_no_credentials(
    serve: Callable[[Path], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_bytes(b"no image")
    base = serve(tmp_path)
    with caplog.at_level(logging.INFO), pytest.raises(gpustats.AllImagesFailed) as caught:
        gpustats.compute([base + "/a", base + "/gone.tar?token=hunter2"], progress=False)
    stats = caught.value.partial
    assert len(stats.failures) == 2
    with pytest.raises(DataError) as error:
        gpustats.compute(base + "/nowhere/at/all?token=hunter2", progress=False)
    single = gpustats.sources.open_source(base + "/gone.tar?token=hunter2")
    texts = [stats.to_json(), repr(stats), str(error.value), single.label, caplog.text]
    texts.append(str(caught.value))
    assert not [text for text in texts if "hunter2" in text or "user:" in text]
    assert error.value.__cause__ is None


def test_a_checkpoint_holds_no_credentials(serve: Callable[[Path], str], photos: Path, tmp_path: Path) -> None:
    PACKERS["tar_gnu"](sorted(photos.rglob("*.jpg")), tmp_path)
    base = serve(tmp_path)
    (tmp_path / "l.txt").write_text("a.tar\n")
    checkpoint = tmp_path / "run.gpustats"
    name = next(tmp_path.glob("*.tar")).name
    first = gpustats.compute(f"{base}/{name}?token=hunter2", checkpoint=checkpoint, progress=False)
    again = gpustats.compute(f"{base}/{name}?token=hunter3", checkpoint=checkpoint, progress=False)
    assert again.totals == first.totals
    assert again.runs[0]["checkpoint"]["images_reused"] == first.n_images, "another signature is the same data"
    with pytest.raises(DataError, match=r"checkpoint") as error:
        gpustats.compute(f"{base}/other.tar?token=hunter2", checkpoint=checkpoint, progress=False)
    with pytest.raises(DataError, match=r"checkpoint") as other:
        gpustats.compute(tmp_path / "l.txt", root=f"{base}?token=hunter2", checkpoint=checkpoint, progress=False)
    for text in (checkpoint.read_bytes(), str(error.value).encode(), str(other.value).encode()):
        assert b"hunter" not in text
        assert b"user:" not in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:hunter2@host/a.tar?t=hunter2#hunter2", "https://host/a.tar"),
        ("https://me:hun?ter2@host/a@b.tar", "https://host/a@b.tar"),
        ("https://host?t=hunter2", "https://host"),
        ("s3://bucket/a.tar", "s3://bucket/a.tar"),
        (
            "zip://x/y.tar::simplecache::https://me:hunter2@host/a.zip?t=2",
            "zip://x/y.tar::simplecache::https://host/a.zip",
        ),
        ("https://me:hunter2@[fe80::1]:80/a?t=hunter2", "https://[fe80::1]:80/a"),
        ("memory://a::b/c", "memory://a::b/c"),
    ],
)
def test_what_of_a_url_is_shown(url: str, shown: str) -> None:
    assert public_url(url) == shown


def test_a_missing_file_is_not_asked_for_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail(error: Exception) -> None:
        calls.append(error)
        raise error

    monkeypatch.setattr(retrying, "_FIRST_DELAY", 0.0)
    for error, reason, times in [
        (FileNotFoundError("https://user:hunter2@host/"), "missing", 1),
        (PermissionError("hunter2"), "unreadable", 1),
        (ConnectionResetError("hunter2"), "unreadable", retrying.ATTEMPTS),
    ]:
        calls.clear()
        with pytest.raises(Exception, match=r"no such file|reading failed") as caught:
            retrying.retry(lambda error=error: fail(error))  # type: ignore[misc]
        assert (caught.value.reason, len(calls)) == (reason, times)  # type: ignore[attr-defined]
        assert "hunter2" not in str(caught.value)


def test_a_list_reaches_only_below_the_root_that_the_user_gave(tmp_path: Path, photos: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/r/a/1.jpg", next(photos.rglob("*.jpg")).read_bytes())
    lines = ["a/1.jpg", "memory://r/a/1.jpg", "memory://other/1.jpg", "../1.jpg"]
    (tmp_path / "l.txt").write_text("\n".join(lines))
    with pytest.warns(ImagesFailedWarning):
        stats = gpustats.compute(tmp_path / "l.txt", root="memory://r", progress=False)
    assert (stats.n_images, stats.skipped) == (1, {"repeated": 1})
    assert [failure.key for failure in stats.failures] == ["../1.jpg", "memory://other/1.jpg"]


def test_s3(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    monkeypatch.setattr(retrying, "_FIRST_DELAY", 0.005)
    moto = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    try:
        endpoint = "http://{}:{}".format(*moto.get_host_and_port())
        keys = {"aws_access_key_id": "hunter2", "aws_secret_access_key": "hunter2"}
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
        client.create_bucket(Bucket="photos")
        files = sorted(photos.rglob("*.jpg"))
        for path in files:
            client.upload_file(str(path), "photos", f"all/{path.parent.name}/{path.name}")
        client.upload_file(str(PACKERS["tar_gnu"](files, tmp_path)), "photos", "a.tar")
        storage = {"key": "hunter2", "secret": "hunter2", "client_kwargs": {"endpoint_url": endpoint}}
        names = [f"s3://photos/all/{path.parent.name}/{path.name}" for path in files]
        found = gpustats.inspect("s3://photos/all", storage_options=storage)
        assert (found.images, found.bytes) == (len(files), sum(path.stat().st_size for path in files))
        for url in ("s3://photos/all", "s3://photos/a.tar", names):
            stats = gpustats.compute(url, storage_options=storage, progress=False)
            assert stats.totals["moments"]["sum"] == gpustats.compute(photos, progress=False).totals["moments"]["sum"]
            assert "hunter2" not in stats.to_json()
    finally:
        moto.stop()


@pytest.mark.parametrize("quote", ['"', "'"])
def test_names_in_the_listing_of_a_web_server(quote: str, photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.rglob("*.jpg"))[:6]
    names = ["it's.jpg", "a&b.jpg", "two words.jpg", "plain.jpg", "plus+.jpg", "in/side's.jpg"]
    for file, name in zip(files, names, strict=True):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(file.read_bytes())
    ways = {  # as nginx, Apache and others write links
        "it's.jpg": "it's.jpg" if quote == '"' else "it&#39;s.jpg",
        "a&b.jpg": "a&amp;b.jpg",
        "two words.jpg": "/f/two%20words.jpg",
        "plain.jpg": "./plain.jpg",
        "plus+.jpg": "plus+.jpg",
        "in": "in/",
    }
    pages = {
        "/f/": "".join(f"<A class='x' HREF={quote}{way}{quote}>x</a>\n" for way in ["../", "?C=N;O=D", *ways.values()]),
        "/f/in/": '<a href="side\'s.jpg">x</a>',
    }

    class Pages(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def list_directory(self, path: Any) -> Any:
            body = pages[self.path].encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = Server(("127.0.0.1", 0), functools.partial(Pages, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/f"
        assert integers(url) == integers(tmp_path / "f")
        assert gpustats.inspect(url).images == len(names)
    finally:
        server.shutdown()
        server.server_close()


class Hub(Handler):
    """A stand-in for the dataset ``me/photos`` of a Hugging Face Hub: its tree, its files, and no failures."""

    root: Path

    def _said(self, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _entry(self, path: Path) -> dict[str, Any]:
        name = path.relative_to(self.root).as_posix()
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
        return {"type": "file", "path": name, "oid": "0" * 40, "size": path.stat().st_size}

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        _, is_tree, below = url.path.partition("/api/datasets/me/photos/tree/main")
        if is_tree:
            self._said([self._entry(path) for path in sorted((self.root / unquote(below).strip("/")).iterdir())])
        elif url.path.startswith("/api/datasets/me/photos"):
            self._said({"id": "me/photos", "sha": "0" * 40, "siblings": []})
        elif url.path.startswith("/datasets/me/photos/resolve/main/"):
            data = (self.root / unquote(url.path).partition("/resolve/main/")[2]).read_bytes()
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last) + 1 if last else None]
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Content-Length", str(len(part)))
            if "Range" in self.headers:
                self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(part)
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        names = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
        found = [self.root / name for name in ([names] if isinstance(names, str) else names)]
        self._said([self._entry(path) for path in found if path.exists()])


@pytest.mark.filterwarnings("default")  # of the package
def test_hugging_face_hub(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    PACKERS["tar_gnu"](sorted(photos.rglob("*.jpg")), tmp_path)
    shutil.copytree(photos, tmp_path / "train")
    handler = type("H", (Hub,), {"root": tmp_path, "seen": [], "numbers": itertools.count()})
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        storage = {"endpoint": f"http://127.0.0.1:{server.server_port}", "token": False}
        for url in ("hf://datasets/me/photos/train", "hf://datasets/me/photos/a.tar"):
            stats = gpustats.compute(url, storage_options=storage, progress=False)
            assert stats.totals["moments"]["sum"] == gpustats.compute(photos, progress=False).totals["moments"]["sum"]
    finally:
        server.shutdown()
        server.server_close()
