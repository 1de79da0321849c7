"""`compute`: source, engine, accumulator, result."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Literal

from gpustats import __version__
from gpustats.display import skipped
from gpustats.engines.device import open_engine
from gpustats.errors import DataError, ImagesFailedWarning, Interrupted, TooManyFailures
from gpustats.failures import FailureLog, printable
from gpustats.rows import RowBuffer
from gpustats.sources import Source, SourceOptions, open_source
from gpustats.stats import Definition, Stats, color_order

__all__ = ["compute"]


def compute(
    data: object,
    *,
    device: str = "auto",
    workers: int | None = None,
    on_error: Literal["skip", "raise"] = "skip",
    max_failures: int | None = None,
    max_pixels: int = 512_000_000,
    progress: bool | Callable[[int], None] | None = None,
    gpu_options: Mapping[str, int | float] | None = None,
    column: str | None = None,
    feature: str | None = None,
    group: str | None = None,
    root: str | os.PathLike[str] | None = None,
    layout: str = "auto",
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
        image, a Hugging Face dataset, a PyTorch ``Dataset`` or ``DataLoader``, an iterable of images or (image, label);
        or a list of these. Encoded images are measured as RGB, arrays and tensors with the channels they have.
    device : {"auto", "cpu", "gpu", "cuda:N"}
        Where to decode and reduce. ``"auto"`` takes the GPU where CuPy, DALI and a CUDA device are there, else the
        CPU, and says why in one line of the log ``gpustats``.
    workers : int, optional
        Threads that decode on the CPU. By default the cores that this process may use (affinity and cgroup limits
        count).
    on_error : {"skip", "raise"}
        ``"skip"`` leaves an image that cannot be read out of the numbers and lists it in the result;
        ``"raise"`` stops at the first.
    max_failures : int, optional
        Stop when more images than this have failed.
    max_pixels : int
        Images with more pixels fail as ``too_large``; checked on the header, before memory is taken.
    progress : bool or callable, optional
        Whether to show a bar on stderr, by default where that is a terminal; or a function that is called with the
        number of images done since the last call.
    gpu_options : mapping, optional
        Settings of the GPU engine by name (`gpustats.engines.tuning.Tuning`), such as ``{"batch_size": 512}``.

    column : str, optional
        Where several columns hold images or paths, the one to read: of a Parquet file, a Hugging Face dataset or a
        manifest; the extension in WebDataset shards (``"jpg"``), the array in an ``.npz`` file.
    feature : str, optional
        The feature of a TFRecord example that holds the encoded image, by default ``image/encoded``.
    group : str, optional
        The column, feature or WebDataset extension that names the group of an image, by default one that is called
        label, class or the like; in WebDataset shards ``cls``.
    root : str or PathLike, optional
        The folder or URL that relative paths in a list, a manifest or a table refer to, by default the file's own
        folder.
    layout : {"auto", "HW", "HWC", "CHW", "NHW", "NHWC", "NCHW"}
        The axes of arrays and tensors. ``"auto"`` takes an axis of 1, 3 or 4, at the end or in the place of CHW, for
        the channels, and is an error where that leaves a choice; see `gpustats.sources.layout`.
    storage_options : mapping, optional
        Passed to the fsspec file system of a URL: keys, endpoint and the like. Never shown or stored.

    Returns
    -------
    Stats
        Mean and std under every definition, as float64 arrays of shape (C,), on [0, 1] with the integers behind
        them. Values of float images are taken as they are, and ``stats.exact`` is False.

    Raises
    ------
    DataError
        Where the data does not exist or holds no image; under ``on_error="raise"`` for the first image that fails.
    DeviceError
        Where the device asked for cannot be used.
    TooManyFailures
        Where more than `max_failures` images failed.
    Interrupted
        On Ctrl-C; a `KeyboardInterrupt` that carries the partial result.
    ValueError
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
    _check_options(workers, on_error, max_failures, max_pixels)
    engine = open_engine(device, workers=workers, max_pixels=max_pixels, gpu_options=gpu_options)
    options = SourceOptions(
        column=column,
        feature=feature,
        group=group,
        root=None if root is None else os.fspath(root),
        layout=layout,
        storage_options=storage_options,
        max_bytes=engine.max_bytes,
    )
    source = open_source(data, options)
    failures = FailureLog()
    buffer = RowBuffer()
    started = time.monotonic()

    def result(complete: bool) -> Stats:
        buffer.flush()
        run: dict[str, Any] = {
            "source": printable(source.label),
            "gpustats": __version__,
            **engine.report(),
            "seconds": round(time.monotonic() - started, 3),
        }
        return Stats(
            buffer.totals,
            definition=Definition(color_order=color_order(buffer.totals.channels)),
            failures=failures,
            skipped=dict(source.skipped),
            runs=(run,),
            complete=complete,
        )

    try:
        with (
            _progress(progress, source) as advance,
            closing(source.batches()) as batches,
            closing(engine.outcomes(batches)) as outcomes,
        ):
            for outcome in outcomes:
                buffer.add(outcome.rows)
                for failure in outcome.failures:
                    failures.add(failure)
                    if on_error == "raise":
                        raise DataError(str(failure))
                if max_failures is not None and len(failures) > max_failures:
                    last = list(failures)[-1]
                    raise TooManyFailures(
                        f"{len(failures):,} images failed, more than max_failures={max_failures:,}; the last: {last}",
                        result(complete=False),
                    )
                advance(len(outcome.rows) + len(outcome.failures))
    except KeyboardInterrupt:
        raise Interrupted(result(complete=False)) from None
    buffer.flush()
    if buffer.totals.images == 0 and not failures:
        others = skipped(source.skipped)
        raise DataError(f"{printable(source.label)}: no images found" + (f" (skipped: {others})" if others else ""))
    if failures and on_error == "skip":
        first, count = next(iter(failures)), buffer.totals.images + len(failures)
        warnings.warn(
            f"{len(failures):,} of {count:,} images could not be read and do not count: {first}"
            + (" ..." if len(failures) > 1 else ""),
            ImagesFailedWarning,
            stacklevel=2,
        )
    return result(complete=True)


def _check_options(workers: int | None, on_error: str, max_failures: int | None, max_pixels: int) -> None:
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise ValueError(f"workers should be a positive integer or None, got {workers!r}")
    if on_error not in ("skip", "raise"):
        raise ValueError(f"on_error should be 'skip' or 'raise', got {on_error!r}")
    if max_failures is not None and (not isinstance(max_failures, int) or max_failures < 0):
        raise ValueError(f"max_failures should be a non-negative integer or None, got {max_failures!r}")
    if not isinstance(max_pixels, int) or max_pixels < 1:
        raise ValueError(f"max_pixels should be a positive integer, got {max_pixels!r}")


@contextmanager
def _progress(progress: bool | Callable[[int], None] | None, source: Source) -> Iterator[Callable[[int], None]]:
    """Give the function that is told how many more images are done."""
    if callable(progress):
        yield progress
    elif progress or (progress is None and sys.stderr is not None and sys.stderr.isatty()):
        from gpustats.progress import ProgressBar

        with ProgressBar(source) as bar:
            yield bar.update
    else:
        yield lambda images: None
