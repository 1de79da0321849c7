"""The benchmark of the sources runs, at tiny size."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.sources import CONTAINERS, measure


def test_the_benchmark_runs(photos: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    result = measure(photos / "a", rounds=1)
    assert set(result["rates"]) == {"folder", *CONTAINERS}
    assert result["rates"]["folder"]["ratio"] == 1
