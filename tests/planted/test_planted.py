"""The planted faults are up to date, and some are planted for real; the runner itself tells noticed from not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planted import Fault
from tests.planted.runner import areas, problem, report, verdicts
from tests.sandbox import Sandbox

AREAS = areas()
HANDFUL = [fault for faults in AREAS.values() for fault in faults[:1]]


@pytest.mark.parametrize("area", AREAS)
def test_no_entry_is_stale(area: str) -> None:
    assert {fault: wrong for fault in AREAS[area] if (wrong := problem(fault))} == {}


@pytest.mark.timeout(300)
def test_a_handful_of_faults_is_noticed(tmp_path: Path) -> None:
    bad = [verdict for verdict in verdicts(Sandbox(tmp_path / "copy"), HANDFUL) if not verdict.good]
    assert bad == []


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one package with one function and its tests."""
    root = tmp_path_factory.mktemp("tiny")
    files = {
        "gpustats/__init__.py": "def half(x):\n    if x < 0:\n        raise ValueError(x)\n    return x // 2\n",
        "tests/test_half.py": (
            "import pytest\nfrom gpustats import half\n"
            "def test_half():\n    assert half(4) == 2\n"
            "def test_negative():\n    pytest.raises(ValueError, half, -1)\n"
            "def test_never():\n    pytest.skip('not here')\n"
            "def test_broken():\n    assert half(4) == 3\n"
            "@pytest.mark.parametrize('x', [6, 7])\ndef test_both(x):\n    assert half(x) == 3\n"
        ),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


def fault(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/__init__.py", old, new, f"tests/test_half.py::{test}")


def test_the_runner_tells_what_is_noticed(tiny: Path, tmp_path: Path) -> None:
    expected = {
        fault("x // 2", "x // 3", "test_half"): "noticed",
        fault("x // 2", "x / 2", "test_half"): "SURVIVED",
        fault("x // 2", "x / 2", "test_both"): "noticed",
        fault("x // 2", "x / 2", "test_both[6]"): "SURVIVED",
        fault("x < 0", "x < -1", "test_negative"): "noticed",
        fault("x // 2", "x // 4", "test_never"): "skipped",
        fault("x // 2", "x // 5", "test_broken"): "error",
        fault("x // 2", "None", "test_gone"): "error",
        fault("x /// 2", "x // 3", "test_half"): "error",
        fault("x", "y", "test_half"): "error",
        fault("x // 2", "x // ", "test_half"): "error",
        fault("def half(x)", "def whole(x)", "test_half"): "error",
    }
    sandbox = Sandbox(tmp_path / "copy", tiny)
    found = {verdict.fault: verdict.word for verdict in verdicts(sandbox, expected)}
    assert found == expected
    assert sandbox.text("gpustats/__init__.py") == (tiny / "gpustats/__init__.py").read_text()


def test_a_survivor_changes_the_exit_code(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noticed = fault("x // 2", "x // 3", "test_half")
    survivor = fault("x // 2", "x / 2", "test_half")
    assert report({"tiny": [noticed]}, tmp_path / "first", tiny) == 0
    assert report({"tiny": [noticed, survivor]}, tmp_path / "second", tiny) == 1
    printed = capsys.readouterr().out
    assert printed.count("SURVIVED  ") == 1
    assert "2 planted: 1 SURVIVED, 1 noticed" in printed
