"""Which engine runs: the device that was asked for, and what stands in its way."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Mapping
from typing import Any

from gpustats.definition import Definition
from gpustats.engines.base import Engine
from gpustats.engines.gpu_batch import KIND
from gpustats.engines.masks import Masks
from gpustats.engines.on_gpu import kernel_problem
from gpustats.errors import DeviceError, OptionError, first_line
from gpustats.install import pip_install
from gpustats.limits.machine import usable_cpus
from gpustats.limits.memory import memory_in_flight
from gpustats.wording import named, option

__all__ = ["gpu_problem", "open_engine"]

_DEFAULT = Definition()

log = logging.getLogger("gpustats")

_DEVICE = re.compile(r"(?:gpu|cuda)(?::(\d+))?")


def open_engine(
    device: str,
    *,
    definition: Definition = _DEFAULT,
    workers: int | None,
    max_pixels: int,
    memory: str | float | None = None,
    isolate: bool = False,
    gpu_options: Mapping[str, int | float] | None = None,
    masks: Masks | None = None,
    per_image: bool = True,
    separate: bool = False,
) -> Engine:
    """Return the engine for a device.

    Parameters
    ----------
    device : str
        ``"auto"``, ``"cpu"``, ``"gpu"``, ``"cuda"`` or ``"cuda:1"``. ``"auto"`` takes the GPU where CuPy, DALI and a
        device are there and measure a few test images right, else the CPU, and says why in one line of the log
        ``gpustats`` and in the provenance of the result, as ``gpu_not_used``.
    definition : Definition
        What is measured.
    workers : int or None
        CPU threads; by default the cores that the process may use.
    max_pixels : int
        Limit of an image.
    memory : str, int or float, optional
        What the process should stay below on the host; see `gpustats.limits.memory.parse_memory`.
    isolate : bool
        Decode in processes of their own, which is done on the CPU: ``"auto"`` then takes the CPU.
    gpu_options : mapping, optional
        Settings of `gpustats.engines.tuning.Tuning` by name.
    masks : Masks, optional
        Which pixels count; these are left out on the CPU, by this process.
    per_image : bool
        Whether the rows of images are used one by one, as by groups, a table or a checkpoint; if not, the GPU adds up
        the bins of a batch.
    separate : bool
        Whether images of different kinds have rows of their own; if not, they are an error.

    Raises
    ------
    DeviceError
        Where a GPU was asked for and cannot be used or has no kernel for a statistic.
    OptionError
        Where `device`, `max_pixels` or `memory` has a value that is not supported.
    """
    if not isinstance(max_pixels, int) or max_pixels < 1:
        raise OptionError(f"{named('max_pixels')} should be a positive integer, got {max_pixels!r}")
    match = _DEVICE.fullmatch(device) if isinstance(device, str) else None
    if match is None and device not in ("auto", "cpu"):
        raise OptionError(f"{named('device')} should be 'auto', 'cpu', 'gpu' or 'cuda:N', got {device!r}")
    threads = workers or usable_cpus()
    in_flight = memory_in_flight(memory)
    if isolate:
        if match:
            raise DeviceError(
                f"{option('device', device)} cannot be used: {option('isolate', True)} decodes on the CPU"
            )
        from gpustats.engines.isolated import IsolatedEngine

        return IsolatedEngine(definition, workers=threads, max_pixels=max_pixels, memory=in_flight)
    problem: str | None = None
    if device != "cpu":
        device_id = int(match[1] or 0) if match else 0
        gpu = _open_gpu(
            device_id,
            definition,
            threads,
            max_pixels,
            in_flight,
            gpu_options,
            per_image,
            separate,
            required=match is not None,
        )
        if not isinstance(gpu, str):
            return gpu
        problem = gpu
        if match:
            raise DeviceError(f"{option('device', device)} cannot be used: {problem}")
        log.info("gpustats: computing on the CPU: %s", problem)
    from gpustats.engines.cpu import CpuEngine

    return CpuEngine(
        definition,
        workers=threads,
        max_pixels=max_pixels,
        memory=in_flight,
        masks=masks,
        gpu_not_used=problem,
        separate=separate,
    )


def gpu_problem(device_id: int = 0) -> str | None:
    """Return why CUDA device `device_id` cannot be used, None where it can."""
    for module, name in (("cupy", "CuPy"), ("nvidia.dali", "DALI")):
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a broken installation raises anything; it is told, not hidden
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            if missing and f"{module}.".startswith(f"{missing}."):
                return f"{name} is not installed; {_install()}"
            return f"{name} cannot be loaded ({first_line(error)}); {_install()}"
    import cupy

    runtime = cupy.cuda.runtime
    try:
        count = int(runtime.getDeviceCount())
    except runtime.CUDARuntimeError as error:
        return f"CUDA reports no usable device ({error}){_driver(runtime)}"
    if device_id >= count:
        return f"there is no CUDA device {device_id}: CUDA sees {count}"
    return None


def _driver(runtime: Any) -> str:
    """Return which CUDA the driver supports and which CuPy was built for, where the driver is older."""
    try:
        driver, built = int(runtime.driverGetVersion()), int(runtime.runtimeGetVersion())
    except Exception:  # noqa: BLE001 - only an addition to a message
        return ""
    if not driver:
        return "; there is no NVIDIA driver"
    if driver // 1000 >= built // 1000:
        return ""
    found, needed = (f"{version // 1000}.{version % 1000 // 10}" for version in (driver, built))
    return f"; the driver supports CUDA {found}, CuPy was built for {needed}: update the driver or {_install()}"


def _cpu_only(definition: Definition) -> str | None:
    """Return what the GPU engine does not do."""
    if definition.mode != "RGB":
        return f"{option('mode', definition.mode)} is decoded on the CPU"
    if definition.transform != "none":
        return f"images are transformed on the CPU ({definition.transform})"
    if definition.pages != "first":
        return f"{option('pages', definition.pages)} is decoded on the CPU"
    if definition.value_range:
        return f"values are compared with {option('value_range', definition.value_range)} on the CPU"
    if definition.nodata or definition.nodata_tag:
        return "values that stand for no data are left out on the CPU"
    if definition.histogram_range:
        return f"{named('histogram_range')} is for float images, which are counted on the CPU"
    if definition.mask != "none" or definition.alpha != "drop":
        return "pixels are masked on the CPU"
    return "images are turned by their EXIF orientation on the CPU" if definition.exif_transpose else None


def _install() -> str:
    return f"{pip_install('cuda13')} (or [cuda12] for CUDA 12)"


def _open_gpu(
    device_id: int,
    definition: Definition,
    workers: int,
    max_pixels: int,
    memory: int,
    options: Mapping[str, int | float] | None,
    per_image: bool,
    separate: bool,
    *,
    required: bool,
) -> Engine | str:
    """Return the engine, or what does not work on the GPU."""
    problem = _cpu_only(definition) or kernel_problem(definition.statistics, KIND) or gpu_problem(device_id)
    if problem is not None:
        return problem
    from gpustats.engines.cpu import CpuEngine
    from gpustats.engines.cuda_reduce import CudaReducer, device_name
    from gpustats.engines.gpu import GpuEngine
    from gpustats.engines.tuning import choose

    try:
        name = device_name(device_id)
        reducer = CudaReducer(device_id, definition.statistics, per_image)
    except Exception as error:  # noqa: BLE001 - CuPy and the driver raise anything; it is told, not hidden
        return f"CUDA device {device_id} cannot be opened: {first_line(error)}"
    tuning = choose(name, workers, options)
    ahead = memory // 4
    cpu = CpuEngine(
        definition,
        workers=tuning.cpu_workers or workers,
        max_pixels=max_pixels,
        memory=memory - ahead,
        separate=separate,
    )
    engine = GpuEngine(
        tuning=tuning,
        cpu=cpu,
        reducer=reducer,
        decode_device="mixed",
        device_id=device_id,
        device_name=name,
        max_pixels=max_pixels,
        max_bytes=cpu.max_bytes,
        memory=ahead,
        statistics=definition.statistics,
        required=required,
    )
    return engine.problem() or engine
