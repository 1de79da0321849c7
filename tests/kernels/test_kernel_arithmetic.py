"""The numbers of a launch plan, each at its boundaries, and what is made of an output that was written by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from gpustats.cuda.outputs import finish
from gpustats.cuda.tiles import RESULT, SEGMENT, LaunchPlan, plan_batch

ROUND = 18432  # bytes: six 16-byte loads of 192 threads


def segments(plan: LaunchPlan) -> np.ndarray:
    return plan.table[: plan.tiles_offset].view(SEGMENT)


def tile_rows(plan: LaunchPlan) -> list[int]:
    return plan.table[plan.tiles_offset :].view(np.uint32).tolist()


@pytest.mark.parametrize(
    ("options", "rounds"),
    [({}, [3, 2, 1]), ({"histogram": True}, [12, 6, 3])],
    ids=["moments", "histogram"],
)
def test_tiles_are_as_large_as_2048_of_them_allow(options: dict[str, bool], rounds: list[int]) -> None:
    def rounds_of(pixels: int) -> float:
        plan = plan_batch([0, 0], [1, 1], [pixels - 7, 7], 1, "uint8", **options)
        assert plan.grid[0] == -(-(pixels - 7) // (plan.scalars[0] * 16)) + 1
        return plan.scalars[0] * 16 / ROUND

    large, middle, small = rounds
    assert rounds_of(large * ROUND * 2048) == large
    assert rounds_of(large * ROUND * 2048 - 1) == middle
    assert rounds_of(middle * ROUND * 2048) == middle
    assert rounds_of(middle * ROUND * 2048 - 1) == small
    assert rounds_of(100) == small


def test_what_a_tile_holds_counts_channels_and_bytes() -> None:
    assert plan_batch([0], [1], [ROUND * 2048 * 3 // 6], 3, "uint16").scalars == (3 * ROUND // 16,)
    plan = plan_batch([0], [1], [3073], 3, "uint16", tile_bytes=ROUND)
    assert plan.grid == (2, 1), "a tile of 18432 bytes is 3072 pixels of 6 bytes"
    assert plan_batch([0], [1], [3072], 3, "uint16", tile_bytes=ROUND).grid == (1, 1)


@pytest.mark.parametrize(
    ("tile_bytes", "options", "step", "most"),
    [
        (3072, {}, 3072, 3 * ROUND),
        (9216, {"cross": True}, 9216, 3 * ROUND),
        (9216, {"histogram": True}, 9216, 12 * ROUND),
    ],
    ids=["moments", "cross", "histogram"],
)
def test_sizes_of_a_tile_that_a_kernel_takes(tile_bytes: int, options: dict[str, bool], step: int, most: int) -> None:
    def plan(size: int) -> LaunchPlan:
        return plan_batch([0], [100], [100], 3, "uint8", tile_bytes=size, **options)

    assert plan(step).scalars[0] == step // 16
    assert plan(most).scalars[0] == most // 16
    for wrong in (0, step - 16, step + 16, most + step, -step):
        with pytest.raises(
            ValueError, match=f"tile_bytes must be a multiple of {step} and at most {most}, got {wrong}"
        ):
            plan(wrong)


@pytest.mark.parametrize(
    ("channels", "tile_bytes", "pixels"),
    [(5, None, 6553), (512, None, 64), (513, None, 64), (5, 1 << 30, 1 << 16), (6, 600, 100), (6, 6, 64)],
)
def test_tiles_of_the_kernel_for_any_number_of_channels(channels: int, tile_bytes: int | None, pixels: int) -> None:
    plan = plan_batch([0], [1], [1], channels, "uint8", cross=True, tile_bytes=tile_bytes)
    assert plan.kernel == "strided_u8"
    assert plan.scalars == (pixels, channels, channels * (channels - 1) // 2, channels, channels * 256)
    assert plan.block == 256


@pytest.mark.parametrize(
    ("channels", "tile_bytes", "pixels", "windows"),
    [
        (1, None, 16384, 1),
        (64, None, 256, 1),
        (63, None, 260, 1),
        (256, None, 256, 1),
        (257, None, 256, 2),
        (2, 4096, 512, 1),
    ],
)
def test_tiles_of_floats(channels: int, tile_bytes: int | None, pixels: int, windows: int) -> None:
    plan = plan_batch([0], [2], [pixels], channels, "float32", tile_bytes=tile_bytes)
    assert (plan.kernel, plan.scalars) == ("moments_f32", (pixels, channels, channels))
    assert plan.grid == (2, windows)
    assert {o.name: o.shape for o in plan.outputs} == {
        "results": (1, channels),
        "partials": (2, channels),
        "tickets": (1, windows),
    }


@pytest.mark.parametrize(("dtype", "most"), [("uint8", 2**30), ("uint16", 2**20)])
@pytest.mark.parametrize("channels", [1, 3])
def test_sums_of_a_row_stay_below_2_to_the_53(dtype: str, most: int, channels: int) -> None:
    size = np.dtype(dtype).itemsize
    assert plan_batch([64], [most // 1024], [1024], channels, dtype).row_pixels.tolist() == [most]
    plan = plan_batch([64, 640], [1, 2], [2 * most + 1, most], channels, dtype)
    assert plan.row_image.tolist() == [0, 0, 0, 1, 1]
    assert plan.row_pixels.tolist() == [most, most, 1, most, most]
    assert segments(plan)["address"].tolist() == [
        *(64 + k * most * channels * size for k in range(3)),
        *(640 + k * most * channels * size for k in range(2)),
    ]
    assert int(np.iinfo(dtype).max) ** 2 * most <= 2**53


def test_floats_are_never_cut_into_rows() -> None:
    plan = plan_batch([64], [1], [2**31 + 1], 1, "float32", tile_bytes=1 << 30, row_pixels=10)
    assert plan.row_pixels.tolist() == [2**31 + 1]
    assert plan.grid == (9, 1)


def test_slices_of_planar_images() -> None:
    planes = plan_batch([100], [5], [5], 3, "uint8", "CHW", row_pixels=10)
    assert planes.row_channel.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert planes.row_pixels.tolist() == [10, 10, 5] * 3
    assert segments(planes)["address"].tolist() == [100, 110, 120, 125, 135, 145, 150, 160, 170]
    together = plan_batch([100], [5], [5], 3, "uint16", "CHW", row_pixels=10, cross=True)
    assert together.kernel == "strided_u16"
    assert together.scalars == (5461, 3, 3, 1, 768)
    assert together.row_channel.tolist() == [-1, -1, -1]
    assert segments(together)["address"].tolist() == [100, 120, 140]
    assert segments(together)["channel_stride"].tolist() == [25, 25, 25]
    grey = plan_batch([100], [5], [5], 1, "uint8", "CHW")
    assert (grey.kernel, grey.row_channel.tolist()) == ("moments_u8_c1", [-1])


def test_tiles_are_numbered_through_and_rows_without_pixels_have_none() -> None:
    plan = plan_batch([0, 0, 0], [1, 0, 1], [7000, 9, 3072], 1, "uint8", tile_bytes=3072)
    assert segments(plan)["first_tile"].tolist() == [0, 3, 3]
    assert tile_rows(plan) == [0, 0, 0, 2]
    assert plan.grid == (4, 1)
    assert plan.tiles_offset == 3 * SEGMENT.itemsize
    empty = plan_batch([64], [0], [3], 3, "uint8")
    assert (empty.grid, tile_rows(empty), empty.row_pixels.tolist()) == ((0, 1), [], [0])


def test_more_tiles_than_a_grid_has_are_refused() -> None:
    with pytest.raises(ValueError, match="the batch has 2147487744 tiles, more than one launch takes; use smaller"):
        plan_batch([0] * 6144, [1] * 6144, [2**30] * 6144, 1, "uint8", tile_bytes=3072)


@pytest.mark.parametrize("channels", [2, 4])
def test_vector_loads_of_whole_pixels_need_an_address_of_whole_pixels(channels: int) -> None:
    for options, kernel in (({"cross": True}, "joint_u16"), ({}, "moments_u16")):
        for start in range(0, 16, 2):
            plan = plan_batch([64, 64 + start], [5, 5], [7, 7], channels, "uint16", **options)
            reached = not options or start % (channels * 2) == 0
            assert plan.kernel.startswith(kernel if reached else "strided_u16")


@pytest.mark.parametrize(
    ("dtype", "options", "names"),
    [
        ("uint8", {}, ["sums", "counts", "extremes"]),
        ("uint8", {"cross": True}, ["sums", "counts", "extremes", "histogram"]),
        ("uint8", {"histogram": True}, ["sums", "counts", "extremes", "histogram"]),
        ("float32", {}, ["results", "partials", "tickets"]),
    ],
)
@pytest.mark.parametrize("images", [0, 1, 9])
def test_outputs_lie_apart_at_cache_lines(dtype: str, options: dict[str, bool], names: list[str], images: int) -> None:
    plan = plan_batch([64] * images, [3] * images, [4] * images, 3, dtype, **options)
    assert [output.name for output in plan.outputs] == names
    end = 0
    for output in sorted(plan.outputs, key=lambda output: (output.offset, output.nbytes)):
        assert output.offset % 64 == 0
        assert end <= output.offset < end + 64
        end = output.offset + output.nbytes
    assert end <= plan.buffer_bytes < end + 64
    scratch = sum(-(-output.nbytes // 64) * 64 for output in plan.outputs if output.name == "partials")
    assert plan.output_bytes == plan.buffer_bytes - scratch
    if images:
        assert set(plan.views(np.zeros(plan.output_bytes, np.uint8))) == set(names) - {"partials"}


def test_arguments_are_two_tables_then_numbers_then_outputs() -> None:
    plan = plan_batch([64], [3], [4], 5, "uint8", cross=True)
    arguments = plan.arguments(1 << 40, 1 << 50)
    assert [type(value) for value in arguments] == [np.uint64] * 2 + [np.uint32] * 5 + [np.uint64] * 4
    assert [int(value) for value in arguments] == [
        1 << 40,
        (1 << 40) + SEGMENT.itemsize,
        6553,
        5,
        10,
        5,
        5 * 256,
        *((1 << 50) + output.offset for output in plan.outputs),
    ]


# -- what is made of the output
# ------------------------------------------------------------------------------------------


def written(plan: LaunchPlan, **values: Any) -> np.ndarray:
    """An output buffer with these arrays in it; `counts` as they should be."""
    buffer = np.zeros(plan.output_bytes, np.uint8)
    views = plan.views(buffer)
    width = 1 if plan.row_channel.max(initial=-1) >= 0 else plan.channels
    if "counts" in views:
        views["counts"][:] = plan.row_pixels * width
    for name, value in values.items():
        views[name][...] = value
    return buffer


def test_slices_of_an_image_are_put_together() -> None:
    plan = plan_batch([0, 0], [1, 1], [25, 10], 2, "uint16", row_pixels=10, cross=True)
    moments = finish(
        plan,
        written(
            plan,
            sums=[[1, 2, 10, 20, 5], [3, 4, 30, 40, 6], [5, 6, 50, 60, 7], [2**52, 8, 70, 2**53 - 1, 8]],
            extremes=[[[5, 9], [1, 2]], [[4, 12], [3, 1]], [[65535, 1], [0, 0]], [[0, 0], [65535, 65535]]],
        ),
    )
    assert moments.sum.tolist() == [[9, 12], [2**52, 8]]
    assert moments.sumsq.tolist() == [[90, 120], [70, 2**53 - 1]]
    assert moments.cross is not None
    assert moments.cross.tolist() == [[18], [8]]
    assert moments.min.tolist() == [[0, 65532], [65535, 0]]
    assert moments.max.tolist() == [[12, 2], [0, 65535]]


def test_planes_are_put_together() -> None:
    plan = plan_batch([0, 0], [1, 1], [15, 5], 2, "uint8", "CHW", row_pixels=10)
    sums = np.arange(1, 13).reshape(6, 2)
    extremes = np.arange(12).reshape(6, 1, 2)
    moments = finish(plan, written(plan, sums=sums, extremes=extremes))
    assert moments.sum.tolist() == [[1 + 3, 5 + 7], [9, 11]]
    assert moments.sumsq.tolist() == [[2 + 4, 6 + 8], [10, 12]]
    assert moments.min.tolist() == [[255 - 2, 255 - 6], [255 - 8, 255 - 10]]
    assert moments.max.tolist() == [[3, 7], [9, 11]]
    assert moments.cross is None
    assert moments.histogram is None


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_planes_of_no_image(dtype: str) -> None:
    plan = plan_batch([], [], [], 3, dtype, "CHW")
    assert finish(plan, written(plan)).sum.shape == (0, 3)


def test_bins_of_slices_are_added_up_for_each_image() -> None:
    plan = plan_batch([0, 0, 0], [1, 0, 1], [6, 6, 2], 2, "uint8", histogram=True, row_pixels=4)
    bins = np.zeros((4, 2, 256), np.uint32)
    bins[0, :, 3], bins[1, :, 3], bins[3, :, 5] = 4, 2, 2
    moments = finish(plan, written(plan, histogram=bins))
    assert moments.histogram is not None
    assert moments.pooled is None
    assert moments.histogram[:, :, [3, 5]].tolist() == [[[6, 0]] * 2, [[0, 0]] * 2, [[0, 2]] * 2]
    assert moments.histogram.sum() == 16


@pytest.mark.parametrize("change", [-1, 0, 1])
def test_bins_of_all_images_are_held_against_their_pixels(change: int) -> None:
    plan = plan_batch([0, 0], [1, 1], [6, 4], 2, "uint8", histogram=True, pooled=True)
    bins = np.zeros((1, 2, 256), np.uint32)
    bins[0, :, 7] = 10, 10 + change
    buffer = written(plan, histogram=bins)
    if change:
        with pytest.raises(RuntimeError, match=rf"counted \[10, {10 + change}\] values in the channels of 10 pixels"):
            finish(plan, buffer)
    else:
        moments = finish(plan, buffer)
        assert moments.pooled is not None
        assert moments.pooled.tolist() == bins[0].tolist()
        assert moments.histogram is None


def test_what_comes_back_of_pooled_bins_does_not_grow_with_the_batch() -> None:
    def read_back(images: int, **options: bool) -> int:
        return plan_batch([0] * images, [60] * images, [60] * images, 3, "uint8", **options).output_bytes

    for images in (1, 256):
        assert read_back(images, histogram=True, pooled=True) == read_back(images, cross=False) + 3 * 256 * 4


def test_floats_without_a_finite_value_have_the_identities_of_min_and_max() -> None:
    plan = plan_batch([0], [1], [4], 3, "float32")
    results = np.zeros((1, 3), RESULT)
    results["count"] = 4
    results["nonfinite"] = [[0, 4, 3]]
    results["min"], results["max"], results["sum"], results["sumsq"] = -2, 7, 3, 5
    results["shift"] = [[1, 0, 9]]
    moments = finish(plan, written(plan, results=results))
    assert moments.min.tolist() == [[-2, np.inf, -2]]
    assert moments.max.tolist() == [[7, -np.inf, 7]]
    assert moments.min.dtype == np.float32
    assert moments.shift is not None
    assert moments.nonfinite is not None
    assert (moments.shift.tolist(), moments.nonfinite.tolist()) == ([[1, 0, 9]], [[0, 4, 3]])
    assert (moments.sum.tolist(), moments.sumsq.tolist()) == ([[3] * 3], [[5] * 3])


def test_pixels_left_out_are_named_ten_images_at_most() -> None:
    plan = plan_batch([0] * 15, [1] * 15, [25] * 15, 3, "uint8", row_pixels=10)
    buffer = written(plan)
    finish(plan, buffer)
    plan.views(buffer)["counts"][3:] += 1
    with pytest.raises(
        RuntimeError, match=r"images concerned \(places in the batch\): 1, 2, 3, 4, 5, 6, 7, 8, 9, 10; 42 of 45 rows"
    ):
        finish(plan, buffer)


@pytest.mark.parametrize("change", [-1, 1])
def test_every_count_is_held_against_the_pixels(change: int) -> None:
    plan = plan_batch([0, 0], [1, 1], [6, 4], 2, "uint8", histogram=True)
    bins = np.zeros((2, 2, 256), np.uint32)
    bins[0, :, 7] = 6
    bins[1, :, 9] = 4
    finish(plan, written(plan, histogram=bins))
    bins[1, 1, 9] = 4 + change
    with pytest.raises(RuntimeError, match=r"joint_u8_c2_histogram .* batch\): 1; 1 of 2 rows"):
        finish(plan, written(plan, histogram=bins))
    floats = plan_batch([0, 0], [1, 1], [6, 4], 2, "float32")
    results = np.zeros((2, 2), RESULT)
    results["count"] = [[6, 6], [4, 4]]
    finish(floats, written(floats, results=results))
    results["count"][0, 1] = 6 + change
    with pytest.raises(RuntimeError, match=r"moments_f32 .* batch\): 0; 1 of 2 rows"):
        finish(floats, written(floats, results=results))


def test_a_plan_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan_batch([64], [1], [1], 3, "uint8").images = 2  # type: ignore[misc]
