"""Layouts of datasets that people have: which images a split names, each once, and what is missing."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

import gpustats
from gpustats import DataError, OptionError
from gpustats.sources import SourceOptions, open_source
from tests.command_line import invoke
from tests.images import encoded, photo
from tests.sources.packing import Contents, contents


def fill(folder: Path, *names: str) -> Path:
    """Write files whose content is their name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def read(path: Path, text: str | bytes | Any, **options: Any) -> Contents:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text if isinstance(text, str | bytes) else json.dumps(text)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return contents(path, **options)


def found(read_one: Contents) -> list[bytes]:
    return [data for *_, data in read_one.images]


# Images by key


def test_images_by_key(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "b.png", "c.JPG", "sub/d.jpg", "both.jpg", "both.png", "x.dat")
    read_one = contents(["a", "b", "sub/d", "gone", "both"], root=str(tmp_path), suffixes=(".jpg", ".png"))
    assert read_one.images == [("a", "", b"a.jpg"), ("b", "", b"b.png"), ("sub/d", "", b"sub/d.jpg")]
    assert read_one.failures == [("gone", "missing"), ("both", "unsupported")]
    assert "several files have this name: both.jpg, both.png" in read_one.messages[1]
    assert found(contents(["both", "c"], root=str(tmp_path), suffixes=(".jpg",))) == [b"both.jpg"]
    assert found(contents(["a", "c", "a.jpg"], root=str(tmp_path))) == [b"a.jpg", b"c.JPG"]
    assert found(contents(["x"], root=str(tmp_path), suffixes=(".dat",))) == [b"x.dat"]
    assert contents(["a", "a", "./a"], root=str(tmp_path)).skipped == {"repeated": 2}
    assert len(contents(["a", "a"], root=str(tmp_path), repeats="count").images) == 2
    assert open_source(["a", "b"], SourceOptions(root=str(tmp_path), repeats="count")).count() == 2
    lists = read(tmp_path / "keys.csv", "path,label\na,1\nboth,2\n", suffixes=(".jpg",))
    assert found(lists) == [b"a.jpg", b"both.jpg"]
    assert found(read(tmp_path / "keys.txt", "x\n", suffixes=(".dat",))) == [b"x.dat"]


def test_images_by_key_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fill(tmp_path, "a.jpg", "a.png"))
    assert found(contents(["a"], suffixes=(".png",))) == [b"a.png"]


def test_lists_of_manifests_keep_their_root(tmp_path: Path) -> None:
    fill(tmp_path / "images", "a.jpg", "b.jpg")
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"path\n{name}.jpg\n")
    tables = [tmp_path / "a.csv", tmp_path / "b.csv"]
    assert found(contents(tables, root=str(tmp_path / "images"))) == [b"a.jpg", b"b.jpg"]


def test_suffixes_that_make_no_sense(tmp_path: Path) -> None:
    for suffixes in ((), ("",), (3,)):
        with pytest.raises(OptionError, match="suffixes should be endings such as"):
            gpustats.compute(["a"], root=tmp_path, suffixes=suffixes)
    with pytest.raises(DataError, match="suffixes= is an option for"):
        contents(fill(tmp_path, "a.jpg"), suffixes=(".jpg",))


def test_the_public_interfaces(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(photo(4, 4)))
    (tmp_path / "b.png").write_bytes(encoded(photo(4, 4), "PNG"))
    (tmp_path / "a.bmp").write_bytes(encoded(photo(9, 9), "BMP"))
    options = {"root": tmp_path, "suffixes": [".jpg", ".png"]}
    stats = gpustats.compute(["a", "b"], progress=False, device="cpu", **options)
    assert (stats.n_images, stats.height_range) == (2, (4, 4))
    assert gpustats.inspect(["a", "b"], **options).images == 2
    done = invoke("compute", "a", "b", "--root", tmp_path, "--suffixes", ".jpg,.png", "--json", "-")
    assert (done.code, json.loads(done.out)["totals"]["images"]) == (0, 2)


# COCO and other JSON


def test_coco_finds_the_images_of_its_split(tmp_path: Path) -> None:
    names = ["000000000001.jpg", "000000000002.jpg"]
    fill(tmp_path / "val2017", *names)
    fill(tmp_path / "train2017", *names, "other.jpg")
    data = {"images": [{"id": i, "file_name": name} for i, name in enumerate([*names, "gone.jpg"])], "annotations": []}
    read_one = read(tmp_path / "annotations" / "instances_val2017.json", data)
    assert [key for key, *_ in read_one.images] == names
    assert read_one.failures == [("gone.jpg", "missing")]
    root = str(tmp_path / "train2017")
    assert len(read(tmp_path / "annotations" / "instances_val2017.json", data, root=root).images) == 2


def test_the_first_folder_that_has_an_image_counts_for_all(tmp_path: Path) -> None:
    """Or a file that is missing would be taken from another folder, where it is another image."""
    fill(tmp_path / "labels" / "images", "a.jpg")
    fill(tmp_path / "images", "b.jpg")
    read_one = read(tmp_path / "labels" / "x.json", ["gone.jpg", "a.jpg", "b.jpg"])
    assert (found(read_one), read_one.failures) == ([b"a.jpg"], [("gone.jpg", "missing"), ("b.jpg", "missing")])


def test_lvis(tmp_path: Path) -> None:
    fill(tmp_path, "train2017/1.jpg", "val2017/2.jpg")
    rows = [{"id": n, "coco_url": f"http://host/{name}"} for n, name in ((1, "train2017/1.jpg"), (2, "val2017/2.jpg"))]
    assert found(read(tmp_path / "lvis_v1_val.json", {"images": rows})) == [b"train2017/1.jpg", b"val2017/2.jpg"]


def test_labelme(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "images/b.jpg")
    inside = base64.b64encode(b"inside").decode()
    for name, path, data in [
        ("a", "a.jpg", None),
        ("b", "..\\images\\b.jpg", inside),
        ("c", "c.jpg", inside),
        ("d", "d.jpg", None),
        ("e", "e.jpg", "!"),
    ]:
        text = json.dumps({"version": "5", "shapes": [], "imagePath": path, "imageData": data})
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{name}.json").write_text(text)
    read_one = contents(f"{tmp_path}/labels/*.json")
    assert found(read_one) == [b"a.jpg", b"images/b.jpg", b"inside"]
    assert read_one.failures == [("d.jpg", "missing"), ("e.jpg", "corrupt")]
    assert found(contents(f"{tmp_path}/labels/a.json", root=str(tmp_path))) == [b"a.jpg"]


def test_other_json(tmp_path: Path) -> None:
    for data in ({"shapes": []}, {"imagePath": 3}, 5):
        read_one = read(tmp_path / "x.json", data)
        assert read_one.failures == [("x.json", "unsupported")]
        assert "COCO with its 'images', or as LabelMe's 'imagePath'" in read_one.messages[0]


# XML


VOC = "<annotation><folder>x</folder><filename>{}</filename><object><name>cat</name></object></annotation>"
CVAT = '<annotations><version>1.1</version><image id="0" name="{}" subset="{}" width="1"/></annotations>'


def test_voc(tmp_path: Path) -> None:
    fill(tmp_path, "JPEGImages/1.jpg", "JPEGImages/2.jpg", "JPEGImages/noending.jpg")
    for number, name in enumerate(("1.jpg", "2.jpg", "noending", "gone.jpg", "1.jpg")):
        (tmp_path / "Annotations").mkdir(exist_ok=True)
        (tmp_path / "Annotations" / f"{number}.xml").write_text(VOC.format(name))
    read_one = contents(f"{tmp_path}/Annotations/*.xml")
    assert found(read_one) == [b"JPEGImages/1.jpg", b"JPEGImages/2.jpg", b"JPEGImages/noending.jpg"]
    assert (read_one.failures, read_one.skipped) == ([("gone.jpg", "missing")], {"repeated": 1})


def test_lists_of_voc(tmp_path: Path) -> None:
    fill(tmp_path, "JPEGImages/2007_1.jpg", "JPEGImages/2007_2.jpg", "JPEGImages/2007_3.jpg")
    read_one = read(tmp_path / "ImageSets" / "Main" / "train.txt", "2007_1\n2007_3\n2007_9\n")
    assert found(read_one) == [b"JPEGImages/2007_1.jpg", b"JPEGImages/2007_3.jpg"]
    assert read_one.failures == [("2007_9", "missing")]
    read_one = read(tmp_path / "ImageSets" / "Main" / "cat_train.txt", "2007_1 -1\n2007_3  1\n")
    assert [(key, group) for key, group, _ in read_one.images] == [("2007_1", "-1"), ("2007_3", "1")]
    elsewhere = str(fill(tmp_path / "other", "2007 1.png"))
    assert found(read(tmp_path / "ImageSets" / "Main" / "t.txt", "2007 1\n", root=elsewhere)) == [b"2007 1.png"]
    assert found(read(tmp_path / "lists" / "Main" / "t.txt", "2007_1\n")) == []


def test_cvat(tmp_path: Path) -> None:
    fill(tmp_path, "images/train/1.jpg", "images/2.jpg")
    text = CVAT.replace("</annotations>", '<image name="2.jpg"/></annotations>').format("train/1.jpg", "Train")
    read_one = read(tmp_path / "annotations.xml", text)
    assert [(key, group) for key, group, _ in read_one.images] == [("train/1.jpg", "Train"), ("2.jpg", "")]
    root = str(fill(tmp_path / "other", "a.jpg"))
    assert found(read(tmp_path / "annotations.xml", CVAT.format("a.jpg", "x"), root=root)) == [b"a.jpg"]


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        ("<annotation>", "corrupt", "not XML: no element found"),
        ("", "corrupt", "not XML: no element found"),
        ("<html><image name='a.jpg'/></html>", "unsupported", "XML is read as VOC's 'annotation'"),
        ("<annotations><track id='0'/></annotations>", "unsupported", "CVAT for video names no image files"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>", "unsupported", "declares a document type"),
        ("<annotation><object><filename>a.jpg</filename></object></annotation>", "unsupported", "XML is read as"),
        ("<annotation><filename/></annotation>", "missing", "the row has no path in 'path'"),
        ("<annotations><image/></annotations>", "missing", "the row has no path in 'path'"),
    ],
)
def test_other_xml(text: str, reason: str, message: str, tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    read_one = read(tmp_path / "x.xml", text)
    assert [why for _, why in read_one.failures] == [reason]
    assert message in read_one.messages[0]


def test_xml_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpustats.sources.tables import documents

    monkeypatch.setattr(documents, "_CHUNK", 7)
    fill(tmp_path, "a long name.jpg")
    assert found(read(tmp_path / "x.xml", VOC.format("a long name.jpg"))) == [b"a long name.jpg"]


# YOLO


DATA = "path: .\ntrain: images/train\nval: images/val # comment\n\nnames:\n  0: person\n  train: no\n"


def test_yolo(tmp_path: Path) -> None:
    fill(tmp_path, "images/train/1.jpg", "images/train/x/2.jpg", "images/val/3.jpg", "labels/train/1.txt")
    read_one = read(tmp_path / "data.yaml", DATA)
    assert read_one.failures == [("data.yaml", "unsupported")]
    assert read_one.messages == [
        "several splits may hold images: train (images/train), val (images/val); choose with column=, or read all with "
        "column='*'"
    ]
    read_one = read(tmp_path / "data.yaml", DATA, column="train")
    assert read_one.images == [
        ("images/train/1.jpg", "", b"images/train/1.jpg"),
        ("images/train/x/2.jpg", "x", b"images/train/x/2.jpg"),
    ]
    assert len(read(tmp_path / "data.yaml", DATA, column="*").images) == 3
    assert read(tmp_path / "data.yaml", DATA, column="test").messages == [
        "there is no split 'test'; there are: train (images/train), val (images/val)"
    ]
    stats = open_source(tmp_path / "data.yaml", SourceOptions(column="val"))
    list(stats.samples())
    assert stats.notes.images_from == {"split 'val'": 1}


@pytest.mark.parametrize(
    "text",
    [
        "train: images/train\n",
        "train: images/train/\nval:\n",
        "train: images/train\nval: images/train\n",
        "path: 'data # not'\ntrain: \"../images/train\"\n",
        "train: ../images/train\nval: ~\n",
        "train: [images/train]\n",
        "train:\n  - images/train\n  - images/train/1.jpg.txt\n",
        "train: list.txt\n",
        "train:\n- images/train\nnc: 3\n",
        "train: /abs/images/train\n",
    ],
)
def test_what_yaml_says(text: str, tmp_path: Path) -> None:
    fill(tmp_path, "images/train/1.jpg")
    (tmp_path / "list.txt").write_text("./images/train/1.jpg\n")
    (tmp_path / "images" / "train" / "1.jpg.txt").write_text("1.jpg\n")
    read_one = read(tmp_path / "data.yaml", text.replace("/abs", str(tmp_path)))
    assert (found(read_one), read_one.failures) == ([b"images/train/1.jpg"], [])


def test_yolo_with_parts_that_are_missing(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg")
    read_one = read(tmp_path / "data.yaml", "train: [a, gone, list.txt]\n")
    assert (found(read_one), [reason for _, reason in read_one.failures]) == ([b"a/1.jpg"], ["missing"] * 2)
    (tmp_path / "list.txt").write_text("a/1.jpg\na/9.jpg\n")
    read_one = contents(tmp_path / "data.yaml")
    assert (read_one.failures, read_one.skipped) == (
        [("data.yaml: gone", "missing"), ("a/9.jpg", "missing")],
        {"repeated": 1},
    )
    root = str(fill(tmp_path / "root", "a/2.jpg"))
    assert found(read(tmp_path / "data.yaml", "train: a\n", root=root)) == [b"a/2.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "YAML is read as YOLO's data file"),
        ("name: x\n", "YAML is read as YOLO's data file"),
        ("train: {a: b}\n", "of a form that is not read: {a: b}"),
        ("train: &anchor a\n", "of a form that is not read"),
        ("train: |\n  a\n", "of a form that is not read"),
    ],
)
def test_other_yaml(text: str, message: str, tmp_path: Path) -> None:
    read_one = read(tmp_path / "data.yaml", text)
    assert read_one.failures == [("data.yaml", "unsupported")]
    assert message in read_one.messages[0]


# Tables of identifiers


@pytest.mark.parametrize(
    "head", ["id,label", "ImageID,LabelName", "image_id,label", "id_code,diagnosis", "label,img_id", "ID,x"]
)
def test_tables_of_identifiers(head: str, tmp_path: Path) -> None:
    fill(tmp_path, "000a.jpg", "000b.png")
    rows = [("000a", "1"), ("000b", "2"), ("000c", "3"), ("000a", "1")]
    order = -1 if head.startswith("label") else 1
    text = "\n".join([head, *(",".join(row[::order]) for row in rows)])
    read_one = read(tmp_path / "train.csv", text)
    assert found(read_one) == [b"000a.jpg", b"000b.png"]
    assert (read_one.failures, read_one.skipped) == ([("000c", "missing")], {"repeated": 1})


def test_identifiers_that_are_no_files(tmp_path: Path) -> None:
    for text in ("id,label\n1,a\n", "id,label\n,a\n"):
        read_one = read(tmp_path / "train.csv", text)
        assert read_one.messages == ["no column with paths among id, label; name it with column="]
    fill(tmp_path, "a.jpg", "1.jpg")
    assert found(read(tmp_path / "train.csv", "id,path\n1,a.jpg\n")) == [b"a.jpg"], "a column of paths comes first"
