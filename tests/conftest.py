from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.images import write_photos

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
