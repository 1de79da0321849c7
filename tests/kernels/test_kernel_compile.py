"""Every kernel compiles for every architecture that we name, as CuPy compiles it; needs NVRTC, no driver."""

from __future__ import annotations

import os
import re
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from bare_compile import CUPY_ADDS

from gpustats.cuda.launcher import COMMON, COMPILE_OPTIONS, KERNELS, kernel_source

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)


@pytest.fixture(scope="module")
def nvrtc():
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="needs cuda-bindings and nvidia-cuda-nvrtc")
    try:
        error, *_ = nvrtc.nvrtcVersion()
    except RuntimeError as problem:  # the bindings are there, the library is not
        pytest.skip(f"NVRTC cannot be loaded: {problem}")
    assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS
    return nvrtc


def call(nvrtc, function, *arguments):
    error, *values = function(*arguments)
    assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS, error
    return values[0] if values else None


def compile_cubin(nvrtc, text: str, name: str, arch: int) -> bytes:
    """Return machine code; the sources include nothing, so of CuPy's options only the paths are left out."""
    program = compile_program(nvrtc, text, name, (*COMPILE_OPTIONS, *CUPY_ADDS, f"--gpu-architecture=sm_{arch}"))
    cubin = bytearray(call(nvrtc, nvrtc.nvrtcGetCUBINSize, program))
    call(nvrtc, nvrtc.nvrtcGetCUBIN, program, cubin)
    return bytes(cubin)


def compile_ptx(nvrtc, text: str, name: str, arch: int, more: tuple[str, ...] = CUPY_ADDS) -> str:
    program = compile_program(nvrtc, text, name, (*COMPILE_OPTIONS, *more, f"--gpu-architecture=compute_{arch}"))
    ptx = bytearray(call(nvrtc, nvrtc.nvrtcGetPTXSize, program))
    call(nvrtc, nvrtc.nvrtcGetPTX, program, ptx)
    return ptx.decode()


def compile_program(nvrtc, text: str, name: str, options: tuple[str, ...]):
    """Compile without warnings."""
    program = call(nvrtc, nvrtc.nvrtcCreateProgram, text.encode(), name.encode(), 0, [], [])
    given = [option.encode() for option in options]
    (error,) = nvrtc.nvrtcCompileProgram(program, len(given), given)
    log = bytearray(call(nvrtc, nvrtc.nvrtcGetProgramLogSize, program))
    call(nvrtc, nvrtc.nvrtcGetProgramLog, program, log)
    text = log.decode().strip("\0\n ")
    assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS, text
    assert not text, f"compiler warnings: {text}"
    return program


@pytest.fixture(scope="module")
def compiled(nvrtc):
    """Compilations by (source, architecture), running side by side."""
    supported = call(nvrtc, nvrtc.nvrtcGetSupportedArchs)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            (source, arch): pool.submit(compile_cubin, nvrtc, kernel_source(source), source, arch)
            for source in KERNELS
            for arch in ARCHITECTURES
            if arch in supported
        }


def sections(elf: bytes) -> dict[str, bytes]:
    """Contents of the sections of a 64-bit ELF file by name."""
    table, size, count, names = struct.unpack_from("<Q", elf, 40) + struct.unpack_from("<HHH", elf, 58)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + i * size) for i in range(count)]
    strings = headers[names][4]
    found = {}
    for name, kind, _, _, offset, length in headers:
        end = elf.index(b"\0", strings + name)
        found[elf[strings + name : end].decode()] = b"" if kind == 8 else elf[offset : offset + length]
    return found


def frame_sizes(cubin: bytes) -> list[int]:
    """Bytes of local memory (stack frame) of each function, from .nv.info's EIATTR_FRAME_SIZE entries."""
    info = sections(cubin)[".nv.info"]
    at, frames = 0, []
    while at < len(info):
        form, attribute, size = struct.unpack_from("<BBH", info, at)
        at += 4
        if form == 4:  # a value of 'size' bytes follows; other forms hold theirs in the size itself
            if attribute == 0x11:
                frames.append(struct.unpack_from("<II", info, at)[1])
            at += size
    return frames


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: f"sm_{arch}")
@pytest.mark.parametrize("source", KERNELS)
def test_compiles_without_warnings_or_local_memory(compiled, source, arch):
    if (source, arch) not in compiled:
        pytest.skip(f"this NVRTC does not compile for sm_{arch}")
    cubin = compiled[source, arch].result()
    names = {name.removeprefix(".text.") for name in sections(cubin) if name.startswith(".text.")}
    assert names == set(KERNELS[source])
    frames = frame_sizes(cubin)
    assert len(frames) >= len(names)  # helpers such as 64-bit division may add theirs
    assert not any(frames)


def flushing(ptx: str) -> set[str]:
    """Return the instructions that take subnormal numbers for 0."""
    return set(re.findall(r"^\s*(?:@\S+\s+)?([a-z][\w.]*\.ftz[\w.]*)", ptx, re.MULTILINE))


@pytest.mark.parametrize("arch", [75, 90])
@pytest.mark.parametrize("source", KERNELS)
def test_no_instruction_takes_subnormal_numbers_for_0(nvrtc, source, arch):
    """CuPy compiles with -ftz=true behind our options, so arithmetic on floats would; doubles have no such thing."""
    assert flushing(compile_ptx(nvrtc, kernel_source(source), source, arch)) == set()


def test_arithmetic_on_floats_would_take_subnormal_numbers_for_0(nvrtc):
    text = 'extern "C" __global__ void kernel(float* x, double* y) { *y = *x; *x = fminf(x[1], x[2]) + 1.0f; }'
    assert flushing(compile_ptx(nvrtc, text, "x.cu", 90)) == {"cvt.ftz.f64.f32", "min.ftz.f32", "add.ftz.f32"}
    assert flushing(compile_ptx(nvrtc, text, "x.cu", 90, ())) == set()


@pytest.mark.parametrize("source", KERNELS)
def test_sources_stand_alone(source):
    """CuPy's cache does not notice a change in an included file."""
    text = kernel_source(source)
    assert not re.search(r"^\s*#\s*include", text, re.MULTILINE)
    parts = re.split(r'^#line 1 "(.*)"\n', text, flags=re.MULTILINE)
    assert parts[::2][0] == ""
    assert parts[1::2] == [COMMON, source]
    for part in parts[2::2]:
        assert re.match(r"(//.*\n)+", part), "a header comment says what the file computes"


def test_an_error_names_the_file_and_line(nvrtc):
    text = kernel_source("strided.cu")
    header, kernel = text.split('#line 1 "strided.cu"\n')
    for name, broken, lines in (
        (COMMON, text.replace(header, header + "wrong;\n"), header.count("\n")),
        ("strided.cu", text + "wrong;\n", kernel.count("\n") + 1),
    ):
        with pytest.raises(AssertionError, match=rf"{re.escape(name)}\({lines}\): error"):
            compile_cubin(nvrtc, broken, "whole.cu", 90)
