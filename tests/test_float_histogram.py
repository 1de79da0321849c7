"""Histograms of float images by range and bins: NumPy's to the last edge, and no number without its error."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

import gpustats
from gpustats import DataError, DeviceError, MergeError, OptionError, Stats
from gpustats.definition import Definition
from gpustats.engines import device_arrays
from gpustats.engines.device import open_engine
from gpustats.statistics.binning import Binning
from gpustats.statistics.builder import RowBuilder
from gpustats.statistics.rows import Rows
from gpustats.statistics.totals import Totals
from tests.command_line import invoke
from tests.gpu.test_device_arrays import on_device

NAMES = ("moments", "histogram")
DTYPES = ["float16", "float32", "float64"]


def compute(images: Any, low: float = -1.0, high: float = 2.0, bins: int | None = 30, **options: Any) -> Stats:
    given = {"layout": "HWC", "statistics": ["histogram"], "progress": False, "device": "cpu"} | options
    return gpustats.compute(images, histogram_range=(low, high), bins=bins, **given)


def family(seed: int, channels: int, dtype: str) -> list[np.ndarray]:
    """Odd sizes; values in the range, on edges, outside, and one value."""
    rng = np.random.default_rng(seed)
    shapes = [(1, 1), (1, 7), (5, 3), (16, 9), (3, 40)]
    images = [rng.normal(size=(*shape, channels)) for shape in shapes]
    images += [rng.choice(np.linspace(-1, 2, 31), (*shape, channels)) for shape in shapes]
    images += [np.full((4, 6, channels), value) for value in (-1.0, 0.25, 2.0, 7.5)]
    return [image.astype(dtype) for image in images]


def built(images: list[np.ndarray], binning: Binning, first: int = 0) -> Rows:
    builder = RowBuilder(len(images), NAMES, binning=binning)
    for i, image in enumerate(images):
        builder.add(f"image{first + i}", "", image)
    return builder.rows()


def check(stats: Stats, channels: list[np.ndarray], low: float, high: float, bins: int) -> None:
    """Compare with NumPy on the values of each channel."""
    q = [0, 0.003, 0.1, 0.5, 0.77, 0.999, 1]
    np.testing.assert_array_equal(stats.histogram_edges, np.histogram_bin_edges([], bins, (low, high)))
    half = (high - low) / bins / 2
    np.testing.assert_allclose(stats.bin_error, half, rtol=1e-15)
    bound = half * (1 + 1e-9)
    for c, x in enumerate(channel.astype(np.float64) for channel in channels):
        counts = np.histogram(x, bins, (low, high))[0]
        np.testing.assert_array_equal(stats.histogram[c], counts)
        assert stats.outside_share.low[c] == (x < low).mean()
        assert stats.outside_share.high[c] == (x > high).mean()
        every = [(x < low).sum(), *counts, (x > high).sum()]
        np.testing.assert_allclose(stats.entropy[c], scipy.stats.entropy(every, base=2), rtol=1e-12, atol=1e-12)
        for method in ("linear", "inverted_cdf"):
            found, true = stats.quantile(q, method=method)[:, c], np.quantile(x, q, method=method)
            known = np.isfinite(found)
            assert (np.abs(found - true)[known] <= bound).all(), method
            ends = np.quantile(x, q, method="lower"), np.quantile(x, q, method="higher")
            assert known[(ends[0] >= low) & (ends[1] <= high)].all()
            assert not known[(true < low) | (true > high)].any()
        if counts.any():
            assert abs(stats.mode[c] - stats.histogram_edges[counts.argmax() : counts.argmax() + 2].mean()) < 1e-12
        else:
            assert math.isnan(stats.mode[c])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_number_against_numpy_and_scipy(dtype: str, channels: int) -> None:
    images = family(channels, channels, dtype)
    pixels = np.concatenate([image.reshape(-1, channels) for image in images])
    for low, high, bins in ((-1.0, 2.0, 30), (-9.0, 9.0, 1), (0.1, 0.3, 7), (-3.0, 8.0, 65536)):
        check(compute(images, low, high, bins), list(pixels.T), low, high, bins)
    assert compute(images, bins=None).histogram.shape == (channels, 256)


def test_ints_and_numpy_numbers_are_a_range_too() -> None:
    images = family(0, 1, "float32")
    expected = compute(images)
    for ends, bins in (((-1, 2), 30), ([np.float32(-1), np.int64(2)], np.int32(30))):
        total = gpustats.Accumulator(layout="HWC", statistics=["histogram"], histogram_range=ends, bins=bins)
        for image in images:
            total.update(image)
        assert total.result().totals["histogram"] == expected.totals["histogram"]


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-1e12, 1e12),
    st.floats(1e-12, 1e12),
    st.sampled_from([1, 2, 3, 7, 10, 100, 1000]),
    st.sampled_from([np.float32, np.float64]),
)
def test_values_on_and_beside_every_edge(low: float, width: float, bins: int, dtype: type) -> None:
    try:
        binning = Binning(low, low + width, bins)
    except ValueError:
        return
    edges = binning.edges
    values = np.concatenate([edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)]).astype(dtype)
    rows = built([values.reshape(1, -1, 1)], binning)
    totals = Totals(NAMES)
    totals.fold(rows)
    wide = values.astype(np.float64)
    expected = np.histogram(wide, bins, (binning.low, binning.high))[0]
    stats = Stats(totals)
    np.testing.assert_array_equal(stats.histogram[0], expected)
    assert stats.outside_share.low[0] == (wide < binning.low).mean()
    assert stats.outside_share.high[0] == (wide > binning.high).mean()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_values_that_do_not_count(dtype: str, channels: int) -> None:
    images = [image for image in family(9, channels, dtype) if image.size > 14 * channels and np.ptp(image)]
    rng = np.random.default_rng(1)
    for image in images:
        image[0, 0, 0] = np.nan
        image[0, 1, -1] = np.inf
        image[0, 2] = -np.inf
        image[1, 1] = -77
    masked = [np.ma.MaskedArray(image, rng.random(image.shape) < 0.3) for image in images]
    valid = [np.concatenate([np.ma.masked_invalid(m)[..., c].compressed() for m in masked]) for c in range(channels)]
    check(compute(masked), valid, -1.0, 2.0, 30)
    pixels = np.concatenate([image.reshape(-1, channels) for image in images]).T
    kept = [p[np.isfinite(p) & (p != -77)] for p in pixels]
    check(compute(images, nodata=-77), kept, -1.0, 2.0, 30)


@settings(max_examples=25, deadline=None)
@given(st.data(), st.integers(0, 2**32), st.integers(1, 4))
def test_any_split_order_and_merge_gives_the_same_bits(data: st.DataObject, seed: int, channels: int) -> None:
    images = family(seed, channels, "float32")
    count = len(images)
    order = data.draw(st.permutations(range(count)))
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=3)))
    binning = Binning(-1.0, 2.0, 30)
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, count], strict=True):
        part = Totals(NAMES)
        for i in order[start:stop]:
            part.fold(built([images[i]], binning, first=i))
        parts.append(part)
    left, right = Totals(NAMES), Totals(NAMES)
    for part in parts:
        left.merge(part)
    for part in reversed(parts):
        right.merge(Totals.from_dict(json.loads(json.dumps(part.to_dict()))))
    assert left["histogram"] == right["histogram"]
    pixels = np.concatenate([image.reshape(-1, channels) for image in images])
    check(Stats(left), list(pixels.T), -1.0, 2.0, 30)


def test_other_bins_are_not_pooled() -> None:
    images = family(1, 3, "float32")
    first = compute(images)
    for other in (compute(images, -1.0, 2.0, 31), compute(images, -1.0, 3.0, 30), compute(images, -2.0, 2.0, 30)):
        with pytest.raises(
            MergeError, match=r"histograms of other bins cannot be pooled: one has 30 bins from -1 to 2"
        ):
            first + other
    before = first.totals.to_dict()
    with pytest.raises(MergeError):
        first.totals.merge(compute(images, bins=9).totals)
    assert first.totals.to_dict() == before, "nothing is half added"
    without = gpustats.compute(images, layout="HWC", progress=False, device="cpu")
    assert (first + without).totals.left_out == ("histogram",)
    assert (first + first).histogram.tolist() == (2 * first.histogram).tolist()


def test_numbers_that_bins_do_not_give_are_not_offered() -> None:
    stats = compute(family(1, 3, "float32"))
    for name in ("skewness", "kurtosis"):
        with pytest.raises(
            AttributeError, match=f"'{name}' is not known of images with 3 channels of floats; .*median"
        ):
            stats.number(name)
    with pytest.raises(AttributeError, match=r"'clipped_share.low' is not known of"):
        _ = stats.clipped_share.low
    deep = gpustats.compute(np.zeros((2, 8, 9, 3), np.uint16), statistics=["histogram"], progress=False, device="cpu")
    with pytest.raises(AttributeError, match="'bin_error' is not known of images with 3 channels of 16 bits"):
        _ = deep.bin_error
    plain = gpustats.compute(family(1, 3, "float32"), layout="HWC", progress=False, device="cpu")
    with pytest.raises(AttributeError, match=r"'bin_error' was not computed: it needs statistics=\['histogram'\]"):
        _ = plain.bin_error
    assert Stats(Totals(NAMES)).histogram_edges.shape == (0,)


def test_scaled_results_have_scaled_edges_and_errors() -> None:
    stats = compute(family(1, 3, "float32"))
    twice = stats.scaled(2)
    np.testing.assert_allclose(twice.histogram_edges, 2 * stats.histogram_edges, rtol=1e-15)
    np.testing.assert_allclose(twice.median, 2 * stats.median, rtol=1e-15)
    np.testing.assert_allclose(twice.bin_error, 2 * stats.bin_error, rtol=1e-15)
    np.testing.assert_array_equal(twice.outside_share.low, stats.outside_share.low)
    assert "histogram: 30 bins from -2 to 4" in twice.to_text()


def test_saved_loaded_and_damaged(tmp_path: Path) -> None:
    stats = compute(family(2, 2, "float64"))
    stats.save(tmp_path / "s.json")
    again = Stats.load(tmp_path / "s.json")
    assert again == stats
    assert again.to_json() == stats.to_json()
    assert (again.definition.histogram_range, again.definition.bins) == ((-1.0, 2.0), 30)
    data = json.loads(json.dumps(stats.totals.to_dict()))
    good = data["histogram"]
    Totals.from_dict(data)
    for name in good:
        with pytest.raises(DataError):
            Totals.from_dict(data | {"histogram": {k: v for k, v in good.items() if k != name}})
    wrong = [
        {"range": [2.0, -1.0]},
        {"range": [-1.0, None]},
        {"range": [-1.0, 2.0, 3.0]},
        {"bins": 0},
        {"bins": 29},
        {"bins": 65537},
        {"bins": 30.0},
        {"below": good["below"][:1]},
        {"below": [good["below"][0] + 1, good["below"][1]]},
        {"above": [-1, 0]},
        {"above": [0, 0]},
        {"places": [good["places"][0][::-1], good["places"][1]]},
        {"places": [[30, *good["places"][0][1:]], good["places"][1]]},
        {"places": None},
        {"counts": [good["counts"][0][:-1], good["counts"][1]]},
        {"counts": [[0, *good["counts"][0][1:]], good["counts"][1]]},
        {"below": [0, good["below"][1]], "counts": [[good["counts"][0][0] + good["below"][0], *good["counts"][0][1:]],
                                                     good["counts"][1]]},
    ]  # fmt: skip
    for change in wrong:
        with pytest.raises(DataError):
            Totals.from_dict(data | {"histogram": good | change})
    with pytest.raises(DataError):
        Totals.from_dict(data | {"histogram": [1]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 4}, "bins divides a range; give histogram_range too"),
        ({"histogram_range": (0, 1), "statistics": ()}, "histogram_range is for the histogram; ask for it with statis"),
        ({"histogram_range": (1, 0)}, "two finite numbers, the lower one first"),
        ({"histogram_range": (1, 1)}, "two finite numbers, the lower one first"),
        ({"histogram_range": (0, math.nan)}, "two finite numbers"),
        ({"histogram_range": (0, math.inf)}, "two finite numbers"),
        ({"histogram_range": (0, 10**400)}, "histogram_range and bins"),
        ({"histogram_range": (-1.7e308, 1.7e308)}, "floats cannot divide"),
        ({"histogram_range": (0.0, 5e-324)}, "floats cannot divide"),
        ({"histogram_range": (1.0, 1.0 + 1e-15), "bins": 50}, "floats cannot divide"),
        ({"histogram_range": (0, 1, 2)}, "histogram_range should be two numbers"),
        ({"histogram_range": 1}, "histogram_range should be two numbers"),
        ({"histogram_range": "01"}, "histogram_range should be two numbers"),
        ({"histogram_range": (False, True)}, "histogram_range should be two numbers"),
        ({"histogram_range": (0, 1), "bins": 0}, "1 to 65,536 bins"),
        ({"histogram_range": (0, 1), "bins": 65537}, "1 to 65,536 bins"),
        ({"histogram_range": (0, 1), "bins": 2.0}, "bins should be an integer"),
        ({"histogram_range": (0, 1), "bins": True}, "bins should be an integer"),
        ({"histogram_range": (0, 1), "bins": "auto"}, "bins should be an integer"),
    ],
)
def test_wrong_options_are_an_error_before_the_first_image(options: dict[str, Any], message: str) -> None:
    class NeverRead:
        def __iter__(self) -> Any:
            raise AssertionError("an image was read")

    given = {"statistics": ["histogram"]} | options
    with pytest.raises(OptionError, match=message):
        gpustats.compute(NeverRead(), progress=False, device="cpu", **given)
    with pytest.raises(OptionError, match=message):
        gpustats.Accumulator(**given)


def test_floats_without_a_range_are_refused() -> None:
    message = "cannot be computed for images with 3 channels of floats without a range: give histogram_range"
    with pytest.raises(DataError, match=message):
        gpustats.compute(np.zeros((2, 8, 9, 3)), statistics=["histogram"], progress=False, device="cpu")
    with pytest.raises(DataError, match=message):
        gpustats.Accumulator(statistics=["histogram"]).update(np.zeros((2, 8, 9, 3)))


def test_isolated_grouped_accumulated_and_in_a_table(tmp_path: Path) -> None:
    images = family(3, 2, "float32")
    whole = compute(images)
    assert compute(images, isolate=True, workers=1).histogram.tolist() == whole.histogram.tolist()
    total = gpustats.Accumulator(layout="HWC", statistics=["histogram"], histogram_range=(-1, 2), bins=30)
    for image in images:
        total.update(image)
    assert total.result().totals["histogram"] == whole.totals["histogram"]
    assert total.result().definition.bins == 30
    again = total.merge(gpustats.Accumulator(statistics=["histogram"])).result()
    assert again.totals["histogram"] == whole.totals["histogram"]
    stats = compute(images, per_image=True, group_by=lambda key: str(int(key) % 3))
    assert stats.grouped is not None
    assert stats.grouped.whole()["histogram"] == whole.totals["histogram"]
    assert stats.groups["1"].histogram.tolist() == compute(images[1::3]).histogram.tolist()
    read = Stats.from_dict(json.loads(stats.to_json()))
    assert read.groups["1"].histogram.tolist() == stats.groups["1"].histogram.tolist()
    table = stats.image_table.to_pydict()
    for place, key in enumerate(table["key"]):
        for c in range(2):
            x = images[int(key)][..., c].astype(np.float64).ravel()
            every = [(x < -1).sum(), *np.histogram(x, 30, (-1, 2))[0], (x > 2).sum()]
            entropy = scipy.stats.entropy(every, base=2)
            assert table[f"entropy_{c}"][place] == pytest.approx(entropy, rel=1e-12, abs=1e-12)
            assert table[f"outside_share_low_{c}"][place] == (x < -1).mean()
            assert table[f"outside_share_high_{c}"][place] == (x > 2).mean()
    assert stats.outliers(1)["lowest_entropy"][0].value == 0


def test_a_checkpoint_belongs_to_its_bins(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    images = [image for image in family(4, 1, "float32") if image.size > 1]
    for i, image in enumerate(images):
        tifffile.imwrite(folder / f"{i}.tif", image[..., 0])
    options: dict[str, Any] = {"layout": "auto", "mode": "native"}
    whole = compute(folder, **options)
    pixels = np.concatenate([image.reshape(-1, 1) for image in images])
    check(whole, list(pixels.T), -1.0, 2.0, 30)
    last = (folder / "3.tif").rename(tmp_path / "3.tif")
    compute(folder, checkpoint=tmp_path / "state", **options)
    last.rename(folder / "3.tif")
    again = compute(folder, checkpoint=tmp_path / "state", **options)
    assert again.runs[0]["checkpoint"]["images_reused"] == len(images) - 1
    assert again.totals["histogram"] == whole.totals["histogram"]
    with pytest.raises(DataError, match="belongs to another run"):
        compute(folder, bins=31, checkpoint=tmp_path / "state", **options)


def test_results_are_compared_where_their_bins_are_the_same() -> None:
    rng = np.random.default_rng(0)
    a, b = (list(rng.uniform(low, high, (9, 8, 8, 3))) for low, high in ((0.0, 0.7), (0.2, 1.0)))
    found = compute(a, 0.0, 1.0, 200).compare(compute(b, 0.0, 1.0, 200))
    x, y = (np.sort(np.stack(v)[..., 0].ravel()) for v in (a, b))
    assert found.wasserstein is not None
    assert abs(found.wasserstein[0] - np.abs(x - y).mean()) <= 1 / 200
    assert "the Wasserstein-1 distance of bins may be off by 0.005" in " ".join(found.notes)
    for other, said in (
        (compute(b, 0.0, 1.0, 100), "the bins of this result are not those of the other"),
        (compute(b, 0.0, 0.9, 200), "the bins of"),
    ):
        none = compute(a, 0.0, 1.0, 200).compare(other)
        assert none.wasserstein is none.jensen_shannon is None
        assert said in " ".join(none.notes)
    outside = compute(a, 0.0, 0.9, 90).compare(compute(b, 0.0, 0.9, 90))
    assert outside.wasserstein is None
    assert "the other has values outside the range of its histogram" in " ".join(outside.notes)


def test_shown_as_text_html_and_on_the_command_line(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[[-3.0], [0.1], [0.9], [1.0], [5.0]]], np.float32))
    options = ("--layout", "HWC", "--statistics", "histogram", "--histogram-range", "-1", "1", "--bins", "4")
    done = invoke("compute", tmp_path / "a.npy", *options, "--json", tmp_path / "j")
    assert done.code == 0
    rows = {line.split()[0]: line.split()[1] for line in done.out.splitlines() if len(line.split()) > 1}
    assert (float(rows["median"]), float(rows["mode"]), float(rows["bin_error"])) == (0.75, 0.75, 0.25)
    assert (float(rows["outside_share.low"]), float(rows["outside_share.high"])) == (0.2, 0.2)
    assert "histogram: 4 bins from -1 to 1" in done.out
    assert max(map(len, done.out.splitlines()[:20])) <= 80
    data = json.loads((tmp_path / "j").read_text())
    assert data["histogram"] == [[0, 0, 1, 2]]
    assert data["histogram_edges"] == [-1.0, -0.5, 0.0, 0.5, 1.0]
    html = Stats.load(tmp_path / "j")._repr_html_()
    assert ">bin_error</th>" in html
    assert "histogram: 4 bins from -1 to 1" in html
    wrong = invoke("compute", tmp_path / "a.npy", "--layout", "HWC", "--histogram-range", "0", "1")
    assert (wrong.code, wrong.out) == (2, "")
    assert "--histogram-range is for the histogram; ask for it with --statistics histogram" in wrong.err


def test_arrays_on_the_device() -> None:
    image = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    for dtype in ("float32", "float64"):
        with pytest.raises(DeviceError, match="no CUDA kernel for the statistic 'histogram'"):
            device_arrays.measure([("a", "", on_device(image.astype(dtype)))], NAMES)
        stats = compute([on_device(image.astype(dtype))])
        assert stats.histogram.tolist() == compute([image]).histogram.tolist(), "counted on the CPU"
    with pytest.raises(DataError, match="are for float images"):
        compute([on_device(np.zeros((4, 4, 3), np.uint8))])


def test_a_gpu_is_not_used_for_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpustats.engines.device.gpu_problem", lambda device_id=0: None)
    definition = Definition(statistics=NAMES, histogram_range=(0.0, 1.0), bins=4)
    with pytest.raises(DeviceError, match="histogram_range is for float images, which are counted on the CPU"):
        open_engine("gpu", definition=definition, workers=1, max_pixels=1000)
    engine = open_engine("auto", definition=definition, workers=1, max_pixels=1000)
    assert "histogram_range" in engine.report()["gpu_not_used"]
