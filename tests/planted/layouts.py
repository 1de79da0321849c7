"""Faults in what layouts of datasets and lists of keys name."""

from __future__ import annotations

from tests.planted import Fault

_ROOT = "gpustats/sources/files/root.py"
_DOCUMENTS = "gpustats/sources/tables/documents.py"
_YOLO = "gpustats/sources/places/yolo.py"
_TESTS = "tests/sources/test_layouts.py::"

FAULTS = [
    Fault(
        _ROOT,
        "                self._folder = folder\n",
        "",
        _TESTS + "test_the_first_folder_that_has_an_image_counts_for_all",
    ),
    Fault(_DOCUMENTS, 'split("/")[-2:]', 'split("/")[-1:]', _TESTS + "test_lvis"),
    Fault(_DOCUMENTS, '.replace("\\\\", "/")', "", _TESTS + "test_labelme"),
    Fault(
        _DOCUMENTS,
        'if self._open == ["annotations"]:',
        'if "annotations" in self._open[:1] or True:',
        _TESTS + "test_other_xml",
    ),
    Fault(
        _DOCUMENTS,
        "    parser.StartDoctypeDeclHandler = _refuse\n",
        "",
        _TESTS + "test_other_xml",
    ),
    Fault(
        "gpustats/sources/tables/manifest.py",
        "not isinstance(item, str) or os.path.exists(item)",
        "not isinstance(item, str)",
        _TESTS + "test_labelme",
    ),
    Fault(
        "gpustats/sources/tables/manifest.py",
        "return name if isinstance(item, str) and os.path.isfile(item) else None",
        "return name",
        _TESTS + "test_identifiers_that_are_no_files",
    ),
    Fault(_YOLO, "[place, place[3:]] if", "[place] if", _TESTS + "test_what_yaml_says"),
    Fault(
        _YOLO,
        "for places in splits.values()}) == 1",
        "for places in splits.values()}) == 0",
        _TESTS + "test_what_yaml_says",
    ),
    Fault(_YOLO, 'value not in ("null", "~")', "value", _TESTS + "test_what_yaml_says"),
    Fault(_YOLO, 'line = re.sub(r"(^|\\s)#.*", "", line).rstrip()', "line = line.rstrip()", _TESTS + "test_yolo"),
    Fault(
        "gpustats/sources/places/lists.py",
        "if self._options.root is not None or self._file.path is None:",
        "if self._file.path is None:",
        _TESTS + "test_lists_of_voc",
    ),
    Fault(
        "gpustats/sources/open.py",
        "or not (kind_of(name) or",
        "or not (False or",
        _TESTS + "test_lists_of_manifests_keep_their_root",
    ),
    Fault(
        "gpustats/sources/files/endings.py",
        "in _ENDINGS if endings is None else endings",
        "in _ENDINGS",
        _TESTS + "test_images_by_key",
    ),
    Fault(
        "gpustats/sources/tables/lance.py",
        "            start += count\n",
        "",
        "tests/sources/test_lance.py::test_rows_of_several_fragments",
    ),
    Fault(
        "gpustats/sources/tables/lance.py",
        "count if one_each else None)",
        "count)",
        "tests/inspection/test_inspect.py::test_a_row_with_several_images_is_not_counted_as_one",
    ),
]
