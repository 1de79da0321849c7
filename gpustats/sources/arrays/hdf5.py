"""HDF5 datasets of pixels or of encoded images: ``file.h5::group/images``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError
from gpustats.sources.arrays.slabs import array_samples
from gpustats.sources.base import Sample, ShardSource
from gpustats.sources.files.file import File
from gpustats.sources.options import SourceOptions, missing_extra

__all__ = ["Hdf5Source"]


class Hdf5Source(ShardSource):
    """The images of one dataset of an HDF5 file, read chunk by chunk.

    Parameters
    ----------
    file, key
        See `ShardSource`.
    options : SourceOptions
        `layout` counts.
    name : str
        The dataset; "" for the only one that can be images.
    """

    def __init__(self, file: File, key: str, options: SourceOptions, name: str = "") -> None:
        super().__init__(file, key)
        self._options = options
        self._name = name
        try:
            import h5py
        except ImportError:
            raise missing_extra(file.label, "HDF5", "h5py", "hdf5") from None
        if file.path is not None and not h5py.is_hdf5(file.path):
            raise DataError(f"{file.label}: not an HDF5 file")

    def holder(self) -> str:
        """Return what identifies the file and the dataset in it."""
        return f"{self.file.identity}::{self._name}"

    def container(self) -> str | None:
        """Return None: a dataset may point into other files."""
        return None

    def members(self) -> Iterator[Sample | Failure]:
        """Yield the images."""
        import h5py

        with self.file.open() as stream, h5py.File(self.file.path or stream, "r") as file:
            dataset = self._dataset(file, h5py)
            key = f"{self.key}/{dataset.name.strip('/')}"
            encoded = h5py.check_vlen_dtype(dataset.dtype)
            if dataset.ndim == 1 and encoded == np.uint8:
                for i in range(len(dataset)):
                    yield f"{key}/{i}", "", bytes(dataset[i])
                return
            chunk = dataset.chunks[0] if dataset.chunks else 1
            yield from array_samples(dataset, self._options.layout, key, self._options.max_bytes, chunk=chunk)

    def _dataset(self, file: Any, h5py: Any) -> Any:
        if self._name:
            found = file.get(self._name)
            if not isinstance(found, h5py.Dataset):
                raise ImageError("missing", f"there is no dataset '{self._name}'; there are: {_listed(file, h5py)}")
            return found
        candidates: list[Any] = []

        def visit(_: str, entry: Any) -> None:
            if isinstance(entry, h5py.Dataset) and (
                entry.ndim >= 3 or (entry.ndim == 1 and h5py.check_vlen_dtype(entry.dtype) == np.uint8)
            ):
                candidates.append(entry)

        file.visititems(visit)
        if len(candidates) != 1:
            what = "several datasets may" if candidates else "no dataset can"
            raise ImageError(
                "unsupported", f"{what} hold images: {_listed(file, h5py)}; choose with {self.file.name}::NAME"
            )
        return candidates[0]


def _listed(file: Any, h5py: Any) -> str:
    names: list[str] = []
    file.visititems(
        lambda name, entry: names.append(f"{name} {entry.shape}") if isinstance(entry, h5py.Dataset) else None
    )
    return ", ".join(names[:20]) or "none"
