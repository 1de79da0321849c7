"""No kernel reads or writes outside its buffers, or a vector from an address that it may not be read from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_shim import why_not


def _library(name: str) -> str | None:
    found = subprocess.run(
        ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return found if os.path.isabs(found) else None


def test_under_the_address_and_undefined_sanitizers(tmp_path):
    if reason := why_not():
        pytest.skip(reason)
    libraries = [_library("libasan.so"), _library("libubsan.so")]
    if None in libraries:
        pytest.skip("the compiler has no sanitizer libraries")
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(str(library) for library in libraries),
        # Python itself leaks; fibres leave stacks without returning.
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }
    script = Path(__file__).with_name("sanitized_cases.py")
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    assert "all cases passed" in run.stdout
