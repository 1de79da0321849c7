"""Every statistic from the CUDA kernels, run on the CPU, against the CPU engine: the same columns bit for bit."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from benchmarks.stub_gpu import StubReducer, stubbed_gpu
from gpustats import DeviceError
from gpustats.cuda.outputs import Outputs, finish
from gpustats.cuda.tiles import LaunchPlan
from gpustats.definition import Definition
from gpustats.engines import device_arrays
from gpustats.engines.base import Outcome
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.device import open_engine
from gpustats.engines.gpu import GpuEngine
from gpustats.engines.gpu_batch import POISON
from gpustats.engines.tuning import Tuning
from gpustats.sources import Batch
from gpustats.statistics import STATISTICS, for_kind
from gpustats.statistics.base import Kind, Statistic
from gpustats.statistics.float_moments import FloatMoments
from gpustats.statistics.rows import Rows
from gpustats.statistics.totals import Totals
from tests.gpu import fake_dali
from tests.gpu.shim_reduce import ShimReducer
from tests.gpu.test_device_arrays import DeviceArray, on_device
from tests.gpu.test_engine import batch_of, fake, photos_of
from tests.images import encoded

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels"))
import kernel_shim
from kernel_shim import CpuDevice, why_not

needs_compiler = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
pytestmark = pytest.mark.xdist_group("cuda kernels on the CPU")

CHOICES = [
    ("moments", "histogram", "covariance"),
    ("moments", "histogram"),
    ("moments", "covariance"),
    ("moments",),
]


@pytest.fixture(scope="module")
def cpu_device(tmp_path_factory: pytest.TempPathFactory) -> CpuDevice:
    sources = ("moments.cu", "joint.cu", "strided.cu")
    return CpuDevice(tmp_path_factory.mktemp("kernels"), sources=sources)


def cpu_engine(statistics: tuple[str, ...]) -> CpuEngine:
    return CpuEngine(Definition(statistics=statistics), workers=1, max_pixels=10**9, memory=1 << 28)


def rows_of(outcomes: Iterable[Outcome]) -> Rows:
    """Return all rows in the order of their keys; nothing has failed."""
    parts = []
    for outcome in outcomes:
        assert outcome.failures == []
        parts.append(outcome.rows)
    rows = Rows.joined(parts)
    return rows.take(np.argsort(rows.keys))


def assert_same(ours: Rows, theirs: Rows) -> None:
    assert (ours.kind, list(ours.keys), list(ours.columns)) == (theirs.kind, list(theirs.keys), list(theirs.columns))
    for name, column in theirs.columns.items():
        assert ours.columns[name].dtype == column.dtype, name
        np.testing.assert_array_equal(ours.columns[name], column, name)
    assert ours.pack() == theirs.pack()


# -- the GPU engine
# ---------------------------------------------------------------------------------------------------------


def gpu_engine(reducer: ShimReducer, statistics: tuple[str, ...]) -> GpuEngine:
    return GpuEngine(
        tuning=Tuning(batch_size=4, threads=1, readers=2),
        cpu=cpu_engine(statistics),
        reducer=reducer,
        decode_device="cpu",
        device_id=None,
        device_name="no GPU",
        max_pixels=10**9,
        max_bytes=1 << 30,
        memory=1 << 26,
        statistics=statistics,
    )


@needs_compiler
@pytest.mark.parametrize("statistics", CHOICES, ids="+".join)
def test_the_gpu_engine(monkeypatch: pytest.MonkeyPatch, cpu_device: CpuDevice, statistics: tuple[str, ...]) -> None:
    fake(monkeypatch, lambda number, images: images)
    reducer = ShimReducer(cpu_device, statistics)
    engine = gpu_engine(reducer, statistics)
    images = photos_of(30)
    assert_same(rows_of(engine.outcomes(batch_of(images))), rows_of(cpu_engine(statistics).outcomes(batch_of(images))))
    assert engine.report()["images_by_decoder"] == {"dali-cpu": 30}
    kernel = "joint_u8_c3" + "_cross" * ("covariance" in statistics) + "_histogram" * ("histogram" in statistics)
    assert {plan.kernel for plan in reducer.plans} == {kernel if len(statistics) > 1 else "moments_u8_c3"}


@needs_compiler
@pytest.mark.parametrize("unwritten", [False, True])
def test_what_is_read_from_files(monkeypatch: pytest.MonkeyPatch, cpu_device: CpuDevice, unwritten: bool) -> None:
    """Bytes, formats and hashes are those of the CPU engine, beside the numbers of the kernel for the moments."""
    statistics = ("moments", "sizes", "duplicates")
    images = photos_of(30)
    images |= {"copy": images["photo003"], "grey": encoded(Image.new("L", (50, 40), 7))}
    fake(
        monkeypatch,
        lambda number, decoded: [
            np.full_like(x, POISON) if unwritten and i % 3 == 0 else x for i, x in enumerate(decoded)
        ],
    )
    reducer = ShimReducer(cpu_device, statistics)
    rows = rows_of(gpu_engine(reducer, statistics).outcomes(batch_of(images)))
    assert_same(rows, rows_of(cpu_engine(statistics).outcomes(batch_of(images))))
    assert {plan.kernel for plan in reducer.plans} == {"moments_u8_c3"}
    assert rows.columns["sizes.bytes"].tolist() == [len(images[key]) for key in sorted(images)]
    assert set(rows.columns["sizes.mode"].tolist()) == {b"RGB", b"L"}


def test_sharpness_is_refused_by_name() -> None:
    with stubbed_gpu(), pytest.raises(DeviceError, match="there is no CUDA kernel for the statistic 'sharpness'"):
        gpustats.compute("photos", device="gpu", statistics=["sharpness"])


def test_arrays_on_the_device_are_copied_for_their_hashes() -> None:
    images = [np.full((4, 5, 3), value, np.uint8) for value in (1, 2, 1)]
    stats = gpustats.compute(
        [on_device(image) for image in images], device="cpu", duplicates=True, statistics=["sizes"], layout="HWC"
    )
    assert stats.duplicates is not None
    assert list(stats.duplicates) == [("0", "2")]
    assert stats.sizes.modes == {"uint8 x 3": 3}


@needs_compiler
@pytest.mark.parametrize("statistics", CHOICES[:2], ids="+".join)
def test_bins_that_the_device_adds_up(
    monkeypatch: pytest.MonkeyPatch, cpu_device: CpuDevice, statistics: tuple[str, ...]
) -> None:
    """Images that the decoder did not write, or that are of that one colour, and those that the CPU refuses."""
    images = photos_of(30)
    images |= {f"black{i}": encoded(Image.new("RGB", (50 + i, 40))) for i in range(3)}
    images["torn"] = images["photo000"][: len(images["photo000"]) // 2] + b"\xff\xd9"

    def fault(number: int, decoded: list[np.ndarray]) -> list[np.ndarray]:
        return [np.full_like(image, POISON) if (number + i) % 5 == 0 else image for i, image in enumerate(decoded)]

    fake(monkeypatch, fault)
    decode = fake_dali.decode
    torn = np.ones(decode(images["photo000"]).shape, np.uint8)
    monkeypatch.setattr(fake_dali, "decode", lambda data: torn if data == images["torn"] else decode(data))
    images = {"torn": images.pop("torn"), **images}
    reducer = ShimReducer(cpu_device, statistics, per_image=False)
    found, failures, pooled = Totals(statistics), [], []
    for outcome in gpu_engine(reducer, statistics).outcomes(batch_of(images)):
        found.fold(outcome.rows)
        failures += outcome.failures
        pooled.append("histogram" in outcome.rows.folded)
        assert ("histogram.bins" in outcome.rows.columns) != pooled[-1] or not len(outcome.rows)
    assert sum(pooled) > 5, "the GPU's batches"
    assert not all(pooled), "what the CPU has done again"
    expected = Totals(statistics)
    for outcome in cpu_engine(statistics).outcomes(batch_of(images)):
        expected.fold(outcome.rows)
    assert [(failure.key, failure.reason) for failure in failures] == [("torn", "truncated")]
    assert found == expected
    assert all(plan.pooled for plan in reducer.plans)


@pytest.mark.parametrize(
    ("options", "per_image"),
    [
        ({}, False),
        ({"per_image": True}, True),
        ({"group_by": "folder"}, True),
        ({"group_by": str}, True),
        ({"checkpoint": "run.gpstats"}, True),
        ({"sample": 3}, False),
    ],
    ids=str,
)
def test_when_every_image_is_asked_for(
    options: dict[str, Any], per_image: bool, monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path
) -> None:
    asked = []

    def opened(*args: Any, **given: Any) -> Any:
        asked.append(given["per_image"])
        return open_engine(*args, **given)

    monkeypatch.setattr("gpustats.api.open_engine", opened)
    monkeypatch.chdir(tmp_path)
    gpustats.compute(photos, device="cpu", statistics=("histogram",), progress=False, **options)
    assert asked == [per_image]


def test_the_engine_is_told_whether_every_image_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Asked(StubReducer):
        def __init__(self, device_id: int, statistics: tuple[str, ...], per_image: bool) -> None:
            asked.append(per_image)
            super().__init__(device_id, statistics, per_image)

    with stubbed_gpu():
        monkeypatch.setattr("gpustats.engines.cuda_reduce.CudaReducer", Asked)
        for per_image in (True, False):
            open_engine("gpu", workers=1, max_pixels=10**6, per_image=per_image)
    assert asked == [True, False]


# -- arrays in GPU memory
# ---------------------------------------------------------------------------------------------------------


def arrays(channels: int, dtype: str, layout: str, start: int) -> list[DeviceArray]:
    """Return ragged images of shape (H, W, C) that lie side by side from `start` elements past a cache line on."""
    rng = np.random.default_rng((channels, start))
    shapes = [(1, 1), (1, 7), (3, 5), (16, 16), (13, 29), (40, 83), (2, 1), (7, 23)]
    batch = kernel_shim.Batch.random(rng, shapes, channels, dtype, layout, start=start * np.dtype(dtype).itemsize)
    return [on_device(image) for image in batch.stored()]


@needs_compiler
@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("dtype", "statistics"),
    [
        (dtype, names)
        for dtype in ("uint8", "uint16")
        for names in CHOICES
        if dtype == "uint8" or names[1:2] != ("histogram",)
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_arrays_on_the_device(
    cpu_device: CpuDevice, dtype: str, statistics: tuple[str, ...], channels: int, layout: str
) -> None:
    plans: list[LaunchPlan] = []

    def launch(device_id: int, plan: LaunchPlan) -> Outputs:
        plans.append(plan)
        return finish(plan, cpu_device.run(plan))

    for start in (0, 1, 5):
        images = arrays(channels, dtype, layout, start)
        keys = [f"image{i}" for i in range(len(images))]
        named = [(key, "", image) for key, image in zip(keys, images, strict=True)]
        parts, failures, others = device_arrays.measure(named, statistics, launch)
        assert (failures, others) == ([], [])
        on_host = Batch(keys, [""] * len(keys), [np.array(image) for image in images])
        assert_same(
            rows_of([Outcome(part, []) for part in parts]), rows_of(cpu_engine(statistics).outcomes(iter([on_host])))
        )
        assert len(plans) == len(parts), "one launch for all statistics"
        plans.clear()


@needs_compiler
def test_a_run_over_arrays_on_the_device(monkeypatch: pytest.MonkeyPatch, cpu_device: CpuDevice) -> None:
    monkeypatch.setattr(device_arrays, "_launch_with_cupy", lambda device_id, plan: finish(plan, cpu_device.run(plan)))
    array = np.random.default_rng(0).integers(0, 256, (20, 7, 9, 3), np.uint8)
    options: dict[str, Any] = {
        "statistics": ["histogram", "covariance"],
        "device": "cpu",
        "progress": False,
        "workers": 1,
    }
    stats = gpustats.compute(on_device(array), **options)
    assert stats.totals == gpustats.compute(array, **options).totals
    assert stats.totals["histogram"]["bins"][1] == np.bincount(array[..., 1].ravel(), minlength=256).tolist()


# -- a statistic without a kernel
# ---------------------------------------------------------------------------------------------------------


class Odd(Statistic):
    """Has no CUDA kernel."""

    name = "odd"


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Definition]:
    monkeypatch.setitem(STATISTICS, "odd", (Odd,))
    monkeypatch.setattr("gpustats.engines.device.gpu_problem", lambda device_id=0: None)
    for_kind.cache_clear()
    yield Definition(statistics=("moments", "odd"))
    for_kind.cache_clear()


def test_without_a_kernel_a_gpu_that_was_asked_for_is_an_error_before_the_first_image(odd: Definition) -> None:
    message = "device='cuda:0' cannot be used: there is no CUDA kernel for the statistic 'odd'"
    with pytest.raises(DeviceError, match=message):
        open_engine("cuda:0", definition=odd, workers=1, max_pixels=10**9)

    class NeverRead:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Any:
            raise AssertionError("an image was read")

    with pytest.raises(DeviceError, match="no CUDA kernel for the statistic 'odd'"):
        gpustats.compute(NeverRead(), statistics=["odd"], device="gpu", progress=False)


def test_without_a_kernel_auto_takes_the_cpu_and_says_why(odd: Definition, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "gpustats"):
        engine = open_engine("auto", definition=odd, workers=1, max_pixels=10**9)
    assert isinstance(engine, CpuEngine)
    assert "computing on the CPU: there is no CUDA kernel for the statistic 'odd'" in caplog.text


def test_without_a_kernel_arrays_on_the_device_are_refused(odd: Definition) -> None:
    def launch(device_id: int, plan: LaunchPlan) -> Outputs:
        raise AssertionError("a kernel was launched")

    image = on_device(np.ones((4, 5, 3), np.uint8))
    with pytest.raises(DeviceError, match=r"for the statistic 'odd'; copy arrays to main memory first \(\.get\(\)"):
        device_arrays.measure([("a", "", image)], odd.statistics, launch)


def test_sums_about_a_shift_that_cancel_give_no_negative_deviation() -> None:
    """Of equal floats, sumsq - sum * sum / n may come out a rounding error below zero."""
    statistic = FloatMoments(Kind(1, "float64"))
    total = np.array([[0.1 + 0.1 + 0.1]])
    squares = np.nextafter(total * total / 3, 0)
    assert squares - total * total / 3 < 0
    one = np.ones((1, 1), np.float32)
    columns = statistic.on_gpu(
        Outputs(
            np.array([3], np.uint64), total, squares, one, one,
            shift=np.zeros((1, 1)), nonfinite=np.zeros((1, 1), np.uint64),
        )
    )  # fmt: skip
    assert columns["deviation"].tolist() == [[0.0]]
    assert columns["mean"].tolist() == (total / 3).tolist()


@pytest.mark.parametrize("bad", [1, 2])
def test_an_image_with_values_that_are_not_finite_has_no_mean(bad: int) -> None:
    """Of two images, the second holds NaN or infinity; the sums are of its other values."""
    two = np.ones((2, 1))
    nonfinite = np.array([[0], [bad]], np.uint64)
    columns = FloatMoments(Kind(1, "float64")).on_gpu(
        Outputs(np.array([4, 4], np.uint64), two * 4, two * 4, two, two, shift=two * 0, nonfinite=nonfinite)
    )
    assert columns["mean"][0] == 1
    assert np.isnan(columns["mean"][1])
