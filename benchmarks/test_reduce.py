"""pytest-benchmark over the reduction: `pytest benchmarks --benchmark-enable`; the suites are what is published."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.reduce import methods

_PIXELS = np.random.default_rng(0).integers(0, 256, (375, 500, 3), np.uint8)


@pytest.mark.parametrize("name", list(methods(_PIXELS)))
def test_reduce(benchmark: Any, name: str) -> None:
    benchmark(methods(_PIXELS)[name], _PIXELS)
