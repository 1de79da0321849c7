"""A GPU that costs nothing: the real GPU engine with decoding and reduction taken out, so that only the host is left.

What stays: source, readers, screening, batches, DALI's external source, planning of a launch, rows, totals, checkpoint.
What goes: DALI reads the size of each image from its header instead of decoding it, and the reducer makes up sums.
Nothing here is imported from gpustats before it is used, so that a caller may choose another checkout first.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

__all__ = ["StubPipeline", "StubReducer", "replaced_gpu", "stubbed_gpu"]

_ADDRESS = 0x7F00_0000_0000  # where the pixels would begin; nothing is read or written there
_MEAN, _SQUARE, _HIGH, _FROM_TOP = 120, 16_900, 250, 250


class _Sample:
    def __init__(self, address: int) -> None:
        self._address = address

    def data_ptr(self) -> int:
        return self._address


class _Pixels:
    """One packed buffer of pixels that do not exist; the methods of a DALI output that the engine calls."""

    def __init__(self, sizes: NDArray[np.int64]) -> None:
        self._sizes = sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def shape(self) -> list[tuple[int, ...]]:
        return [(height, width, 3) for height, width in self._sizes.tolist()]

    def data_ptr(self) -> int:
        return _ADDRESS

    def __getitem__(self, index: int) -> _Sample:
        before = self._sizes[:index]
        return _Sample(_ADDRESS + 3 * int((before[:, 0] * before[:, 1]).sum()))


class StubPipeline:
    """A DALI pipeline that is fed like the real one and gives sizes; the same interface as the engine's pipeline.

    Parameters
    ----------
    source : callable
        What the engine gives to DALI's external source.
    tuning : gpustats.engines.tuning.Tuning
        Batch size, threads and prefetch depth.
    """

    def __init__(self, source: Callable[[], Any], tuning: Any) -> None:
        from nvidia.dali import Pipeline, fn

        self._pipeline = Pipeline(
            batch_size=tuning.batch_size,
            num_threads=1,
            device_id=None,
            prefetch_queue_depth=tuning.prefetch,
            exec_dynamic=True,
            set_affinity=False,
        )
        with self._pipeline:
            encoded, numbers = _encoded_input(source)
            shapes = fn.peek_image_shape(encoded, adjust_orientation=False)  # as the engine has it decoded
            self._pipeline.set_outputs(shapes, numbers)
        self._pipeline.build()

    def run(self) -> tuple[_Pixels, Any]:
        """Return the next batch: sizes in the place of pixels, and the numbers as they were fed."""
        shapes, numbers = self._pipeline.run()
        return _Pixels(shapes.as_array()[:, :2]), numbers


def _encoded_input(source: Callable[[], Any]) -> tuple[Any, Any]:
    from gpustats.engines import dali

    if hasattr(dali, "encoded_input"):
        encoded, numbers = dali.encoded_input(source)
        return encoded, numbers
    from nvidia.dali import fn, types  # versions before 2026-11-29 fed an array for each image

    dtypes = [types.DALIDataType.UINT8, types.DALIDataType.INT64]
    encoded, numbers = fn.external_source(
        source=source, num_outputs=2, batch=True, dtype=dtypes, ndim=[1, 1], no_copy=True
    )
    return encoded, numbers


class StubReducer:
    """Plans a launch as `gpustats.engines.cuda_reduce.CudaReducer` does, and fills its output with plausible sums."""

    name = "stub"

    def __init__(self, device_id: int = 0, statistics: tuple[str, ...] = ("moments",), per_image: bool = True) -> None:
        from gpustats.engines.gpu_batch import KIND
        from gpustats.engines.on_gpu import wanted
        from gpustats.statistics import for_kind

        self.statistics = for_kind(statistics, KIND)
        self._outputs = wanted(self.statistics, per_image)

    def launch(
        self, pointers: NDArray[np.uint64], heights: NDArray[np.uint64], widths: NDArray[np.uint64]
    ) -> _StubPending:
        """Plan; nothing is launched."""
        from gpustats.cuda.tiles import plan_batch

        return _StubPending(self, plan_batch(pointers, heights, widths, 3, np.uint8, **self._outputs))


class _StubPending:
    def __init__(self, reducer: StubReducer, plan: Any) -> None:
        self._reducer = reducer
        self._plan = plan

    def result(self) -> dict[str, NDArray[Any]]:
        """Return the columns of the rows, made from what a kernel could have written."""
        from gpustats.cuda.outputs import finish
        from gpustats.engines.on_gpu import columns_of

        plan, buffer = self._plan, np.zeros(self._plan.output_bytes, np.uint8)
        views = plan.views(buffer)
        views["counts"][:] = plan.row_pixels * plan.row_channels
        views["sums"][:, :3] = plan.row_pixels[:, None] * _MEAN
        views["sums"][:, 3:6] = plan.row_pixels[:, None] * _SQUARE
        views["extremes"][..., 0] = _FROM_TOP
        views["extremes"][..., 1] = _HIGH
        if plan.histogram:
            views["histogram"][:, :, _MEAN] = plan.row_pixels.sum() if plan.pooled else plan.row_pixels[:, None]
        self._outputs = finish(plan, buffer)
        return columns_of(self._reducer.statistics, self._outputs)

    def folded(self, left_out: NDArray[np.bool_]) -> dict[str, Any]:
        """Return the totals of what a kernel could have added up."""
        from gpustats.engines.on_gpu import pooled_parts

        return pooled_parts(self._reducer.statistics, self._outputs, left_out)


@contextmanager
def replaced_gpu(build: Callable[..., Any], reducer: Callable[..., Any], name: str) -> Iterator[None]:
    """Make `gpustats.compute(device="gpu")` run without a GPU, with another pipeline and another reducer.

    Parameters
    ----------
    build : callable
        In the place of `gpustats.engines.dali.build_pipeline`.
    reducer : callable
        In the place of `gpustats.engines.cuda_reduce.CudaReducer`.
    name : str
        What the device is called.
    """
    from gpustats.engines import cuda_reduce, dali, device

    with ExitStack() as stack:
        for module, attribute, stub in (
            (device, "gpu_problem", lambda device_id=0: None),
            (cuda_reduce, "CudaReducer", reducer),
            (cuda_reduce, "device_name", lambda device_id: name),
            (dali, "build_pipeline", build),
        ):
            stack.enter_context(mock.patch.object(module, attribute, stub))
        yield


@contextmanager
def stubbed_gpu() -> Iterator[None]:
    """Make `gpustats.compute(device="gpu")` run on this machine without a GPU, with decode and reduction stubbed.

    The trial and the spot check decode their few images as ever, and take any answer.
    """

    def build(source: Callable[[], Any], tuning: Any, *rest: Any, **options: Any) -> StubPipeline:
        return StubPipeline(source, tuning)

    with ExitStack() as stack:
        stack.enter_context(replaced_gpu(build, StubReducer, "no GPU: decode and reduction stubbed"))
        for name in ("spot_check", "preflight"):
            with suppress(ModuleNotFoundError):  # not every version has both
                module = importlib.import_module(f"gpustats.engines.{name}")
                stack.enter_context(mock.patch.object(module, "TOLERANCE", float("inf")))
        yield
