"""Object stores by their real packages: ``gs://`` with an emulator, ``hf://`` with a stand-in of the Hub."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

import gpustats

pytestmark = pytest.mark.filterwarnings("default")  # what these packages warn of is their affair
IMAGES = np.random.default_rng(11).integers(0, 256, (6, 9, 7, 3), dtype=np.uint8)


def png(image: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "png")
    return stream.getvalue()


def stored() -> dict[str, bytes]:
    """Return the files of a bucket: a folder with two classes, a damaged image in another, and a tar."""
    files = {f"set/{'ab'[place % 2]}/{place}.png": png(image) for place, image in enumerate(IMAGES)}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return {**files, "photos.tar": stream.getvalue(), "damaged/x.png": b"\x89PNG\r\n\x1a\n"}


def check(root: str, **options: Any) -> None:
    """Read the files of `stored` below a URL."""

    def compute(path: str, **more: Any) -> gpustats.Stats:
        return gpustats.compute(f"{root}/{path}", device="cpu", progress=False, **options, **more)

    pixels = IMAGES.reshape(-1, 3).astype(np.uint64)
    for path in ("set", "photos.tar"):
        stats = compute(path)
        assert (stats.n_images, stats.exact) == (6, True)
        assert stats.totals["moments"]["sum"] == pixels.sum(0).tolist()
        assert stats.totals["moments"]["sumsq"] == (pixels**2).sum(0).tolist()
    groups = compute("set", group_by="folder").groups
    assert {name: group.n_images for name, group in groups.items()} == {"a": 3, "b": 3}
    assert compute("set/a/0.png").n_images == 1
    with pytest.raises(gpustats.DataError, match=r"damaged: .*x\.png|damaged/x\.png"):
        compute("damaged")
    with pytest.raises(gpustats.DataError, match="cannot be listed: no such file"):
        compute("nothing")
    with pytest.raises(gpustats.DataError, match="missing: no such file"):
        compute("set/a/nothing.png")
    assert gpustats.inspect(f"{root}/set", **options).images == 6


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    reason = "pip install gcsfs gcp-storage-emulator"
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks for the kind of a bucket by gRPC
    emulated = pytest.importorskip("gcp_storage_emulator.server", reason=f"the emulator is not installed: {reason}")
    pytest.importorskip("gcsfs", reason=f"gcsfs is not installed: {reason}")
    server = emulated.create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    try:
        host, port = server._api._httpd.socket.getsockname()[:2]
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{host}:{port}")
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def test_google_cloud_storage(emulator: str) -> None:
    gcsfs = pytest.importorskip("gcsfs")
    options = {"token": "anon", "project": "p", "endpoint_url": emulator}
    system = gcsfs.GCSFileSystem(**options, skip_instance_cache=True)
    for name, data in stored().items():
        system.pipe(f"bucket/{name}", data)
    check("gs://bucket", storage_options=options)


class Hub(BaseHTTPRequestHandler):
    """Answers what `HfFileSystem` asks of the Hub about one dataset."""

    files: ClassVar[dict[str, bytes]] = {}
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def send(self, data: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), "X-Repo-Commit": "c" * 40, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_json(self, value: Any) -> None:
        self.send(json.dumps(value).encode(), Content_Type="application/json")

    def entries(self, folder: str) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        prefix = f"{folder}/" if folder else ""
        for name, data in self.files.items():
            if name.startswith(prefix):
                first, more, _ = name.removeprefix(prefix).partition("/")
                found[first] = self.entry(prefix + first, None if more else data)
        return list(found.values())

    def entry(self, path: str, data: bytes | None) -> dict[str, Any]:
        if data is None:
            return {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
        return {"type": "file", "path": path, "oid": hashlib.sha1(data).hexdigest(), "size": len(data)}

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        api, _, tree = path.partition("/tree/")
        if api == "api/datasets/me/photos" and tree:
            found = self.entries(tree.partition("/")[2])
            return self.send_json(found) if found else self.missing()
        if path.startswith("api/datasets/me/photos"):
            return self.send_json({"id": "me/photos", "sha": "c" * 40, "siblings": []})
        data = self.files.get(path.removeprefix("datasets/me/photos/resolve/").partition("/")[2])
        if data is None:
            return self.missing()
        wanted = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if not wanted[0]:
            return self.send(data, ETag=f'"{hashlib.sha1(data).hexdigest()}"')
        first, last = int(wanted[0]), min(int(wanted[2] or len(data)), len(data) - 1)
        return self.send(data[first : last + 1], 206, Content_Range=f"bytes {first}-{last}/{len(data)}")

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        paths = json.loads(asked)["paths"] if asked.startswith("{") else [unquote(asked.partition("paths=")[2])]
        found = [self.entry(path, self.files[path]) for path in paths if path in self.files]
        folders = [path for path in paths if path not in self.files and self.entries(path)]
        self.send_json(found + [self.entry(path, None) for path in folders])

    def missing(self) -> None:
        self.send(b"{}", 404, X_Error_Code="EntryNotFound")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed: pip install huggingface_hub")
    monkeypatch.setattr(Hub, "files", stored())
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_hugging_face_hub(hub: str) -> None:
    check("hf://datasets/me/photos", storage_options={"endpoint": hub, "token": False, "skip_instance_cache": True})
