"""Faults in what bounds a run: cores, memory, failures; and in how a result is shown."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

FAULTS = [
    Fault(
        "gpustats/limits/machine.py",
        "math.ceil(quota / period)",
        "int(quota / period)",
        "tests/test_resources.py::test_a_cpu_quota_counts_at_any_level",
    ),
    Fault(
        "gpustats/limits/memory.py",
        "return max(limit - PROCESS_BYTES, limit // 2)",
        "return limit - PROCESS_BYTES",
        "tests/robust/test_limits.py::test_files_larger_than_the_budget_fail_by_name",
    ),
    Fault(
        "gpustats/failures.py",
        "return failed > self._limit * seen and (final or seen >= JUDGED_FROM)",
        "return failed > self._limit * seen and seen >= JUDGED_FROM",
        "tests/robust/test_failures.py::test_a_share_of_failures",
    ),
    Fault(
        "gpustats/limits/memory.py",
        "size *= (1024 if binary else 1000)",
        "size *= (1000 if binary else 1024)",
        "tests/robust/test_limits.py::test_memory_in_words",
    ),
]
