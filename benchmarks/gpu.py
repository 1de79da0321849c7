"""The GPU suite: correctness first, then rates; one command for a machine with a GPU.

    python -m benchmarks gpu --data FOLDER --out DIR

runs the GPU tests with GPUSTATS_REQUIRE_GPU=1, the kernel lab, a sweep over the engine's settings, and then,
interleaved and with medians,
three rates on the same JPEGs in memory: DALI decoding alone, gpustats on the GPU with the same settings, gpustats on
all CPU cores. It refuses to time an engine whose integers are wrong.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from gpustats.engines import dali
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.device import gpu_problem
from gpustats.engines.gpu import GpuEngine
from gpustats.engines.gpu_batch import BatchReducer, EncodedBatch, EncodedImage
from gpustats.engines.screen import screen
from gpustats.engines.tuning import Tuning, choose
from gpustats.limits.machine import usable_cpus
from gpustats.result.stats import Stats
from gpustats.sources import Batch, open_source
from gpustats.sources.base import batched
from gpustats.sources.items import load
from gpustats.statistics.totals import Totals
from tests.gpu.host_reduce import HostReducer

__all__ = ["run"]

MAX_PIXELS = 512_000_000
MEMORY = 8 << 30
BUDGET_BYTES = 12 << 20


class Machine:
    """What is measured: a CUDA device, or, to try the suite without one, DALI and the reduction on the CPU."""

    def __init__(self, use_gpu: bool) -> None:
        self.decode_device: dali.DecodeDevice = "mixed" if use_gpu else "cpu"
        self.device_id = 0 if use_gpu else None
        self.cores = usable_cpus()
        self.reducer: BatchReducer
        if use_gpu:
            from gpustats.engines.cuda_reduce import CudaReducer, device_name

            self.name = device_name(0)
            self.reducer = CudaReducer(0)
        else:
            self.name = "no GPU: DALI decodes on the CPU, the host reduces"
            self.reducer = HostReducer()

    def engine(self, tuning: Tuning) -> GpuEngine:
        """A GPU engine with these settings."""
        return GpuEngine(
            tuning=tuning,
            cpu=CpuEngine(workers=tuning.cpu_workers or self.cores, max_pixels=MAX_PIXELS, memory=MEMORY),
            reducer=self.reducer,
            decode_device=self.decode_device,
            device_id=self.device_id,
            device_name=self.name,
            max_pixels=MAX_PIXELS,
            max_bytes=1 << 30,
            memory=MEMORY // 4,
        )


def run(data: Path, out: Path, *, tiny: bool = False) -> dict[str, Any]:
    """Run the suite and return its result, ready for JSON.

    Parameters
    ----------
    data : Path
        A folder of JPEGs; the first 12 MB of it are used, repeated in memory.
    out : Path
        Where logs go.
    tiny : bool
        Once over a few images, to see that everything still runs; works without a GPU.
    """
    problem = gpu_problem()
    if problem is not None and not tiny:
        raise SystemExit(f"benchmarks gpu: {problem}")
    machine = Machine(use_gpu=problem is None)
    images = encoded_images(data, BUDGET_BYTES)
    result: dict[str, Any] = {"device": machine.name, "cores": machine.cores, "files": len(images)}
    if not tiny:
        result["tests"] = run_tests(out)
        result["kernels"] = kernel_lab()
    result["agreement"] = agreement(machine, images)
    base = choose(machine.name, machine.cores)
    count = len(images) if tiny else 6000
    result["sweep"] = sweep(machine, images, base, count, tiny)
    best = Tuning(**max(result["sweep"], key=lambda row: row["images_per_s"])["settings"])
    result["end_to_end"] = end_to_end(machine, images, best, count if tiny else 20_000, rounds=1 if tiny else 5)
    return result


def encoded_images(folder: Path, budget: int) -> list[bytes]:
    """Return the JPEGs of a folder that the GPU takes, until `budget` bytes are reached."""
    found, size = [], 0
    for sample in open_source(folder).samples():
        data = load(sample[2], 1 << 30)
        if isinstance(data, bytes) and screen(data, MAX_PIXELS) is not None:
            found.append(data)
            size += len(data)
            if size >= budget:
                break
    if not found:
        raise SystemExit(f"benchmarks gpu: no JPEGs in {folder}")
    return found


def repeated(images: list[bytes], count: int) -> Iterator[Batch]:
    """Give `count` samples from memory, each under a key of its own."""
    return batched((f"{i}", "", images[i % len(images)]) for i in range(count))


def run_tests(out: Path) -> dict[str, Any]:
    """Run every test with the GPU required; the log goes to `out`."""
    environment = os.environ | {"GPUSTATS_REQUIRE_GPU": "1"}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"], capture_output=True, text=True, env=environment
    )
    (out / "gpu-tests.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    return {"exit_code": done.returncode, "summary": last, "seconds": round(time.perf_counter() - started, 1)}


def kernel_lab() -> dict[str, Any]:
    """Kernels against NumPy, then against the measured bandwidth."""
    from benchmarks.kernels import lab

    result: dict[str, Any] = lab.run()
    return result


def agreement(machine: Machine, images: list[bytes]) -> dict[str, Any]:
    """Compare both engines on the same files; the integers are equal where the same decoder made the pixels."""
    ours = Stats(_totals(machine.engine(choose(machine.name, machine.cores)), images, len(images)))
    cpu = CpuEngine(workers=machine.cores, max_pixels=MAX_PIXELS, memory=MEMORY)
    theirs = Stats(_totals(cpu, images, len(images)))
    if ours.n_images != theirs.n_images or ours.n_pixels != theirs.n_pixels:
        raise SystemExit("benchmarks gpu: the engines disagree about images or pixels; nothing is timed")
    mean, std = (float(np.abs(a - b).max()) for a, b in ((ours.mean, theirs.mean), (ours.std, theirs.std)))
    if max(mean, std) > 2e-4:
        raise SystemExit(f"benchmarks gpu: the engines disagree by {mean:.2e} in the mean and {std:.2e} in the std")
    return {
        "images": ours.n_images,
        "mean_difference": mean,
        "std_difference": std,
        "equal_integers": ours.totals == theirs.totals,
    }


def sweep(machine: Machine, images: list[bytes], base: Tuning, count: int, tiny: bool) -> list[dict[str, Any]]:
    """Measure one setting after the other, each starting from the best so far: load, threads, batch, prefetch, CPU."""
    cores = machine.cores
    steps: list[tuple[str, list[Any]]] = [
        ("hw_decoder_load", [0.2, 0.4, 0.65, 0.9]),
        ("threads", sorted({max(1, cores // 4), max(1, cores // 2), max(1, cores - 1), cores})),
        ("batch_size", [128, 256, 512]),
        ("prefetch", [2, 3]),
        ("cpu_workers", sorted({0, cores // 4, cores // 2})),
        ("readers", [1, 2, 4]),
    ]
    if tiny:
        steps = [("batch_size", [4, 16])]
    rate(lambda: drain(machine.engine(base), images, min(count, 1000)), min(count, 1000))  # warm up
    rows, best, best_rate = [], base, 0.0
    for name, values in steps:
        for value in values:
            tuning = replace(best, **{name: value})
            if any(row["settings"] == asdict(tuning) for row in rows):
                continue
            measured = rate(lambda tuning=tuning: drain(machine.engine(tuning), images, count), count)
            rows.append({"settings": asdict(tuning), "images_per_s": measured})
        top = max(rows, key=lambda row: row["images_per_s"])
        if top["images_per_s"] > best_rate:
            best, best_rate = Tuning(**top["settings"]), top["images_per_s"]
    return rows


def end_to_end(machine: Machine, images: list[bytes], tuning: Tuning, count: int, rounds: int) -> dict[str, Any]:
    """Measure decoding alone, the GPU engine and the CPU engine in turn."""
    decode_tuning = replace(tuning, cpu_workers=0)
    cpu_count = max(len(images), count // 10)
    measured: dict[str, list[float]] = {
        "dali_decode_only": [],
        "gpustats_gpu": [],
        "gpustats_gpu_plus_cpu": [],
        "gpustats_cpu": [],
    }
    for _ in range(rounds):
        measured["dali_decode_only"].append(rate(lambda: decode_only(machine, images, decode_tuning, count), count))
        measured["gpustats_gpu"].append(rate(lambda: drain(machine.engine(decode_tuning), images, count), count))
        if tuning.cpu_workers:
            measured["gpustats_gpu_plus_cpu"].append(rate(lambda: drain(machine.engine(tuning), images, count), count))
        cpu = CpuEngine(workers=machine.cores, max_pixels=MAX_PIXELS, memory=MEMORY)
        measured["gpustats_cpu"].append(rate(lambda cpu=cpu: drain(cpu, images, cpu_count), cpu_count))
    ratios = [a / b for a, b in zip(measured["gpustats_gpu"], measured["dali_decode_only"], strict=True)]
    return {
        "settings": asdict(tuning),
        "images": count,
        "images_per_s": {name: values for name, values in measured.items() if values},
        "median_images_per_s": {name: statistics.median(values) for name, values in measured.items() if values},
        "share_of_decode_only": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
    }


def decode_only(machine: Machine, images: list[bytes], tuning: Tuning, count: int) -> None:
    """Decode with DALI and drop the pixels: the limit of the GPU engine."""
    encoded = []
    for data in images:
        size = screen(data, MAX_PIXELS)
        assert size is not None, "encoded_images lets only these through"
        encoded.append(EncodedImage("", "", data, *size))
    stream = (encoded[i % len(encoded)] for i in range(count))

    def source() -> dali.Fed:
        batch = EncodedBatch(list(islice(stream, tuning.batch_size)))
        if not len(batch):
            raise StopIteration
        return batch.arrays(), np.zeros((len(batch), 1), np.int64)

    pipeline = dali.build_pipeline(source, tuning, machine.decode_device, machine.device_id)
    while True:
        try:
            pipeline.run()
        except StopIteration:
            return


def drain(engine: GpuEngine | CpuEngine, images: list[bytes], count: int) -> None:
    """Run an engine over `count` samples; raise where one is lost."""
    if _totals(engine, images, count).images != count:
        raise SystemExit("benchmarks gpu: images were lost; nothing is timed")


def rate(work: Callable[[], None], count: int) -> float:
    """Images per second of one call."""
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def _totals(engine: GpuEngine | CpuEngine, images: list[bytes], count: int) -> Totals:
    totals = Totals()
    for outcome in engine.outcomes(repeated(images, count)):
        totals.fold(outcome.rows)
    return totals
