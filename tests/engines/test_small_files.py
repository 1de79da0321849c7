"""Small files are read many at a time: the same integers, failures and keys as one by one."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats.decode.decoder import Decoder
from gpustats.definition import Definition
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.shared_batches import SharedBatch
from gpustats.engines.small_files import _AT_ONCE, _IN_A_ROW, SMALL, SmallFiles
from gpustats.limits.memory import MemoryBudget
from gpustats.sources.base import Batch, Sample
from tests import badfiles

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="small files are read one by one elsewhere")


def ready_to_read() -> SmallFiles:
    """One that has seen enough small files."""
    files = SmallFiles(enough=0)
    files.in_a_row = _IN_A_ROW
    return files


def together(files: SmallFiles) -> bool:
    """Say whether the next files are read together."""
    samples = [("", "", __file__)] * 20
    shared = SharedBatch(batch_of(samples))
    with closing(files.samples(shared)) as found:
        next(found)
        return len(shared) < len(samples) - 1


def batch_of(samples: list[Sample]) -> Batch:
    return Batch(*map(list, zip(*samples, strict=True)))  # type: ignore[arg-type]


def samples_of(folder: Path) -> list[Sample]:
    return [(path.name, "", str(path)) for path in sorted(folder.iterdir())]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every kind of file: ordinary and other JPEGs, other formats, large ones, damaged ones and what is no file."""
    random = np.random.default_rng(0)
    for i in range(20):
        image = Image.fromarray(random.integers(0, 256, (9 + i, 14, 3), np.uint8))
        image.save(tmp_path / f"{i:02}.{('jpg', 'png', 'webp', 'bmp', 'gif')[i % 5]}")
        image.convert("L").save(tmp_path / f"grey{i:02}.jpg", quality=90, progressive=bool(i % 2))
    Image.fromarray(random.integers(0, 256, (40, 30, 4), np.uint8), "CMYK").save(tmp_path / "cmyk.jpg")
    Image.fromarray(random.integers(0, 256, (200, 200, 3), np.uint8)).save(tmp_path / "large.png")
    Image.new("RGB", (519, 520), (3, 200, 77)).save(tmp_path / "most.jpg")
    Image.new("RGB", (520, 521), (3, 200, 77)).save(tmp_path / "many.jpg")  # more than are allowed
    Image.new("RGB", (700, 700), (3, 200, 77)).save(tmp_path / "both.jpg")
    for name, (data, _) in badfiles.damaged().items():
        (tmp_path / f"bad-{name}").write_bytes(data)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "nowhere.jpg").symlink_to("missing.jpg")
    (tmp_path / "link.jpg").symlink_to("00.jpg")
    return tmp_path


def measured(samples: list[Sample], files: SmallFiles | None, mode: str = "RGB") -> object:
    engine = CpuEngine(Definition(mode=mode), workers=1, max_pixels=520**2, memory=1 << 28, tell_after=1e9)
    decoder = Decoder(520**2, MemoryBudget(1 << 28, 1), mode=mode)
    (outcome,), by_decoder = engine.measure(SharedBatch(batch_of(samples)), decoder, Event(), files)
    rows, failures = outcome.rows, outcome.failures
    images = zip(rows.keys, *(column.tolist() for column in (rows.height, rows.width)), strict=True)
    columns = {name: column.tolist() for name, column in rows.columns.items()}
    return list(images), columns, rows.groups, failures, by_decoder


@pytest.mark.parametrize("mode", ["RGB", "L", "native"])
def test_same_rows_and_failures_as_one_by_one(folder: Path, mode: str) -> None:
    samples = [sample for sample in samples_of(folder) if mode != "native" or sample[0].endswith(".png")]
    if mode == "native":
        samples = [sample for sample in samples if not sample[0].startswith("bad")]
    assert measured(samples, ready_to_read(), mode) == measured(samples, None, mode)
    assert len(samples) > 3


def test_what_is_found(folder: Path) -> None:
    files = ready_to_read()
    samples = samples_of(folder)
    found = {}
    for first in range(0, len(samples), 8):
        part = samples[first : first + 8]
        for (name, _, path), data in zip(part, files.read(part), strict=True):
            found[name] = data
            if data is not None:
                assert bytes(data[0]) == Path(path).read_bytes()
    assert {name for name, data in found.items() if data is None} == {
        *("empty.jpg", "bad-empty.jpg", "bad-empty.png", "folder.jpg", "pipe.jpg", "nowhere.jpg")
    }
    assert found["00.jpg"][1] == found["link.jpg"][1] == (9, 14)
    assert found["grey01.jpg"][1] == (10, 14)
    assert found["01.png"][1] is found["cmyk.jpg"][1] is None


def test_files_that_do_not_fit_together_are_read_alone(tmp_path: Path) -> None:
    sizes = [SMALL * _AT_ONCE - 10, 10, 1]
    samples = []
    for i, size in enumerate(sizes):
        (tmp_path / str(i)).write_bytes(bytes([i]) * size)
        samples.append((str(i), "", str(tmp_path / str(i))))
    found = ready_to_read().read(samples)
    assert [data and bytes(data[0]) for data in found] == [b"\0" * sizes[0], b"\1" * 10, None]


@pytest.mark.parametrize("spoil", [b"data", np.zeros((2, 2, 3), np.uint8), lambda size: b"data", "a\0b"])
def test_what_is_no_path_is_loaded_alone(folder: Path, spoil: object) -> None:
    files = ready_to_read()
    samples = [*samples_of(folder)[:3], ("other", "", spoil)]
    assert together(files)
    assert files.read(samples) == [None] * 4  # type: ignore[arg-type]
    assert not together(files)


def test_mostly_large_files_end_it(tmp_path: Path) -> None:
    samples = []
    for i in range(8):
        path = tmp_path / f"{i}.jpg"
        path.write_bytes(bytes(SMALL * _AT_ONCE if i else 10))
        samples.append((path.name, "", str(path)))
    files = ready_to_read()
    assert together(files)
    assert [data is None for data in files.read(samples)] == [False] + [True] * 7
    assert not together(files)


def test_a_process_with_few_small_files_does_not_load_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SmallFiles, "_read_before", 0)
    files = SmallFiles(enough=2 * _IN_A_ROW)
    for in_a_row, expected in ((_IN_A_ROW, False), (_IN_A_ROW - 1, False), (_IN_A_ROW, True)):
        files.in_a_row = in_a_row
        assert together(files) is expected


def test_one_large_file_begins_the_count_anew(folder: Path) -> None:
    files = SmallFiles(enough=0)
    small, large = ("00.jpg", "", str(folder / "00.jpg")), ("large.png", "", str(folder / "large.png"))
    for count, samples in ((2, [small, small]), (0, [small, large]), (1, [large, small]), (2, [small])):
        measured(samples, files)
        assert files.in_a_row == count


@pytest.mark.parametrize("taken", [0, 1, 5, 16, 17, 40])
def test_what_was_not_used_goes_back(folder: Path, taken: int) -> None:
    samples = samples_of(folder)[:40]
    shared = SharedBatch(batch_of(samples))
    with closing(ready_to_read().samples(shared)) as found:
        used = [sample for _, (sample, _) in zip(range(taken), found)]  # noqa: B905 - as many as are wanted
    assert used == samples[:taken]
    assert list(shared.samples) == samples[taken:]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_reads_them_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(SmallFiles.__init__, "__defaults__", (0,))
    random = np.random.default_rng(1)
    total = np.zeros(3, np.int64)
    for i in range(400):
        pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        total += pixels.sum((0, 1)).astype(np.int64)
    read_together = []
    real = SmallFiles.read

    def read(self: SmallFiles, samples: list[Sample]) -> object:
        read_together.append(len(samples))
        return real(self, samples)

    monkeypatch.setattr(SmallFiles, "read", read)
    stats = gpustats.compute(tmp_path, device="cpu", workers=workers, progress=False)
    assert stats.totals["moments"]["sum"] == total.tolist()
    assert stats.n_images == 400
    assert sum(read_together) >= 200
