"""Exports: every text runs, every object is built, and both normalize images to mean 0 and std 1."""

from __future__ import annotations

import ast
import json
import re
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gpustats
from gpustats import EXPORTS, DataError, Stats
from gpustats.datasets.demo import natural_image
from gpustats.failures import Failure
from tests.answers.normalizing import CASES, defined, quietly, stand_ins

TOLERANCE = 1e-6
"""Of the pooled mean and std of float32 values."""


def photos(count: int = 6, channels: int = 3, top: int = 255) -> np.ndarray:
    """Small photographs with colours that differ: uint8 or uint16, shape (N, 32, 32, C)."""
    rng = np.random.default_rng(5)
    cast = np.array([1.0, 0.7, 0.5])
    images = np.stack([natural_image(rng, 32, 32) * cast for _ in range(count)])[..., :channels]
    return (images * (top / 255)).astype(np.uint8 if top == 255 else np.uint16)


def stats_of(images: np.ndarray, layout: str = "NHWC") -> Stats:
    return gpustats.compute(images, layout=layout, progress=False)


def pooled(normalized: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(normalized, np.float64).reshape(-1, normalized.shape[-1])
    return values.mean(axis=0), values.std(axis=0)


def test_every_export_has_a_case() -> None:
    assert list(CASES) == list(EXPORTS)


@pytest.mark.parametrize("kind", ["text", "object"])
@pytest.mark.parametrize("name", EXPORTS)
def test_images_are_normalized(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings are errors here, so PyTorch has none to say."""
    case, images = CASES[name], photos()
    if case.library:
        quietly(case.library)
    stand_ins(monkeypatch, name)
    stats = stats_of(images)
    if kind == "text":
        normalized = case.by_text(defined(stats.export(name), EXPORTS[name].is_json), images)
    else:
        normalized = case.by_object(stats.to(name), images)
    assert normalized.shape == images.shape
    mean, std = pooled(normalized)
    expected = stats.std / np.sqrt(np.mean(stats.std**2)) if name == "coreml" else 1
    assert abs(mean).max() < TOLERANCE
    assert abs(std - expected).max() < TOLERANCE


def test_formulas_of_libraries_that_may_not_be_here() -> None:
    """Keras: (x - mean) / sqrt(variance); Core ML: x * scale + bias; OpenCV: (x - mean) * scalefactor."""
    images = photos()
    stats = stats_of(images)

    def given(name: str) -> dict[str, Any]:
        [call] = [node for node in ast.walk(ast.parse(stats.export(name))) if isinstance(node, ast.Call)][:1]
        return {word.arg: word.value for word in call.keywords if word.arg}

    def numbers(name: str, argument: str) -> np.ndarray:
        return np.array(ast.literal_eval(given(name)[argument]))

    for normalized in (
        (images - numbers("keras", "mean")) / np.sqrt(numbers("keras", "variance")),
        (images * numbers("coreml", "scale") + numbers("coreml", "bias")) * np.sqrt(np.mean(stats.std**2)) / stats.std,
        (images - numbers("opencv-params", "mean")) * numbers("opencv-params", "scalefactor"),
    ):
        mean, std = pooled(normalized)
        assert abs(mean).max() < TOLERANCE
        assert abs(std - 1).max() < TOLERANCE


def test_core_ml_says_what_one_scale_cannot_do() -> None:
    stats = stats_of(photos())
    said = re.search(r"arrive with std (\[.*?\])", stats.export("coreml").replace("\n# ", " "))
    assert said
    arrives = stats.std / np.sqrt(np.mean(stats.std**2))
    np.testing.assert_allclose(ast.literal_eval(said[1]), arrives, rtol=5e-3)
    assert max(abs(arrives - 1)) > 0.1


@pytest.mark.parametrize("name", [name for name, export in EXPORTS.items() if not export.is_json])
def test_a_text_is_python_that_says_what_it_is(name: str) -> None:
    text = stats_of(photos()).export(name)
    ast.parse(text)
    top = {"1": 1, "pixel": 255}[EXPORTS[name].scale]
    first = f"# {EXPORTS[name].order}, values on [0, {top}]; mean and std of all pixels of 6 images\n"
    assert text.startswith(first)
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", EXPORTS)
def test_an_entry_is_whole(name: str) -> None:
    export = EXPORTS[name]
    assert export.source.startswith("https://")
    assert export.what
    assert export.order in ("RGB", "BGR")
    assert export.scale in ("1", "pixel")


def test_numbers_in_texts_are_near_enough_for_float32() -> None:
    stats = stats_of(photos())
    for scale in (1, 255, 1e-9, 1e12):
        names = defined(stats.export("plain", scale=scale), False)
        for name in ("mean", "std"):
            exact = stats.scaled(scale).number(name)
            assert np.array(names[name], np.float32).tolist() == exact.astype(np.float32).tolist()
            assert names[name] != exact.tolist(), "rounded, for people"
        assert stats.to("plain", scale=scale)[0] == stats.scaled(scale).mean.tolist(), "the object has all digits"


def test_the_scale_that_a_result_is_shown_on_does_not_count() -> None:
    stats = stats_of(photos())
    for name in EXPORTS:
        assert stats.scaled(255).export(name) == stats.export(name)


def test_another_scale_and_order() -> None:
    stats = stats_of(photos())
    text = stats.export("torchvision", scale=255, bgr=True)
    assert "# BGR, values on [0, 255]; " in text
    mean, std = stats.to("numpy", scale=255, bgr=True)
    np.testing.assert_allclose(mean, (stats.mean * 255)[::-1], rtol=1e-7)
    np.testing.assert_allclose(std, (stats.std * 255)[::-1], rtol=1e-7)
    assert stats.export("keras", scale=255) == stats.export("keras")
    assert stats.export("detectron2", scale=255, bgr=True) == stats.export("detectron2"), "what it has anyway"
    for name, options in [
        ("detectron2", {"scale": 1}),
        ("mmdetection", {"bgr": True}),
        ("timm", {"scale": 255}),
        ("coreml", {"bgr": True}),
    ]:
        with pytest.raises(DataError, match=rf"{name} is for (RGB|BGR) images with values on \[0, (1|255)\]"):
            stats.export(name, **options)
    for scale in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="positive number"):
            stats.export("plain", scale=scale)


def test_an_unknown_name_suggests_the_nearest() -> None:
    stats = stats_of(photos())
    for given, near in [("tochvision", "torchvision"), ("KERAS", "keras"), ("detectron", "detectron2")]:
        with pytest.raises(DataError, match=f"no export '{given}'. Did you mean '{near}'"):
            stats.export(given)
    with pytest.raises(DataError, match=r"no export 'xyz'\. There are: torchvision, "):
        stats.to("xyz")


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_numbers_of_channels(channels: int) -> None:
    images = np.concatenate([photos(), photos()], axis=-1)[..., :channels]
    stats = stats_of(images)
    said = {1: "L", 2: "2 channels in the order of the arrays", 4: "4 channels in the order of the arrays"}[channels]
    for name, export in EXPORTS.items():
        if export.channels and channels not in export.channels:
            wanted = " or ".join(map(str, export.channels))
            with pytest.raises(
                DataError, match=f"{name} takes images of {wanted} channels, .* with {channels} channel"
            ):
                stats.export(name)
        else:
            assert f"# {said}, values on" in stats.export(name)
    with pytest.raises(DataError, match="only colours can be put into the order BGR"):
        stats.export("plain", bgr=True)
    if channels == 1:
        assert "to_rgb=False" in stats.export("mmdetection-2")
        assert "GRAYSCALE" in stats.export("coreml")
        assert "swapRB=False" in stats.export("opencv")


def test_images_of_16_bits() -> None:
    images = photos(top=65535)
    stats = stats_of(images)
    assert "# RGB, values on [0, 65535]; " in stats.export("keras")
    assert "# RGB, values on [0, 1]; " in stats.export("torchvision")
    assert "max_pixel_value=65535.0" in stats.export("albumentations")
    assert "rescale_factor=1 / 65535" in stats.export("huggingface")
    assert "Type.u16" in stats.export("openvino")
    names = defined(stats.export("onnxruntime"), False)
    mean, std = pooled(np.moveaxis(names["model_input"](images), 1, -1))
    assert abs(mean).max() < TOLERANCE
    assert abs(std - 1).max() < TOLERANCE
    for name in ("timm", "ultralytics", "ffcv", "coreml"):
        with pytest.raises(DataError, match=f"{name} takes images of 8 bits, .* of 16 bits"):
            stats.export(name)


def test_float_images_are_taken_as_they_are() -> None:
    images = photos().astype(np.float32) / 37 - 2
    stats = stats_of(images)
    for name in ("keras", "torchvision", "plain", "mmdetection"):
        assert "# RGB, floats as they are; " in stats.export(name)
    assert "RGB, floats times 2; " in stats.export("plain", scale=2)
    assert "max_pixel_value=1.0" in stats.export("albumentations")
    assert "do_rescale=False" in stats.export("huggingface")
    assert "Type.f32)\n" in stats.export("openvino")
    mean, std = pooled(np.moveaxis(defined(stats.export("onnxruntime"), False)["model_input"](images), 1, -1))
    assert abs(mean).max() < TOLERANCE
    assert abs(std - 1).max() < TOLERANCE
    with pytest.raises(DataError, match=r"coreml takes images of 8 bits, .* of floats"):
        stats.export("coreml")


def test_results_that_cannot_serve() -> None:
    images = photos()
    images[..., 2] = 7
    with pytest.raises(DataError, match=r"channel B is constant \(std 0\)"):
        stats_of(images).export("torchvision")
    with pytest.raises(DataError, match="channel 3 is constant"):
        stats_of(np.concatenate([photos(), images[..., 2:]], axis=-1)).export("plain")
    for name in EXPORTS:
        with pytest.raises(DataError, match="the result holds no images"):
            Stats().export(name)


def test_an_interrupted_run_and_failed_images_are_said() -> None:
    stats = replace(stats_of(photos()), complete=False)
    assert "# INCOMPLETE: the run was stopped before the end\n" in stats.export("plain")
    with pytest.raises(DataError, match=r"INCOMPLETE: .*: the text for lerobot is JSON"):
        stats.export("lerobot")
    stats = stats_of(photos())
    stats.failures.add(Failure("a.jpg", "corrupt", "broken"))
    assert "# 1 image failed and does not count\n" in stats.export("torchvision")
    stats.failures.add(Failure("b.jpg", "corrupt", "broken"))
    assert "# 2 images failed and do not count\n" in stats.export("torchvision")


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(DataError, match=r"keras.layers.Normalization cannot be built here: .*export\('keras'\)"):
        stats_of(photos()).to("keras")


def test_lerobot_json() -> None:
    stats = stats_of(photos())
    camera = json.loads(stats.export("lerobot"))["observation.images.main"]
    assert sorted(camera) == ["count", "max", "mean", "min", "std"]
    assert camera["count"] == [6]
    for name in ("min", "max", "mean", "std"):
        assert np.array(camera[name]).shape == (3, 1, 1)
        np.testing.assert_allclose(np.ravel(camera[name]), stats.number(name), rtol=1e-8)


def test_tables_in_csv_and_markdown() -> None:
    stats = stats_of(photos()).scaled(255)
    lines = [line for line in stats.table("csv").splitlines() if not line.startswith("#")]
    assert lines[0] == "number,R,G,B"
    read: dict[str, Any] = {name: list(map(float, values)) for name, *values in (line.split(",") for line in lines[1:])}
    assert read["std"] == stats.std.tolist(), "all digits"
    assert read["per_image.mean"] == stats.per_image.mean.tolist()
    assert "# RGB, values on [0, 255], transform: none" in stats.table("csv")
    markdown = stats.table("markdown").splitlines()
    assert "- RGB, values on [0, 255], transform: none" in markdown
    rows = [line for line in markdown if line.startswith("|")]
    assert rows[0] == "|  | R | G | B |  |"
    assert {row.count("|") for row in rows} == {6}
    assert [row.split("`")[1] for row in rows[2:]] == list(read)
    with pytest.raises(ValueError, match="form should be 'csv' or 'markdown', got 'xml'"):
        stats.table("xml")  # type: ignore[arg-type]
