"""The parts `files`, `waits` and `engines`: the whole engine, from files and from memory, beside decoding alone."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

import gpustats
from benchmarks.files import link_images
from benchmarks.gpu.guarded import guarded
from benchmarks.gpu.plan import ROOT, Context
from benchmarks.gpu.setup import (
    PipelineAround,
    cpu_engine,
    decode_rate,
    encoded_images,
    engine_rate,
    jpeg_paths,
    machine_of,
    stand_in,
    tuning_so_far,
)
from benchmarks.timing import ratio, summary
from gpustats.engines import dali
from gpustats.engines.gpu_batch import BatchReducer
from gpustats.engines.tuning import Tuning

__all__ = ["engines", "files", "waits"]

_COUNT, _TINY_COUNT = 20_000, 24
_ROUNDS = 5
_COUNTERS = ("seconds_in_feed", "seconds_in_dali", "seconds_in_reducer")


def files(context: Context) -> dict[str, Any]:
    """Measure `gpustats.compute` over a folder of hard links, and its host side alone with a GPU of no cost."""
    machine = machine_of(context)
    paths = jpeg_paths(context.data)
    count = _TINY_COUNT if context.tiny else _COUNT
    tuning = tuning_so_far(context, machine)
    result: dict[str, Any] = {"files": count, "distinct_images": len(paths), "settings": asdict(tuning), "rounds": []}
    with tempfile.TemporaryDirectory(dir=context.out) as temporary:
        folder, few = Path(temporary, "files"), Path(temporary, "few")
        link_images(folder, paths, count)
        link_images(few, paths, min(count, 20))
        for path in folder.rglob("*.*"):
            path.read_bytes()  # into the page cache
        with stand_in(machine):
            _compute(few, tuning, None)
            for number in range(1 if context.tiny else 3):
                for checkpoint in (None, Path(temporary, f"checkpoint-{number}")):
                    if number and context.left() < 20:
                        result["stopped"] = "no time was left for more rounds"
                        break
                    result["rounds"].append(_compute(folder, tuning, checkpoint))
                    context.keep(result)
        done = subprocess.run(
            guarded("benchmarks.host_child", str(ROOT), str(folder), str(few)),
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            check=False,
            timeout=max(1.0, context.left() - 1),
        )
        if done.returncode == 0:
            host = json.loads(done.stdout)
            result["host_alone"] = host | {"images_per_s": host["images"] / host["seconds"]}
        else:
            result["host_alone"] = {"error": f"it ended with status {done.returncode}"}
    return result


def _compute(folder: Path, tuning: Tuning, checkpoint: Path | None) -> dict[str, Any]:
    """Run once; rates with everything, and from the first images that were done to the last."""
    marks: list[tuple[float, int]] = []
    started = time.perf_counter()
    stats = gpustats.compute(
        folder,
        device="gpu",
        gpu_options=asdict(tuning),
        checkpoint=checkpoint,
        progress=lambda images: marks.append((time.perf_counter(), images)),
    )
    seconds = time.perf_counter() - started
    done = [(at, images) for at, images in marks if images] or [(started, 0)]
    between = done[-1][0] - done[0][0]
    (run,) = stats.runs
    return {
        "checkpoint": checkpoint is not None,
        "images": stats.n_images,
        "failures": len(stats.failures),
        "seconds": seconds,
        "images_per_s": stats.n_images / seconds,
        "first_to_last_images_per_s": (stats.n_images - done[0][1]) / between if between else None,
        "images_by_decoder": run["images_by_decoder"],
        "batches_retried": run["batches_retried"],
        "pipelines_rebuilt": run["pipelines_rebuilt"],
        "waits": {name: run.get(name, "missing") for name in _COUNTERS},
    }


class _Timed:
    """Seconds that the GPU thread spends at each place."""

    def __init__(self) -> None:
        self.seconds = {"feed": 0.0, "dali": 0.0, "launch": 0.0, "result": 0.0}

    def of(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return a callable that does the same, and is timed."""

        def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return work(*arguments)
            finally:
                self.seconds[name] += time.perf_counter() - started

        return timed


class _TimedReducer:
    """A reducer around a reducer."""

    name = "timed"

    def __init__(self, reducer: BatchReducer, timed: _Timed) -> None:
        self._launch = timed.of("launch", reducer.launch)
        self._timed = timed

    def launch(self, pointers: NDArray[np.uint64], heights: NDArray[np.uint64], widths: NDArray[np.uint64]) -> Any:
        """Launch and time it, and the wait for the result."""
        pending = self._launch(pointers, heights, widths)
        return _TimedPending(pending, self._timed)


class _TimedPending:
    def __init__(self, pending: Any, timed: _Timed) -> None:
        self.result = timed.of("result", pending.result)
        self.folded = pending.folded


def waits(context: Context) -> dict[str, Any]:
    """Say where the GPU thread spends its time: measured from outside, and by the engine's own counters."""
    machine = machine_of(context)
    images = encoded_images(context.data)
    tuning = replace(tuning_so_far(context, machine), cpu_workers=0)
    count = _TINY_COUNT if context.tiny else _COUNT
    timed = _Timed()
    build = dali.build_pipeline

    def timed_build(source: Callable[[], dali.Fed], *rest: Any) -> Any:
        fed = timed.of("feed", source)
        pipeline = build(lambda: fed(), *rest)  # DALI looks at the signature
        return PipelineAround(pipeline, timed.of("dali", pipeline.run))

    engine = machine.engine(tuning, _TimedReducer(machine.reducer(), timed))
    started = time.perf_counter()
    with mock.patch.object(dali, "build_pipeline", timed_build):
        rate = engine_rate(engine, images, count)
    if not timed.seconds["dali"]:
        raise RuntimeError("nothing was decoded by DALI")
    wall = time.perf_counter() - started
    seconds = dict(timed.seconds)
    seconds["dali"] -= seconds["feed"]  # DALI asks for its next batch while it runs
    report = engine.report()
    return {
        "images": count,
        "images_per_s": rate,
        "wall_seconds": wall,
        "gpu_thread_seconds": seconds | {"other": wall - sum(seconds.values())},
        "gpu_thread_share": {name: value / wall for name, value in seconds.items()},
        "engine_counters": {name: report.get(name, "missing") for name in _COUNTERS},
    }


def engines(context: Context) -> dict[str, Any]:
    """Measure decoding alone, the GPU engine, both engines together and the CPU engine, in turn."""
    machine = machine_of(context)
    images = encoded_images(context.data)
    tuning = replace(tuning_so_far(context, machine), cpu_workers=0)
    count = _TINY_COUNT if context.tiny else _COUNT
    on_cpu = count if context.tiny else count // 2
    helpers = sorted({max(1, machine.cores // 4), max(1, machine.cores // 2), machine.cores})
    troubles: Counter[str] = Counter()
    works: dict[str, Callable[[], float]] = {
        "dali_decode_only": lambda: float(decode_rate(machine, images, tuning, count, seconds=8)["images_per_s"]),
        "gpustats_gpu": lambda: engine_rate(machine.engine(tuning), images, count, troubles),
        "gpustats_cpu": lambda: engine_rate(cpu_engine(machine.cores), images, on_cpu),
    }
    for workers in helpers:
        together = replace(tuning, cpu_workers=workers)
        works[f"gpustats_gpu_and_{workers}_cpu_threads"] = lambda together=together: engine_rate(
            machine.engine(together), images, count, troubles
        )
    measured: dict[str, list[float]] = {name: [] for name in works}
    result: dict[str, Any] = {
        "images": count,
        "images_on_cpu": on_cpu,
        "settings": asdict(tuning),
        "cpu_workers": helpers,
    }
    engine_rate(machine.engine(tuning), images, min(count, 1000))  # compiles kernels
    names = list(works)
    longest = 0.0
    for number in range(1 if context.tiny else _ROUNDS):
        if number and context.left() < longest + 2:
            result["stopped"] = f"no time was left after {number} rounds"
            break
        started = time.perf_counter()
        first = number % len(names)
        for name in names[first:] + names[:first]:
            measured[name].append(works[name]())
            result["images_per_s"] = {name: summary(values) for name, values in measured.items() if values}
            result["troubles"] = dict(troubles)
            context.keep(result)
        longest = max(longest, time.perf_counter() - started)
        result["rounds"] = number + 1
        result["share_of_decode_only"] = {
            name: ratio(values, measured["dali_decode_only"])
            for name, values in measured.items()
            if name != "dali_decode_only"
        }
    return result
