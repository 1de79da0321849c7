"""The kernel lab stays runnable: its cases plan, its variants still apply, and it says why it cannot run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest

from gpustats.cuda.launcher import kernel_source

LAB = Path(__file__).parents[2] / "benchmarks" / "kernels" / "lab.py"


@pytest.fixture(scope="module")
def lab():
    spec = importlib.util.spec_from_file_location("kernel_lab", LAB)
    module = sys.modules["kernel_lab"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["kernel_lab"]


def test_every_case_plans_and_every_variant_applies(lab):
    data = types.SimpleNamespace(data=types.SimpleNamespace(ptr=4096))
    names = [case.name for case in lab.CASES]
    assert len(set(names)) == len(names)
    for case in lab.CASES:
        plan = lab.plan_of(case, data)
        assert plan.images == len(case.shapes)
        assert not plan.kernel.startswith("strided") or case.channels > 4
        for old, _ in case.edits:
            assert old in kernel_source(plan.source)


def test_without_a_device_it_says_why(lab, monkeypatch, capsys):
    monkeypatch.setattr(lab, "why_not", lambda: "there is no CUDA device")
    assert lab.main([]) == 1
    assert "there is no CUDA device" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="there is no CUDA device"):
        lab.run()


def test_help_needs_no_cuda():
    done = subprocess.run([sys.executable, str(LAB), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--only" in done.stdout


@pytest.mark.gpu
def test_it_runs_at_small_size(lab, monkeypatch):
    monkeypatch.setattr(lab, "ROTATED_BYTES", 2**24)
    small = [
        lab.Case("small", shapes=((99, 101), (7, 5))),
        lab.Case("small_f32", "float32", shapes=((99, 101),)),
    ]
    for case in small:
        assert lab.time_case(case, 1e12)["microseconds"] > 0
