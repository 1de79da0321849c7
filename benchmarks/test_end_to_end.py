"""pytest-benchmark end to end: `pytest benchmarks --benchmark-enable`; the suites are what is published."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import peers
from benchmarks.process import Process
from gpustats.datasets.demo import write_images
from gpustats.limits.machine import usable_cpus


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, 60)
    return sorted(str(path) for path in folder.rglob("*.jpg"))


@pytest.mark.parametrize("name", [*peers.PEERS, *peers.LIMITS])
def test_end_to_end(benchmark: Any, name: str, paths: list[str]) -> None:
    reason = peers.missing(name)
    if reason is not None:
        pytest.skip(reason)
    workers = peers.settings(name, usable_cpus())[-1]
    with Process(name) as process:
        process.run(paths[:4], workers)
        benchmark(process.seconds, paths, workers)
