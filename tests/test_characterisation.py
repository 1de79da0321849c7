"""The whole result of every case of `tests.characterise` is the committed one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.characterise import CASES, GOLDEN, difference, results, write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("characterised")
    write_dataset(folder)
    return folder


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return data


@pytest.mark.parametrize("name", CASES)
def test_the_result_is_the_committed_one(name: str, dataset: Path, golden: dict[str, Any]) -> None:
    if missing := CASES[name].missing():
        pytest.skip(f"{missing} is not installed")
    expected = {key: value for key, value in golden.items() if key.partition(":")[0] == name}
    found = results(name, dataset)
    assert sorted(found) == sorted(expected), "run: python -m tests.characterise"
    differences = [
        text
        for key in found
        # What is meant to be the same in every run is compared in every bit: floats are sums of floats in one thread.
        for text in difference(found[key], expected[key], exact=expected[key]["exact"], where=key)
    ]
    assert differences == [], "meant? run: python -m tests.characterise"


def test_no_case_is_left_over(golden: dict[str, Any]) -> None:
    assert {key.partition(":")[0] for key in golden} == set(CASES)


def test_the_same_images_give_the_same_numbers_in_every_container(golden: dict[str, Any]) -> None:
    """The committed numbers themselves hold what is promised, so that nobody commits a mistake."""
    whole = golden["folder: all"]["totals"]
    wholes = "tar: plain, tar: xz, shards: brace, shards: folder, zip_archive: stored, lmdb, parquet: structs, coco"
    for key in [*wholes.split(", "), "tfrecord: plain", "webdataset: all", "options: isolate", "merged: two"]:
        assert golden[key]["totals"] == whole, key
    crops = golden["arrays: nhwc"]["totals"]
    for key in ("arrays: nchw", "npy: chw", "hdf5: train/images", "zarr", "npz", "dataset", "arrays: pillow"):
        assert golden[key]["totals"] == crops, key
    assert golden["checkpoint: changed"]["keys"] == golden["checkpoint: afresh"]["keys"]
    assert golden["checkpoint: changed"]["totals"] == golden["checkpoint: afresh"]["totals"]


def test_a_difference_is_named() -> None:
    expected = {"mean": [1.0, 0.5], "images": 3, "failures": {"listed": [["a", "missing"]]}}
    assert difference(expected, expected, exact=True) == []
    near = {**expected, "mean": [1.0, 0.5 + 1e-14]}
    assert difference(near, expected, exact=False) == []
    assert difference(near, expected, exact=True) == [".mean[1]: 0.50000000000001, expected 0.5"]
    assert difference({**expected, "mean": [1.0]}, expected, exact=False) == [".mean: [1.0], expected [1.0, 0.5]"]
    assert difference({**expected, "images": 3.0}, expected, exact=False) == [".images: 3.0, expected 3"]
    assert difference({**expected, "failures": {"listed": [["a", "corrupt"]]}}, expected, exact=False) == [
        ".failures.listed[0][1]: 'corrupt', expected 'missing'"
    ]
    assert len(difference({**expected, "new": None}, expected, exact=False)) == 1
