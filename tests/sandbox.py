"""A copy of the repository in which the package may be broken on purpose, and tests that run there.

What could hide a change is kept out: the copy comes first on the path, and a changed file gets a time of its own, so
that neither Python's nor numba's compiled code of another version is taken for it. numba's knows nothing of a changed
file that only lends a constant or a function to another: a change near compiled code gets an empty cache.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["ROOT", "Run", "Sandbox", "SandboxError"]

ROOT = Path(__file__).resolve().parents[1]
"""The top of the repository."""

_LEFT_OUT = {"__pycache__", "build", "dist"}

# No plugin but those the suite needs: one that is installed by chance costs a second of every run.
_PYTEST = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:zarr"]


class SandboxError(Exception):
    """The copy is not what would be tested."""


class Run(NamedTuple):
    """How a run of pytest ended: its exit code (None where its time ran out), its output and what it took."""

    code: int | None
    output: str
    seconds: float


class Sandbox:
    """A copy of the repository's files in a folder that does not exist yet.

    Parameters
    ----------
    folder : Path
        Where the copy goes.
    root : Path
        What is copied: what git knows or does not ignore, and the compiled code beside it.
    """

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        self.folder = folder.resolve()
        for name in _files(root):
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target, follow_symlinks=False)
        for cache in (root / "gpustats").rglob("__pycache__"):
            shutil.copytree(cache, self.folder / cache.relative_to(root), dirs_exist_ok=True)
        self._changes = 0
        where = self._python("import gpustats; print(gpustats.__file__)")
        if not Path(where).is_relative_to(self.folder):
            raise SandboxError(f"what would be tested is not the copy in {self.folder} but {where}")

    def _environment(self) -> dict[str, str]:
        # What a test runner around this one left in the environment is not meant for the copy.
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
        return {
            **outside,
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_XDIST_AUTO_NUM_WORKERS": "0",
        }

    def _python(self, code: str) -> str:
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=self.folder, env=self._environment(), capture_output=True, text=True
        )
        if run.returncode:
            raise SandboxError(f"the copy in {self.folder} cannot be imported: {run.stderr[-2000:]}")
        return run.stdout.strip()

    def text(self, path: str) -> str:
        """Return the text of a file of the copy."""
        return (self.folder / path).read_bytes().decode()

    @contextlib.contextmanager
    def changed(self, path: str, text: str) -> Iterator[None]:
        """Give a file another text for a while."""
        file = self.folder / path
        before, times = file.read_bytes(), file.stat()
        self._changes += 1
        try:
            file.write_bytes(text.encode())
            moment = int(times.st_mtime) + self._changes
            os.utime(file, (moment, moment))
            yield
        finally:
            file.write_bytes(before)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    def near_compiled_code(self, path: str) -> bool:
        """Say whether numba's cache may not notice a change of this file."""
        return path in _near_compiled_code(self.folder)

    def pytest(
        self,
        arguments: Sequence[str],
        *,
        timeout: float = 300,
        fresh_cache: bool = False,
        write: bool = False,
        memory: int | None = None,
    ) -> Run:
        """Run pytest in the copy; whatever it started and left behind is ended.

        Parameters
        ----------
        arguments : sequence of str
            Node ids and options.
        timeout : float
            Seconds.
        fresh_cache : bool
            Whether numba's compiled code is made anew and then forgotten.
        write : bool
            Whether Python's compiled code is kept, which an unchanged copy should do once.
        memory : int, optional
            Bytes of private memory that one process may take, where the system can limit that.
        """
        environment = self._environment()
        if write:
            del environment["PYTHONDONTWRITEBYTECODE"]
        with tempfile.TemporaryDirectory() as temporary, tempfile.TemporaryFile() as output:
            environment["TMPDIR"] = temporary
            if fresh_cache:
                environment["NUMBA_CACHE_DIR"] = str(Path(temporary, "numba"))
            start = time.monotonic()
            process = subprocess.Popen(
                [*_PYTEST, *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            if memory is not None and sys.platform == "linux":
                import resource

                with contextlib.suppress(ProcessLookupError, PermissionError):
                    resource.prlimit(process.pid, resource.RLIMIT_DATA, (memory, memory))
            code: int | None
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            shutil.rmtree(self.folder / ".hypothesis", ignore_errors=True)  # examples that failed in another run
            seconds = time.monotonic() - start
            output.seek(0)
            return Run(code, output.read().decode(errors="replace"), seconds)

    def outcomes(self, tests: Iterable[str], timeout: float = 600) -> dict[str, str]:
        """Run tests in the copy as it is; return "passed", "failed", "skipped" or "missing" for each node id.

        A test of several parameters that is named without one passed where none failed and one passed.
        """
        tests = list(dict.fromkeys(tests))
        with tempfile.TemporaryDirectory() as temporary:
            report = Path(temporary, "report.xml")
            arguments = ["--maxfail=1000", "--continue-on-collection-errors", f"--junitxml={report}", *tests]
            run = self.pytest(arguments, timeout=timeout, write=True)
            if run.code not in (0, 1) or not report.exists():
                raise SandboxError(f"the tests do not run without a fault:\n{run.output[-3000:]}")
            cases = list(ElementTree.parse(report).iter("testcase"))
        found: dict[str, set[str]] = {}
        for case in cases:
            outcome = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
            name = f"{case.get('classname')}.{case.get('name')}"
            for key in {name, name.partition("[")[0]}:
                found.setdefault(key, set()).add(outcome)
        result = {}
        for test in tests:
            file, *names = test.split("::")
            outcome_set = found.get(".".join([file.removesuffix(".py").replace("/", "."), *names]), set())
            bad = outcome_set & {"failure", "error"}
            result[test] = "failed" if bad else next((o for o in ("passed", "skipped") if o in outcome_set), "missing")
        return result


def _files(root: Path) -> list[str]:
    """Return the repository's files as git sees them; where there is no git, all but what tools leave behind."""
    if (root / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root,
            capture_output=True,
            check=True,
        ).stdout
        names = {os.fsdecode(name) for name in listed.split(b"\0") if name}
    else:
        names = {
            str(file.relative_to(root))
            for file in root.rglob("*")
            if not any(part.startswith(".") or part in _LEFT_OUT for part in file.relative_to(root).parts)
        }
    return sorted(name for name in names if (root / name).is_file())


@functools.cache
def _near_compiled_code(folder: Path) -> frozenset[str]:
    """Return the files whose functions numba compiles, and those of the package that they import."""
    near = set()
    for file in (folder / "gpustats").rglob("*.py"):
        source = file.read_text(encoding="utf-8")
        if "@compiled" in source or "njit" in source:
            near.add(file)
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gpustats"):
                    module = folder.joinpath(*node.module.split("."))
                    near |= {module.with_suffix(".py"), *(module / f"{name.name}.py" for name in node.names)}
    return frozenset(str(file.relative_to(folder)) for file in near if file.is_file())
