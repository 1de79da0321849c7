"""Tables and lists of paths: columns, delimiters, encodings, rows that are wrong, where paths lead."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.sources.packing import Contents, contents, need

NAMES = ["a.jpg", "é/日本.jpg", "caf\udce9.jpg"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose images hold their own names."""
    for name in NAMES:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        try:
            path.write_bytes(raw(name))
        except OSError:
            pytest.skip("this file system takes only UTF-8 names")
    return tmp_path


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def read(folder: Path, name: str, text: str | bytes, **options: Any) -> Contents:
    (folder / name).write_bytes(raw(text) if isinstance(text, str) else text)
    return contents(folder / name, **options)


BOM = "\ufeff"
ROWS = "".join(f"{name},{i}\n" for i, name in enumerate(NAMES))
EXPECTED = [(name, str(i), raw(name)) for i, name in enumerate(NAMES)]


@pytest.mark.parametrize("start", ["", BOM])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(("ending", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_names_of_any_bytes_in_tables(start: str, newline: str, ending: str, delimiter: str, folder: Path) -> None:
    text = (start + "path,label\n" + ROWS).replace(",", delimiter).replace("\n", newline)
    found = read(folder, f"m{ending}", text)
    assert found == (EXPECTED, [], [], {})


@pytest.mark.parametrize("start", ["", BOM])
@pytest.mark.parametrize("ending", [".jsonl", ".ndjson"])
def test_names_in_json_lines(start: str, ending: str, folder: Path) -> None:
    rows = [{"path": name, "label": i} for i, name in enumerate(NAMES[:2])]
    found = read(folder, f"m{ending}", start + "\n \n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    assert found == (EXPECTED[:2], [], [], {})


def test_names_in_json(folder: Path) -> None:
    rows: list[Any] = [{"file_name": name, "label": str(i)} for i, name in enumerate(NAMES[:2])]
    for data in (rows, {"images": rows, "annotations": [1]}):
        assert read(folder, "m.json", json.dumps(data)) == (EXPECTED[:2], [], [], {})
    assert read(folder, "m.json", json.dumps(["a.jpg", "é/日本.jpg"])).images == [
        (name, "", raw(name)) for name in NAMES[:2]
    ]
    escaped = json.dumps(["caf\udce9.jpg"])
    assert read(folder, "m.json", escaped).images == [("caf\udce9.jpg", "", raw("caf\udce9.jpg"))]


def test_fields_in_quotes(folder: Path) -> None:
    (folder / "x, y.jpg").write_bytes(b"comma")
    found = read(folder, "m.csv", 'label,path\n"two\nlines",a.jpg\n,"x, y.jpg"\n')
    assert found.images == [("a.jpg", "two\nlines", b"a.jpg"), ("x, y.jpg", "", b"comma")]


@pytest.mark.parametrize(
    ("header", "path", "group"),
    [
        ("img,image,file,filename,file_name,img_path,image_path,filepath,file_path,path", 9, None),
        ("img,image,file,filename,file_name,img_path,image_path,filepath,file_path", 8, None),
        ("img,image,file,filename,file_name,img_path,image_path,filepath", 7, None),
        ("img,image,file,filename,file_name,img_path,image_path", 6, None),
        ("img,image,file,filename,file_name,img_path", 5, None),
        ("img,image,file,filename,file_name", 4, None),
        ("img,image,file,filename", 3, None),
        ("img,image,file", 2, None),
        ("img,image", 1, None),
        ("img", 0, None),
        ("target,cls,group,category,class,label,IMG", 6, 5),
        ("target,cls,group,category,Class,img", 5, 4),
        ("target,cls,group,category,img", 4, 3),
        ("target,cls,group,img", 3, 2),
        ("target,cls,img", 2, 1),
        ("TARGET,img", 1, 0),
        ("path,Path,PATH", 0, None),
    ],
)
def test_columns_by_their_names(header: str, path: int, group: int | None, folder: Path) -> None:
    cells = [f"g{i}" for i in range(header.count(",") + 1)]
    cells[path] = "a.jpg"
    assert read(folder, "m.csv", f"{header}\n{','.join(cells)}\n").images == [
        ("a.jpg", "" if group is None else f"g{group}", b"a.jpg")
    ]


def test_columns_that_the_user_names(folder: Path) -> None:
    text = "path,x,y,label\nno.jpg,a.jpg,g,h\n"
    assert read(folder, "m.csv", text, column="x", group="y").images == [("a.jpg", "g", b"a.jpg")]
    for options, what in [({"column": "z"}, "z"), ({"column": "x", "group": "Y"}, "Y")]:
        found = read(folder, "m.csv", text, **options)
        assert found.failures == [("m.csv", "unsupported")]
        assert found.messages == [f"there is no column '{what}'; there are: path, x, y, label"]
    assert read(folder, "m.jsonl", "{}", column="x").messages == ["there is no column 'x'; there are: none"]


def test_tables_without_a_column_of_paths(folder: Path) -> None:
    found = read(folder, "m.csv", "a,b\n1,2\n3,4\n")
    assert (found.failures, found.messages) == (
        [("m.csv", "unsupported")],
        ["no column with paths among a, b; name it with column="],
    )
    assert read(folder, "m.jsonl", "{}\n").messages == ["no column with paths among none; name it with column="]
    for text in ("", "path,label\n"):
        assert read(folder, "m.csv", text) == ([], [], [], {})


def test_rows_that_are_wrong(folder: Path) -> None:
    found = read(folder, "m.csv", "path,label\na.jpg\n,x\n\na.jpg,y,too,many\n")
    assert found.images == [("a.jpg", "", b"a.jpg")]
    assert found.skipped == {"repeated_other_group": 1}
    assert (found.failures, found.messages) == ([("m.csv:3", "missing")], ["the row has no path in 'path'"])
    lines = ['{"path": "a.jpg", "label": 7}', "{", "[]", '"a.jpg"', '{"path": 3}', '{"label": 1}', "[" * 9000]
    found = read(folder, "m.jsonl", "\n".join([*lines, '{"path": "a.jpg", "label": null}']))
    assert found.images == [("a.jpg", "7", b"a.jpg")]
    assert list(zip(found.failures, found.messages, strict=True)) == [
        (("m.jsonl:2", "corrupt"), "the line is no JSON"),
        (("m.jsonl:3", "corrupt"), "the line is no JSON object"),
        (("m.jsonl:4", "corrupt"), "the line is no JSON object"),
        (("m.jsonl:5", "missing"), "the row has no path in 'path'"),
        (("m.jsonl:6", "missing"), "the row has no path in 'path'"),
        (("m.jsonl:7", "corrupt"), "the line is no JSON"),
    ]
    found = read(folder, "m.json", '[{"path": "a.jpg"}, 3, "a.jpg", {"x": 1}]')
    assert (found.keys, found.skipped) == (["a.jpg"], {"repeated": 1})
    assert found.failures == [("m.json:2", "corrupt"), ("m.json:4", "missing")]
    assert found.messages[0] == "not a JSON object"


@pytest.mark.parametrize("text", ["{", "[" * 9000, "\x80"])
def test_a_file_that_is_no_json(text: str, folder: Path) -> None:
    found = read(folder, "m.json", text.encode("latin-1"))
    assert found.failures == [("m.json", "corrupt")]
    assert found.messages[0].startswith("not JSON: ")


@pytest.mark.parametrize("text", ["3", '"a.jpg"', "{}", '{"images": 3}', "null"])
def test_json_of_another_form(text: str, folder: Path) -> None:
    found = read(folder, "m.json", text)
    assert found.failures == [("m.json", "unsupported")]
    assert found.messages == [
        "JSON is read as a list of objects, as COCO with its 'images', or as LabelMe's 'imagePath'"
    ]


def test_a_field_that_is_too_long_for_csv(folder: Path) -> None:
    found = read(folder, "m.csv", "path\na.jpg\n" + "x" * 140_000 + "\n")
    assert found.keys == ["a.jpg"]
    assert found.failures == [("m.csv", "corrupt")]
    assert found.messages[0].startswith("line 3: field larger than")


def test_text_lists(folder: Path) -> None:
    text = "# comment\n" + NAMES[0] + "\r\n\n  \n" + NAMES[1] + "\n" + NAMES[2]
    for name in ("l.txt", "l.lst", "l.list"):
        assert read(folder, name, text).images == [(name, "", raw(name)) for name in NAMES]
    (folder / " #x.jpg").write_bytes(b"blank")
    found = read(folder, "l.txt", " #x.jpg\ngone.jpg\nhttp://h/a.jpg\n")
    assert found.images == [(" #x.jpg", "", b"blank")]
    assert found.failures == [("gone.jpg", "missing"), ("http://h/a.jpg", "unsupported")]


@pytest.mark.parametrize("first", ["", "# comment\n"])
def test_a_text_list_that_begins_with_a_byte_order_mark(folder: Path, first: str) -> None:
    """As editors on Windows write it."""
    found = read(folder, "l.txt", "\ufeff" + first + NAMES[0] + "\r\n" + NAMES[1] + "\r\n")
    assert found.images == [(name, "", raw(name)) for name in NAMES[:2]]
    assert found.failures == []


def test_where_paths_lead(folder: Path, tmp_path: Path) -> None:
    away = tmp_path / "lists"
    away.mkdir()
    absolute = (folder / "a.jpg").as_posix()
    for name, text in [("m.csv", "path\n{}\n{}\n"), ("l.txt", "{}\n{}\n")]:
        assert read(away, name, text.format("../a.jpg", absolute)).images == [
            ("../a.jpg", "", b"a.jpg"),
        ]
        found = read(away, name, text.format(absolute, "a.jpg"), root=str(folder))
        assert (found.images, found.skipped) == ([(absolute, "", b"a.jpg")], {"repeated": 1})
        found = read(away, name, text.format("a.jpg", absolute), root=str(folder), repeats="count")
        assert found.images == [("a.jpg", "", b"a.jpg"), (absolute, "", b"a.jpg")]
        found = read(away, name, text.format("a.jpg", "memory://x/a.jpg"), root=str(folder))
        assert found.failures == [("memory://x/a.jpg", "unsupported")]
        assert found.messages == ["a list may name URLs only below root=; give root='https://...' or the like"]


def test_paths_below_a_url(folder: Path) -> None:
    memory = pytest.importorskip("fsspec", reason="fsspec is not installed").filesystem("memory")
    memory.pipe_file("/manifest/a..b/é.jpg", b"remote")
    memory.pipe_file("/manifestother/x.jpg", b"other")
    good = ["a..b/é.jpg", "memory://manifest/a..b/é.jpg"]
    bad = ["/a..b/é.jpg", "../manifest/x.jpg", "a/../b.jpg", "memory://manifestother/x.jpg"]
    text = "path\n" + "\n".join(good + bad)
    for root in ("memory://manifest", "memory://manifest/"):
        found = read(folder, "m.csv", text, root=root)
        assert (found.images, found.skipped) == ([(good[0], "", b"remote")], {"repeated": 1})
        found = read(folder, "m.csv", text, root=root, repeats="count")
        assert found.images == [(name, "", b"remote") for name in good]
        assert found.failures == [(name, "unsupported") for name in bad]
        assert found.messages[0] == "a path below a URL may not be absolute or hold '..'"
    memory.pipe_file("/manifest/m.csv", text.encode())
    found = contents("memory://manifest/m.csv")
    assert found.images == [(good[0], "", b"remote")]
    assert found.failures == [(name, "unsupported") for name in bad]
    found = contents("memory://manifest/m.csv", root=str(folder))
    assert found.failures[0] == (good[0], "missing"), "root= is a folder of this machine"


ENDINGLESS = {"m.csv": "id,label\n{}\n", "l.txt": "{}\n", "m.jsonl": '{{"id": "{}"}}\n'}


@pytest.mark.parametrize("name", ENDINGLESS)
def test_names_without_their_ending(name: str, tmp_path: Path) -> None:
    """As in ImageSets/Main/train.txt of VOC and in tables of Kaggle."""
    for file in ("a.jpg", "2008_01.5.PNG", "both.jpg", "both.png", "hash"):
        (tmp_path / "images" / file).parent.mkdir(exist_ok=True)
        (tmp_path / "images" / file).write_bytes(file.encode())
    options = {} if name == "l.txt" else {"column": "id"}
    found = {}
    for key in ("a", "2008_01.5", "both", "hash", "gone", "gone.jpg"):
        read_one = read(tmp_path, name, ENDINGLESS[name].format(key), root=str(tmp_path / "images"), **options)
        found[key] = [data for *_, data in read_one.images] or read_one.failures + read_one.messages
    assert found == {
        "a": [b"a.jpg"],
        "2008_01.5": [b"2008_01.5.PNG"],
        "both": [
            ("both", "unsupported"),
            "several files have this name: both.jpg, both.png; give the ending as well",
        ],
        "hash": [b"hash"],
        "gone": [("gone", "missing"), "no such file"],
        "gone.jpg": [("gone.jpg", "missing"), "no such file"],
    }


def test_names_without_their_ending_in_a_list(tmp_path: Path) -> None:
    gif = b"GIF89a" + b"x" * 20
    for file in ("a.jpg", "both.jpg", "both.png"):
        (tmp_path / file).write_bytes(file.encode())
    for file in ("hash", "hash.0a1b"):
        (tmp_path / file).write_bytes(gif)
    (tmp_path / "model.onnx").write_bytes(b"x")
    found = contents([tmp_path / name for name in ("a", "hash", "hash.0a1b", "both", "model.onnx", "gone")])
    assert [data for *_, data in found.images] == [b"a.jpg", gif, gif]
    assert [key.rpartition("/")[2] for key, _ in found.failures] == ["both", "model.onnx", "gone"]
    assert "several files have this name: " in found.messages[0]


def test_a_manifest_whose_files_are_half_missing(folder: Path) -> None:
    rows = "".join(f"a.jpg,{i}\ngone{i}.jpg,x\n" for i in range(20))
    found = read(folder, "m.csv", "path,label\n" + rows, repeats="count")
    assert len(found.images) == 20
    assert found.failures == [(f"gone{i}.jpg", "missing") for i in range(20)]


def data_url(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


@pytest.mark.parametrize("kind", ["m.csv", "m.jsonl", "m.json", "m.parquet", "huggingface"])
def test_images_in_the_table_itself(kind: str, tmp_path: Path) -> None:
    urls = [
        data_url(b"first"),
        "data:,%FF%00x",
        "DATA:image/png;BASE64,YWI=",
        "data:image/png;base64,Y!WI=",
        "data:none",
    ]
    rows = [{"image": url, "label": str(number)} for number, url in enumerate(urls)]
    path = tmp_path / kind
    if kind == "m.csv":
        path.write_text("image,label\n" + "".join(f'"{row["image"]}",{row["label"]}\n' for row in rows))
    elif kind == "m.jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "m.json":
        path.write_text(json.dumps(rows))
    elif kind == "m.parquet":
        need("pyarrow.parquet").write_table(need("pyarrow").Table.from_pylist(rows), path)
    found = contents(path if kind != "huggingface" else need("datasets").Dataset.from_list(rows))
    assert [data for *_, data in found.images] == [b"first", b"\xff\x00x", b"ab"]
    assert found.groups == ["0", "1", "2"]
    assert all(len(key) < 20 for key in [*found.keys, *(key for key, _ in found.failures)])
    assert [reason for _, reason in found.failures] == ["corrupt", "corrupt"]
    assert found.messages[0].startswith("the data: URL is no base64: ")
    assert found.messages[1] == "the data: URL has no comma, so no data"
    if kind != "huggingface":
        assert "too_large" in {reason for _, reason in contents(path, max_bytes=3).failures}
