"""How far the numbers of a sample of images are from those of all images.

The pixels of one image are not independent of each other, so a sample of images is a cluster sample: the image is the
unit. With ``n``, ``s`` and ``q`` for an image's pixels, the sum of their values and the sum of their squares, the
pooled mean is the ratio ``M = sum(s) / sum(n)``, and the pooled variance ``V = sum(q) / sum(n) - M**2``. The delta
method replaces what an image adds to the error of the two by its linear part::

    mean:      e = (s - M n) / sum(n)
    variance:  e = (q - 2 M s + (M**2 - V) n) / sum(n)
    std:       that of the variance divided by 2 std

and the squared error of a sample of k images is about ``sum(e**2)`` for a population without end (see `_corrected`); a
sample without replacement from N images has ``1 - k / N`` of it. It follows from six sums over images of products:
``n n``, ``n s``, ``s s``, ``n q``, ``s q``, ``q q``. How well the error itself is known follows from a seventh,
``n**4``, see `_weighing`. They are integers, so they merge in any order.

References
----------
L. Kish (1965), "Survey Sampling": the effective number of units of unequal weight.
W. G. Cochran (1977), "Sampling Techniques", 3rd edition: the ratio estimator, equations 6.10 and 9A.4 of clusters of
unequal size; the correction for a finite population, section 2.6.
C.-E. Särndal, B. Swensson, J. Wretman (1992), "Model Assisted Survey Sampling", section 5.5: Taylor linearization.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gpustats.statistics.base import Number, View, over
from gpustats.statistics.exact import multiply, segment_sums

__all__ = ["ERRORS", "FACTORS", "PRODUCTS", "WEIGHING", "exact_products", "float_products", "float_sums", "shifted"]

FACTORS = ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2), (3, 3))
"""The factors of each product: places among n, s, q and n n."""

_FIRST, _SECOND = zip(*FACTORS, strict=True)

PRODUCTS = len(FACTORS)
"""Sums over images that a channel has: ``n n``, ``n s``, ``s s``, ``n q``, ``s q``, ``q q``, ``n n n n``."""


def exact_products(
    n: NDArray[np.uint64], total: NDArray[np.uint64], squares: NDArray[np.uint64], starts: Sequence[int]
) -> list[list[list[int]]]:
    """Return the sums of products of each segment of the rows, one list a channel; see `exact.segment_sums`.

    Parameters
    ----------
    n, total, squares : ndarray of uint64, shape (N, C)
        Of each image; n below 2**32.
    starts : sequence of int
        The first row of each segment.
    """
    columns = (n, total, squares, n * n)
    most = [int(column.max()) for column in columns]
    sums = []  # by product, segment and channel
    for i, j in zip(_FIRST, _SECOND, strict=True):
        a, b = columns[i], columns[j]
        if most[i] * most[j] * len(n) < 1 << 64:
            sums.append(np.add.reduceat(a * b, starts, axis=0).tolist())
            continue
        halves = (segment_sums(half, starts) for half in multiply(a, b))
        sums.append([[(h << 64) + w for h, w in zip(*both, strict=True)] for both in zip(*halves, strict=True)])
    return [[list(of) for of in zip(*segment, strict=True)] for segment in zip(*sums, strict=True)]


def float_products(
    n: NDArray[np.float64], deviations: NDArray[np.float64], offsets: NDArray[np.float64]
) -> list[list[float]] | None:
    """Return the sums of products of float images, values taken about their pooled mean, one list a channel.

    None where they are beyond the range of float64.

    Parameters
    ----------
    n, deviations, offsets : ndarray of float64, shape (N, C)
        Pixels of each image, the sum of squared deviations from its own mean, and how far that is from the pooled mean.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total = n * offsets
        both = np.stack((n, total, deviations + total * offsets, n * n), axis=2)
        products = (both[:, :, _FIRST] * both[:, :, _SECOND]).sum(axis=0)
    return products.tolist() if np.isfinite(products).all() else None


def float_sums(
    a: tuple[list[list[float]] | None, list[float]], b: tuple[list[list[float]] | None, list[float]], mean: list[float]
) -> list[list[float]] | None:
    """Return the sums of products of two parts together, about their pooled mean.

    Parameters
    ----------
    a, b : (list, list)
        The sums of each part, and the means that they are about.
    mean : list of float
        The pooled one.
    """
    if a[0] is None or b[0] is None:
        return None
    try:
        parts = [
            [shifted(of, new - old) for of, old, new in zip(products, about, mean, strict=True)]
            for products, about in ((a[0], a[1]), (b[0], b[1]))
        ]
    except OverflowError:
        return None
    sums = [[x + y for x, y in zip(*of, strict=True)] for of in zip(*parts, strict=True)]
    return sums if all(math.isfinite(x) for of in sums for x in of) else None


def shifted(products: Sequence[Any], by: Any) -> list[Any]:
    """Return sums of products after `by` was taken from every value: s becomes s - by n, q becomes q - 2 by s + by² n.

    Examples
    --------
    >>> shifted([1, 5, 25, 25, 125, 625, 1], 5)  # one image of one pixel, whose value is 5
    [1, 0, 0, 0, 0, 0, 1]
    """
    nn, ns, ss, nq, sq, qq, nnnn = products
    return [
        nn,
        ns - by * nn,
        ss - 2 * by * ns + by**2 * nn,
        nq - 2 * by * ns + by**2 * nn,
        sq - 2 * by * ss - by * nq + 3 * by**2 * ns - by**3 * nn,
        qq - 4 * by * sq + 2 * by**2 * nq + 4 * by**2 * ss - 4 * by**3 * ns + by**4 * nn,
        nnnn,
    ]


Squared: TypeAlias = Callable[[View, int], Any]
"""Of a view and the number of a channel."""


def _of_channels(value: Squared) -> Callable[[View], list[Any]]:
    """Return a function that gives a value a channel: NaN for fewer than two images, where no error is known."""

    def values(view: View) -> list[Any]:
        return [value(view, c) if images > 1 else math.nan for c, images in enumerate(view["images"])]

    return values


def _effective(view: View, c: int) -> Any:
    """Return how many images of one size would say as much: (sum of n)² / sum of n² (Kish 1965, section 11.7)."""
    return over(view["n"][c] ** 2, view["products"][c][0])


def _weighing(view: View, c: int) -> Any:
    """Return of how many images of one size the error would be known as well: (sum of n²)² / sum of n⁴.

    The squared error is a sum of squares with the weights n². One less than this has degrees of freedom of Student's t
    (Satterthwaite 1946, Biometrics Bulletin 2, 110-114): a few large images decide it, and it is known as badly as if
    there were only these.
    """
    return over(view["products"][c][0] ** 2, view["products"][c][6])


def _corrected(squares: Any, view: View, c: int) -> Any:
    """Return the squared error for the sum of squared linear parts.

    An image pulls the mean towards itself, the more the larger it is, and the linear part leaves that out; the
    jackknife does not: its residuals are larger by 1 / (1 - n / sum(n)). Here n / sum(n) is taken at its average over
    pixels, which is one over the effective number of images. For images of one size this is the jackknife, k / (k - 1).
    """
    k, effective = view["images"][c], _effective(view, c)
    if effective <= 1:
        return math.nan
    return squares * over(k - 1, k) * (effective / (effective - 1)) ** 2


def _about_the_mean(view: View, c: int) -> list[Any]:
    about = view.get("about")  # what the values were taken about; integers are taken as they are
    return shifted(view["products"][c], view["mean"][c] - (about[c] if about is not None else 0))


def _mean(view: View, c: int) -> Any:
    return _corrected(over(_about_the_mean(view, c)[2], view["n"][c] ** 2), view, c)


def _std(view: View, c: int) -> Any:
    n = view["n"][c]
    variance = over(view["deviation"][c], n)
    if not variance:
        return variance  # every image has the same one value
    nn, _, _, nq, _, qq, _ = _about_the_mean(view, c)
    squares = max(qq - 2 * variance * nq + variance**2 * nn, 0)
    return _corrected(squares / (4 * variance * n**2), view, c)


def _image_mean(view: View, c: int) -> Any:
    images = view["images"][c]
    return over(view["image_mean_deviation"][c], images * (images - 1))


def _image_std(view: View, c: int) -> Any:
    images = view["images"][c]
    mean = over(view["image_std"][c], images)
    return max(over(view["image_var"][c], images) - mean**2, 0) / (images - 1)


_SQUARED: dict[str, tuple[Squared, Squared]] = {
    "mean": (_mean, _weighing),
    "std": (_std, _weighing),
    "per_image.mean": (_image_mean, lambda view, c: view["images"][c]),
    "per_image.std": (_image_std, lambda view, c: view["images"][c]),
}


def _number(name: str, value: Squared, power: int) -> Number:
    return Number(name, _of_channels(value), name, name, power=power, root=power == 2, in_table=False)


ERRORS = {name: _number(f"stderr.{name}", squared, 2) for name, (squared, _) in _SQUARED.items()}
"""By the name of a number: its standard error, as the number of a sample of a population without end."""

WEIGHING = {name: _number(f"weighing.{name}", images, 0) for name, (_, images) in _SQUARED.items()}
"""By the name of a number: of how many images of one size its error would be known as well."""
