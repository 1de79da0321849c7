"""The GPU suite: one call on a machine with a GPU that settles correctness and speed, and loses no result.

    python -m benchmarks gpu --data FOLDER --out DIR [--minutes 8]

runs the parts of `benchmarks.gpu.parts.PARTS` one after the other, each in a process of its own with a time limit, and
writes JSON and Markdown again after every one. What fails or hangs is recorded and passed over. `--tiny` runs all of it
over few images, and works without a GPU: DALI decodes on the CPU and the host reduces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.plan import run_parts

__all__ = ["report", "run"]


def run(
    data: Path,
    out: Path,
    *,
    tiny: bool = False,
    minutes: float = 8,
    only: Sequence[str] = (),
    save: Callable[[dict[str, Any]], None] = lambda result: None,
) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data : Path
        A folder of JPEGs.
    out : Path
        Where logs go.
    tiny : bool
        Once over a few images, to see that everything still runs; works without a GPU.
    minutes : float
        When to end; parts that do not fit are recorded as skipped.
    only : sequence of str
        Names of parts; by default all.
    save : callable
        Called with the result so far whenever it has changed.

    Raises
    ------
    SystemExit
        For an unknown part; and, with everything saved, where there is no device and the run is not tiny.
    """
    from benchmarks.gpu.parts import PARTS

    unknown = set(only) - {part.name for part in PARTS}
    if unknown:
        known = ", ".join(part.name for part in PARTS)
        raise SystemExit(f"benchmarks gpu: there is no part {', '.join(sorted(unknown))}; known are {known}")
    parts = [part for part in PARTS if not only or part.name in only]
    result = run_parts(parts, data=data, out=out, tiny=tiny, minutes=minutes, save=save)
    concluded = result["parts"].get("conclusion", {}).get("result", {})
    if tiny or concluded.get("trusted") is not True:
        print("Not to be used:", "a tiny run" if tiny else "the decoders were not found to agree", flush=True)
    for line in (concluded.get("tuning_row"), *(concluded.get("readme_table") or ())):
        if line:
            print(line, flush=True)
    problem = result["parts"].get("machine", {}).get("result", {}).get("device_problem")
    if problem and not tiny:
        raise SystemExit(f"benchmarks gpu: {problem}")
    return result


def report(result: dict[str, Any]) -> list[Any]:
    """Lay the result out, as far as it goes."""
    from benchmarks.gpu.tables import tables

    return tables(result)
