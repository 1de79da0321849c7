"""compute(): parity with plain scripts, exactness, failures, limits, interrupts."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpustats
from gpustats import DataError, ImagesFailedWarning, Interrupted, TooManyFailures
from gpustats.engines.cpu import CpuEngine
from gpustats.sources import Batch, open_source
from gpustats.sources.base import batched
from gpustats.statistics.totals import Totals
from tests.images import encoded, photo, pillow_pixels


def run(data: object, **options: Any) -> gpustats.Stats:
    return gpustats.compute(data, progress=False, device="cpu", **options)


def images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.jpg"))


def test_parity_with_pillow_and_numpy_float64(photos: Path) -> None:
    stats = run(photos)
    images = [pillow_pixels(path).reshape(-1, 3) / 255 for path in images_in(photos)]
    pooled = np.concatenate(images)
    np.testing.assert_allclose(stats.mean, pooled.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(stats.std, pooled.std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(stats.per_image.std, np.mean([x.std(axis=0) for x in images], axis=0), rtol=1e-12)
    whole = [pillow_pixels(path).astype(np.int64) for path in images_in(photos)]
    assert stats.totals["moments"]["sum"] == [sum(int(x[..., c].sum()) for x in whole) for c in range(3)]
    assert stats.totals["moments"]["sumsq"] == [sum(int((x[..., c] ** 2).sum()) for x in whole) for c in range(3)]
    assert stats.n_images == len(whole)
    assert stats.complete


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_thread_count_does_not_matter(photos: Path, workers: int) -> None:
    assert run(photos, workers=workers).totals == run(photos, workers=3).totals


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_split_order_and_batch_size_gives_the_same_integers(photos: Path, data: st.DataObject) -> None:
    whole = run(photos).totals
    samples = list(open_source(photos).samples())
    order = data.draw(st.permutations(samples))
    cut = data.draw(st.integers(0, len(order)))
    size = data.draw(st.integers(1, 50))
    parts = []
    for part in (order[:cut], order[cut:]):
        totals = Totals()
        engine = CpuEngine(workers=data.draw(st.integers(1, 4)), max_pixels=10**8, memory=1 << 28)
        for outcome in engine.outcomes(batched(part, size)):
            totals.fold(outcome.rows)
        parts.append(totals)
    parts[0].merge(parts[1])
    assert parts[0] == whole


def test_lists_globs_and_merges_agree_with_the_folder(photos: Path) -> None:
    whole = run(photos)
    assert run([str(path) for path in images_in(photos)]).totals["moments"]["sumsq"] == whole.totals["moments"]["sumsq"]
    assert run(f"{photos}/**/*.jpg").totals == whole.totals
    halves = [run(photos / name) for name in ("a", "b")]
    assert gpustats.merge(halves).totals["moments"]["sumsq"] == whole.totals["moments"]["sumsq"]


def test_provenance(photos: Path) -> None:
    [record] = run(photos, workers=2).runs
    assert record["engine"] == "cpu"
    assert record["device"] == "cpu (2 threads)"
    assert record["images_by_decoder"] == {"simplejpeg": 45}
    assert set(record["decoders"]) >= {"simplejpeg", "imagecodecs", "numpy", "pillow"}
    assert record["gpustats"] == gpustats.__version__


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Five good images and one of every kind of bad one."""
    for i in range(5):
        (tmp_path / f"good{i}.jpg").write_bytes(encoded(photo(seed=i)))
    jpeg = encoded(photo())
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_bytes(b"not an image at all")
    (tmp_path / "truncated.jpg").write_bytes(jpeg[: len(jpeg) * 3 // 4])
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "broken.png").write_bytes(encoded(photo(), "PNG")[:500])
    try:
        (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    except OSError:
        (tmp_path / "gone.jpg").write_bytes(b"")  # no links here: one more empty file
    return tmp_path


def test_bad_files_are_named_and_the_others_count(mixed: Path) -> None:
    good = [str(mixed / f"good{i}.jpg") for i in range(5)]
    with pytest.warns(ImagesFailedWarning, match="5 of 10 images could not be read"):
        stats = run(mixed)
    assert stats.totals["moments"]["sumsq"] == run(good).totals["moments"]["sumsq"]
    reasons = {failure.key: failure.reason for failure in stats.failures}
    gone = reasons.pop("gone.jpg")
    assert gone in ("missing", "not_an_image")
    assert reasons == {
        "empty.jpg": "not_an_image",
        "text.jpg": "not_an_image",
        "truncated.jpg": "truncated",
        "broken.png": "truncated",
    }
    assert stats.complete


def test_on_error_raise_stops_with_the_name(mixed: Path) -> None:
    with pytest.raises(DataError, match=r"^(empty|text|truncated|gone|broken)\.(jpg|png): "):
        run(mixed, on_error="raise")


def test_max_failures(mixed: Path) -> None:
    with pytest.raises(TooManyFailures, match="more than max_failures=2") as caught:
        run(mixed, max_failures=2)
    assert not caught.value.partial.complete
    assert len(caught.value.partial.failures) > 2
    with pytest.warns(ImagesFailedWarning):
        run(mixed, max_failures=5)


def test_a_file_that_vanishes_mid_run(photos: Path) -> None:
    paths = [str(path) for path in images_in(photos)]
    with pytest.warns(ImagesFailedWarning):
        stats = run([*paths, str(photos / "vanished.jpg")])
    assert [f.reason for f in stats.failures] == ["missing"]
    assert stats.n_images == 45


def test_only_bad_images_give_no_numbers(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no")
    with pytest.raises(gpustats.AllImagesFailed, match=r"x\.jpg: not_an_image: ") as caught:
        run(tmp_path)
    assert caught.value.partial.n_images == 0
    assert "FAILED" in repr(caught.value.partial)


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"no images found \(skipped: 1 file that is no image\)"):
        run(tmp_path)


def test_max_pixels(photos: Path) -> None:
    with pytest.warns(ImagesFailedWarning):
        stats = run(photos, max_pixels=1000)
    assert {f.reason for f in stats.failures} == {"too_large"}
    assert stats.n_images == sum(pillow_pixels(p).size <= 3000 for p in images_in(photos))


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"workers": 1.5},
        {"on_error": "ignore"},
        {"max_failures": -1},
        {"max_pixels": 0},
    ],
)
def test_options_are_checked(photos: Path, options: dict[str, Any]) -> None:
    [(name, value)] = options.items()
    with pytest.raises(ValueError, match=rf"{name} should be .*got {value!r}"):
        run(photos, **options)


def test_device_is_checked(photos: Path) -> None:
    with pytest.raises(gpustats.OptionError, match=r"device should be .* got 'tpu'"):
        gpustats.compute(photos, device="tpu")


def test_progress_is_told_of_every_image(mixed: Path) -> None:
    told: list[int] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gpustats.compute(mixed, progress=told.append)
    assert sum(told) == 10


def test_progress_bar_goes_to_stderr(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpustats.compute(photos, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "images" in captured.err


def gpustats_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("gpustats")]


def test_an_interrupt_keeps_what_was_read(photos: Path) -> None:
    def interrupt(images: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        gpustats.compute(photos, progress=interrupt)
    partial = caught.value.partial
    assert not partial.complete
    assert partial.n_images > 0
    assert "INCOMPLETE" in repr(partial)
    assert gpustats_threads() == []


def test_an_error_of_the_source_reaches_the_caller_and_no_thread_stays() -> None:
    def batches() -> Iterator[Batch]:
        yield Batch(["a"], [""], [encoded(photo())])
        raise RuntimeError("the source broke")

    engine = CpuEngine(workers=3, max_pixels=10**8, memory=1 << 28)
    with pytest.raises(RuntimeError, match=r"the source broke"):
        list(engine.outcomes(batches()))
    assert gpustats_threads() == []


def test_closing_early_stops_the_workers(photos: Path) -> None:
    engine = CpuEngine(workers=2, max_pixels=10**8, memory=1 << 28)
    outcomes = engine.outcomes(batched(open_source([str(p) for p in images_in(photos)] * 50).samples(), 4))
    next(outcomes)
    outcomes.close()
    assert gpustats_threads() == []


def test_images_larger_than_a_share_are_read_one_after_the_other() -> None:
    engine = CpuEngine(workers=2, max_pixels=10**8, memory=5 << 20)
    data = encoded(photo(800, 900), quality=30)
    outcomes = list(engine.outcomes(iter([Batch([str(i) for i in range(4)], [""] * 4, [data] * 4)])))
    assert sum(len(outcome.rows) for outcome in outcomes) == 4
    assert engine._memory._free == engine._memory.common


def test_an_image_larger_than_the_memory_limit_fails_by_name() -> None:
    engine = CpuEngine(workers=2, max_pixels=10**8, memory=2 << 20)
    data = encoded(photo(800, 900), quality=30)
    outcomes = list(engine.outcomes(iter([Batch(["large", "small"], [""] * 2, [data, encoded(photo())])])))
    assert [key for outcome in outcomes for key in outcome.rows.keys] == ["small"]
    assert [(f.key, f.reason) for outcome in outcomes for f in outcome.failures] == [("large", "too_large")]
    assert engine._memory._free == engine._memory.common


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX permissions")
def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.jpg").write_bytes(encoded(photo()))
    (tmp_path / "open.jpg").write_bytes(encoded(photo()))
    real = os.open

    def guarded(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if str(path).endswith("secret.jpg"):  # what chmod 000 does to everyone but root
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", guarded)
    with pytest.warns(ImagesFailedWarning, match=r"secret\.jpg: unreadable: Permission denied"):
        assert run(tmp_path).n_images == 1


def test_the_reference_answer(sample: Path, reference: dict[str, Any]) -> None:
    stats = run(sample)
    assert stats.totals["moments"]["sum"] == reference["int_sum"]
    assert stats.totals["moments"]["sumsq"] == reference["int_sumsq"]
    assert stats.n_pixels == reference["n_pixels"]
    strong, weak = reference["strong"], reference["weak"]
    for ours, theirs in [
        (stats.mean, strong["mean"]),
        (stats.std, strong["std_ddof0"]),
        (stats.std_unbiased, strong["std_ddof1"]),
        (stats.per_image.mean, weak["mean"]),
        (stats.per_image.std, weak["std_ddof0"]),
        (stats.per_image.std_unbiased, weak["std_ddof1"]),
        (stats.per_image.rms_std, weak["mean_of_var_sqrt_ddof0"]),
    ]:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    assert stats.totals == run(sample, workers=7).totals == run(sample, workers=1).totals
