from __future__ import annotations

import functools
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from gpustats.statistics import compiled
from tests.images import write_photos

# No test depends on how fast the machine is just now.
hypothesis.settings.register_profile("gpustats", deadline=None)
hypothesis.settings.load_profile("gpustats")

# The kernels are what the tests are about; tests/test_counting.py is about what NumPy does for a few images.
compiled._FEW_IMAGES = 0

# They compile kernels of their own, so they need not wait for those that share some.
_APART = ("test_kernel_compile.py", "test_kernel_memory.py", "test_kernel_races.py")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 45 small photographs in two subfolders; not to be changed."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, 45)
    return folder


@pytest.fixture(scope="session")
def sample() -> Path:
    """The 1,000 real JPEGs of the reference answer."""
    folder = SHARED / "imagenet1k-sample"
    if not folder.is_dir():
        pytest.skip(f"the reference images are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def reference(sample: Path) -> dict[str, Any]:
    """The exact reference answer for `sample`."""
    data: dict[str, Any] = json.loads((SHARED / "imagenet1k-sample.json").read_text())
    return data


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own SIGINT, here and in processes started here: a shell starts background jobs with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@functools.cache
def _no_gpu() -> str | None:
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() == 0:
            return "no CUDA device"
    except Exception as error:  # noqa: BLE001 - a broken driver shows itself in many ways; none may stop the other tests
        return f"no usable CUDA device: {type(error).__name__}: {error}"
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture, for those of GPU tests need the device."""
    if item.get_closest_marker("gpu") and (reason := _no_gpu()):
        if os.environ.get("GPUSTATS_REQUIRE_GPU") == "1":
            pytest.fail(f"GPUSTATS_REQUIRE_GPU=1, but {reason}")
        pytest.skip(reason)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The whole suite or a folder runs in up to four processes; single files and tests in this one: that is quicker."""
    if given := os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return int(given)
    if any("::" in argument or argument.endswith(".py") for argument in config.args):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 4) if cores > 1 else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep together, in one process one after another, what shares a GPU or compiled kernels; the rest goes anywhere.

    Not with xdist's own groups: they are marks, which xdist 3.8 does not see under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            folder, _, name = file.rpartition("/")
            if folder == "tests/kernels" and name not in _APART:
                return folder
            return file if folder in ("tests/kernels", "tests/gpu") else nodeid

    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say once for each reason how many tests were skipped."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ")] += 1
    if reasons:
        terminalreporter.section("skipped, and why")
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count:4}  {reason}")
