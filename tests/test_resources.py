"""Cores and memory that the process may use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gpustats.limits import machine as resources


def fake_cgroup(root: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(resources, "_CGROUP_ROOT", root)
    monkeypatch.setattr(
        resources, "_cgroup_folders", lambda controller: iter([root / "outer" / "inner", root / "outer", root])
    )


def test_plain_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a cgroup: the cores of the affinity, or of the machine where there is none, and its free memory."""
    monkeypatch.setattr(resources, "_cgroup_folders", lambda controller: iter([]))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)), raising=False)
    assert resources.usable_cpus() == 7
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert resources.usable_cpus() == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert resources.usable_cpus() == 1
    fake_proc(monkeypatch, tmp_path, {"meminfo": "MemTotal: 9 kB\nMemAvailable:    1234 kB\nMemFree: 7 kB\n"})
    assert resources.usable_memory() == 1234 * 1024


def fake_proc(monkeypatch: pytest.MonkeyPatch, folder: Path, files: dict[str, str]) -> None:
    """Put files in the place of those of the same name in /proc; others of /proc are not there."""
    for name, text in files.items():
        (folder / name).write_text(text)
    real = Path.read_text

    def read(path: Path, *arguments: Any, **options: Any) -> str:
        if str(path).startswith("/proc/"):
            return real(folder / path.name, *arguments, **options)
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read)


@pytest.mark.parametrize("text", ["", "MemFree: 7 kB\n", "MemAvailable:\n", "MemAvailable: much kB\n", None])
def test_memory_without_proc_is_half_of_what_the_machine_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
) -> None:
    monkeypatch.setattr(resources, "_cgroup_folders", lambda controller: iter([]))
    fake_proc(monkeypatch, tmp_path, {} if text is None else {"meminfo": text})
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1001}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
    assert resources.usable_memory() == 4096 * 1001 // 2
    monkeypatch.delattr(os, "sysconf")
    assert resources.usable_memory() == 4 << 30


def test_this_machine_has_a_core_and_memory() -> None:
    assert 1 <= resources.usable_cpus() <= (os.cpu_count() or 1)
    assert 1 << 20 < resources.usable_memory() < 1 << 50


@pytest.mark.parametrize(
    ("lines", "controller", "expected"),
    [
        ("0::/a/b\n", "cpu", ["a/b", "a", "."]),
        ("0::/\n", "memory", ["."]),
        ("3:cpu,cpuacct:/x\n2:memory:/y\n", "cpu", ["cpu,cpuacct/x", "cpu,cpuacct"]),
        ("3:cpu,cpuacct:/x\n2:memory:/y\n", "memory", ["memory/y", "memory"]),
        ("1:name=systemd:/z\n0::/a\n", "cpu", ["a", "."]),
        ("2:cpuset:/x\n", "cpu", []),
        ("", "cpu", []),
    ],
)
def test_folders_of_a_cgroup_and_its_parents(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: str, controller: str, expected: list[str]
) -> None:
    fake_proc(monkeypatch, tmp_path, {"cgroup": lines})
    monkeypatch.setattr(resources, "_CGROUP_ROOT", tmp_path / "sys")
    found = [path.relative_to(tmp_path / "sys") for path in resources._cgroup_folders(controller)]
    assert found == [Path(name) for name in expected]


def test_no_cgroup_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_proc(monkeypatch, tmp_path, {})
    assert list(resources._cgroup_folders("cpu")) == []


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("100000 100000", 1),
        ("100001 100000", 2),
        ("50000 100000", 1),
        ("800000 100000", 8),
        ("900000 100000", 8),
        ("max 100000", 8),
        ("0 100000", 8),
        ("1 0", 8),
        ("nonsense", 8),
    ],
)
def test_a_quota_is_rounded_up_and_bounds_the_affinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    fake_cgroup(tmp_path, monkeypatch, {"outer/cpu.max": quota})
    assert resources.usable_cpus() == cores


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"outer/memory.max": "max", "outer/memory.current": "5"}, None),
        ({"outer/memory.max": "100"}, None),
        ({"outer/memory.max": "100", "outer/memory.current": "130"}, 0),
        ({"outer/memory.max": "100", "outer/memory.current": "30", "memory.max": "90", "memory.current": "50"}, 40),
        ({"outer/memory.max": "60", "outer/memory.current": "50", "memory.max": "90", "memory.current": "50"}, 10),
        ({"outer/memory.limit_in_bytes": "1000", "outer/memory.usage_in_bytes": "1"}, 999),
    ],
)
def test_the_tightest_memory_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], left: int | None
) -> None:
    monkeypatch.setattr(resources, "_machine_memory", lambda: 1 << 40)
    fake_cgroup(tmp_path, monkeypatch, files)
    assert resources.usable_memory() == (1 << 40 if left is None else left)


def test_a_cpu_quota_counts_at_any_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    fake_cgroup(tmp_path, monkeypatch, {"outer/inner/cpu.max": "max 100000", "outer/cpu.max": "250000 100000"})
    assert resources.usable_cpus() == 3


def test_version_1_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    fake_cgroup(tmp_path, monkeypatch, {"outer/cpu.cfs_quota_us": "400000", "outer/cpu.cfs_period_us": "100000"})
    assert resources.usable_cpus() == 4


@pytest.mark.parametrize("name", ["cpu.cfs_period_us", "cpu.cfs_quota_us"])
def test_half_a_quota_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    fake_cgroup(tmp_path, monkeypatch, {f"outer/{name}": "100000"})
    assert resources.usable_cpus() == 64


def test_affinity_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5}, raising=False)
    assert resources.usable_cpus() == 1


def test_a_memory_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cgroup(tmp_path, monkeypatch, {"outer/memory.max": "50000000", "outer/memory.current": "20000000"})
    assert resources.usable_memory() == 30_000_000
