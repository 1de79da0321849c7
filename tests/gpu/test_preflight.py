"""A GPU is tried before the run, and a run whose GPU stops working says so, keeps what it has, and can go on."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats
from gpustats import DeviceLost, Stats
from gpustats.engines import dali
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.preflight import BATCH, example_images
from gpustats.engines.screen import screen
from tests.command_line import invoke
from tests.gpu.host_reduce import HostReducer
from tests.gpu.test_engine import batch_of, engine_for, fake, needs_dali, on_cpu, photos_of, run

ROOT = Path(__file__).resolve().parents[2]


def raising(error: Exception) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        raise error

    return call


def test_the_images_are_such_as_the_gpu_gets() -> None:
    batch = example_images()
    assert len(batch) == BATCH
    for i in range(len(batch)):
        size = (int(batch.heights[i]), int(batch.widths[i]))
        assert screen(batch.image(i).data, 10**6) == size


@needs_dali
def test_a_gpu_that_works_has_no_problem() -> None:
    engine = engine_for()
    assert engine.problem() is None
    assert engine.report()["images_by_decoder"] == {"dali-cpu": 0}, "the trial does not count"


def test_a_stand_in_that_works_has_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, lambda number, images: images)
    assert engine_for().problem() is None


def test_what_does_not_work_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, raising(RuntimeError("Critical error in pipeline:\n\nno nvJPEG")))
    assert engine_for().problem() == "DALI cannot decode a JPEG: Critical error in pipeline:"
    fake(monkeypatch, lambda number, images: [image.transpose(1, 0, 2).copy() for image in images])
    problem = engine_for().problem()
    assert problem is not None
    assert problem.startswith("DALI decodes JPEGs of [(64, 96, 3), (33, 47, 3),")
    fake(monkeypatch, lambda number, images: images)
    monkeypatch.setattr(HostReducer, "launch", raising(ImportError("CuPy failed to load libnvrtc.so.13")))
    assert engine_for().problem() == "the CUDA kernel cannot be run: CuPy failed to load libnvrtc.so.13"
    monkeypatch.setattr(dali, "build_pipeline", raising(ValueError("")))
    assert engine_for().problem() == "DALI cannot be started: ValueError"


@pytest.mark.parametrize("place", range(BATCH))
@pytest.mark.parametrize(
    "wrong",
    [lambda x: 255 - x, lambda x: x // 2, np.zeros_like, lambda x: x + (x < 255)],
    ids=["inverted", "halved", "zeros", "one level up"],
)
def test_wrong_pixels_of_any_image_are_noticed(monkeypatch: pytest.MonkeyPatch, place: int, wrong: Any) -> None:
    fake(monkeypatch, lambda number, images: [wrong(x) if i == place else x for i, x in enumerate(images)])
    problem = engine_for().problem()
    assert problem is not None
    assert problem.startswith("the GPU gives other numbers than the CPU: a test image differs by ")


def test_channels_in_another_order_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, lambda number, images: [image[..., ::-1].copy() for image in images])
    assert engine_for().problem() is not None


def test_rounding_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, lambda number, images: [image ^ 1 for image in images])
    assert engine_for().problem() is None


# -- a GPU that stops working
# ---------------------------------------------------------------------------------------------------------


def lost_at(number: int, message: str) -> Any:
    """Return a fault that stays, also in pipelines that are built later."""
    lost: list[int] = []

    def fault(count: int, images: list[np.ndarray]) -> list[np.ndarray]:
        if count >= number or lost:
            lost.append(count)
            raise RuntimeError(message)
        return images

    return fault


def folder_of(tmp_path: Path, count: int = 40) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, data in photos_of(count).items():
        (folder / f"{name}.jpg").write_bytes(data)
    return folder


STICKY = "CUDA runtime API error cudaErrorIllegalAddress (700):\nan illegal memory access was encountered"


@pytest.mark.parametrize("message", [STICKY, "Critical error in pipeline"])
def test_a_gpu_that_was_asked_for_and_stops_working_is_an_error_with_the_partial_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    folder = folder_of(tmp_path, 120)
    whole = gpustats.compute(folder, device="cpu").totals
    fake(monkeypatch, lost_at(3, message))
    monkeypatch.setattr(
        "gpustats.api.open_engine", lambda *args, **options: engine_for(required=True, readers=1, prefetch=1)
    )
    first = message.partition("\n")[0]
    with pytest.raises(DeviceLost, match="the GPU stopped working: ") as caught:
        gpustats.compute(folder, device="gpu", checkpoint=tmp_path / "run.gpustats")
    assert first in str(caught.value)
    partial = caught.value.partial
    assert isinstance(partial, Stats)
    assert not partial.complete
    assert 0 < partial.n_images < 120
    assert partial.runs[0]["gpu_given_up"] == first
    fake(monkeypatch, lambda number, images: images)
    again = gpustats.compute(folder, device="gpu", checkpoint=tmp_path / "run.gpustats")
    assert again.totals == whole
    assert again.runs[0]["checkpoint"]["images_reused"] == partial.n_images


def test_the_command_line_prints_the_partial_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path)
    fake(monkeypatch, lost_at(3, STICKY))
    monkeypatch.setattr("gpustats.api.open_engine", lambda *args, **options: engine_for(required=True, prefetch=1))
    done = invoke("compute", folder, "--device", "gpu")
    assert done.code == 1
    assert done.err.startswith("gpustats: error: the GPU stopped working: CUDA runtime API error cudaErrorIllegal")
    assert "INCOMPLETE" in done.out


@pytest.mark.parametrize(
    "message",
    [
        STICKY,
        "cudaErrorECCUncorrectable: uncorrectable ECC error encountered",
        "CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure",
        "cudaErrorDevicesUnavailable: CUDA-capable device(s) is/are busy or unavailable",
        "CUDA driver API error CUDA_ERROR_MISALIGNED_ADDRESS (716)",
        "cudaErrorNvlinkUncorrectable",
    ],
)
def test_a_lost_cuda_context_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, message: str
) -> None:
    built = fake(monkeypatch, lost_at(3, message))
    images = photos_of(40)
    engine = engine_for(readers=1)
    with caplog.at_level(logging.WARNING, "gpustats"):
        assert run(engine, batch_of(images)) == on_cpu(batch_of(images))
    assert len(built) == 1
    report = engine.report()
    assert report["gpu_given_up"] == message.partition("\n")[0]
    assert report["pipelines_rebuilt"] == 0
    assert caplog.messages == ["gpustats: the GPU is given up, the CPU goes on alone"]


@pytest.mark.parametrize(
    "message", ["cudaErrorMemoryAllocation: out of memory", "cudaErrorInvalidValue", "cudaErrorLaunchOutOfResources"]
)
def test_other_errors_are_tried_again(message: str) -> None:
    assert not dali.is_sticky(RuntimeError(message))


SCRIPT = """
    import os, sys
    import gpustats
    from gpustats.engines import dali
    from tests.gpu.fake_dali import FakePipeline
    from tests.gpu.test_engine import engine_for

    how, folder, checkpoint = sys.argv[1:]
    lost = []

    class Pipeline(FakePipeline):
        def __del__(self):
            if lost:
                os.abort()  # as DALI's destructors end the process when the context is lost

    def fault(number, images):
        if number >= 4:
            lost.append(number)
            if how == "abort":
                os.abort()
            raise RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")
        return images

    dali.build_pipeline = lambda source, tuning, *rest: Pipeline(source, 1, fault)
    dali.dali_version = lambda: "fake"
    gpustats.api.open_engine = lambda *args, **options: engine_for(readers=1, prefetch=1)
    if how == "whole":
        fault = lambda number, images: images
    stats = gpustats.compute(folder, checkpoint=checkpoint or None, progress=False)
    print(stats.to_json())
"""


def loaded(text: str, folder: Path) -> Stats:
    file = folder / "result.json"
    file.write_text(text, encoding="utf-8")
    return Stats.load(file)


def in_a_process(how: str, folder: Path, checkpoint: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), how, str(folder), str(checkpoint or "")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)


def test_a_lost_context_is_never_destroyed(tmp_path: Path) -> None:
    """DALI's destructors would end the process, now or at its end."""
    folder = folder_of(tmp_path)
    done = in_a_process("lost", folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["images"] == 40
    assert loaded(done.stdout, tmp_path).totals == gpustats.compute(folder, device="cpu").totals
    assert found["runs"][0]["gpu_given_up"].startswith("cudaErrorIllegalAddress")


def test_a_checkpoint_outlives_a_process_that_the_gpu_ends(tmp_path: Path) -> None:
    folder, checkpoint = folder_of(tmp_path), tmp_path / "run.gpustats"
    for _ in range(3):  # each gets three batches further
        done = in_a_process("abort", folder, checkpoint)
        assert done.returncode < 0, "ended by a signal"
    done = in_a_process("whole", folder, checkpoint)
    assert done.returncode == 0, done.stderr
    assert loaded(done.stdout, tmp_path).totals == gpustats.compute(folder, device="cpu").totals


# -- in the result
# ---------------------------------------------------------------------------------------------------------


def test_the_result_says_why_the_gpu_was_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path, 3)
    monkeypatch.setattr("gpustats.engines.device.gpu_problem", lambda number=0: "there is none")
    stats = gpustats.compute(folder)
    assert stats.runs[0]["gpu_not_used"] == "there is none"
    assert loaded(stats.to_json(), tmp_path).runs[0]["gpu_not_used"] == "there is none"
    assert "gpu_not_used" not in gpustats.compute(folder, device="cpu").runs[0]
    assert isinstance(CpuEngine(workers=1, max_pixels=1, memory=1).report(), dict)
