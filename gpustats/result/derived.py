"""Numbers of a result that take a parameter, or that are more than one array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gpustats.errors import DataError
from gpustats.statistics import clusters, colour, histogram
from gpustats.statistics.base import Number
from gpustats.statistics.totals import Totals

if TYPE_CHECKING:
    from gpustats.result.estimate import Estimate
    from gpustats.result.sizes import Sizes

__all__ = ["Derived"]


class Derived:
    """The methods of a result that derive something; the result says what a number is."""

    __slots__ = ()

    scale: Fraction
    totals: Totals
    complete: bool
    estimate: Estimate | None

    def number(self, name: str) -> NDArray[Any]:
        """Return a number of the catalogue."""
        raise NotImplementedError

    def evaluate(self, statistic: str, number: Number) -> NDArray[Any]:
        """Return a number that is derived from a statistic."""
        raise NotImplementedError

    @property
    def sizes(self) -> Sizes:
        """Distributions of width, height, aspect ratio and bytes, and formats; needs ``statistics=["sizes"]``.

        Raises
        ------
        DataError
            Where they were not computed, or there is no image.

        Examples
        --------
        >>> import gpustats, numpy as np
        >>> images = [np.zeros((height, 640, 3), np.uint8) for height in (300, 400, 480)]
        >>> sizes = gpustats.compute(images, statistics=["sizes"], progress=False).sizes
        >>> sizes.height.median, sizes.resize().size
        (400, 288)
        """
        from gpustats.result.sizes import Sizes

        if "sizes" not in self.totals.parts:
            raise DataError("there are no sizes: compute with statistics=['sizes']")
        return Sizes(self.totals["sizes"])

    def quantile(
        self, q: float | Sequence[float], *, method: Literal["linear", "inverted_cdf"] = "linear"
    ) -> NDArray[Any]:
        """Return quantiles of all pixels, as `numpy.quantile` of them; needs ``statistics=["histogram"]``.

        Parameters
        ----------
        q : float or sequence of float
            Shares from 0 to 1: 0.5 for the median, ``[0.01, 0.99]`` for two percentiles.
        method : {"linear", "inverted_cdf"}
            NumPy's names. ``"linear"``, also NumPy's default, is between two values where q falls between two pixels;
            ``"inverted_cdf"`` is always a value that occurs.

        Returns
        -------
        ndarray of float64, shape (C,) or (K, C)
            Of one quantile, or of K. Exact for 8- and 16-bit images. Of float images it is the middle of a bin, or
            between two middles, and off by at most half a bin, ``stats.bin_error``; NaN where the quantile is outside
            ``histogram_range``.

        Raises
        ------
        ValueError
            Where a q is not from 0 to 1, or the method is another.
        AttributeError
            Where the histogram was not computed.

        Examples
        --------
        >>> import gpustats, numpy as np
        >>> image = np.array([[[0], [51], [102]]], np.uint8)
        >>> stats = gpustats.compute([image], layout="HWC", statistics=["histogram"], progress=False)
        >>> stats.quantile([0.25, 0.5]).tolist()
        [[0.1], [0.2]]
        >>> stats.quantile(0.25, method="inverted_cdf").tolist()
        [0.0]
        """
        return self.evaluate("histogram", histogram.quantile(q, method))

    def stderr(
        self,
        name: Literal["mean", "std", "per_image.mean", "per_image.std"] = "mean",
        *,
        of: Literal["dataset", "population"] = "dataset",
    ) -> NDArray[np.float64]:
        """Return the standard error of a number: how far it may be from that of all images, as only some were read.

        The image is the unit that is drawn (cluster sampling): the pixels of one image are not independent of each
        other. See ``docs/samples.md`` for the formulas.

        Parameters
        ----------
        name : {"mean", "std", "per_image.mean", "per_image.std"}
            The number.
        of : {"dataset", "population"}
            ``"dataset"``: of the dataset that the sample was drawn from; 0 where every image was read.
            ``"population"``: of a larger population, of which the images that were read are an independent sample,
            such as all images that a camera will ever take.

        Returns
        -------
        ndarray of float64, shape (C,)
            NaN for fewer than two images.

        Raises
        ------
        ValueError
            For another name; where the error is not known: the run was stopped before the end, samples of different
            shares were pooled, or the result was saved by a version that did not keep what it takes.

        Examples
        --------
        >>> import gpustats, numpy
        >>> images = numpy.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), dtype="uint8")
        >>> gpustats.compute(images, sample=50, progress=False).stderr("mean").round(3).tolist()
        [0.004, 0.004, 0.004]
        >>> gpustats.compute(images, progress=False).stderr("mean").tolist()
        [0.0, 0.0, 0.0]
        """
        return self._error(name, of)[0]

    def confidence_interval(
        self,
        level: float = 0.95,
        name: Literal["mean", "std", "per_image.mean", "per_image.std"] = "mean",
        *,
        of: Literal["dataset", "population"] = "dataset",
    ) -> NDArray[np.float64]:
        """Return the interval that holds the number of all images in a share `level` of all samples.

        By Student's t; images that are much larger than the others make it wider.

        Parameters
        ----------
        level : float
            Above 0 and below 1.
        name, of
            See `stderr`.

        Returns
        -------
        ndarray of float64, shape (2, C)
            Its ends.

        Raises
        ------
        ValueError
            As `stderr` does, and for another level.

        Examples
        --------
        >>> import gpustats, numpy
        >>> images = numpy.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), dtype="uint8")
        >>> gpustats.compute(images, sample=50, progress=False).confidence_interval(0.95, "std").round(3).tolist()
        [[0.287, 0.287, 0.29], [0.294, 0.294, 0.297]]
        """
        half, middle = self.half_width(name, level, of), self.number(name)
        return np.stack((middle - half, middle + half))

    def half_width(self, name: str = "mean", level: float = 0.95, of: str = "dataset") -> NDArray[np.float64]:
        """Return half the width of `confidence_interval`, which has the same parameters, of shape (C,)."""
        if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
            raise ValueError(f"level should be a number above 0 and below 1, such as 0.95, got {level!r}")
        from gpustats.result.estimate import student

        error, freedom = self._error(name, of)
        return np.where(error == 0, 0.0, student(level, freedom) * error)

    def _error(self, name: str, of: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the standard error of a number, and its degrees of freedom."""
        if name not in clusters.ERRORS:
            raise ValueError(f"the error of {name!r} is not known; that of {', '.join(clusters.ERRORS)} is")
        if of not in ("dataset", "population"):
            raise ValueError(f"of should be 'dataset' or 'population', got {of!r}")
        pooled = name in ("mean", "std")
        if pooled and self.totals.kind is not None and self.totals["moments"]["products"] is None:
            raise ValueError(
                "the sampling error is not known: the result was saved by an earlier version, or its values are too "
                "large; compute again"
            )
        error = self.evaluate("moments", clusters.ERRORS[name])
        freedom = np.maximum(self.evaluate("moments", clusters.WEIGHING[name]) - 1, 1)
        if of == "dataset":
            if not self.complete:
                raise ValueError("the run was stopped before the end, and what it had read is no random sample")
            if self.estimate is None or self.estimate.whole:
                error = np.zeros_like(error)
            elif not self.estimate.even:
                raise ValueError("samples of different shares were pooled, so these are not numbers of one sample")
            else:
                error *= math.sqrt(self.estimate.left)
                freedom /= self.estimate.left  # so is the error of the error smaller, the more of all were drawn
        return error, freedom

    def pca(self) -> colour.PCA:
        """Return the principal components of the channels; needs ``statistics=["covariance"]``.

        Returns
        -------
        PCA
            ``eigenvalues`` of shape (C,), the largest first, and ``eigenvectors`` of shape (C, C) as columns. Of the
            entries of a vector, the largest in absolute value (the first of several) is positive.

        Raises
        ------
        AttributeError
            Where the covariance was not computed.

        Examples
        --------
        >>> import gpustats, numpy as np
        >>> image = np.array([[[0, 0], [255, 0], [0, 51], [255, 51]]], np.uint8)
        >>> stats = gpustats.compute([image], layout="HWC", statistics=["covariance"], progress=False)
        >>> stats.pca().eigenvalues.round(6).tolist()
        [0.25, 0.01]
        """
        return colour.pca(self.number("covariance"))

    def whitening(self, method: Literal["zca", "pca"] = "zca", *, eps: float = 0.0) -> NDArray[Any]:
        """Return the matrix that makes channels uncorrelated, each with variance 1.

        A pixel x becomes ``W @ (x - stats.mean)``. Needs ``statistics=["covariance"]``.

        Parameters
        ----------
        method : {"zca", "pca"}
            ``"zca"``: ``E (D + eps)^(-1/2) E^T``, the whitening that stays nearest to the colours. ``"pca"``:
            ``(D + eps)^(-1/2) E^T``, along the principal components. D and E are eigenvalues and -vectors of `pca`.
            Source: Kessy, Lewin and Strimmer, "Optimal Whitening and Decorrelation", The American Statistician 72
            (2018) 309-314, table 1.
        eps : float
            Added to each eigenvalue, in squared units of the result's scale.

        Returns
        -------
        ndarray of float64, shape (C, C)

        Raises
        ------
        ValueError
            Where the channels determine one another, as in grey images, and `eps` is 0; where an argument is not
            supported.
        AttributeError
            Where the covariance was not computed.

        Examples
        --------
        >>> import gpustats, numpy as np
        >>> image = np.array([[[0, 0], [255, 0], [0, 51], [255, 51]]], np.uint8)
        >>> stats = gpustats.compute([image], layout="HWC", statistics=["covariance"], progress=False)
        >>> stats.whitening().round(6).tolist()
        [[2.0, 0.0], [0.0, 10.0]]
        """
        return colour.whitening(self.number("covariance"), method, eps)

    def lighting(self, alphastd: float = 0.1) -> colour.Lighting:
        """Return AlexNet's colour augmentation ("lighting noise") for this dataset, as training scripts take it.

        An image becomes ``image + eigvec @ (normal(0, alphastd, C) * eigval)``, with one draw for all of its pixels.
        The channels are in the order of ``stats.channels`` (RGB for images that were decoded; a script that reads with
        OpenCV needs the rows of `eigvec` reversed). `eigval` holds the eigenvalues of the covariance on [0, 1], for
        images on [0, 1]; for images on [0, 255] take ``stats.scaled(255).lighting()``, whose `eigval` is 255 times as
        large (not 255 squared), so that the noise is the same.

        Source: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks"
        (2012), section 4.1, with alphastd 0.1. ``{0.2175, 0.0188, 0.0045}`` in fb.resnet.torch, datasets/imagenet.lua,
        are ImageNet's on [0, 1].

        Parameters
        ----------
        alphastd : float
            Standard deviation of the random factors.

        Returns
        -------
        Lighting
            `alphastd`, `eigval` of shape (C,), `eigvec` of shape (C, C).

        Raises
        ------
        ValueError
            Where `alphastd` is no number from 0.
        AttributeError
            Where the covariance was not computed.

        Examples
        --------
        >>> import gpustats, numpy as np
        >>> image = np.array([[[0, 0], [255, 0], [0, 51], [255, 51]]], np.uint8)
        >>> stats = gpustats.compute([image], layout="HWC", statistics=["covariance"], progress=False)
        >>> stats.lighting()
        Lighting(alphastd=0.1, eigval=[0.250000, 0.010000], eigvec=[[1.000000, 0.000000], [0.000000, 1.000000]])
        """
        unit = float(self.scale)
        return colour.lighting(self.number("covariance") / unit**2, alphastd, unit)
