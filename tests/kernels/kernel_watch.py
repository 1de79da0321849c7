"""Runs the kernels on the CPU and watches every access to shared memory, to outputs and around them.

What counts as a race, and what else is found, stands in `kernel_watch.cpp`. All kernels over more and larger batches::

    python tests/kernels/kernel_watch.py
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from kernel_shim import (
    GUARD,
    HEADER,
    Batch,
    CpuDevice,
    GuardedOutputs,
    aligned_bytes,
    compiler,
    why_not,
)

from gpustats.cuda.launcher import KERNELS, LaunchPlan, finish, kernel_source

__all__ = ["Case", "Finding", "WatchedDevice", "cases", "prepare", "sources_of"]

HOOKS = HEADER.with_name("kernel_watch.cpp")
KINDS = ("race in a block", "race between blocks", "not set", "outside")  # mirrors Kind in kernel_watch.cpp
STUCK = "stuck"
ACCESSES = ("read", "write", "atomic")
INPUT, CLEARED, SCRATCH = range(3)
SEVERAL = 2**32 - 1

# Not optimised: an access that the compiler leaves out cannot be watched. The calls that the sanitizer's flag makes
# go to kernel_watch.cpp, so its library is not linked; what is linked must then be said.
FLAGS = ("-O0", "-g1", "-fsanitize=thread")
LIBRARIES = ("-nodefaultlibs", "-lstdc++", "-lm", "-lc", "-lgcc_s", "-lgcc")


class _Found(ctypes.Structure):
    """Mirrors Finding in kernel_watch.cpp."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("kind", "access", "earlier", "region")),
        ("offset", ctypes.c_int64),
        *((name, ctypes.c_uint) for name in ("block", "thread", "earlier_block", "earlier_thread")),
        ("code", ctypes.c_void_p),
    )


class Finding(NamedTuple):
    """One of KINDS or STUCK, and where it was found."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class Memory(NamedTuple):
    """What a kernel may touch between guards of `guard` bytes, by name."""

    name: str
    address: int
    size: int
    guard: int
    kind: int


def prepare(directory: Path, flags: Sequence[str] = ()) -> None:
    """Compile in a folder what all watched devices with that folder share: the watch, and the header for speed."""
    header = [*compiler(0, (*FLAGS, *flags)), "-U__CUDA_ARCH__", "-x", "c++-header", "-w", str(HEADER)]
    watch = [*compiler(0, ("-O2",)), "-c", str(HOOKS), "-o", str(directory / "watch.o")]
    header += ["-o", str(directory / f"{HEADER.name}.gch")]
    for process in [subprocess.Popen(command) for command in (header, watch)]:
        if process.wait():
            raise RuntimeError(f"{HOOKS.name} or {HEADER.name} does not compile")


class WatchedDevice(CpuDevice):
    """The kernels compiled for the CPU, with a watch over their memory.

    Parameters
    ----------
    directory, arch, sources, text
        As for `CpuDevice`.
    shared : Path, optional
        The folder that was prepared, where it is another.
    """

    def __init__(
        self,
        directory: Path,
        arch: int = 900,
        sources: Sequence[str] = tuple(KERNELS),
        text: Callable[[str], str] = kernel_source,
        shared: Path | None = None,
    ) -> None:
        shared = shared or directory
        flags = (f"-I{shared}", *FLAGS)
        super().__init__(directory, arch, flags, sources, (str(shared / "watch.o"), *LIBRARIES), text)

    def watch(self, plan: LaunchPlan, images: Iterable[Memory] = ()) -> tuple[np.ndarray, list[Finding]]:
        """Return the output buffer's bytes and what was found; where nothing was, raise what `run` raises."""
        outputs = GuardedOutputs(plan)
        table = aligned_bytes(plan.table.nbytes + 512)[256:-256]
        table[:] = plan.table
        memory = [*images, Memory("table", table.ctypes.data, table.nbytes, 256, INPUT)]
        arguments = outputs.arguments(table.ctypes.data)
        addresses = arguments[len(arguments) - len(plan.outputs) :]
        for output, address in zip(plan.outputs, addresses, strict=True):
            kind = CLEARED if outputs.is_read_back(output) else SCRATCH
            memory.append(Memory(output.name, int(address), output.nbytes, GUARD, kind))
        library = self.library(plan.source)
        library.watch_begin()
        for number, (_, address, size, guard, kind) in enumerate(memory):
            library.watch_region(*(ctypes.c_ulong(value) for value in (address, size, guard)), kind, number)
        stuck = []
        if plan.grid[0]:
            try:
                self.call(plan, arguments)
            except RuntimeError as error:
                stuck.append(Finding(STUCK, str(error)))
        found = (_Found * 20)()
        written = ctypes.c_ulong()
        library.watch_end(found, ctypes.c_ulong(len(found)), ctypes.byref(written))
        path = self._paths[plan.source]
        findings = [_told(one, plan, memory, library, path) for one in found[: written.value]] + stuck
        return np.zeros(0, np.uint8) if findings else outputs.buffer(), findings


def _told(found: _Found, plan: LaunchPlan, memory: Sequence[Memory], library: ctypes.CDLL, path: Path) -> Finding:
    kind = KINDS[found.kind]
    place = "shared memory" if found.region < 0 else memory[found.region].name
    text = f"{plan.kernel}, {_line(found.code, path)}: thread {found.thread} of block {found.block}: "
    text += f"{ACCESSES[found.access]} of byte {found.offset} of {place}"
    if kind.startswith("race"):
        names = [
            f"several {name}s" if number == SEVERAL else f"{name} {number}"
            for name, number in (("thread", found.earlier_thread), ("block", found.earlier_block))
        ]
        text += f", and an unordered {ACCESSES[found.earlier]} by {' of '.join(names)}"
    return Finding(kind, text)


@functools.cache
def _line(code: int, path: Path) -> str:
    """Return the file and line of an address in a library that is loaded, as far as it can be told."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        starts = [int(line.partition("-")[0], 16) for line in maps if line.rstrip().endswith(str(path))]
    if not starts:
        return "?"
    command = ["addr2line", "-i", "-e", str(path), hex(code - 1 - min(starts))]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        return "?"
    names = [line.rpartition("/")[2].partition(" ")[0] for line in lines]
    return next((name for name in names if ".cu" in name), names[0])


class Case(NamedTuple):
    """A batch and what is asked of it."""

    dtype: str
    channels: int
    layout: str
    options: Mapping[str, bool]
    sizes: Mapping[str, int | None]
    shapes: Sequence[tuple[int, int]]

    def batch(self) -> tuple[Batch, list[Memory]]:
        """Return the batch, each image in memory of its own between guards."""
        rng = np.random.default_rng(3)
        size = np.dtype(self.dtype).itemsize
        # The kernels of whole pixels take some addresses only.
        step = size * self.channels if self.channels in (2, 4) else size
        batch = Batch.random(rng, self.shapes, self.channels, self.dtype, self.layout)
        if self.dtype == "float32" and len(batch.images) > 3:  # without and with few finite values
            batch.images[2][...] = np.nan
            batch.images[3][..., :4, 0] = np.inf
            batch = Batch.of(batch.images, self.channels, self.dtype, self.layout)
        guard = 4096
        pointers, memory, kept = [], [], []
        for k, image in enumerate(batch.images):
            start = 16 - (k * step) % 16 + guard
            block = aligned_bytes(start + image.nbytes + guard)
            at = int(batch.pointers[k]) - batch.memory.ctypes.data
            block[:] = 0xA5
            block[start : start + image.nbytes] = batch.memory[at : at + image.nbytes]
            pointers.append(block.ctypes.data + start)
            memory.append(Memory(f"image {k}", pointers[-1], image.nbytes, guard, INPUT))
            kept.append(block)
        batch.pointers = np.array(pointers, np.uint64)
        batch.memory = kept  # type: ignore[assignment]  # only to keep it
        return batch, memory

    def run(self, device: WatchedDevice) -> tuple[str, list[Finding]]:
        """Return the kernel and what was found; wrong numbers are an AssertionError or RuntimeError."""
        batch, memory = self.batch()
        plan = self.plan(batch)
        output, findings = device.watch(plan, memory)
        if not findings:
            batch.check(finish(plan, output), **{"cross": False, "histogram": False} | dict(self.options))
        return plan.kernel, findings

    def plan(self, batch: Batch) -> LaunchPlan:
        return batch.plan(**self.options, **self.sizes)

    @property
    def kernel(self) -> str:
        return self.plan(self.batch()[0]).kernel

    @property
    def source(self) -> str:
        return next(source for source, names in KERNELS.items() if self.kernel in names)


def cases(large: bool = False) -> Iterator[Case]:
    """Yield batches for every kernel: images without pixels, of one, of a few, and of several tiles."""
    few = [(0, 7), (1, 1), (1, 5), (3, 11)]
    for dtype, channels, layout in itertools.product(("uint8", "uint16", "float32"), (1, 2, 3, 4, 5), ("HWC", "CHW")):
        extras: list[dict[str, bool]] = [{}]
        extras += [{"cross": True}] * (dtype != "float32")
        extras += [{"histogram": True}, {"cross": True, "histogram": True}] * (dtype == "uint8")
        extras += [{"histogram": True, "pooled": True}] * (dtype == "uint8" and (layout == "HWC" or channels == 1))
        size = np.dtype(dtype).itemsize * (channels if layout == "HWC" else 1)
        for options in extras:
            # Tiles with all loops in them; of planes, which go to the same kernels, the smallest.
            tile = 18432 if layout == "HWC" else 9216
            pixels = (2 * tile - 4000) // size
            sizes: dict[str, int | None] = {"tile_bytes": tile}
            yield Case(dtype, channels, layout, options, sizes, [*few, (1, pixels), (0, 0), (7, 9)])
            if large:
                more = [*few, *((1, n) for n in range(14, 36)), (3, pixels), (1, 2 * pixels), (40, 41)]
                yield Case(dtype, channels, layout, options, sizes, more)
                yield Case(dtype, channels, layout, options, {"tile_bytes": None}, more)
                yield Case(dtype, channels, layout, options, {**sizes, "row_pixels": 300}, more)
    # More channels than a block has warps, or than one of its windows.
    many: dict[str, int | None] = {"tile_bytes": 3072}
    for dtype, options in (("uint8", {"cross": True, "histogram": True}), ("uint16", {"cross": True})):
        yield Case(dtype, 11, "HWC", options, many, [*few, (1, 150)])
    yield Case("float32", 300, "HWC", {}, {"tile_bytes": None}, [(0, 3), (3, 5), (1, 600 if large else 260)])


def sources_of(arch: int) -> tuple[str, ...]:
    """Return the sources with code for an architecture of its own, or all for the newest."""
    return tuple(KERNELS) if arch >= 900 else tuple(source for source in KERNELS if source != "float32.cu")


def main() -> int:
    """Run all cases for both code paths, print a line for every kernel, and return 1 where something was found."""
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 1
    bad = 0
    with tempfile.TemporaryDirectory(prefix="gpustats-watch-") as folder:
        prepare(Path(folder))
        for arch in (900, 750):
            device = WatchedDevice(Path(folder), arch, sources_of(arch))
            runs: Counter[str] = Counter()
            found: dict[str, list[str]] = {}
            start = time.monotonic()
            for case in cases(large=True):
                if case.source not in sources_of(arch):
                    continue
                try:
                    kernel, findings = case.run(device)
                    messages = [str(finding) for finding in findings]
                except (AssertionError, RuntimeError) as error:
                    kernel, messages = case.kernel, [f"{case}: {error}"]
                runs[kernel] += 1
                found.setdefault(kernel, []).extend(messages)
            for kernel, count in runs.items():
                print(f"arch {arch}  {kernel:30} {count:3} launches, {len(found[kernel])} findings")
                print(*(f"    {text}\n" for text in found[kernel][:5]), sep="", end="")
                bad += len(found[kernel])
            print(f"arch {arch}: {runs.total()} launches in {time.monotonic() - start:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
