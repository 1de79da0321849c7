"""Published mean and std of known datasets, computed again from a copy of them; and a set with known integers.

A published value is compared under the definition that it was computed with. Its digits are compared as they were
printed: a value with eight decimals agrees in all of them where it differs by less than half a unit of the eighth.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpustats.api import compute
from gpustats.errors import DataError
from gpustats.result.stats import Stats

__all__ = ["DATASETS", "Check", "Dataset", "Published", "verify", "verify_synthetic"]


@dataclass(frozen=True, slots=True)
class Published:
    """Mean and std as somebody printed them.

    Attributes
    ----------
    mean, std : tuple of str
        A value a channel, with the digits that were printed.
    source : str
        Where.
    mean_is, std_is : str
        The number of a result that is defined in the same way.
    scale : int
        1, or 255 for pixel values.
    decimals : int or None
        Up to which decimal the values can be right; None for all of them.
    says : str
        Why they cannot be right in all decimals.
    """

    mean: tuple[str, ...]
    std: tuple[str, ...]
    source: str
    mean_is: str = "mean"
    std_is: str = "std"
    scale: int = 1
    decimals: int | None = None
    says: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset by the training images that it has: how many, of which height, width and number of channels."""

    images: int
    height: int
    width: int
    channels: int
    published: tuple[Published, ...]


DATASETS = {
    "CIFAR-10": Dataset(
        50_000,
        32,
        32,
        3,
        (
            Published(
                ("0.49139968", "0.48215841", "0.44653091"),
                ("0.24703223", "0.24348513", "0.26158784"),
                "https://github.com/akamaster/pytorch_resnet_cifar10/issues/9",
            ),
            Published(
                ("125.3", "123.0", "113.9"),
                ("63.0", "62.1", "66.7"),
                "https://github.com/facebookarchive/fb.resnet.torch/issues/180",
                scale=255,
            ),
            Published(
                ("0.4914", "0.4822", "0.4465"),
                ("0.2023", "0.1994", "0.2010"),
                "https://github.com/chenyaofo/image-classification-codebase/issues/5",
                "per_image.mean",
                "per_image.std_unbiased",
            ),
        ),
    ),
    "CIFAR-100": Dataset(
        50_000,
        32,
        32,
        3,
        (
            Published(
                ("0.5070751592371323", "0.48654887331495095", "0.4409178433670343"),
                ("0.2673342858792401", "0.2564384629170883", "0.27615047132568404"),
                "https://github.com/weiaicunzai/pytorch-cifar100/blob/master/conf/global_settings.py",
                decimals=9,
                says="float64 sums of others differ from the tenth decimal on",
            ),
        ),
    ),
    "MNIST": Dataset(
        60_000,
        28,
        28,
        1,
        (
            Published(("0.1307",), ("0.3081",), "https://github.com/pytorch/examples/issues/653"),
            Published(
                ("0.13062755",),
                ("0.30810780",),
                "https://github.com/numenta/nupic.research",
                decimals=4,
                says="the mean is a float32 sum; others printed 0.1306604762738429",
            ),
        ),
    ),
    "Fashion-MNIST": Dataset(
        60_000,
        28,
        28,
        1,
        (
            Published(
                ("0.28604059698879553",),
                ("0.35302424451492237",),
                "https://github.com/adambielski/siamese-triplet/blob/master/Experiments_FashionMNIST.ipynb",
                decimals=9,
                says="a float64 sum",
            ),
            Published(("0.2860",), ("0.3530",), "https://github.com/keon/3-min-pytorch/issues/26"),
        ),
    ),
}
"""Of the training images alone, as published values are."""


@dataclass(frozen=True, slots=True)
class Check:
    """One value that was compared.

    Attributes
    ----------
    what : str
        Name and channel of the number.
    printed : str
        The value as it was published, or known.
    computed : float or int
        The value computed here.
    agrees : int
        Decimals that agree.
    wanted : int
        Decimals that can agree.
    source : str
        Where the value stands.
    says : str
        What else is known about it.
    """

    what: str
    printed: str
    computed: float
    agrees: int
    wanted: int
    source: str
    says: str = ""

    @property
    def good(self) -> bool:
        """Whether every decimal agrees that can."""
        return self.agrees >= self.wanted

    def __str__(self) -> str:
        decimals = len(self.printed.partition(".")[2])
        extent = f" in {max(self.agrees, 0)} of {decimals} decimals" if decimals else ""
        said = f" ({self.says})" if self.says and self.agrees < decimals else ""
        verb = "agrees" if self.good else "DIFFERS, agrees" if self.agrees > 0 else "DIFFERS"
        return f"{self.what:<26}{self.printed:>20}  {verb}{extent}: {self.computed!r}{said}"


def agreement(printed: str, value: float) -> int:
    """Return up to which decimal a printed value agrees with another; -1 where not even the integers do.

    Examples
    --------
    >>> agreement("0.49139968", 0.491399684), agreement("0.4914", 0.4931), agreement("1.0", 3.0)
    (8, 2, -1)
    """
    decimals = len(printed.partition(".")[2])
    away = abs(float(printed) - value)
    # A little more than half a unit, so that a value that was rounded up from exactly a half agrees.
    return next((d for d in range(decimals, -1, -1) if away <= 0.5 * 10.0**-d * (1 + 1e-9)), -1)


def verify(data: Any, dataset: str | None = None, **options: Any) -> tuple[str, Stats, list[Check]]:
    """Compute a copy of a dataset and compare it with what was published.

    Parameters
    ----------
    data
        What `gpustats.compute` takes: ``MNIST/raw``, ``cifar-10-batches-py``, Parquet files, a folder of PNGs.
    dataset : str, optional
        One of `DATASETS`. By default the one of this number and size of images whose values are nearest.
    **options
        Of `gpustats.compute`.

    Returns
    -------
    tuple of str, Stats and list of Check
        Which dataset it is, the result, and one check for each published value.

    Raises
    ------
    DataError
        Where the images are those of no dataset here, and for the first image that cannot be read.
    """
    if dataset is not None and dataset not in DATASETS:
        raise DataError(f"there is no dataset {dataset!r:.80} to verify; there are {', '.join(DATASETS)}")
    stats = compute(data, on_error="raise", **options)
    totals, kind = stats.totals, stats.totals.kind
    sizes = (totals.height_min, totals.width_min, totals.height_max, totals.width_max)
    names = [
        name
        for name, d in DATASETS.items()
        if dataset in (None, name)
        and totals.images == d.images
        and sizes == (d.height, d.width) * 2
        and kind is not None
        and (kind.channels == d.channels or (d.channels == 1 and _is_grey(stats)))
    ]
    if not names:
        known = ", ".join(
            f"{name} ({d.images:,} images, {d.width} x {d.height}, {d.channels} channel{'s' * (d.channels > 1)})"
            for name, d in DATASETS.items()
            if dataset in (None, name)
        )
        found = f"{totals.images:,} images of {totals.width_min}-{totals.width_max} x {totals.height_min}-"
        raise DataError(f"{found}{totals.height_max} ({kind}) are not the training images of {known}")
    checks = {name: list(_checks(stats, DATASETS[name])) for name in names}
    nearest = min(names, key=lambda name: np.mean([abs(float(c.printed) - c.computed) for c in checks[name]]))
    return nearest, stats, checks[nearest]


def _is_grey(stats: Stats) -> bool:
    """Whether the channels are the same: grey images that were stored encoded are read as RGB."""
    moments = stats.totals["moments"]
    return all(len(set(map(str, moments[name]))) == 1 for name in ("sum", "sumsq", "min", "max") if name in moments)


def _checks(stats: Stats, dataset: Dataset) -> Iterator[Check]:
    letters = ("",) if dataset.channels == 1 else tuple(f" {letter}" for letter in stats.channels)
    for published in dataset.published:
        shown = stats.scaled(published.scale)
        for name, printed in ((published.mean_is, published.mean), (published.std_is, published.std)):
            for letter, text, value in zip(letters, printed, shown.number(name).tolist(), strict=False):
                decimals = len(text.partition(".")[2])
                wanted = decimals if published.decimals is None else min(decimals, published.decimals)
                agrees = agreement(text, value)
                yield Check(name + letter, text, value, agrees, wanted, published.source, published.says)


def verify_synthetic() -> tuple[str, Stats, list[Check]]:
    """Write a few images whose integers are known, read them as any others, and compare.

    Red rises from 0 to 255 over the 16 x 16 pixels of an image, green falls, and blue is the number of the image times
    50. So the sums of a channel are ``3 * 255 * 256 / 2`` and ``50 * 256 * (0 + 1 + 2)``, and the sums of squares
    ``3 * 255 * 256 * 511 / 6`` and ``2500 * 256 * (0 + 1 + 4)``.
    """
    from PIL import Image

    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    known = {
        "n": [768, 768, 768],
        "sum": [97_920, 97_920, 38_400],
        "sumsq": [16_679_040, 16_679_040, 3_200_000],
        "min": [0, 0, 0],
        "max": [255, 255, 100],
    }
    with tempfile.TemporaryDirectory(prefix="gpustats-verify-") as folder:
        for number in range(3):
            planes: list[NDArray[np.uint8]] = [ramp, ramp[::-1, ::-1], np.full_like(ramp, 50 * number)]
            Image.fromarray(np.stack(planes, axis=-1)).save(Path(folder) / f"{number}.png")
        stats = compute(folder, progress=False)
    moments = stats.totals["moments"]
    checks = [
        Check(f"{name} {letter}", str(value), found, 0 if found == value else -1, 0, "")
        for name, values in known.items()
        for letter, value, found in zip(stats.channels, values, moments[name], strict=True)
    ]
    return "synthetic images with known integers", stats, checks
