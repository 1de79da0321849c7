"""`compute`: options become a definition, a source and an engine; a run makes the result of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Literal

from gpustats.decode.transform import transform_of
from gpustats.definition import ALPHA, KINDS, MODES, PAGES, RGB, Definition
from gpustats.engines.device import open_engine
from gpustats.engines.masks import Masks
from gpustats.errors import OptionError
from gpustats.failures import FailureFile, FailureLimit
from gpustats.progress import reported
from gpustats.result.stats import Stats
from gpustats.run import Run
from gpustats.sources import SourceOptions, open_source
from gpustats.sources.files import key_of
from gpustats.sources.grouping import Grouping
from gpustats.sources.options import Layout
from gpustats.sources.sampled import Drawing, Sampling
from gpustats.statistics import check_names, of_rows
from gpustats.statistics.binning import check_binning
from gpustats.statistics.duplicates import Contents, DuplicateHashes
from gpustats.statistics.missing import check_nodata, check_value_range
from gpustats.wording import named, option

__all__ = ["compute"]


def compute(
    data: object,
    *,
    device: str = "auto",
    workers: int | None = None,
    statistics: Sequence[Literal["moments", "histogram", "covariance", "sharpness", "sizes"]] = (),
    histogram_range: tuple[float, float] | None = None,
    bins: int | None = None,
    mode: Literal["RGB", "L", "RGBA", "native"] = "RGB",
    value_range: float | None = None,
    kinds: Literal["one", "separate"] = "one",
    pages: Literal["first", "all"] = "first",
    on_error: Literal["skip", "raise"] = "skip",
    max_failures: float | None = None,
    failures: str | os.PathLike[str] | None = None,
    max_pixels: int = 512_000_000,
    memory: str | float | None = None,
    isolate: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    changed: Literal["mtime", "hash"] = "mtime",
    progress: bool | Callable[[int], None] | None = None,
    gpu_options: Mapping[str, int | float] | None = None,
    column: str | int | Callable[[Any], Any] | None = None,
    feature: str | None = None,
    group: str | None = None,
    per_image: str | os.PathLike[str] | bool | None = None,
    group_by: str | Callable[[str], object] | None = None,
    duplicates: bool = False,
    root: str | os.PathLike[str] | None = None,
    suffixes: str | Sequence[str] | None = None,
    layout: Layout = "auto",
    color_order: str | None = None,
    resize: int | tuple[int, int] | None = None,
    crop: int | tuple[int, int] | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
    recipe: str | None = None,
    fast: bool = False,
    exif: Literal["ignore", "turn"] = "ignore",
    nodata: float | tuple[float, ...] | Literal["tag"] | None = None,
    alpha: Literal["drop", "mask"] = "drop",
    mask: str | os.PathLike[str] | Callable[[str], Any] | None = None,
    repeats: Literal["once", "count"] = "once",
    sample: float | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    storage_options: Mapping[str, Any] | None = None,
) -> Stats:
    """Read an image dataset once and return its exact per-channel statistics.

    Parameters
    ----------
    data : str, PathLike, array, dataset, iterable or list
        A folder (searched recursively), an image, a glob pattern; tar archives and WebDataset shards
        (``shard-{000000..000127}.tar``), zip, Parquet, TFRecord, LMDB, ``.npy`` and ``.npz``, HDF5
        (``file.h5::images``), Zarr, MNIST and CIFAR files; a text file with one path a line, a CSV, TSV, JSON-lines or
        COCO manifest; an fsspec URL of any of these (``s3://bucket/shards/``); a NumPy or CuPy array, a tensor, a PIL
        image, encoded bytes, an open file, a Hugging Face dataset, a PyTorch ``Dataset`` or ``DataLoader``, an iterable
        of images, (image, label), dicts or paths, a column of a table; or a list of these. Encoded images are measured
        as RGB, arrays and tensors with the channels they have.
    device : {"auto", "cpu", "gpu", "cuda:N"}
        Where to decode and reduce. ``"auto"`` takes the GPU where CuPy, DALI and a CUDA device are there, else the
        CPU, and says why in one line of the log ``gpustats``.
    workers : int, optional
        Threads that decode on the CPU. By default the cores that this process may use (affinity and cgroup limits
        count).
    statistics : sequence of str
        What to compute in addition to the moments, from which mean, std and the like are derived: ``"histogram"``
        (of float images it needs `histogram_range`), ``"covariance"`` (integers of 8 and 16 bits), ``"sharpness"`` (the
        same, grey or RGB), and ``"sizes"``, the distributions of width, height, bytes and the like, as ``stats.sizes``.
    histogram_range : (float, float), optional
        Lowest and highest value of the histogram of float images, which count in bins of equal width as
        `numpy.histogram` counts float64 values; those outside are counted on either side. Of 8- and 16-bit images every
        value is counted, so they take no range.
    bins : int, optional
        How many bins `histogram_range` is divided into, from 1 to 65,536; by default 256. What is derived from them is
        off by at most half a bin, which the result gives as ``stats.bin_error``.
    mode : {"RGB", "L", "RGBA", "native"}
        What encoded images are measured as. ``"RGB"``, ``"L"`` and ``"RGBA"`` are Pillow's conversions to 8 bits; what
        they would clip is refused. Under ``"RGBA"`` alpha is measured as it is stored, and 255 where there is none.
        ``"native"`` takes channels and depth as they are stored: grey, alpha and any number of bands, integers and
        floats, from PNG, TIFF, PNM and JPEG 2000; a palette counts as its colours. Arrays, tensors and PIL images are
        always taken as they are.
    value_range : float, optional
        The pixel value that is shown as 1.0: 4095 for images of 12 bits that are stored with 16. By default what the
        file says (PNM, JPEG 2000), else 255 for uint8 and 65535 for uint16; floats, signed integers and those of 32
        bits are taken as they are. An image with a larger value fails as ``unsupported``, and so does one whose type
        cannot hold this value. Where it is given, the modes ``"RGB"`` and ``"L"`` measure images of more than 8 bits,
        too, at their depth. It changes the scale and no integer; results with different ones cannot be merged.
    kinds : {"one", "separate"}
        What happens where images differ in channels, type or the value that is 1.0. ``"one"`` is an error that names
        two of them; ``"separate"`` gives a result for each kind, as `gpustats.Kinds`, a mapping of their names to
        `Stats`. It is not for `per_image`, `color_order`, `sample`, `tolerance` and `isolate`.
    pages : {"first", "all"}
        Which pages count of a file of several: a TIFF, an animation as GIF, WebP, APNG or AVIF. ``"all"`` measures each
        as an image with a key of its own (``scan.tif/0``, ``scan.tif/1``); a damaged one is one failure. Overviews and
        masks in a TIFF are no pages. Every file is then looked at before it is decoded.
    on_error : {"skip", "raise"}
        ``"skip"`` leaves an image that cannot be read out of the numbers and lists it in the result;
        ``"raise"`` stops at the first.
    max_failures : int or float, optional
        Stop when more images than this have failed: an integer is a count, a float from 0.0 to 1.0 a share of the
        images. A share is checked at the end, and during the run from 1,000 images on.
    failures : path-like, optional
        A file to which every failure is written as it happens, one JSON object a line; the result itself lists at most
        10,000.
    max_pixels : int
        Images with more pixels fail as ``too_large``; checked on the header, before memory is taken.
    memory : str, int or float, optional
        How much memory the process should stay below: ``"2GB"``, ``"512MiB"``, bytes, or a share of what the machine
        or the cgroup has left (``0.25``). 256 MiB of it (half, where it is less than 512 MiB) are taken for the
        process itself; the rest is for files and pixels in flight. Large images wait for one another, and one that
        needs more than three quarters of the rest fails as ``too_large``. By default half of what is left. With a GPU a
        quarter of the rest is for files that are read ahead, and the other three are shared as said.
    isolate : bool
        Decode in a process for each worker, so that a decoder that crashes or is killed for its memory costs one image.
        It fails as ``corrupt``. Each process has an interpreter lock of its own: many small files on many cores are
        read faster.
    checkpoint : path-like, optional
        A file that keeps what was read, about 250 bytes an image, and for histograms of 16-bit and float images one to
        three for each value that occurs. The same call continues after an interruption of any
        kind, and after a whole run reads only what is new or changed and leaves out what is gone. The result is the
        same as that of a run from the start.
    changed : {"mtime", "hash"}
        How `checkpoint` detects a changed file: by its size and modification time, or by size and content, for which
        every file is read in every run (but not decoded).
    progress : bool or callable, optional
        Whether to show a bar, by default where stderr is a terminal and in notebooks; or a function that is called
        with the number of images done since the last call.
    gpu_options : mapping, optional
        Settings of the GPU engine by name: ``batch_size``, ``batch_bytes``, ``threads``, ``readers``,
        ``hw_decoder_load``, ``hybrid_huffman_threshold``, ``preallocate_width_hint``, ``preallocate_height_hint``,
        ``prefetch``, ``cpu_workers`` and ``max_gpu_pixels``.
    column : str, int or callable, optional
        Where several columns hold images or paths, the one to read: of a Parquet file, a Hugging Face dataset or a
        manifest; the extension in tar and zip archives (``"jpg"``, ``"left.jpg;right.jpg"``, ``"*"`` for all), the
        array in an ``.npz`` file (``"*"`` for all). In the elements of a dataset, a loader or an iterable: the name of
        the entry, with dots for deeper levels (``"observation.images.top"``), its position, or a function that returns
        the image.
    feature : str, optional
        The feature of a TFRecord example that holds the encoded image, by default ``image/encoded``.
    group : str, optional
        The column, feature or WebDataset extension that names the group of an image, by default one that is called
        label, class or the like; in WebDataset shards ``cls``.
    per_image : path-like or bool, optional
        Write a table with a row for every image to this file while the run goes on: Parquet (``.parquet``) or CSV
        (``.csv``), with key, group, size, bytes, format, mean, std, min and max of each channel, and why an image
        failed. True gives an Arrow table, ``stats.image_table``.
    group_by : str or callable, optional
        Compute the statistics of each group too, as ``stats.groups``: ``"folder"`` for the first-level subfolder,
        ``"label"`` for the group that the data names (see `group`), the name of a column (as `group`), or a function of
        the key that returns the group. Where the function raises, the image is a failure. Images without a group (None
        or an empty text) are in ``stats.groups[""]``.
    duplicates : bool
        Find images with the same content, as ``stats.duplicates``: files that are equal byte by byte, by a hash of
        128 bits (XXH3); of arrays and tensors type, shape and values count. It takes some 30 bytes an image, and 24
        more at the end.
    root : str or PathLike, optional
        The folder or URL that relative paths in a list, a manifest or a table refer to, by default the file's own
        folder; the paths in a Python list are by default relative to the working folder.
    suffixes : str or sequence of str, optional
        The endings of images that are named without them, by a list, a manifest or a table: ``(".jpg", ".png")``. By
        default those of all formats. Where two files have the name, the image fails.
    layout : {"auto", "HW", "HWC", "CHW", "NHW", "NHWC", "NCHW"}
        The axes of arrays and tensors. ``"auto"`` takes an axis of 1, 3 or 4, at the end or in the place of CHW, for
        the channels, and is an error where that leaves a choice; see `gpustats.sources.arrays.layout`.
    color_order : str, optional
        The order of the channels of arrays and tensors, a letter each, where it is not the usual one: ``"BGR"`` for
        images that OpenCV has read. It names the channels and changes no number; results of different orders cannot be
        merged. By default ``"RGB"`` for three channels. A decoder gives RGB, so encoded images fail with another order.
    resize : int or (int, int), optional
        Resize every image before it is measured: the shorter side, or height and width. The pixels are those of
        torchvision's ``Resize`` on PIL images. For encoded images and for uint8 arrays with 1 or 3 channels.
    crop : int or (int, int), optional
        Then measure the center only, as torchvision's ``CenterCrop`` cuts it. A smaller image fails as ``unsupported``.
    crop_pct : float, optional
        The share of the resized shorter side that `crop` takes, as timm gives it: the image is resized to
        ``floor(crop / crop_pct)``.
    interpolation : {"bilinear", "bicubic", "lanczos", "hamming", "box", "nearest"}, optional
        Pillow's filter for `resize`, by default bilinear.
    recipe : str, optional
        `resize`, `crop` and `interpolation` that published weights were evaluated with: ``"torchvision-imagenet"``
        (256, 224, bilinear), ``"timm-imagenet"`` (256, 224, bicubic), ``"clip"`` (224, 224, bicubic) or
        ``"inception"`` (341, 299, bicubic).
    fast : bool
        Decode JPEGs at a reduced scale before the resize: the smallest of 1/2, 1/4 and 1/8 that the resize does not
        enlarge. The numbers differ a little from those of the whole decode, so the result says it, and cannot be merged
        with others. Other formats, and JPEGs that Pillow decodes, are decoded whole.
    exif : {"ignore", "turn"}
        Whether to turn an image as its EXIF orientation says, before all else.
    nodata : float, tuple of float or "tag", optional
        A value that stands for no data, such as -9999: values equal to it are left out, channel by channel. A tuple
        with a number for each channel leaves out the pixels that are equal to it. NaN, infinity and the masked values
        of NumPy's masked arrays are always left out. ``stats.valid_share`` says how much is left; an image with a
        channel of which nothing is left fails as ``unsupported``. ``"tag"`` takes the value that each TIFF file gives
        in its tag ``GDAL_NODATA``.
    alpha : {"drop", "mask"}
        ``"mask"`` leaves out the pixels of encoded images that are transparent all through (alpha 0, a transparent
        colour), under the modes ``"RGB"`` and ``"L"``.
    mask : path-like or callable, optional
        Which pixels count. A folder with a mask for each image, for a folder of images: of the same name below it, but
        with the ending of a PNG, TIFF, BMP, GIF or PNM file; pixels count where it is not 0 (black). Or a function of
        the key that returns an array of shape (H, W), or (H, W, C) for each channel, or None where all pixels count;
        it is called by several threads. An image with no mask, or one of another size, fails.
    repeats : {"once", "count"}
        How often a file counts that a list, a manifest or several paths together name more than once, for example a
        table with a row for each box: once, with its first group, and the result says how many names were passed over
        (``stats.skipped["repeated"]``, or ``"repeated_other_group"`` where the group was another); or as often as it
        is named. Two names are one file where their folders, with links followed, and last parts are the same. What
        is in the program already, such as arrays, counts as it is given; but a loader whose workers all yield the same
        images is an error, unless this is ``"count"``.
    sample : int or float, optional
        Read only so many images, or each with this probability (a float up to 1.0), drawn at random. The result is an
        estimate, and says so: ``stats.estimate``, ``stats.stderr()``, ``stats.confidence_interval()``. What is listed
        by name is not read for it; an archive or a table is read through for its images, of which those that were drawn
        are decoded.
    tolerance : float, optional
        Read images in random order until the 95% interval of the mean and of the std of every channel reaches at most
        this far to each side, on [0, 1]: 0.002. Where that takes all images, the result says so.
    seed : int
        Which images are drawn. The same seed draws the same ones, in any order and with any number of workers.
    storage_options : mapping, optional
        Passed to the fsspec file system of a URL: keys, endpoint and the like. Never shown or stored.

    Returns
    -------
    Stats
        Mean and std under every definition, as float64 arrays of shape (C,), on [0, 1] with the integers behind
        them. Values of float images are taken as they are, and ``stats.exact`` is False. Under ``kinds="separate"`` it
        is `Kinds`, also as the partial result of an error.

    Raises
    ------
    AllImagesFailed
        A `DataError`, where every image failed; it carries their failures. So does a wrong `column`, `feature`, `group`
        or `layout`.
    SourceStopped
        A `DataError`, where a loader, a dataset or an iterable raised an error in the middle, or changed its length, or
        where the workers of a loader do not share their work; it carries the partial result.
    DataError
        Where the data does not exist or holds no image, or does not use an option that was given; under
        ``on_error="raise"`` for the first image that fails;
        where `checkpoint` belongs to other data, options or versions, is in use, or cannot be written; where
        `failures` or `per_image` cannot be written.
    DeviceError
        Where the device asked for cannot be used. `DeviceLost` where a GPU that was asked for stops working during
        the run; it carries the partial result.
    TooManyFailures
        Where more than `max_failures` images failed.
    Interrupted
        On Ctrl-C; a `KeyboardInterrupt` that carries the partial result. A second Ctrl-C stops at once, without. What
        SIGTERM does is left to the program: the command line treats it as Ctrl-C.
    OptionError
        Where an option has a value that is not supported.

    Warns
    -----
    ImagesFailedWarning
        At the end, where images failed.

    Examples
    --------
    >>> import gpustats, PIL.Image, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> PIL.Image.new("RGB", (4, 2), (255, 0, 51)).save(folder / "a.png")
    >>> gpustats.compute(folder, progress=False).mean.tolist()
    [1.0, 0.0, 0.2]
    """
    _check_options(workers, on_error, changed, exif, mode)
    separate = _separate(
        kinds,
        isolate=isolate,
        per_image=per_image not in (None, False),
        color_order=color_order is not None,
        sample=sample is not None,
        tolerance=tolerance is not None,
    )
    if pages not in PAGES:
        raise OptionError(f"{named('pages')} should be 'first' or 'all', got {pages!r}")
    if pages == "all" and (isolate or mask is not None):
        which = option("isolate", True) if isolate else named("mask")
        what = f"{option('pages', 'all')} is not for {which}"
        raise OptionError(f"{what}: this process makes the pages, and they have no masks")
    limit = FailureLimit(max_failures)
    sampling = Sampling(sample, tolerance, seed)
    by_tag = isinstance(nodata, str) and nodata == "tag"
    transform = transform_of(resize, crop, crop_pct, interpolation, recipe, fast)
    masks = None if mask is None else Masks(mask, data)
    if by_tag and mode == "L":
        raise OptionError(f"{option('nodata', 'tag')} compares what is stored, and {option('mode', mode)} changes it")
    _check_masking(alpha, mode, masks is not None, bool(transform.resize), isolate, checkpoint is not None)
    names = check_names(statistics, color_order)
    ends, count = check_binning(histogram_range, bins, names)
    if transform.resize and mode == "RGBA":
        raise OptionError(f"{option('mode', mode)} measures alpha, and an image with alpha cannot be resized")
    definition = Definition(
        color_order=color_order or RGB,
        transform=str(transform),
        exif_transpose=exif == "turn",
        pages=pages,
        mode=mode,
        value_range=check_value_range(value_range),
        nodata=() if by_tag else check_nodata(nodata),
        nodata_tag=by_tag,
        alpha=alpha,
        mask="none" if masks is None else masks.kind,
        histogram_range=ends,
        bins=count,
        statistics=names,
    )
    grouping = Grouping(group_by, group)
    table_path = None if per_image is False else per_image
    # Rows hold more than the totals: what the table of images shows, also one of a later run with the same checkpoint.
    kept = table_path is not None or checkpoint is not None
    rows = replace(definition, statistics=of_rows(definition.statistics, kept=kept, duplicates=duplicates))
    engine = open_engine(
        device,
        definition=rows,
        workers=workers,
        max_pixels=max_pixels,
        memory=memory,
        isolate=isolate,
        gpu_options=gpu_options,
        masks=masks,
        per_image=kept or grouping.asked,
        separate=separate,
    )
    options = SourceOptions.of(
        column=column,
        feature=feature,
        group=grouping.column,
        root=root,
        suffixes=suffixes,
        layout=layout,
        repeats=repeats,
        color_order=color_order,
        storage_options=storage_options,
        max_bytes=engine.max_bytes,
    )
    source = grouping.checked(lambda: open_source(data, options))
    if pages == "all":
        from gpustats.sources.pages import Paged

        source = Paged(source, engine.max_bytes)
    if sampling.asked:
        source = Drawing(source, sampling)
    with ExitStack() as stack:
        on_failure = [stack.enter_context(FailureFile(failures)).add] if failures is not None else []
        if checkpoint is not None:
            from gpustats.checkpoint.resume import Resumed

            settings = {"max_pixels": str(max_pixels), **_described(options)}
            engine = stack.enter_context(Resumed(engine, checkpoint, data, rows, settings, changed, sampling.asked))
        table = None
        if table_path is not None:
            from gpustats.result.image_table import ImageTable

            order = color_order or ("RGBA" if mode == "RGBA" else None)
            table = stack.enter_context(ImageTable(table_path, rows.statistics, order))
            on_failure.append(table.add)
        stats = Run(
            source,
            engine,
            definition,
            limit=limit,
            order=color_order,
            stop_at_first=on_error == "raise",
            advance=stack.enter_context(reported(progress, source)),
            on_failure=on_failure,
            grouped=lambda: grouping.totals(definition.statistics),
            group_of=grouping.function,
            contents=lambda: Contents() if DuplicateHashes.name in rows.statistics else None,
            separate=separate,
            sinks=[] if table is None else [table],
        ).stats()
        return stats if table is None else replace(stats, image_table=table.arrow())


def _check_options(workers: int | None, on_error: str, changed: str, exif: str, mode: str) -> None:
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise OptionError(f"{named('workers')} should be a positive integer or None, got {workers!r}")
    if on_error not in ("skip", "raise"):
        raise OptionError(f"{named('on_error')} should be 'skip' or 'raise', got {on_error!r}")
    if mode not in MODES:
        raise OptionError(f"{named('mode')} should be 'RGB', 'L', 'RGBA' or 'native', got {mode!r}")
    if changed not in ("mtime", "hash"):
        raise OptionError(f"{named('changed')} should be 'mtime' or 'hash', got {changed!r}")
    if exif not in ("ignore", "turn"):
        raise OptionError(f"{named('exif')} should be 'ignore' or 'turn', got {exif!r}")


def _separate(kinds: str, **others: bool) -> bool:
    """Return whether kinds are separate; `others` says which options are given that do not go with it."""
    if kinds not in KINDS:
        raise OptionError(f"{named('kinds')} should be 'one' or 'separate', got {kinds!r}")
    for name, given in others.items():
        if given and kinds == "separate":
            raise OptionError(f"{option('kinds', kinds)} is not for {named(name)}, which {_OF_ONE_KIND[name]}")
    return kinds == "separate"


_OF_ONE_KIND = {
    "isolate": "has processes that measure one kind",
    "per_image": "writes one table, with columns for the channels of one kind",
    "color_order": "names the channels of one kind",
    "sample": "is drawn from all kinds together",
    "tolerance": "is for the mean and std of one kind",
}
"""Why options do not go with ``kinds="separate"``."""


def _check_masking(alpha: str, mode: str, masks: bool, resizes: bool, isolate: bool, checkpoint: bool) -> None:
    if alpha not in ALPHA:
        raise OptionError(f"{named('alpha')} should be 'drop' or 'mask', got {alpha!r}")
    if alpha == "mask" and mode in ("RGBA", "native"):
        raise OptionError(
            f"{option('alpha', 'mask')} takes alpha out of the pixels, and {option('mode', mode)} measures it"
        )
    if resizes and (masks or alpha == "mask"):
        which = named("mask") if masks else option("alpha", "mask")
        raise OptionError(f"{which} leaves pixels out, and an image with such pixels cannot be resized")
    if masks and isolate:
        raise OptionError(f"{named('mask')} is not for {option('isolate', True)}: masks are read by this process")
    if masks and checkpoint:
        raise OptionError(f"{named('mask')} is not for {named('checkpoint')}, which would not see that a mask changed")


def _described(options: SourceOptions) -> dict[str, str]:
    """Return the options that decide which images a source gives."""
    names = ("column", "picked", "feature", "group", "root", "suffixes", "layout", "color_order", "repeats")
    return {
        name: key_of(getattr(value, "__qualname__", str(value)))
        for name in names
        if (value := getattr(options, name)) is not None
    }
