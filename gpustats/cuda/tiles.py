"""What one kernel launch over a batch of images looks like; NumPy only.

A batch becomes rows (an image, a plane of a planar image, or a slice of a large image) and rows become tiles,
one CUDA block each. `plan_batch` decides all of it on the host; `gpustats.cuda.outputs.finish` puts the rows
of an image together again. Both are the same whether a GPU ran the kernel in between or the tests' CPU
stand-in did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["LaunchPlan", "Layout", "Output", "plan_batch"]

Layout = Literal["HWC", "CHW"]

# Mirrors of the structs in kernels/*.cu.
SEGMENT = np.dtype(
    [("address", "u8"), ("pixels", "u8"), ("channel_stride", "u8"), ("first_tile", "u4"), ("reserved", "u4")]
)
RESULT = np.dtype(
    [
        ("sum", "f8"),
        ("sumsq", "f8"),
        ("shift", "f8"),
        ("min", "f4"),
        ("max", "f4"),
        ("nonfinite", "u8"),
        ("count", "u8"),
    ]
)
PARTIAL_BYTES = 64

# Pixels a row at most: sums of products stay below 2**53 (exact in float64), bins below 2**32.
ROW_PIXELS = {1: 2**30, 2: 2**20}

MOMENTS_THREADS = JOINT_THREADS = 192
STRIDED_THREADS = FLOAT_THREADS = 256
# A round is six (moments) or two times three (joint) 16-byte loads of every thread of a block.
ROUND_BYTES = 6 * 16 * MOMENTS_THREADS
ENOUGH_TILES = 2048


@dataclass(frozen=True)
class Output:
    """One array in the output buffer of a launch."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class LaunchPlan:
    """One launch: which kernel, over what, with which grid, and where its outputs lie.

    Attributes
    ----------
    source, kernel : str
        File under `kernels/` and the name of the function in it.
    grid : tuple of int
        Blocks in x (tiles; 0 if the batch has no pixel) and y.
    block : int
        Threads a block.
    table : ndarray of uint8
        Row table followed by tile table, as the kernel reads them; to be copied to the device.
    tiles_offset : int
        Where in `table` the tile table begins.
    scalars : tuple of int
        The kernel's u32 arguments.
    outputs : tuple of Output
        The output buffer's arrays, in the order of the kernel's arguments.
    output_bytes : int
        Bytes at the start of the output buffer that are zero-filled before and read back after the launch.
    buffer_bytes : int
        Size of the output buffer with the kernel's scratch memory behind it.
    images, channels : int
    dtype : numpy.dtype
    row_image, row_channel, row_pixels : ndarray of int64, shape (rows,)
        What a row covers; `row_channel` is -1 where a row holds all channels.
    cross, histogram : bool
    """

    source: str
    kernel: str
    grid: tuple[int, int]
    block: int
    table: NDArray[np.uint8]
    tiles_offset: int
    scalars: tuple[int, ...]
    outputs: tuple[Output, ...]
    output_bytes: int
    buffer_bytes: int
    images: int
    channels: int
    dtype: np.dtype[Any]
    row_image: NDArray[np.int64]
    row_channel: NDArray[np.int64]
    row_pixels: NDArray[np.int64]
    cross: bool
    histogram: bool

    def arguments(self, table: int, buffer: int) -> tuple[np.uint32 | np.uint64, ...]:
        """The kernel's arguments, given the addresses of the table and of the output buffer."""
        pointers = (np.uint64(table), np.uint64(table + self.tiles_offset))
        outputs = (np.uint64(buffer + output.offset) for output in self.outputs)
        return (*pointers, *(np.uint32(scalar) for scalar in self.scalars), *outputs)

    def views(self, buffer: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The arrays in a copy of the output buffer's first `output_bytes` bytes."""
        return {
            o.name: buffer[o.offset : o.offset + o.nbytes].view(o.dtype).reshape(o.shape)
            for o in self.outputs
            if o.offset + o.nbytes <= self.output_bytes
        }


def plan_batch(
    pointers: ArrayLike,
    heights: ArrayLike,
    widths: ArrayLike,
    channels: int,
    dtype: DTypeLike,
    layout: Layout = "HWC",
    *,
    cross: bool = False,
    histogram: bool = False,
    tile_bytes: int | None = None,
    row_pixels: int | None = None,
) -> LaunchPlan:
    """Plan one launch over a ragged batch.

    Parameters
    ----------
    pointers : array_like of uint64, shape (n,)
        Address of each image's first element, a multiple of the element's size.
    heights, widths : array_like of int, shape (n,)
        May be 0.
    channels : int
        The same for all images of the batch.
    dtype : uint8, uint16 or float32
    layout : {"HWC", "CHW"}
    cross : bool
        Also sum products of channels (integer images).
    histogram : bool
        Also count values in 256 bins (uint8 images).
    tile_bytes, row_pixels : int, optional
        Bytes a block takes and pixels a row holds at most, where the default does not suit: for tests and
        benchmarks.

    Returns
    -------
    LaunchPlan

    Raises
    ------
    ValueError
        For arguments that no kernel takes, with what would be taken.
    """
    dtype = np.dtype(dtype)
    if dtype.name not in ("uint8", "uint16", "float32"):
        raise ValueError(f"dtype {dtype.name} is not supported; supported are uint8, uint16 and float32")
    if layout not in ("HWC", "CHW"):
        raise ValueError(f"layout {layout!r} is not supported; supported are 'HWC' and 'CHW'")
    if channels < 1:
        raise ValueError(f"channels must be at least 1, got {channels}")
    if cross and dtype.kind == "f":
        raise ValueError("cross products are computed for uint8 and uint16 images, not for float32")
    if histogram and dtype != np.uint8:
        raise ValueError(f"histograms are computed for uint8 images, not for {dtype.name}")
    address = np.atleast_1d(np.asarray(pointers, dtype=np.uint64))
    height = np.atleast_1d(np.asarray(heights, dtype=np.int64))
    width = np.atleast_1d(np.asarray(widths, dtype=np.int64))
    if not address.shape == height.shape == width.shape or address.ndim != 1:
        raise ValueError(
            "pointers, heights and widths must have one shape (n,),"
            f" got {address.shape}, {height.shape} and {width.shape}"
        )
    if np.any(height < 0) or np.any(width < 0):
        raise ValueError("heights and widths must not be negative")
    odd = np.flatnonzero(address % np.uint64(dtype.itemsize))
    if odd.size:
        raise ValueError(
            f"image {odd[0]} of {dtype.name} starts at {address[odd[0]]}, not a multiple of {dtype.itemsize}"
        )

    images = len(address)
    pixels = height * width
    pairs = channels * (channels - 1) // 2 if cross else 0
    planar = layout == "CHW" and channels > 1
    # Planes are images of one channel, unless products need the channels of a pixel together.
    planes = planar and not pairs
    image = np.repeat(np.arange(images), channels if planes else 1)
    channel = np.tile(np.arange(channels), images) if planes else np.full(images, -1)
    row_channels = 1 if planes else channels
    pixel_stride = 1 if planar else channels
    channel_stride = pixels[image] if planar else np.ones(len(image), np.int64)
    start = address[image]
    if planes:
        start = start + (channel * pixels[image] * dtype.itemsize).astype(np.uint64)

    if dtype.kind == "f":
        slices = np.ones(len(image), np.int64)  # their sums have an order, which must not depend on slicing
        limit = 2**62
    else:
        limit = row_pixels or ROW_PIXELS[dtype.itemsize]
        slices = np.maximum(1, -(-pixels[image] // limit))
    unit = np.repeat(np.arange(len(image)), slices)
    nth = np.arange(len(unit)) - np.repeat(np.cumsum(slices) - slices, slices)
    done = nth * limit
    row_image = image[unit]
    rows = len(unit)
    row_size = np.minimum(pixels[row_image] - done, limit)
    segments = np.zeros(rows, SEGMENT)
    segments["address"] = start[unit] + (done * pixel_stride * dtype.itemsize).astype(np.uint64)
    segments["pixels"] = row_size
    segments["channel_stride"] = channel_stride[unit]

    source, kernel, block, tile_pixels, scalars = _choose(
        segments, row_channels, dtype, planar and not planes, pairs, histogram, pixel_stride, tile_bytes
    )
    tiles = -(-row_size // tile_pixels)
    total = int(tiles.sum())
    if total >= 2**31:
        raise ValueError(f"the batch has {total} tiles, more than one launch takes; use smaller batches")
    segments["first_tile"] = np.cumsum(tiles) - tiles
    tile_segment = np.repeat(np.arange(rows, dtype=np.uint32), tiles)
    table = np.concatenate([segments.view(np.uint8), tile_segment.view(np.uint8)])

    if dtype.kind == "f":
        windows = -(-row_channels // FLOAT_THREADS)
        shapes: list[tuple[str, Any, tuple[int, ...]]] = [
            ("results", RESULT, (rows, row_channels)),
            ("tickets", np.uint32, (rows, windows)),
            ("partials", np.dtype((np.void, PARTIAL_BYTES)), (total, row_channels)),
        ]
    else:
        windows = 1
        shapes = [
            ("sums", np.float64, (rows, 2 * row_channels + pairs)),
            ("counts", np.uint64, (rows,)),
            ("extremes", np.uint32, (rows, row_channels, 2)),
        ]
        if not kernel.startswith("moments"):
            shapes.append(("histogram", np.uint32, (rows if histogram else 0, row_channels, 256)))
    outputs = []
    offset = output_bytes = 0
    for name, kind, shape in shapes:
        output = Output(name, np.dtype(kind), shape, offset)
        outputs.append(output)
        offset += -(-output.nbytes // 64) * 64
        if name != "partials":
            output_bytes = offset
    if dtype.kind == "f":  # as the kernel's arguments have them
        outputs = [outputs[0], outputs[2], outputs[1]]

    return LaunchPlan(
        source=source,
        kernel=kernel,
        grid=(total, windows),
        block=block,
        table=table,
        tiles_offset=segments.nbytes,
        scalars=scalars,
        outputs=tuple(outputs),
        output_bytes=output_bytes,
        buffer_bytes=offset,
        images=images,
        channels=channels,
        dtype=dtype,
        row_image=row_image,
        row_channel=channel[unit],
        row_pixels=row_size,
        cross=cross,
        histogram=histogram,
    )


def _choose(
    segments: NDArray[Any],
    channels: int,
    dtype: np.dtype[Any],
    planar: bool,
    pairs: int,
    histogram: bool,
    pixel_stride: int,
    tile_bytes: int | None,
) -> tuple[str, str, int, int, tuple[int, ...]]:
    """Source file, kernel, block, pixels a tile and u32 arguments: the one place that decides on a launch."""
    size = dtype.itemsize
    if dtype.kind == "f":
        # A function of the number of channels alone, or the same image would not always give the same bits.
        tile_pixels = max(256, (tile_bytes or 65536) // (4 * channels))
        return "float32.cu", "moments_f32", FLOAT_THREADS, tile_pixels, (tile_pixels, channels, pixel_stride)

    name = f"u{8 * size}"
    whole_pixels = bool(pairs) or histogram
    aligned = channels in (1, 3) or not np.any(segments["address"] % np.uint64(channels * size))
    if channels > 4 or planar or (whole_pixels and not aligned):
        tile_pixels = min(2**16, max(64, (tile_bytes or 32768) // (channels * size)))
        kernel = f"strided_{name}" + "_histogram" * histogram
        scalars = (tile_pixels, channels, pairs, pixel_stride)
        return "strided.cu", kernel, STRIDED_THREADS, tile_pixels, scalars

    if tile_bytes is None:
        # Large tiles pay less for the reduction at the end (and the clearing and adding up of bins), but
        # all multiprocessors should have several to do.
        total = int(segments["pixels"].sum()) * channels * size
        rounds = (12, 6, 3) if histogram else (3, 2, 1)
        enough = (r for r in rounds if total >= r * ROUND_BYTES * ENOUGH_TILES)
        tile_bytes = ROUND_BYTES * next(enough, rounds[-1])
    step = 3 * 16 * JOINT_THREADS if whole_pixels else 16 * MOMENTS_THREADS
    most = (12 if histogram else 3) * ROUND_BYTES
    if tile_bytes % step or not step <= tile_bytes <= most:
        raise ValueError(f"tile_bytes must be a multiple of {step} and at most {most}, got {tile_bytes}")
    tile_vectors = tile_bytes // 16
    # Tiles are counted in whole vectors or chunks after an unaligned head, which is tile 0's, too.
    tile_pixels = tile_bytes // (channels * size)
    if not whole_pixels:
        return "moments.cu", f"moments_{name}_c{channels}", MOMENTS_THREADS, tile_pixels, (tile_vectors,)
    kernel = f"joint_{name}_c{channels}" + "_cross" * bool(pairs) + "_histogram" * histogram
    return "joint.cu", kernel, JOINT_THREADS, tile_pixels, (tile_vectors,)
