"""Which engine and settings are taken, and what is said about a device that cannot be used."""

from __future__ import annotations

import importlib
import logging
import sys
import types
from typing import Any

import pytest

from gpustats import DeviceError, OptionError
from gpustats.engines import device
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.device import gpu_problem, open_engine
from gpustats.engines.gpu import GpuEngine
from gpustats.engines.isolated import IsolatedEngine
from gpustats.engines.tuning import Tuning, choose


class _CudaError(RuntimeError):
    pass


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """A CuPy with two devices, and a DALI that can be imported."""

    def count() -> int:
        if fake.error is not None:
            raise fake.error
        return int(fake.devices)

    def properties(number: int) -> dict[str, bytes]:
        return {"name": f"NVIDIA Fake {number}".encode()}

    fake = types.SimpleNamespace(devices=2, error=None, driver=13020)
    cupy: Any = types.ModuleType("cupy")
    runtime = types.SimpleNamespace(
        getDeviceCount=count,
        getDeviceProperties=properties,
        CUDARuntimeError=_CudaError,
        driverGetVersion=lambda: fake.driver,
        runtimeGetVersion=lambda: 13020,
    )
    cupy.cuda = types.SimpleNamespace(runtime=runtime)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    nvidia: Any = types.ModuleType("nvidia")
    nvidia.dali = types.ModuleType("nvidia.dali")
    monkeypatch.setitem(sys.modules, "nvidia", nvidia)
    monkeypatch.setitem(sys.modules, "nvidia.dali", nvidia.dali)
    monkeypatch.setattr(GpuEngine, "problem", lambda self: None)
    fake.cupy, fake.modules = cupy, monkeypatch
    return fake


class FakeReducer:
    name = "fake"

    def __init__(self, device_id: int, statistics: tuple[str, ...], per_image: bool) -> None:
        self.device_id = device_id


def engine(name: str, **options: Any) -> Any:
    return open_engine(name, **{"workers": 3, "max_pixels": 1000, "memory": "1GB", **options})


def test_a_device_that_is_there_has_no_problem(cuda: types.SimpleNamespace) -> None:
    assert gpu_problem() is None
    assert gpu_problem(1) is None
    assert gpu_problem(2) == "there is no CUDA device 2: CUDA sees 2"
    cuda.devices = 0
    assert gpu_problem(0) == "there is no CUDA device 0: CUDA sees 0"


@pytest.mark.parametrize(("module", "name"), [("cupy", "CuPy"), ("nvidia", "DALI"), ("nvidia.dali", "DALI")])
def test_a_package_that_is_missing_is_named(cuda: types.SimpleNamespace, module: str, name: str) -> None:
    """Other packages of NVIDIA, such as NVRTC, are in ``nvidia`` too."""
    cuda.modules.delitem(sys.modules, "nvidia.dali")
    cuda.modules.setitem(sys.modules, module, None)
    problem = gpu_problem()
    assert problem is not None
    assert problem.startswith(f"{name} is not installed; pip install '.[cuda")


@pytest.mark.parametrize(("module", "name"), [("cupy", "CuPy"), ("nvidia.dali", "DALI")])
@pytest.mark.parametrize(
    "error",
    [
        ImportError("libnvrtc.so.13: cannot open shared object file\nmore"),
        OSError("libnvrtc.so.13: cannot open shared object file"),
        RuntimeError("libnvrtc.so.13: cannot open shared object file"),
        ModuleNotFoundError("libnvrtc.so.13: cannot open shared object file", name="numpy"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_package_that_is_broken_is_named_with_its_error(
    cuda: types.SimpleNamespace, module: str, name: str, error: Exception
) -> None:
    real = importlib.import_module

    def load(wanted: str) -> Any:
        if wanted == module:
            raise error
        return real(wanted)

    cuda.modules.setattr(importlib, "import_module", load)
    problem = gpu_problem()
    assert problem is not None
    start = f"{name} cannot be loaded (libnvrtc.so.13: cannot open shared object file); pip install '.[cuda"
    assert problem.startswith(start)


@pytest.mark.parametrize(
    ("driver", "added"),
    [
        (13020, ""),
        (13000, ""),
        (14000, ""),
        (
            12090,
            "; the driver supports CUDA 12.9, CuPy was built for 13.2: update the driver or pip install '.[cuda13]'",
        ),
        (12000, "; the driver supports CUDA 12.0, CuPy was built for 13.2: update the driver or pip install '.["),
        (0, "; there is no NVIDIA driver"),
    ],
)
def test_a_driver_that_does_not_answer(cuda: types.SimpleNamespace, driver: int, added: str) -> None:
    cuda.error = _CudaError("cudaErrorInsufficientDriver: too old")
    cuda.driver = driver
    problem = gpu_problem()
    assert problem is not None
    start = f"CUDA reports no usable device (cudaErrorInsufficientDriver: too old){added}"
    assert problem.startswith(start)
    assert added or problem == start


@pytest.mark.parametrize(("name", "number"), [("gpu", 0), ("cuda", 0), ("gpu:0", 0), ("cuda:1", 1), ("gpu:1", 1)])
def test_a_gpu_that_is_asked_for_is_taken(cuda: types.SimpleNamespace, name: str, number: int) -> None:
    cuda.modules.setattr("gpustats.engines.cuda_reduce.CudaReducer", FakeReducer)
    opened = engine(name)
    assert isinstance(opened, GpuEngine)
    cuda.modules.setattr("gpustats.engines.dali.dali_version", lambda: "9.9")
    report = opened.report()
    assert (report["engine"], report["device"]) == ("gpu", f"NVIDIA Fake {number}")
    assert report["decoders"]["dali-nvjpeg"] == "9.9"
    assert report["images_by_decoder"] == {"dali-nvjpeg": 0}
    assert opened.max_bytes == CpuEngine(workers=3, max_pixels=1000, memory=1 << 30).max_bytes
    assert opened._reducer.device_id == number  # type: ignore[attr-defined]
    assert opened._device_id == number


def test_auto_takes_the_gpu_where_there_is_one(cuda: types.SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    cuda.modules.setattr("gpustats.engines.cuda_reduce.CudaReducer", FakeReducer)
    with caplog.at_level(logging.INFO, "gpustats"):
        assert isinstance(engine("auto"), GpuEngine)
        assert caplog.messages == []
        assert type(engine("cpu")) is CpuEngine
        assert caplog.messages == [], "the CPU was asked for: nothing to explain"
        cuda.devices = 0
        assert type(engine("auto")) is CpuEngine
    assert caplog.messages == ["gpustats: computing on the CPU: there is no CUDA device 0: CUDA sees 0"]


@pytest.mark.parametrize("name", ["gpu", "cuda", "cuda:5"])
def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(cuda: types.SimpleNamespace, name: str) -> None:
    cuda.devices = 0
    number = name.partition(":")[2] or "0"
    with pytest.raises(DeviceError) as caught:
        engine(name)
    assert str(caught.value) == (f"device={name!r} cannot be used: there is no CUDA device {number}: CUDA sees 0")


@pytest.mark.parametrize("name", ["tpu", "", "gpu:", "cuda:x", "cuda:-1", "CPU", "mygpu", "gpu:0:1", None, 0])
def test_unknown_devices(name: Any) -> None:
    with pytest.raises(OptionError) as caught:
        engine(name)
    assert str(caught.value) == f"device should be 'auto', 'cpu', 'gpu' or 'cuda:N', got {name!r}"


def test_isolated_decoding_is_done_on_the_cpu(cuda: types.SimpleNamespace) -> None:
    for name in ("auto", "cpu"):
        opened = engine(name, isolate=True)
        assert isinstance(opened, IsolatedEngine)
        assert opened.report()["device"] == "cpu (3 processes)"
    assert engine("cpu", isolate=True, workers=1).report()["device"] == "cpu (1 process)"
    assert engine("cpu", isolate=True).report()["isolated"] is True
    with pytest.raises(DeviceError, match="device='gpu' cannot be used: isolate=True decodes on the CPU"):
        engine("gpu", isolate=True)


def test_workers_are_the_usable_cores_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "usable_cpus", lambda: 11)
    assert engine("cpu", workers=None).report()["device"] == "cpu (11 threads)"
    assert engine("cpu", workers=2).report()["device"] == "cpu (2 threads)"


def test_the_limit_of_memory_reaches_the_engine() -> None:
    assert engine("cpu", max_pixels=10**9, memory="64MiB").max_bytes == 32 << 20
    assert engine("cpu", max_pixels=10**9, memory="1GiB").max_bytes == (1 << 30) - (256 << 20)


# -- settings
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("batch_size", [1, 10**6], [0, -1, 1.0, "3", None, True]),
        ("batch_bytes", [1], [0, 2.5]),
        ("threads", [1], [0]),
        ("readers", [1], [0]),
        ("hw_decoder_load", [0, 0.0, 0.5, 1, 1.0], [-0.1, 1.01, "all", None]),
        ("hybrid_huffman_threshold", [0, 10**9], [-1, 0.5]),
        ("preallocate_width_hint", [0, 640], [-1, 0.5]),
        ("preallocate_height_hint", [0, 480], [-1, 0.5]),
        ("prefetch", [1], [0]),
        ("cpu_workers", [0, 3], [-1, 0.5]),
        ("max_gpu_pixels", [1], [0]),
    ],
)
def test_each_setting_at_its_limits(name: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert getattr(choose("any", 4, {name: value}), name) == value
    for value in bad:
        with pytest.raises(ValueError, match=rf"gpu_options: {name} should be a number of at least [01], got"):
            choose("any", 4, {name: value})


def test_every_setting_has_a_case() -> None:
    mark = next(m for m in test_each_setting_at_its_limits.pytestmark if m.name == "parametrize")  # type: ignore[attr-defined]
    assert [case[0] for case in mark.args[1]] == list(Tuning.__dataclass_fields__)


def test_settings_found_for_a_device_are_taken_by_part_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.engines.tuning._MEASURED", {"H200": Tuning(threads=9), "A10": Tuning(threads=5)})
    assert choose("NVIDIA H200", 64).threads == 9
    assert choose("NVIDIA A10G", 64, {"prefetch": 4}) == Tuning(threads=5, prefetch=4)
    assert choose("another", 64).threads == 63


@pytest.mark.parametrize("where", ["device_name", "CudaReducer"])
def test_a_device_that_cannot_be_opened(cuda: types.SimpleNamespace, where: str) -> None:
    def broken(*arguments: Any) -> Any:
        raise RuntimeError("cudaErrorECCUncorrectable: uncorrectable ECC error encountered")

    cuda.modules.setattr("gpustats.engines.cuda_reduce.CudaReducer", FakeReducer)
    cuda.modules.setattr(f"gpustats.engines.cuda_reduce.{where}", broken)
    with pytest.raises(DeviceError, match=r"cannot be used: CUDA device 1 cannot be opened: cudaErrorE"):
        engine("cuda:1")
    opened = engine("auto")
    assert type(opened) is CpuEngine
    assert opened.report()["gpu_not_used"].startswith("CUDA device 0 cannot be opened: cudaErrorECC")


def test_a_gpu_that_fails_its_trial(cuda: types.SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    cuda.modules.setattr("gpustats.engines.cuda_reduce.CudaReducer", FakeReducer)
    cuda.modules.setattr(GpuEngine, "problem", lambda self: "DALI cannot decode a JPEG: no")
    with pytest.raises(DeviceError, match=r"^device='gpu' cannot be used: DALI cannot decode a JPEG: no$"):
        engine("gpu")
    with caplog.at_level(logging.INFO, "gpustats"):
        opened = engine("auto")
    assert caplog.messages == ["gpustats: computing on the CPU: DALI cannot decode a JPEG: no"]
    assert opened.report()["gpu_not_used"] == "DALI cannot decode a JPEG: no"
    assert "gpu_not_used" not in engine("cpu").report(), "the CPU was asked for"


def test_wrong_settings_are_an_error_of_the_user_on_a_gpu_that_works(cuda: types.SimpleNamespace) -> None:
    cuda.modules.setattr("gpustats.engines.cuda_reduce.CudaReducer", FakeReducer)
    with pytest.raises(ValueError, match="unknown setting 'bach_size'"):
        engine("auto", gpu_options={"bach_size": 3})


@pytest.mark.parametrize(("name", "required"), [("gpu", True), ("cuda:1", True), ("auto", False)])
def test_a_gpu_that_was_asked_for_is_required(cuda: types.SimpleNamespace, name: str, required: bool) -> None:
    cuda.modules.setattr("gpustats.engines.cuda_reduce.CudaReducer", FakeReducer)
    assert engine(name)._required is required
