"""Plants the faults of `kernel_faults.py` in the kernels and tells which check finds each::

    python tests/kernels/kernel_planted.py

Faults are compiled many at a time, each in a namespace of its own, and run each in a process of its own: one that
crashes or never ends spoils nothing.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kernel_faults import FAULTS, NUMBERS, SANITIZERS, KernelFault
from kernel_shim import HEADER, compiler, why_not
from kernel_watch import FLAGS, LIBRARIES, Case, WatchedDevice, cases, prepare

from gpustats.cuda.launcher import KERNELS, LaunchPlan, kernel_source

__all__ = ["faulty_source", "problem", "verdicts"]

SECONDS = 20
TOGETHER = 20  # faults in one compilation
# An uninitialised local variable is not 0 by chance.
PATTERN = "-ftrivial-auto-var-init=pattern"


def problem(fault: KernelFault) -> str | None:
    """Return what is wrong with an entry, or None."""
    count = _own_text(fault.file).count(fault.old)
    if count != 1:
        return f"the text to replace occurs {count} times in {fault.file}, not once: {fault.old!r}"
    if fault.shown_by not in KERNELS[fault.file]:
        return f"there is no kernel {fault.shown_by}"
    return "the fault changes nothing" if fault.old == fault.new else None


def _own_text(file: str) -> str:
    return kernel_source(file).partition(f'#line 1 "{file}"\n')[2]


def faulty_source(fault: KernelFault) -> str:
    """Return what `kernel_source` returns, with the fault in it."""
    own = _own_text(fault.file)
    return kernel_source(fault.file).replace(own, own.replace(fault.old, fault.new))


class _FaultyDevice(WatchedDevice):
    """One of many faulty kernels in a library."""

    def __init__(self, library: Path, fault: KernelFault, number: int) -> None:
        self._libraries = {}
        self._paths = {fault.file: library}
        self._number = number

    def entry(self, plan: LaunchPlan) -> Any:
        return getattr(self.library(plan.source), f"fault_{self._number}")


def _compile(folder: Path, faults: Sequence[tuple[int, KernelFault]]) -> Path:
    """Compile faults, each with the one kernel that shows it."""
    parts = [f'#include "{HEADER.name}"\n']
    for number, fault in faults:
        # The lines at the end that name kernels, without the others.
        unused = rf"^(?:MOMENTS|JOINT|STRIDED)\((?!{fault.shown_by},).*\n"
        text = re.sub(unused, "", faulty_source(fault), flags=re.MULTILINE).replace('extern "C" ', "")
        parts.append(
            f"namespace faulty_{number} {{\n{text}\n}}\n"
            f'extern "C" unsigned fault_{number}(unsigned x, unsigned y, unsigned threads, void** arguments)'
            f" {{ return cuda_on_cpu::launch(faulty_{number}::{fault.shown_by}, x, y, threads, arguments); }}\n"
        )
    unit = folder / f"faults_{faults[0][0]}.cpp"
    library = unit.with_suffix(".so")
    unit.write_text("".join(parts), encoding="utf-8")
    command = [*compiler(900, (*FLAGS, PATTERN)), f"-I{folder}", f"-I{HEADER.parent}", "-shared"]
    command += ["-o", str(library), str(unit), str(folder / "watch.o"), *LIBRARIES]
    subprocess.run(command, check=True)
    return library


@functools.cache
def _cases_by_kernel() -> dict[str, list[Case]]:
    """Return the cases of each kernel; called before the first process is forked, so that all have it."""
    found: dict[str, list[Case]] = {}
    for case in cases():
        found.setdefault(case.kernel, []).append(case)
    return found


def _found(device: _FaultyDevice, fault: KernelFault) -> list[str]:
    """Return what the checks find, until it is what should be found."""
    found: dict[str, None] = {}
    for case in _cases_by_kernel()[fault.shown_by]:
        try:
            _, findings = case.run(device)
            found |= dict.fromkeys(finding.kind for finding in findings)
        except (AssertionError, RuntimeError):
            found[NUMBERS] = None
        if fault.found_by in found:
            break
    return list(found)


def _in_a_process(library: Path, fault: KernelFault, number: int) -> tuple[int, int]:
    """Start a process that tries a fault; return its number and the end of a pipe that tells what was found."""
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        return child, reading
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        os.write(writing, json.dumps(_found(_FaultyDevice(library, fault, number), fault)).encode())
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - the child must never return into the parent's code
        os.write(writing, json.dumps([f"{type(error).__name__}: {error}"]).encode())
    finally:
        os._exit(1)


def _try_all(folder: Path, numbers: Sequence[int]) -> None:
    """Compile and try faults that were chosen by number; print a line of JSON for each."""
    faults = [(number, FAULTS[number]) for number in numbers]
    library = _compile(folder, faults)
    _cases_by_kernel()
    for number, fault in faults:
        child, pipe = _in_a_process(library, fault, number)
        with open(pipe, encoding="utf-8") as told:
            text = told.read()
        _, status = os.waitpid(child, 0)
        found = json.loads(text) if text else [f"ended by signal {os.WTERMSIG(status)}"]
        print(json.dumps([number, found]), flush=True)


def _sanitized(folder: Path, number: int) -> list[str]:
    """Return whether the address sanitizer finds a fault."""
    from test_kernel_memory import run_sanitized

    place = folder / f"sanitized_{number}"
    place.mkdir()
    run = run_sanitized(place, "--fault", str(number))
    if run is None:
        return ["skipped"]
    return [SANITIZERS] if run.returncode and re.search("AddressSanitizer|runtime error", run.stderr) else []


def verdicts(faults: Sequence[KernelFault], folder: Path) -> dict[KernelFault, list[str]]:
    """Return for each fault the names of the checks that found it; "skipped" where one cannot run here."""
    prepare(folder, (PATTERN,))

    def group(numbers: Sequence[int]) -> list[tuple[int, list[str]]]:
        if FAULTS[numbers[0]].found_by == SANITIZERS:
            return [(number, _sanitized(folder, number)) for number in numbers]
        command = [sys.executable, __file__, "--try", str(folder), *map(str, numbers)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            raise RuntimeError(f"faults {numbers} cannot be tried:\n{run.stderr[-5000:]}")
        return [tuple(json.loads(line)) for line in run.stdout.splitlines()]

    chosen = sorted((fault.found_by == SANITIZERS, fault.file, FAULTS.index(fault)) for fault in faults)
    groups: list[list[int]] = []
    for key, members in itertools.groupby(chosen, key=lambda entry: entry[:2]):
        numbers = [number for *_, number in members]
        together = 1 if key[0] else TOGETHER
        groups += [numbers[k : k + together] for k in range(0, len(numbers), together)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {FAULTS[number]: found for tried in pool.map(group, groups[::-1]) for number, found in tried}


def main() -> int:
    """Plant all faults or those with a text in them, print a line for each, and return 1 where one is not found."""
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 1
    if sys.argv[1:2] == ["--try"]:
        _try_all(Path(sys.argv[2]), [int(number) for number in sys.argv[3:]])
        return 0
    chosen = [fault for fault in FAULTS if all(text in " ".join(fault) for text in sys.argv[1:])]
    for fault in chosen:
        if wrong := problem(fault):
            raise SystemExit(wrong)
    words: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="gpustats-planted-") as folder:
        for fault, found in sorted(verdicts(chosen, Path(folder)).items(), key=lambda entry: FAULTS.index(entry[0])):
            word = "found" if fault.found_by in found else "skipped" if found == ["skipped"] else "NOT FOUND"
            words[word] += 1
            old = " ".join(fault.old.split())
            print(f"{word:9}  {fault.file:10}  {fault.found_by:19}  {old:.60}  ->  {' '.join(fault.new.split()):.60}")
            if word == "NOT FOUND":
                print(f"           found by: {', '.join(found) or 'nothing'}")
    print(f"{len(chosen)} planted:", ", ".join(f"{count} {word}" for word, count in words.items()))
    return 1 if words["NOT FOUND"] else 0


if __name__ == "__main__":
    sys.exit(main())
