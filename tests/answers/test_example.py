"""The experiment of examples/, on toy images; skipped where torch is not installed."""

from __future__ import annotations

import importlib.util
import re
import urllib.request
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tests.answers.normalizing import quietly

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "imagenet_or_own.py"
TOY = ["--size", "32", "--epochs", "1", "--seeds", "2", "--batch", "8", "--device", "cpu", "--model", "resnet18"]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    torch = quietly("torch")
    quietly("torchvision")

    def refused(*arguments: object, **options: object) -> None:
        raise AssertionError("nothing is downloaded")

    monkeypatch.setattr(urllib.request, "urlopen", refused)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    spec = importlib.util.spec_from_file_location("imagenet_or_own", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes that are easy to tell apart: dark and light."""
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 150)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(low, low + 100, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


@pytest.mark.timeout(300)
def test_the_table(example: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example.main([str(folder), *TOY])
    out = capsys.readouterr().out
    assert "resnet18, 2 classes, 12 images to train with, 4 to test, from scratch, 1 epochs, 2 seeds" in out
    rows = [line for line in out.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| nothing",
        "| imagenet",
        "| own, weak (per image)",
        "| own, strong (pooled)",
    ]
    for row in rows:
        assert re.search(r"\d+\.\d ± \d+\.\d", row)
    assert "0.485, 0.456, 0.406 | 0.229, 0.224, 0.225" in rows[1]


@pytest.mark.timeout(300)
def test_weights_come_from_the_cache_or_a_file(example: ModuleType, folder: Path, tmp_path: Path) -> None:
    import torch
    from torchvision import models

    with pytest.raises(SystemExit, match=r"resnet18-f37072fd\.pth: not there, and nothing is downloaded"):
        example.main([str(folder), *TOY, "--pretrained"])
    net = models.resnet18(weights=None)
    (tmp_path / "cache" / "checkpoints").mkdir(parents=True)
    for path in (tmp_path / "cache" / "checkpoints" / "resnet18-f37072fd.pth", tmp_path / "mine.pth"):
        torch.save(net.state_dict(), path)
    for given in (["--pretrained"], ["--weights", str(tmp_path / "mine.pth")]):
        options = example.parsed([str(folder), *TOY, *given])
        state = example.pretrained(options)
        started = example.network(options, state, 2).state_dict()
        assert torch.equal(started["conv1.weight"], net.state_dict()["conv1.weight"])
        assert started["fc.weight"].shape == (2, 512)
    with pytest.raises(SystemExit, match="these are not weights of resnet18"):
        example.network(options, {"x": torch.zeros(1)}, 2)


def test_own_numbers_are_of_the_training_images(example: ModuleType) -> None:
    import torch

    images = torch.randint(0, 256, (6, 3, 9, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    numbers = example.settings(images)
    unit = images.double() / 255
    mean, std = numbers["own, strong (pooled)"]
    np.testing.assert_allclose(mean, unit.mean((0, 2, 3)))
    np.testing.assert_allclose(std, unit.std((0, 2, 3), correction=0))
    np.testing.assert_allclose(numbers["own, weak (per image)"][1], unit.std((2, 3)).mean(0))


def test_intervals(example: ModuleType) -> None:
    assert example.interval([0.5, 0.7]) == f"60.0 ± {12.706 * 10:.1f}"
    assert example.interval([0.5] * 20) == "50.0 ± 0.0"


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--seeds", "1"], "at least 2"), (["--model", "resnet19"], "no model 'resnet19'")]
)
def test_wrong_arguments(
    example: ModuleType, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        example.parsed(["folder", *arguments])
    assert message in capsys.readouterr().err


def test_a_class_with_one_image(example: ModuleType) -> None:
    import torch

    with pytest.raises(SystemExit, match="at least two images"):
        example.split(torch.tensor([0, 0, 1]), 0.25)
