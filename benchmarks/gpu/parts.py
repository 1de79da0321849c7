"""The plan: correctness first, then rates, then what they mean."""

from __future__ import annotations

from benchmarks.gpu.plan import Part

__all__ = ["PARTS"]

PARTS = (
    Part("machine", "benchmarks.gpu.facts:facts", 30),
    Part("tests", "benchmarks.gpu.suite_tests:gpu_tests", 110),
    Part("agreement", "benchmarks.gpu.agreement:agreement", 60),
    Part("hardware", "benchmarks.gpu.hardware:hardware", 25),
    Part("decode", "benchmarks.gpu.sweep:decode", 50),
    Part("sweep", "benchmarks.gpu.sweep:sweep", 130),
    Part("files", "benchmarks.gpu.engines:files", 60),
    Part("waits", "benchmarks.gpu.engines:waits", 25),
    Part("engines", "benchmarks.gpu.engines:engines", 90),
    Part("kernels", "benchmarks.gpu.kernels:kernels", 60),
    Part("peers", "benchmarks.gpu.peers:peers", 30),
    Part("conclusion", "benchmarks.gpu.conclusion:conclusion", 10, always=True),
)
"""Name, work and limit in seconds. The limits add up to more than a run: few parts need all of theirs."""
