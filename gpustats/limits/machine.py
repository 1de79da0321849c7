"""What this process may use: processor cores and memory, with affinity and cgroup limits respected."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["usable_cpus", "usable_memory"]

_CGROUP_ROOT = Path("/sys/fs/cgroup")


def usable_cpus() -> int:
    """Return how many cores the process may keep busy: the smaller of its affinity and its cgroup's CPU quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # no affinity on macOS and Windows
        cores = os.cpu_count() or 1
    for folder in _cgroup_folders("cpu"):
        quota, period = _cpu_quota(folder)
        if quota > 0 and period > 0:
            cores = min(cores, math.ceil(quota / period))
    return max(1, cores)


def usable_memory() -> int:
    """Return the bytes of memory that the process could still get: free on the machine and within its cgroup."""
    available = _machine_memory()
    for folder in _cgroup_folders("memory"):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = _number(folder / limit_name), _number(folder / used_name)
            if limit is not None and used is not None:
                available = min(available, max(limit - used, 0))
    return available


def _machine_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass  # not Linux
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 4 << 30  # Windows: no portable way without a dependency; assume a small machine


def _cgroup_folders(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's cgroup and its parents (v2 and v1)."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root = _CGROUP_ROOT
        elif controller in controllers.split(","):
            root = _CGROUP_ROOT / controllers
        else:
            continue
        folder = root / path.lstrip("/")
        for candidate in (folder, *folder.parents):
            if candidate == root or root in candidate.parents:
                yield candidate


def _cpu_quota(folder: Path) -> tuple[int, int]:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return (0, 0) if quota == "max" else (int(quota), int(period))
    except (OSError, ValueError):
        return _number(folder / "cpu.cfs_quota_us") or 0, _number(folder / "cpu.cfs_period_us") or 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
