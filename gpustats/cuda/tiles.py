"""What one kernel launch over a batch of images looks like; NumPy only.

A batch becomes rows (an image, a plane of a planar image, or a slice of a large image) and rows become tiles,
one CUDA block each. `plan_batch` decides all of it on the host; `gpustats.cuda.outputs.finish` puts the rows
of an image together again. Both are the same whether a GPU ran the kernel in between or the tests' CPU
stand-in did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

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
BINS = 256

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
    """One launch: the kernel, its input, its grid, and the place of its outputs.

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
        Size of the output buffer, followed by the kernel's scratch memory.
    images, channels : int
    dtype : numpy.dtype
    row_channels : int
        Channels that a row holds: all of them, or one where rows are planes.
    row_image, row_channel, row_pixels : ndarray of int64, shape (rows,)
        What a row covers; `row_channel` is -1 where a row holds all channels.
    cross, histogram, pooled : bool
        `pooled` where all images are counted in the same bins.
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
    row_channels: int
    row_image: NDArray[np.int64]
    row_channel: NDArray[np.int64]
    row_pixels: NDArray[np.int64]
    cross: bool
    histogram: bool
    pooled: bool

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
    pooled: bool = False,
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
    pooled : bool
        Count the values of all images in the same bins: 3 KB that come back, whatever the batch (interleaved images,
        together of fewer than 2**32 pixels).
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
    request = _Request(np.dtype(dtype), layout, channels, cross, histogram, pooled, tile_bytes, row_pixels)
    _check_request(request)
    address, pixels = _check_images(pointers, heights, widths, request.dtype)
    if pooled and pixels.sum() >= 2**32:
        raise ValueError(f"the batch has {pixels.sum()} pixels, 2**32 or more are too many for pooled bins")
    units = _units(address, pixels, request)
    rows, segments = _slices(units, request)
    launch = _choose(segments, units, request)
    tile_segment = _number_tiles(segments, launch.tile_pixels)
    return _plan(len(address), units, rows, segments, tile_segment, launch, request)


# -- arguments
# ---------------------------------------------------------------------------------------------------------


class _Request(NamedTuple):
    """The arguments of `plan_batch` that hold for all images."""

    dtype: np.dtype[Any]
    layout: str
    channels: int
    cross: bool
    histogram: bool
    pooled: bool
    tile_bytes: int | None
    row_pixels: int | None

    @property
    def is_float(self) -> bool:
        return self.dtype.kind == "f"

    @property
    def pairs(self) -> int:
        """Products to sum."""
        return self.channels * (self.channels - 1) // 2 if self.cross else 0

    def row_bins(self, channels: int) -> int:
        """Bins from a row of so many channels to the next."""
        return 0 if self.pooled else channels * BINS


def _check_request(request: _Request) -> None:
    dtype = request.dtype
    if dtype.name not in ("uint8", "uint16", "float32"):
        raise ValueError(f"dtype {dtype.name} is not supported; supported are uint8, uint16 and float32")
    if request.layout not in ("HWC", "CHW"):
        raise ValueError(f"layout {request.layout!r} is not supported; supported are 'HWC' and 'CHW'")
    if request.channels < 1:
        raise ValueError(f"channels must be at least 1, got {request.channels}")
    if request.cross and request.is_float:
        raise ValueError("cross products are computed for uint8 and uint16 images, not for float32")
    if request.histogram and dtype != np.uint8:
        raise ValueError(f"histograms are computed for uint8 images, not for {dtype.name}")
    if request.pooled and (not request.histogram or (request.layout == "CHW" and request.channels > 1)):
        raise ValueError("pooled is for histograms of interleaved images")


def _check_images(
    pointers: ArrayLike, heights: ArrayLike, widths: ArrayLike, dtype: np.dtype[Any]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the addresses and the pixels of the images."""
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
    return address, height * width


# -- from images to rows
# ---------------------------------------------------------------------------------------------------------


class _Units(NamedTuple):
    """What is read by itself: images, or planes of planar images. Arrays have one entry a unit."""

    image: NDArray[np.int64]
    channel: NDArray[np.int64]  # -1 where a unit holds all channels
    start: NDArray[np.uint64]
    pixels: NDArray[np.int64]
    channel_stride: NDArray[np.int64]
    channels: int
    pixel_stride: int

    @property
    def planar(self) -> bool:
        """Whether a unit holds several channels, one behind the other."""
        return self.channels > self.pixel_stride


def _units(address: NDArray[np.uint64], pixels: NDArray[np.int64], request: _Request) -> _Units:
    channels = request.channels
    images = np.arange(len(address))
    ones, none = np.ones(len(address), np.int64), np.full(len(address), -1)
    if request.layout == "HWC" or channels == 1:
        return _Units(images, none, address, pixels, ones, channels, channels)
    if request.pairs:  # products need the channels of a pixel together
        return _Units(images, none, address, pixels, pixels, channels, 1)
    image, channel = np.repeat(images, channels), np.tile(np.arange(channels), len(address))
    size = pixels[image]
    start = address[image] + (channel * size * request.dtype.itemsize).astype(np.uint64)
    return _Units(image, channel, start, size, size, 1, 1)


def _slices(units: _Units, request: _Request) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Cut units into rows; return the unit of each row and the row table, as yet without tiles."""
    # The sums of floats have an order, which must not depend on slicing.
    limit = 2**62 if request.is_float else request.row_pixels or ROW_PIXELS[request.dtype.itemsize]
    slices = np.maximum(1, -(-units.pixels // limit))
    unit = np.repeat(np.arange(len(units.image)), slices)
    nth = np.arange(len(unit)) - np.repeat(np.cumsum(slices) - slices, slices)
    done = nth * limit
    segments = np.zeros(len(unit), SEGMENT)
    segments["address"] = units.start[unit] + (done * units.pixel_stride * request.dtype.itemsize).astype(np.uint64)
    segments["pixels"] = np.minimum(units.pixels[unit] - done, limit)
    segments["channel_stride"] = units.channel_stride[unit]
    return unit, segments


# -- from rows to tiles
# ---------------------------------------------------------------------------------------------------------


class _Launch(NamedTuple):
    source: str
    kernel: str
    block: int
    tile_pixels: int
    scalars: tuple[int, ...]


def _choose(segments: NDArray[Any], units: _Units, request: _Request) -> _Launch:
    """Return kernel, block and tile: the one place that decides on a launch."""
    size, channels = request.dtype.itemsize, units.channels
    if request.is_float:
        # A function of the number of channels alone, or the same image would not always give the same bits.
        tile_pixels = max(256, (request.tile_bytes or 65536) // (4 * channels))
        scalars: tuple[int, ...] = (tile_pixels, channels, units.pixel_stride)
        return _Launch("float32.cu", "moments_f32", FLOAT_THREADS, tile_pixels, scalars)

    name = f"u{8 * size}"
    whole_pixels = bool(request.pairs) or request.histogram
    aligned = channels in (1, 3) or not np.any(segments["address"] % np.uint64(channels * size))
    if channels > 4 or units.planar or (whole_pixels and not aligned):
        tile_pixels = min(2**16, max(64, (request.tile_bytes or 32768) // (channels * size)))
        scalars = (tile_pixels, channels, request.pairs, units.pixel_stride, request.row_bins(channels))
        kernel = f"strided_{name}" + "_histogram" * request.histogram
        return _Launch("strided.cu", kernel, STRIDED_THREADS, tile_pixels, scalars)

    total = int(segments["pixels"].sum()) * channels * size
    tile_bytes = _tile_bytes(total, whole_pixels, request.histogram, request.tile_bytes)
    scalars = (tile_bytes // 16,)
    # Tiles are counted in whole vectors or chunks after an unaligned head, which is tile 0's, too.
    tile_pixels = tile_bytes // (channels * size)
    if not whole_pixels:
        return _Launch("moments.cu", f"moments_{name}_c{channels}", MOMENTS_THREADS, tile_pixels, scalars)
    scalars = (*scalars, request.row_bins(channels))
    kernel = f"joint_{name}_c{channels}" + "_cross" * bool(request.pairs) + "_histogram" * request.histogram
    return _Launch("joint.cu", kernel, JOINT_THREADS, tile_pixels, scalars)


def _tile_bytes(total: int, whole_pixels: bool, histogram: bool, given: int | None) -> int:
    """Return the bytes of a tile for `total` bytes of pixels, or check those that were given."""
    rounds = (12, 6, 3) if histogram else (3, 2, 1)
    step = 3 * 16 * JOINT_THREADS if whole_pixels else 16 * MOMENTS_THREADS
    most = rounds[0] * ROUND_BYTES
    if given is None:
        # Large tiles pay less for the reduction at the end (and the clearing and adding up of bins), but
        # all multiprocessors should have several to do.
        enough = (r for r in rounds if total >= r * ROUND_BYTES * ENOUGH_TILES)
        return ROUND_BYTES * next(enough, rounds[-1])
    tile_bytes = given
    if tile_bytes % step or not step <= tile_bytes <= most:
        raise ValueError(f"tile_bytes must be a multiple of {step} and at most {most}, got {tile_bytes}")
    return tile_bytes


def _number_tiles(segments: NDArray[Any], tile_pixels: int) -> NDArray[np.uint32]:
    """Write the first tile of each row into the row table; return the row of each tile."""
    tiles = -(-segments["pixels"].astype(np.int64) // tile_pixels)
    total = int(tiles.sum())
    if total >= 2**31:
        raise ValueError(f"the batch has {total} tiles, more than one launch takes; use smaller batches")
    segments["first_tile"] = np.cumsum(tiles) - tiles
    return np.repeat(np.arange(len(segments), dtype=np.uint32), tiles)


# -- outputs
# ---------------------------------------------------------------------------------------------------------

_Shapes: TypeAlias = "list[tuple[str, Any, tuple[int, ...]]]"
_SCRATCH = "partials"


def _shapes(rows: int, tiles: int, windows: int, units: _Units, launch: _Launch, request: _Request) -> _Shapes:
    channels = units.channels
    if request.is_float:
        return [
            ("results", RESULT, (rows, channels)),
            (_SCRATCH, np.dtype((np.void, PARTIAL_BYTES)), (tiles, channels)),
            ("tickets", np.uint32, (rows, windows)),
        ]
    shapes: _Shapes = [
        ("sums", np.float64, (rows, 2 * channels + request.pairs)),
        ("counts", np.uint64, (rows,)),
        ("extremes", np.uint32, (rows, channels, 2)),
    ]
    if launch.source != "moments.cu":
        histograms = (1 if request.pooled else rows) if request.histogram else 0
        shapes.append(("histogram", np.uint32, (histograms, channels, BINS)))
    return shapes


def _lay_out(shapes: _Shapes) -> tuple[tuple[Output, ...], int, int]:
    """Return outputs in the order of the kernel's arguments, bytes to clear and read back, and all bytes.

    Scratch memory comes last; it is neither cleared nor read back.
    """
    placed: dict[str, Output] = {}
    end = output_bytes = 0
    for name, kind, shape in sorted(shapes, key=lambda entry: entry[0] == _SCRATCH):
        placed[name] = Output(name, np.dtype(kind), shape, end)
        end += -(-placed[name].nbytes // 64) * 64
        if name != _SCRATCH:
            output_bytes = end
    return tuple(placed[name] for name, _, _ in shapes), output_bytes, end


# -- all together
# ---------------------------------------------------------------------------------------------------------


def _plan(
    images: int,
    units: _Units,
    rows: NDArray[np.int64],
    segments: NDArray[Any],
    tile_segment: NDArray[np.uint32],
    launch: _Launch,
    request: _Request,
) -> LaunchPlan:
    tiles = len(tile_segment)
    windows = -(-units.channels // FLOAT_THREADS) if request.is_float else 1
    outputs, output_bytes, buffer_bytes = _lay_out(_shapes(len(rows), tiles, windows, units, launch, request))
    return LaunchPlan(
        source=launch.source,
        kernel=launch.kernel,
        grid=(tiles, windows),
        block=launch.block,
        table=np.concatenate([segments.view(np.uint8), tile_segment.view(np.uint8)]),
        tiles_offset=segments.nbytes,
        scalars=launch.scalars,
        outputs=outputs,
        output_bytes=output_bytes,
        buffer_bytes=buffer_bytes,
        images=images,
        channels=request.channels,
        dtype=request.dtype,
        row_channels=units.channels,
        row_image=units.image[rows],
        row_channel=units.channel[rows],
        row_pixels=segments["pixels"].astype(np.int64),
        cross=request.cross,
        histogram=request.histogram,
        pooled=request.pooled,
    )
