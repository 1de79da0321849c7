"""Cores and memory that the process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpustats import resources


def fake_cgroup(root: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(resources, "_CGROUP_ROOT", root)
    monkeypatch.setattr(
        resources, "_cgroup_folders", lambda controller: iter([root / "outer" / "inner", root / "outer", root])
    )


def test_plain_machine() -> None:
    assert 1 <= resources.usable_cpus() <= (os.cpu_count() or 1)
    assert resources.usable_memory() > 1 << 20


def test_a_cpu_quota_counts_at_any_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    fake_cgroup(tmp_path, monkeypatch, {"outer/inner/cpu.max": "max 100000", "outer/cpu.max": "250000 100000"})
    assert resources.usable_cpus() == 3


def test_version_1_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    fake_cgroup(tmp_path, monkeypatch, {"outer/cpu.cfs_quota_us": "400000", "outer/cpu.cfs_period_us": "100000"})
    assert resources.usable_cpus() == 4


def test_affinity_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5}, raising=False)
    assert resources.usable_cpus() == 1


def test_a_memory_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cgroup(tmp_path, monkeypatch, {"outer/memory.max": "50000000", "outer/memory.current": "20000000"})
    assert resources.usable_memory() == 30_000_000
