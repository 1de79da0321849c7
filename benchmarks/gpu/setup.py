"""What the parts share: the device or its stand-in, images in memory, engines, and rates from first to last."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.files import JPEG_SUFFIXES, image_paths
from benchmarks.gpu.plan import Context, Skipped
from gpustats.engines import dali
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.device import gpu_problem
from gpustats.engines.gpu import GpuEngine
from gpustats.engines.gpu_batch import BatchReducer, in_arena
from gpustats.engines.screen import screen
from gpustats.engines.tuning import Tuning, choose
from gpustats.limits.machine import usable_cpus
from gpustats.sources import Batch
from gpustats.sources.base import batched
from gpustats.sources.items import load
from gpustats.statistics.totals import Totals

__all__ = [
    "MAX_PIXELS",
    "Machine",
    "PipelineAround",
    "cpu_engine",
    "decode_rate",
    "encoded_images",
    "engine_rate",
    "jpeg_paths",
    "machine_of",
    "repeated",
    "stand_in",
    "tuning_so_far",
]

MAX_PIXELS = 512_000_000
_MEMORY = 8 << 30
_BUDGET_BYTES = 32 << 20
_TROUBLES = ("batches_retried", "pipelines_rebuilt", "out_of_memory", "outputs_dropped", "not_written")
_STAND_IN = "no GPU: DALI decodes on the CPU, the host reduces"


@dataclass(frozen=True)
class Machine:
    """What is measured: a CUDA device, or, to try the suite without one, DALI and the reduction on the CPU."""

    name: str
    on_gpu: bool
    cores: int

    @property
    def decode_device(self) -> dali.DecodeDevice:
        """Where DALI decodes."""
        return "mixed" if self.on_gpu else "cpu"

    @property
    def device_id(self) -> int | None:
        """CUDA device of a pipeline."""
        return 0 if self.on_gpu else None

    def reducer(self) -> BatchReducer:
        """Return a new reducer for the moments."""
        if self.on_gpu:
            from gpustats.engines.cuda_reduce import CudaReducer

            return CudaReducer(0, ("moments",))
        from tests.gpu.host_reduce import HostReducer

        return HostReducer()

    def engine(self, tuning: Tuning, reducer: BatchReducer | None = None) -> GpuEngine:
        """Return a GPU engine with these settings."""
        return GpuEngine(
            tuning=tuning,
            cpu=cpu_engine(tuning.cpu_workers or self.cores),
            reducer=reducer or self.reducer(),
            decode_device=self.decode_device,
            device_id=self.device_id,
            device_name=self.name,
            max_pixels=MAX_PIXELS,
            max_bytes=1 << 30,
            memory=_MEMORY // 4,
        )

    def pipeline(self, source: Callable[[], dali.Fed], tuning: Tuning) -> Any:
        """Build a DALI pipeline that decodes as the engine's does."""
        return dali.build_pipeline(source, tuning, self.decode_device, self.device_id)


def machine_of(context: Context) -> Machine:
    """Return the device; with `tiny` a stand-in where there is none.

    Raises
    ------
    Skipped
        Where there is no device that can be used.
    """
    problem = gpu_problem()
    if problem is None:
        from gpustats.engines.cuda_reduce import device_name

        return Machine(device_name(0), True, usable_cpus())
    if not context.tiny:
        raise Skipped(problem)
    try:
        import nvidia.dali  # noqa: F401 - other packages of NVIDIA are in `nvidia` too
    except ImportError:
        raise Skipped("DALI is not installed; the stand-in needs it too") from None
    return Machine(_STAND_IN, False, usable_cpus())


def stand_in(machine: Machine) -> AbstractContextManager[None]:
    """Make `gpustats.compute(device="gpu")` take DALI and the host where there is no GPU."""
    from contextlib import nullcontext

    if machine.on_gpu:
        return nullcontext()
    from benchmarks.stub_gpu import replaced_gpu
    from tests.gpu.host_reduce import HostReducer

    build = dali.build_pipeline
    return replaced_gpu(
        lambda source, tuning, *rest: build(source, tuning, "cpu", None),
        lambda device_id, statistics, per_image: HostReducer(statistics),
        _STAND_IN,
    )


def cpu_engine(workers: int) -> CpuEngine:
    """Return a CPU engine."""
    return CpuEngine(workers=workers, max_pixels=MAX_PIXELS, memory=_MEMORY)


def tuning_so_far(context: Context, machine: Machine) -> Tuning:
    """Return the best settings of the sweep, or those that the package would choose where it has not run."""
    best = context.earlier.get("sweep", {}).get("best")
    if best:
        return Tuning(**best)
    return choose(machine.name, machine.cores, {"batch_size": 4, "threads": 1} if context.tiny else None)


def jpeg_paths(folder: Path) -> list[str]:
    """Return the paths of the JPEGs in a folder, by their endings."""
    found = image_paths(folder, JPEG_SUFFIXES)
    if not found:
        raise Skipped("there are no JPEGs in the folder of images")
    return found


def encoded_images(folder: Path, budget: int = _BUDGET_BYTES) -> list[bytes]:
    """Return JPEGs of a folder that the GPU takes, until `budget` bytes are reached."""
    found, size = [], 0
    for path in jpeg_paths(folder):
        data = load(path, 1 << 30)
        if isinstance(data, bytes) and screen(data, MAX_PIXELS) is not None:
            found.append(data)
            size += len(data)
            if size >= budget:
                break
    if not found:
        raise Skipped("the GPU takes none of the JPEGs in the folder of images")
    return found


def repeated(images: Sequence[bytes], count: int) -> Iterator[Batch]:
    """Give `count` samples from memory, each under a key of its own."""
    return batched((f"{i}", "", images[i % len(images)]) for i in range(count))


def decode_rate(
    machine: Machine, images: Sequence[bytes], tuning: Tuning, count: int, *, seconds: float = 10.0
) -> dict[str, Any]:
    """Decode with DALI alone and drop the pixels; time it from the first to the last batch that comes out.

    Parameters
    ----------
    machine : Machine
        Where.
    images : sequence of bytes
        JPEGs, repeated.
    tuning : Tuning
        Settings.
    count : int
        Images at least, in whole batches, behind the first batch.
    seconds : float
        Feed no more after so long.

    Returns
    -------
    dict
        ``images`` that came out after the first batch, their ``seconds``, ``images_per_s``, and ``first_batch_s``,
        which holds the build and the warm-up.
    """
    size = tuning.batch_size
    arena, starts, sizes = in_arena(images)
    places = np.arange(len(images) + size) % len(images)  # a batch is a slice of it
    numbers = np.zeros((size, 1), np.int64)
    fed = 0
    begun = time.perf_counter()
    most = 1 + max(2, -(-count // size))

    def source() -> dali.Fed:
        nonlocal fed
        if fed >= most or time.perf_counter() - begun > seconds:
            raise StopIteration
        first = fed * size % len(images)
        fed += 1
        chosen = places[first : first + size]
        return arena, starts[chosen], sizes[chosen], numbers

    pipeline = machine.pipeline(source, tuning)
    pipeline.run()
    first = last = time.perf_counter()
    batches = 0
    while True:
        try:
            pipeline.run()
        except StopIteration:
            break
        batches += 1
        last = time.perf_counter()
    if not batches:
        raise RuntimeError(f"only one batch came out in {seconds} s")
    return {
        "images": batches * size,
        "seconds": last - first,
        "images_per_s": batches * size / (last - first),
        "first_batch_s": first - begun,
    }


class PipelineAround:
    """A pipeline whose `run` is another callable; everything else is that of the pipeline."""

    def __init__(self, pipeline: Any, run: Callable[[], Any]) -> None:
        self._pipeline = pipeline
        self.run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)


def engine_rate(
    engine: GpuEngine | CpuEngine, images: Sequence[bytes], count: int, troubles: Counter[str] | None = None
) -> float:
    """Return the images a second of an engine without its start.

    The clock of a GPU engine starts when DALI gives its first batch, as in `decode_rate`, and that of a CPU engine at
    its first outcome; images that are done by then do not count.
    What did not go as planned, such as batches that the CPU had to do, is added to `troubles`.

    Raises
    ------
    RuntimeError
        Where an image is lost, or the engine gave up the GPU.
    """
    totals = Totals()
    marks: list[tuple[float, int]] = []
    build = dali.build_pipeline

    def watched_build(*arguments: Any) -> PipelineAround:
        pipeline = build(*arguments)

        def run() -> Any:
            outputs = pipeline.run()
            if not marks:
                marks.append((time.perf_counter(), totals.images + len(outputs[0].shape())))
            return outputs

        return PipelineAround(pipeline, run)

    begun = last = time.perf_counter()
    with mock.patch.object(dali, "build_pipeline", watched_build):
        for outcome in engine.outcomes(repeated(images, count)):
            totals.fold(outcome.rows)
            last = time.perf_counter()
            if not marks and isinstance(engine, CpuEngine):
                marks.append((last, totals.images))
    if totals.images != count:
        raise RuntimeError(f"{count - totals.images} of {count} images were lost")
    report = engine.report()
    if "gpu_given_up" in report:
        raise RuntimeError(f"the engine gave up the GPU: {report['gpu_given_up']}")
    if troubles is not None:
        troubles.update({name: report[name] for name in _TROUBLES if report.get(name)})
    at, before = marks[0] if marks else (begun, 0)
    if before >= count:  # all at once, in a tiny run
        at, before = begun, 0
    return (count - before) / (last - at)
