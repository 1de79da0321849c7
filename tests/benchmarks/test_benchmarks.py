"""Every suite runs once at tiny size, so none of them rots; and a guard that counts calls instead of seconds."""

from __future__ import annotations

import json
import sys
import tarfile
from collections import Counter
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

import numpy as np
import pytest

import gpustats
from benchmarks import cpu, figures, peers, scaling, sources, timing
from benchmarks.__main__ import SUITES, main
from benchmarks.exact import error, exact
from benchmarks.files import write_sized, write_tar
from benchmarks.process import Process
from gpustats.decode.decoder import Decoder
from gpustats.engines.cpu import CpuEngine
from gpustats.engines.shared_batches import SharedBatch
from gpustats.limits.memory import MemoryBudget
from gpustats.sources import Batch, load, open_source
from tests.images import write_photos

# Wall-clock limits are generous: a suite starts processes that compile.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    gpustats.datasets.demo.write_images(folder, 6, seed=1)
    return folder


@pytest.mark.parametrize(
    "suite",
    ["reduce", "interpreter_lock", "scaling", "sources", "formats", "processes", "robust", "million", "groups", "host"],
)
def test_suite_runs_tiny_and_is_drawn(suite: str, few: Path, tmp_path: Path) -> None:
    assert main([suite, "--tiny", "--data", str(few), "--out", str(tmp_path)]) == 0
    document = json.loads((tmp_path / f"{suite}.json").read_text(encoding="utf-8"))
    assert document["suite"] == suite
    assert document["machine"]["usable_cores"] >= 1
    text = (tmp_path / f"{suite}.md").read_text(encoding="utf-8")
    assert "| cpu |" in text
    for private in (str(tmp_path), str(few), str(Path.home()) + "/"):
        assert private not in json.dumps(document) + text, "results are committed: no paths"


def test_cpu_suite_with_the_peers_that_start_fast(few: Path, tmp_path: Path) -> None:
    names = ("gpustats_cpu", "pillow_numpy", "imagemagick")
    result = cpu.run(few, tmp_path, tiny=True, names=names, pythons={"pillow_numpy": sys.executable})
    rows = result["peers"]["rows"]
    assert rows["pillow_numpy"]["right"]
    assert set(rows["pillow_numpy"]["packages"]) == {"PIL", "numpy"}
    assert rows["gpustats_cpu"]["error"]["std"] <= 1e-12
    pillow, ours, limit = (rows[name]["seconds"] for name in ("pillow_numpy", cpu.OURS, cpu.LIMIT))
    assert rows["pillow_numpy"]["limit_is_faster_by"] == timing.ratio(pillow, limit)
    assert rows["pillow_numpy"]["gpustats_is_faster_by"] == timing.ratio(pillow, ours)
    assert rows["pillow_numpy"]["images_per_s"] == timing.summary([6 / seconds for seconds in pillow])
    assert ("ImageMagick identify" in result["skipped"]) == (peers.missing("imagemagick") is not None)
    assert "slow" not in result
    assert len(cpu.report(result)) == 4


def test_slow_peer_is_measured_on_few_files_beside_gpustats_and_the_limit(few: Path, tmp_path: Path) -> None:
    result = cpu.run(few, tmp_path, tiny=True, names=("pillow_numpy",), slow_seconds=0.0, slow_files=2)
    assert result["slow"]["files"] == 2
    assert set(result["slow"]["rows"]) == {cpu.OURS, cpu.LIMIT, "pillow_numpy"}
    assert "pillow_numpy" not in result["peers"]["rows"]
    assert result["slow"]["rows"]["pillow_numpy"]["right"], "checked against the answer for those files"


def test_files_for_the_peers_are_as_many_as_asked_for_and_spread_over_all() -> None:
    paths = [f"{i:04d}" for i in range(1000)]
    assert len(cpu.spaced(paths, 400)) == len(set(cpu.spaced(paths, 400))) == 400
    assert cpu.spaced(paths, 4) == ["0000", "0250", "0500", "0750"]
    assert cpu.spaced(paths[:3], 500) == paths[:3]


def test_missing_package_and_program_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.load("opencv"), "NEEDS", ("no_such_package",))
    assert peers.missing("opencv") == "no_such_package is not installed"
    monkeypatch.setattr(peers.load("opencv"), "NEEDS", ("no_such.package",))
    assert peers.missing("opencv") == "no_such.package is not installed"
    monkeypatch.setattr(peers.load("opencv"), "NEEDS", ("program:no_such_program|nor_this",))
    assert peers.missing("opencv") == "no program no_such_program or nor_this"


# Datumaro's mean is another one, see its module; the suite calls it wrong.
@pytest.mark.parametrize("name", [name for name in peers.PEERS if name != "datumaro"])
def test_peer_gives_the_answer_of_its_definition(name: str, few: Path) -> None:
    reason = peers.missing(name)
    if reason is not None:
        pytest.skip(reason)
    paths = sorted(str(path) for path in few.rglob("*.jpg"))
    with Process(name) as process:
        reply = process.run(paths, 1)
    assert "error" not in reply, reply
    assert max(error(reply, exact(paths))) < cpu.WRONG


@pytest.mark.parametrize("name", peers.LIMITS)
def test_limit_decodes_and_computes_nothing(name: str, few: Path) -> None:
    reason = peers.missing(name)
    if reason is not None:
        pytest.skip(reason)
    with Process(name) as process:
        reply = process.run(sorted(str(path) for path in few.rglob("*.jpg")), 2)
    assert set(reply) == {"seconds"}, reply


def test_wrong_peer_is_seen_as_wrong(few: Path) -> None:
    paths = sorted(str(path) for path in few.rglob("*.jpg"))
    references = exact(paths)
    mean, std = references["pooled"]
    assert error({"definition": "pooled", "mean": mean + 0.001, "std": std}, references)[0] > cpu.WRONG
    assert error({"definition": "image", "mean": mean, "std": std}, references)[1] > cpu.WRONG


def test_exact_agrees_with_gpustats(few: Path) -> None:
    stats = gpustats.compute(few, device="cpu", progress=False)
    references = exact(sorted(str(path) for path in few.rglob("*.jpg")))
    np.testing.assert_allclose(references["pooled"], (stats.mean, stats.std), rtol=0, atol=1e-14)
    np.testing.assert_allclose(references["image"], (stats.per_image.mean, stats.per_image.std), rtol=0, atol=1e-12)
    np.testing.assert_allclose(references["image_unbiased"][1], stats.per_image.std_unbiased, rtol=0, atol=1e-12)


def test_suites_name_modules_that_exist() -> None:
    root = Path(cpu.__file__).parents[1]
    for module in SUITES.values():
        path = root / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), module


def test_all_runs_every_suite_but_the_million_files_and_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr("benchmarks.__main__._run", lambda suite, data, options: ran.append(suite) or [])
    assert main(["all", "--tiny", "--out", str(tmp_path)]) == 0
    assert ran == [name for name in SUITES if name not in ("million", "groups", "gpu")]


def test_python_of_a_peer_is_peer_and_program(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cpu", "--python", "datumaro"])
    assert "'datumaro' is not PEER=PROGRAM" in capsys.readouterr().err


def test_interleaved_rounds_start_with_another_work_each() -> None:
    order: list[str] = []
    works = {name: lambda name=name: order.append(name) for name in "abc"}
    measured = timing.interleaved(works, 3)
    assert "".join(order) == "abcbcacab"
    assert [len(values) for values in measured.values()] == [3, 3, 3]


def test_ratios_are_taken_within_a_round_and_summed_up_by_their_median() -> None:
    assert timing.ratio([2.0, 9.0, 8.0], [1.0, 3.0, 2.0]) == {"median": 3.0, "min": 2.0, "max": 4.0}
    assert timing.summary([5.0, 1.0]) == {"median": 3.0, "min": 1.0, "max": 5.0}


def test_tar_of_repeated_members_is_read_as_the_files_are(few: Path, tmp_path: Path) -> None:
    paths = sorted(few.rglob("*.jpg"))
    write_tar(tmp_path / "a.tar", paths, 2 * len(paths) + 1)
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert len(archive.getnames()) == len(set(archive.getnames())) == 2 * len(paths) + 1
    stats = gpustats.compute(tmp_path / "a.tar", device="cpu", progress=False)
    files = gpustats.compute([*paths, *paths, paths[0]], repeats="count", device="cpu", progress=False)
    assert (stats.n_images, stats.mean.tolist()) == (files.n_images, files.mean.tolist())


def test_sizes_have_the_same_megapixels(tmp_path: Path) -> None:
    rows = scaling._by_size(tmp_path, ((8, 8), (16, 32)), 1, warm=False)
    assert len({row["files"] * row["height"] * row["width"] for row in rows}) == 1


def test_encodings_differ_as_their_names_say(tmp_path: Path) -> None:
    def size(**options: Any) -> int:
        return write_sized(tmp_path, 64, 64, 1, **options)[0].stat().st_size

    assert size(quality=50) < size(quality=95)
    assert size(grey=True) < size() < size(subsampling="4:2:2") < size(subsampling="4:4:4")
    assert b"\xff\xc2" in write_sized(tmp_path, 64, 64, 1, progressive=True)[0].read_bytes()


def test_container_with_other_integers_is_not_timed(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = sources.Container(lambda files, out: sources._tar(files[1:], out / "lost.tar"))
    absent = sources.Container(lambda files, out: out / "never", "no_such_package")
    monkeypatch.setattr(sources, "CONTAINERS", {"absent": absent})
    assert sources.run(few, tmp_path, tiny=True)["skipped"] == {"absent": "no_such_package is not installed"}
    monkeypatch.setattr(sources, "CONTAINERS", {"lost": lost})
    with pytest.raises(SystemExit, match="lost: other integers"):
        sources.run(few, tmp_path, tiny=True)


@pytest.mark.parametrize("name", figures.PAGES)
def test_pages_have_the_figures_of_the_committed_json(name: str) -> None:
    text = (figures.ROOT / name).read_text(encoding="utf-8")
    folder = figures.results_folder(text)
    assert figures.replaced(name, text, folder) == text, f"run: python -m benchmarks figures {folder}"
    assert (figures.ROOT / folder / "cpu.png").is_file()


def test_a_page_without_a_place_for_figures_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"README\.md has no lines .* the figures have no place"):
        figures.replaced("README.md", "# A text\n", "anywhere")


CALLS_AN_IMAGE = 15
"""Python functions that may start on a worker for one more JPEG: what the interpreter lock is held for grows with it.

Today: samples, _pixels, load, _read_file, S_ISREG is C; decode, _admit, check_size, release, reserve, release;
decode_jpeg and decode_jpeg_header of simplejpeg are C. Raise it only with a measurement of
`python -m benchmarks interpreter_lock`.
"""


def _calls(paths: list[Any]) -> Counter[str]:
    """Count the Python functions that start while a worker measures a batch."""
    engine = CpuEngine(workers=1, max_pixels=10**8, memory=1 << 28)
    decoder = Decoder(10**8, MemoryBudget(1 << 28, 1))
    batch = Batch([str(path) for path in paths], [""] * len(paths), list(paths))
    engine.measure(SharedBatch(batch), decoder, Event())  # compiles and loads
    started: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            started[frame.f_code.co_name] += 1

    shared = SharedBatch(batch)
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        (outcome,), _ = engine.measure(shared, decoder, Event())
    finally:
        sys.setprofile(before)
    assert len(outcome.rows) == len(paths)
    return started


def test_python_calls_for_one_more_image_stay_few(tmp_path: Path) -> None:
    write_photos(tmp_path, 12)
    paths = [str(path) for path in sorted(tmp_path.rglob("*.jpg"))][:2]
    few_calls, many_calls = _calls(paths), _calls(paths * 9)
    an_image = (many_calls.total() - few_calls.total()) / (len(paths) * 8)
    assert 3 <= an_image <= CALLS_AN_IMAGE, (many_calls - few_calls).most_common()


def test_guard_sees_one_more_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(tmp_path, 12)
    paths = [str(path) for path in sorted(tmp_path.rglob("*.jpg"))][:2]
    plain = _calls(paths).total()

    def wrapped(*arguments: Any) -> Any:
        return load(*arguments)

    monkeypatch.setattr("gpustats.engines.cpu.load", wrapped)
    assert _calls(paths).total() == plain + len(paths)


def test_reading_takes_four_system_calls_at_most(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    calls: Counter[str] = Counter()
    for name in ("open", "fstat", "read", "close", "stat", "lstat"):
        original = getattr(os, name)

        def counted(*arguments: Any, name: str = name, original: Any = original, **options: Any) -> Any:
            calls[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(os, name, counted)
    sample = next(iter(open_source([str(next(few.rglob("*.jpg")))]).samples()))
    calls.clear()
    assert isinstance(sample, tuple)
    load(sample[2], 1 << 30)
    assert calls.total() <= 4, calls
