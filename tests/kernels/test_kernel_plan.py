"""Planning a launch and reading its output, without running anything."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from kernel_shim import Batch, compute

from gpustats.cuda.launcher import KERNELS, finish, kernel_source, plan_batch
from gpustats.cuda.tiles import SEGMENT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "int32"}, "int32 is not supported; supported are uint8, uint16 and float32"),
        ({"layout": "NHWC"}, "'NHWC' is not supported; supported are 'HWC' and 'CHW'"),
        ({"channels": 0}, "at least 1, got 0"),
        ({"dtype": "float32", "pointers": [64, 64], "cross": True}, "not for float32"),
        ({"dtype": "uint16", "pointers": [64, 64], "histogram": True}, "not for uint16"),
        ({"pooled": True}, "pooled is for histograms of interleaved images"),
        ({"histogram": True, "pooled": True, "layout": "CHW"}, "pooled is for histograms of interleaved images"),
        (
            {"histogram": True, "pooled": True, "heights": [2**16, 1], "widths": [2**16, 1]},
            "4294967297 pixels, 2.*32 or more are too many for pooled bins",
        ),
        ({"heights": [2]}, r"one shape \(n,\)"),
        ({"heights": [2, -1]}, "not be negative"),
        ({"dtype": "uint16", "pointers": [64, 65]}, "image 1 of uint16 starts at 65, not a multiple of 2"),
        ({"dtype": "uint16", "pointers": [65, 67]}, "image 0 of uint16 starts at 65, not a multiple of 2"),
        ({"tile_bytes": 1000}, "multiple of 3072"),
    ],
)
def test_what_no_kernel_takes(change, message):
    arguments = {
        "pointers": [64, 65],
        "heights": [2, 2],
        "widths": [3, 3],
        "channels": 3,
        "dtype": "uint8",
        **change,
    }
    with pytest.raises(ValueError, match=message):
        plan_batch(**arguments)


def test_every_planned_kernel_exists_and_every_kernel_is_planned():
    planned = set()
    for dtype in ("uint8", "uint16", "float32"):
        for channels in (1, 2, 3, 4, 5):
            for cross in (False, True):
                for histogram in (False, True):
                    if (cross and dtype == "float32") or (histogram and dtype != "uint8"):
                        continue
                    plan = plan_batch([64], [8], [9], channels, dtype, cross=cross, histogram=histogram)
                    planned.add((plan.source, plan.kernel))
    assert planned == {(source, kernel) for source, kernels in KERNELS.items() for kernel in kernels}


def test_rows_and_tiles_of_a_plan():
    plan = plan_batch([1000, 5000, 9000], [10, 0, 100], [10, 7, 200], 3, "uint8", tile_bytes=9216)
    segments = plan.table[: plan.tiles_offset].view(SEGMENT)
    assert segments["address"].tolist() == [1000, 5000, 9000]
    assert segments["pixels"].tolist() == [100, 0, 20000]
    assert segments["first_tile"].tolist() == [0, 1, 1]
    assert plan.table[plan.tiles_offset :].view(np.uint32).tolist() == [0] + [2] * 7
    assert plan.grid == (8, 1)


def test_planes_are_rows_of_one_channel():
    plan = plan_batch([4096], [5], [7], 3, "uint16", "CHW")
    assert plan.kernel == "moments_u16_c1"
    assert plan.table[: plan.tiles_offset].view(SEGMENT)["address"].tolist() == [4096, 4096 + 70, 4096 + 140]
    assert plan.row_channel.tolist() == [0, 1, 2]


def test_products_at_addresses_that_no_vector_load_reaches_go_to_the_strided_kernel():
    assert plan_batch([64], [5], [7], 4, "uint8", cross=True).kernel == "joint_u8_c4_cross"
    assert plan_batch([65], [5], [7], 4, "uint8", cross=True).kernel == "strided_u8"
    assert plan_batch([65], [5], [7], 3, "uint8", cross=True).kernel == "joint_u8_c3_cross"


def test_large_batches_get_large_tiles():
    def tile(images):
        return plan_batch([0] * images, [375] * images, [500] * images, 3, "uint8").scalars[0] * 16

    assert tile(1) < tile(1000)


@pytest.mark.parametrize("options", [{}, {"cross": True}, {"histogram": True}], ids=str)
@pytest.mark.parametrize("channels", [3, 5])
def test_a_pixel_left_out_is_an_error_not_a_number(cpu_device, channels, options):
    batch = Batch.random(np.random.default_rng(1), [(4, 4), (20, 30), (5, 5)], channels, "uint8")
    plan = batch.plan(**options)
    output = cpu_device.run(plan)
    longer = plan.row_pixels.copy()
    longer[1] += 1
    with pytest.raises(RuntimeError, match=r"did not visit every pixel exactly once; images .* batch\): 1;"):
        finish(dataclasses.replace(plan, row_pixels=longer), output)
    batch.check(finish(plan, output), **options)


def test_a_launch_that_never_ran_is_an_error():
    for dtype in ("uint8", "float32"):
        plan = plan_batch([64], [5], [7], 3, dtype)
        with pytest.raises(RuntimeError, match="did not visit every pixel"):
            finish(plan, np.zeros(plan.output_bytes, np.uint8))


def test_result_fields(cpu_device):
    batch = Batch.random(np.random.default_rng(2), [(4, 4), (0, 0)], 3, "uint16")
    moments = compute(cpu_device, batch.plan(cross=True))
    assert moments.sum.dtype == moments.sumsq.dtype == moments.cross.dtype == np.uint64
    assert moments.min.dtype == moments.max.dtype == np.uint16
    assert moments.cross.shape == (2, 3)
    assert moments.min[1].tolist() == [65535] * 3  # nothing seen: the identity of min
    assert moments.shift is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        moments.sum = None


def test_sources_are_found_and_a_wrong_name_says_where_it_was_looked_for():
    assert "moments_u8_c3" in kernel_source("moments.cu")
    with pytest.raises(FileNotFoundError, match=r"nothing\.cu not found; looked for .*cuda.* and .*kernels"):
        kernel_source("nothing.cu")


def test_importing_the_module_imports_no_cupy():
    code = "import sys, gpustats.cuda.launcher; sys.exit('cupy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
