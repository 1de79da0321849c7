"""No kernel reads or writes outside its buffers, or a vector from an address that it may not be read from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kernel_shim import GUARD, SCRATCH, Batch, GuardedOutputs, compute, why_not


def _library(name: str) -> str | None:
    found = subprocess.run(
        ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return found if os.path.isabs(found) else None


def run_sanitized(*arguments: str | Path) -> subprocess.CompletedProcess[str] | None:
    """Run `sanitized_cases.py` under the sanitizers; None where the compiler has none."""
    libraries = [_library("libasan.so"), _library("libubsan.so")]
    if None in libraries:
        return None
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(str(library) for library in libraries),
        # Python itself leaks; fibres leave stacks without returning.
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }
    script = Path(__file__).with_name("sanitized_cases.py")
    return subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_under_the_address_and_undefined_sanitizers(tmp_path):
    if reason := why_not():
        pytest.skip(reason)
    run = run_sanitized(tmp_path)
    if run is None:
        pytest.skip("the compiler has no sanitizer libraries")
    assert run.returncode == 0, run.stderr[-4000:]
    assert "all cases passed" in run.stdout


OPTIONS = [{}, {"cross": True}, {"histogram": True}, {"cross": True, "histogram": True}]


@pytest.mark.parametrize(
    ("dtype", "options"),
    [(dtype, o) for dtype in ("uint8", "uint16") for o in OPTIONS if dtype == "uint8" or "histogram" not in o],
    ids=str,
)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_kernels_write_inside_their_outputs(cpu_device, channels, dtype, options):
    """Dark images: where bins serve as memory for sums, the first ones are not empty."""
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 20, (7, width, channels)).astype(dtype) for width in (5, 9, 33, 40)]
    batch = Batch.of(images, channels, dtype, start=channels * np.dtype(dtype).itemsize)
    batch.check(compute(cpu_device, batch.plan(**options)), **options)


@pytest.mark.parametrize("where", ["before", "behind"])
@pytest.mark.parametrize("name", ["sums", "counts", "extremes"])
def test_guards_see_one_byte_outside(name, where):
    plan = Batch.random(np.random.default_rng(7), [(3, 4)] * 3, 3, "uint8").plan()
    place = [output.name for output in plan.outputs].index(name)
    outputs = GuardedOutputs(plan)
    assert not outputs.buffer().any()
    memory = outputs._memory[place]
    memory[GUARD - 1 if where == "before" else GUARD + plan.outputs[place].nbytes] = 1
    with pytest.raises(AssertionError, match=f"wrote outside {name}"):
        outputs.buffer()


def test_scratch_memory_is_rubbish_and_not_read_back():
    plan = Batch.random(np.random.default_rng(8), [(3, 4)] * 3, 3, "float32").plan()
    outputs = GuardedOutputs(plan)
    place = [output.name for output in plan.outputs].index("partials")
    assert (outputs._memory[place][GUARD:-GUARD] == SCRATCH).all()
    assert not outputs.buffer().any()
