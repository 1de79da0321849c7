"""What a measurement was made on: facts that belong beside every number, and nothing that names a host or a path."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from gpustats.limits.machine import usable_cpus, usable_memory

__all__ = ["commit_of", "facts"]

_PACKAGES = (
    "gpustats",
    "numpy",
    "numba",
    "simplejpeg",
    "imagecodecs",
    "pillow",
    "opencv-python-headless",
    "scikit-learn",
    "torch",
    "torchvision",
    "pyvips",
    "nvidia-dali-cuda130",
    "nvidia-dali-cuda120",
    "cupy-cuda13x",
    "cupy-cuda12x",
)


def facts() -> dict[str, Any]:
    """Return the facts, ready for JSON."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu_model(),
        "usable_cores": usable_cpus(),
        "free_memory_gib": round(usable_memory() / 2**30, 1),
        "load_at_start": _load(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "commit": commit_of(Path(__file__).resolve().parent),
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):  # not on Windows
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def commit_of(folder: Path) -> str | None:
    """Return the git commit that a folder is at, and whether files were changed since; None outside a checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ("git", *arguments), cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
