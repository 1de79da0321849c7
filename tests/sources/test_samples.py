"""Members of an archive that share their name: which of them are images, and when the user is asked."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.sources import open_source
from gpustats.sources.archives.samples import parted
from tests.sources.packing import contents

Names = Sequence[str]


def tar(path: Path, names: Names, data: Callable[[str], bytes] = str.encode, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(data(name))
            archive.addfile(info, io.BytesIO(data(name)))
    return path


def write(folder: Path, kind: str, names: Names, data: Callable[[str], bytes] = str.encode) -> Path:
    if kind != "zip":
        return tar(folder / f"a.{kind}", names, data, "w:gz" if kind == "tar.gz" else "w")
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, data(name))
    return folder / "a.zip"


def samples(*extensions: str, count: int = 5, stem: str = "d/{}") -> list[str]:
    return [f"{stem.format(number)}.{extension}" for number in range(count) for extension in extensions]


KINDS = pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])


@KINDS
@pytest.mark.parametrize(
    ("names", "listed", "proposed"),
    [
        (samples("jpg", "png"), "jpg, png", "jpg"),
        (samples("jpg", "seg.png"), "jpg, seg.png", "jpg"),
        (samples("seg.png", "jpg", "json"), "jpg, seg.png", "jpg"),
        (samples("cam1.jpg", "cam2.jpg"), "cam1.jpg, cam2.jpg", "cam1.jpg"),
        (samples("jpg", "thumb.jpg"), "jpg, thumb.jpg", "jpg"),
        (samples("jpg", "jpeg"), "jpeg, jpg", "jpg"),
        (samples("JPG", "PNG"), "jpg, png", "jpg"),
        (samples("rgb.png", "depth.png", stem="a.b/v1.0/{}"), "depth.png, rgb.png", "rgb.png"),
        (samples("0.rgb.png", "0.depth.png", "1.rgb.png", "1.depth.png"), "depth.png, rgb.png", "rgb.png"),
        (samples("jpg", "seg.png", count=1), "jpg, seg.png", "jpg"),
    ],
    ids=str,
)  # fmt: skip
def test_several_images_of_a_sample_are_asked_about(
    kind: str, names: Names, listed: str, proposed: str, tmp_path: Path
) -> None:
    path = write(tmp_path, kind, names)
    found = contents(path)
    assert (found.keys, found.failures) == ([], [(f"a.{kind}", "unsupported")])
    assert f" with {listed}; choose with column= (column='{proposed}')" in found.messages[0]
    chosen = contents(path, column=proposed)
    expected = [name for name in names if name.lower().endswith("." + proposed) and name.count(".") >= 1]
    assert set(chosen.keys) <= {f"a.{kind}/{name}" for name in expected}
    assert (len(chosen.keys), chosen.failures) == (len({name for name in expected if parted(name)[2] == proposed}), [])
    every = contents(path, column="*")
    assert every.keys == [f"a.{kind}/{name}" for name in names if not name.endswith("json")]


@KINDS
@pytest.mark.parametrize(
    "names",
    [
        samples("jpg"),
        samples("jpg", "cls", "json", "txt"),
        samples("cam.png", "json"),
        samples("1.jpg", "2.jpg", "10.jpg"),
        samples("2020.jpg", "2021.jpg", count=1, stem="IMG"),
        samples("2020.jpg", "2021.jpg", "2022-01-01.jpg", stem="IMG{}"),
        samples("Smith.jpg", "Jones.jpg", count=1, stem="Mr"),
        ["Mr.Smith.jpg", "Mr.Jones.jpg", "Dr.Who.jpg", "Dr.No.jpg"],
        ["a.jpg", "b.png", "c.seg.png", "d.JPG"],
        ["x.jpg", "x.JPG", "y.jpg"],
        ["a.b/1.jpg", "a.c/1.png", "a.b/2.jpg", "a.c/2.png"],
        ["photo.jpg", "photo.copy.jpg", "other.jpg", "third.jpg"],
        ["half.jpg", "half.png", "other.jpg", "third.png"],
        ["IMG.1.jpg", "IMG.2.png", "DSC.1.jpg", "DSC.2.png"],
        [f"IMG.{number}.{'jpg' if number % 3 else 'png'}" for number in range(200)],
        ["a.jpg", "a.copy.jpg", "b.jpg", "b.old.jpg"],
        ["John.Smith.jpg", "John.Doe.png", "Jane.Doe.png"],
        ["v1.0 final.jpg", "v1.1 final.jpg", "v1. x.jpg"],
        ["._x.png", "x.jpg", "y.jpg", "__MACOSX/y.png"],
    ],
    ids=str,
)  # fmt: skip
def test_names_with_dots_are_just_names(kind: str, names: Names, tmp_path: Path) -> None:
    found = contents(write(tmp_path, kind, names))
    images = [name for name in names if name.lower().endswith(("jpg", "png")) and "_" not in name]
    assert sorted(found.keys) == sorted(f"a.{kind}/{name}" for name in images)
    assert found.failures == []


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_samples_of_several_images_keep_their_order_among_themselves(kind: str, tmp_path: Path) -> None:
    names = ["Mr.A.jpg", "Mr.B.jpg", "x.jpg", "Ms.C.jpg", "Ms.D.jpg"]
    assert contents(write(tmp_path, kind, names)).keys == [
        f"a.{kind}/{name}" for name in ("x.jpg", "Mr.A.jpg", "Mr.B.jpg", "Ms.C.jpg", "Ms.D.jpg")
    ]


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_what_came_before_damage_is_not_lost(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    tar(tmp_path / "b.tar", ["x.jpg", "Mr.A.jpg", "Mr.B.jpg"])
    whole = (tmp_path / "b.tar").read_bytes()[: 6 * 512] + b"\x01" * 512
    if kind == "tar.gz":
        import gzip

        whole = gzip.compress(whole)
    path.write_bytes(whole)
    found = contents(path)
    assert found.keys == [f"a.{kind}/{name}" for name in ("x.jpg", "Mr.A.jpg", "Mr.B.jpg")]
    assert found.failures == [(f"a.{kind}", "corrupt")]


def test_a_name_with_many_images_is_not_held_in_memory(tmp_path: Path) -> None:
    names = [f"IMG.{number}.jpg" for number in range(300)]
    source = open_source(write(tmp_path, "tar.gz", [*names, "IMG.cls"]))
    groups: list[str] = []
    for sample in source.samples():
        if isinstance(sample, tuple):
            groups.append(sample[1])
    assert len(groups) == 300
    assert groups[:256] == [""] * 256, "their label would come after all of them"


def test_an_extension_that_nothing_has(tmp_path: Path) -> None:
    for kind in ("tar", "tar.gz", "zip"):
        path = write(tmp_path, kind, samples("x.cam.png", "json"))
        found = contents(path, column="png")
        assert (found.keys, found.failures) == ([], [(f"a.{kind}", "unsupported")])
        assert found.messages == ["no member has the extension 'png'; there are: json, x.cam.png"]
        assert len(contents(path, column="png;X.CAM.png").keys) == 5
        assert contents(write(tmp_path, kind, []), column="png").failures == []


def test_extensions_are_in_the_result(tmp_path: Path) -> None:
    def png(name: str) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(np.full((4, 5, 3), len(name), np.uint8)).save(stream, "png")
        return stream.getvalue()

    for number, names in enumerate([samples("cam.png"), ["x.png"], samples("cam.png", "json", count=2)]):
        tar(tmp_path / f"{number}.tar", names, png)
    stats = gpustats.compute(tmp_path, progress=False, device="cpu", workers=3)
    assert stats.runs[0]["images_from"] == {"extension 'cam.png'": 7, "extension 'png'": 1}
    assert "images from extension 'cam.png' (7), extension 'png' (1)" in repr(stats)
    one = gpustats.compute(tmp_path / "1.tar", progress=False, device="cpu")
    assert "  images from extension 'png'\n" in repr(one)


def test_the_true_numbers_of_a_shard_with_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    photos = rng.integers(0, 256, (6, 9, 7, 3), np.uint8)

    def data(name: str) -> bytes:
        number = int(name.partition(".")[0])
        stream = io.BytesIO()
        Image.fromarray(np.zeros((9, 7), np.uint8) if "seg" in name else photos[number]).save(stream, "png")
        return stream.getvalue()

    path = tar(tmp_path / "a.tar", [f"{n}.{e}" for n in range(6) for e in ("png", "seg.png")], data)
    stats = gpustats.compute(path, column="png", progress=False, device="cpu")
    assert stats.n_images == 6
    assert stats.mean == pytest.approx(photos.mean((0, 1, 2)) / 255, rel=1e-12)
    assert stats.std == pytest.approx(photos.std((0, 1, 2)) / 255, rel=1e-12)


def test_names_are_parted_at_the_first_dot() -> None:
    def cases() -> Iterator[tuple[str, Any]]:
        yield "x", ("x", "", "")
        yield "x.jpg", ("x", "jpg", "jpg")
        yield "a.b/x.SEG.png", ("a.b/x", "seg.png", "seg.png")
        yield "x.1.seg.png", ("x", "1.seg.png", "seg.png")
        yield "x.a.1.png", ("x", "a.1.png", "png")
        yield "x.é-a_1.png", ("x", "é-a_1.png", "é-a_1.png")
        yield "x. a.png", ("x", " a.png", "png")
        yield "x.", ("x", "", "")

    for name, expected in cases():
        assert parted(name) == expected
