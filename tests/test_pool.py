"""Batches that workers share: every sample once, and nobody idle while another has some left."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from gpustats.engines.cpu import CpuEngine
from gpustats.engines.shared_batches import Pool, SharedBatch
from gpustats.failures import Failure
from gpustats.sources import Batch


def batch(first: int, count: int, *failures: Failure) -> Batch:
    keys = [str(i) for i in range(first, first + count)]
    return Batch(keys, ["g"] * count, [key.encode() for key in keys], failures)


def keys(shared: SharedBatch | None) -> list[str]:
    assert shared is not None
    return [key for key, _, _ in shared.samples]


def test_whole_batches_come_first_then_halves_of_the_largest() -> None:
    failure = Failure("shard", "truncated", "it ends early")
    pool = Pool(iter([batch(0, 2), batch(2, 5, failure)]))
    small, large = pool.take(), pool.take()
    assert (keys(small), keys(large)) == (["0", "1"], ["2", "3", "4", "5", "6"])
    assert large is not None
    assert large.failures == [failure]
    half = pool.take()
    assert (keys(large), keys(half)) == (["2", "3"], ["4", "5", "6"])
    assert half is not None
    assert half.failures == [], "a failure of the source is told once"
    assert half.samples[0] == ("4", "g", b"4")
    assert keys(pool.take()) == ["5", "6"]
    assert keys(half) == ["4"]
    for shared in (small, large, half):
        assert shared is not None
        shared.samples.clear()
    assert sorted([*keys(pool.take()), *keys(pool.take())]) == ["5", "6"], "halves are halved again, to the last sample"


def test_batches_are_taken_together_until_there_are_enough_samples() -> None:
    first, second = (Failure(name, "truncated", "it ends early") for name in ("first", "second"))
    pool = Pool(iter([batch(0, 2, first), batch(2, 0, second), batch(2, 3), batch(5, 3), batch(8, 1)]))
    several = pool.take(5)
    assert keys(several) == ["0", "1", "2", "3", "4"]
    assert several is not None
    assert several.failures == [first, second]
    assert keys(pool.take(3)) == ["5", "6", "7"], "one that has enough is enough"
    assert keys(pool.take(5)) == ["8"], "there are no more"
    assert (keys(pool.take(5)), keys(several)) == (["2", "3", "4"], ["0", "1"]), "halves, as before"


def test_a_batch_without_samples_is_taken_alone() -> None:
    failure = Failure("shard", "truncated", "it ends early")
    pool = Pool(iter([batch(0, 2), batch(2, 0, failure)]))
    pool.take()
    empty = pool.take()
    assert empty is not None
    assert (keys(empty), empty.failures) == ([], [failure])


def test_nothing_is_left_or_taken_twice_under_many_threads() -> None:
    pool = Pool(iter([batch(100 * i, i % 17) for i in range(300)]))
    seen: list[str] = []

    def work() -> None:
        while (shared := pool.take()) is not None:
            while True:
                try:
                    seen.append(shared.samples.popleft()[0])
                except IndexError:
                    break

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted(key for i in range(300) for key in batch(100 * i, i % 17).keys)
    assert pool.take() is None


@pytest.mark.parametrize("count", [4, 16])
def test_all_workers_share_a_single_batch(count: int) -> None:
    together = threading.Barrier(4)

    def item(max_bytes: int) -> np.ndarray:
        together.wait(20)  # passes only when four workers are here at once
        return np.full((2, 2, 3), 7, np.uint8)

    engine = CpuEngine(workers=4, max_pixels=10**8, memory=1 << 28)
    names = [str(i) for i in range(count)]
    outcomes = list(engine.outcomes(iter([Batch(names, [""] * count, [item] * count)])))
    assert sorted(key for outcome in outcomes for key in outcome.rows.keys) == sorted(names)


def test_slow_images_are_told_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.engines.cpu._TELL", 0.0)
    failure = Failure("shard", "truncated", "it ends early")
    pixels = np.full((2, 2, 3), 7, np.uint8)
    engine = CpuEngine(workers=2, max_pixels=10**8, memory=1 << 28)
    outcomes = list(engine.outcomes(iter([Batch(list("abcde"), [""] * 5, [pixels] * 5, (failure,))])))
    assert sorted(key for outcome in outcomes for key in outcome.rows.keys) == list("abcde")
    assert max(len(outcome.rows) for outcome in outcomes) == 1
    assert [failure for outcome in outcomes for failure in outcome.failures] == [failure], "told once"


def test_an_error_of_the_source_does_not_hand_out_halves() -> None:
    def batches() -> Iterator[Batch]:
        yield batch(0, 8)
        raise RuntimeError("the source broke")

    pool = Pool(batches())
    pool.take()
    with pytest.raises(RuntimeError, match="the source broke"):
        pool.take()
