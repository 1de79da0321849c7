"""Faults of the CUDA kernels, of their launches and of the columns that come of them, run on the CPU."""

from __future__ import annotations

from tests.planted import Fault

_RANDOM = "tests/kernels/test_kernel_random.py::test_random_ragged_batches"
_OLDER = "tests/kernels/test_kernel_random.py::test_random_ragged_batches_on_older_architectures"
_STATISTICS = "tests/gpu/test_statistics.py::"

FAULTS = [
    Fault(  # compile errors name a line that is in no file, and one file's text is cached for all
        "gpustats/cuda/launcher.py",
        """f'#line 1 "{part}"\\n{_read(part)}'""",
        "_read(part)",
        "tests/kernels/test_kernel_compile.py::test_sources_stand_alone",
    ),
    Fault(  # a GPU that was asked for fails in the middle of a run, "auto" as well
        "gpustats/engines/device.py",
        "kernel_problem(definition.statistics, KIND) or gpu_problem(device_id)",
        "gpu_problem(device_id)",
        _STATISTICS + "test_without_a_kernel_auto_takes_the_cpu_and_says_why",
    ),
    Fault(  # statistics without a kernel are not computed, without a word
        "gpustats/engines/on_gpu.py",
        "if statistic.outputs is None]",
        "if statistic.outputs == {None}]",
        _STATISTICS + "test_without_a_kernel_arrays_on_the_device_are_refused",
    ),
    Fault(  # a launch computes what the last statistic needs
        "gpustats/engines/on_gpu.py",
        "for statistic in statistics for output in statistic.outputs or ()",
        "for statistic in statistics[-1:] for output in statistic.outputs or ()",
        _STATISTICS + "test_the_gpu_engine",
    ),
    Fault(  # products in another order than the CPU engine's
        "gpustats/statistics/covariance.py",
        "between = iter(range(outputs.cross.shape[1]))",
        "between = iter(reversed(range(outputs.cross.shape[1])))",
        _STATISTICS + "test_arrays_on_the_device",
    ),
    Fault(  # planes of several slices are counted as whole images
        "gpustats/cuda/tiles.py",
        "        row_channels=units.channels,\n",
        "        row_channels=request.channels,\n",
        "tests/kernels/test_kernel_arithmetic.py::test_planes_are_put_together",
    ),
    Fault(  # smallest values of bytes begin at 0
        "kernels/joint.cu",
        "low[c] = WIDENED ? 0xffffffffu : 0u;",
        "low[c] = 0u;",
        _RANDOM,
    ),
    Fault(  # the last byte of a row is not read where 15 are left
        "kernels/moments.cu",
        "(thread < 32 && at < elements)",
        "(thread < 30 && at < elements)",
        _RANDOM,
    ),
    Fault(  # the upper bits of a sum over a warp are lost
        "kernels/common.cuh",
        "return lower + (upper << 26);",
        "return lower + (upper << 27);",
        _RANDOM,
    ),
    Fault(  # one byte in four is not looked at
        "kernels/common.cuh",
        "high = max(max(max(high, x), x << 8), max(x << 16, x << 24));",
        "high = max(max(high, x), max(x << 16, x << 24));",
        _OLDER,
    ),
    Fault(  # a value that is not finite is added
        "kernels/float32.cu",
        "if (finite(x[k])) {",
        "if (x[k] == x[k]) {",
        _RANDOM,
    ),
    Fault(  # subnormal numbers are widened as if they had a leading one
        "kernels/float32.cu",
        "if (size >= 0x00800000u) return",
        "if (size) return",
        "tests/kernels/test_kernel_exactness.py::test_float32_takes_subnormal_numbers_as_they_are",
    ),
    Fault(  # a conversion that takes subnormal numbers for 0 under CuPy's -ftz=true
        "kernels/float32.cu",
        "    const double shift = widened(shifts[channel]);",
        "    const double shift = shifts[channel];",
        "tests/kernels/test_kernel_compile.py::test_no_instruction_takes_subnormal_numbers_for_0",
    ),
    Fault(  # squares of all pixels of a block in 32 bits
        "kernels/joint.cu",
        "typename Wide<HISTOGRAM ? 8 : sizeof(T)>",
        "typename Wide<sizeof(T)>",
        "tests/kernels/test_kernel_exactness.py::test_no_sum_overflows_in_a_full_default_tile",
    ),
    Fault(  # empty bins take part in the extremes
        "kernels/joint.cu",
        "if (total) {\n                    atomicAdd(histogram",
        "{\n                    atomicAdd(histogram",
        _RANDOM,
    ),
    Fault(  # the bins of every image are those of all
        "gpustats/cuda/tiles.py",
        "return 0 if self.pooled else channels * BINS",
        "return 0",
        _RANDOM,
    ),
    Fault(  # bins of one channel are added to the next, the last behind the end
        "kernels/strided.cu",
        "atomicAdd(histogram + (u64)row * row_bins + c * BINS + bin, bins[warp][bin])",
        "atomicAdd(histogram + (u64)row * row_bins + (c + 1) * BINS + bin, bins[warp][bin])",
        _RANDOM,
    ),
    Fault(  # images of one colour that do not count stay in the bins
        "gpustats/engines/on_gpu.py",
        "    np.subtract.at(bins,",
        "    np.subtract.at(bins.copy(),",
        _STATISTICS + "test_bins_that_the_device_adds_up",
    ),
    Fault(  # groups would have no bins
        "gpustats/api.py",
        "per_image=kept or grouping.asked",
        "per_image=kept",
        _STATISTICS + "test_when_every_image_is_asked_for",
    ),
    Fault(  # a batch with an image that the CPU refuses is counted
        "gpustats/engines/session.py",
        "            self._retry_on_cpu(batch)  # the CPU decoder refuses what the GPU took: its verdicts count\n"
        "            self._reducing.popleft()\n",
        "            self._finish(batch, _rows(batch, columns, good, pending.folded(~good)), good)\n",
        _STATISTICS + "test_bins_that_the_device_adds_up",
    ),
    Fault(  # two totals of a batch would be one
        "gpustats/statistics/totals.py",
        "        if rows.folded:\n            self._fold(rows)\n            return\n",
        "",
        "tests/test_rows.py::test_totals_that_have_no_columns_are_folded_with_those_that_have",
    ),
    Fault(  # bins that lost a pixel
        "gpustats/cuda/outputs.py",
        "if (counted != pixels).any():",
        "if (counted > pixels).any():",
        "tests/kernels/test_kernel_arithmetic.py::test_bins_of_all_images_are_held_against_their_pixels",
    ),
    Fault(  # what was queued before an error poisons the pixels of another batch
        "gpustats/engines/cuda_reduce.py",
        "                self._stream.synchronize()\n",
        "                pass\n",
        "tests/gpu/test_cuda_reduce.py::test_after_an_error_nothing_reads_or_writes_pixels_any_more",
    ),
]
