"""Histograms of 16-bit images: NumPy's and SciPy's of all pixels, for every split, and few bytes for few values."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import gpustats
from gpustats import DataError, DeviceError, Stats
from gpustats.checkpoint import resume
from gpustats.engines import device_arrays
from gpustats.errors import MergeError, OptionError
from gpustats.statistics import grouped, totals
from gpustats.statistics.deep_histogram import read_sparse
from gpustats.statistics.grouped import Grouped
from gpustats.statistics.rows import Rows
from gpustats.statistics.sparse import MOST, added, packed, unpacked
from gpustats.statistics.totals import RowBuffer, Totals
from tests.command_line import invoke
from tests.gpu.test_device_arrays import on_device
from tests.rows import built

NAMES = ("moments", "histogram")
TOP = 65535


def compute(images: Any, **options: Any) -> Stats:
    given = {"layout": "HWC", "statistics": ["histogram"], "progress": False, "device": "cpu"} | options
    return gpustats.compute(images, **given)


def family(seed: int, channels: int) -> list[np.ndarray]:
    """Odd sizes; all values, few, neighbours, one, and both ends."""
    rng = np.random.default_rng(seed)
    shapes = [(1, 1), (1, 7), (5, 3), (16, 9), (3, 40)]
    images = [rng.integers(0, TOP + 1, (*shape, channels), dtype=np.uint16) for shape in shapes]
    images += [rng.choice(np.array([0, 1, 255, 256, TOP], np.uint16), (*shape, channels)) for shape in shapes]
    images += [np.full((4, 6, channels), value, np.uint16) for value in (0, 300, TOP)]
    return [*images, rng.integers(1000, 1010, (9, 9, channels), dtype=np.uint16)]


def pooled(images: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([image.reshape(-1, image.shape[2]) for image in images])


def check(stats: Stats, pixels: list[np.ndarray]) -> None:
    """Compare all numbers with those of pixels, an array for each channel."""
    stats = stats.scaled(TOP)
    q = [0, 0.01, 0.1, 0.5, 0.77, 1]
    for c, x in enumerate(pixels):
        counts = np.bincount(x, minlength=TOP + 1)
        np.testing.assert_array_equal(stats.histogram[c], counts)
        assert stats.median[c] == np.median(x)
        assert stats.mode[c] == counts.argmax()
        assert stats.clipped_share.low[c] == (x == 0).mean()
        assert stats.clipped_share.high[c] == (x == TOP).mean()
        np.testing.assert_allclose(stats.entropy[c], scipy.stats.entropy(counts, base=2), rtol=1e-12, atol=1e-12)
        inverted = np.quantile(x, q, method="inverted_cdf")
        np.testing.assert_array_equal(stats.quantile(q, method="inverted_cdf")[:, c], inverted)
        np.testing.assert_allclose(stats.quantile(q)[:, c], np.quantile(x.astype(float), q), rtol=1e-12)
        wide = x.astype(np.longdouble)
        if np.ptp(x):
            np.testing.assert_allclose(stats.skewness[c], float(scipy.stats.skew(wide)), rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(stats.kurtosis[c], float(scipy.stats.kurtosis(wide)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_every_number_against_numpy_and_scipy(channels: int) -> None:
    images = family(channels, channels)
    check(compute(images), list(pooled(images).T))
    for image in images[:4]:
        check(compute([image]), list(pooled([image]).T))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_that_do_not_count(channels: int) -> None:
    images = [image for image in family(9, channels) if image.size > 14 * channels]
    rng = np.random.default_rng(1)
    masked = [np.ma.MaskedArray(image, rng.random(image.shape) < 0.3) for image in images]
    valid = [np.concatenate([m[..., c].compressed() for m in masked]) for c in range(channels)]
    check(compute(masked), valid)
    kept = [image for image in images if (image != 300).any()]
    check(compute(kept, nodata=300), [p[p != 300] for p in pooled(kept).T])


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize("channels", [1, 3])
def test_signed_integers(dtype: type, channels: int) -> None:
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    images = [rng.integers(limits.min, limits.max + 1, (*s, channels), dtype=dtype) for s in ((5, 3), (1, 9), (8, 8))]
    images += [np.full((3, 2, channels), value, dtype) for value in (limits.min, limits.max, -1)]
    stats = compute(images)
    for c, x in enumerate(pooled(images).T):
        counts = np.bincount(x.astype(int) - limits.min, minlength=limits.max - limits.min + 1)
        np.testing.assert_array_equal(stats.histogram[c], counts)
        assert stats.median[c] == np.median(x)
        assert stats.mode[c] == counts.argmax() + limits.min
        assert stats.clipped_share.low[c] == (x == limits.min).mean()
        assert stats.clipped_share.high[c] == (x == limits.max).mean()
        np.testing.assert_allclose(stats.quantile(0.3)[c], np.quantile(x.astype(float), 0.3), rtol=1e-12)
        wide = x.astype(np.longdouble)
        np.testing.assert_allclose(stats.skewness[c], float(scipy.stats.skew(wide)), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(stats.kurtosis[c], float(scipy.stats.kurtosis(wide)), rtol=1e-12, atol=1e-12)
    assert Stats.from_dict(json.loads(stats.to_json())) == stats
    assert (compute(images[:2]) + compute(images[2:])).totals.parts == stats.totals.parts
    assert min(map(min, stats.totals.to_dict()["histogram"]["values"])) == limits.min


@pytest.mark.parametrize("dtype", [np.uint32, np.int32])
def test_values_of_32_bits_are_refused_by_name(dtype: type) -> None:
    with pytest.raises(DataError, match=r"'histogram' cannot be computed for images with 1 channel of 32 .*bits"):
        compute(np.zeros((2, 3, 3, 1), dtype), layout="NHWC")


def test_pixels_are_clipped_at_the_value_that_is_shown_as_1() -> None:
    for dtype, top in ((np.uint16, 4095), (np.uint16, 1023.5), (np.uint8, 200), (np.uint8, 256)):
        last = min(int(top), np.iinfo(dtype).max)
        image = np.array([[0, 5, last, last]], dtype)[:, :, None]
        stats = compute([image], value_range=top, per_image=True)
        assert stats.clipped_share.high.tolist() == [0.5]
        assert stats.image_table.to_pydict()["clipped_share_high_L"] == [0.5]
        np.testing.assert_allclose(stats.quantile(1), last / top, rtol=1e-15)
        again = compute([image], value_range=top)
        found = stats.compare(again)
        assert found.wasserstein is not None
        assert found.wasserstein.tolist() == [0]
        assert Stats.from_dict(stats.to_dict()).totals == stats.totals


def test_every_layout_in_memory() -> None:
    image = family(2, 3)[3]
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    expected = compute([image]).totals
    assert compute([planes], layout="CHW").totals == expected
    assert compute([np.asfortranarray(image)]).totals == expected
    assert compute([image.astype(">u2")]).totals == expected


@settings(max_examples=25, deadline=None)
@given(st.data(), st.integers(0, 2**32), st.integers(1, 4))
def test_any_split_order_and_merge_gives_the_same_bits(data: st.DataObject, seed: int, channels: int) -> None:
    images = family(seed, channels)
    count = len(images)
    order = data.draw(st.permutations(range(count)))
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=3)))
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, count], strict=True):
        part = Totals(NAMES)
        buffer = RowBuffer(part, rows=2)
        for i in order[start:stop]:
            buffer.add(built([images[i]], NAMES, first=i))
        buffer.flush()
        parts.append(part)
    left, right = Totals(NAMES), Totals(NAMES)
    for part in parts:
        left.merge(part)
    for part in reversed(parts):
        right.merge(Totals.from_dict(json.loads(json.dumps(part.to_dict()))))
    assert left.parts == right.parts
    assert left == right
    check(Stats(left), list(pooled(images).T))


def test_few_values_are_few_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.choice(TOP + 1, 100, replace=False).astype(np.uint16)
    images = [rng.choice(values, (64, 64, 3)) for _ in range(8)]
    rows = built(images, NAMES)
    assert rows.ragged_bytes < 8 * 3 * 100 * 5
    stats = compute(images)
    stats.save(tmp_path / "s.json")
    assert (tmp_path / "s.json").stat().st_size < 16_000
    assert "histogram" not in json.loads((tmp_path / "s.json").read_text()).keys() - {"totals"}
    again = Stats.load(tmp_path / "s.json")
    assert again == stats
    assert again.to_json() == stats.to_json()
    np.testing.assert_array_equal(again.histogram, stats.histogram)


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_counts_come_back_from_their_bytes(dtype: type) -> None:
    rng = np.random.default_rng(0)
    cases: list[list[int]] = [[], [0], [1], [0, 0, 5], [127], [128], [0] * 127 + [1], [0] * 128 + [1], [0] * TOP + [9]]
    cases += [[2**14 - 1, 2**14, 0, 2**32 - 1]]
    cases += [(rng.integers(0, 300, TOP + 1) * (rng.random(TOP + 1) < share)).tolist() for share in (0.01, 0.5, 1)]
    for case in cases:
        counts = np.array(case, dtype)
        values = np.flatnonzero(counts)
        assert unpacked(packed(counts)) == (values.tolist(), counts[values].tolist())
        for first in (1, 127, 128, 70):
            assert packed(counts, first) == packed(np.concatenate([np.zeros(first, dtype), counts]))
    assert unpacked(packed(np.array([0, MOST], np.uint64))) == ([1], [MOST])


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_between_any_two_values(channels: int) -> None:
    """The counters outside of their smallest and largest value are not looked at, and hold anything."""
    rng = np.random.default_rng(0)
    rows = []
    for side, low, high in ((5, 0, TOP), (5, 700, 900), (1, TOP, TOP), (1, 0, 0), (300, 40, 50), (9, TOP - 3, TOP)):
        image = rng.integers(low, high + 1, (side, side, channels)).astype(np.uint16)
        column = built([image], NAMES).columns["histogram.bins"][0]
        for channel, data in enumerate(column):
            values, counts = np.unique(image[:, :, channel], return_counts=True)
            assert unpacked(data) == (values.tolist(), counts.tolist())
        rows.append(image)
    check(compute(rows), list(pooled(rows).T))


def test_sums_have_the_same_bytes_in_any_order() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 3, 1000 * (i + 1)).astype(np.uint64) * 10**i for i in range(5)]
    whole = np.zeros(5000, np.uint64)
    for part in parts:
        whole[: len(part)] += part
    forms = [packed(part) for part in parts]
    assert added(forms) == added(forms[::-1]) == packed(whole)
    assert added([added(forms[:2]), added(forms[2:])]) == packed(whole)


def test_too_many_are_no_wrong_number() -> None:
    half = packed(np.array([1, MOST // 2 + 1], np.uint64))
    assert unpacked(added([half, packed(np.array([1, MOST // 2], np.uint64))])) == ([0, 1], [2, MOST])
    with pytest.raises(MergeError, match="more often than"):
        added([half, half])


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\x80",
        b"\x80\x00",
        b"\x81\x00",
        b"\1\0",
        b"\0\0\1",
        b"\xff" * 10 + b"\1",
        b"\0\x82\x80\x04\1",
        b"\0\xff\xff\xff\x7f\1",
    ],
)
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="stored counts of a histogram are damaged"):
        unpacked(data)


def test_damaged_counts_of_a_file_are_refused() -> None:
    data = compute(family(0, 2)).totals.to_dict()
    Totals.from_dict(data)
    found = data["histogram"]
    values, counts = found["values"], found["counts"]
    wrong: list[Any] = [None, [], {}, {"values": values}, {"values": values[:1], "counts": counts[:1]}]
    for places, numbers in (
        ([values[0][::-1], values[1]], counts),
        ([[*values[0][:-1], TOP + 1], values[1]], counts),
        ([[*values[0][:-1], values[0][-2]], values[1]], counts),
        ([[-1, *values[0][1:]], values[1]], counts),
        (values, [[0, *counts[0][1:]], counts[1]]),
        (values, [[float(counts[0][0]), *counts[0][1:]], counts[1]]),
        (values, [[2**63, *counts[0][1:]], counts[1]]),
        (values, [counts[0][:-1], counts[1]]),
        (values, [[counts[0][0] + 1, *counts[0][1:]], counts[1]]),
        (values, [[True, *counts[0][1:]], counts[1]]),
        (values, "x"),
    ):
        wrong.append({"values": places, "counts": numbers})
    for one in wrong:
        with pytest.raises(DataError):
            Totals.from_dict(data | {"histogram": one})


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ([4, 4], [1, 1]),
        ([4, 3], [1, 1]),
        ([-6, 3], [1, 1]),
        ([4, 10], [1, 1]),
        ([4, 5], [1, 0]),
        ([4, 5], [1, MOST + 1]),
    ],
)
def test_what_no_counts_can_be_is_refused(values: list[int], counts: list[int]) -> None:
    assert len(read_sparse([[-5, 9]], [[1, MOST]], 1, -5, 9)) == 1
    with pytest.raises(DataError, match="a histogram cannot have value"):
        read_sparse([values], [counts], 1, -5, 9)


def test_extremes_that_do_not_occur_are_refused() -> None:
    """Number and sums alone would not see a file whose moments have other extremes."""
    for dtype in (np.uint8, np.uint16):
        data = compute(np.array([[[[5], [9], [7]]]], dtype)).totals.to_dict()
        for name, value in (("min", 4), ("max", 10)):
            wrong = copy.deepcopy(data)
            wrong["moments"][name] = [value]
            with pytest.raises(DataError, match="contradict"):
                Totals.from_dict(wrong)


def test_isolated_and_from_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "_BYTES_TOGETHER", 1000)
    folder = tmp_path / "set"
    folder.mkdir()
    images = [image for image in family(4, 1) if image.size > 1]
    for i, image in enumerate(images):
        head = f"P5 {image.shape[1]} {image.shape[0]} {TOP}\n".encode()
        (folder / f"{i}.pgm").write_bytes(head + image.astype(">u2").tobytes())
    options: dict[str, Any] = {"layout": "auto", "mode": "native"}
    whole = compute(folder, **options)
    check(whole, list(pooled(images).T))
    assert compute(folder, isolate=True, workers=1, **options).totals == whole.totals
    for changed in ("mtime", "hash"):
        kept = [folder / f"{i}.pgm" for i in range(4)]
        for path in kept:
            path.rename(tmp_path / path.name)
        state = tmp_path / changed
        compute(folder, checkpoint=state, changed=changed, **options)
        for path in kept:
            (tmp_path / path.name).rename(path)
        again = compute(folder, checkpoint=state, changed=changed, **options)
        assert again.runs[0]["checkpoint"]["images_reused"] == len(images) - 4
        assert again.totals == whole.totals


def test_rows_of_any_length_come_back(tmp_path: Path) -> None:
    rows = built(family(5, 3), ("moments", "histogram", "covariance"))
    form, blobs = rows.pack_each()
    again = Rows.unpack(form, rows.keys, rows.groups, blobs)
    assert list(again.columns) != []
    for name, column in rows.columns.items():
        assert again.columns[name].dtype == column.dtype
        np.testing.assert_array_equal(again.columns[name], column)
    for wrong in (blobs[0][:-1], blobs[0] + b"\0", blobs[0][:20], b""):
        with pytest.raises(DataError, match="stored rows are damaged"):
            Rows.unpack(form, rows.keys, rows.groups, [wrong, *blobs[1:]])
    plain = built(family(5, 3), ("moments",))
    form, data = plain.pack()
    assert plain.pack_each() == (
        form,
        [data[i : i + len(data) // len(plain)] for i in range(0, len(data), len(data) // len(plain))],
    )


def test_groups_hold_bytes_and_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped, "_BYTES_AT_HAND", 2000)
    images = family(6, 2) * 3
    stats = compute(images, group_by=lambda key: str(int(key) % 5))
    assert stats.grouped is not None
    assert stats.grouped.whole() == stats.totals
    check(stats.groups["3"], list(pooled(images[3::5]).T))
    assert gpustats.merge(stats.groups.values()).totals == stats.totals
    assert Stats.from_dict(json.loads(stats.to_json())).groups["3"] == stats.groups["3"]
    assert "group by" in stats.to_text()


def test_small_groups_are_few_bytes() -> None:
    """Dense bins would be 256 KB each."""
    held = Grouped(NAMES)
    rng = np.random.default_rng(0)
    for start in range(0, 1200, 400):
        rows = built([rng.integers(0, TOP + 1, (2, 2, 1), dtype=np.uint16) for _ in range(400)], NAMES, first=start)
        rows.groups[:] = [f"g{start + i}" for i in range(400)]  # type: ignore[index]
        held.fold(rows)
    assert len(held) == 1200
    assert sum(map(len, held._packed.values())) < 500 * len(held._packed)
    assert sum(grouped._ragged_bytes(one) for one in held._at_hand.values()) < 30 * len(held._at_hand)


def test_large_groups_are_packed_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped, "_BYTES_AT_HAND", 150_000)
    held, whole = Grouped(NAMES), Totals(NAMES)
    rng = np.random.default_rng(0)
    for i in range(12):
        rows = built([rng.integers(0, TOP + 1, (400, 400, 1), dtype=np.uint16)], NAMES, first=i)
        rows.groups[:] = [f"g{i % 6}"]  # type: ignore[index]
        held.fold(rows)
        whole.fold(rows)
        assert sum(grouped._ragged_bytes(one) for one in held._at_hand.values()) <= 300_000
    assert held.whole() == whole


def test_rows_are_folded_before_they_are_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "_TOGETHER", 1000)
    whole = Totals(NAMES)
    buffer = RowBuffer(whole)
    rows = built(family(1, 3), NAMES)
    assert rows.ragged_bytes > 1000
    buffer.add(rows)
    assert len(buffer) == 0
    assert whole.images == len(rows)
    buffer.add(built(family(1, 3)[:1], NAMES, first=99))
    assert len(buffer) == 1


def test_the_table_of_images_and_the_odd_ones(tmp_path: Path) -> None:
    images = family(7, 2)
    stats = compute(images, per_image=True)
    table = stats.image_table.to_pydict()
    for place, key in enumerate(table["key"]):
        pixels = images[int(key)]
        for c in range(2):
            x = pixels[..., c].ravel()
            entropy = scipy.stats.entropy(np.bincount(x), base=2)
            assert table[f"entropy_{c}"][place] == pytest.approx(entropy, rel=1e-12, abs=1e-12)
            assert table[f"clipped_share_low_{c}"][place] == (x == 0).mean()
            assert table[f"clipped_share_high_{c}"][place] == (x == TOP).mean()
    odd = stats.outliers(1)
    assert (images[int(odd["most_black"][0].key)] == 0).all()
    assert odd["most_white"][0].value == 1
    assert odd["lowest_entropy"][0].value == 0


def test_an_accumulator_gives_the_same() -> None:
    images = family(8, 3)
    total = gpustats.Accumulator(layout="HWC", statistics=["histogram"])
    for image in images:
        total.update(image)
    assert total.result().totals.parts == compute(images).totals.parts


def test_results_are_compared() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(low, high, (9, 8, 8, 3), dtype=np.uint16) for low, high in ((0, 40000), (20000, TOP)))
    found = compute(list(a)).compare(compute(list(b)))
    x, y = (np.sort(v[..., 0].ravel()) / TOP for v in (a, b))
    assert found.wasserstein is not None
    assert found.jensen_shannon is not None
    assert found.wasserstein[0] == pytest.approx(np.abs(x - y).mean(), rel=1e-9)
    assert 0 < found.jensen_shannon[0] <= 1
    eight = compute((a >> 8).astype(np.uint8))
    half = [compute(list(v // 2), value_range=TOP // 2) for v in (a, b)]
    scaled = half[0].compare(half[1])
    assert scaled.wasserstein is not None
    np.testing.assert_allclose(scaled.wasserstein, found.wasserstein, rtol=1e-3)
    mixed = eight.compare(compute(list(b)))
    assert mixed.wasserstein is mixed.jensen_shannon is None
    assert "the bins of" in " ".join(mixed.notes)


def test_shown_as_text_html_and_on_the_command_line(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[[0], [13107], [TOP]]], np.uint16))
    done = invoke(
        "compute", tmp_path / "a.npy", "--layout", "HWC", "--statistics", "histogram", "--json", tmp_path / "j"
    )
    assert done.code == 0
    row = next(line for line in done.out.splitlines() if line.startswith("  median"))
    assert float(row.split()[1]) == 0.2
    assert json.loads((tmp_path / "j").read_text())["totals"]["histogram"] == {
        "values": [[0, 13107, TOP]],
        "counts": [[1, 1, 1]],
    }
    assert ">median</th>" in Stats.load(tmp_path / "j")._repr_html_()


def test_a_range_is_refused_for_values_that_are_counted(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.uint16):
        with pytest.raises(DataError, match=r"histogram_range and bins are for float images; these have 1 channel of"):
            compute(np.zeros((2, 3, 3, 1), dtype), layout="NHWC", histogram_range=(0, 1))
        total = gpustats.Accumulator(statistics=["histogram"], histogram_range=(0, 1), layout="NHWC")
        with pytest.raises(DataError, match="are for float images"):
            total.update(np.zeros((2, 3, 3, 1), dtype))
    with pytest.raises(OptionError):
        compute(np.zeros((2, 3, 3, 1), np.uint8), layout="NHWC", bins=5)


def test_arrays_on_the_device_are_refused_by_name() -> None:
    image = on_device(np.zeros((4, 4, 3), np.uint16))
    with pytest.raises(DeviceError, match="no CUDA kernel for the statistic 'histogram'"):
        device_arrays.measure([("a", "", image)], NAMES)
