"""A GPU run in which something breaks at every step in turn: each image is counted once or listed, whatever breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gpustats import DeviceError
from gpustats.engines import dali
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.gpu import GpuEngine
from gpustats.engines.session import written
from gpustats.engines.tuning import Tuning
from gpustats.failures import Failure
from gpustats.sources import Batch
from gpustats.statistics.base import Columns
from tests.gpu.fake_dali import FakePipeline, TensorList
from tests.gpu.host_reduce import Done, HostReducer
from tests.images import encoded, photo

COUNT = 26
BATCH = 4
IMAGES = {f"p{i:02d}": encoded(photo(30 + i % 5, 40 + i % 3, seed=i)) for i in range(COUNT)}

OUT_OF_MEMORY = "cudaErrorMemoryAllocation: out of memory"


class Trouble:
    """Raises at the calls of one step that are named by their numbers, counted through all pipelines from 1."""

    def __init__(self, step: str, numbers: set[int], message: str = "broken", kind: type[Exception] = RuntimeError):
        self.step, self.numbers, self.message, self.kind = step, numbers, message, kind
        self.calls: Counter[str] = Counter()

    def at(self, step: str) -> None:
        self.calls[step] += 1
        if step == self.step and self.calls[step] in self.numbers:
            raise self.kind(self.message)


class Pending:
    """A launch that is finished when it is asked for. Where trouble comes then, it is lost, however often one asks."""

    def __init__(self, done: Done, trouble: Trouble) -> None:
        self._done, self._trouble = done, trouble
        self._error: Exception | None = None

    def result(self) -> Columns:
        try:
            if self._error is None:
                self._trouble.at("result")
        except Exception as error:  # noqa: BLE001 - whatever the trouble is
            self._error = error
        if self._error is not None:
            raise self._error
        return self._done.result()

    def folded(self, left_out: Any) -> Any:
        self._trouble.at("folded")
        return self._done.folded(left_out)


class TroubledReducer:
    name = "troubled"

    def __init__(self, trouble: Trouble) -> None:
        self._trouble, self._host = trouble, HostReducer()

    def launch(self, pointers: Any, heights: Any, widths: Any) -> Pending:
        self._trouble.at("launch")
        return Pending(self._host.launch(pointers, heights, widths), self._trouble)


class TroubledPipeline(FakePipeline):
    def __init__(self, source: Callable[[], list[Any]], prefetch: int, trouble: Trouble) -> None:
        trouble.at("build")
        super().__init__(source, prefetch, lambda number, images: images)
        self._trouble = trouble

    def run(self) -> tuple[TensorList]:
        outputs = super().run()
        self._trouble.at("run")
        return outputs


def gpu_engine(monkeypatch: pytest.MonkeyPatch, trouble: Trouble, **tuning: Any) -> GpuEngine:
    monkeypatch.setattr(
        dali, "build_pipeline", lambda source, tuning, *rest: TroubledPipeline(source, tuning.prefetch, trouble)
    )
    monkeypatch.setattr(dali, "dali_version", lambda: "fake")
    return GpuEngine(
        tuning=Tuning(**{"batch_size": BATCH, "threads": 1, "readers": 1, **tuning}),
        cpu=CpuEngine(workers=1, max_pixels=10**6, memory=1 << 28),
        reducer=TroubledReducer(trouble),
        decode_device="cpu",
        device_id=None,
        device_name="no GPU",
        max_pixels=10**6,
        max_bytes=1 << 24,
        memory=1 << 28,
    )


def source(*failures: Failure) -> Iterator[Batch]:
    keys = list(IMAGES)
    for start in range(0, COUNT, 10):
        some = keys[start : start + 10]
        yield Batch(some, ["g" + key for key in some], [IMAGES[key] for key in some], failures if not start else ())


def rows_of(engine: Any, batches: Iterator[Batch]) -> tuple[list[tuple[Any, ...]], list[Failure]]:
    rows, failures = [], []
    for outcome in engine.outcomes(batches):
        failures += outcome.failures
        r = outcome.rows
        for i, key in enumerate(r.keys):
            numbers = tuple(r.of("moments")[name][i].tolist() for name in ("sum", "sumsq", "min", "max"))
            rows.append((key, r.groups[i], int(r.height[i]), int(r.width[i]), *numbers))
    return sorted(rows), sorted(failures)


@pytest.fixture(scope="module")
def expected() -> list[tuple[Any, ...]]:
    rows, failures = rows_of(CpuEngine(workers=1, max_pixels=10**6, memory=1 << 28), source())
    assert (len(rows), failures) == (COUNT, [])
    return rows


@pytest.mark.parametrize("message", ["an illegal memory access", OUT_OF_MEMORY])
@pytest.mark.parametrize("prefetch", [1, 3])
@pytest.mark.parametrize("number", [1, 2, 4, 7])
@pytest.mark.parametrize("step", ["run", "launch", "result"])
def test_every_image_counts_once_whatever_breaks(
    monkeypatch: pytest.MonkeyPatch,
    expected: list[tuple[Any, ...]],
    step: str,
    number: int,
    prefetch: int,
    message: str,
) -> None:
    trouble = Trouble(step, {number}, message)
    engine = gpu_engine(monkeypatch, trouble, prefetch=prefetch)
    assert rows_of(engine, source()) == (expected, [])
    assert trouble.calls[step] >= number, "the trouble came"
    report = engine.report()
    assert sum(report["images_by_decoder"].values()) == COUNT
    assert "gpu_given_up" not in report


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError])
@pytest.mark.parametrize("numbers", [{2, 3}, {1, 2, 3}, {2, 4, 6}, set(range(3, 99))], ids=str)
@pytest.mark.parametrize("step", ["build", "run", "launch", "result"])
def test_every_image_counts_once_however_often_it_breaks(
    monkeypatch: pytest.MonkeyPatch,
    expected: list[tuple[Any, ...]],
    step: str,
    numbers: set[int],
    kind: type[Exception],
) -> None:
    if kind is MemoryError and step == "run":
        pytest.skip("DALI raises RuntimeError for want of memory")
    engine = gpu_engine(monkeypatch, Trouble(step, numbers, kind=kind))
    assert rows_of(engine, source()) == (expected, [])


def test_a_gpu_that_never_works_is_given_up_and_the_cpu_measures_all(
    monkeypatch: pytest.MonkeyPatch, expected: list[tuple[Any, ...]]
) -> None:
    for step in ("build", "run", "launch", "result"):
        engine = gpu_engine(monkeypatch, Trouble(step, set(range(1, 999)), f"\n  no {step}\nand more"))
        assert rows_of(engine, source()) == (expected, [])
        report = engine.report()
        assert report["gpu_given_up"] == f"no {step}"
        assert report["images_by_decoder"] == {"dali-cpu": 0, "simplejpeg": COUNT}


def test_success_in_between_starts_the_count_of_rebuilds_anew(
    monkeypatch: pytest.MonkeyPatch, expected: list[tuple[Any, ...]]
) -> None:
    engine = gpu_engine(monkeypatch, Trouble("run", {2, 3, 5, 6, 8, 9}), prefetch=1, batch_size=2)
    assert rows_of(engine, source()) == (expected, [])
    report = engine.report()
    assert report["pipelines_rebuilt"] == 3
    assert "gpu_given_up" not in report


def test_one_bad_batch_costs_no_pipeline(monkeypatch: pytest.MonkeyPatch, expected: list[tuple[Any, ...]]) -> None:
    engine = gpu_engine(monkeypatch, Trouble("run", {2, 4}))
    assert rows_of(engine, source()) == (expected, [])
    report = engine.report()
    assert (report["pipelines_rebuilt"], report["batches_retried"]) == (0, 2)
    assert report["images_by_decoder"] == {"dali-cpu": COUNT - 2 * BATCH, "simplejpeg": 2 * BATCH}


def test_failures_of_the_source_reach_the_result(
    monkeypatch: pytest.MonkeyPatch, expected: list[tuple[Any, ...]]
) -> None:
    cut = Failure("shard.tar", "truncated", "it ends early")
    lost = Failure("other.tar", "missing", "no such file")
    engine = gpu_engine(monkeypatch, Trouble("", set()))
    assert rows_of(engine, source(cut, lost)) == (expected, [lost, cut])
    only = iter([Batch([], [], [], (cut,)), Batch([], [], [])])
    assert rows_of(engine, only) == ([], [cut])


def test_the_report_of_a_run_without_trouble(monkeypatch: pytest.MonkeyPatch, expected: list[tuple[Any, ...]]) -> None:
    engine = gpu_engine(monkeypatch, Trouble("", set()))
    assert rows_of(engine, source()) == (expected, [])
    report = engine.report()
    assert report["engine"] == "gpu (decoding on the CPU)"
    assert report["device"] == "no GPU"
    assert report["decoders"]["dali-cpu"] == "fake"
    assert report["images_by_decoder"] == {"dali-cpu": COUNT}
    names = ("batches", "batches_retried", "pipelines_rebuilt", "out_of_memory", "not_written")
    assert [report[name] for name in names] == [7, 0, 0, 0, 0]
    assert report["spot_check"]["images"] == 3, "batches 1, 2 and 4 of 7"


def test_what_the_package_says_itself_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = gpu_engine(monkeypatch, Trouble("launch", {2}, "not to be hidden", DeviceError))
    with pytest.raises(DeviceError, match="not to be hidden"):
        rows_of(engine, source())


@pytest.mark.parametrize(
    ("low", "high", "fine"),
    [
        ([0, 0, 0], [0, 0, 0], False),
        ([165] * 3, [165] * 3, False),
        ([0, 0, 0], [0, 0, 1], True),
        ([165, 165, 164], [165, 165, 164], True),
        ([0, 165, 0], [0, 165, 0], True),
        ([7] * 3, [7] * 3, True),
        ([0, 0, 0], [255] * 3, True),
    ],
)
def test_only_poison_and_fresh_memory_count_as_not_written(low: list[int], high: list[int], fine: bool) -> None:
    columns = {"moments.min": np.array([low], np.uint8), "moments.max": np.array([high], np.uint8)}
    assert written(columns).tolist() == [fine]


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (RuntimeError("CUDA allocation failed: cudaErrorMemoryAllocation"), True),
        (RuntimeError("out of memory"), True),
        (RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: x"), True),
        (RuntimeError("std::bad_alloc"), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("1 GB"), True),
        (MemoryError(), True),
        (RuntimeError("an illegal memory access was encountered"), False),
    ],
)
def test_want_of_memory_is_told_by_type_or_text(error: BaseException, is_memory: bool) -> None:
    assert dali.is_out_of_memory(error) is is_memory
