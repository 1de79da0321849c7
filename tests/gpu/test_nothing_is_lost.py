"""An exception at any call that the GPU engine makes loses no image and puts no pixels under another key."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gpustats.engines import dali
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.feed import Feed
from gpustats.engines.gpu import GpuEngine
from gpustats.engines.spot_check import SpotCheck
from gpustats.sources import Batch
from tests.gpu.fake_dali import FakePipeline, Queue, Sample, Serials, TensorList
from tests.gpu.host_reduce import Done, HostReducer
from tests.gpu.test_engine import batch_of, engine_for, fake, photos_of
from tests.images import encoded, photo

IMAGES = photos_of(40)


class CompileException(Exception):
    """As CuPy raises it where a kernel does not compile: neither a RuntimeError nor a MemoryError."""


ERRORS: list[Callable[[], Exception]] = [
    lambda: RuntimeError("cudaErrorLaunchOutOfResources: too many resources requested for launch"),
    lambda: RuntimeError("cudaErrorLaunchFailure: unspecified launch failure"),
    lambda: MemoryError("out of memory allocating 1,024 bytes"),
    lambda: CompileException("nvrtc: error: cannot open source file"),
    lambda: AttributeError("module 'cupy' has no attribute 'cuda'"),
]


def measured(engine: GpuEngine | CpuEngine, batches: Iterator[Batch]) -> tuple[list[Any], list[str]]:
    """Return every row with its key, and the keys of the failures."""
    rows: list[Any] = []
    failures: list[str] = []
    for outcome in engine.outcomes(batches):
        columns = outcome.rows.of("moments")
        numbers = (columns[name].tolist() for name in ("sum", "sumsq", "min")) if columns else ()
        rows += zip(outcome.rows.keys, *numbers, strict=True)
        failures += [failure.key for failure in outcome.failures]
    return sorted(rows), sorted(failures)


@pytest.fixture(scope="module")
def expected() -> tuple[list[Any], list[str]]:
    return measured(CpuEngine(workers=2, max_pixels=10**9, memory=1 << 28), batch_of(IMAGES))


class LateResult:
    """A launch whose result is asked for later, as on a device."""

    def __init__(self, done: Done) -> None:
        self._done = done

    def result(self) -> Any:
        return self._done.result()

    def folded(self, left_out: Any) -> Any:
        return self._done.folded(left_out)


def launch_late(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = HostReducer.launch
    monkeypatch.setattr(HostReducer, "launch", lambda *args: LateResult(launch(*args)))


def inject(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, fails: Callable[[int], bool], error: Callable[[], Exception]
) -> list[int]:
    """Make the calls for whose number `fails` is true raise; return a list that grows with every raise."""
    original = getattr(owner, name)
    calls = itertools.count(1)
    raised: list[int] = []

    def call(*args: Any, **options: Any) -> Any:
        number = next(calls)
        if fails(number):
            raised.append(number)
            raise error()
        return original(*args, **options)

    monkeypatch.setattr(owner, name, call)
    return raised


CALLS = {
    "pipeline.run": (FakePipeline, "run"),
    "build_pipeline": (dali, "build_pipeline"),
    "feed.is_too_large": (Feed, "is_too_large"),
    "feed.recycle": (Feed, "recycle"),
    "serials.as_array": (Serials, "as_array"),
    "pixels.shape": (TensorList, "shape"),
    "pixels[i]": (TensorList, "__getitem__"),
    "data_ptr": (Sample, "data_ptr"),
    "reducer.launch": (HostReducer, "launch"),
    "pending.result": (LateResult, "result"),
    "pending.folded": (LateResult, "folded"),
    "spot_check.passes": (SpotCheck, "passes"),
}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error()).partition(" ")[0])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fails", [*range(1, 12), "always", "from the fourth on", "every second"])
def test_an_exception_at_any_call(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    expected: tuple[list[Any], list[str]],
    call: str,
    fails: int | str,
    error: Callable[[], Exception],
) -> None:
    caplog.set_level(logging.ERROR, "gpustats")
    fake(monkeypatch, lambda number, images: images)
    launch_late(monkeypatch)
    condition: Callable[[int], bool] = {
        "always": lambda number: True,
        "from the fourth on": lambda number: number >= 4,
        "every second": lambda number: number % 2 == 0,
    }.get(str(fails), lambda number: number == fails)
    owner, name = CALLS[call]
    raised = inject(monkeypatch, owner, name, condition, error)
    engine = engine_for()
    assert measured(engine, batch_of(IMAGES)) == expected
    report = engine.report()
    if fails == "always":
        assert raised
        assert "gpu_given_up" in report or call == "feed.recycle", "only a batch that counted is recycled"
    if raised:
        assert report["pipelines_rebuilt"] + report["batches_retried"] > 0 or "gpu_given_up" in report
    assert report["images_by_decoder"]["dali-cpu"] + report["images_by_decoder"].get("simplejpeg", 0) == len(IMAGES)


def injected_run(seed: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the engine with exceptions at several calls, of several kinds, as the seed says; return how many there were.

    Raises
    ------
    AssertionError
        Where an image is lost, counted twice, or has the numbers of another.
    """
    rng = np.random.default_rng(seed)
    fake(monkeypatch, lambda number, images: images)
    launch_late(monkeypatch)
    images = dict(itertools.islice(IMAGES.items(), int(rng.integers(1, len(IMAGES) + 1))))
    raised = []
    calls = list(CALLS.values())
    if seed % 2:  # one exception at one call
        owner, name = calls[rng.integers(len(calls))]
        place, error = int(rng.integers(1, 16)), ERRORS[rng.integers(len(ERRORS))]
        raised.append(inject(monkeypatch, owner, name, lambda number: number == place, error))
    else:
        share = rng.choice([0.02, 0.1, 0.4])
        for owner, name in calls:
            error = ERRORS[rng.integers(len(ERRORS))]
            raised.append(inject(monkeypatch, owner, name, lambda number: bool(rng.random() < share), error))
    engine = engine_for(
        batch_size=int(rng.integers(1, 9)), prefetch=int(rng.integers(1, 4)), readers=int(rng.integers(1, 4))
    )
    assert measured(engine, batch_of(images)) == on_cpu(images), f"seed {seed}"
    return sum(map(len, raised))


def on_cpu(images: dict[str, bytes]) -> tuple[list[Any], list[str]]:
    rows, failures = expected_of_all()
    return [row for row in rows if row[0] in images], failures


@functools.cache
def expected_of_all() -> tuple[list[Any], list[str]]:
    return measured(CpuEngine(workers=2, max_pixels=10**9, memory=1 << 28), batch_of(IMAGES))


@pytest.mark.parametrize("seed", range(60))
def test_exceptions_at_several_calls(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    """More of them: ``python -m tests.gpu.injected --runs 5000``."""
    caplog.set_level(logging.ERROR, "gpustats")
    injected_run(seed, monkeypatch)


def test_pixels_of_a_stopped_run_stay_until_their_kernel_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that was launched reads the pixels and writes over them, whether or not somebody wants its sums."""
    fake(monkeypatch, lambda number, images: images)
    launch = HostReducer.launch
    running: set[LateResult] = set()

    class Running(LateResult):
        def result(self) -> Any:
            running.discard(self)
            return super().result()

    def launch_late(*args: Any) -> LateResult:
        pending = Running(launch(*args))
        running.add(pending)
        return pending

    monkeypatch.setattr(HostReducer, "launch", launch_late)

    def endless() -> Iterator[Batch]:
        while True:
            yield from batch_of(IMAGES)

    outcomes = engine_for().outcomes(endless())
    next(outcomes)
    outcomes.close()
    assert not running


def lose(number: int, queue: Queue) -> None:
    if number == 3:
        queue.pop()


def lose_always(number: int, queue: Queue) -> None:
    if number % 3 == 2:
        queue.pop()


def reverse(number: int, queue: Queue) -> None:
    queue.reverse()


def repeat(number: int, queue: Queue) -> None:
    if number == 3:
        queue.append(queue[-1])


def merge(number: int, queue: Queue) -> None:
    if number == 4 and len(queue) > 1:
        (first, some), (second, others) = queue[-2:]
        queue[-2:] = [(first[:2] + second[2:], np.concatenate([some[:2], others[2:]])), (second, others)]


def exchange(number: int, queue: Queue) -> None:
    images, numbers = queue[-1]
    queue[-1] = (images[::-1], numbers[::-1])


@pytest.mark.parametrize("disorder", [lose, lose_always, reverse, repeat, merge, exchange])
@pytest.mark.parametrize("prefetch", [1, 2, 3])
def test_batches_in_another_order_than_they_were_fed_in(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, disorder: Any, prefetch: int
) -> None:
    """Images of one size: the shapes do not tell them apart."""
    caplog.set_level(logging.ERROR, "gpustats")
    images = {f"photo{i:03d}": encoded(photo(40, 50, seed=i)) for i in range(40)}
    expected = measured(CpuEngine(workers=2, max_pixels=10**9, memory=1 << 28), batch_of(images))
    fake(monkeypatch, lambda number, images: images, disorder=disorder)
    launch_late(monkeypatch)
    assert measured(engine_for(prefetch=prefetch), batch_of(images)) == expected


def test_an_error_of_another_batch_than_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """DALI gives no more than an error: the oldest is taken for it, and the others keep their pixels."""
    failed: list[int] = []

    def fail_late(number: int, queue: Queue) -> None:
        if number == 5 and not failed:
            failed.append(number)
            queue.pop()
            raise RuntimeError("Critical error in pipeline")

    images = {f"photo{i:03d}": encoded(photo(40, 50, seed=i)) for i in range(40)}
    expected = measured(CpuEngine(workers=2, max_pixels=10**9, memory=1 << 28), batch_of(images))
    fake(monkeypatch, lambda number, images: images, disorder=fail_late)
    engine = engine_for(prefetch=3)
    assert measured(engine, batch_of(images)) == expected
    report = engine.report()
    assert report["outputs_dropped"] == 1
    assert report["batches_retried"] == 2
    assert report["pipelines_rebuilt"] == 1
