"""An accumulator gives what one run over all images gives, whatever the calls."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats import Accumulator
from gpustats.run import order_of
from tests.images import encoded, photo


def images(count: int, seed: int = 0, dtype: type = np.uint8) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (5 + i % 3, 7, 3)).astype(dtype) for i in range(count)]


@pytest.mark.parametrize("sizes", [[20], [1] * 20, [3, 17], [19, 1], [5, 5, 5, 5]])
@pytest.mark.parametrize("statistics", [[], ["histogram", "covariance"]])
def test_any_division_gives_the_integers_of_one_run(sizes: list[int], statistics: list) -> None:
    given = images(20)
    total, start = Accumulator(statistics=statistics), 0
    for size in sizes:
        assert total.update(given[start : start + size]) is total
        start += size
    whole = gpustats.compute(given, statistics=statistics, progress=False)
    found = total.result().totals.to_dict()
    assert {**found, "key_hash": ""} == {**whole.totals.to_dict(), "key_hash": ""}
    assert total.result().definition == whole.definition


def test_a_result_is_not_changed_by_what_comes_later() -> None:
    total = Accumulator(layout="NHWC")
    assert total.result().n_images == 0
    batch = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (0, 255)])
    first = total.update(batch).result()
    before = first.to_dict()
    total.update(batch // 5)
    assert first.to_dict() == before
    assert (first.n_images, total.result().n_images) == (2, 4)


def test_accumulators_are_merged() -> None:
    given = images(9)
    first, second = Accumulator(), Accumulator()
    first.update(given[:4])
    second.update(given[4:])
    kept = second.result()
    assert first.merge(second) is first
    assert second.result() == kept
    whole = gpustats.compute(given, progress=False)
    assert first.result().mean.tolist() == whole.mean.tolist()
    assert first.result().n_images == 9
    with pytest.raises(gpustats.MergeError):
        first.merge(Accumulator().update(np.zeros((4, 5), np.uint8)))
    assert first.result().n_images == 9


def test_what_compute_takes_is_taken(tmp_path) -> None:
    file = io.BytesIO()
    photo(20, 30).save(file, "PNG")
    (tmp_path / "a.png").write_bytes(file.getvalue())
    pixels = np.asarray(photo(20, 30))
    expected = gpustats.compute(pixels, progress=False).mean.tolist()
    for data in (file.getvalue(), iter([file.getvalue()]), tmp_path, str(tmp_path / "a.png"), Image.open(file), pixels):
        assert Accumulator().update(data).result().mean.tolist() == expected


def test_a_bad_image_is_a_failure_with_a_key_of_its_own() -> None:
    total = Accumulator()
    for _ in range(2):
        total.update(iter([encoded(photo())[:100], encoded(photo())]))
    stats = total.result()
    assert (stats.n_images, len(stats.failures)) == (2, 2)
    assert [failure.key for failure in stats.failures] == ["0/0", "1/0"]


def test_an_update_that_raises_adds_nothing() -> None:
    total = Accumulator().update(images(3))
    before = total.result()
    with pytest.raises(gpustats.MergeError, match="cannot be pooled"):
        total.update(np.zeros((4, 5), np.uint8))
    with pytest.raises(gpustats.DataError):
        total.update(7)

    def stops() -> Iterator[np.ndarray]:
        yield from images(100)
        raise ValueError("the disk is gone")

    with pytest.raises(gpustats.DataError, match="the disk is gone"):
        total.update(stops())
    assert total.result() == before


def test_options_are_checked() -> None:
    for options in ({"layout": "NHCW"}, {"statistics": ["mode"]}, {"color_order": "BGB"}, {"color_order": 3}):
        with pytest.raises(gpustats.OptionError):
            Accumulator(**options)
    with pytest.raises(gpustats.DataError, match=r"color_order='BGR' does not fit images of 1 channel$"):
        Accumulator(color_order="BGR").update(np.zeros((4, 5), np.uint8))


def test_bgr_is_never_called_rgb(tmp_path) -> None:
    pixels = images(1)[0]
    stats = gpustats.compute(pixels[..., ::-1], color_order="BGR", progress=False)
    assert stats.channels == ("B", "G", "R")
    assert stats.mean.tolist() == gpustats.compute(pixels, progress=False).mean[::-1].tolist()
    assert Accumulator(color_order="BGR").update(pixels).result().channels == ("B", "G", "R")
    with pytest.raises(gpustats.MergeError, match="different definitions"):
        stats + gpustats.compute(pixels, progress=False)
    stats.save(tmp_path / "a.json")
    assert gpustats.Stats.load(tmp_path / "a.json").channels == ("B", "G", "R")
    with pytest.raises(
        gpustats.AllImagesFailed, match=r"0: unsupported: color_order='BGR' is for arrays, and a decoder"
    ):
        gpustats.compute(iter([encoded(photo())]), color_order="BGR", progress=False)
    assert gpustats.compute(iter([encoded(photo())]), color_order="RGB", progress=False).channels == ("R", "G", "B")
    with pytest.raises(gpustats.DataError, match=r"color_order= is for arrays; a PIL image says what it has"):
        gpustats.compute([photo()], color_order="BGR", progress=False)
    photo().save(tmp_path / "a.png")
    with pytest.raises(gpustats.DataError, match=r"^color_order= is an option for"):
        gpustats.compute(tmp_path / "a.png", color_order="BGR", progress=False)
    np.save(tmp_path / "a.npy", pixels)
    for _ in range(2):  # also where the checkpoint has it
        with pytest.warns(gpustats.ImagesFailedWarning, match="color_order='BGR' is for arrays"):
            mixed = gpustats.compute(
                [tmp_path / "a.npy", tmp_path / "a.png"],
                color_order="BGR",
                checkpoint=tmp_path / "run",
                progress=False,
            )
        assert (mixed.n_images, len(mixed.failures), mixed.channels) == (1, 1, ("B", "G", "R"))


def test_what_a_decoder_gave_is_not_renamed() -> None:
    """The GPU engine decodes before anybody asks, so the result is refused."""
    kind = gpustats.compute(images(1), progress=False).totals.kind
    assert order_of(kind, None, 1) == order_of(kind, "RGB", 1) == "RGB"
    assert order_of(kind, "BGR") == "BGR"
    with pytest.raises(gpustats.DataError, match=r"color_order='BGR' is for arrays, and 1 image .* gives RGB"):
        order_of(kind, "BGR", 1)
