"""Principal components, whitening and lighting: NumPy's of all pixels, with signs that the data cannot change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpustats
from gpustats import Stats
from gpustats.statistics.colour import pca
from gpustats.statistics.totals import Totals
from tests.rows import built

NAMES = ("moments", "covariance")


def compute(images: Any) -> Stats:
    return gpustats.compute(images, layout="HWC", statistics=["covariance"], progress=False, device="cpu")


def images_of(seed: int, dtype: type = np.uint8, channels: int = 3, count: int = 6) -> list[np.ndarray]:
    """Channels that go together, more or less."""
    rng = np.random.default_rng(seed)
    top = int(np.iinfo(dtype).max)
    mix = rng.normal(0, 1, (channels, channels))
    images = []
    for _ in range(count):
        pixels = rng.normal(0, top / 8, (*rng.integers(3, 9, 2), channels)) @ mix + rng.uniform(0, top, channels)
        images.append(np.clip(pixels, 0, top).astype(dtype))
    return images


def pooled(images: list[np.ndarray]) -> np.ndarray:
    top = np.iinfo(images[0].dtype).max
    return np.concatenate([image.reshape(-1, image.shape[2]) for image in images]) / top


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([np.uint8, np.uint16]), st.integers(1, 5))
def test_everything_against_numpy(seed: int, dtype: type, channels: int) -> None:
    images = images_of(seed, dtype, channels)
    stats, pixels = compute(images), pooled(images)
    covariance = np.atleast_2d(np.cov(pixels, rowvar=False, ddof=0))
    np.testing.assert_allclose(stats.covariance, covariance, rtol=1e-12, atol=1e-14)
    correlation = np.atleast_2d(np.corrcoef(pixels, rowvar=False))
    np.testing.assert_allclose(stats.correlation, correlation, rtol=1e-10, atol=1e-12)
    assert np.diag(stats.correlation).tolist() == [1.0] * channels
    values, vectors = stats.pca()
    np.testing.assert_allclose(values, np.linalg.eigvalsh(covariance)[::-1], rtol=1e-10, atol=1e-14)
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, covariance, atol=1e-14)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(channels), atol=1e-13)
    largest = vectors[np.abs(vectors).argmax(axis=0), range(channels)]
    assert (largest > 0).all()
    for method in ("zca", "pca"):
        matrix = stats.whitening(method)
        white = (pixels - stats.mean) @ matrix.T
        np.testing.assert_allclose(np.atleast_2d(np.cov(white, rowvar=False, ddof=0)), np.eye(channels), atol=1e-8)
    np.testing.assert_allclose(stats.whitening("zca"), stats.whitening("zca").T, rtol=1e-9, atol=1e-9)


def test_the_sign_does_not_depend_on_the_solver() -> None:
    for vector in ([3, 4], [-3, -4], [-4, 3], [4, -3], [0, -2]):
        unit = np.array(vector) / np.linalg.norm(vector)
        other = np.array([-unit[1], unit[0]])
        _, vectors = pca(4 * np.outer(unit, unit) + np.outer(other, other))
        np.testing.assert_allclose(vectors[:, 0], unit * np.sign(unit[np.abs(unit).argmax()]), atol=1e-15)


def test_any_order_of_merging_gives_the_same_bits() -> None:
    images = images_of(4)
    whole = compute(images)
    parts = []
    for i in range(len(images)):
        totals = Totals(NAMES)
        totals.fold(built([images[i]], NAMES, first=i))
        parts.append(Stats(totals))
    for order in (parts, parts[::-1], parts[3:] + parts[:3]):
        merged = gpustats.merge(order)
        np.testing.assert_array_equal(merged.correlation, whole.correlation)
        np.testing.assert_array_equal(merged.pca().eigenvectors, whole.pca().eigenvectors)
        np.testing.assert_array_equal(merged.whitening("pca"), whole.whitening("pca"))


def test_scales() -> None:
    stats = compute(images_of(5))
    grey = stats.scaled(255)
    np.testing.assert_allclose(grey.correlation, stats.correlation, rtol=1e-15)
    np.testing.assert_allclose(grey.pca().eigenvalues, stats.pca().eigenvalues * 255**2, rtol=1e-11)
    np.testing.assert_allclose(grey.whitening() * 255, stats.whitening(), rtol=1e-9)
    np.testing.assert_allclose(grey.lighting().eigval, stats.lighting().eigval * 255, rtol=1e-11)
    np.testing.assert_allclose(grey.lighting().eigvec, stats.lighting().eigvec, atol=1e-11)
    np.testing.assert_array_equal(stats.lighting().eigval, stats.pca().eigenvalues)


def test_lighting_is_what_scripts_take() -> None:
    """A random colour has the variance (alphastd * eigenvalue)**2 along a component, as in AlexNet's paper."""
    alphastd, eigval, eigvec = compute(images_of(6)).lighting(0.2)
    draws = np.random.default_rng(0).normal(0, alphastd, (200_000, 3))
    colours = draws * eigval @ eigvec.T
    np.testing.assert_allclose(np.var(colours @ eigvec, axis=0), (0.2 * eigval) ** 2, rtol=0.02)
    text = repr(compute([np.array([[[0, 9], [255, 9]]], np.uint8)]).lighting())
    assert (
        text
        == "Lighting(alphastd=0.1, eigval=[0.250000, 0.000000], eigvec=[[1.000000, 0.000000], [0.000000, 1.000000]])"
    )


@pytest.mark.parametrize("method", ["zca", "pca"])
def test_grey_images_cannot_be_whitened_without_eps(method: Any) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (9, 9, 1), np.uint8).repeat(3, axis=2)
    stats = compute([grey])
    assert stats.correlation.tolist() == [[1.0] * 3] * 3
    with pytest.raises(ValueError, match="the channels cannot be whitened, since they determine one another"):
        stats.whitening(method)
    matrix = stats.whitening(method, eps=1e-3)
    values, vectors = stats.pca()
    expected = vectors.T / np.sqrt(values + 1e-3)[:, None]
    np.testing.assert_allclose(matrix, vectors @ expected if method == "zca" else expected, rtol=1e-12)


def test_a_flat_channel_has_no_correlation() -> None:
    stats = compute([np.array([[[0, 9], [255, 9]]], np.uint8)])
    assert stats.correlation[0, 0] == 1
    assert np.isnan([stats.correlation[0, 1], stats.correlation[1, 0], stats.correlation[1, 1]]).all()
    assert stats.to_dict()["correlation"] == [[1, None], [None, None]]
    opposite = compute([np.array([[[0, 9], [255, 3]]], np.uint8)])
    assert opposite.correlation.tolist() == [[1, -1], [-1, 1]]


def test_wrong_arguments() -> None:
    stats = compute(images_of(1))
    with pytest.raises(ValueError, match="method should be 'zca' or 'pca', got 'svd'"):
        stats.whitening("svd")  # type: ignore[arg-type]
    for eps in (-1, np.nan, np.inf, True):
        with pytest.raises(ValueError, match="eps should be a number from 0, got"):
            stats.whitening(eps=eps)
    without = gpustats.compute(images_of(1), layout="HWC", progress=False, device="cpu")
    for call in (without.pca, without.whitening, without.lighting):
        with pytest.raises(AttributeError, match=r"it needs statistics=\['covariance'\]"):
            call()


def test_an_empty_result() -> None:
    empty = Stats(Totals(NAMES))
    assert empty.correlation.shape == (0, 0)
    assert empty.pca().eigenvalues.shape == (0,)
