"""The GPU suite loses no result: whatever a part does, and whenever the whole of it is killed."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustats
from benchmarks import gpu
from benchmarks.__main__ import main
from benchmarks.gpu import agreement, conclusion, samples, suite_tests
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.plan import ROOT, Context, Part, plain, run_parts
from benchmarks.gpu.tables import tables
from gpustats.engines.tuning import Tuning

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="the GPU suite runs on Linux, as DALI does"),
]
needs_dali = pytest.mark.skipif(
    importlib.util.find_spec("nvidia") is None, reason="DALI is not installed (it exists for Linux only)"
)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    gpustats.datasets.demo.write_images(folder, 6, seed=1)
    return folder


def planted(*names: str, seconds: float = 20) -> list[Part]:
    return [Part(name, f"tests.benchmarks.planted_parts:{name}", seconds) for name in names]


def run(parts: list[Part], folder: Path, minutes: float = 1.0) -> tuple[dict[str, Any], list[str]]:
    """Return the result, and every text that was saved."""
    saved: list[str] = []
    result = run_parts(
        parts,
        data=folder.parent,
        out=folder,
        tiny=True,
        minutes=minutes,
        save=lambda value: saved.append(json.dumps(value, allow_nan=False)),
    )
    return result, saved


@needs_dali
def test_every_part_runs_without_a_gpu(few: Path, tmp_path: Path) -> None:
    assert main(["gpu", "--tiny", "--data", str(few), "--out", str(tmp_path)]) == 0
    document = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    result = document["result"]
    assert result["state"] == "finished"
    assert list(result["parts"]) == [part.name for part in PARTS]
    statuses = {name: record["status"] for name, record in result["parts"].items()}
    assert {name for name, status in statuses.items() if status != "ok"} <= {"kernels", "peers"}, statuses
    assert "failed" not in statuses.values()
    for name, record in result["parts"].items():
        assert record["seconds"] > 0
        assert record["status"] == "ok" or record["reason"], name
    found = {name: record.get("result") for name, record in result["parts"].items()}
    assert found["agreement"]["trusted"] is True
    assert found["agreement"]["engines"]["equal_integers"]
    assert {(row["path"], row["kind"]) for row in found["agreement"]["paths"]} == {
        (path, kind) for path in agreement.PATHS for kind in samples.KINDS
    }
    assert {row["hw_decoder_load"] for row in found["decode"]["loads"]} == {0.0, 0.65, 1.0}
    assert found["tests"]["outcomes"]
    assert any("decoder" in line for line in found["hardware"]["lines"])
    assert found["files"]["host_alone"]["images"] == found["files"]["rounds"][0]["images"] == 24
    assert found["waits"]["gpu_thread_seconds"]["dali"] > 0
    assert found["engines"]["troubles"] == {}
    assert "Tuning(" in found["conclusion"]["tuning_row"]
    text = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "Timings are trusted" in text
    for private in (str(tmp_path), str(few), str(ROOT), str(Path.home()) + "/"):
        assert private not in json.dumps(document) + text, "results are committed: no paths"


@needs_dali
def test_killed_at_any_moment_it_leaves_the_parts_so_far(few: Path, tmp_path: Path) -> None:
    chance = random.Random(os.urandom(8))
    for moment in (0.0, chance.uniform(0, 1), chance.uniform(1, 3)):
        out = tmp_path / f"{moment}"
        command = [sys.executable, "-m", "benchmarks", "gpu", "--tiny", "--data", str(few), "--out", str(out)]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            while not (out / "gpu.json").exists():
                assert process.poll() is None
                time.sleep(0.005)
            time.sleep(moment)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        result = json.loads((out / "gpu.json").read_text(encoding="utf-8"))["result"]
        assert result["state"] == "running"
        statuses = [record["status"] for record in result["parts"].values()]
        begun = [status for status in statuses if status != "pending"]
        assert statuses == begun + ["pending"] * (len(PARTS) - len(begun)), moment
        assert all(status == "ok" for status in begun[:-1]), moment
        assert all("result" in record for record in result["parts"].values() if record["status"] == "ok")
        assert tables(result)


def test_what_goes_wrong_is_recorded_and_passed_over(tmp_path: Path) -> None:
    names = ("works", "fails", "skips", "is_killed", "aborts", "aborts_after_its_work")
    result, saved = run([*planted(*names), Part("absent", "tests.benchmarks.planted_parts:absent", 9)], tmp_path)
    parts = result["parts"]
    assert {name: record["status"] for name, record in parts.items()} == {
        "works": "ok",
        "fails": "failed",
        "skips": "skipped",
        "is_killed": "failed",
        "aborts": "failed",
        "aborts_after_its_work": "ok",
        "absent": "failed",
    }
    assert parts["works"]["result"] == {"seen": [], "value": None}
    assert parts["fails"]["error"]["type"] == "ValueError"
    assert parts["fails"]["error"]["message"] == "planted, in OUT"
    assert 'planted_parts.py", line' in parts["fails"]["error"]["traceback"]
    assert parts["fails"]["result"] == {"so_far": 1}
    assert parts["skips"]["reason"] == "planted: nothing to do here"
    assert parts["is_killed"]["reason"] == "SIGKILL ended it"
    assert parts["is_killed"]["last_lines"] == ["the last words"]
    assert parts["is_killed"]["result"] == {"so_far": 2}
    assert parts["aborts"]["reason"] == "SIGABRT ended it"
    assert any("in aborts" in line for line in parts["aborts"]["last_lines"]), "the place where it happened"
    assert parts["aborts_after_its_work"]["ended_by"] == "SIGABRT"
    assert parts["absent"]["error"]["type"] == "AttributeError"
    assert result["state"] == "finished"
    assert all(record["seconds"] >= 0 for record in parts.values())
    assert json.loads(saved[0])["parts"]["works"] == {"status": "pending"}
    assert str(ROOT) not in saved[-1]
    assert "SIGKILL ended it" in str(tables(result)[0].rows)  # type: ignore[union-attr]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until_dead(pids: list[int]) -> None:
    ends = time.monotonic() + 20
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < ends, pids
        time.sleep(0.02)


def test_a_part_that_hangs_is_killed_at_its_limit_with_all_it_has_started(tmp_path: Path) -> None:
    result, saved = run([*planted("hangs", seconds=4), *planted("works")], tmp_path)
    record = result["parts"]["hangs"]
    assert record["status"] == "failed"
    assert record["reason"].startswith("killed at its limit of 4 s")
    assert record["result"] == {"so_far": 3}
    assert any("in hangs" in line for line in record["last_lines"]), "where it hangs"
    while_it_ran = [json.loads(text)["parts"]["hangs"] for text in saved]
    assert {"status": "running", "result": {"so_far": 3}} in while_it_ran, "what a part keeps is saved at once"
    assert result["parts"]["works"]["result"]["seen"] == ["hangs"]
    wait_until_dead([int(pid) for pid in (tmp_path / "pids").read_text(encoding="utf-8").split()])


def test_what_the_suite_has_started_dies_with_it(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from benchmarks.gpu.plan import run_parts, Part; out = Path({!r});"
        "part = Part('hangs', 'tests.benchmarks.planted_parts:hangs', 60);"
        "run_parts([part], data=out, out=out, tiny=True, minutes=5, save=lambda result: None)"
    )
    process = subprocess.Popen([sys.executable, "-c", program.format(str(tmp_path))], cwd=ROOT)
    try:
        while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text(encoding="utf-8"):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.3)
    finally:
        process.kill()
        process.wait()
    wait_until_dead([int(pid) for pid in (tmp_path / "pids").read_text(encoding="utf-8").split()])


def test_parts_that_do_not_fit_any_more_are_skipped_but_for_the_last(tmp_path: Path) -> None:
    always = Part("at the end", "tests.benchmarks.planted_parts:works", 20, always=True)
    result, _ = run([*planted("works"), always], tmp_path, minutes=0.02)
    assert result["parts"]["works"] == {"status": "skipped", "reason": "no time is left of 0.02 minutes"}
    assert result["parts"]["at the end"]["status"] == "ok"


def test_a_part_that_takes_long_leaves_what_is_kept_for_the_others(tmp_path: Path) -> None:
    later = Part("later", "tests.benchmarks.planted_parts:works", 20, kept=20)
    result, _ = run([*planted("hangs", seconds=60), later], tmp_path, minutes=27 / 60)
    assert result["parts"]["hangs"]["reason"].startswith("killed at its limit of 3 s")
    assert result["parts"]["later"]["status"] == "ok"
    assert sum(part.kept for part in PARTS) < 60 * 8 < sum(part.seconds for part in PARTS)


def test_unknown_part_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="there is no part nonsense; known are machine, tests"):
        gpu.run(tmp_path, tmp_path, only=["nonsense"])


def test_without_a_gpu_the_whole_suite_says_why_and_keeps_what_it_found(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SystemExit, match="benchmarks gpu: "):
        main(["gpu", "--data", str(few), "--out", str(tmp_path), "--parts", "machine", "decode", "conclusion"])
    parts = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["result"]["parts"]
    assert [record["status"] for record in parts.values()] == ["ok", "skipped", "ok"]
    assert parts["decode"]["reason"] == parts["machine"]["result"]["device_problem"]


def test_computed_images_are_of_the_kind_that_was_asked_for() -> None:
    images = samples.by_kind([], 2, least=2, tiny=True)
    assert {kind: [samples.kind_of(data) for data in found] for kind, found in images.items()} == {
        kind: [kind, kind] for kind in samples.KINDS
    }


def test_what_a_decoder_made_of_a_truncated_image_is_said_in_words() -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, (100, 30, 3), np.uint8)
    cut = whole.copy()
    cut[50:] = 128
    assert agreement.what_came(cut, cut, whole) == "50 % of the rows are right, the rest is filled evenly"
    cut[50:] = rng.integers(0, 256, (50, 30, 3), np.uint8)
    other = whole.copy()
    said = agreement.what_came(cut, other, whole)
    assert said == "50 % of the rows are right, the rest is garbage or made up (another result the second time)"
    assert agreement.what_came("no", "no", whole) == "refuses: no"
    assert agreement.what_came(whole * 0, whole * 0, whole) == "writes nothing"
    assert agreement.what_came(whole[:50], whole[:50], whole) == "gives another size: (50, 30, 3)"
    assert agreement.what_came(whole, whole, whole) == "100 % of the rows are right, nothing is left"


@needs_dali
def test_a_decoder_that_differs_is_not_trusted_and_the_rest_goes_on(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = agreement._batch
    monkeypatch.setattr(
        agreement,
        "_batch",
        lambda machine, path, data: [p // 2 if path == "hybrid" else p for p in original(machine, path, data)],
    )
    result = agreement.agreement(Context(few, tmp_path, True, time.time() + 60))
    assert result["trusted"] is False
    assert {reason.partition(",")[0] for reason in result["reasons"]} == {"hybrid"}
    assert len(result["truncated"]) == 8
    record = {"status": "ok", "seconds": 1.0, "result": result}
    whole = {"state": "running", "seconds": 1.0, "minutes": 8, "tiny": False, "parts": {"agreement": record}}
    assert "Timings are NOT TRUSTED: hybrid, 4:2:0: mean or std" in " ".join(tables(whole)[0].notes)  # type: ignore[union-attr]


def rates(**medians: float) -> dict[str, Any]:
    return {name: {"median": value, "min": value, "max": value} for name, value in medians.items()}


def test_conclusion_is_of_the_measured_values_alone(tmp_path: Path) -> None:
    empty = conclusion.conclusion(Context(tmp_path, tmp_path, False, 0.0))
    assert (empty["tuning_row"], empty["readme_table"], empty["trusted"]) == (None, None, None)
    earlier: dict[str, Any] = {
        "machine": {"nvidia_smi": {"name": "NVIDIA H200"}},
        "sweep": {"best": asdict(Tuning(threads=16, hw_decoder_load=0.4))},
        "engines": {
            "images_per_s": rates(dali_decode_only=100.0, gpustats_gpu=95.0, gpustats_gpu_and_8_cpu_threads=110.0),
            "share_of_decode_only": rates(gpustats_gpu=0.95),
        },
    }
    found = conclusion.conclusion(Context(tmp_path, tmp_path, False, 0.0, earlier))
    assert found["tuning_row"] == "'NVIDIA H200': Tuning(threads=16, hw_decoder_load=0.4, cpu_workers=8),"
    assert "| gpustats gpu | 95 (95–95) | 0.95 |" in found["readme_table"]  # noqa: RUF001
    earlier["engines"]["images_per_s"]["gpustats_gpu_and_8_cpu_threads"]["median"] = 96.0
    row = conclusion.conclusion(Context(tmp_path, tmp_path, False, 0.0, earlier))["tuning_row"]
    assert "cpu_workers" not in row, "no gain worth a thread"


def test_outcomes_of_tests_are_read_from_a_log_that_stops_early() -> None:
    log = "tests/a.py::test_x[1] PASSED [ 1%]\ntests/a.py::test_y FAILED [ 2%]\ntests/a.py::test_z "
    assert suite_tests._LINE.findall(log) == [("tests/a.py::test_x[1]", "PASSED"), ("tests/a.py::test_y", "FAILED")]


def test_a_test_file_that_cannot_be_imported_is_an_error() -> None:
    log = "ERROR tests/a.py - ModuleNotFoundError\nERROR tests/b.py::test_x - E\n_ ERROR collecting tests/c.py _\n"
    assert suite_tests._NOT_COLLECTED.findall(log) == ["tests/a.py"]


def test_begins_where_neither_decoders_nor_matplotlib_are_installed(few: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules |= dict.fromkeys(('simplejpeg', 'imagecodecs', 'matplotlib', 'numba'));"
        "from benchmarks.__main__ import main;"
        "main(['gpu', '--tiny', '--parts', 'machine', 'conclusion', '--data', sys.argv[1], '--out', sys.argv[2]])"
    )
    subprocess.run([sys.executable, "-c", program, str(few), str(tmp_path)], cwd=ROOT, check=True)
    result = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["result"]
    assert [record["status"] for record in result["parts"].values()] == ["ok", "ok"]


def test_plain_values_are_what_json_has() -> None:
    value = plain({"a": np.float64(1.5), 2: (np.int64(3), float("inf")), "b": np.array([1, 2]), "c": Path("x")})
    assert value == {"a": 1.5, "2": [3, None], "b": [1, 2], "c": "x"}
