"""What people use today, one file each, written from the method; and what the machine could do at best.

A peer is a module with

- ``NAME``: what the tables call it;
- ``NEEDS``: packages to import (or programs, see `missing`);
- ``settings(cores)``: the worker counts to try, of which the fastest is measured (by default the cores);
- ``run(paths, workers)``: read the files, return an `Answer`, or None for a limit that computes nothing, or the
  seconds as a float where a program measured them itself.

A peer whose packages cannot be installed beside the others' runs with a Python of its own.
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["LIMITS", "PEERS", "Answer", "load", "missing", "settings", "versions"]

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
    "datumaro",
    "imagemagick",
)
LIMITS = ("limit_decode_files", "limit_decode_memory", "limit_tjbench", "limit_read")


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


def missing(name: str, python: str = sys.executable) -> str | None:
    """Return why a peer cannot run with this interpreter, None where it can; looks for packages, imports none."""
    needs = load(name).NEEDS
    for need in needs:
        programs = need.removeprefix("program:").split("|")
        if need.startswith("program:") and not any(shutil.which(program) for program in programs):
            return f"no program {' or '.join(programs)}"
    absent = _ask(python, _ABSENT, [need for need in needs if not need.startswith("program:")])
    return f"{absent[0]} is not installed" if absent else None


def versions(name: str, python: str = sys.executable) -> dict[str, str]:
    """Return the version of every package that a peer needs, by the name it is imported by."""
    found: dict[str, str] = _ask(python, _VERSIONS, [need for need in load(name).NEEDS if "program:" not in need])
    return found


_ABSENT = """
from importlib.util import find_spec
def there(name):
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False
answer = [name for name in names if not there(name)]
"""
_VERSIONS = """
from importlib.metadata import packages_distributions, version
owners = packages_distributions()
answer = {name: version(owners[name.split(".")[0]][0]) for name in names if name.split(".")[0] in owners}
"""


def _ask(python: str, code: str, names: Iterable[str]) -> Any:
    """Run a few lines with an interpreter that sees `names` and leaves its `answer`."""
    program = f"import json, sys; names = json.loads(sys.argv[1])\n{code}\nprint(json.dumps(answer))"
    done = subprocess.run(
        [python, "-c", program, json.dumps(list(names))], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def settings(name: str, cores: int) -> list[int]:
    """Return the worker counts to try."""
    module = load(name)
    return list(module.settings(cores)) if hasattr(module, "settings") else [cores]
