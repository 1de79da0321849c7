"""What mutation testing draws and leaves out, and that it tells noticed from not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mutation.guards import AREAS, area_of, files_of_tests, guards_of, modules
from tests.sandbox import ROOT

SOURCE = '''
"""A module of 3 words."""
from __future__ import annotations
from typing import TYPE_CHECKING, Literal, cast
if TYPE_CHECKING:
    import ast
    LIMIT = 1 < 2
__all__ = ["a" + "b"]
Side = Literal[1, 2]
Number = int | None
@functools.cache
def f(a: Literal[3] | None, *, b: int | float = 5) -> Literal[4]:
    """Return 6."""
    x: Literal[7] | None = cast("int | None", a)
    if x == "é" and b:
        g(x)
    h.y = x
    return x + 8
@dataclass(slots=True)
class A:
    def m(self):
        raise E(x is y)
'''


def test_every_module_has_an_area_and_tests() -> None:
    files = files_of_tests(ROOT)
    for module in modules(ROOT):
        assert area_of(module) in AREAS
        assert guards_of(module, files), f"no test guards {module}: add a line to GUARDS"


def test_the_tests_that_know_a_module_best_come_first() -> None:
    files = ["tests/sources/test_tar.py", "tests/test_cli.py", "tests/test_compute.py", "tests/sources/test_zip.py"]
    expected = ["tests/sources/test_zip.py", "tests/sources/test_tar.py", "tests/test_compute.py"]
    assert guards_of("gpustats/sources/archives/zip.py", files) == expected
    assert guards_of("gpustats/sources/zip.py", files) == expected
    assert guards_of("gpustats/cli/show.py", files) == ["tests/test_cli.py", "tests/test_compute.py"]
    assert area_of("gpustats/sources/archives/zip.py") == "sources"
    assert area_of("gpustats/api.py") == "rest"


def test_what_no_test_can_notice_is_not_drawn() -> None:
    mutants = pytest.importorskip("tests.mutation.mutants", reason="cosmic-ray is not installed")
    found = [
        (place.kind, change.operator, mutants.diff(SOURCE, text))
        for place in mutants.places(SOURCE)
        for change in place.changes
        if (text := mutants.mutated(SOURCE, change)) is not None
    ]
    assert {kind for kind, _, _ in found} == {
        "AddNot",  # if
        "NumberReplacer",  # 5, 8
        "RemoveDecorator",  # dataclass
        "RemoveStatement",  # g(x), h.y = x, raise
        "ReplaceAndWithOr",
        "ReplaceBinaryOperator",  # x + 8
        "ReplaceComparisonOperator",
    }
    changed = {line for _, _, text in found for line in text.splitlines() if line.startswith("-")}
    assert changed == {
        "-def f(a: Literal[3] | None, *, b: int | float = 5) -> Literal[4]:",
        '-    if x == "é" and b:',
        "-        g(x)",
        "-    h.y = x",
        "-    return x + 8",
        "-@dataclass(slots=True)",
        "-        raise E(x is y)",
    }
    assert all("Literal[3] | None, *, b: int | float" in text for _, _, text in found if "+def f" in text)
    identity = [(operator, text) for _, operator, text in found if "_Is" in operator]
    assert identity == [
        ("ReplaceComparisonOperator_Is_IsNot", "-        raise E(x is y)\n+        raise E(x is not y)")
    ]


def test_the_statement_that_is_removed_is_an_example_of_the_operator() -> None:
    mutants = pytest.importorskip("tests.mutation.mutants", reason="cosmic-ray is not installed")
    for example in mutants.RemoveStatement.examples():
        change = mutants.Change("RemoveStatement", 0)
        assert mutants.mutated(example.pre_mutation_code, change) == example.post_mutation_code


def test_a_sample_depends_on_its_seed_alone_and_holds_every_area() -> None:
    study = pytest.importorskip("tests.mutation.study", reason="cosmic-ray is not installed")
    first, counts = study.draw(ROOT, 6, 1, ["checkpoint", "result"])
    assert study.draw(ROOT, 6, 1, ["checkpoint", "result"]) == (first, counts)
    assert study.draw(ROOT, 6, 2, ["checkpoint", "result"])[0] != first
    assert len(first) == 6
    assert {mutant["area"] for mutant in first} == {"checkpoint", "result"}
    assert study.shares({"small": 3, "large": 1000}, 10) == {"small": 1, "large": 9}
    assert study.shares({"small": 1, "large": 4}, 5) == {"small": 1, "large": 4}


@pytest.mark.timeout(240)
def test_a_study_of_a_tiny_package(tmp_path: Path) -> None:
    study = pytest.importorskip("tests.mutation.study", reason="cosmic-ray is not installed")
    files = {
        "gpustats/__init__.py": "def half(x):\n    if x < 0:\n        raise ValueError(x)\n    return x // 2\n",
        "tests/test_compute.py": (
            "import pytest\nfrom gpustats import half\n"
            "class TestBroken:\n    @pytest.mark.parametrize('x', ['a b'])\n"
            "    def test_it(self, x):\n        assert False\n"
            "def test_half():\n    assert half(4) == 2\n"
        ),
    }
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True)
        (tmp_path / "root" / name).write_text(text)
    out = tmp_path / "results" / "tiny.md"
    said: list[str] = []
    study.Study(tmp_path / "root", out, 50, 2).run(2, said.append)
    state = json.loads(out.with_suffix(".json").read_text())
    verdicts = {(one["line"], one["operator"].partition("_")[0]): one["verdict"] for one in state["mutants"]}
    assert verdicts[3, "RemoveStatement"] == "survived"
    assert verdicts[2, "AddNot"] == "killed"
    assert "-        raise ValueError(x)" in out.read_text()
    assert state["failing"] == ["tests/test_compute.py::TestBroken::test_it[a b]"]
    assert (tmp_path / "root" / "gpustats" / "__init__.py").read_text() == files["gpustats/__init__.py"]

    count = len(said)
    again = study.Study(tmp_path / "root", out, 50, 2)
    again.run(1, said.append)
    assert len(said) == count, "a study that is whole runs nothing"
    again.forget_survivors()
    assert "wait for their tests" in study.markdown(again.state)
    assert study.Study(tmp_path / "root", out, 50, 3).mutants[0]["verdict"] is None, "another seed is another study"
