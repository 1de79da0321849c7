"""README and docs: every example runs, every link leads somewhere, and no option or command is missing."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

import gpustats
from tests.command_line import commands, invoke

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_EXPLAINED = {"evaluate", "from_dict", "grouped", "left_out", "number", "scale", "totals"}
"""Members of a result that serve other parts of the package."""

NOT_RUN = ("pip install ", "python -m benchmarks ")
"""What a command in a page may begin with and is not run here: it installs, or takes hours."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def name_of(page: Path) -> str:
    return page.stem


@pytest.fixture
def folder(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a reader, who has a folder of photographs."""
    shutil.copytree(photos, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_examples_run(page: Path, folder: Path) -> None:
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)


def same_but_for_digits(said: str, printed: str) -> bool:
    """Compare text word by word, numbers to three digits: decoders and machines differ in the rest."""
    pairs = list(zip(said.split(), printed.split(), strict=False))
    if len(said.split()) != len(printed.split()):
        return False
    for left, right in pairs:
        numbers = [re.findall(r"\d+(?:\.\d+)?", text) for text in (left, right)]
        if re.sub(r"\d+(?:\.\d+)?", "", left) != re.sub(r"\d+(?:\.\d+)?", "", right):
            return False
        if [float(n) for n in numbers[0]] != pytest.approx([float(n) for n in numbers[1]], rel=1e-3):
            return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_run_and_print_what_the_page_says(page: Path, folder: Path) -> None:
    for block in blocks(page, "console"):
        for command, said in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, flags=re.MULTILINE):
            if command.startswith(NOT_RUN):
                continue
            program, *arguments = shlex.split(command)
            assert program == "gpustats", f"{page.name}: {command}: neither run here nor in NOT_RUN"
            done = invoke(*arguments)
            assert done.code == 0, f"{page.name}: {command}\n{done.err}"
            if said:
                assert same_but_for_digits(said, done.out), f"{page.name}: {command} prints\n{done.out}"


@pytest.mark.parametrize(
    ("said", "printed", "same"),
    [
        ("mean 0.48700", "mean  0.48701", True),
        ("mean 0.48700", "mean 0.49", False),
        ("mean 0.487", "mean", False),
        ("mean 0.487", "std 0.487", False),
    ],
)
def test_transcripts_are_compared(said: str, printed: str, same: bool) -> None:
    assert same_but_for_digits(said, printed) is same


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, heading = link.partition("#")
        if target.startswith(("https://", "http://")):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {link}"
        if heading:
            titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            names = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in names, f"{page.name} links to {link}"


def test_every_page_is_named_in_the_readme() -> None:
    text = PAGES[0].read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in text] == []
    assert len(text.splitlines()) <= 120


def test_every_command_and_option_is_in_the_docs() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    found = commands()
    options = {name for names in found.values() for name in names if name.startswith("--")}
    assert len(options) > 10
    assert sorted(option for option in options if not re.search(rf"[` ]{option}[` ]", text)) == []
    assert sorted(name for name in found if name and f"`gpustats {name}" not in text) == []


def test_every_public_name_is_in_the_docs() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    public = {name for name in gpustats.__all__ if not name.startswith("__")} - {"GpustatsError"}
    members = {name for name in dir(gpustats.Stats) if not name.startswith("_")} - NOT_EXPLAINED
    assert sorted(name for name in public if not re.search(rf"\b{name}\b", text)) == []
    assert sorted(name for name in members if f"stats.{name}" not in text.replace("Stats.", "stats.")) == []
