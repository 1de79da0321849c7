"""No kernel has a race, reads memory that nobody set, or touches what is not its own; the checks would see it.

The suite plants all faults that the watch of memory must find. `python tests/kernels/kernel_planted.py` also plants
those that the comparison with NumPy and the sanitizers must find; `python tests/kernels/kernel_watch.py` watches more
launches.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import kernel_shim
import pytest
from kernel_faults import FAULTS, NUMBERS, SANITIZERS, KernelFault
from kernel_planted import problem, verdicts
from kernel_watch import Case, WatchedDevice, cases, prepare, sources_of

from gpustats.cuda.launcher import KERNELS, kernel_source

SUITE = [fault for fault in FAULTS if fault.found_by not in (NUMBERS, SANITIZERS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the watch is compiled."""
    if reason := kernel_shim.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("watched")
    prepare(folder)
    return folder


@pytest.mark.parametrize("arch", [900, 750])
def test_nothing_is_found(folder: Path, arch: int) -> None:
    device = WatchedDevice(folder, arch, sources_of(arch))
    seen = set()
    for case in cases():
        if case.source in sources_of(arch):
            kernel, findings = case.run(device)
            assert findings == [], "\n".join([str(case), *map(str, findings)])
            seen.add(kernel)
    assert seen == {name for source in sources_of(arch) for name in KERNELS[source]}


def test_a_finding_names_the_line_the_threads_and_the_memory(folder: Path, tmp_path: Path) -> None:
    text = kernel_source("moments.cu").replace("    __syncthreads();\n", "")
    device = WatchedDevice(tmp_path, sources=("moments.cu",), text=lambda source: text, shared=folder)
    kernel, findings = Case("uint8", 3, "HWC", {}, {}, [(9, 9)]).run(device)
    assert kernel == "moments_u8_c3"
    line = next(n for n, line in enumerate(text.partition("moments.cu")[2].split("\n")) if "total += partial" in line)
    pattern = (
        rf"race in a block: moments_u8_c3, moments\.cu:{line}: thread \d+ of block 0: read of byte \d+"
        r" of shared memory, and an unordered write by thread \d+ of block 0"
    )
    assert any(re.fullmatch(pattern, str(finding)) for finding in findings), findings


def test_an_output_that_the_launcher_does_not_clear_is_not_set(folder: Path, tmp_path: Path) -> None:
    """The tickets of float32.cu, taken for scratch memory."""
    device = WatchedDevice(tmp_path, sources=("float32.cu",), shared=folder)
    batch, memory = Case("float32", 3, "HWC", {}, {"tile_bytes": 3072}, [(3, 200), (5, 7)]).batch()
    plan = batch.plan(tile_bytes=3072)
    assert device.watch(plan, memory)[1] == []
    tickets = next(output for output in plan.outputs if output.name == "tickets")
    _, findings = device.watch(dataclasses.replace(plan, output_bytes=tickets.offset), memory)
    assert [(finding.kind, "of tickets" in finding.text) for finding in findings] == [("not set", True)]


# -- the rules of the watch, on kernels of a few lines
# ------------------------------------------------------------------------------------------

# (the kernel's body, what is found in it); `out` is cleared, `scratch` is not; 64 threads, three blocks.
RULES = {
    "own memory": ("out[thread + 64 * blockIdx.x] = 1; scratch[thread + 64 * blockIdx.x] = 2;", set()),
    "all write the same": ("shared[0] = 1;", {"race in a block"}),
    "a write, a read": (
        "shared[thread] = 1; out[thread + 64 * blockIdx.x] = shared[thread ^ 1];",
        {"race in a block", "not set"},
    ),
    "a read, a write": (
        "shared[thread] = 1; __syncthreads(); u32 x = shared[thread ^ 1]; shared[thread] = x;",
        {"race in a block"},
    ),
    "a barrier between": ("shared[thread] = 1; __syncthreads(); u32 x = shared[thread ^ 32]; (void)x;", set()),
    "two barriers between": (
        "shared[thread] = 1; __syncthreads(); u32 x = shared[thread ^ 33]; __syncthreads(); shared[thread] = x;",
        set(),
    ),
    "a warp's barrier": ("shared[thread] = 1; __syncwarp(); u32 x = shared[thread ^ 1]; (void)x;", set()),
    "a warp's barrier, two warps": (
        "shared[thread] = 1; __syncwarp(); u32 x = shared[thread ^ 32]; (void)x;",
        {"race in a block", "not set"},  # the second warp has not written when the first reads
    ),
    "a collective is no barrier": (
        "shared[thread] = 1; __reduce_add_sync(~0u, thread); u32 x = shared[thread ^ 1]; (void)x;",
        {"race in a block"},
    ),
    "two readers, one writes": (
        "shared[thread] = 1; __syncthreads(); u32 x = shared[5]; if (thread == 5) shared[5] = x + 1;",
        {"race in a block"},
    ),
    "atomics": (
        "if (thread == 0) shared[0] = 0; __syncthreads(); atomicAdd(shared, 1u); __syncthreads();"
        " if (thread == 1) atomicAdd(out, shared[0]);",
        set(),
    ),
    "an atomic, a read": (
        "if (thread == 0) shared[0] = 0; __syncthreads(); u32 x = atomicAdd(shared, 1u) + shared[0]; (void)x;",
        {"race in a block"},
    ),
    "an atomic on what is not set": ("atomicAdd(shared + thread, 1u);", {"not set"}),
    "an atomic on scratch": ("atomicAdd(scratch + thread, 1u);", {"not set"}),
    "a read of another block's shared memory": (
        "if (blockIdx.x == 0) shared[thread] = 1; else out[thread + 64 * blockIdx.x] = shared[thread];",
        {"not set"},
    ),
    "two blocks write": ("out[thread] = 1;", {"race between blocks"}),
    "a block reads what another adds": (
        "if (blockIdx.x == 2) scratch[0] = out[thread]; else atomicAdd(out + thread, 1u);",
        {"race between blocks", "race in a block"},
    ),
    "before and behind": ("(out - 1)[thread + 130 * blockIdx.x] = 1;", {"outside"}),
    "an atomic behind": ("atomicMax(out + 192 + thread, 0u);", {"outside"}),
    "a write to the input": ("const_cast<u32*>(tiles)[0] = blockIdx.x;", {"outside"}),
    "published with a ticket": (
        "scratch[thread + 64 * blockIdx.x] = 1; __threadfence(); __syncthreads();"
        " if (thread == 0) shared[0] = atomicAdd(out, 1u); __syncthreads(); if (shared[0] != 2) return;"
        " __threadfence(); out[64 + thread] = scratch[thread ^ 1] + scratch[64 + thread];",
        set(),
    ),
    "fenced before the write": (
        "__threadfence(); scratch[thread + 64 * blockIdx.x] = 1; __syncthreads();"
        " if (thread == 0) shared[0] = atomicAdd(out, 1u); __syncthreads(); if (shared[0] != 2) return;"
        " __threadfence(); out[64 + thread] = scratch[thread ^ 1];",
        {"race between blocks"},
    ),
    "fenced by one thread only": (
        "scratch[thread + 64 * blockIdx.x] = 1; if (thread == 0) __threadfence(); __syncthreads();"
        " if (thread == 0) shared[0] = atomicAdd(out, 1u); __syncthreads(); if (shared[0] != 2) return;"
        " __threadfence(); out[64 + thread] = scratch[thread ^ 1];",
        {"race between blocks"},
    ),
    "tickets of two kinds": (
        "scratch[thread + 64 * blockIdx.x] = 1; __threadfence(); __syncthreads();"
        " if (thread == 0) shared[0] = atomicAdd(out + blockIdx.x, 1u); __syncthreads(); if (blockIdx.x != 2) return;"
        " __threadfence(); out[64 + thread] = scratch[thread ^ 1];",
        {"race between blocks"},
    ),
}


@pytest.fixture(scope="module")
def ruled(folder: Path) -> WatchedDevice:
    """All kernels of RULES, in the place of one that is shipped."""
    head = kernel_source("float32.cu").partition('#line 1 "float32.cu"')[0]
    kernels = [
        f"void rule_{n}(const u32* segments, const u32* tiles, u32* out, u32* scratch) {{ __shared__ u32 shared[64];"
        f" const u32 thread = threadIdx.x; {body} }}\n"
        f'extern "C" unsigned cpu_rule_{n}(unsigned x, unsigned y, unsigned threads, void** arguments)'
        f" {{ return cuda_on_cpu::launch(rule_{n}, x, y, threads, arguments); }}\n"
        for n, (body, _) in enumerate(RULES.values())
    ]
    (folder / "rules").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_shim, "KERNELS", {"float32.cu": ()})
        return WatchedDevice(
            folder / "rules", sources=("float32.cu",), text=lambda source: head + "".join(kernels), shared=folder
        )


@pytest.mark.parametrize("name", RULES)
def test_rules(ruled: WatchedDevice, name: str) -> None:
    number = list(RULES).index(name)
    batch, _ = Case("float32", 1, "HWC", {}, {}, [(1, 1)]).batch()
    plan = batch.plan()
    out, scratch = (
        dataclasses.replace(plan.outputs[0], name=name, dtype=plan.outputs[2].dtype, shape=(192,), offset=offset)
        for name, offset in (("out", 0), ("scratch", 768))
    )
    plan = dataclasses.replace(
        plan, kernel=f"rule_{number}", grid=(3, 1), block=64, scalars=(), outputs=(out, scratch), output_bytes=768
    )
    _, findings = ruled.watch(plan)
    assert {finding.kind for finding in findings} == RULES[name][1], findings


# -- planted faults
# ------------------------------------------------------------------------------------------


def test_no_planted_fault_is_stale() -> None:
    assert {fault: wrong for fault in FAULTS if (wrong := problem(fault))} == {}
    assert len(set(FAULTS)) == len(FAULTS)


@pytest.mark.parametrize("word", ["__syncthreads", "__syncwarp", "__threadfence", "atomicAdd", "atomicMax"])
@pytest.mark.parametrize("file", KERNELS)
def test_every_barrier_fence_and_atomic_has_a_planted_fault(file: str, word: str) -> None:
    """For each place there is a fault whose new text has one fewer there."""
    own = kernel_source(file).partition(f'#line 1 "{file}"\n')[2]
    code = re.sub(r"//.*", lambda comment: " " * len(comment[0]), own)
    places = {match.start() for match in re.finditer(word, code)}
    covered = set()
    for fault in FAULTS:
        if fault.file == file and fault.old.count(word) == 1 + fault.new.count(word):
            at = own.index(fault.old)
            inside = {place for place in places if at <= place < at + len(fault.old)}
            covered |= inside if len(inside) == 1 else set()
    lines = sorted({own.count("\n", 0, place) + 1 for place in places - covered})
    assert lines == [], f"{file}: no fault takes away {word} in lines"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[KernelFault, list[str]]:
    """What is found of the planted faults."""
    if reason := kernel_shim.why_not():
        pytest.skip(reason)
    version = subprocess.run(["g++", "-dumpversion"], capture_output=True, text=True, check=True).stdout
    if int(version.partition(".")[0]) < 12:
        pytest.skip("the compiler cannot fill local variables with a pattern; g++ 12 can")
    return verdicts(SUITE, tmp_path_factory.mktemp("planted"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", SUITE, ids=lambda fault: f"{fault.file}-{FAULTS.index(fault)}")
def test_a_planted_fault_is_found(found: dict[KernelFault, list[str]], fault: KernelFault) -> None:
    assert fault.found_by in found[fault], f"{fault}: found by {found[fault]}"
