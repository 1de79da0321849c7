"""Arrays in GPU memory, with the shipped kernels run on the CPU in the place of a device."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gpustats
from gpustats import AllImagesFailed, DataError, ImagesFailedWarning
from gpustats.cuda.outputs import Outputs, finish
from gpustats.cuda.tiles import LaunchPlan
from gpustats.engines import device_arrays

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels"))
from kernel_shim import CpuDevice, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


class Device:
    """Work on any of its streams is done when somebody waits for the device."""

    def __init__(self, number: int) -> None:
        self.id = number
        self.queued: list[Callable[[], None]] = []

    def synchronize(self) -> None:
        while self.queued:
            self.queued.pop(0)()


class DeviceArray(np.ndarray):
    """A NumPy array that looks like a CuPy array."""

    device = Device(0)  # type: ignore[assignment]
    data = property(lambda self: SimpleNamespace(ptr=self.ctypes.data))  # type: ignore[assignment]
    __cuda_array_interface__ = property(lambda self: self.__array_interface__)

    def get(self) -> np.ndarray:
        """Copy it to the host."""
        return np.array(self)


def on_device(array: np.ndarray) -> DeviceArray:
    return array.view(DeviceArray)


@pytest.fixture(scope="module")
def cpu_device(tmp_path_factory: pytest.TempPathFactory) -> CpuDevice:
    return CpuDevice(tmp_path_factory.mktemp("kernels"), sources=("moments.cu", "strided.cu", "float32.cu"))


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch, cpu_device: CpuDevice) -> list[LaunchPlan]:
    """Send launches to the CPU stand-in; the plans that were launched."""
    plans: list[LaunchPlan] = []
    one_at_a_time = threading.Lock()  # the stand-in has one "device"

    def launch(device_id: int, plan: LaunchPlan) -> Outputs:
        plans.append(plan)
        with one_at_a_time:
            return finish(plan, cpu_device.run(plan))

    monkeypatch.setattr(device_arrays, "_launch_with_cupy", launch)
    return plans


def run(data: Any, **options: Any) -> gpustats.Stats:
    return gpustats.compute(data, device="cpu", progress=False, workers=2, **options)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64"])
def test_values_that_are_still_being_made_are_waited_for(launches: list[LaunchPlan], dtype: str) -> None:
    """Streams of PyTorch are such that no other stream waits for them."""
    values = random((6, 20, 30, 3), dtype)
    array = on_device(np.zeros_like(values))
    array.device.queued.append(lambda: np.copyto(array, values))  # type: ignore[attr-defined]
    np.testing.assert_allclose(run(array, layout="NHWC").mean, run(values, layout="NHWC").mean, rtol=1e-9)


def random(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if dtype[0] == "u":
        return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return rng.normal(100, 20, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "layout"),
    [((20, 7, 9, 3), "NHWC"), ((20, 3, 7, 9), "NCHW"), ((20, 9, 9), "NHW"), ((6, 5, 4, 13), "NHWC")],
)
def test_the_same_result_as_in_main_memory(
    launches: list[LaunchPlan], dtype: str, shape: tuple[int, ...], layout: str
) -> None:
    array = random(shape, dtype)
    ours, theirs = run(on_device(array), layout=layout), run(array, layout=layout)
    if dtype[0] == "u":
        assert ours.totals == theirs.totals
    else:
        assert not ours.exact
        for a, b in [(ours.mean, theirs.mean), (ours.std, theirs.std), (ours.per_image.std, theirs.per_image.std)]:
            np.testing.assert_allclose(a, b, rtol=1e-12)
        np.testing.assert_array_equal(ours.max, theirs.max)
    assert bool(launches) == (dtype != "float64")


def test_planar_images_are_not_copied(launches: list[LaunchPlan]) -> None:
    array = on_device(random((4, 3, 6, 5), "uint8"))
    run(array)
    [plan] = launches
    first_address = int(plan.table[:8].view("u8")[0])
    assert array.ctypes.data <= first_address < array.ctypes.data + array.nbytes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_that_are_not_finite_are_left_out_on_the_host(launches: list[LaunchPlan], dtype: str) -> None:
    array = random((4, 6, 5, 3), dtype)
    array[1, 2, 2, 0] = np.nan
    array[3, 0, 0, 2] = np.inf
    stats, host = run(on_device(array)), run(array)
    assert len(launches) == (dtype == "float32")
    assert stats.totals["moments"]["n"] == host.totals["moments"]["n"] == [119, 120, 119]
    np.testing.assert_allclose(stats.std, host.std, rtol=1e-12)
    assert stats.runs[0]["images_by_decoder"] == {"none": 4}
    array[0] = np.nan
    with pytest.warns(ImagesFailedWarning):
        stats = run(on_device(array))
    assert [(f.key, f.reason) for f in stats.failures] == [("0", "unsupported")]
    assert stats.runs[0]["images_by_decoder"] == {"none": 3}


def test_what_no_kernel_does_is_done_on_the_host(launches: list[LaunchPlan]) -> None:
    array = random((4, 12, 10, 3), "uint8")
    for options in ({"nodata": 7}, {"crop": 5}, {"resize": 6}):
        assert run(on_device(array), **options).totals == run(array, **options).totals
    assert launches == []


def test_other_types_are_failures(launches: list[LaunchPlan]) -> None:
    with pytest.raises(AllImagesFailed, match="pixels of type complex64 are not measured"):
        run(on_device(np.ones((2, 5, 5, 3), np.complex64)))


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "int64"])
def test_integers_without_a_kernel_are_measured_on_the_cpu(dtype: str, launches: list[LaunchPlan]) -> None:
    array = random((3, 7, 9, 3), "uint8").astype(dtype)
    assert run(on_device(array)).totals["moments"] == run(array).totals["moments"]
    assert launches == []
    assert run(on_device(array)).runs[0]["images_by_decoder"] == {"none": 3}


def test_images_on_both_sides_are_pooled_and_others_refused(launches: list[LaunchPlan]) -> None:
    array = random((6, 7, 9, 3), "uint8")
    mixed = [image if i % 2 else on_device(image) for i, image in enumerate(array)]
    assert run(mixed).totals["moments"]["sumsq"] == run(array).totals["moments"]["sumsq"]
    with pytest.raises(DataError, match="cannot be pooled"):
        run([on_device(array[0]), on_device(array[1].astype(np.uint16))])


def test_images_of_several_kinds_on_both_sides(launches: list[LaunchPlan]) -> None:
    array = random((6, 7, 9, 3), "uint8")
    deep = array.astype(np.uint16) * 257
    images = [image if i % 3 else on_device(image) for i, image in enumerate([*array, *deep, *array[..., :1]])]
    results = run(images, kinds="separate")
    assert [(name, stats.n_images) for name, stats in results.items()] == [
        ("uint16 x 3", 6),
        ("uint8 x 1", 6),
        ("uint8 x 3", 6),
    ]
    assert results["uint8 x 3"].totals["moments"] == run(array).totals["moments"]
    assert results["uint16 x 3"].totals["moments"] == run(deep).totals["moments"]
    assert results["uint8 x 3"].runs[0]["images_by_decoder"] == {"none": 18}
    assert launches
