"""The reducer of the GPU engine; what it asks of CUDA is checked by tests/kernels/cupy_on_host.py."""

from __future__ import annotations

import contextlib
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpustats.engines.cuda_reduce import CudaReducer, _Pending


class Stream:
    def __init__(self, lost: bool) -> None:
        self.waited = 0
        self._lost = lost

    def synchronize(self) -> None:
        self.waited += 1
        if self._lost:
            raise RuntimeError("the device is lost")


def fails(*arguments: Any) -> Any:
    raise RuntimeError("what went wrong first")


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("step", ["launch", "result"])
def test_after_an_error_nothing_reads_or_writes_pixels_any_more(
    step: str, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace())
    reducer = CudaReducer.__new__(CudaReducer)
    reducer._stream = stream = Stream(lost)
    reducer._device = contextlib.nullcontext()
    reducer._outputs = {}
    reducer._reducer = SimpleNamespace(launch=fails)  # type: ignore[assignment]
    sizes = np.array([4], np.uint64)
    steps = {
        "launch": lambda: reducer.launch(np.array([64], np.uint64), sizes, sizes),
        "result": lambda: _Pending(reducer, None, SimpleNamespace(synchronize=fails)).result(),
    }
    with pytest.raises(RuntimeError, match="what went wrong first"):
        steps[step]()
    assert stream.waited == 1
