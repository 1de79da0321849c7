"""The GPU engine in the form that needs no GPU: DALI decodes on the CPU, or a stand-in misbehaves; the host reduces."""

from __future__ import annotations

import importlib.util
import logging
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats
from gpustats import DeviceError
from gpustats.engines import dali, device
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.feed import Feed
from gpustats.engines.gpu import GpuEngine
from gpustats.engines.gpu_batch import POISON
from gpustats.engines.screen import screen
from gpustats.engines.session import sample_pointers
from gpustats.engines.tuning import Tuning, choose
from gpustats.failures import Failure
from gpustats.sources import Batch, SourceOptions, open_source
from gpustats.statistics.totals import Totals
from tests.gpu.fake_dali import FakePipeline, Fault, TensorList
from tests.gpu.host_reduce import HostReducer
from tests.images import encoded, photo

needs_dali = pytest.mark.skipif(
    importlib.util.find_spec("nvidia") is None, reason="DALI is not installed (it exists for Linux only)"
)


def engine_for(memory: int = 1 << 26, required: bool = False, **options: Any) -> GpuEngine:
    tuning = Tuning(**{"batch_size": 4, "threads": 1, "readers": 2} | options)
    return GpuEngine(
        tuning=tuning,
        cpu=CpuEngine(workers=2, max_pixels=10**9, memory=1 << 28),
        reducer=HostReducer(),
        decode_device="cpu",
        device_id=None,
        device_name="no GPU",
        max_pixels=10**9,
        max_bytes=1 << 30,
        memory=memory,
        required=required,
    )


def run(engine: GpuEngine | CpuEngine, batches: Iterator[Batch]) -> tuple[Totals, list[Failure]]:
    totals, failures = Totals(), []
    for outcome in engine.outcomes(batches):
        totals.fold(outcome.rows)
        failures += outcome.failures
    return totals, sorted(failures)


def on_cpu(batches: Iterator[Batch]) -> tuple[Totals, list[Failure]]:
    return run(CpuEngine(workers=2, max_pixels=10**9, memory=1 << 28), batches)


def batch_of(images: dict[str, bytes]) -> Iterator[Batch]:
    return iter([Batch(list(images), [""] * len(images), list(images.values()))])


def photos_of(count: int, size: int = 40) -> dict[str, bytes]:
    return {f"photo{i:03d}": encoded(photo(size + i % 7, size + 9 + i % 5, seed=i)) for i in range(count)}


def truncated_with_end_marker(seed: int = 0) -> bytes:
    """Looks whole from outside, so it passes the screen; decoders run out of data inside."""
    data = encoded(photo(60, 60, seed=seed))
    return data[: len(data) * 3 // 4] + b"\xff\xd9"


def without_quantization_table(seed: int = 0) -> bytes:
    """Names a table that is not there: nothing shows from outside, and every decoder gives up."""
    data = bytearray(encoded(photo(60, 60, seed=seed)))
    data[data.index(b"\xff\xc0") + 12] = 3
    return bytes(data)


def set_marker(data: bytes, marker: int) -> bytes:
    """Make a baseline JPEG claim another coding process."""
    start = data.index(b"\xff\xc0")
    return data[: start + 1] + bytes([marker]) + data[start + 2 :]


def twelve_bit(data: bytes) -> bytes:
    start = data.index(b"\xff\xc0")
    return data[: start + 4] + b"\x0c" + data[start + 5 :]


# -- with DALI decoding on the CPU
# ---------------------------------------------------------------------------------------


@needs_dali
@pytest.mark.parametrize("options", [{"sample": 20}, {"sample": 0.4}, {"tolerance": 1e-9}])
def test_samples_are_the_same_and_a_tolerance_is_read_in_rounds(
    photos: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpustats.sources.sampled._FIRST", 10)
    expected = gpustats.compute(photos, device="cpu", **options)
    engine = engine_for()
    monkeypatch.setattr("gpustats.api.open_engine", lambda *_, **__: engine)
    found = gpustats.compute(photos, **options)
    assert found == expected
    assert engine.report()["images_by_decoder"] == {"dali-cpu": found.n_images}


@needs_dali
def test_the_same_integers_as_the_cpu_engine(photos: Path) -> None:
    engine = engine_for()
    totals, failures = run(engine, open_source(photos).batches())
    assert totals == gpustats.compute(photos, device="cpu").totals
    assert failures == []
    report = engine.report()
    assert report["images_by_decoder"] == {"dali-cpu": 45}
    assert report["batches"] == 12
    assert report["spot_check"]["images"] == 4
    assert report["spot_check"]["largest_mean_difference"] == 0


@needs_dali
def test_the_reference_answer(sample: Path, reference: dict[str, Any]) -> None:
    totals, failures = run(engine_for(batch_size=64, threads=2), open_source(sample).batches())
    assert failures == []
    assert totals["moments"]["sum"] == reference["int_sum"]
    assert totals["moments"]["sumsq"] == reference["int_sumsq"]
    assert totals == gpustats.compute(sample, device="cpu").totals


@needs_dali
def test_a_bad_image_in_every_tenth_batch_loses_nothing() -> None:
    images = photos_of(120)
    for i, key in enumerate(images):
        if i % 40 == 5:  # batches of 4
            images[key] = without_quantization_table(i)
    engine = engine_for()
    assert run(engine, batch_of(images)) == on_cpu(batch_of(images))
    report = engine.report()
    assert report["batches_retried"] == 3
    assert report["pipelines_rebuilt"] == 0
    assert report["batches"] + report["batches_retried"] == 30


@needs_dali
def test_a_run_that_was_stopped_goes_on_with_its_checkpoint(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpustats.api.open_engine", lambda *args, **options: engine_for())
    checkpoint = tmp_path / "run.gpustats"
    done: list[int] = []

    def stop_later(images: int) -> None:
        done.append(images)
        if sum(done) > 20:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        gpustats.compute(photos, checkpoint=checkpoint, progress=stop_later)
    stats = gpustats.compute(photos, checkpoint=checkpoint, progress=False)
    run = stats.runs[0]
    assert run["checkpoint"]["images_reused"] == sum(done)
    assert run["images_by_decoder"] == {"dali-cpu": 45 - sum(done)}
    assert stats.totals == gpustats.compute(photos, progress=False).totals


HARD = {
    "good": encoded(photo()),
    "progressive": encoded(photo(50, 70, seed=1), progressive=True),
    "cmyk": encoded(photo(seed=2).convert("CMYK")),
    "grey": encoded(photo(seed=3).convert("L")),
    "12-bit": twelve_bit(encoded(photo(seed=4))),
    "arithmetic": set_marker(encoded(photo(seed=5)), 0xC9),
    "lossless": set_marker(encoded(photo(seed=5)), 0xC3),
    "1x1": encoded(photo(1, 1)),
    "png": encoded(photo(seed=6), "PNG"),
    "truncated": encoded(photo(seed=7))[:-500],
    "no end marker": encoded(photo(seed=8))[:-2],
    "truncated with end marker": truncated_with_end_marker(),
    "no quantization table": without_quantization_table(),
    "trailing bytes": encoded(photo(seed=9)) + b"\0\0\n",
    "empty": b"",
    "text": b"hello, I am no image",
    "turned by EXIF": encoded(
        photo(30, 50, seed=10),
        exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
    ),
    "bomb": (lambda d, s: d[: s + 5] + struct.pack(">HH", 65500, 65500) + d[s + 9 :])(
        encoded(photo()), encoded(photo()).index(b"\xff\xc0")
    ),
}


@needs_dali
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_hard_images_get_the_verdict_of_the_cpu_engine(batch_size: int) -> None:
    hard = {name: data for name, data in HARD.items() if name != "truncated with end marker"}
    ours = run(engine_for(batch_size=batch_size), batch_of(hard))
    theirs = on_cpu(batch_of(hard))
    assert ours == theirs
    assert {f.key: f.reason for f in ours[1]}["truncated"] == "truncated"
    assert ours[0].images + len(ours[1]) == len(hard)


@needs_dali
def test_a_scan_that_ends_too_early_is_known_to_the_cpu_engine_alone() -> None:
    """DALI's decoders fill the rest and say nothing, as README warns. The CPU engine refuses the file."""
    images = {"good": HARD["good"], "cut": HARD["truncated with end marker"]}
    assert run(engine_for(batch_size=2), batch_of(images))[0].images == 2, "the spot check looks at the first"
    assert [failure.reason for failure in on_cpu(batch_of(images))[1]] == ["truncated"]


@needs_dali
def test_files_that_are_missing_or_shrink(tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(encoded(photo()))
    (tmp_path / "shrunk.jpg").write_bytes(encoded(photo())[:300])
    paths = [str(tmp_path / name) for name in ("good.jpg", "shrunk.jpg", "gone.jpg")]
    totals, failures = run(engine_for(), open_source(paths).batches())
    assert totals.images == 1
    assert sorted(f.reason for f in failures) == ["missing", "truncated"]


@needs_dali
def test_stealing_cpu_workers_lose_and_repeat_nothing(photos: Path) -> None:
    source = open_source([str(p) for p in photos.rglob("*.jpg")] * 5, SourceOptions(repeats="count"))
    totals, _ = run(engine_for(cpu_workers=2), source.batches())
    single = gpustats.compute([str(p) for p in photos.rglob("*.jpg")], device="cpu").totals
    assert totals.images == 5 * single.images
    assert totals["moments"]["sumsq"] == [5 * x for x in single["moments"]["sumsq"]]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_only_cpu_workers_take_what_the_gpu_could_decode(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    fake(monkeypatch, lambda number, images: images)
    for_cpu, steals = Feed.for_cpu, []

    def asked(feed: Feed, steal: bool) -> Iterator[Batch]:
        steals.append(steal)
        return for_cpu(feed, steal)

    monkeypatch.setattr(Feed, "for_cpu", asked)
    run(engine_for(cpu_workers=workers), batch_of(photos_of(8)))
    assert steals == [workers > 0]


@needs_dali
def test_closing_early_leaves_no_thread(photos: Path) -> None:
    outcomes = engine_for().outcomes(open_source([str(p) for p in photos.rglob("*.jpg")] * 20).batches())
    next(outcomes)
    outcomes.close()
    assert alive() == []


@needs_dali
def test_an_error_of_the_source_reaches_the_caller() -> None:
    def batches() -> Iterator[Batch]:
        yield from batch_of(photos_of(3))
        raise OSError("the source broke")

    with pytest.raises(OSError, match="the source broke"):
        run(engine_for(), batches())


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("gpustats")]


@needs_dali
@pytest.mark.timeout(20)
@pytest.mark.parametrize("owner", ["feed", "drive", "drive_cpu", "cpu workers"])
def test_an_error_of_any_thread_reaches_the_caller(monkeypatch: pytest.MonkeyPatch, owner: str) -> None:
    """The source never ends: whoever is left must be stopped."""
    where, name = {
        "feed": (Feed, "_sort"),
        "drive": (GpuEngine, "_run_pipelines"),
        "drive_cpu": (Feed, "for_cpu"),
        "cpu workers": (CpuEngine, "measure"),
    }[owner]

    def broken(*args: Any, **options: Any) -> Any:
        raise LookupError(f"{owner} broke")

    monkeypatch.setattr(where, name, broken)
    images = photos_of(4) | {"png": encoded(photo(), "PNG")}

    def endless() -> Iterator[Batch]:
        while True:
            yield from batch_of(images)

    with pytest.raises(LookupError, match=f"{owner} broke"):
        run(engine_for(), endless())
    assert alive() == []


@needs_dali
@pytest.mark.timeout(20)
def test_a_caller_that_does_not_read_stops_the_engine_when_it_closes() -> None:
    """Closed while every thread waits for room."""
    asked = 0
    png = encoded(photo(2, 2), "PNG")

    def endless() -> Iterator[Batch]:
        nonlocal asked
        while True:
            asked += 1
            yield Batch([f"{asked}"], [""], [png])

    outcomes = engine_for().outcomes(endless())
    next(outcomes)
    seen = 0
    while seen != asked:  # until nobody asks for more
        seen = asked
        threading.Event().wait(0.2)
    outcomes.close()
    assert alive() == []


# -- with a pipeline that misbehaves
# --------------------------------------------------------------------------------------


def fake(monkeypatch: pytest.MonkeyPatch, fault: Fault, **options: Any) -> list[FakePipeline]:
    """Put a stand-in in the place of DALI; return the list of pipelines that were built."""
    built: list[FakePipeline] = []

    def build(source: Any, tuning: Tuning, decode_device: str, device_id: int | None) -> FakePipeline:
        built.append(FakePipeline(source, tuning.prefetch, fault, **options))
        return built[-1]

    monkeypatch.setattr(dali, "build_pipeline", build)
    monkeypatch.setattr(dali, "dali_version", lambda: "fake")
    return built


def check_nothing_is_lost(engine: GpuEngine, count: int = 40) -> dict[str, Any]:
    images = photos_of(count)
    assert run(engine, batch_of(images)) == on_cpu(batch_of(images))
    return engine.report()


def test_a_healthy_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, lambda number, images: images)
    assert check_nothing_is_lost(engine_for())["images_by_decoder"]["dali-cpu"] == 40


@pytest.mark.parametrize("prefetch", [1, 2, 3])
def test_a_pipeline_that_dies_is_built_anew(monkeypatch: pytest.MonkeyPatch, prefetch: int) -> None:
    deaths = iter([3, 4])  # twice in a row: beyond repair

    def fault(number: int, images: list[np.ndarray]) -> list[np.ndarray]:
        if number in (3, 4) and next(deaths, None):
            raise RuntimeError("pipeline broken")
        return images

    built = fake(monkeypatch, fault)
    report = check_nothing_is_lost(engine_for(prefetch=prefetch))
    assert len(built) == 2
    assert report["pipelines_rebuilt"] == 1
    assert report["batches_retried"] == 2


def test_out_of_memory_halves_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def fault(number: int, images: list[np.ndarray]) -> list[np.ndarray]:
        if len(images) > 2:
            raise RuntimeError("CUDA allocation failed: cudaErrorMemoryAllocation out of memory")
        sizes.append(len(images))
        return images

    fake(monkeypatch, fault)
    report = check_nothing_is_lost(engine_for(batch_size=8))
    assert report["out_of_memory"] == 2
    assert max(sizes) == 2
    assert report["images_by_decoder"] == {"dali-cpu": 40}, "none had to go to the CPU"


def test_a_gpu_that_always_fails_is_given_up(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fault(number: int, images: list[np.ndarray]) -> list[np.ndarray]:
        raise RuntimeError("an illegal memory access was encountered")

    built = fake(monkeypatch, fault)
    with caplog.at_level(logging.WARNING, "gpustats"):
        report = check_nothing_is_lost(engine_for(), count=100)
    assert len(built) == 3
    assert report["gpu_given_up"] == "an illegal memory access was encountered"
    assert report["images_by_decoder"]["dali-cpu"] == 0
    assert "the GPU is given up" in caplog.text


def test_buffers_that_were_not_written_are_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(number: int, images: list[np.ndarray]) -> list[np.ndarray]:
        if number == 2:
            images[1] = np.full_like(images[1], POISON)
            images[2] = np.zeros_like(images[2])
        return images

    fake(monkeypatch, fault)
    report = check_nothing_is_lost(engine_for())
    assert report["not_written"] == 2
    assert report["images_by_decoder"] == {"dali-cpu": 38, "simplejpeg": 2}


def test_reduced_pixels_are_poisoned() -> None:
    pixels = TensorList([np.full((2, 3, 3), 9, np.uint8), np.full((1, 1, 3), 7, np.uint8)])
    done = HostReducer().launch(
        sample_pointers(pixels, np.array([18, 3], np.uint64)), np.array([2, 1], np.uint64), np.array([3, 1], np.uint64)
    )
    assert done.result()["moments.sum"].tolist() == [[54] * 3, [7] * 3]
    assert (pixels.buffer == POISON).all()


def test_another_shape_than_the_header_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(number: int, images: list[np.ndarray]) -> list[np.ndarray]:
        return [image.transpose(1, 0, 2).copy() if number == 1 else image for image in images]

    fake(monkeypatch, fault)
    assert check_nothing_is_lost(engine_for())["batches_retried"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x[..., ::-1].copy(),
        lambda x: np.roll(x, 5) // 2,
        lambda x: x * (np.arange(len(x)) < 30)[:, None, None].astype(np.uint8),
    ],
)
def test_the_spot_check_stops_wrong_pixels(monkeypatch: pytest.MonkeyPatch, wrong: Any) -> None:
    fake(monkeypatch, lambda number, images: [wrong(image) for image in images])
    with pytest.raises(DeviceError, match=r"photo.*differ by .* grey levels"):
        run(engine_for(), batch_of(photos_of(12)))


def test_the_spot_check_lets_rounding_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, lambda number, images: [image ^ 1 for image in images])  # every pixel off by one, both ways
    engine = engine_for()
    run(engine, batch_of(photos_of(12)))
    assert 0 < engine.report()["spot_check"]["largest_mean_difference"] < 0.5


def test_what_the_cpu_refuses_at_a_spot_check_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """nvJPEG is said to take truncated scans; where the spot check sees it, the CPU's verdict counts."""
    fake(monkeypatch, lambda number, images: images)
    monkeypatch.setattr("tests.gpu.fake_dali.decode", lambda data: np.ones((60, 60, 3), np.uint8))
    totals, failures = run(engine_for(), batch_of({"bad": truncated_with_end_marker()}))
    assert [f.reason for f in failures] == ["truncated"]
    assert totals.images == 0


# -- parts
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HARD)
def test_screen_lets_only_ordinary_jpegs_pass(name: str) -> None:
    ordinary = {"good", "progressive", "grey", "1x1", "truncated with end marker", "turned by EXIF"}
    ordinary.add("no quantization table")
    assert (screen(HARD[name], 10**8) is not None) == (name in ordinary)


def test_screen_sends_segments_that_it_cannot_follow_to_the_cpu() -> None:
    """Fill bytes may stand before a marker (ITU-T T.81, B.1.1.2)."""
    data = encoded(photo(20, 20))
    frame = data.index(b"\xff\xc0")
    assert screen(data, 10**8) == (20, 20)
    assert screen(data[:frame] + b"\xff" + data[frame:], 10**8) is None


def test_screen_survives_every_truncation_and_random_bytes() -> None:
    data = encoded(photo(20, 20))
    for end in range(len(data)):
        assert screen(data[:end], 10**8) is None
    rng = np.random.default_rng(0)
    for _ in range(500):
        screen(b"\xff\xd8" + rng.bytes(30) + b"\xff\xd9", 10**8)


def test_pointers_are_asked_for_where_samples_are_not_packed() -> None:
    images = [np.zeros((2, 2, 3), np.uint8) for _ in range(3)]
    packed = TensorList(images)
    sizes = np.array([12, 12, 12], np.uint64)
    assert (np.diff(sample_pointers(packed, sizes)) == 12).all()
    packed._offsets = np.array([0, 20, 50, 70])
    assert (np.diff(sample_pointers(packed, sizes)) == [20, 30]).all()


def test_tuning() -> None:
    assert choose("unknown", 16).threads == 15
    assert choose("unknown", 1).threads == 1
    assert choose("unknown", 8, {"hw_decoder_load": 0.3, "threads": 3}) == Tuning(hw_decoder_load=0.3, threads=3)
    for options, message in [
        ({"batchsize": 3}, "unknown setting 'batchsize'; known are batch_size"),
        ({"batch_size": 0}, "batch_size should be a number of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size should be a number"),
        ({"hw_decoder_load": 1.5}, "hw_decoder_load should be"),
    ]:
        with pytest.raises(ValueError, match=message):
            choose("unknown", 8, options)


def test_device_gpu_says_what_is_missing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cupy" else real(name))
    for name in ("gpu", "cuda", "cuda:1", "gpu:0"):
        with pytest.raises(
            DeviceError, match=rf"device='{name}' cannot be used: CuPy is not installed; pip install '\.\[cuda13\]'"
        ):
            gpustats.compute(photos, device=name)


def test_auto_says_in_the_log_why_it_is_the_cpu(
    photos: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(device, "gpu_problem", lambda device_id: "there is none")
    with caplog.at_level(logging.INFO, "gpustats"):
        assert gpustats.compute(photos).runs[0]["engine"] == "cpu"
    assert caplog.messages == ["gpustats: computing on the CPU: there is none"]


def test_settings_of_the_gpu_decoder_reach_dali_and_hints_only_where_they_are_given() -> None:
    given = {"hw_decoder_load": 0.3, "hybrid_huffman_threshold": 7, "affine": False}
    assert dali._hardware(choose("any", 4, {"hw_decoder_load": 0.3, "hybrid_huffman_threshold": 7})) == given
    hints = {"preallocate_width_hint": 640, "preallocate_height_hint": 480}
    assert dali._hardware(choose("any", 4, hints)).items() >= hints.items()
    assert dali._hardware(Tuning())["hybrid_huffman_threshold"] == 1_000_000, "DALI's own"
