"""What people are told to install is this project, and never the one that owns the name on the package index."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest

import gpustats
from gpustats.install import DISTRIBUTION, pip_install

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


class Installed:
    def __init__(self, direct_url: dict[str, object] | None) -> None:
        self._text = None if direct_url is None else json.dumps(direct_url)

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self._text


@pytest.mark.parametrize(
    ("direct_url", "command"),
    [
        (None, f"pip install '{DISTRIBUTION}[zarr]'"),
        ({"url": "file:///src", "dir_info": {"editable": True}}, "pip install '.[zarr]'"),
        ({"url": "file:///src", "dir_info": {}}, "pip install '.[zarr]'"),
        (
            {"url": "file:///x/a.whl", "archive_info": {}},
            f"pip install '{DISTRIBUTION}[zarr] @ file:///x/a.whl'",
        ),
        (
            {"url": "https://example.org/a.git", "vcs_info": {"vcs": "git", "commit_id": "1"}},
            f"pip install '{DISTRIBUTION}[zarr] @ git+https://example.org/a.git'",
        ),
    ],
)
def test_the_hint_follows_how_the_package_was_installed(
    monkeypatch: pytest.MonkeyPatch, direct_url: dict[str, object] | None, command: str
) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed(direct_url))
    assert pip_install("zarr") == command


def test_the_hint_where_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert pip_install("zarr") == "pip install '.[zarr]'"


def test_the_name_of_the_distribution_is_that_of_pyproject() -> None:
    match = re.search(r'^name = "(.*)"$', PYPROJECT, re.MULTILINE)
    assert match is not None
    assert match[1] == DISTRIBUTION != "gpustats"
    assert metadata.version(DISTRIBUTION) == gpustats.__version__


def test_nothing_names_the_other_project_as_something_to_install() -> None:
    files = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "pyproject.toml")]
    for folder in ("gpustats", "benchmarks", "docs", ".ci"):
        files += [file for file in (ROOT / folder).rglob("*") if file.suffix in (".py", ".md", "") and file.is_file()]
    wrong = re.compile(r"pip install[^\n&]*['\" ]gpustats(?![-\w/])|gpustats\[")
    for file in files:
        found = wrong.search(file.read_text(encoding="utf-8"))
        assert found is None, f"{file.relative_to(ROOT)}: {found and found.group()}"


def test_every_extra_that_is_named_in_a_hint_exists() -> None:
    extras = set(re.findall(r"^(\w+) = \[", PYPROJECT, re.MULTILINE))
    named: set[str] = set()
    for file in (ROOT / "gpustats").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        named |= set(re.findall(r"""pip_install\(["'](\w+)["']\)""", text))
        named |= set(re.findall(r"""missing_extra\([^)]*"(\w+)"\)""", text))
    assert "cuda13" in named
    assert named <= extras
