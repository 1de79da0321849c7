"""Comparisons: what a network sees, definitions, sampling errors, distances of histograms, and verdicts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats import DataError, Stats, compare
from gpustats.datasets.demo import natural_image
from gpustats.definition import Definition
from gpustats.failures import Failure
from gpustats.result.presets import presets
from gpustats.result.verdict import FAR, NEAR, USES, level, verdict
from gpustats.statistics.rows import Rows
from gpustats.statistics.totals import Totals
from tests.rows import rows_of


def photos(count: int = 20, seed: int = 1, size: int = 24) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([natural_image(rng, size, size) for _ in range(count)])


def stats_of(images: Any, **options: Any) -> Stats:
    return gpustats.compute(images, layout="NHWC", progress=False, **options)


def pooled(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = values.astype(np.float64).reshape(-1, values.shape[-1])
    return flat.mean(axis=0), flat.std(axis=0)


@pytest.mark.parametrize("name", [name for name, entry in presets.items() if entry.order != "L"])
def test_what_the_network_sees_is_what_normalized_pixels_have(name: str) -> None:
    images, entry = photos(), presets[name]
    given = images * (entry.scale / 255)
    if entry.order == "BGR":
        given = given[..., ::-1]
    mean, std = pooled((given - np.array(entry.mean)) / np.array(entry.std))
    if entry.order == "BGR":
        mean, std = mean[::-1], std[::-1]
    found = stats_of(images).compare(name)
    np.testing.assert_allclose(found.seen_mean, mean, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.seen_std, std, rtol=1e-10)
    assert found.channels == ("R", "G", "B")


def test_the_reference_images_against_imagenet(sample: Path) -> None:
    paths = sorted(sample.rglob("*.*"))[::10]
    found = compare(gpustats.compute(paths, progress=False), "imagenet")
    entry = presets["imagenet"]
    n, total, squares = 0, np.zeros(3), np.zeros(3)
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
        seen = (pixels / np.float32(255) - np.array(entry.mean, np.float32)) / np.array(entry.std, np.float32)
        n += len(seen)
        total += seen.sum(axis=0, dtype=np.float64)
        squares += np.square(seen, dtype=np.float64).sum(axis=0)
    np.testing.assert_allclose(found.seen_mean, total / n, atol=1e-6)
    np.testing.assert_allclose(found.seen_std, np.sqrt(squares / n - (total / n) ** 2), atol=1e-6)
    assert level(found.shift) == "near", "they are ImageNet"
    assert (found.seen_std > 1.2).all(), "although pooled stds are a fifth larger than ImageNet's 0.229"


def test_two_definitions_are_told_apart() -> None:
    """Numbers of the weak definition against a preset of it are no shift at all."""
    stats = stats_of(photos())
    entry = replace(
        presets["imagenet"], mean=tuple(stats.per_image.mean.tolist()), std=tuple(stats.per_image.std_unbiased.tolist())
    )
    found = stats.compare(entry)
    assert found.shift < 1e-12
    assert (found.seen_std > 1.05).all()
    assert found.alike == ("per_image.mean", "per_image.std_unbiased")
    [said] = [note for note in found.notes if note.startswith("two definitions")]
    assert "per_image.std_unbiased is the number of a result that matches it" in said
    assert not [note for note in stats.compare("cifar10").notes if "definition" in note]
    assert compare(entry, stats).shift < 1e-12, "the other way round too"
    assert any("how the numbers of clip are defined is not known" in note for note in stats.compare("clip").notes)
    two = compare("cifar10", "cifar10-per-image")
    assert any("are of two definitions of std" in note for note in two.notes)
    np.testing.assert_allclose(two.std_shift, np.array(presets["cifar10"].std) / (0.2023, 0.1994, 0.2010) - 1)


def test_numbers_that_are_no_statistics() -> None:
    found = stats_of(photos()).compare("inception")
    assert math.isnan(found.shift)
    assert found.differs is None
    assert any("no statistics, but what puts [0, 1] onto [-1, 1]" in note for note in found.notes)
    assert "cannot be said" in found.verdict["frozen"]
    assert "nan" not in json.dumps(found.to_dict()).lower()


def test_caffe_numbers_are_compared_by_their_mean_alone() -> None:
    images = photos()
    found = stats_of(images).compare("caffe-bgr")
    expected = (images[..., ::-1].reshape(-1, 3).mean(axis=0) - presets["caffe-bgr"].mean)[::-1] / 255
    np.testing.assert_allclose(found.mean - found.other_mean, expected)
    np.testing.assert_allclose(found.mean_shift, expected / stats_of(images).std)
    assert found.std_shift.tolist() == [0, 0, 0]
    assert [note for note in found.notes if "on [0, 255]" in note or "in the order BGR" in note]


def test_scales_and_orders_are_converted() -> None:
    images = photos()
    stats = stats_of(images)
    plain = stats.compare("imagenet")
    for other in (
        stats.scaled(255),
        stats_of(images.astype(np.uint16) * 257),
        stats_of((images / 255).astype(np.float64)),
        replace(stats_of(images[..., ::-1]), definition=Definition(color_order="BGR")),
    ):
        found = other.compare("imagenet")
        assert found.channels == plain.channels
        for name in ("mean", "std", "seen_mean", "seen_std", "mean_shift", "std_shift", "z_mean", "z_std"):
            np.testing.assert_allclose(getattr(found, name), getattr(plain, name), rtol=1e-6, atol=1e-9)
    deep, floats = (stats_of(x) for x in (images.astype(np.uint16), images / 255))
    assert any("values are divided by 65,535" in note for note in deep.compare("imagenet").notes)
    assert any("float values, taken as they are" in note for note in floats.compare("imagenet").notes)
    bgr = replace(stats, definition=Definition(color_order="BGR"))
    assert any("is in the order BGR" in note for note in bgr.compare("imagenet").notes)
    with pytest.raises(DataError, match=r"a is of float values that reach 2\d\d, imagenet is on \[0, 1\]"):
        compare(stats_of(images.astype(np.float32)), "imagenet")
    data = stats_of(images * 1.0).to_dict()
    data["totals"]["moments"]["mean"][0] *= 1 + 1e-13
    del data["checksum"]
    again = compare(stats_of(images * 1.0), Stats.from_dict(data))
    assert again.shift < 1e-12, "floats against floats"
    assert again.differs is False, "their sums depend on order"
    one, deep = stats_of(images), stats_of(images.astype(np.uint16) * 257)
    assert any("their numbers are the same" in note for note in compare(one, deep).notes), "of two depths"


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    photos_folder = tmp_path / "photos"
    photos_folder.mkdir()
    stats, grey = stats_of(photos()), stats_of(photos()[..., :1])
    with pytest.raises(DataError, match=r"a has 3 channels \(R, G, B\), mnist has 1 channel \(L\): these cannot be"):
        compare(stats, "mnist")
    with pytest.raises(DataError, match=r"a has 1 channel \(L\), imagenet has 3 channels"):
        compare(grey, "imagenet")
    assert grey.compare("mnist").channels == ("L",)
    four = stats_of(np.concatenate([photos(), photos()[..., :1]], axis=-1))
    with pytest.raises(DataError, match=r"4 channels \(0, 1, 2, 3\), b has 3 channels"):
        compare(four, stats)
    with pytest.raises(DataError, match="a holds no images"):
        compare(Stats(), stats)
    flat = photos()
    flat[..., 1] = 9
    with pytest.raises(DataError, match="b: channel G is constant"):
        compare(stats, stats_of(flat))
    assert compare(stats_of(flat), stats).seen_std[1] == 0, "the other way round it is fine"
    with pytest.raises(DataError, match=r"no preset and no file 'imagenett'\. Did you mean 'imagenet'"):
        compare(stats, "imagenett")
    with pytest.raises(DataError, match=r"none\.json: cannot be read"):
        compare("none.json", "imagenet")
    with pytest.raises(DataError, match=r"photos is a folder; compute it, save the result, and compare that"):
        compare(str(photos_folder), "imagenet")
    with pytest.raises(DataError, match="between results, files of results and presets, not int"):
        compare(stats, 3)  # type: ignore[arg-type]


def test_files_and_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stats = stats_of(photos())
    for name in ("mine.json", "imagenet", "plain"):
        stats.save(name)
    assert compare("mine.json", stats).shift == 0
    assert compare(Path("plain"), stats).shift == 0
    assert compare("imagenet", stats).a == "imagenet"
    assert compare("imagenet", stats).shift > 0, "the preset"
    assert compare("./imagenet", stats).shift == 0, "the file"


def test_an_interrupted_run_and_failures_are_said() -> None:
    stats = replace(stats_of(photos()), complete=False)
    stats.failures.add(Failure("x.jpg", "corrupt", "broken"))
    notes = compare(stats, "imagenet").notes
    assert "a: INCOMPLETE: the run was stopped before the end" in notes
    assert "a: 1 image failed and does not count" in notes


def folded(rows: Rows, which: np.ndarray) -> Stats:
    totals = Totals()
    totals.fold(rows.take(which))
    return Stats(totals)


def test_standard_errors() -> None:
    rng = np.random.default_rng(3)
    images = [natural_image(rng, *rng.integers(5, 30, 2)) for _ in range(60)]
    rows = rows_of(images)
    first, second = np.arange(25), np.arange(25, 60)
    found = compare(folded(rows, first), folded(rows, second))
    for numbers, z in (
        (np.array([image.mean(axis=(0, 1)) for image in images]), found.z_mean),
        (np.array([image.std(axis=(0, 1)) for image in images]), found.z_std),
    ):
        a, b = numbers[first], numbers[second]
        error = np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))
        np.testing.assert_allclose(z, (a.mean(axis=0) - b.mean(axis=0)) / error, rtol=1e-6)
    assert "25 images are few: standard errors are rough" in found.notes
    alone = compare(folded(rows, first), "imagenet")
    means = np.array([image.mean(axis=(0, 1)) for image in images])[first] / 255
    expected = (means.mean(axis=0) - presets["imagenet"].mean) / (means.std(axis=0, ddof=1) / 5)
    np.testing.assert_allclose(alone.z_mean, expected, rtol=1e-6)
    assert "the sampling error is that of a alone; that of imagenet is not known" in alone.notes
    pooled_one = compare(folded(rows, first), "cifar10")
    stats = folded(rows, first)
    for z, name in ((pooled_one.z_mean, "mean"), (pooled_one.z_std, "std")):
        difference = stats.number(name) - getattr(presets["cifar10"], name)
        np.testing.assert_allclose(z, difference / stats.stderr(name, of="population"), rtol=1e-6)  # type: ignore[arg-type]
    old = stats.totals.to_dict()
    del old["moments"]["products"]
    of_old = compare(Stats(Totals.from_dict(old)), "cifar10")
    assert of_old.z_std is None
    assert (
        "the sampling error of a pooled mean and std is not known to this result of an earlier version" in of_old.notes
    )
    one = compare(folded(rows, np.array([0])), folded(rows, second))
    assert (one.z_mean, one.differs) == (None, None)
    assert "one image has no sampling error that could be known" in one.notes


def test_images_of_one_pixel_and_images_that_are_all_alike() -> None:
    points = stats_of(np.random.default_rng(0).integers(0, 256, (40, 1, 1, 3), dtype=np.uint8))
    found = points.compare("imagenet")
    assert math.isnan(found.shift)
    assert found.differs is None
    assert "images of one pixel have no std that could be compared" in found.notes
    alike = stats_of(np.repeat(photos(1), 40, axis=0))
    assert alike.compare("imagenet").differs is True, "there is a difference, and no error"
    same = compare(alike, stats_of(np.repeat(photos(1), 50, axis=0)))
    assert same.z_mean is not None
    assert same.z_mean.tolist() == [0, 0, 0]
    assert same.differs is False


def test_samples_of_one_set_are_no_different_in_95_percent() -> None:
    rng = np.random.default_rng(0)
    rows = rows_of([natural_image(rng, 8, 8) for _ in range(1000)])
    found = 0
    for seed in range(400):
        order = np.random.default_rng(seed).permutation(1000)
        found += compare(folded(rows, order[:200]), folded(rows, order[200:400])).differs is False
    assert 0.93 <= found / 400 <= 0.97


def test_the_same_images_changed_are_found() -> None:
    """Two percent brighter is less than the sampling error of 200 other images, but these are the same ones."""
    images = photos(200, size=8) // 2
    brighter = np.minimum(np.rint(images * 1.02), 255).astype(np.uint8)
    plain, changed = (Stats(Totals()), Stats(Totals()))
    plain.totals.fold(rows_of(list(images)))
    changed.totals.fold(rows_of(list(brighter)))
    found = compare(changed, plain)
    assert found.differs is True
    assert found.z_mean is None
    assert any("so no sampling is between them: the pixels differ" in note for note in found.notes)
    assert compare(plain, plain).differs is False
    others = Stats(Totals())
    others.totals.fold(rows_of(list(brighter), first=200))
    assert compare(others, plain).differs is False, "other names"


def test_distances_of_histograms() -> None:
    a, b = photos(6, 1), photos(6, 2)
    found = compare(stats_of(a, statistics=["histogram"]), stats_of(b, statistics=["histogram"]))
    for c in range(3):
        x, y = (np.sort(images[..., c].ravel()) / 255 for images in (a, b))
        assert found.wasserstein is not None
        assert found.wasserstein[c] == pytest.approx(np.abs(x - y).mean(), rel=1e-9), "of samples of one size"
        p, q = (np.bincount(images[..., c].ravel(), minlength=256) / images[..., c].size for images in (a, b))
        m = (p + q) / 2
        expected = sum(0.5 * (s[s > 0] * np.log2(s[s > 0] / m[s > 0])).sum() for s in (p, q))
        assert found.jensen_shannon is not None
        assert found.jensen_shannon[c] == pytest.approx(expected, rel=1e-9)
    black, white = (
        stats_of(np.concatenate([np.full((1, 4, 4, 3), v, np.uint8)] * 2), statistics=["histogram"]) for v in (0, 255)
    )
    noisy = stats_of(photos(2), statistics=["histogram"])
    assert compare(black, noisy).wasserstein is not None
    mixed = black + white
    assert compare(mixed, noisy).jensen_shannon is not None
    far = stats_of(np.array([0, 1] * 24, np.uint8).reshape(1, 4, 4, 3), statistics=["histogram"])
    near = stats_of(np.array([254, 255] * 24, np.uint8).reshape(1, 4, 4, 3), statistics=["histogram"])
    apart = compare(far, near)
    assert apart.jensen_shannon is not None
    assert apart.jensen_shannon.tolist() == [1, 1, 1]
    np.testing.assert_allclose(apart.wasserstein, 254 / 255)
    without = compare(stats_of(a), stats_of(b, statistics=["histogram"]))
    assert without.wasserstein is without.jensen_shannon is None
    assert "no distance of distributions: a was computed without the statistic histogram" in without.notes
    assert not [note for note in stats_of(a).compare("imagenet").notes if "histogram" in note]


def test_levels_and_verdicts() -> None:
    assert [level(x) for x in (0, NEAR, NEAR + 1e-9, FAR, FAR + 1e-9, math.nan)] == [
        "near",
        "near",
        "some way off",
        "some way off",
        "far",
        "unknown",
    ]
    for shift in (0.0, 0.3, 2.0, math.nan):
        said = verdict("imagenet", shift)
        assert tuple(said) == USES
        assert said["frozen"].startswith("Normalize with the numbers of imagenet: the weights were trained with them.")
        assert "your own" in said["from scratch"]
    assert "Expect a loss" in verdict("imagenet", 2.0)["frozen"]
    assert "try your own" in verdict("imagenet", 2.0)["fine-tuning"]
    found = stats_of(photos()).compare("imagenet")
    assert found.verdict == verdict("imagenet", found.shift)


def test_the_shift_is_the_largest_of_all() -> None:
    stats = stats_of(photos())
    for change in ({"mean": (0.2, 0, 0)}, {"mean": (0, 0, -0.2)}, {"std": (0, 0.1, 0)}, {"std": (0, 0, -0.1)}):
        moved = {n: tuple(stats.number(n) + np.array(change.get(n, (0, 0, 0)))) for n in ("mean", "std")}
        found = stats.compare(replace(presets["cifar10"], **moved))
        both = np.concatenate([(stats.mean - moved["mean"]) / moved["std"], stats.std / moved["std"] - 1])
        assert found.shift == pytest.approx(abs(both).max())
        assert found.shift > 0.2


def test_shown_and_saved() -> None:
    found = stats_of(photos()).compare("imagenet")
    text = repr(found)
    assert text.startswith("gpustats.Comparison\n  a: this result\n  b: imagenet\n")
    for part in (
        "what the network sees of a",
        "shift of std",
        "standard errors, mean",
        "  frozen: ",
        "  from scratch: ",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 80
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["seen_mean"] == found.seen_mean.tolist()
    assert data["shift"] == found.shift
    assert data["verdict"] == found.verdict
    assert data["wasserstein"] is None
