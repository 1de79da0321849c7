"""Samples: which images are drawn, what else is read, what the result says, and what is refused."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpustats
from gpustats import DataError, OptionError, Stats
from gpustats.result.estimate import Estimate
from gpustats.sources import open_source
from gpustats.sources.sampled import Drawing, Sampling
from tests.command_line import invoke
from tests.images import encoded

COUNT = 60


def pixels(number: int) -> np.ndarray:
    """An image of a size and a brightness of its own."""
    rng = np.random.default_rng(number)
    level, spread = rng.uniform(40, 210, 3), rng.uniform(2, 30)
    values = rng.normal(level, spread, (int(rng.integers(3, 9)), int(rng.integers(3, 9)), 3))
    return np.clip(values, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("samples") / "set"
    for i in range(COUNT):
        path = root / f"group{i % 3}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(i)).save(path)
    (root / "group0" / "notes.txt").write_text("x")
    return root


def files(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*.png"))


def compute(data: Any, **options: Any) -> Stats:
    return gpustats.compute(data, **{"device": "cpu", "progress": False} | options)


def keys(data: Any, **options: Any) -> set[str]:
    table = compute(data, per_image=True, **options).image_table
    return set(table["key"].to_pylist())


def test_a_number_of_images(folder: Path) -> None:
    stats = compute(folder, sample=20)
    assert stats.n_images == 20
    assert stats.is_estimate
    assert stats.estimate == Estimate(20, COUNT, 0)
    assert str(stats.estimate) == "estimate from 20 of 60 images"
    assert stats.skipped == {"non_image": 1}, "counted once, whatever was listed"


def test_the_same_seed_draws_the_same_images_in_any_order(folder: Path) -> None:
    names = files(folder)
    results = [compute(names, sample=20, seed=5), compute(names[::-1], sample=20, seed=5, workers=1)]
    results += [compute(names, sample=20, seed=5, workers=4)]
    assert results[0].totals == results[1].totals == results[2].totals
    assert compute(names, sample=20, seed=6).totals != results[0].totals
    assert keys(folder, sample=10, seed=5) < keys(folder, sample=20, seed=5), "a larger sample holds the smaller"


def test_every_image_is_drawn_as_often() -> None:
    names = [f"{i}.jpg" for i in range(20)]
    hits = dict.fromkeys(names, 0)
    for seed in range(2000):
        drawing = Drawing(open_source(names), Sampling(sample=5, seed=seed))
        for part in drawing.rounds(lambda: 0.0):
            for entry in part.parts():
                assert isinstance(entry, tuple)
                hits[entry[0]] += 1
    assert sum(hits.values()) == 10_000
    assert all(abs(count - 500) < 5 * np.sqrt(500 * 0.75) for count in hits.values())


def test_a_share(folder: Path) -> None:
    stats = compute(folder, sample=0.5, seed=1)
    assert stats.estimate is not None
    assert stats.estimate == Estimate(stats.n_images, COUNT, 1, 0.5)
    assert 15 < stats.n_images < 45
    assert keys(folder, sample=0.2, seed=1) < keys(folder, sample=0.5, seed=1)
    with pytest.raises(DataError, match=r"sample=0\.0001 of 60 images drew none; give a larger share"):
        compute(folder, sample=0.0001)


@pytest.mark.parametrize("sample", [COUNT, 1000, 1.0])
def test_a_sample_of_everything_is_the_whole(folder: Path, sample: float) -> None:
    stats = compute(folder, sample=sample)
    assert stats.totals == compute(folder).totals
    assert not stats.is_estimate
    assert "all 60 images were read: the sampling error is zero" in stats.to_text()
    assert stats.stderr().tolist() == [0.0] * 3
    assert (stats.stderr(of="population") > 0).all()
    assert "half_width" not in stats.to_text()
    assert "#" not in stats.normalize_line()


def test_only_the_images_that_are_drawn_are_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = os.open

    def watched(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith(".png"):
            opened.append(str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", watched)
    assert compute(folder, sample=7).n_images == 7
    assert len(opened) == 7


def test_of_a_remote_folder_only_what_is_drawn_is_fetched(folder: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    for path in folder.rglob("*.png"):
        system.pipe_file(f"/drawn/{path.name}", path.read_bytes())
    stats = compute("memory://drawn", sample=7)
    assert stats.estimate == Estimate(7, COUNT)
    assert stats.runs[0]["images_by_decoder"]
    assert sum(stats.runs[0]["images_by_decoder"].values()) == 7


def write_tar(path: Path, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for i in range(COUNT):
            data = encoded(Image.fromarray(pixels(i)), "PNG")
            member = tarfile.TarInfo(f"{i:03d}.png")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(COUNT):
            archive.writestr(f"{i:03d}.png", encoded(Image.fromarray(pixels(i)), "PNG"))
    return path


def write_parquet(path: Path) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows = [encoded(Image.fromarray(pixels(i)), "PNG") for i in range(COUNT)]
    pq.write_table(pa.table({"image": rows}), path, row_group_size=7)
    return path


CONTAINERS = {
    "tar": lambda path: write_tar(path / "x.tar"),
    "tar.gz": lambda path: write_tar(path / "x.tar.gz", "w:gz"),
    "zip": lambda path: write_zip(path / "x.zip"),
    "parquet": lambda path: write_parquet(path / "x.parquet"),
    "two tars": lambda path: [str(write_tar(path / "x.tar")), str(write_tar(path / "y.tar"))],
    "arrays": lambda path: [pixels(i) for i in range(COUNT)],
}


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("sample", [11, 0.3])
def test_containers(tmp_path: Path, kind: str, sample: float) -> None:
    """They are read through, one image after the other is drawn by its key, and the rest is not decoded."""
    data = CONTAINERS[kind](tmp_path)
    count = 2 * COUNT if kind == "two tars" else COUNT
    layout: dict[str, Any] = {"layout": "HWC"} if kind == "arrays" else {}
    results = [compute(data, sample=sample, seed=3, workers=workers, **layout) for workers in (1, 3)]
    assert results[0].totals == results[1].totals
    estimate = results[0].estimate
    assert estimate is not None
    assert (estimate.drawn, estimate.of) == (results[0].n_images, count)
    assert estimate.how == "read through"
    assert "drawn by a hash of the key; the files were read through" in results[0].to_text()
    if sample == 11:
        assert estimate.drawn == 11
    decoded = sum(results[0].runs[0]["images_by_decoder"].values())
    assert decoded == results[0].n_images
    assert compute(data, sample=10_000, **layout).totals == compute(data, **layout).totals


def test_what_a_source_says_is_said_once(tmp_path: Path) -> None:
    """Failures of the source, what was passed over, and where images were found, though it is read more than once."""
    data = encoded(Image.fromarray(pixels(0)), "PNG")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, content in [("a.txt", b"x"), *((f"{i:02d}.png", data) for i in range(30))]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (tmp_path / "y.tar").write_bytes((tmp_path / "x.tar").read_bytes()[:4000])
    both = [str(tmp_path / "x.tar"), str(tmp_path / "y.tar")]
    with pytest.warns(gpustats.ImagesFailedWarning):
        whole = compute(both)
    for options in ({"sample": 9}, {"sample": 0.4}, {"tolerance": 1e-9}):
        with pytest.warns(gpustats.ImagesFailedWarning):
            stats = compute(both, **options)
        assert [f.message for f in stats.failures] == [f.message for f in whole.failures], options
        assert stats.skipped == whole.skipped, options


class Photos:
    """A map-style dataset that notes what is asked of it."""

    def __init__(self, count: int, each: int = 1) -> None:
        self.asked: list[int] = []
        self._count = count
        self._each = each

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> Any:
        self.asked.append(place)
        image = np.stack([pixels(place)[:3, :3]] * self._each)
        return (image[0] if self._each == 1 else image), place % 2


def test_a_dataset_with_an_index_gives_only_what_is_drawn() -> None:
    for options in ({"sample": 12}, {"sample": 0.4}, {"tolerance": 0.2}):
        data = Photos(COUNT * 4)
        stats = compute(data, **options, seed=2, layout="HWC")
        assert stats.estimate is not None
        assert len(data.asked) == len(set(data.asked)) == stats.estimate.drawn < 4 * COUNT
        assert stats.estimate.of == 4 * COUNT
        assert stats.estimate.how == "listed"


def test_an_item_that_raises_is_a_failure_of_the_sample() -> None:
    class Unlucky(Photos):
        def __getitem__(self, place: int) -> Any:
            if place % 2:
                raise RuntimeError("unlucky")
            return super().__getitem__(place)

    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = compute(Unlucky(COUNT), sample=20, layout="HWC")
    assert (stats.n_images + len(stats.failures), {f.message for f in stats.failures}) == (
        20,
        {"RuntimeError: unlucky"},
    )


def test_a_dataset_whose_elements_are_batches_is_refused() -> None:
    with pytest.raises(DataError, match=r"element \d+ holds 4 images, and a sample is drawn of elements"):
        compute(Photos(10, 4), sample=3, layout="NHWC")


def test_an_iterator_is_read_once() -> None:
    images = [pixels(i) for i in range(COUNT)]
    stats = compute(iter(images), sample=0.3, layout="HWC")
    assert stats.totals == compute(images, sample=0.3, layout="HWC").totals
    for options in ({"sample": 10}, {"tolerance": 0.1}):
        with pytest.raises(DataError, match=r"can be read only once, .* give a share, such as sample=0\.1, or a list"):
            compute(iter(images), layout="HWC", **options)


def test_an_iterator_of_paths_is_a_list_of_files(folder: Path) -> None:
    names = files(folder)
    assert compute(iter(names), sample=10).totals == compute(names, sample=10).totals


def test_a_tolerance(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.sources.sampled._FIRST", 10)
    stats = compute(folder, tolerance=0.08)
    assert stats.estimate is not None
    assert 10 <= stats.n_images < COUNT
    assert stats.estimate.reached
    assert "tolerance 0.08: reached" in stats.to_text()
    for name in ("mean", "std"):
        assert (stats.half_width(name) <= 0.08).all()
    names = files(folder)
    results = [compute(x, tolerance=0.08, workers=n).totals for x in (names, names[::-1]) for n in (1, 4)]
    assert all(totals == results[0] for totals in results)


def test_a_tolerance_out_of_reach_reads_everything_and_says_so(folder: Path) -> None:
    stats = compute(folder, tolerance=1e-6)
    assert stats.totals == compute(folder).totals
    text = stats.to_text()
    assert "all 60 images were read: the sampling error is zero" in text
    assert "tolerance 1e-06: not reached before all images were read" in text


def test_rounds_beyond_what_is_kept_are_listed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, drawn = compute(folder), compute(folder, sample=20)
    for kept in (0, 5, 25, 59, 60):
        monkeypatch.setattr("gpustats.sources.sampled._AT_HAND", kept)
        monkeypatch.setattr("gpustats.sources.sampled._FIRST", 4)
        monkeypatch.setattr("gpustats.sources.sampled._TOGETHER", 3)
        monkeypatch.setattr("gpustats.sources.sampled._FEW", 3)
        assert compute(folder, tolerance=1e-9).totals == whole.totals
        assert compute(folder, sample=20) == drawn


def test_images_of_one_key_are_drawn_together() -> None:
    names = [f"{i % 10}.jpg" for i in range(40)]
    drawing = Drawing(open_source(names, gpustats.sources.SourceOptions(repeats="count")), Sampling(sample=4))
    drawn = [entry[0] for part in drawing.rounds(lambda: 0.0) for entry in part.parts() if isinstance(entry, tuple)]
    assert len(drawn) == 4
    assert len(set(drawn)) == 1
    assert drawing.facts()["drawn"] == 4


def test_failures_count_as_drawn(tmp_path: Path) -> None:
    for i in range(40):
        data = encoded(Image.fromarray(pixels(i)), "PNG")
        (tmp_path / f"{i:02d}.png").write_bytes(data[:40] if i % 2 else data)
    with pytest.warns(gpustats.ImagesFailedWarning):
        stats = compute(tmp_path, sample=20)
    assert stats.estimate == Estimate(20, 40)
    assert stats.n_images + len(stats.failures) == 20
    with pytest.warns(gpustats.ImagesFailedWarning):
        whole = compute(tmp_path, tolerance=1e-9)
    assert whole.estimate is not None
    assert whole.estimate.whole


def test_with_groups_and_a_table(folder: Path, tmp_path: Path) -> None:
    stats = compute(folder, sample=30, group_by="folder", per_image=tmp_path / "t.csv")
    assert sum(group.n_images for group in stats.groups.values()) == 30
    for group in stats.groups.values():
        assert group.estimate == stats.estimate
        assert (group.stderr("mean") > stats.stderr("mean")).all()
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 31


def test_a_checkpoint_is_shared_with_full_runs(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "run.ckpt"
    first = compute(folder, sample=15, checkpoint=place)
    again = compute(folder, sample=15, checkpoint=place)
    assert again.totals == first.totals
    assert again.runs[0]["checkpoint"]["images_reused"] == 15
    whole = compute(folder, checkpoint=place)
    assert whole.runs[0]["checkpoint"] == {"images_reused": 15, "images_removed": 0}
    small = compute(folder, sample=5, checkpoint=place)
    assert small.runs[0]["checkpoint"] == {"images_reused": 5, "images_removed": 0}
    assert compute(folder, checkpoint=place).runs[0]["checkpoint"]["images_reused"] == COUNT, "a sample forgets nothing"
    assert compute(folder, tolerance=1e-9, checkpoint=place).totals == whole.totals


def test_isolated_and_interrupted(folder: Path) -> None:
    assert compute(folder, sample=9, isolate=True).totals == compute(folder, sample=9).totals
    calls: list[int] = []

    def stop(images: int) -> None:
        calls.append(images)
        raise KeyboardInterrupt

    with pytest.raises(gpustats.Interrupted) as caught:
        compute(folder, sample=50, progress=stop, workers=1)
    stats = caught.value.partial
    assert not stats.complete
    if stats.n_images:
        with pytest.raises(ValueError, match="stopped before the end"):
            stats.stderr()
        assert "half_width" not in stats.to_text()
        assert "INCOMPLETE" in stats.to_text()


def test_no_images_and_only_bad_ones(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"x")
    for options in ({"sample": 5}, {"sample": 0.5}, {"tolerance": 0.1}):
        with pytest.raises(DataError, match="no images found"):
            compute(tmp_path / "empty", **options)
    for options in ({"sample": 5}, {"sample": 1.0}, {"tolerance": 0.1}):
        with pytest.raises(gpustats.AllImagesFailed):
            compute(tmp_path / "bad", **options)


# What is shown.


def shown(stats: Stats) -> Iterator[tuple[str, str]]:
    yield "text", stats.to_text()
    yield "repr", repr(stats)
    yield "html", stats._repr_html_()
    yield "json", stats.to_json()
    yield "csv", stats.table("csv")
    yield "markdown", stats.table("markdown")
    yield "line", stats.normalize_line()
    yield "export", stats.export("torchvision")
    yield "compare", repr(stats.compare("imagenet"))
    yield "compare, json", json.dumps(stats.compare("imagenet").to_dict())


def test_it_is_said_wherever_a_result_is_shown(folder: Path) -> None:
    for name, text in shown(compute(folder, sample=20)):
        assert "estimate from 20 of 60 images" in text, name
    for name, text in shown(compute(folder)):
        assert "estimate" not in text, name
    with pytest.raises(DataError, match="estimate from 20 of 60 images"):
        compute(folder, sample=20).export("lerobot")


def test_it_is_saved(folder: Path, tmp_path: Path) -> None:
    for options in ({"sample": 20, "seed": 3}, {"sample": 0.4}, {"tolerance": 0.1}, {"sample": 100}):
        stats = compute(folder, **options)
        stats.save(tmp_path / "s.json")
        again = Stats.load(tmp_path / "s.json")
        assert again == stats
        assert again.estimate == stats.estimate
        assert again.to_text() == stats.to_text()
        data = json.loads((tmp_path / "s.json").read_text())
        assert data["estimate"]["text"].startswith(str(stats.estimate))
        assert data["stderr"]["mean"] == stats.stderr().tolist()
        assert data["confidence_interval_95"]["std"] == stats.confidence_interval(0.95, "std").tolist()
    assert "estimate" not in compute(folder).to_dict()


@pytest.mark.parametrize(
    "change",
    [
        *({"drawn": 61}, {"drawn": 0}, {"drawn": 1.5}, {"of": "60"}, {"seed": "x"}, {"reached": 1}, {"even": None}),
        *({"share": "a"}, {"how": 3}, None, 5, []),
    ],
)
def test_a_damaged_estimate_is_refused(folder: Path, change: Any) -> None:
    data = compute(folder, sample=20).to_dict()
    if isinstance(change, dict):
        data["estimate"] |= change
    elif change is None:
        del data["estimate"]["of"]
    else:
        data["estimate"] = change
    with pytest.raises(DataError, match=r"'estimate' is|'drawn' should|'of' should"):
        Stats.from_dict(data)


def test_pooled_samples(folder: Path, tmp_path: Path) -> None:
    parts = [compute(folder / f"group{i}", sample=10, seed=1) for i in range(3)]
    pooled = gpustats.merge(parts)
    assert pooled.estimate == Estimate(30, 60, 1)
    assert (pooled.stderr() > 0).all()
    assert "estimate from 30 of 60 images (seed 1)" in pooled.to_text()
    shares = [compute(folder / f"group{i}", sample=0.5) for i in range(3)]
    assert gpustats.merge(shares).estimate.even  # type: ignore[union-attr]
    seeds = compute(folder / "group0", sample=10) + compute(folder / "group1", sample=10, seed=2)
    assert seeds.estimate == Estimate(20, 40, None)


@pytest.mark.parametrize("other", [{}, {"sample": 3}])
def test_samples_of_different_shares_are_no_sample_of_the_whole(folder: Path, other: dict[str, Any]) -> None:
    pooled = compute(folder / "group0", sample=10) + compute(folder / "group1", **other)
    assert pooled.estimate is not None
    assert not pooled.estimate.even
    text = re.sub(r"\s+", " ", pooled.to_text())
    assert "pooled from samples of different shares: every image that was read has the same weight" in text
    assert "half_width" not in text
    assert "stderr" not in pooled.to_dict()
    with pytest.raises(ValueError, match="samples of different shares were pooled"):
        pooled.stderr()
    assert (pooled.stderr(of="population") > 0).all()
    assert not (pooled + compute(folder / "group2", sample=10)).estimate.even  # type: ignore[union-attr]
    half = compute(folder / "group0", sample=5) + compute(folder / "group1", sample=15)
    assert not (half + compute(folder / "group2", sample=10)).estimate.even, "half of all by chance"  # type: ignore[union-attr]


def test_an_empty_result_changes_no_estimate(folder: Path) -> None:
    stats = compute(folder, sample=10)
    assert (stats + Stats()).estimate == (Stats() + stats).estimate == stats.estimate
    assert (compute(folder) + compute(folder)).estimate is None


# What is refused.

WRONG = [
    ({"sample": 0}, "sample should be a number of images (an integer from 1) or a share"),
    ({"sample": -5}, "sample should be"),
    ({"sample": 0.0}, "sample should be"),
    ({"sample": 1.5}, "sample should be"),
    ({"sample": float("nan")}, "sample should be"),
    ({"sample": True}, "sample should be"),
    ({"sample": "10"}, "sample should be"),
    ({"tolerance": 0}, "tolerance should be a number above 0, such as 0.002, got 0"),
    ({"tolerance": -0.1}, "tolerance should be"),
    ({"tolerance": float("inf")}, "tolerance should be"),
    ({"tolerance": float("nan")}, "tolerance should be"),
    ({"tolerance": True}, "tolerance should be"),
    ({"tolerance": "x"}, "tolerance should be"),
    ({"sample": 5, "seed": -1}, "seed should be an integer from 0"),
    ({"sample": 5, "seed": 2**64}, "seed should be"),
    ({"sample": 5, "seed": 1.0}, "seed should be"),
    ({"sample": 5, "seed": True}, "seed should be"),
    ({"sample": 5, "seed": None}, "seed should be"),
    ({"sample": 5, "tolerance": 0.1}, "sample= and tolerance= both say when to stop; give one of them"),
    ({"seed": 3}, "seed= decides which images sample= draws; give that too"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        compute("nowhere", **options)


def test_in_the_words_of_the_command_line(folder: Path) -> None:
    for given, message in [
        (["--sample", "0"], "--sample should be a number of images"),
        (["--sample", "200%"], "got 200%"),
        (["--sample", "many"], "--sample should be a count (100) or a share (0.01, 1%), got 'many'"),
        (["--tolerance", "-1"], "--tolerance should be a number above 0"),
        (["--sample", "5", "--tolerance", "0.1"], "--sample and --tolerance both say when to stop"),
        (["--seed", "5"], "--seed decides which images --sample draws"),
    ]:
        done = invoke("compute", folder, *given)
        assert done.code == 2, given
        assert message in done.err
