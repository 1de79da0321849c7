"""A statistic is one file and one line in the table: this one counts the pixels of a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from operator import add
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import gpustats
from gpustats.statistics import STATISTICS, for_kind
from gpustats.statistics.base import Column, Columns, Number, Part, Statistic, over
from gpustats.statistics.grouped import Grouped
from gpustats.statistics.totals import Totals
from tests.rows import built, random_images

# The file.


class Black(Statistic):
    """Counts of pixels that are 0; ``count`` has one integer a channel."""

    name = "black"
    combine: ClassVar = {"count": add, "n": add}
    numbers = (
        Number(
            "black_share",
            lambda v: [over(count, n) for count, n in zip(v["count"], v["n"], strict=True)],
            "black pixels",
            "number of pixels that are 0, divided by n",
            power=0,
        ),
    )

    def columns(self) -> Mapping[str, Column]:
        wide = Column("uint64", (self.kind.channels,))
        return {"count": wide, "n": wide}

    def kernel(self) -> Any:
        return count_zeros

    def fold(self, columns: Columns) -> Part:
        return {name: [int(x) for x in column.sum(axis=0)] for name, column in columns.items()}


def count_zeros(pixels: Any, channels: int, row: int, first: int, count: Any, n: Any) -> None:
    for channel in range(channels):
        count[row, first + channel] = (pixels[channel::channels] == 0).sum()
        n[row, first + channel] = pixels.size // channels


# The line.


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(STATISTICS, "black", (Black,))
    for_kind.cache_clear()
    yield
    for_kind.cache_clear()


NAMES = ("moments", "black")


def images(count: int = 30) -> list[np.ndarray]:
    return [np.where(image < 90, 0, image).astype(np.uint8) for image in random_images(4, count)]


def shares(of: list[np.ndarray]) -> list[float]:
    pixels = np.concatenate([image.reshape(-1, 3) for image in of])
    return [int((pixels[:, c] == 0).sum()) / len(pixels) for c in range(3)]


def test_a_run_has_it_everywhere(tmp_path: Path) -> None:
    some = images()
    stats = gpustats.compute(some, statistics=["black"], progress=False, device="cpu", layout="HWC")
    assert stats.black_share.tolist() == shares(some)
    assert stats.number("black_share").tolist() == shares(some)
    assert "black_share" in dir(stats)
    assert "black_share" in repr(stats)
    assert "black pixels" in repr(stats)
    assert "black pixels" in stats._repr_html_()
    assert json.loads(stats.to_json())["black_share"] == shares(some)
    assert stats.scaled(255).black_share.tolist() == shares(some), "a share has no scale"
    stats.save(tmp_path / "s.json")
    assert gpustats.Stats.load(tmp_path / "s.json").totals == stats.totals


def test_a_checkpoint_keeps_it(tmp_path: Path) -> None:
    for i, image in enumerate(images(9)):
        head = f"P6 {image.shape[1]} {image.shape[0]} 255\n".encode()
        (tmp_path / f"{i}.ppm").write_bytes(head + image.tobytes())
    options: dict[str, Any] = {
        "statistics": ["black"],
        "checkpoint": tmp_path / "c",
        "progress": False,
        "device": "cpu",
    }
    first, again = (gpustats.compute(tmp_path, **options) for _ in range(2))
    assert again.runs[0]["checkpoint"]["images_reused"] == 9
    assert again.totals == first.totals
    assert again.black_share.tolist() == shares(images(9))


def test_parts_merge_to_the_whole_and_groups_too() -> None:
    some = images(122)
    whole = Totals(NAMES)
    whole.fold(built(some, NAMES))
    groups = Grouped(NAMES)
    for start in range(0, len(some), 7):
        rows = built(some[start : start + 7], NAMES, first=start)
        rows.groups[:] = [f"g{(start + i) % 61}" for i in range(len(rows))]  # type: ignore[index]
        groups.fold(rows)
    assert len(groups) == 61
    other = Grouped(NAMES)
    for name in sorted(groups, reverse=True):
        part = Grouped(NAMES)
        part.add(name, groups[name])
        other.merge(part)
    assert groups.whole() == other.whole() == whole
    assert gpustats.Stats(groups["g3"]).black_share.tolist() == shares([some[3], some[64]])


def test_results_without_it_merge_to_what_both_have(tmp_path: Path) -> None:
    with_it, without = Totals(NAMES), Totals()
    with_it.fold(built(images(3), NAMES))
    without.fold(built(images(6)[3:], ("moments",), first=3))
    both = gpustats.Stats(with_it) + gpustats.Stats(without)
    assert both.totals.left_out == ("black",)
    assert both.totals.statistics == ("moments",)
    assert "left out, because not every pooled result has it: black" in repr(both)
    both.save(tmp_path / "s.json")
    assert gpustats.Stats.load(tmp_path / "s.json").totals == both.totals
    assert (both + gpustats.Stats(with_it)).totals.left_out == ("black",)
    with pytest.raises(
        AttributeError, match="'black_share' was not computed: it needs statistics=\\['black'\\] in every"
    ):
        _ = both.black_share


def test_what_is_not_there_is_named() -> None:
    totals = Totals()
    totals.fold(built(images(3), ("moments",)))
    stats = gpustats.Stats(totals)
    with pytest.raises(AttributeError, match="'black_share' was not computed: it needs statistics="):
        _ = stats.black_share
    with pytest.raises(AttributeError, match="no number 'maen'; it has mean, std"):
        _ = stats.maen
    with pytest.raises(
        ValueError, match=r"unknown statistic 'blakc'; known are moments, histogram, covariance, .*, black"
    ):
        gpustats.compute(images(1), statistics=["blakc"])
