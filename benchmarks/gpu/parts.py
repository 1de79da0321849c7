"""The plan: correctness first, then rates, then what they mean."""

from __future__ import annotations

from benchmarks.gpu.plan import Part

__all__ = ["PARTS"]

PARTS = (
    Part("machine", "benchmarks.gpu.facts:facts", 30, 10),
    Part("tests", "benchmarks.gpu.suite_tests:gpu_tests", 110, 60),
    Part("agreement", "benchmarks.gpu.agreement:agreement", 60, 25),
    Part("hardware", "benchmarks.gpu.hardware:hardware", 25, 10),
    Part("decode", "benchmarks.gpu.sweep:decode", 50, 25),
    Part("sweep", "benchmarks.gpu.sweep:sweep", 130, 60),
    Part("files", "benchmarks.gpu.engines:files", 60, 30),
    Part("waits", "benchmarks.gpu.engines:waits", 25, 12),
    Part("engines", "benchmarks.gpu.engines:engines", 90, 45),
    Part("kernels", "benchmarks.gpu.kernels:kernels", 60, 30),
    Part("peers", "benchmarks.gpu.peers:peers", 30, 15),
    Part("conclusion", "benchmarks.gpu.conclusion:conclusion", 10, always=True),
)
"""Name, work, limit and kept seconds. The limits add up to more than a run, for few parts need all of theirs; the kept
seconds to less, so that a part that takes long leaves some to the others."""
