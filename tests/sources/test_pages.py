"""`pages="all"`: every page of a file is an image with its own key."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.decode.depth import tiff_directories
from gpustats.decode.pillow import open_image
from gpustats.sources import pages as module
from gpustats.sources.items import load
from gpustats.sources.pages import _pages_of
from tests.images import photo

PAGES = np.random.default_rng(0).integers(0, 256, (5, 9, 7, 3), dtype=np.uint8)


def compute(data: Any, **options: Any) -> gpustats.Stats:
    return gpustats.compute(data, progress=False, workers=2, **{"pages": "all", **options})


def keys(stats: gpustats.Stats) -> list[str]:
    return sorted(stats.image_table.column("key").to_pylist())


def tiff(pages: Any = PAGES, **options: Any) -> bytes:
    tifffile: Any = pytest.importorskip("tifffile", reason="tifffile is not installed")
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=options.pop("big", False), byteorder=options.pop("order", "<")) as writer:
        for page in pages:
            writer.write(page, photometric="rgb" if page.ndim == 3 else "minisblack", contiguous=False, **options)
    return file.getvalue()


def animation(kind: str) -> bytes:
    frames = [Image.fromarray(page) for page in PAGES]
    if kind == "GIF":
        frames = [frame.quantize(16) for frame in frames]
    file = io.BytesIO()
    lossless = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "AVIF" else {}
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=100, **lossless)
    return file.getvalue()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_page_of_a_tiff(big: bool, order: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.tif").write_bytes(tiff(big=big, order=order))
    if big and order == ">":
        with pytest.raises(gpustats.AllImagesFailed, match="5 unsupported"):
            compute(tmp_path)
        return
    stats = compute(tmp_path, per_image=True)
    assert stats.totals["moments"] == gpustats.compute(PAGES, progress=False).totals["moments"]
    assert keys(stats) == [f"a.tif/{i}" for i in range(5)]
    assert stats.definition.pages == "all"
    assert gpustats.Stats.from_dict(stats.to_dict()).definition == stats.definition
    first = compute(tmp_path, pages="first", per_image=True)
    assert (first.n_images, keys(first)) == (1, ["a.tif"])
    with pytest.raises(gpustats.MergeError, match="different definitions"):
        first + stats


def test_deep_pages(tmp_path: Path) -> None:
    deep = PAGES[..., 0].astype(np.int16) * 100 - 9000
    (tmp_path / "a.tif").write_bytes(tiff(deep, compression="zlib"))
    stats = compute(tmp_path, mode="native")
    assert stats.totals["moments"]["sum"] == [int(deep.sum(dtype=np.int64))]
    assert stats.n_images == 5


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_every_frame_of_an_animation(kind: str, tmp_path: Path) -> None:
    data = animation(kind)
    (tmp_path / "a.gif").write_bytes(data)
    expected = []
    with Image.open(io.BytesIO(data)) as image:
        for number in range(image.n_frames):
            image.seek(number)
            expected.append(np.asarray(image.convert("RGB")))
    assert len(expected) == 5
    arrays = gpustats.compute(np.stack(expected), layout="NHWC", progress=False)
    assert compute(tmp_path).totals["moments"] == arrays.totals["moments"]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_frames_in_any_order(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pages, failure = _pages_of(animation(kind), 1 << 30, {})
    assert failure is None
    expected = [load(page, 1 << 30) for page in pages]
    opened: list[str] = []

    def counted(*file: Any) -> Any:
        opened.append("again")
        return open_image(*file)

    for order in ((4, 3, 2, 1), (3, 1, 4, 2), (1, 2, 1, 4), (2, 1, 4, 3)):
        pages, _ = _pages_of(animation(kind), 1 << 30, {})
        opened.clear()
        monkeypatch.setattr(module, "open_image", counted)
        for number in order:
            assert load(pages[number], 1 << 30) == expected[number], (order, number)
        monkeypatch.undo()
        assert len(opened) == 1 + (len(order) - len(set(order))), "frames that were passed are kept"


def test_files_of_one_page_keep_their_keys(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    photo(9, 7).save(tmp_path / "a.jpg")
    photo(9, 7).save(tmp_path / "b.gif")
    (tmp_path / "c.tif").write_bytes(tiff(PAGES[:1]))
    (tmp_path / "d.png").write_bytes(b"no image")
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = compute(tmp_path, per_image=True)
    assert keys(stats) == ["a.jpg", "b.gif", "c.tif", "d.png"]
    assert [failure.key for failure in stats.failures] == ["d.png"]


def test_overviews_and_masks_are_no_pages(tmp_path: Path) -> None:
    tifffile: Any = pytest.importorskip("tifffile", reason="tifffile is not installed")
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for number, subtype in enumerate((0, 1, 3, 2)):
            writer.write(PAGES[number], photometric="rgb", subfiletype=subtype)
    data = (tmp_path / "a.tif").read_bytes()
    tag = struct.pack("<HHI", 254, 4, 1)
    (tmp_path / "a.tif").write_bytes(data.replace(tag + b"\3\0\0\0", tag + b"\4\0\0\0"))
    stats = compute(tmp_path)
    assert (stats.n_images, stats.skipped) == (2, {"reduced_page": 2})
    assert "2 overviews and masks in TIFFs" in repr(stats)


def test_a_damaged_page_is_one_failure(tmp_path: Path) -> None:
    data = bytearray(tiff(compression="zlib"))
    starts, _, _ = tiff_directories(bytes(data), 100)
    assert len(starts) == 5
    (count,) = struct.unpack_from("<H", data, starts[2])
    for place in range(starts[2] + 2, starts[2] + 2 + 12 * count, 12):
        tag, _, _, value = struct.unpack_from("<HHII", data, place)
        if tag == 273:
            data[value + 2 : value + 40] = bytes(38)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = compute(tmp_path)
    assert ([failure.key for failure in stats.failures], stats.n_images) == (["a.tif/2"], 4)


def test_files_that_end_early(tmp_path: Path) -> None:
    data = tiff()
    starts, _, _ = tiff_directories(data, 100)
    circle = bytearray(data)
    (count,) = struct.unpack_from("<H", data, starts[4])
    struct.pack_into("<I", circle, starts[4] + 2 + 12 * count, starts[1])
    for bad, message, pages in [
        (bytes(circle), "a.tif: truncated: TIFF: its directories go round in a circle", 5),
        (data[: starts[4] + 5], "a.tif: truncated: TIFF: the file ends before its last directory", 4),
    ]:
        (tmp_path / "a.tif").write_bytes(bad)
        with pytest.warns(gpustats.ImagesFailedWarning):
            stats = compute(tmp_path)
        assert (str(stats.failures[0]), stats.n_images) == (message, pages)
    assert tiff_directories(data, 3)[2] == "it has more than 3 directories"
    (tmp_path / "a.tif").unlink()
    (tmp_path / "a.gif").write_bytes(animation("GIF")[:-30])
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = compute(tmp_path)
    assert "a.gif: truncated: GIF: the file ends early" in [str(failure) for failure in stats.failures]


def test_pages_in_archives_bytes_and_lists(tmp_path: Path) -> None:
    data = tiff()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/a.tif", data)
        archive.writestr("x/b.gif", animation("GIF"))
    (tmp_path / "b.tif").write_bytes(data)
    sums = gpustats.compute(PAGES, progress=False).totals["moments"]["sum"]
    assert compute(tmp_path / "a.zip").n_images == 10
    assert compute(tmp_path / "b.tif").totals["moments"]["sum"] == sums
    assert compute([data, PAGES[0]]).n_images == 6


@pytest.mark.parametrize("changed", ["mtime", "hash"])
def test_checkpoints_and_samples(changed: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.tif").write_bytes(tiff())
    (folder / "b.gif").write_bytes(animation("GIF"))
    whole = compute(folder)
    for reused in (0, 10):
        stats = compute(folder, checkpoint=tmp_path / "c", changed=changed)
        assert stats.totals == whole.totals
        assert stats.runs[0]["checkpoint"]["images_reused"] == reused
    (folder / "a.tif").write_bytes(tiff(PAGES[:2]))
    stats = compute(folder, checkpoint=tmp_path / "c", changed=changed)
    assert stats.totals == compute(folder).totals
    found = stats.runs[0]["checkpoint"]
    assert (found["images_reused"], found["images_removed"]) == (5, 3)
    sample = compute(folder, sample=4)
    assert (sample.n_images, sample.estimate.of) == (4, 7)
    assert compute(folder, sample=4) == sample


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(gpustats.OptionError, match="pages should be 'first' or 'all', got 'some'"):
        compute(tmp_path, pages="some")
    for options in ({"isolate": True}, {"mask": lambda key: None}):
        with pytest.raises(gpustats.OptionError, match="pages='all' is not for"):
            compute(tmp_path, **options)
    from tests.decode.test_extras import dicom

    (tmp_path / "a.dcm").write_bytes(dicom(PAGES[..., 0]))
    with pytest.raises(gpustats.AllImagesFailed, match="DICOM of 5 images or frames, which are not read one by one"):
        compute(tmp_path, mode="native")
