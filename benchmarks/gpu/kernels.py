"""The part `kernels`: the reduction kernels against NumPy and against the bandwidth that the device reaches."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.gpu.plan import Context, Skipped

__all__ = ["kernels"]


def kernels(context: Context) -> dict[str, Any]:
    """Verify and time the cases of the lab, those of the shipped kernels first, until no time is left."""
    from benchmarks.kernels import lab

    reason = lab.why_not()
    if reason:
        raise Skipped(reason)
    bandwidth = lab.read_bandwidth()
    result: dict[str, Any] = {
        **lab.device_facts(),
        "read_terabytes_per_second": bandwidth / 1e12,
        "copy_terabytes_per_second": lab.copy_bandwidth() / 1e12,
        "cases": {},
        "not_measured": [],
    }
    longest = 0.0
    for case in sorted(
        lab.CASES, key=lambda case: (case.name.startswith("variant"), not case.name.startswith("u8_c3"))
    ):
        if context.left() < 1.5 * longest + 2:
            result["not_measured"].append(case.name)
            continue
        started = time.perf_counter()
        try:
            result["cases"][case.name] = lab.time_case(case, bandwidth)
        except Exception as error:  # noqa: BLE001 - a case that is wrong is named and not timed; the others go on
            result["cases"][case.name] = {"error": f"{type(error).__name__}: {error}"[:300]}
        longest = max(longest, time.perf_counter() - started)
        context.keep(result)
    return result
