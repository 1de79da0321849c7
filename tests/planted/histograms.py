"""Faults of the histograms of 16-bit and float images: how they are counted, held in bytes, saved and shown."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_DEEP = "tests/test_deep_histogram.py::test_"
_FLOAT = "tests/test_float_histogram.py::test_"
_SPARSE_FILE = "gpustats/statistics/sparse.py"
_DEEP_FILE = "gpustats/statistics/deep_histogram.py"
_FLOAT_FILE = "gpustats/statistics/float_histogram.py"
_BINNING = "gpustats/statistics/binning.py"
_BYTES = _DEEP + "counts_come_back_from_their_bytes"
_LISTS = _DEEP + "what_no_counts_can_be_is_refused"
_SIGNED = _DEEP + "signed_integers"
_EDGES = _FLOAT + "values_on_and_beside_every_edge"
_OPTIONS = _FLOAT + "wrong_options_are_an_error_before_the_first_image"
_NUMBERS = _FLOAT + "every_number_against_numpy_and_scipy"
_SAVED = _FLOAT + "saved_loaded_and_damaged"


FAULTS = [
    Fault(_SPARSE_FILE, "while skipped > 127:", "while skipped > 128:", _BYTES),
    Fault(_SPARSE_FILE, "while number > np.uint64(127):", "while number > np.uint64(255):", _BYTES),
    Fault(_SPARSE_FILE, "            skips = False\n        elif", "        elif", _BYTES),
    Fault(_SPARSE_FILE, "at == data.size or shift > 56", "at == data.size", _DEEP + "damaged_bytes_are_refused"),
    Fault(_SPARSE_FILE, "if number == 0 or number >=", "if number >=", _DEEP + "damaged_bytes_are_refused"),
    Fault(_SPARSE_FILE, "_DAMAGED if skips else value", "value", _DEEP + "damaged_bytes_are_refused"),
    Fault(_SPARSE_FILE, "if shift and byte == 0:", "if False:", _DEEP + "damaged_bytes_are_refused"),
    Fault(
        _SPARSE_FILE,
        "if bins[value] > np.uint64(MOST):",
        "if False:",
        _DEEP + "too_many_are_no_wrong_number",
    ),
    Fault(_SPARSE_FILE, "end = max(end, last)", "end = last", _DEEP + "sums_have_the_same_bytes_in_any_order"),
    Fault(_DEEP_FILE, "range(low, high + 1)", "range(low, high)", _DEEP + "small_images_between_any_two_values"),
    Fault(
        _DEEP_FILE,
        "counts[low : high + 1], low)",
        "counts[low : high + 1])",
        _DEEP + "small_images_between_any_two_values",
    ),
    Fault(
        _DEEP_FILE,
        "counts[low : high + 1], low)",
        "counts[low:high], low)",
        _DEEP + "small_images_between_any_two_values",
    ),
    Fault(
        _DEEP_FILE,
        "min(low, value), max(high, value)",
        "min(low, value), value",
        _DEEP + "small_images_between_any_two_values",
    ),
    Fault(_DEEP_FILE, "row, first + channel] = packed", "row, channel] = packed", _DEEP + "every_layout_in_memory"),
    Fault(_DEEP_FILE, "if not last < whole(place", "if not last <= whole(place", _LISTS),
    Fault(_DEEP_FILE, '"values") <= high', '"values") <= high + 1', _LISTS),
    Fault(_DEEP_FILE, "or not 0 < natural(number", "or not 0 <= natural(number", _LISTS),
    Fault(_DEEP_FILE, '"counts") <= MOST', '"counts") <= 2 * MOST', _LISTS),
    Fault(
        _DEEP_FILE,
        "        counted_by_value(self.kind, self.binning)\n",
        "",
        _DEEP + "a_range_is_refused_for_values_that_are_counted",
    ),
    Fault(
        "gpustats/statistics/histogram.py",
        "        counted_by_value(self.kind, self.binning)\n",
        "",
        _DEEP + "a_range_is_refused_for_values_that_are_counted",
    ),
    Fault(
        "gpustats/statistics/histogram.py",
        "not values or (values[0], values[-1]) == ends",
        "True",
        _DEEP + "extremes_that_do_not_occur_are_refused",
    ),
    Fault("gpustats/statistics/histogram.py", "in_json=short", "in_json=True", _DEEP + "few_values_are_few_bytes"),
    Fault(_DEEP_FILE, "[value - self.kind.offset for value in values]", "values", _SIGNED),
    Fault(_DEEP_FILE, "np.array(places, np.int64) - low]", "places]", _SIGNED),
    Fault(_DEEP_FILE, "np.array(values, np.int64) - low]", "values]", _SIGNED),
    Fault(
        "gpustats/statistics/base.py",
        "min(high, int(self.max_value)) if self.max_value else high",
        "high",
        _DEEP + "pixels_are_clipped_at_the_value_that_is_shown_as_1",
    ),
    Fault(
        "gpustats/statistics/histogram.py",
        "shares[:, :, self.kind.ends[1]]",
        "shares[:, :, -1]",
        _DEEP + "pixels_are_clipped_at_the_value_that_is_shown_as_1",
    ),
    Fault(
        "gpustats/result/distances.py",
        "np.arange(low, high + 1) / (kind.max_value or 1)",
        "np.arange(low, high + 1) / (high - low)",
        _DEEP + "results_are_compared",
    ),
    Fault(
        "gpustats/statistics/rows.py",
        "if ends[-1] != len(blob):",
        "if False:",
        _DEEP + "rows_of_any_length_come_back",
    ),
    Fault(
        "gpustats/statistics/totals.py",
        " or self._bytes >= _TOGETHER",
        "",
        _DEEP + "rows_are_folded_before_they_are_many_bytes",
    ),
    Fault(
        "gpustats/statistics/totals.py",
        "self._parts, self._count, self._bytes = self._parts, [], 0, 0",
        "self._parts, self._count = self._parts, [], 0",
        _DEEP + "rows_are_folded_before_they_are_many_bytes",
    ),
    Fault(
        "gpustats/statistics/grouped.py",
        " or self._held >= _BYTES_AT_HAND",
        "",
        _DEEP + "large_groups_are_packed_early",
    ),
    Fault(
        "gpustats/statistics/grouped.py",
        "        self._held += _ragged_bytes(more)\n",
        "",
        _DEEP + "large_groups_are_packed_early",
    ),
    Fault(_FLOAT_FILE, "elif x > high:", "elif x >= high:", _EDGES),
    Fault(_FLOAT_FILE, "if x < low:", "if x <= low:", _EDGES),
    Fault(_FLOAT_FILE, "exact - place < near or place + 1 - exact < near", "exact - place < near", _EDGES),
    Fault(_FLOAT_FILE, "exact - place < near or place + 1 - exact < near", "place + 1 - exact < near", _EDGES),
    Fault(_FLOAT_FILE, "near = 2e-15 *", "near = 0 *", _EDGES),
    Fault(_FLOAT_FILE, "if first != second:", "if False:", _FLOAT + "other_bins_are_not_pooled"),
    Fault(_FLOAT_FILE, "binning.bins / 2,", "binning.bins / 4,", _NUMBERS),
    Fault(_FLOAT_FILE, "middle = [math.nan, *", "middle = [binning.low, *", _NUMBERS),
    Fault(_FLOAT_FILE, 'for bins in v["inside"]]', 'for bins in v["bins"]]', _NUMBERS),
    Fault(_FLOAT_FILE, 'view["n"] == moments["n"]', "True", _SAVED),
    Fault(
        _FLOAT_FILE,
        'and [count > 0 for count in view["below"]] == [least < low for least in moments["min"]]\n',
        "\n",
        _SAVED,
    ),
    Fault(_BINNING, "1 <= self.bins <= _MOST", "0 <= self.bins <= _MOST", _OPTIONS),
    Fault(_BINNING, "1 <= self.bins <= _MOST", "1 <= self.bins", _OPTIONS),
    Fault(_BINNING, "or not self.low < self.high", "or not self.low <= self.high", _OPTIONS),
    Fault(_BINNING, "and (np.diff(self.edges) > 0).all()", "", _OPTIONS),
    Fault(_BINNING, 'if "histogram" not in statistics:', "if False:", _OPTIONS),
    Fault(_BINNING, "        if bins is not None:\n", "        if False:\n", _OPTIONS),
    Fault(
        "gpustats/engines/cpu.py",
        " or self._binning or",
        " or",
        _FLOAT + "arrays_on_the_device",
    ),
    Fault(
        "gpustats/engines/device.py",
        "    if definition.histogram_range:\n",
        "    if False:\n",
        _FLOAT + "a_gpu_is_not_used_for_a_range",
    ),
    Fault(
        "gpustats/result/distances.py",
        "if not np.array_equal(first, second):",
        "if first.shape != second.shape:",
        _FLOAT + "results_are_compared_where_their_bins_are_the_same",
    ),
    Fault(
        "gpustats/result/distances.py",
        "    if outside:\n",
        "    if False:\n",
        _FLOAT + "results_are_compared_where_their_bins_are_the_same",
    ),
]
