"""What a covariance of channels tells: principal components, whitening, and the vectors of colour augmentation."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["PCA", "Lighting", "lighting", "pca", "whitening"]

_DEPENDENT = 1e-12
"""Of the largest eigenvalue: a smaller one is rounding, 4,500 times what a float64 keeps."""


class PCA(NamedTuple):
    """Principal components of channels.

    Attributes
    ----------
    eigenvalues : ndarray of float64, shape (C,)
        Variances along the components, the largest first.
    eigenvectors : ndarray of float64, shape (C, C)
        ``eigenvectors[:, i]`` has length 1 and belongs to ``eigenvalues[i]``. Of its entries the largest in absolute
        value (the first of several) is positive, since the sign is not determined by the data.
    """

    eigenvalues: NDArray[np.float64]
    eigenvectors: NDArray[np.float64]


class Lighting(NamedTuple):
    """Colour augmentation by principal components: ``image += eigvec @ (normal(0, alphastd, 3) * eigval)``.

    Attributes
    ----------
    alphastd : float
        Standard deviation of the random factors.
    eigval : ndarray of float64, shape (C,)
        Eigenvalues of the covariance of values on [0, 1], times the scale of the image that is augmented.
    eigvec : ndarray of float64, shape (C, C)
        Eigenvectors as columns; rows are in the order of the channels.
    """

    alphastd: float
    eigval: NDArray[np.float64]
    eigvec: NDArray[np.float64]

    def __repr__(self) -> str:
        value = ", ".join(f"{x:.6f}" for x in self.eigval)
        vectors = ", ".join("[" + ", ".join(f"{x:.6f}" for x in row) + "]" for row in self.eigvec)
        return f"Lighting(alphastd={self.alphastd:g}, eigval=[{value}], eigvec=[{vectors}])"


def pca(covariance: NDArray[Any]) -> PCA:
    """Return eigenvalues and eigenvectors of a covariance of shape (C, C)."""
    if not np.isfinite(covariance).all():
        unknown = np.full_like(covariance, np.nan)
        return PCA(unknown.diagonal().copy(), unknown)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1].copy()
    for column in vectors.T:
        if column[np.argmax(np.abs(column))] < 0:
            column *= -1
    return PCA(values, vectors)


def whitening(covariance: NDArray[Any], method: str, eps: float) -> NDArray[np.float64]:
    """Return the matrix W with ``W @ covariance @ W.T`` the identity (for `eps` 0).

    Raises
    ------
    ValueError
        Where `method` or `eps` is not supported, or where a channel is determined by the others and `eps` is 0.
    """
    if method not in ("zca", "pca"):
        raise ValueError(f"method should be 'zca' or 'pca', got {method!r}")
    if isinstance(eps, bool) or not 0 <= eps < np.inf:
        raise ValueError(f"eps should be a number from 0, got {eps!r}")
    values, vectors = pca(covariance)
    if len(values) and values[-1] + eps <= _DEPENDENT * (values[0] + eps):
        raise ValueError(
            "the channels cannot be whitened, since they determine one another (grey images are an example): the "
            f"smallest eigenvalue of their covariance is {values[-1]:.3g}, the largest {values[0]:.3g}; give eps=, for "
            "example 1e-5 of the variance"
        )
    matrix: NDArray[np.float64] = vectors.T / np.sqrt(values + eps)[:, None]
    return np.asarray(vectors @ matrix) if method == "zca" else matrix


def lighting(covariance: NDArray[Any], alphastd: float, scale: float) -> Lighting:
    """Return the vectors for images on [0, `scale`], from the covariance of values on [0, 1]."""
    values, vectors = pca(covariance)
    return Lighting(float(alphastd), values * scale, vectors)
