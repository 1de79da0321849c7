"""Times the reduction kernels on a GPU, against the read bandwidth that the same GPU reaches.

Every kernel is first compared with NumPy; one that is wrong is not timed. Times are medians of CUDA event
times of the kernel alone; input sets rotate so that together they are far larger than the L2 cache.

    python -m benchmarks.kernels.lab                     # all cases, JSON on standard output
    python -m benchmarks.kernels.lab --only u8_c3 --out result.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gpustats.cuda.launcher import COMPILE_OPTIONS, LaunchPlan, Outputs, Reducer, kernel_source, plan_batch

HERE = Path(__file__).parent
ROTATED_BYTES = 2 * 2**30
REPEATS = 60

RAGGED = [(375, 500), (500, 375), (333, 500), (480, 640), (281, 375), (500, 497), (427, 640), (375, 501)] * 32
ONE_LARGE = [(18918, 18919)]


@dataclass(frozen=True)
class Case:
    """Images to reduce; `edits` are changes of the source, which make a variant of the shipped kernel."""

    name: str
    dtype: str = "uint8"
    channels: int = 3
    shapes: tuple[tuple[int, int], ...] = tuple(RAGGED)
    layout: str = "HWC"
    content: str = "natural"
    options: dict[str, Any] = field(default_factory=dict)
    edits: tuple[tuple[str, str], ...] = ()

    @property
    def nbytes(self) -> int:
        return sum(h * w for h, w in self.shapes) * self.channels * np.dtype(self.dtype).itemsize


LARGE = tuple(ONE_LARGE)
CASES = [
    *(Case(f"u8_c{c}_ragged", channels=c) for c in (1, 3, 4)),
    *(Case(f"u8_c{c}_large", channels=c, shapes=LARGE) for c in (1, 3, 4)),
    Case("u8_c3_planar_ragged", layout="CHW"),
    Case("u8_c13_ragged", channels=13),
    *(Case(f"u16_c{c}_ragged", "uint16", c) for c in (1, 3)),
    *(Case(f"f32_c{c}_ragged", "float32", c) for c in (1, 3)),
    Case("u8_c3_cross_ragged", options={"cross": True}),
    *(Case(f"u8_c3_histogram_{c}", content=c, options={"histogram": True}) for c in ("natural", "noise", "flat")),
    Case("u8_c3_histogram_large", shapes=LARGE, options={"histogram": True}),
    Case("u8_c3_cross_histogram_ragged", options={"cross": True, "histogram": True}),
    # Variants; NOTES.md says what each is expected to show.
    *(
        Case(f"variant_1_tile_{kib}_u8_c3_{kind}", shapes=shapes, options={"tile_bytes": kib * 1024})
        for kib in (9, 18, 36, 54)
        for kind, shapes in (("ragged", tuple(RAGGED)), ("large", LARGE))
    ),
    Case(
        "variant_2_extremes_32_bit_u8_c3_large",
        shapes=LARGE,
        edits=(("__CUDA_ARCH__ >= 900", "__CUDA_ARCH__ < 0"),),
    ),
    *(
        Case(
            f"variant_3_copies_{n}_histogram_{c}",
            content=c,
            options={"histogram": True},
            edits=(("4 ? 8 : 16", f"4 ? 8 : {n}"),),
        )
        for n in (1, 4, 8)
        for c in ("natural", "noise", "flat")
    ),
]


def why_not() -> str | None:
    """Why nothing can be measured on this machine, or None."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy is not installed ({error}); it comes with the extras [cuda12] and [cuda13]"
    try:
        if cupy.cuda.runtime.getDeviceCount():
            return None
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CUDA does not start: {error}"
    return "there is no CUDA device"


def device_facts() -> dict[str, Any]:
    import cupy

    facts = cupy.cuda.runtime.getDeviceProperties(0)
    return {
        "device": facts["name"].decode(),
        "compute_capability": f"{facts['major']}.{facts['minor']}",
        "multiprocessors": facts["multiProcessorCount"],
        "l2_bytes": facts["l2CacheSize"],
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
    }


def median_seconds(works: list[Any], repeats: int = REPEATS) -> float:
    """Median time of the callables, called in turn, by CUDA events around each; a first round warms up."""
    import cupy

    stream = cupy.cuda.get_current_stream()
    for work in works:
        work()
    # While this keeps the device busy, the host gets ahead: the events then never wait for a launch.
    filler = cupy.empty(2**30, cupy.uint8)
    for _ in range(40):
        filler.fill(0)
    events = []
    for k in range(max(repeats, len(works))):
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record(stream)
        works[k % len(works)]()
        end.record(stream)
        events.append((begin, end))
    stream.synchronize()
    return statistics.median(cupy.cuda.get_elapsed_time(*pair) for pair in events) / 1e3


def read_bandwidth(nbytes: int = 2**30) -> float:
    """Bytes a second that read.cu reads, at the best of a few grid sizes."""
    import cupy

    module = cupy.RawModule(code=(HERE / "read.cu").read_text(encoding="utf-8"), options=COMPILE_OPTIONS)
    read_all = module.get_function("read_all")
    rng = np.random.default_rng(0)
    host = rng.integers(0, 2**32, nbytes // 4, dtype=np.uint32)
    buffers = [cupy.asarray(host) for _ in range(max(2, ROTATED_BYTES // nbytes))]
    best = 0.0
    for blocks in (n * device_facts()["multiprocessors"] for n in (4, 8, 16, 32)):
        out = cupy.zeros(blocks, cupy.uint32)

        def work(buffer: Any, out: Any = out, blocks: int = blocks) -> None:
            read_all((blocks,), (256,), (buffer, np.uint64(nbytes // 16), out))

        work(buffers[0])
        expected = int(np.bitwise_xor.reduce(host))
        if int(np.bitwise_xor.reduce(cupy.asnumpy(out))) != expected:
            raise RuntimeError("read.cu does not read every byte; its time would mean nothing")
        seconds = median_seconds([lambda buffer=buffer: work(buffer) for buffer in buffers])
        best = max(best, nbytes / seconds)
    return best


def copy_bandwidth(nbytes: int = 2**30) -> float:
    """Bytes a second read and written by a copy on the device."""
    import cupy

    source = [cupy.ones(nbytes, cupy.uint8) for _ in range(2)]
    target = [cupy.empty(nbytes, cupy.uint8) for _ in range(2)]
    works = [lambda s=s, t=t: cupy.copyto(t, s) for s, t in zip(source, target, strict=True)]
    return 2 * nbytes / median_seconds(works)


def pixels_of(case: Case, seed: int) -> Any:
    """One packed buffer of the case's images, on the device; starts one element off a 16-byte address."""
    import cupy

    count = case.nbytes // np.dtype(case.dtype).itemsize
    rng = cupy.random.default_rng(seed)
    data = cupy.empty(count + 1, case.dtype)
    for at in range(0, count + 1, 2**27):
        part = data[at : at + 2**27]
        n = len(part)
        if case.content == "noise":
            values = rng.random(n, dtype=cupy.float32)
        elif case.content == "flat":
            values = cupy.full(n, 0.5, cupy.float32)
        else:  # neighbouring pixels nearly equal, as in photographs
            slow = cupy.sin((cupy.arange(n, dtype=cupy.float32) // case.channels) / 90)
            values = cupy.clip(0.5 + 0.35 * slow + 0.02 * rng.standard_normal(n, dtype=cupy.float32), 0, 1)
        top = 1 if case.dtype == "float32" else np.iinfo(case.dtype).max
        part[...] = (values * top).astype(case.dtype)
    return data


def plan_of(case: Case, data: Any) -> LaunchPlan:
    element = np.dtype(case.dtype).itemsize
    sizes = np.array([h * w * case.channels * element for h, w in case.shapes], np.uint64)
    # A pixel's channels must be reachable together for products of 2 or 4 channels: no odd start then.
    offset = element if case.channels in (1, 3) or not case.options else 0
    start = np.uint64(data.data.ptr + offset) + np.cumsum(sizes) - sizes
    heights, widths = zip(*case.shapes, strict=True)
    return plan_batch(start, heights, widths, case.channels, case.dtype, case.layout, **case.options)


def function_of(case: Case, plan: LaunchPlan) -> Any:
    import cupy

    code = kernel_source(plan.source)
    for old, new in case.edits:
        if old not in code:
            raise RuntimeError(f"{case.name}: {plan.source} no longer holds {old!r}")
        code = code.replace(old, new)
    return cupy.RawModule(code=code, options=COMPILE_OPTIONS).get_function(plan.kernel)


class _VariantReducer(Reducer):
    """A Reducer that launches a given function."""

    def __init__(self, function: Any) -> None:
        super().__init__(0)
        self._given = function

    def _function(self, source: str, kernel: str) -> Any:
        return self._given


def verify(case: Case, data: Any, moments: Outputs) -> None:
    """Compare with NumPy in wider numbers; raises RuntimeError on the first difference."""
    import cupy

    element = np.dtype(case.dtype).itemsize
    at = 1 if case.channels in (1, 3) or not case.options else 0
    for k, (height, width) in enumerate(case.shapes):
        size = height * width * case.channels
        image = cupy.asnumpy(data[at : at + size])
        at += size
        planes = image.reshape(-1, case.channels).T if case.layout == "HWC" else image.reshape(case.channels, -1)
        for c, plane in enumerate(planes):
            if case.dtype == "float32":
                away = plane.astype(np.float64) - moments.shift[k, c]
                same = np.isclose(moments.sum[k, c], away.sum(), rtol=1e-9, atol=1e-9 * len(away))
                same &= np.isclose(moments.sumsq[k, c], (away * away).sum(), rtol=1e-9)
            else:
                bins = np.bincount(plane, minlength=256 ** min(element, 2)).astype(object)
                value = np.arange(len(bins)).astype(object)
                same = moments.sum[k, c] == (bins * value).sum() and moments.sumsq[k, c] == (bins * value**2).sum()
                if moments.histogram is not None:
                    same &= np.array_equal(moments.histogram[k, c], bins.astype(np.uint64))
            same &= moments.min[k, c] == plane.min() and moments.max[k, c] == plane.max()
            if not same:
                raise RuntimeError(f"{case.name}: image {k}, channel {c} differs from NumPy; not timed")
        if moments.cross is not None:
            pairs = [(i, j) for i in range(case.channels) for j in range(i + 1, case.channels)]
            for pair, (i, j) in enumerate(pairs):
                if moments.cross[k, pair] != (planes[i].astype(np.uint64) * planes[j]).sum():
                    raise RuntimeError(f"{case.name}: image {k}, channels {i} and {j} differ from NumPy; not timed")


def time_case(case: Case, bandwidth: float) -> dict[str, Any]:
    """Verify the kernel on one input set, then time it over several."""
    import cupy

    sets = min(24, max(2, -(-ROTATED_BYTES // case.nbytes)))
    data = [pixels_of(case, seed) for seed in range(sets)]
    plans = [plan_of(case, d) for d in data]
    function = function_of(case, plans[0])
    stream = cupy.cuda.Stream()
    verify(case, data[0], _VariantReducer(function).launch(plans[0], stream).result())
    output = cupy.zeros(plans[0].buffer_bytes, cupy.uint8)
    tables = [cupy.asarray(plan.table) for plan in plans]

    def work(plan: LaunchPlan, table: Any) -> Any:
        arguments = plan.arguments(table.data.ptr, output.data.ptr)
        return lambda: function(plan.grid, (plan.block,), arguments)

    works = [work(plan, table) for plan, table in zip(plans, tables, strict=True)]
    if case.dtype == "float32":  # its tickets must be zero before each launch, so the clearing is timed, too
        clear = output[: plans[0].output_bytes]
        works = [lambda w=w: (clear.fill(0), w()) for w in works]
    seconds = median_seconds(works)
    rate = case.nbytes / seconds
    return {
        "kernel": plans[0].kernel,
        "bytes": case.nbytes,
        "tiles": plans[0].grid[0],
        "microseconds": seconds * 1e6,
        "terabytes_per_second": rate / 1e12,
        "share_of_read_bandwidth": rate / bandwidth,
    }


def time_peers(bandwidth: float) -> dict[str, Any]:
    """CuPy's own mean and std of one large RGB buffer: what one would write without these kernels."""
    import cupy

    case = Case("peer", shapes=LARGE)
    images = [pixels_of(case, seed)[1:].reshape(-1, 3) for seed in range(2)]
    results = {}
    for name, reduce in (("cupy.mean", cupy.mean), ("cupy.std", cupy.std)):
        seconds = median_seconds([lambda x=x, f=reduce: f(x, axis=0, dtype=cupy.float64) for x in images], 6)
        rate = case.nbytes / seconds
        results[name] = {"microseconds": seconds * 1e6, "share_of_read_bandwidth": rate / bandwidth}
    return results


def run(only: str = "") -> dict[str, Any]:
    """All figures as a dict that JSON can hold; needs a CUDA device."""
    if reason := why_not():
        raise RuntimeError(f"the kernel lab cannot run: {reason}")
    bandwidth = read_bandwidth()
    result: dict[str, Any] = {
        **device_facts(),
        "read_terabytes_per_second": bandwidth / 1e12,
        "copy_terabytes_per_second": copy_bandwidth() / 1e12,
        "cases": {},
    }
    for case in CASES:
        if only in case.name:
            try:
                result["cases"][case.name] = time_case(case, bandwidth)
            except RuntimeError as error:
                result["cases"][case.name] = {"error": str(error)}
    if only in "peers":
        result["peers"] = time_peers(bandwidth)
    return result


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels.lab", description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="run the cases whose name holds this text")
    parser.add_argument("--out", type=Path, help="write the JSON here instead of to standard output")
    options = parser.parse_args(arguments)
    if reason := why_not():
        print(f"The kernel lab cannot run: {reason}.", file=sys.stderr)
        return 1
    result = run(options.only)
    text = json.dumps(result, indent=2)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)
    return 1 if any("error" in case for case in result["cases"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
