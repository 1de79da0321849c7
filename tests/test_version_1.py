"""Results that version 0.1.0 saved are read with every number bit for bit as the file holds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpustats import DataError, Stats, merge

FILES = sorted((Path(__file__).parent / "data" / "v1").glob("*.json"))
DERIVED = ("mean", "std", "std_unbiased", "per_image", "std_of_means", "min", "max")
SAME = (
    "complete",
    "images",
    "pixels",
    "exact",
    "channels",
    "scale",
    "height_range",
    "width_range",
    "failures",
    "skipped",
)


def test_the_files_are_there() -> None:
    assert [file.stem for file in FILES] == ["empty", "float", "grey-16-bit", "rgb-with-failures"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_number_is_that_of_the_file(file: Path) -> None:
    old = json.loads(file.read_text())
    assert (old["version"], old["gpustats"]) == (1, "0.1.0")
    stats = Stats.load(file)
    new = stats.to_dict()
    for name in (*DERIVED, *SAME):
        assert new[name] == old[name], name
    later = {"statistics": None, "mode": "RGB", "nodata": []}
    assert {**new["definition"], "statistics": None} == {**old["definition"], **later}
    numbers = old["integers"] if old["exact"] else old["moments"]
    assert f"{stats.totals.key_hash:032x}" == numbers["key_hash"]
    for name, values in stats.totals.parts.get("moments", {}).items():
        if name == "products":  # later
            assert values is None
            continue
        old_name = {"n": "pixels"}.get(name, name)
        expected = numbers[old_name]
        assert values == (expected if isinstance(expected, list) else [expected] * len(values)), name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_can_be_saved_again_and_merged(file: Path, tmp_path: Path) -> None:
    stats = Stats.load(file)
    stats.save(tmp_path / "again.json")
    again = Stats.load(tmp_path / "again.json")
    assert again.totals == stats.totals
    assert json.loads((tmp_path / "again.json").read_text())["version"] == 2
    assert merge([stats, again]).n_images == 2 * stats.n_images


@pytest.mark.parametrize("name", ["integers", "definition", "skipped"])
def test_a_part_that_is_missing_is_named(name: str) -> None:
    data: dict[str, Any] = json.loads(FILES[-1].read_text())
    del data[name]
    with pytest.raises(DataError, match=f"incomplete or damaged: KeyError.*{name}"):
        Stats.from_dict(data)


@pytest.mark.parametrize(
    "name", ["sum", "sumsq", "image_std", "pixels", "images", "images_unbiased", "max_value", "key_hash"]
)
@pytest.mark.parametrize("value", [None, "x", -1])
def test_a_damaged_number_is_refused(name: str, value: object) -> None:
    data: dict[str, Any] = json.loads(FILES[-1].read_text())
    whole = data["integers"][name]
    data["integers"][name] = [value, *whole[1:]] if isinstance(whole, list) else value
    if (name, value) == ("key_hash", -1):
        data["integers"][name] = "no hash"
    with pytest.raises(DataError):
        Stats.from_dict(data)
