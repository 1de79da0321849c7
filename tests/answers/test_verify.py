"""`gpustats verify` on datasets of the tests' own, in the layouts that users have."""

from __future__ import annotations

import gzip
import pickle
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpustats import DataError
from gpustats.datasets.demo import natural_image
from gpustats.datasets.verify import DATASETS, Check, Dataset, Published, agreement, verify, verify_synthetic
from gpustats.result.presets import presets
from tests.command_line import invoke

COUNT = 40


def pixels(name: str) -> np.ndarray:
    """Images of a small dataset: uint8, of shape (40, H, W, C)."""
    seed, size, channels = {"CIFAR-10": (1, 32, 3), "CIFAR-100": (2, 32, 3), "MNIST": (3, 28, 1)}[name]
    rng = np.random.default_rng(seed)
    images = np.stack([natural_image(rng, size, size) for _ in range(COUNT)])
    return images[..., :channels]


def printed(values: np.ndarray, decimals: int) -> tuple[str, ...]:
    return tuple(f"{value:.{decimals}f}" for value in values)


def published(images: np.ndarray) -> tuple[Published, ...]:
    """What a careful person would print of them, computed by NumPy."""
    unit = images / 255
    mean, std = unit.mean(axis=(0, 1, 2)), unit.std(axis=(0, 1, 2))
    weak = unit.std(axis=(1, 2), ddof=1).mean(axis=0)
    return (
        Published(printed(mean, 8), printed(std, 8), "https://a"),
        Published(printed(mean * 255, 1), printed(std * 255, 1), "https://b", scale=255),
        Published(printed(mean, 4), printed(weak, 4), "https://c", "per_image.mean", "per_image.std_unbiased"),
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of datasets with small ones in it."""
    for name in list(DATASETS):
        if name == "Fashion-MNIST":
            monkeypatch.delitem(DATASETS, name)
            continue
        images = pixels(name)
        monkeypatch.setitem(DATASETS, name, Dataset(*images.shape, published=published(images)))


def idx(folder: Path, images: np.ndarray, opener: Callable[..., object] = open) -> Path:
    folder.mkdir()
    ending = "" if opener is open else ".gz"
    with opener(folder / f"train-images-idx3-ubyte{ending}", "wb") as file:  # type: ignore[attr-defined]
        file.write(b"\0\0\x08\x03" + struct.pack(">3I", *images.shape[:3]) + images.tobytes())
    return folder


def pickled(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir()
    flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    for number, part in enumerate(np.array_split(flat, 5), 1):
        batch = {b"data": part, b"labels": [0] * len(part)}
        (folder / f"data_batch_{number}").write_bytes(pickle.dumps(batch, 2))
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": flat[:3], b"labels": [0] * 3}, 2))
    return folder


def png_bytes(folder: Path, images: np.ndarray) -> list[Path]:
    folder.mkdir()
    paths = []
    for number, image in enumerate(images):
        paths.append(folder / f"{number}.png")
        Image.fromarray(image.squeeze()).save(paths[-1])
    return paths


def parquet(path: Path, images: np.ndarray) -> Path:
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow to write a file")
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow to write a file")
    files = png_bytes(path.with_suffix(".d"), images)
    rows = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    pq.write_table(pa.table({"img": rows, "label": [0] * len(rows)}), path)
    return path


def tarred(path: Path, images: np.ndarray) -> Path:
    with tarfile.open(path, "w") as archive:
        for file in png_bytes(path.with_suffix(".d"), images):
            archive.add(file, file.name)
    return path


def array(path: Path, images: np.ndarray) -> Path:
    np.save(path, images)
    return path


LAYOUTS: list[tuple[str, str, Callable[[Path, np.ndarray], Path]]] = [
    ("MNIST", "raw", idx),
    ("MNIST", "raw-gz", lambda path, images: idx(path, images, gzip.open)),
    ("MNIST", "png", lambda path, images: png_bytes(path, images)[0].parent),
    ("MNIST", "x.parquet", parquet),
    ("CIFAR-10", "cifar-10-batches-py", pickled),
    ("CIFAR-10", "x.npy", array),
    ("CIFAR-10", "x.parquet", parquet),
    ("CIFAR-10", "x.tar", tarred),
    ("CIFAR-100", "png", lambda path, images: png_bytes(path, images)[0].parent),
]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("name", "where", "write"), LAYOUTS)
def test_every_layout_agrees(name: str, where: str, write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(tmp_path / where, pixels(name))
    found, stats, checks = verify(path, progress=False)
    assert found == name, "of two of the same size, the nearest"
    assert stats.n_images == COUNT
    assert len(checks) == 6 * pixels(name).shape[-1]
    assert [str(check) for check in checks if not check.good or check.agrees < check.wanted] == []
    done = invoke("verify", path, "--quiet", "--workers", "1")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{name}: {COUNT} images\n\nhttps://a\n")
    assert f"{len(checks)} of {len(checks)} values agree" in done.out


@pytest.mark.usefixtures("small")
def test_a_changed_copy_differs(tmp_path: Path) -> None:
    images = pixels("CIFAR-10").copy()
    images[0, 0, 0, 0] ^= 1
    done = invoke("verify", array(tmp_path / "x.npy", images), "--quiet")
    assert done.code == 4
    lines = [line.split() for line in done.out.splitlines() if "DIFFERS" in line]
    assert [line[:2] for line in lines] == [["mean", "R"], ["std", "R"]], "one pixel shows in eight decimals of red"
    assert "DIFFERS, agrees in" in done.out
    assert "16 of 18 values agree" in done.out


@pytest.mark.usefixtures("small")
def test_the_dataset_can_be_named(tmp_path: Path) -> None:
    path = array(tmp_path / "x.npy", pixels("CIFAR-10"))
    done = invoke("verify", path, "--dataset", "CIFAR-100", "--quiet")
    assert done.code == 4
    assert done.out.startswith("CIFAR-100: ")
    for options, message in [
        (["--dataset", "CIFAR"], "there is no dataset 'CIFAR' to verify; there are CIFAR-10, CIFAR-100, MNIST"),
        (
            ["--dataset", "MNIST"],
            "40 images of 32-32 x 32-32 (3 channels of 8 bits) are not the training images of MNIST",
        ),
    ]:
        lost = invoke("verify", path, *options, "--quiet")
        assert lost.code == 1
        assert lost.err.startswith(f"gpustats: error: {message}")


@pytest.mark.usefixtures("small")
def test_the_column_of_a_table(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow to write a file")
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow to write a file")
    first, second = (
        [{"bytes": path.read_bytes(), "path": path.name} for path in png_bytes(tmp_path / name, pixels(name))]
        for name in ("CIFAR-10", "CIFAR-100")
    )
    pq.write_table(pa.table({"one": first, "two": second}), tmp_path / "x.parquet")
    for column, name in (("one", "CIFAR-10"), ("two", "CIFAR-100")):
        done = invoke("verify", tmp_path / "x.parquet", "--column", column, "--quiet")
        assert done.code == 0
        assert done.out.startswith(f"{name}: ")


def test_what_is_no_such_dataset(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"45 images of .* are not the training images of CIFAR-10 \(50,000 images"):
        verify(photos, progress=False)
    colour = np.zeros((2, 28, 28, 3), np.uint8)
    colour[0, 0, 0] = 1, 2, 3
    small = {"MNIST": Dataset(2, 28, 28, 1, DATASETS["MNIST"].published)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpustats.datasets.verify.DATASETS", small)
        with pytest.raises(DataError, match="are not the training images of MNIST"):
            verify(colour, progress=False, layout="NHWC")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"bad\.png: "):
        verify(tmp_path, progress=False)


def test_synthetic_images_have_the_integers_that_are_known() -> None:
    name, stats, checks = verify_synthetic()
    assert "synthetic" in name
    assert len(checks) == 15
    assert all(check.good for check in checks)
    ramp = np.arange(256)
    assert [check.printed for check in checks if check.what.startswith("sumsq")] == [
        str(3 * int((ramp**2).sum())),
        str(3 * int((ramp**2).sum())),
        str(256 * (50**2 + 100**2)),
    ]
    done = invoke("verify")
    assert (done.code, done.err) == (0, "")
    assert "15 of 15 values agree" in done.out
    assert stats.n_images == 3
    lost = invoke("verify", "--dataset", "MNIST")
    assert (lost.code, lost.err) == (
        1,
        "gpustats: error: --dataset and --column are about a copy of a dataset; give its path\n",
    )


def test_a_wrong_integer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import gpustats.datasets.verify as module

    _, stats, _ = verify_synthetic()
    data = stats.to_dict()
    data["totals"]["moments"]["sum"][1] -= 1
    del data["checksum"]
    monkeypatch.setattr(module, "compute", lambda *a, **k: type(stats).from_dict(data))
    assert [check.what for check in verify_synthetic()[2] if not check.good] == ["sum G"]
    assert invoke("verify").code == 4


def test_decimals_that_agree() -> None:
    for text, value, decimals in [
        ("0.4914", 0.49139968, 4),
        ("0.4914", 0.49145001, 3),
        ("0.4914", 0.49135, 4),
        ("0.4914", 0.5, 1),
        ("0.4914", 0.9, 0),
        ("0.4914", 1.4, -1),
        ("125.3", 125.30691805, 1),
        ("0.13062755", 0.1306604762738429, 4),
    ]:
        assert agreement(text, value) == decimals, (text, value)
    check = Check("mean", "0.13062755", 0.1306604762738429, 4, 4, "https://x", "a float32 sum")
    assert check.good
    assert str(check).endswith("agrees in 4 of 8 decimals: 0.1306604762738429 (a float32 sum)")
    assert "DIFFERS, agrees in 3 of 8" in str(replace(check, agrees=3))
    assert "DIFFERS in 0 of 8" in str(replace(check, agrees=-1))


def test_published_values_are_those_of_presets_where_both_have_them() -> None:
    def floats(name: str, place: int) -> tuple[list[float], list[float]]:
        entry = DATASETS[name].published[place]
        return [float(x) for x in entry.mean], [float(x) for x in entry.std]

    for name, place, preset in [
        ("CIFAR-10", 0, "cifar10"),
        ("CIFAR-10", 2, "cifar10-per-image"),
        ("CIFAR-100", 0, "cifar100"),
        ("MNIST", 0, "mnist"),
        ("Fashion-MNIST", 1, "fashion-mnist"),
    ]:
        mean, std = floats(name, place)
        assert (mean, std) == (list(presets[preset].mean), list(presets[preset].std))
        entry = DATASETS[name].published[place]
        assert (entry.mean_is, entry.std_is) == (presets[preset].mean_is, presets[preset].std_is)
        assert entry.source == presets[preset].source
    # "mean = {125.3, 123.0, 113.9}, std = {63.0, 62.1, 66.7}"
    assert floats("CIFAR-10", 1) == ([125.3, 123.0, 113.9], [63.0, 62.1, 66.7])
    # "mean, std = 0.28604059698879553, 0.35302424451492237"
    assert floats("Fashion-MNIST", 0) == ([0.28604059698879553], [0.35302424451492237])
    # "MEAN = 0.13062755", "STDEV = 0.30810780"
    assert floats("MNIST", 1) == ([0.13062755], [0.3081078])
    for dataset in DATASETS.values():
        for entry in dataset.published:
            assert len(entry.mean) == len(entry.std) == dataset.channels
            assert entry.source.startswith("https://")
