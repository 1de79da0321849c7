"""The numbers by name, printing, saving and merging."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import gpustats
from gpustats import Totals, DataError, MergeError, Stats
from gpustats.failures import Failure, FailureLog
from gpustats.result.stats import Definition
from tests.test_moments import random_images, rows_of


def stats_of(images: list[np.ndarray], **options: object) -> Stats:
    totals = Totals()
    totals.fold(rows_of(images))
    return Stats(totals, **options)  # type: ignore[arg-type]


def test_every_definition_against_numpy_float64() -> None:
    images = random_images(5, 30)
    stats = stats_of(images)
    unit = [image.reshape(-1, 3) / 255 for image in images]
    pooled = np.concatenate(unit)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12)  # noqa: E731
    close(stats.mean, pooled.mean(axis=0))
    close(stats.std, pooled.std(axis=0))
    close(stats.std_unbiased, pooled.std(axis=0, ddof=1))
    close(stats.per_image.mean, np.mean([x.mean(axis=0) for x in unit], axis=0))
    close(stats.per_image.std, np.mean([x.std(axis=0) for x in unit], axis=0))
    close(stats.per_image.std_unbiased, np.mean([x.std(axis=0, ddof=1) for x in unit if len(x) > 1], axis=0))
    close(stats.per_image.rms_std, np.sqrt(np.mean([x.var(axis=0) for x in unit], axis=0)))
    close(stats.std_of_means, np.std([x.mean(axis=0) for x in unit], axis=0))
    close(stats.min, pooled.min(axis=0))
    close(stats.max, pooled.max(axis=0))
    assert (stats.n_images, stats.n_pixels) == (30, len(pooled))
    assert stats.height_range == (min(i.shape[0] for i in images), max(i.shape[0] for i in images))
    assert stats.width_range == (min(i.shape[1] for i in images), max(i.shape[1] for i in images))


def test_std_of_a_constant_image_is_exactly_zero() -> None:
    stats = stats_of([np.full((3, 3, 3), 77, np.uint8)] * 3)
    for values in (stats.std, stats.per_image.std, stats.per_image.rms_std, stats.std_of_means):
        assert values.tolist() == [0, 0, 0]


def test_one_pixel_has_no_unbiased_std() -> None:
    stats = stats_of([np.full((1, 1, 3), 9, np.uint8)])
    assert np.isnan(stats.std_unbiased).all()
    assert np.isnan(stats.per_image.std_unbiased).all()
    assert stats.std.tolist() == [0, 0, 0]


def test_empty_gives_nan_and_prints() -> None:
    stats = Stats(Totals())
    assert "0 images" in repr(stats)
    assert stats.mean.size == 0
    assert json.loads(stats.to_json())["images"] == 0


def test_scaled_to_255() -> None:
    stats = stats_of(random_images(6, 10))
    large = stats.scaled(255)
    for name in ("mean", "std", "std_unbiased", "std_of_means", "min", "max"):
        np.testing.assert_allclose(getattr(large, name), getattr(stats, name) * 255, rtol=1e-15)
    np.testing.assert_allclose(large.per_image.rms_std, stats.per_image.rms_std * 255, rtol=1e-15)
    assert large.max.tolist() == [255, 255, 255]
    assert large.scaled(1).mean.tolist() == stats.mean.tolist()
    for bad in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="positive number"):
            stats.scaled(bad)


def test_results_cannot_be_written_to() -> None:
    stats = stats_of(random_images(6, 2))
    with pytest.raises(ValueError, match="read-only"):
        stats.mean[0] = 1


def test_merge_is_the_result_of_one_run() -> None:
    images = random_images(7, 20)
    first = stats_of(images[:8])
    second = replace(first, totals=Totals())
    second.totals.fold(rows_of(images[8:], first=8))
    whole = stats_of(images)
    assert (first + second).totals == (second + first).totals == whole.totals
    assert gpustats.merge([first, second]).mean.tolist() == whole.mean.tolist()
    assert (first + Stats(Totals())).totals == first.totals
    assert first.n_images == 8, "the parts stay as they are"
    assert not (first + replace(second, complete=False)).complete


def test_merge_refuses_what_cannot_be_pooled() -> None:
    stats = stats_of(random_images(7, 2))
    with pytest.raises(MergeError, match="nothing to merge"):
        gpustats.merge([])
    with pytest.raises(MergeError, match="different definitions"):
        stats + replace(stats, definition=Definition(color_order="BGR"))
    with pytest.raises(MergeError, match="of 8 bits"):
        stats + stats_of(random_images(7, 2, np.uint16))
    with pytest.raises(TypeError):
        stats + 1  # type: ignore[operator]


def test_save_and_load_keep_every_integer(tmp_path: Path) -> None:
    log = FailureLog()
    log.add(Failure("x\udcff\x1b.jpg", "truncated", "JPEG: image file is truncated"))
    stats = stats_of(random_images(8, 9), failures=log, skipped={"hidden": 2}, runs=({"engine": "cpu"},))
    path = tmp_path / "stats.json"
    stats.scaled(255).save(path)
    loaded = Stats.load(path)
    assert loaded.totals == stats.totals
    assert list(loaded.failures) == list(log)
    assert loaded.scale == Fraction(255)
    assert loaded.to_dict() == stats.scaled(255).to_dict()
    assert list(tmp_path.iterdir()) == [path], "nothing is left beside it"


def test_integers_beyond_float64_survive(tmp_path: Path) -> None:
    stats = stats_of([np.full((50, 50, 3), 255, np.uint8)])
    for _ in range(60):  # 2**60 images: sums far above 2**64
        stats.totals.merge(Totals.from_dict(stats.totals.to_dict()))
    stats.save(tmp_path / "s.json")
    assert Stats.load(tmp_path / "s.json").totals == stats.totals
    assert stats.totals["moments"]["sumsq"][0] == 255 * 255 * 2500 << 60
    assert stats.std.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a gpustats result"),
        (b"\xff\xfe", "not text"),
        (b"[1]", "not a gpustats result"),
        (b'{"format": "gpustats.result.stats", "version": 99}', "version 99"),
        (b'{"format": "gpustats.result.stats", "version": 1}', "incomplete or damaged"),
    ],
)
def test_load_says_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        Stats.load(path)


def test_load_and_save_say_which_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: cannot be read: No such file"):
        Stats.load(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot be written"):
        stats_of(random_images(0, 1)).save(tmp_path / "no" / "folder.json")


def test_repr_is_one_screen_and_html_escapes_names() -> None:
    log = FailureLog()
    for i in range(50):
        log.add(Failure(f"<script>{i}\x1b[2J.jpg", "corrupt", "<b>"))
    stats = stats_of(random_images(8, 9), failures=log)
    text, html = repr(stats), stats._repr_html_()
    assert text.count("\n") < 30
    assert max(map(len, text.splitlines())) <= 120
    assert "50 FAILED" in text
    assert "\x1b" not in text + html
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
