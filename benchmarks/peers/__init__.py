"""What people use today, one file each, written from the method; and what the machine could do at best.

A peer is a module with

- ``NAME``: what the tables call it;
- ``NEEDS``: packages to import (or programs, see `missing`);
- ``settings(cores)``: the worker counts to try, of which the fastest is measured (by default the cores);
- ``run(paths, workers)``: read the files, return an `Answer`, or None for a limit that computes nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from collections.abc import Iterable
from types import ModuleType
from typing import NamedTuple

__all__ = ["LIMITS", "PEERS", "Answer", "load", "missing", "settings"]

PEERS = (
    "gpustats_cpu",
    "opencv",
    "vips",
    "dali_numpy",
    "pillow_pool",
    "pillow_numpy",
    "torch_strong",
    "torch_weak",
    "torch_image_loop",
    "keras_adapt",
    "sklearn_partial_fit",
    "imagemagick",
)
LIMITS = ("limit_decode_files", "limit_decode_memory", "limit_read")


class Answer(NamedTuple):
    """Three means and three standard deviations on [0, 1], and the definition that the method stands for.

    `definition` is ``pooled`` (over all pixels, ddof=0), ``image`` (averaged over images, ddof=0) or
    ``image_unbiased`` (averaged over images, ddof=1).
    """

    mean: Iterable[float]
    std: Iterable[float]
    definition: str


def load(name: str) -> ModuleType:
    """Import a peer or limit; raises `ImportError` where a package is missing."""
    return importlib.import_module(f"benchmarks.peers.{name}")


def missing(name: str) -> str | None:
    """Return why a peer cannot run here, None where it can. Loads nothing heavy: peers import in `run`."""
    module = load(name)
    for package in module.NEEDS:
        if package.startswith("program:"):
            programs = package.removeprefix("program:").split("|")
            if not any(shutil.which(program) for program in programs):
                return f"no program {' or '.join(programs)}"
            continue
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:  # the parent package is missing
            found = None
        if found is None:
            return f"{package} is not installed"
    return None


def settings(name: str, cores: int) -> list[int]:
    """Return the worker counts to try."""
    module = load(name)
    return list(module.settings(cores)) if hasattr(module, "settings") else [cores]
