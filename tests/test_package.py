"""What is promised about the package as such: light import, examples that run, kernels that are found."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gpustats

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "cupy",
    "nvidia",
    "numba",
    "PIL",
    "simplejpeg",
    "imagecodecs",
    "tqdm",
    "click",
    "torch",
    "pyarrow",
    "matplotlib",
)


def test_import_is_light() -> None:
    """The promise is 0.2 s on a quiet machine. What keeps it, on any machine, is what is not imported."""
    code = (
        "import sys, numpy; before = set(sys.modules); import gpustats\n"
        "print(len(set(sys.modules) - before), *sys.modules)"
    )
    more, *modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not set(HEAVY) & set(modules)
    assert int(more) < 160, "numpy's own modules not counted"


MODULES = [module.name for module in pkgutil.walk_packages(gpustats.__path__, "gpustats.")]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_examples_in_docstrings_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_public_names_have_docstrings() -> None:
    for name in gpustats.__all__:
        value = getattr(gpustats, name)
        if not name.startswith("__"):
            assert (value.__doc__ or "").strip(), name


def test_files_that_contributing_and_the_code_name_exist() -> None:
    """In CONTRIBUTING a path may also start in the package, as in the table of its parts."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w.]+(?:/[\w.]*)*(?:/|\.(?:py|md|toml|hpp|json)))`", text))
    assert {"cli/", "kernels/", "run.py", "pyproject.toml", "tests/test_toy_statistic.py"} <= named
    places = (ROOT, ROOT / "gpustats", *(ROOT / "gpustats" / room for room in ("sources", "statistics", "decode")))
    assert sorted(path for path in named if not any((place / path).exists() for place in places)) == []
    for file in (ROOT / "gpustats").rglob("*.py"):
        for path in re.findall(r"\b(?:tests|gpustats|benchmarks)/[\w/]+\.\w+", file.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{file.name} names {path}"
