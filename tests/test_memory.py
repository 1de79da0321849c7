"""The memory that a run may take: what is asked for in words, shares and limits, and who waits for whom."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from gpustats.failures import ImageError
from gpustats.limits.memory import PROCESS_BYTES, MemoryBudget, memory_in_flight, parse_memory

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (64 * MIB, 64 * MIB),
        ("67108864", 64 * MIB),
        ("67108864b", 64 * MIB),
        ("64MiB", 64 * MIB),
        ("64 mib", 64 * MIB),
        (" 64MIB ", 64 * MIB),
        ("64Mi", 64 * MIB),
        ("100000k", 10**8),
        ("100000KB", 10**8),
        ("100000KiB", 100000 * 1024),
        ("100m", 10**8),
        ("2g", 2 * 10**9),
        ("2GiB", 2 * GIB),
        ("1.5GB", 1_500_000_000),
        ("1T", 10**12),
        ("1TiB", 1 << 40),
        ("1%", GIB),
        ("100%", 100 * GIB),
        ("12.5%", 100 * GIB // 8),
        ("0.5 %", GIB // 2),
        (1.0, 100 * GIB),
        (0.01, GIB),
        (10**15, 10**15),
    ],
)
def test_memory_in_words_and_shares(given: Any, expected: int) -> None:
    assert parse_memory(given, usable=100 * GIB) == expected


@pytest.mark.parametrize(
    "bad",
    ["", "GB", "1.GB", "-1GB", "1 G B", "1XB", "1e9", "100.1%", "0%", "63MiB", "1%%", 64 * MIB - 1, 0, -(10**9), 0.0,
     1.01, -0.5, True, None, [10**9], float("nan"), float("inf"), "1GB2GB"],
)  # fmt: skip
def test_memory_that_is_none(bad: object) -> None:
    with pytest.raises(ValueError, match=r"memory should be at least 64 MiB, as bytes .*, got "):
        parse_memory(bad, usable=100 * GIB)


def test_a_share_of_too_little_is_refused() -> None:
    assert parse_memory(0.5, usable=128 * MIB) == 64 * MIB
    with pytest.raises(ValueError, match="at least 64 MiB"):
        parse_memory(0.5, usable=127 * MIB)


@pytest.mark.parametrize(
    ("memory", "usable", "expected"),
    [
        (None, 16 * GIB, 8 * GIB),
        (None, 2 * GIB, GIB),
        (None, GIB, GIB),
        (None, 0, GIB),
        ("2GiB", 16 * GIB, 2 * GIB - PROCESS_BYTES),
        ("512MiB", 16 * GIB, 256 * MIB),
        ("511MiB", 16 * GIB, 511 * MIB // 2),
        ("600MiB", 16 * GIB, 600 * MIB - PROCESS_BYTES),
        ("128MiB", 16 * GIB, 64 * MIB),
        (0.5, 4 * GIB, 2 * GIB - PROCESS_BYTES),
    ],
)
def test_what_is_left_for_images(monkeypatch: pytest.MonkeyPatch, memory: Any, usable: int, expected: int) -> None:
    monkeypatch.setattr("gpustats.limits.memory.usable_memory", lambda: usable)
    assert memory_in_flight(memory) == expected
    assert PROCESS_BYTES == 256 * MIB


@pytest.mark.parametrize(
    ("total", "workers", "share", "common"),
    [(1600, 2, 100, 1200), (1600, 1, 200, 1200), (1603, 2, 100, 1203), (7, 4, 1, 6), (1, 1, 1, 1), (0, 3, 1, 1)],
)
def test_shares_and_the_common_part(total: int, workers: int, share: int, common: int) -> None:
    budget = MemoryBudget(total, workers)
    assert (budget.share, budget.common, budget.refused) == (share, common, 0)


def test_what_is_reserved_refused_and_given_back() -> None:
    budget = MemoryBudget(1600, workers=2)
    assert budget.reserve(0) == budget.reserve(100) == 0, "a share needs no reservation"
    assert (budget.reserve(101), budget._free) == (101, 1099)
    assert (budget.reserve(1099), budget._free) == (1099, 0)
    budget.release(0)
    assert budget._free == 0
    budget.release(101)
    budget.release(1099)
    assert (budget.reserve(1200), budget._free) == (1200, 0)
    budget.release(1200)
    assert (budget.reserve_all(1200), budget._free) == (1200, 0)
    budget.release(1200)
    assert (budget.reserve_all(1), budget._free) == (1200, 0), "all of it, for a file that needs as yet unknown more"
    budget.release(1200)
    budget.check(1200)
    for count, ask in enumerate([budget.reserve, budget.reserve_all, budget.check], start=1):
        with pytest.raises(ImageError, match="more than the 0 MB that the memory limit leaves for one image") as caught:
            ask(1201)
        assert caught.value.reason == "too_large"
        assert budget.refused == count
    assert budget._free == 1200
    large = MemoryBudget(1_600_000_000, 1)
    with pytest.raises(ImageError, match="decoding takes about 2,345 MB, more than the 1,200 MB that"):
        large.reserve(2_345_000_000)


@pytest.mark.parametrize(("second", "waits"), [(1100, False), (1101, True), (101, False)])
def test_large_images_wait_for_one_another(monkeypatch: pytest.MonkeyPatch, second: int, waits: bool) -> None:
    """The second gets its memory at once where it is free, else when the first gives its own back."""
    budget = MemoryBudget(1600, workers=2)
    steps: list[str] = []
    waiting, real = threading.Event(), budget._changed.wait

    def wait(timeout: float | None = None) -> bool:
        steps.append("waits")
        waiting.set()
        return real(timeout)

    monkeypatch.setattr(budget._changed, "wait", wait)
    held = budget.reserve(100 + 1) - 1  # 1,099 of 1,200 are free
    budget.release(1)  # and now 1,100

    def work() -> None:
        reserved = budget.reserve(second)
        steps.append("has it")
        waiting.set()
        budget.release(reserved)

    thread = threading.Thread(target=work)
    thread.start()
    assert waiting.wait(20)
    assert steps[0] == ("waits" if waits else "has it")
    budget.release(held)
    thread.join(20)
    assert not thread.is_alive()
    assert steps[-1] == "has it"
    assert budget._free == budget.common
