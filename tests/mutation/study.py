"""Draws changes, runs the tests that guard them, and writes what became of them."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import random
import re
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tests.mutation.guards import area_of, files_of_tests, guards_of, modules
from tests.mutation.mutants import Change, Place, diff, mutated, places
from tests.sandbox import Sandbox, SandboxError

__all__ = ["Study", "draw", "markdown", "shares"]

_MEMORY = 6 << 30  # of private memory in one process: a change may take away what keeps a decoder small
_SEED = ["--hypothesis-seed=1"]

Mutant = dict[str, Any]


def shares(counts: Mapping[str, int], sample: int) -> dict[str, int]:
    """Divide a sample among areas by the square roots of their numbers of places, so that small areas count too."""
    roots = {area: count**0.5 for area, count in counts.items()}
    exact = {area: sample * root / sum(roots.values()) for area, root in roots.items()}
    result = {area: min(int(value), counts[area]) for area, value in exact.items()}
    for area in sorted(exact, key=lambda area: result[area] - exact[area]):
        if sum(result.values()) < sample and result[area] < counts[area]:
            result[area] += 1
    return result


def draw(root: Path, sample: int, seed: int, areas: Sequence[str] = ()) -> tuple[list[Mutant], dict[str, int]]:
    """Draw changes: places at random in each area, then one change of each place.

    Returns
    -------
    mutants : list of dict
        What to change, in a random order, so that a study that is stopped is a sample too.
    counts : dict of str to int
        The places of each area.
    """
    found: dict[str, list[tuple[str, Place]]] = {}
    sources = {module: (root / module).read_bytes().decode() for module in modules(root)}
    for module, source in sources.items():
        area = area_of(module)
        if not areas or area in areas:
            found.setdefault(area, []).extend((module, place) for place in places(source))
    counts = {area: len(found[area]) for area in sorted(found)}
    mutants: list[Mutant] = []
    for area, share in shares(counts, sample).items():
        rng = random.Random(f"{seed} {area}")
        candidates = found[area]
        rng.shuffle(candidates)
        drawn = 0
        for module, place in candidates:
            if drawn == share:
                break
            change = rng.choice(place.changes)
            text = mutated(sources[module], change)
            if text is not None:
                drawn += 1
                mutants.append(
                    {
                        "area": area,
                        "file": module,
                        "line": place.start[0],
                        "operator": change.operator,
                        "occurrence": change.occurrence,
                        "diff": diff(sources[module], text),
                        "verdict": None,
                    }
                )
    random.Random(seed).shuffle(mutants)
    return mutants, counts


class Study:
    """A sample of changes and what became of them, kept in a file from one change to the next.

    Parameters
    ----------
    root : Path
        The top of the repository.
    out : Path
        The Markdown file; the JSON file beside it is what is continued.
    sample, seed, areas
        What is drawn.
    """

    def __init__(self, root: Path, out: Path, sample: int, seed: int, areas: Sequence[str] = ()) -> None:
        self.root, self.out = root, out
        self.settings = {"sample": sample, "seed": seed, "areas": sorted(areas), "package": fingerprint(root)}
        self.state: dict[str, Any] = {}
        file = out.with_suffix(".json")
        if file.exists():
            before = json.loads(file.read_text(encoding="utf-8"))
            if {name: before.get(name) for name in self.settings} == self.settings:
                self.state = before
        if not self.state:
            mutants, counts = draw(root, sample, seed, areas)
            self.state = {**self.settings, "places": counts, "mutants": mutants}

    @property
    def mutants(self) -> list[Mutant]:
        """The changes, with "verdict" None where their tests have not run."""
        return list(self.state["mutants"])

    def forget_survivors(self) -> None:
        """Have the tests tried again on what survived."""
        for mutant in self.mutants:
            if mutant["verdict"] == "survived":
                mutant["verdict"] = None

    def run(self, jobs: int, say: Callable[[str], None] = print) -> None:
        """Run the tests of every change that has no verdict yet, in so many copies of the repository at once."""
        todo = [mutant for mutant in self.mutants if mutant["verdict"] is None]
        self.write()
        if not todo:
            return
        with _sandboxes(self.root, jobs) as copies:
            files = files_of_tests(self.root)
            guards = {mutant["file"]: guards_of(mutant["file"], files) for mutant in todo}
            clean = _clean(copies[0], sorted({file for tests in guards.values() for file in tests}), say)
            self.state["failing"] = sorted({*self.state.get("failing", ()), *clean.failing})
            free: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
            for copy in copies:
                free.put(copy)

            def judge(mutant: Mutant) -> Mutant:
                sandbox = free.get()
                try:
                    return _judge(sandbox, mutant, guards[mutant["file"]], clean)
                finally:
                    free.put(sandbox)

            with ThreadPoolExecutor(jobs) as pool:
                running = {pool.submit(judge, mutant): mutant for mutant in todo}
                try:
                    for number, future in enumerate(as_completed(running), 1):
                        mutant = running[future]
                        mutant.update(future.result())
                        self.write()
                        say(
                            f"{number}/{len(todo)} {mutant['verdict']:8} {mutant['seconds']:5.1f} s  "
                            f"{mutant['file']}:{mutant['line']} {mutant['operator']}"
                        )
                finally:
                    pool.shutdown(wait=True, cancel_futures=True)

    def write(self) -> None:
        """Write both files, each whole or not at all."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        for file, text in (
            (self.out.with_suffix(".json"), json.dumps(self.state, indent=1) + "\n"),
            (self.out, markdown(self.state)),
        ):
            temporary = file.with_name(f".{file.name}.tmp")
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, file)


def fingerprint(root: Path) -> str:
    """Return a hash of the package: results of other code are not continued."""
    digest = hashlib.blake2b(digest_size=8)
    for module in modules(root):
        digest.update(module.encode() + b"\0" + (root / module).read_bytes() + b"\0")
    return digest.hexdigest()


@contextmanager
def _sandboxes(root: Path, jobs: int) -> Iterator[list[Sandbox]]:
    with ExitStack() as stack:
        folders = [stack.enter_context(TemporaryDirectory(prefix="gpustats-mutants-")) for _ in range(jobs)]
        yield [Sandbox(Path(folder) / "copy", root) for folder in folders]


class _Clean(NamedTuple):
    """The tests without a change: what each file takes and its longest test, in seconds, and which tests fail."""

    seconds: dict[str, float]
    longest: dict[str, float]
    failing: list[str]


def _clean(sandbox: Sandbox, files: Sequence[str], say: Callable[[str], None]) -> _Clean:
    """Run the tests without a change.

    Raises
    ------
    SandboxError
        Where they do not run at all.
    """
    say(f"{len(files)} files of tests without a change ...")
    start = time.monotonic()
    with TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        options = [*_SEED, "--maxfail=100", "--timeout=300", f"--junitxml={report}"]
        run = sandbox.pytest([*options, *files], timeout=3600, write=True)
        if run.code not in (0, 1) or not report.exists():
            raise SandboxError(f"the tests do not run without a change:\n{run.output[-4000:]}")
        cases = list(ElementTree.parse(report).iter("testcase"))
    clean = _Clean(dict.fromkeys(files, 0.0), dict.fromkeys(files, 0.0), [])
    for case in cases:
        parts = case.get("classname", "").split(".")
        names = [case.get("name", "")]
        while parts and (file := f"{'/'.join(parts)}.py") not in clean.seconds:
            names.insert(0, parts.pop())  # the class of the test stands behind the file
        if not parts:
            raise SandboxError(f"a file of tests does not load without a change: {case.get('name')}")
        seconds = float(case.get("time", 0))
        clean.seconds[file] += seconds
        clean.longest[file] = max(clean.longest[file], seconds)
        if case.find("failure") is not None or case.find("error") is not None:
            clean.failing.append("::".join([file, *names]))
    if len(clean.failing) > 20:
        raise SandboxError(f"{len(clean.failing)} tests fail without a change, among them {clean.failing[0]}")
    took = time.monotonic() - start
    say(f"{len(files)} files of tests without a change: {took:.0f} s" + "".join(f"\nfails: {t}" for t in clean.failing))
    return clean


def _judge(sandbox: Sandbox, mutant: Mutant, files: Sequence[str], clean: Mapping[str, tuple[float, float]]) -> Mutant:
    """Make a change, run its tests and return the verdict."""
    source = sandbox.text(mutant["file"])
    text = mutated(source, Change(mutant["operator"], mutant["occurrence"]))
    assert text is not None, "what was drawn can be made"
    # Time for a loaded machine and compiled code that is made anew; a test that hangs is ended before the whole run.
    each = 20 + 5 * max(clean.longest[file] for file in files)
    whole = 60 + each + 4 * sum(clean.seconds[file] for file in files)
    with sandbox.changed(mutant["file"], text):
        run = sandbox.pytest(
            [*_SEED, f"--timeout={each:.0f}", *(f"--deselect={test}" for test in clean.failing), *files],
            timeout=whole,
            fresh_cache=sandbox.near_compiled_code(mutant["file"]),
            memory=_MEMORY,
        )
    if run.code == 0:
        return {"verdict": "survived", "seconds": round(run.seconds, 1), "by": None}
    if run.code is None or re.search(r"^E\s+Failed: Timeout|^\++ Timeout \++$", run.output, re.MULTILINE):
        return {"verdict": "timeout", "seconds": round(run.seconds, 1), "by": None}
    named = re.findall(r"^(?:FAILED|ERROR) (\S+)", run.output, re.MULTILINE)
    return {"verdict": "killed", "seconds": round(run.seconds, 1), "by": named[-1] if named else f"exit {run.code}"}


def markdown(state: Mapping[str, Any]) -> str:
    """Return the table of areas and the list of survivors."""
    lines = [
        "# Mutation testing",
        "",
        f"`python -m tests.mutation --sample {state['sample']} --seed {state['seed']}"
        + "".join(f" --area {area}" for area in state["areas"])
        + f"`, package `{state['package']}`.",
        "A place is a span of the text and a kind of change; one change was drawn at each of the places drawn.",
        "A change that made the tests hang until their time ran out counts as killed.",
        "",
        "| area | places | drawn | killed | of these by timeout | survived | killed, % |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    mutants: list[Mutant] = state["mutants"]
    for area in [*state["places"], "all"]:
        chosen = [mutant for mutant in mutants if area in (mutant["area"], "all")]
        count = sum(state["places"].values()) if area == "all" else state["places"][area]
        lines.append(_row(area, count, chosen))
    if state.get("failing"):
        tests = ", ".join(f"`{test}`" for test in state["failing"])
        lines += ["", f"Left out, since they failed without a change: {tests}."]
    if waiting := sum(mutant["verdict"] is None for mutant in mutants):
        lines += ["", f"{waiting} changes wait for their tests: the same command continues."]
    survivors = [mutant for mutant in mutants if mutant["verdict"] == "survived"]
    lines += ["", "## Survivors", ""]
    if not survivors:
        lines.append("None.")
    for mutant in sorted(survivors, key=lambda mutant: (mutant["area"], mutant["file"], mutant["line"])):
        lines += [f"`{mutant['file']}:{mutant['line']}` {mutant['operator']}", "", "```diff", mutant["diff"], "```", ""]
        if mutant.get("reason"):
            lines += [mutant["reason"], ""]
    return "\n".join(lines).rstrip() + "\n"


def _row(area: str, count: int, mutants: Iterable[Mutant]) -> str:
    verdicts = [mutant["verdict"] for mutant in mutants]
    slow, survived = verdicts.count("timeout"), verdicts.count("survived")
    killed = verdicts.count("killed") + slow
    share = f"{100 * killed / (killed + survived):.0f}" if killed + survived else ""
    return f"| {area} | {count} | {len(verdicts)} | {killed} | {slow} | {survived} | {share} |"


def say_on_stderr(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)
