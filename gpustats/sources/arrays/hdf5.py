"""HDF5 datasets of pixels or of encoded images: ``file.h5::group/images``; or one dataset for each encoded image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpustats.decode.formats import IMAGE_SUFFIXES, sniff
from gpustats.errors import DataError
from gpustats.failures import Failure, ImageError
from gpustats.sources.arrays.layout import may_hold_images
from gpustats.sources.arrays.slabs import array_samples
from gpustats.sources.base import Sample, ShardSource
from gpustats.sources.choice import choose_one, listed
from gpustats.sources.files.file import File
from gpustats.sources.items import check_bytes
from gpustats.sources.kinds import suffix
from gpustats.sources.options import SourceOptions, missing_extra

__all__ = ["Hdf5Source"]


class Hdf5Source(ShardSource):
    """The images of one dataset of an HDF5 file, read chunk by chunk, or of all that hold one encoded image each.

    Parameters
    ----------
    file, key
        See `ShardSource`.
    options : SourceOptions
        `layout` counts.
    name : str
        The dataset, or the group of datasets; "" for the only one that can be images.
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
            place = file.get(self._name) if self._name else file
            if place is None:
                raise ImageError("missing", f"there is no dataset '{self._name}'; there are: {_datasets(file)}")
            if isinstance(place, h5py.Dataset):
                yield from self._dataset(place)
                return
            arrays, single = _candidates(place)
            self.notes.offer(arrays or dict.fromkeys(single, ""))
            images = {name: shape for name, shape in arrays.items() if may_hold_images(shape, self._options.layout)}
            # Encoded images have one axis, so their shape says nothing.
            images |= {name: shape for name, shape in arrays.items() if len(shape) == 1}
            chosen = choose_one(images or arrays, what="datasets", choose_with=f"{self.file.name}::NAME")
            if chosen is not None:
                yield from self._dataset(place[chosen])
                return
            yield from self._single(place, single)

    def _dataset(self, dataset: Any) -> Iterator[Sample]:
        name = dataset.name.strip("/")
        key = f"{self.key}/{name}"
        for sample in (
            self._encoded(dataset, key) if dataset.ndim == 1 and _of_bytes(dataset) else self._pixels(dataset, key)
        ):
            self.notes.choose("dataset", name)
            yield sample

    def _encoded(self, dataset: Any, key: str) -> Iterator[Sample]:
        for i in range(len(dataset)):
            yield f"{key}/{i}", "", bytes(dataset[i])

    def _pixels(self, dataset: Any, key: str) -> Iterator[Sample]:
        chunk = dataset.chunks[0] if dataset.chunks else 1
        return array_samples(dataset, self._options.layout, key, self._options.max_bytes, chunk=chunk)

    def _single(self, place: Any, names: list[str]) -> Iterator[Sample | Failure]:
        """Yield the datasets that are one encoded image each; the first level of groups is the group."""
        base = place.name.strip("/")
        found = False
        for name in names:
            dataset = place[name]
            full = f"{base}/{name}" if base else name
            try:
                check_bytes(dataset.nbytes, self._options.max_bytes)
            except ImageError as error:
                yield Failure(f"{self.key}/{full}", error.reason, str(error))
                continue
            data = bytes(dataset[()])
            if sniff(data[:16]) is None and suffix(name) not in IMAGE_SUFFIXES:
                self.skipped["non_image"] += 1
                continue
            found = True
            self.notes.choose("group", base or "/")
            yield f"{self.key}/{full}", name.partition("/")[0] if "/" in name else "", data
        if not found:
            raise ImageError(
                "unsupported", f"no dataset can hold images: {_datasets(place)}; choose with {self.file.name}::NAME"
            )


def _candidates(place: Any) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Return the datasets that may hold many images, with their shapes, and those that may be an encoded image."""
    import h5py

    arrays: dict[str, tuple[int, ...]] = {}
    single: list[str] = []

    def visit(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset):
            if (entry.ndim >= 3 and entry.dtype.kind in "buif") or (entry.ndim == 1 and _of_bytes(entry)):
                arrays[name] = entry.shape
            elif (entry.ndim == 1 and entry.dtype == np.uint8) or (entry.shape == () and entry.dtype.type is np.void):
                single.append(name)

    place.visititems(visit)
    return arrays, single


def _of_bytes(dataset: Any) -> bool:
    """Say whether each value is bytes of its own length."""
    import h5py

    return bool(h5py.check_vlen_dtype(dataset.dtype) == np.uint8)


def _datasets(place: Any) -> str:
    import h5py

    shapes: dict[str, tuple[int, ...]] = {}

    def visit(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset):
            shapes[name] = entry.shape

    place.visititems(visit)
    return listed(shapes)
