"""The table of docs/definitions.md is that of the catalogue: nobody else spells a formula."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

import gpustats
from gpustats.statistics import catalogue
from gpustats.statistics.totals import Totals
from tests.rows import random_images, rows_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "definitions.md"


def lines() -> list[str]:
    numbers = (number for _, number in catalogue().values())
    head = ["| name | definition | who uses it |", "| --- | --- | --- |"]
    return head + [f"| `{n.name}` | {n.formula} | {n.used_by} |" for n in numbers]


def test_the_table_of_definitions_is_in_the_docs() -> None:
    assert "\n".join(lines()) in PAGE.read_text(encoding="utf-8")


def test_every_number_has_its_words() -> None:
    for name, (_, number) in catalogue().items():
        assert name == number.name
        assert number.says
        assert number.formula
        assert number.used_by


@pytest.fixture
def stats() -> gpustats.Stats:
    totals = Totals()
    totals.fold(rows_of(random_images(3, 5)))
    return gpustats.Stats(totals)


def test_numbers_are_attributes(stats: gpustats.Stats) -> None:
    assert {"mean", "std", "per_image", "std_of_means"} <= set(dir(stats))
    assert dir(stats.per_image) == ["mean", "rms_std", "std", "std_unbiased"]
    assert stats.per_image.std.tolist() == stats.number("per_image.std").tolist()
    for name in stats.numbers():
        assert not stats.number(name).flags.writeable


def test_copies_are_results_too(stats: gpustats.Stats) -> None:
    for other in (copy.copy(stats), copy.deepcopy(stats), pickle.loads(pickle.dumps(stats))):  # noqa: S301 - our own
        assert other.totals == stats.totals
        assert other.mean.tolist() == stats.mean.tolist()
