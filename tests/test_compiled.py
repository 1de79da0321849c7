"""Compiled functions: what is loaded from the disk needs no compiler, and numba may change inside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from gpustats.statistics.compiled import _load_alone

CODE = """
import sys
import numpy as np
import gpustats
pixels = (np.arange(160 * 8 * 9 * 3) % 251).astype(np.uint8).reshape(160, 8, 9, 3)
stats = gpustats.compute(pixels, progress=False)
print(stats.n_images, stats.totals["moments"]["sum"], "numba.np.arraymath" in sys.modules)
floats = gpustats.compute(np.ones((2, 20, 20, 3), np.float32), progress=False)
print(floats.mean.tolist())
"""


def test_what_was_compiled_is_loaded_without_the_compiler(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def run() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True, timeout=100
        )
        return done.stdout.splitlines()

    first, second = run(), run()
    assert first[0].endswith(" True"), "it was compiled"
    assert second == [first[0].replace("True", "False"), first[1]] == [second[0], "[1.0, 1.0, 1.0]"]


def test_a_numba_that_is_built_in_another_way_stays_as_it_is() -> None:
    dispatcher = SimpleNamespace(_cache=SimpleNamespace(load_overload=len))
    _load_alone(dispatcher)
    assert dispatcher._cache.load_overload is len
