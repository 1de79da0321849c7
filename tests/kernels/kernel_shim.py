"""Runs the shipped kernels on the CPU, and the batches and references that the kernel tests share."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np

from gpustats.cuda.launcher import KERNELS, LaunchPlan, Outputs, finish, kernel_source, plan_batch
from gpustats.cuda.tiles import Output

HEADER = Path(__file__).with_name("cuda_on_cpu.hpp")


def why_not() -> str | None:
    """Why the kernels cannot run on this machine's CPU, or None."""
    if not sys.platform.startswith("linux"):
        return "fibres for CUDA threads need ucontext, used on Linux only"
    if shutil.which("g++") is None:
        return "no C++ compiler (g++)"
    return None


GUARD = 1 << 15  # bytes before and behind every output: more than all threads of a block write, or a row takes
SCRATCH = 0xA5


def aligned_bytes(size: int, alignment: int = 256) -> np.ndarray:
    """Uninitialised bytes at an address as aligned as a device allocation."""
    memory = np.empty(size + alignment, np.uint8)
    start = -memory.ctypes.data % alignment
    return memory[start : start + size]


class GuardedOutputs:
    """Every output of a plan in memory of its own, zeroed (scratch memory: rubbish), between two guards of zeros.

    In the buffer of a launch the outputs lie side by side, and what a kernel writes behind the end of one lands in the
    padding or in another, where nobody may look. Zeros, because kernels add to their outputs or take the maximum:
    both leave a trace on zeros.
    """

    def __init__(self, plan: LaunchPlan) -> None:
        self._plan = plan
        self._memory = []
        for output in plan.outputs:
            memory = aligned_bytes(2 * GUARD + output.nbytes)
            memory[:] = 0
            if not self.is_read_back(output):
                memory[GUARD : GUARD + output.nbytes] = SCRATCH  # not cleared before a launch
            self._memory.append(memory)

    def arguments(self, table: int) -> tuple[Any, ...]:
        """Return the kernel's arguments: those of the plan, with each output at its own address."""
        given = self._plan.arguments(table, 0)
        addresses = [np.uint64(memory.ctypes.data + GUARD) for memory in self._memory]
        return (*given[: len(given) - len(addresses)], *addresses)

    def buffer(self) -> np.ndarray:
        """Return the bytes that a launch reads back, after a look at the guards."""
        buffer = np.zeros(self._plan.output_bytes, np.uint8)
        for output, memory in zip(self._plan.outputs, self._memory, strict=True):
            end = GUARD + output.nbytes
            touched = np.flatnonzero(memory[:GUARD]) - GUARD, np.flatnonzero(memory[end:]) + output.nbytes
            outside = np.concatenate(touched)
            assert not outside.size, (
                f"{self._plan.kernel} wrote outside {output.name} of {output.nbytes} bytes: byte {outside[0]}"
            )
            if self.is_read_back(output):
                buffer[output.offset : output.offset + output.nbytes] = memory[GUARD:end]
        return buffer

    def is_read_back(self, output: Output) -> bool:
        """Whether the launcher clears an output before a launch and reads it afterwards; scratch memory it does not."""
        return output.offset + output.nbytes <= self._plan.output_bytes


def compiler(arch: int, flags: Sequence[str]) -> list[str]:
    """Return the command that compiles for the stand-in, without its files."""
    # Every library has variables of its own, also where another one in this process has some of the same names.
    common = ["g++", "-std=c++20", "-fPIC", "-fno-gnu-unique", "-ffp-contract=off", "-Wno-unknown-pragmas"]
    return [*common, f"-D__CUDA_ARCH__={arch}", *flags]


class CpuDevice:
    """The kernels compiled for the CPU.

    Parameters
    ----------
    directory : Path
        Where the compiled kernels go. A precompiled header in it is used.
    arch : int
        Picks the code path as __CUDA_ARCH__ does.
    flags, more : sequence of str
        For the compiler, before and behind the file.
    sources : sequence of str
        What is compiled, of the keys of KERNELS.
    text : callable
        What is compiled for a source: `kernel_source` or something that is wrong on purpose.
    """

    def __init__(
        self,
        directory: Path,
        arch: int = 900,
        flags: Sequence[str] = ("-O1",),
        sources: Sequence[str] = tuple(KERNELS),
        more: Sequence[str] = (),
        text: Callable[[str], str] = kernel_source,
    ) -> None:
        self._libraries: dict[str, ctypes.CDLL] = {}
        builds = {}
        for source in sources:
            unit = directory / f"{Path(source).stem}_{arch}.cpp"
            library = unit.with_suffix(".so")
            entries = "".join(
                f'extern "C" unsigned cpu_{name}(unsigned x, unsigned y, unsigned threads, void** arguments)'
                f" {{ return cuda_on_cpu::launch({name}, x, y, threads, arguments); }}\n"
                f'extern "C" const unsigned* sizes_{name}() {{ return cuda_on_cpu::sizes({name}); }}\n'
                for name in KERNELS[source]
            )
            unit.write_text(f'#include "{HEADER.name}"\n{text(source)}\n{entries}', encoding="utf-8")
            command = [*compiler(arch, flags), f"-I{directory}", f"-I{HEADER.parent}", "-shared", "-o", str(library)]
            command += [str(unit), *more]
            builds[source] = library, subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self._paths = {}
        for source, (library, process) in builds.items():
            errors = process.communicate()[1]
            if process.returncode:
                raise RuntimeError(f"{source} does not compile for the CPU:\n{errors}")
            self._paths[source] = library

    def run(self, plan: LaunchPlan) -> np.ndarray:
        """Do what Reducer.launch does and return the output buffer's bytes; fail where a kernel writes outside."""
        outputs = GuardedOutputs(plan)
        table = aligned_bytes(plan.table.nbytes)
        table[:] = plan.table
        if plan.grid[0]:
            self.call(plan, outputs.arguments(table.ctypes.data))
        return outputs.buffer()

    def call(self, plan: LaunchPlan, arguments: tuple[Any, ...]) -> None:
        values = [np.array(value) for value in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        if stuck := self.entry(plan)(*plan.grid, plan.block, pointers):
            raise RuntimeError(f"{plan.kernel}: a barrier that not all threads reach, in block {stuck - 1}")

    def entry(self, plan: LaunchPlan) -> Any:
        """Return the function that launches a plan's kernel."""
        return getattr(self.library(plan.source), f"cpu_{plan.kernel}")

    def library(self, source: str) -> ctypes.CDLL:
        """Return what a source was compiled to."""
        if source not in self._libraries:
            self._libraries[source] = ctypes.CDLL(str(self._paths[source]))
        return self._libraries[source]


@dataclass
class Batch:
    """Images packed without padding, as a decoder leaves them, from an address that is `start` modulo 256 on.

    Keep the batch while a kernel runs: its plan holds addresses, not the memory.
    """

    images: list[np.ndarray]
    memory: np.ndarray
    pointers: np.ndarray
    channels: int
    dtype: np.dtype
    layout: str

    @classmethod
    def of(cls, images: Sequence[np.ndarray], channels: int, dtype: Any, layout: str = "HWC", start: int = 0) -> Batch:
        """Pack images of shape (height, width, channels)."""
        dtype = np.dtype(dtype)
        memory = aligned_bytes(start + sum(image.nbytes for image in images))
        pointers = []
        at = start
        for image in images:
            stored = image if layout == "HWC" else image.transpose(2, 0, 1)
            pointers.append(memory.ctypes.data + at)
            memory[at : at + image.nbytes] = np.frombuffer(stored.tobytes(), np.uint8)
            at += image.nbytes
        return cls(list(images), memory, np.array(pointers, np.uint64), channels, dtype, layout)

    @classmethod
    def random(
        cls,
        rng: np.random.Generator,
        shapes: Sequence[tuple[int, int]],
        channels: int,
        dtype: Any,
        layout: str = "HWC",
        start: int = 0,
    ) -> Batch:
        dtype = np.dtype(dtype)
        images = []
        for height, width in shapes:
            shape = (height, width, channels)
            if dtype.kind == "f":
                images.append(rng.normal(1000, 3, shape).astype(dtype))
            else:
                # Narrow ranges now and then, so that the extremes are not always the dtype's own.
                low, high = sorted(int(v) for v in rng.integers(0, np.iinfo(dtype).max + 1, 2))
                images.append(rng.integers(low, high, shape, endpoint=True).astype(dtype))
        return cls.of(images, channels, dtype, layout, start)

    def stored(self) -> list[np.ndarray]:
        """Return the images of shape (height, width, channels) as they lie in memory."""
        found = []
        for image, pointer in zip(self.images, self.pointers, strict=True):
            at = int(pointer) - self.memory.ctypes.data
            flat = self.memory[at : at + image.nbytes].view(self.dtype)
            height, width, channels = image.shape
            chw = flat.reshape(channels, height, width).transpose(1, 2, 0)
            found.append(flat.reshape(image.shape) if self.layout == "HWC" else chw)
        return found

    def plan(self, **options: Any) -> LaunchPlan:
        heights = [image.shape[0] for image in self.images]
        widths = [image.shape[1] for image in self.images]
        return plan_batch(self.pointers, heights, widths, self.channels, self.dtype, self.layout, **options)

    def check(self, moments: Outputs, *, cross: bool = False, histogram: bool = False, pooled: bool = False) -> None:
        """Compare with NumPy: integers exactly, floats against correctly rounded sums."""
        if self.dtype.kind == "f":
            self._check_floats(moments)
            return
        most = np.iinfo(self.dtype).max
        pairs = [(i, j) for i in range(self.channels) for j in range(i + 1, self.channels)]
        for k, image in enumerate(self.images):
            x = image.reshape(-1, self.channels).astype(np.uint64)
            about = f"image {k}, shape {image.shape}, address % 16 = {self.pointers[k] % 16}"
            np.testing.assert_array_equal(moments.sum[k], x.sum(axis=0), f"sum, {about}")
            np.testing.assert_array_equal(moments.sumsq[k], (x * x).sum(axis=0), f"sumsq, {about}")
            np.testing.assert_array_equal(moments.min[k], x.min(axis=0, initial=most), f"min, {about}")
            np.testing.assert_array_equal(moments.max[k], x.max(axis=0, initial=0), f"max, {about}")
            if cross:
                expected = [(x[:, i] * x[:, j]).sum() for i, j in pairs]
                np.testing.assert_array_equal(moments.cross[k], expected, f"cross, {about}")
            if histogram and not pooled:
                bins = [np.bincount(x[:, c].astype(np.int64), minlength=256) for c in range(self.channels)]
                np.testing.assert_array_equal(moments.histogram[k], bins, f"histogram, {about}")
        assert (moments.cross is not None) == cross
        assert (moments.histogram is not None) == (histogram and not pooled)
        assert (moments.pooled is not None) == pooled
        if pooled:
            values = np.concatenate([image.reshape(-1, self.channels) for image in self.images])
            bins = [np.bincount(values[:, c], minlength=256) for c in range(self.channels)]
            np.testing.assert_array_equal(moments.pooled, bins, "pooled histogram")

    def _check_floats(self, moments: Outputs) -> None:
        for k, image in enumerate(self.images):
            for c in range(self.channels):
                x = image[:, :, c].astype(np.float64).ravel()
                good = x[np.isfinite(x)]
                away = good - moments.shift[k, c]
                about = f"image {k}, channel {c}, shape {image.shape}"
                assert moments.nonfinite[k, c] == len(x) - len(good), about
                # Compensated across tiles, plain within a thread: a few units in the last place of sum |x|.
                bound = 1e-14 * np.abs(away).sum()
                assert abs(moments.sum[k, c] - fsum(away)) <= bound, about
                assert abs(moments.sumsq[k, c] - fsum(away * away)) <= 1e-14 * (away * away).sum(), about
                assert moments.min[k, c] == good.min(initial=np.inf), about
                assert moments.max[k, c] == good.max(initial=-np.inf), about


def compute(device: Any, plan: LaunchPlan) -> Outputs:
    return finish(plan, device.run(plan))
