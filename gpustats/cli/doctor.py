"""``gpustats doctor``."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import click

from gpustats.cli.output import fail, show
from gpustats.engines.device import open_engine
from gpustats.errors import GpustatsError
from gpustats.install import __version__, pip_install
from gpustats.limits.machine import usable_cpus, usable_memory

__all__ = ["doctor"]

_OPTIONAL = (
    ("parquet", "pyarrow"),
    ("lance", "pylance"),
    ("tfrecord", "google-crc32c"),
    ("hdf5", "h5py"),
    ("zarr", "zarr"),
    ("heif", "pillow-heif"),
    ("dicom", "pydicom"),
    ("remote", "fsspec"),
)
_WIDTH = 10


@click.command(epilog="Example: gpustats doctor")
@click.option(
    "--device", metavar="auto|cpu|gpu|cuda:N", default="auto", help="The device to try, as 'compute' would take it."
)
def doctor(device: str) -> None:
    """Show what gpustats finds on this machine: versions, cores, memory, the GPU.

    The GPU is tried on a few small images, as it is before a run.

    Exit codes: 0 the device can be used, 1 it cannot, 2 wrong usage.
    """
    try:
        for name, text in _findings(device):
            show(f"{name:<{_WIDTH}}  {text}")
    except GpustatsError as error:
        fail(error)


def _findings(device: str) -> Iterator[tuple[str, str]]:
    yield "gpustats", f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield "cores", f"{usable_cpus()} that this process may use"
    yield "memory", f"{usable_memory() / 2**30:.1f} GiB available"
    report = open_engine(device, workers=None, max_pixels=1).report()
    yield "decoders", ", ".join(f"{name} {version}" for name, version in report["decoders"].items())
    yield "device", str(report["device"])
    if reason := report.get("gpu_not_used"):
        yield "GPU", f"not used: {reason}"
    for extra, distribution in _OPTIONAL:
        yield extra, _version(distribution) or f"not installed; {pip_install(extra)}"


def _version(distribution: str) -> str | None:
    from importlib import metadata  # with what it needs it takes longer to import than all of click

    try:
        return f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return None
