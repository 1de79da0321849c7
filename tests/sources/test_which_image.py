"""`docs/which-image.md` is the table of kinds, and containers do what it says.

``python -m tests.sources.test_which_image`` writes the page.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.sources import elements
from gpustats.sources.kinds import KINDS
from gpustats.sources.records import tfrecord
from gpustats.sources.tables import columns
from tests.sources.packing import need

PAGE = Path(__file__).resolve().parents[2] / "docs" / "which-image.md"
_TEXT = """\
# Which member, column, array or feature is the image

<!-- Written by: python -m tests.sources.test_which_image -->

Containers hold more than images: labels, masks, names. Each kind finds its candidates by type and shape, and some by
their names. One candidate is taken, and the result names it: `stats.runs[0]["images_from"]`, and the line "images from"
of its text. Several that are equally good are an error that lists them and says how to choose; where there are other
files, it is a failure of that file.

| source | what is taken for an image | asks where there are |
| --- | --- | --- |
{rows}

Usual names of columns, the best ones first: {columns}.
Those between two semicolons are equally good. Usual names of columns with paths, of which the first one counts:
{paths}.

In a folder every file with the ending of an image counts, also where `x.jpg` and `x.png` are beside one another.
"""


def page() -> str:
    """Return the page as it should be."""
    rows = [f"| {kind.title} | {kind.images} | {kind.ask or 'no choice'} |" for kind in KINDS.values() if kind.images]
    usual = "; ".join(", ".join(f"`{name}`" for name in names) for names in columns.IMAGE_COLUMNS)
    paths = ", ".join(f"`{name}`" for name in columns.PATH_COLUMNS)
    return _TEXT.format(rows="\n".join(rows), columns=usual, paths=paths)


def test_the_page_is_that_of_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.sources.test_which_image"


def test_every_kind_of_file_says_its_rule() -> None:
    assert [name for name, kind in KINDS.items() if not kind.images] == ["several", "url"]


def test_the_names_on_the_page_are_those_of_the_code() -> None:
    def names(kind: str) -> list[str]:
        return re.findall("`([a-z_/]+)`", KINDS[kind].images)

    assert names("tfrecord") == [name for tier in tfrecord._IMAGE_FEATURES for name in tier]
    assert names("object") == [name for tier in elements._IMAGE_ENTRIES for name in tier]
    assert set(names("manifest")) <= {*columns.PATH_COLUMNS, *columns.IDENTIFIER_COLUMNS}


PIXELS = np.random.default_rng(2).integers(0, 256, (2, 9, 7, 3), np.uint8)
ENCODED = []
for pixels in PIXELS:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    ENCODED.append(stream.getvalue())


def archive(path: Path, names: list[str]) -> Path:
    """Write two samples with a member of each extension, the same image in all of one sample."""
    members = [(f"{number}.{name}", data) for number, data in enumerate(ENCODED) for name in names]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for name, data in members:
                file.writestr(name, data)
    else:
        with tarfile.open(path, "w") as tar:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def parquet(folder: Path, names: list[str]) -> Path:
    table = need("pyarrow").table(dict.fromkeys(names, ENCODED))
    need("pyarrow.parquet").write_table(table, folder / "a.parquet")
    return folder / "a.parquet"


def lance(folder: Path, names: list[str]) -> Path:
    need("lance").write_dataset(
        need("pyarrow").table(dict.fromkeys(names, ENCODED)), str(folder / f"{len(names)}.lance")
    )
    return folder / f"{len(names)}.lance"


def records(folder: Path, names: list[str]) -> Path:
    sink = need("tfrecord.writer").TFRecordWriter(str(folder / "a.tfrecord"))
    for data in ENCODED:
        sink.write(dict.fromkeys(names, (data, "byte")))
    sink.close()
    return folder / "a.tfrecord"


def npz(folder: Path, names: list[str]) -> Path:
    np.savez(folder / "a.npz", **dict.fromkeys(names, PIXELS))
    return folder / "a.npz"


def hdf5(folder: Path, names: list[str]) -> Path:
    with need("h5py").File(folder / "a.h5", "w") as file:
        for name in names:
            file[name] = PIXELS
    return folder / "a.h5"


def zarr(folder: Path, names: list[str]) -> Path:
    root = need("zarr").open_group(str(folder / "a.zarr"), mode="w")
    for name in names:
        root.create_array(name, shape=PIXELS.shape, chunks=PIXELS.shape, dtype="u1")[...] = PIXELS
    return folder / "a.zarr"


def manifest(folder: Path, names: list[str]) -> Path:
    for number, data in enumerate(ENCODED):
        (folder / f"{number}.png").write_bytes(data)
    rows = [",".join(names), *(",".join(f"{number}.png" for _ in names) for number in range(2))]
    (folder / "a.csv").write_text("\n".join(rows))
    return folder / "a.csv"


def yolo(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).mkdir(exist_ok=True)
        for number, data in enumerate(ENCODED):
            (folder / name / f"{number}.png").write_bytes(data)
    (folder / "data.yaml").write_text("".join(f"{name}: {name}\n" for name in names))
    return folder / "data.yaml"


def mds(folder: Path, names: list[str]) -> Path:
    """Without the package: a shard as it is documented."""
    folder = folder / str(len(names))
    folder.mkdir()
    samples = [struct.pack(f"<{len(names)}I", *[len(data)] * len(names)) + data * len(names) for data in ENCODED]
    begin = 4 * (len(samples) + 2)
    offsets = itertools.accumulate(map(len, samples), initial=begin)
    (folder / "s.mds").write_bytes(struct.pack("<4I", len(samples), *offsets) + b"".join(samples))
    columns = {"column_names": names, "column_encodings": ["png"] * len(names), "column_sizes": [None] * len(names)}
    raw = {"raw_data": {"basename": "s.mds", "bytes": 0}, "zip_data": None, "samples": len(samples)}
    (folder / "index.json").write_text(json.dumps({"shards": [{"format": "mds", "version": 2, **columns, **raw}]}))
    return folder


def hugging_face(folder: Path, names: list[str]) -> Any:
    return need("datasets").Dataset.from_dict(dict.fromkeys(names, ENCODED))


def loader(folder: Path, names: list[str]) -> Any:
    return [dict.fromkeys(names, pixels) for pixels in PIXELS]


Builder = Callable[[Path, list[str]], Any]
ASKING: dict[str, tuple[Builder, list[str], str]] = {
    "tar": (lambda folder, names: archive(folder / "a.tar", names), ["png", "left.png"], "extension"),
    "zip": (lambda folder, names: archive(folder / "a.zip", names), ["png", "left.png"], "extension"),
    "parquet": (parquet, ["one", "two"], "column"),
    "lance": (lance, ["one", "two"], "column"),
    "tfrecord": (records, ["one", "two"], "feature"),
    "numpy": (npz, ["one", "two"], "array"),
    "hdf5": (hdf5, ["one", "two"], "dataset"),
    "manifest": (manifest, ["one", "two"], "column"),
    "yolo": (yolo, ["train", "val"], "split"),
    "zarr": (zarr, ["one", "two"], "array"),
    "chunks": (mds, ["one", "two"], "column"),
    "huggingface": (hugging_face, ["one", "two"], "column"),
    "object": (loader, ["one", "two"], "entry"),
}
"""Writes the same images under each of some names; two names that are equally good; what the result calls one."""


def test_every_kind_that_asks_is_tried() -> None:
    assert set(ASKING) == {name for name, kind in KINDS.items() if kind.ask}


def measured(data: Any, **options: Any) -> dict[str, int]:
    """Check the numbers, and return where the images came from."""
    stats = gpustats.compute(data, device="cpu", progress=False, **options)
    assert stats.n_images == 2
    assert stats.mean == pytest.approx(PIXELS.mean((0, 1, 2)) / 255, rel=1e-12)
    found: dict[str, int] = stats.runs[0]["images_from"]
    return found


@pytest.mark.parametrize("kind", ASKING)
def test_one_candidate_is_taken_and_two_are_asked_about(kind: str, tmp_path: Path) -> None:
    build, (first, second), what = ASKING[kind]
    how = re.findall("`([^`]+)`$", KINDS[kind].ask)[0]
    if kind != "manifest":  # of paths only those with a usual name are candidates
        assert measured(build(tmp_path, [first])) == {f"{what} '{first}'": 2}
    both = build(tmp_path, [first, second])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", gpustats.ImagesFailedWarning)
            stats = gpustats.compute(both, device="cpu", progress=False)
    except gpustats.DataError as error:
        message = str(error)
    else:
        assert stats.n_images == 0
        message = next(iter(stats.failures)).message
    assert first in message
    assert second in message
    assert ("::NAME" if "::" in how else how) in message
    for name in (first, second):
        chosen = f"{both}::{name}" if "::" in how else both
        options = {} if "::" in how else {how.rstrip("="): name}
        assert measured(chosen, **options) == {f"{what} '{name}'": 2}


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
