"""Faults of the CUDA kernels as data: every barrier, fence, atomic, mask and beginning of a sum, broken once.

Each names the check that must find it; `kernel_planted.py` plants them. A text must occur exactly once in its file.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FAULTS", "KernelFault"]

RACE, BLOCKS, UNSET, OUTSIDE = "race in a block", "race between blocks", "not set", "outside"  # the watch of memory
NUMBERS = "numbers"  # the comparison with NumPy
STUCK = "stuck"  # a barrier that not all threads reach
SANITIZERS = "sanitizers"  # the address sanitizer

SHOWN_BY = {
    "float32.cu": "moments_f32",
    "joint.cu": "joint_u8_c3_cross_histogram",
    "moments.cu": "moments_u8_c3",
    "strided.cu": "strided_u8_histogram",
}


class KernelFault(NamedTuple):
    """A change of a kernel's source, and which check finds it."""

    file: str
    old: str
    new: str
    found_by: str
    kernel: str = ""  # that shows it; by default the one of SHOWN_BY

    @property
    def shown_by(self) -> str:
        return self.kernel or SHOWN_BY[self.file]


def _without(file: str, text: str, line: str, found_by: str, kernel: str = "") -> KernelFault:
    """Return the fault that a line is left out, which `text` holds once."""
    assert text.count(line) == 1, text
    return KernelFault(file, text, text.replace(line, ""), found_by, kernel)


F, J, M, S = SHOWN_BY
CROSS = "joint_u8_c3_cross"  # with sums and extremes of its own
U16 = "moments_u16_c3"

FAULTS = [
    # -- float32.cu: barriers and fences
    _without(F, "shared[thread] = mine;\n    __syncthreads();\n    for", "    __syncthreads();\n", RACE),
    _without(F, "= mine;\n        }\n        __syncthreads();\n", "        __syncthreads();\n", RACE),
    _without(F, "shifts[thread] = shift;\n    }\n    __syncthreads();\n", "    __syncthreads();\n", RACE),
    _without(F, "    __threadfence();\n    __syncthreads();\n", "    __threadfence();\n", BLOCKS),
    _without(F, "    __threadfence();\n    __syncthreads();\n", "    __syncthreads();\n", BLOCKS),
    _without(F, "blockIdx.y, 1u);\n    __syncthreads();\n", "    __syncthreads();\n", RACE),
    _without(F, "- 1) return;\n    __threadfence();\n", "    __threadfence();\n", BLOCKS),
    KernelFault(
        F, "= mine;\n        }\n        __syncthreads();\n", "= mine;\n        __syncthreads();\n        }\n", STUCK
    ),
    # -- float32.cu: the ticket
    KernelFault(
        F,
        "arrived = atomicAdd(tickets + (u64)row * gridDim.y + blockIdx.y, 1u);",
        "arrived = tickets[(u64)row * gridDim.y + blockIdx.y]++;",
        BLOCKS,
    ),
    KernelFault(F, "if (thread == 0) arrived = atomicAdd", "arrived = atomicAdd", RACE),
    KernelFault(F, "tickets + (u64)row * gridDim.y + blockIdx.y", "tickets + row", NUMBERS),
    KernelFault(F, "arrived != (u32)row_tiles - 1", "arrived != 0", UNSET),
    # -- float32.cu: what is set before it is used
    _without(F, "        shifts[thread] = shift;\n", "shifts[thread] = shift;", UNSET),
    KernelFault(F, "Partial mine = nothing();", "Partial mine;", NUMBERS),
    _without(F, "    mine = nothing();\n    if (active)", "mine = nothing();", NUMBERS),
    KernelFault(F, "u32 p = slot, nonfinite = 0, count = 0;", "u32 p = slot, nonfinite = 0, count;", NUMBERS),
    KernelFault(F, "u32 p = slot, nonfinite = 0, count = 0;", "u32 p = slot, nonfinite, count = 0;", NUMBERS),
    KernelFault(F, "double sum = 0.0, square = 0.0;", "double sum, square;", NUMBERS),
    KernelFault(F, "tile < row_tiles; tile += slots", "tile <= row_tiles; tile += slots", UNSET),
    # -- float32.cu: where it reads and writes
    KernelFault(F, "if (thread < width) partials[", "if (active) partials[", BLOCKS),
    KernelFault(F, "channels + first + thread] = mine;", "channels + first + thread + 1] = mine;", OUTSIDE),
    KernelFault(
        F,
        "channels + first + thread];\n        result.sum",
        "channels + first + thread + 1];\n        result.sum",
        OUTSIDE,
    ),
    KernelFault(F, "if (thread < width) {\n        Result&", "if (active) {\n        Result&", OUTSIDE),
    KernelFault(F, "p < SHIFT_CANDIDATES && p < segment.pixels;", "p < SHIFT_CANDIDATES;", OUTSIDE),
    KernelFault(F, "(UNROLL - 1) * slots < pixels;", "(UNROLL - 1) * slots <= pixels;", OUTSIDE),
    KernelFault(F, "pixels) x[k] =", "pixels + 1) x[k] =", OUTSIDE),
    KernelFault(F, "__shared__ Partial shared[THREADS];", "__shared__ Partial shared[THREADS - 1];", SANITIZERS),
    KernelFault(F, "__shared__ float shifts[WINDOW];", "__shared__ float shifts[4];", SANITIZERS),
    # -- joint.cu: barriers
    _without(J, "make_uint4(0, 0, 0, 0);\n        __syncthreads();\n", "        __syncthreads();\n", RACE),
    _without(J, "        __syncthreads();\n#pragma unroll\n", "        __syncthreads();\n", RACE),
    _without(J, "            }\n        }\n        __syncthreads();\n", "        __syncthreads();\n", RACE),
    _without(J, "+ SUMS] = count;\n    __syncthreads();\n", "    __syncthreads();\n", RACE),
    KernelFault(
        J, "+ SUMS] = count;\n    __syncthreads();\n", "+ SUMS] = count;\n    if (leader) __syncthreads();\n", STUCK
    ),
    # -- joint.cu: atomics
    KernelFault(
        J, "atomicAdd(bins + (c * BINS + value) * COPIES, 1u);", "bins[(c * BINS + value) * COPIES] += 1u;", RACE
    ),
    KernelFault(
        J,
        "atomicAdd(histogram + (u64)row * row_bins + c * BINS + value, total);",
        "histogram[(u64)row * row_bins + c * BINS + value] += total;",
        BLOCKS,
    ),
    KernelFault(J, "atomicAdd(counts + row, total * C);", "counts[row] += total * C;", BLOCKS),
    KernelFault(
        J,
        "atomicAdd(sums + (u64)row * SUMS + thread, (double)total);",
        "sums[(u64)row * SUMS + thread] += (double)total;",
        BLOCKS,
    ),
    KernelFault(
        J,
        "atomicMax(extremes + (u64)row * 2 * C + thread - 64, largest);",
        "{ u32& to = extremes[(u64)row * 2 * C + thread - 64]; to = max(to, largest); }",
        BLOCKS,
        CROSS,
    ),
    # -- joint.cu: what is set before it is used
    KernelFault(J, "k < BIN_WORDS / 4;", "k < BIN_WORDS / 4 - 1;", UNSET),
    _without(J, "((uint4*)shared)[k] = make_uint4(0, 0, 0, 0);", "((uint4*)shared)[k] = make_uint4(0, 0, 0, 0)", UNSET),
    KernelFault(J, "make_uint4(0, 0, 0, 0)", "make_uint4(0, 0, 0, 1)", NUMBERS),
    KernelFault(J, "low[c] = WIDENED ? 0xffffffffu : 0u;", "low[c] = 0u;", NUMBERS, CROSS),
    KernelFault(J, "u32 sum[C] = {}, high[C] = {}, low[C];", "u32 sum[C], high[C] = {}, low[C];", NUMBERS, CROSS),
    KernelFault(J, "u32 sum[C] = {}, high[C] = {}, low[C];", "u32 sum[C] = {}, high[C], low[C];", NUMBERS, CROSS),
    KernelFault(J, "wide_square square[C] = {};", "wide_square square[C];", NUMBERS, CROSS),
    KernelFault(J, "product[PAIRS ? PAIRS : 1] = {};", "product[PAIRS ? PAIRS : 1];", NUMBERS),
    KernelFault(J, "    u32 pixels = 0;\n", "    u32 pixels;\n", NUMBERS),
    KernelFault(J, "                u32 total = 0;\n", "                u32 total;\n", NUMBERS),
    KernelFault(J, "        u64 total = 0;\n", "        u64 total;\n", NUMBERS),
    KernelFault(J, "        u32 largest = 0;\n", "        u32 largest;\n", NUMBERS, CROSS),
    _without(
        J, "partial[warp * (SUMS + 1) + C + c] = square;", "partial[warp * (SUMS + 1) + C + c] = square", UNSET, CROSS
    ),
    KernelFault(J, "[warp * 2 * C + 2 * c] = low;", "[warp * 2 * C + 2 * c + 1] = low;", UNSET, CROSS),
    # -- joint.cu: masks
    KernelFault(J, "        if (leader) {\n", "        {\n", RACE, CROSS),
    KernelFault(
        J,
        "if (leader) partial[warp * (SUMS + 1) + 2 * C + pair] =",
        "partial[warp * (SUMS + 1) + 2 * C + pair] =",
        RACE,
    ),
    KernelFault(J, "if (leader) partial[warp * (SUMS + 1) + SUMS] =", "partial[warp * (SUMS + 1) + SUMS] =", RACE),
    KernelFault(J, "    if (tile == 0) {\n", "    {\n", NUMBERS),
    KernelFault(J, "thread < 64 + 2 * C)", "thread <= 64 + 2 * C)", OUTSIDE, CROSS),
    # -- joint.cu: where it reads and writes
    KernelFault(J, "(thread < 32 && at < pixels)", "(thread < 32 && at <= pixels)", OUTSIDE),
    KernelFault(J, "for (; i < end; i += THREADS) {", "for (; i <= end; i += THREADS) {", OUTSIDE),
    KernelFault(J, "i + (AHEAD - 1) * THREADS < end;", "i + (AHEAD - 2) * THREADS < end;", OUTSIDE),
    KernelFault(J, "row_bins + c * BINS + value, ", "row_bins + c * BINS + value + BINS, ", OUTSIDE),
    KernelFault(J, "sums + (u64)row * SUMS + thread, ", "sums + (u64)row * SUMS + thread + 1, ", OUTSIDE),
    KernelFault(
        J, "extremes + (u64)row * 2 * C + thread - 64, ", "extremes + (u64)row * 2 * C + thread - 63, ", OUTSIDE, CROSS
    ),
    KernelFault(J, "atomicAdd(counts + row, ", "atomicAdd(counts + row + 1, ", OUTSIDE),
    KernelFault(
        J, "REDUCE_WORDS = 2 * WARPS * (SUMS + 1 + C);", "REDUCE_WORDS = 2 * WARPS * (SUMS + 1);", SANITIZERS, CROSS
    ),
    # -- moments.cu: the barrier and atomics
    _without(M, "    __syncthreads();\n", "    __syncthreads();\n", RACE),
    KernelFault(M, "    __syncthreads();\n", "    if (thread < 32) __syncthreads();\n", STUCK),
    KernelFault(
        M,
        "atomicAdd(sums + (u64)row * 2 * C + channel, (double)total);",
        "sums[(u64)row * 2 * C + channel] += (double)total;",
        BLOCKS,
    ),
    KernelFault(
        M,
        "atomicAdd(sums + (u64)row * 2 * C + C + channel, (double)total);",
        "sums[(u64)row * 2 * C + C + channel] += (double)total;",
        BLOCKS,
    ),
    KernelFault(
        M,
        "atomicAdd(sums + (u64)row * 2 * C + C + channel, (double)(total << 26));",
        "sums[(u64)row * 2 * C + C + channel] += (double)(total << 26);",
        RACE,
        U16,
    ),
    KernelFault(M, "atomicAdd(counts + row, total);", "counts[row] += total;", BLOCKS),
    KernelFault(
        M,
        "atomicMax(extremes + ((u64)row * C + channel) * 2 + (thread >= HIGH), largest);",
        "{ u32& to = extremes[((u64)row * C + channel) * 2 + (thread >= HIGH)]; to = max(to, largest); }",
        BLOCKS,
    ),
    # -- moments.cu: what is set before it is used
    KernelFault(M, "for (int k = 0; k < VALUES; ++k) partial", "for (int k = 0; k < VALUES - 1; ++k) partial", UNSET),
    KernelFault(
        M,
        "u32 sum[C] = {}, square[C] = {}, high[C] = {}, low[C];",
        "u32 sum[C], square[C] = {}, high[C] = {}, low[C];",
        NUMBERS,
    ),
    KernelFault(
        M,
        "u32 sum[C] = {}, square[C] = {}, high[C] = {}, low[C];",
        "u32 sum[C] = {}, square[C], high[C] = {}, low[C];",
        NUMBERS,
    ),
    KernelFault(
        M,
        "u32 sum[C] = {}, square[C] = {}, high[C] = {}, low[C];",
        "u32 sum[C] = {}, square[C] = {}, high[C], low[C];",
        NUMBERS,
    ),
    KernelFault(M, "++c) low[c] = 0xffffffffu;", "++c) low[c] = 0;", NUMBERS),
    KernelFault(M, "u32 high12 = 0, low12 = 0xffffffffu;", "u32 high12, low12 = 0xffffffffu;", NUMBERS),
    KernelFault(M, "u32 high12 = 0, low12 = 0xffffffffu;", "u32 high12 = 0, low12 = 0;", NUMBERS),
    KernelFault(
        M, "low[C] = {}, high2[PERIOD] = {}, low2[PERIOD];", "low[C] = {}, high2[PERIOD], low2[PERIOD];", NUMBERS, U16
    ),
    KernelFault(
        M, "low[C] = {}, high2[PERIOD] = {}, low2[PERIOD];", "low[C], high2[PERIOD] = {}, low2[PERIOD];", NUMBERS, U16
    ),
    KernelFault(
        M, "    u32 sum[C] = {}, high[C] = {}, low[C] = {},", "    u32 sum[C], high[C] = {}, low[C] = {},", NUMBERS, U16
    ),
    KernelFault(
        M, "    u32 sum[C] = {}, high[C] = {}, low[C] = {},", "    u32 sum[C] = {}, high[C], low[C] = {},", NUMBERS, U16
    ),
    KernelFault(M, "    u64 square[C] = {};\n", "    u64 square[C];\n", NUMBERS, U16),
    KernelFault(M, "low2[p] = 0xffffffffu;", "low2[p] = 0;", NUMBERS, U16),
    KernelFault(M, "    u32 count = 0;\n", "    u32 count;\n", NUMBERS),
    KernelFault(M, "        u64 total = 0;\n", "        u64 total;\n", NUMBERS),
    KernelFault(M, "        u32 largest = 0;\n", "        u32 largest;\n", NUMBERS),
    # -- moments.cu: masks
    KernelFault(M, "    if (thread % 32 == 0) {\n", "    if (thread % 16 == 0) {\n", RACE),
    KernelFault(M, "    if (tile == 0) {\n", "    {\n", NUMBERS),
    KernelFault(M, "    if (thread < VALUES) {\n", "    if (thread <= VALUES) {\n", UNSET),
    # -- moments.cu: where it reads and writes
    KernelFault(M, "(thread < 32 && at < elements)", "(thread < 32 && at <= elements)", OUTSIDE),
    KernelFault(M, "for (; i < end; i += THREADS) {", "for (; i <= end; i += THREADS) {", OUTSIDE),
    KernelFault(M, "i + 5 * THREADS < end;", "i + 4 * THREADS < end;", OUTSIDE),
    KernelFault(M, "sums + (u64)row * 2 * C + channel,", "sums + (u64)row * 2 * C + 1 + channel,", NUMBERS),
    KernelFault(
        M,
        "sums + (u64)row * 2 * C + C + channel, (double)total",
        "sums + (u64)row * 2 * C + C + channel + 1, (double)total",
        OUTSIDE,
    ),
    KernelFault(M, "atomicAdd(counts + row, ", "atomicAdd(counts + row + 1, ", OUTSIDE),
    KernelFault(M, "* 2 + (thread >= HIGH), ", "* 2 + 1 + (thread >= HIGH), ", OUTSIDE),
    KernelFault(M, "__shared__ u32 partial[WARPS][VALUES];", "__shared__ u32 partial[WARPS - 1][VALUES];", SANITIZERS),
    # -- strided.cu: barriers
    _without(S, "bins[warp][bin] = 0;\n            __syncwarp();\n", "            __syncwarp();\n", RACE),
    _without(S, "            __syncwarp();\n            // Each lane", "            __syncwarp();\n", RACE),
    # Lanes that take other bins than they clear: then the barrier that is not there would be needed.
    KernelFault(
        S,
        "bin = lane; bin < BINS; bin += 32)\n                if (bins",
        "bin = lane ^ 1; bin < BINS; bin += 32)\n                if (bins",
        RACE,
    ),
    KernelFault(
        S,
        "bins[warp][bin] = 0;\n            __syncwarp();\n",
        "bins[warp][bin] = 0;\n            if (lane) __syncwarp();\n",
        STUCK,
    ),
    # -- strided.cu: atomics
    KernelFault(S, "atomicAdd(&bins[warp][x], 1u);", "bins[warp][x] += 1u;", RACE),
    KernelFault(S, "atomicAdd(row_sums + c, (double)total);", "row_sums[c] += (double)total;", BLOCKS),
    KernelFault(
        S,
        "atomicAdd(row_sums + channels + c, (double)total_square);",
        "row_sums[channels + c] += (double)total_square;",
        BLOCKS,
    ),
    KernelFault(
        S,
        "atomicMax(extremes + ((u64)row * channels + c) * 2, low);",
        "{ u32& to = extremes[((u64)row * channels + c) * 2]; to = max(to, low); }",
        BLOCKS,
    ),
    KernelFault(
        S,
        "atomicMax(extremes + ((u64)row * channels + c) * 2 + 1, high);",
        "{ u32& to = extremes[((u64)row * channels + c) * 2 + 1]; to = max(to, high); }",
        BLOCKS,
    ),
    KernelFault(S, "atomicAdd(counts + row, (u64)count);", "counts[row] += (u64)count;", RACE),
    KernelFault(
        S,
        "atomicAdd(histogram + (u64)row * row_bins + c * BINS + bin, bins[warp][bin]);",
        "histogram[(u64)row * row_bins + c * BINS + bin] += bins[warp][bin];",
        BLOCKS,
    ),
    KernelFault(
        S,
        "atomicAdd(row_sums + 2 * channels + pair, (double)product);",
        "row_sums[2 * channels + pair] += (double)product;",
        BLOCKS,
    ),
    # -- strided.cu: what is set before it is used
    KernelFault(
        S, "bin < BINS; bin += 32) bins[warp][bin] = 0;", "bin < BINS - 1; bin += 32) bins[warp][bin] = 0;", UNSET
    ),
    _without(S, "for (u32 bin = lane; bin < BINS; bin += 32) bins[warp][bin] = 0;", "bins[warp][bin] = 0", UNSET),
    KernelFault(
        S, "u32 sum = 0, low = 0, high = 0, count = 0;", "u32 sum, low = 0, high = 0, count = 0;", NUMBERS, "strided_u8"
    ),
    KernelFault(
        S, "u32 sum = 0, low = 0, high = 0, count = 0;", "u32 sum = 0, low, high = 0, count = 0;", NUMBERS, "strided_u8"
    ),
    KernelFault(
        S, "u32 sum = 0, low = 0, high = 0, count = 0;", "u32 sum = 0, low = 0, high, count = 0;", NUMBERS, "strided_u8"
    ),
    KernelFault(S, "u32 sum = 0, low = 0, high = 0, count = 0;", "u32 sum = 0, low = 0, high = 0, count;", NUMBERS),
    KernelFault(S, "        u64 square = 0;\n", "        u64 square;\n", NUMBERS, "strided_u8"),
    KernelFault(S, "        u64 product = 0;\n", "        u64 product;\n", NUMBERS),
    # -- strided.cu: masks, and where it reads and writes
    KernelFault(S, "        if (lane == 0) {\n", "        if (lane < 2) {\n", NUMBERS),
    KernelFault(S, "if (lane == 0) atomicAdd(row_sums", "atomicAdd(row_sums", NUMBERS),
    KernelFault(
        S,
        "p < pixels; p += 32) {\n            const u32 x",
        "p <= pixels; p += 32) {\n            const u32 x",
        OUTSIDE,
    ),
    KernelFault(
        S,
        "p < pixels; p += 32) {\n            const u64 at",
        "p <= pixels; p += 32) {\n            const u64 at",
        OUTSIDE,
    ),
    KernelFault(S, "row_sums + 2 * channels + pair, ", "row_sums + 2 * channels + pair + 1, ", OUTSIDE),
    KernelFault(S, "atomicAdd(row_sums + c, ", "atomicAdd(row_sums + 1 + c, ", NUMBERS, "strided_u8"),
    KernelFault(S, "row_sums + channels + c, ", "row_sums + channels + c + 1, ", NUMBERS, "strided_u8"),
    KernelFault(S, "atomicAdd(counts + row, ", "atomicAdd(counts + row + 1, ", OUTSIDE),
    KernelFault(S, "channels + c) * 2, low", "channels + c) * 2 + 2, low", OUTSIDE),
    KernelFault(S, "channels + c) * 2 + 1, high", "channels + c) * 2 + 2, high", OUTSIDE),
    KernelFault(S, "row_bins + c * BINS + bin, ", "row_bins + c * BINS + bin + BINS, ", OUTSIDE),
    KernelFault(S, "bins[HISTOGRAM ? WARPS : 1]", "bins[HISTOGRAM ? WARPS / 2 : 1]", SANITIZERS),
]
