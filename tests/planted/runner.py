"""Plants faults in a copy of the repository and says which the tests noticed."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import tests.planted
from tests.planted import Fault
from tests.sandbox import ROOT, Sandbox, SandboxError

__all__ = ["Verdict", "areas", "planted", "problem", "report", "verdicts"]

_SECONDS = 300


class Verdict(NamedTuple):
    """What became of a fault: "noticed", "SURVIVED", "skipped" (its test cannot run here) or "error"."""

    fault: Fault
    word: str
    seconds: float = 0.0
    detail: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing is to be mended."""
        return self.word in ("noticed", "skipped")


def areas() -> dict[str, list[Fault]]:
    """Return the faults of every module of this folder that has some, by the module's name."""
    found = {}
    for module in pkgutil.iter_modules(tests.planted.__path__):
        if not module.name.startswith(("_", "test_")):
            faults = getattr(importlib.import_module(f"tests.planted.{module.name}"), "FAULTS", None)
            if faults is not None:
                found[module.name] = list(faults)
    return found


def problem(fault: Fault, root: Path = ROOT) -> str | None:
    """Return what is wrong with an entry, or None: its text must occur once, its test must exist."""
    file = root / fault.path
    if not file.is_file():
        return f"there is no file {fault.path}"
    text = file.read_bytes().decode()
    if (count := text.count(fault.old)) != 1:
        return f"the text to replace occurs {count} times in {fault.path}, not once: {fault.old!r:.100}"
    if fault.old == fault.new:
        return "the fault changes nothing"
    if file.suffix == ".py":
        try:
            compile(planted(text, fault), fault.path, "exec", dont_inherit=True)
        except SyntaxError as error:
            return f"the fault is no Python: {error}"
    path, *names = fault.test.partition("[")[0].split("::")
    if not names or not (root / path).is_file():
        return f"there is no test file {path}"
    body = ast.parse((root / path).read_text(encoding="utf-8")).body
    for name in names:
        node = next((node for node in body if getattr(node, "name", None) == name), None)
        if node is None:
            return f"there is no test {fault.test}"
        body = getattr(node, "body", [])
    return None


def planted(text: str, fault: Fault) -> str:
    """Return the text of a file with the fault in it."""
    return text.replace(fault.old, fault.new)


def verdicts(sandbox: Sandbox, faults: Iterable[Fault], say: Callable[[str], None] = str) -> Iterator[Verdict]:
    """Plant one fault after another and yield what became of it.

    All tests run without a fault first: a test that fails anyway notices nothing.
    """
    faults = list(faults)
    problems = {fault: problem(fault, sandbox.folder) for fault in faults}
    named = [fault.test for fault in faults if problems[fault] is None]
    say(f"{len(set(named))} tests without a fault ...")
    start = time.monotonic()
    clean = sandbox.outcomes(named) if named else {}
    say(f"{len(set(named))} tests without a fault: {time.monotonic() - start:.0f} s")
    for fault in faults:
        if text := problems[fault]:
            yield Verdict(fault, "error", detail=text)
        elif clean[fault.test] == "skipped":
            yield Verdict(fault, "skipped", detail="its test is skipped here")
        elif clean[fault.test] != "passed":
            yield Verdict(fault, "error", detail=f"without the fault its test is {clean[fault.test]}")
        else:
            yield _verdict(sandbox, fault)


def _verdict(sandbox: Sandbox, fault: Fault) -> Verdict:
    fresh = sandbox.near_compiled_code(fault.path)
    with sandbox.changed(fault.path, planted(sandbox.text(fault.path), fault)):
        run = sandbox.pytest([fault.test], timeout=_SECONDS, fresh_cache=fresh)
    last = run.output.strip().rpartition("\n")[2]
    if run.code == 0:
        return Verdict(fault, "SURVIVED", run.seconds, last)
    if run.code == 1:
        return Verdict(fault, "noticed", run.seconds)
    how = f"pytest exited with {run.code}" if run.code is not None else f"no end within {_SECONDS} s"
    return Verdict(fault, "error", run.seconds, f"{how}: {run.output.strip()[-1500:]}")


def _line(area: str, verdict: Verdict) -> str:
    fault = verdict.fault
    line = f"{verdict.word:8}  {verdict.seconds:5.1f} s  {area:12}  {fault.path}: {_short(fault)}  <- {fault.test}"
    return line + ("\n" + " " * 19 + verdict.detail if verdict.detail else "")


def _short(fault: Fault) -> str:
    """Return the lines that differ, in one line."""
    old, new = fault.old.splitlines(), fault.new.splitlines()
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    before, after = (" ".join(" ".join(lines).split()) or "nothing" for lines in (old, new))
    return f"{before:.60} -> {after:.60}"


def report(chosen: dict[str, list[Fault]], folder: Path, root: Path = ROOT) -> int:
    """Plant the faults in a copy in `folder`, print a line each; return the exit code: 1 where one is to be mended."""
    try:
        sandbox = Sandbox(folder, root)
        where = {fault: area for area, faults in chosen.items() for fault in faults}
        words: dict[str, int] = {}
        good = True
        for verdict in verdicts(sandbox, where, say=lambda text: print(text, file=sys.stderr, flush=True)):
            print(_line(where[verdict.fault], verdict), flush=True)
            words[verdict.word] = words.get(verdict.word, 0) + 1
            good &= verdict.good
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(where)} planted:", ", ".join(f"{count} {word}" for word, count in sorted(words.items())))
    return 0 if good else 1
