"""ImageNet's mean and std, or your own? Trains on your folder of classes with each, and prints a table.

    python examples/imagenet_or_own.py photos/ --model resnet18 --pretrained --seeds 5

A folder of classes has one subfolder of images for each class. Every setting starts from the same weights, sees the
same images in the same order for a seed, and differs only in what is subtracted and divided by. Own numbers are
computed by gpustats from the training images alone, at the size at which the network sees them.

Needs torch and torchvision. Nothing is downloaded: ``--pretrained`` takes weights that lie in torch's cache already,
and ``--weights`` a file.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import models
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import gpustats

# 97.5% quantiles of Student's t for 1, 2, ... degrees of freedom; beyond them that of the normal distribution.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
NORMAL = 1.96


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment and print the table."""
    options = parsed(arguments)
    images, labels, classes = loaded(options.folder, options.size)
    train, test = split(labels, options.test_share)
    state = pretrained(options)
    numbers = settings(images[train])
    accuracies: dict[str, list[float]] = {name: [] for name in numbers}
    for seed in range(options.seeds):
        for name, (mean, std) in numbers.items():
            accuracy = trained(options, state, classes, (images, labels), (train, test), (mean, std), seed)
            accuracies[name].append(accuracy)
            print(f"seed {seed}, {name}: {accuracy:.1%}", file=sys.stderr)
    print(f"{options.model}, {len(classes)} classes, {len(train)} images to train with, {len(test)} to test, ", end="")
    print(f"{'pretrained' if state else 'from scratch'}, {options.epochs} epochs, {options.seeds} seeds\n")
    print("| normalized with | mean | std | accuracy | less imagenet, same seeds |")
    print("| --- | --- | --- | ---: | ---: |")
    for name, (mean, std) in numbers.items():
        paired = [a - b for a, b in zip(accuracies[name], accuracies["imagenet"], strict=True)]
        shown = (", ".join(f"{x:.3f}" for x in values) for values in (mean, std))
        difference = "" if name == "imagenet" else interval(paired)
        print(f"| {name} | {' | '.join(shown)} | {interval(accuracies[name])} | {difference} |")
    print("\nIntervals hold 95%, over seeds; the split into training and test images is one for all.")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="one subfolder of images for each class")
    parser.add_argument("--model", default="resnet18", help="a name of torchvision.models")
    parser.add_argument("--pretrained", action="store_true", help="start from the weights in torch's cache")
    parser.add_argument("--weights", type=Path, help="start from this file of weights (a state dict)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--size", type=int, default=224, help="pixels that images are resized to, both ways")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of AdamW")
    parser.add_argument("--test-share", type=float, default=0.25)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error("--seeds should be at least 2: one run has no interval")
    if options.model not in models.list_models():
        parser.error(f"torchvision has no model {options.model!r}")
    return options


def loaded(folder: Path, size: int) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Return all images, uint8 of shape (N, 3, size, size), their labels and the names of the classes."""
    found = ImageFolder(str(folder))
    resize = v2.Compose([v2.PILToTensor(), v2.Resize((size, size), antialias=True)])
    images = torch.stack([resize(image) for image, _ in found])
    return images, torch.tensor(found.targets), found.classes


def split(labels: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the places of training and test images: the same share of each class, at least one image."""
    rng = np.random.default_rng(0)
    train, test = [], []
    for label in labels.unique().tolist():
        places = rng.permutation(np.flatnonzero(labels.numpy() == label))
        first = max(1, round(share * len(places)))
        if first >= len(places):
            raise SystemExit("every class needs at least two images")
        test += places[:first].tolist()
        train += places[first:].tolist()
    return torch.tensor(train), torch.tensor(test)


def settings(images: torch.Tensor) -> dict[str, tuple[list[float], list[float]]]:
    """Return mean and std of each setting by name."""
    own = gpustats.compute(images.numpy(), layout="NCHW", progress=False)
    imagenet = gpustats.presets["imagenet"]
    return {
        "nothing": ([0.0] * 3, [1.0] * 3),
        "imagenet": (list(imagenet.mean), list(imagenet.std)),
        "own, weak (per image)": (own.per_image.mean.tolist(), own.per_image.std_unbiased.tolist()),
        "own, strong (pooled)": (own.mean.tolist(), own.std.tolist()),
    }


def pretrained(options: argparse.Namespace) -> dict[str, Any] | None:
    """Return the weights to start from, out of a file or torch's cache; None to start from scratch."""
    path = options.weights
    if path is None and options.pretrained:
        url = models.get_model_weights(options.model).DEFAULT.url
        path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        if not path.is_file():
            raise SystemExit(f"{path}: not there, and nothing is downloaded; put {url} there, or give --weights FILE")
    if path is None:
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def network(options: argparse.Namespace, state: dict[str, Any] | None, classes: int) -> torch.nn.Module:
    """Return a network with an output for each class. Weights of another shape stay random: those of the last layer."""
    net = models.get_model(options.model, weights=None, num_classes=classes)
    if state is not None:
        own = net.state_dict()
        fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
        if len(fitting) < len(own) / 2:
            raise SystemExit(f"these are not weights of {options.model}: {len(fitting)} of {len(own)} tensors fit")
        net.load_state_dict(fitting, strict=False)
    return net.to(options.device)


def trained(
    options: argparse.Namespace,
    state: dict[str, Any] | None,
    classes: list[str],
    data: tuple[torch.Tensor, torch.Tensor],
    places: tuple[torch.Tensor, torch.Tensor],
    numbers: tuple[list[float], list[float]],
    seed: int,
) -> float:
    """Train once and return the accuracy on the test images."""
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    images, labels = data
    train, test = places
    normalize = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(*numbers)])
    net = network(options, state, len(classes))
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.rate)
    net.train()
    for _ in range(options.epochs):
        mixed = train[torch.randperm(len(train), generator=order)]
        for batch in mixed.split(options.batch):
            if len(batch) < 2:
                continue  # batch norm needs two
            shown = images[batch]
            flip = torch.rand(len(batch), generator=order) < 0.5
            shown[flip] = shown[flip].flip(-1)
            loss = torch.nn.functional.cross_entropy(
                net(normalize(shown).to(options.device)), labels[batch].to(options.device)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    with torch.inference_mode():
        right = sum(
            int((net(normalize(images[batch]).to(options.device)).argmax(1).cpu() == labels[batch]).sum())
            for batch in test.split(options.batch)
        )
    return right / len(test)


def interval(values: Sequence[float]) -> str:
    """Return the mean of values and the half width of its 95% interval, in percent."""
    freedom = len(values) - 1
    quantile = STUDENT[freedom - 1] if freedom <= len(STUDENT) else NORMAL
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return f"{100 * statistics.fmean(values):.1f} ± {100 * half:.1f}"


if __name__ == "__main__":
    main()
