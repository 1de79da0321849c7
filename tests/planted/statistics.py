"""Faults of the exact core: sums, totals, derived numbers, rows, results, and what is said about them."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_ARITHMETIC = "tests/test_arithmetic.py::test_"
_TOTALS = "tests/test_totals.py::test_"
_DERIVE = "tests/test_derive.py::test_"
_ROWS = "tests/test_rows.py::test_"
_STATS = "tests/test_stats.py::test_"
_DISPLAY = "tests/test_display.py::test_"
_RUN = "tests/test_run.py::test_"
_MEMORY = "tests/test_memory.py::test_"

FAULTS = [
    Fault(
        "gpustats/moments.py",
        "high_a - high_b - (low_a < low_b).astype(np.uint64)",
        "high_a - high_b",
        _ARITHMETIC + "16_bit_images_of_a_megapixel",
    ),
    Fault(
        "gpustats/moments.py",
        "(low_a < low_b)",
        "(low_a <= low_b)",
        _ARITHMETIC + "squared_deviation_is_exact_where_float64_can_be",
    ),
    Fault(
        "gpustats/moments.py",
        "fine = np.rint(",
        "fine = np.floor(",
        _ARITHMETIC + "fixed_point_sums_are_sums_of_rounded_fractions",
    ),
    Fault(
        "gpustats/moments.py",
        "mean_fixed = np.rint(mean * float(1 << FRACTION_BITS))",
        "mean_fixed = np.floor(mean * float(1 << FRACTION_BITS))",
        _ARITHMETIC + "every_total_against_the_model",
    ),
    Fault(
        "gpustats/moments.py",
        "middle2 = a_low * b_high + (middle & _LOW)",
        "middle2 = a_low * b_high + middle",
        _ARITHMETIC + "products_at_every_boundary",
    ),
    Fault(
        "gpustats/moments.py",
        "high = (values >> _32).sum(axis=0, dtype=np.uint64)\n    return [(int(h) << 32) + int(w)",
        "high = (values >> _32).sum(axis=0, dtype=np.uint64)\n    return [(int(h) << 32) | int(w)",
        _ARITHMETIC + "column_sums_at_every_boundary",
    ),
    Fault(
        "gpustats/moments.py",
        "(count[several] * (count[several] - 1.0))",
        "(count[several] * count[several])",
        _ARITHMETIC + "every_total_against_the_model",
    ),
    Fault(
        "gpustats/moments.py",
        "self.images <= n",
        "self.images < n",
        _TOTALS + "integers_at_their_limits_are_read",
    ),
    Fault(
        "gpustats/moments.py",
        " and q <= s * top",
        "",
        _TOTALS + "integers_that_contradict_one_another",
    ),
    Fault(
        "gpustats/reduce.py", "_STEPS = 16384", "_STEPS = 16600", _ARITHMETIC + "lanes_of_8_bit_squares_do_not_overflow"
    ),
    Fault(
        "gpustats/reduce.py",
        "_STEPS = 16384",
        "_STEPS = 16385",
        _ARITHMETIC + "lanes_of_16_bit_values_do_not_overflow",
    ),
    Fault(
        "gpustats/totals.py",
        'key.encode("utf-8", "surrogateescape")',
        "key.encode()",
        _TOTALS + "an_image_whose_name_is_not_utf8_counts",
    ),
    Fault(
        "gpustats/totals.py",
        "(self.key_hash + other.key_hash) % _KEY_MODULUS",
        "self.key_hash + other.key_hash",
        _TOTALS + "the_hash_of_the_keys_is_that_of_the_names_on_disk",
    ),
    Fault(
        "gpustats/totals.py",
        "self.images_unbiased += other.images_unbiased",
        "pass",
        _TOTALS + "every_number_of_a_merge_is_that_of_the_whole",
    ),
    Fault(
        "gpustats/totals.py",
        "self.width_min = min(self.width_min, other.width_min)",
        "self.width_min = min(self.width_min, other.height_min)",
        _TOTALS + "the_range_of_sizes",
    ),
    Fault(
        "gpustats/totals.py",
        "isinstance(value, bool) or not isinstance(value, int) or value < 0",
        "not isinstance(value, int) or value < 0",
        _TOTALS + "every_number_of_another_kind_is_noticed",
    ),
    Fault(
        "gpustats/float_moments.py",
        "deviations.append(deviation_a + deviation_b + delta * delta * (a[0] * (b[0] / total)))",
        "deviations.append(deviation_a + deviation_b)",
        _TOTALS + "moments_of_rows_and_of_merges_are_exact_where_floats_can_be",
    ),
    Fault(
        "gpustats/float_moments.py",
        "unbiased = np.sqrt(rows.deviation[several] / (count[several] - 1.0))",
        "unbiased = np.sqrt(rows.deviation / np.maximum(count - 1.0, 1.0))[several] * 0.999",
        _DERIVE + "images_of_one_pixel_do_not_enter_the_unbiased_average",
    ),
    Fault(
        "gpustats/derive.py",
        "values = ratios(t.image_std_unbiased, t.images_unbiased)",
        "values = ratios(t.image_std_unbiased, t.images)",
        _DERIVE + "one_pixel",
    ),
    Fault(
        "gpustats/derive.py",
        "return ratios(t.image_std_unbiased, t.images_unbiased * _UNIT)",
        "return ratios(t.image_std_unbiased, t.images * _UNIT)",
        _DERIVE + "images_of_one_pixel_do_not_enter_the_unbiased_average",
    ),
    Fault(
        "gpustats/derive.py",
        '(t.pixels - (name == "std_unbiased")), power=2))',
        "t.pixels, power=2))",
        _DERIVE + "two_pixels_have_an_unbiased_std",
    ),
    Fault("gpustats/derive.py", "factor = unit**power", "factor = unit", _DERIVE + "integer_images_against_fractions"),
    Fault(
        "gpustats/derive.py",
        "return ratios(getattr(t, name), 1 if t.images else 0)",
        "return ratios(getattr(t, name), 1)",
        _DERIVE + "no_images_give_no_numbers",
    ),
    Fault(
        "gpustats/rows.py",
        "height * width > _U16_PIXELS",
        "height * width >= _U16_PIXELS",
        _ROWS + "16_bit_images_have_a_largest_size",
    ),
    Fault(
        "gpustats/rows.py",
        "pixels.dtype is _UINT8 and pixels.flags.c_contiguous",
        "pixels.dtype is _UINT8",
        _ROWS + "pixels_in_every_layout",
    ),
    Fault(
        "gpustats/rows.py",
        "if self._count >= self._limit:",
        "if self._count > self._limit:",
        _ROWS + "a_buffer_folds_when_it_is_full_and_when_it_is_flushed",
    ),
    Fault(
        "gpustats/rowcodec.py",
        " or any(len(blob) != record.itemsize for blob in blobs)",
        "",
        _ROWS + "damaged_rows_are_refused",
    ),
    Fault(
        "gpustats/rowcodec.py",
        'array.dtype.newbyteorder("<").str',
        'array.dtype.newbyteorder(">").str',
        _ROWS + "the_bytes_are_those_of_earlier_versions",
    ),
    Fault(
        "gpustats/result/stats.py",
        'temporary.write_text(self.to_json() + "\\n", encoding="utf-8")\n            os.replace(temporary, target)',
        'target.write_text(self.to_json() + "\\n", encoding="utf-8")',
        _STATS + "a_write_that_fails_leaves_the_old_file_and_nothing_else",
    ),
    Fault(
        "gpustats/result/stats.py",
        "        finally:\n            temporary.unlink(missing_ok=True)\n",
        "",
        _STATS + "a_file_that_cannot_be_put_in_place_leaves_the_old_one",
    ),
    Fault("gpustats/result/stats.py", "skipped.update(part.skipped)", "pass", _STATS + "every_counter_is_merged"),
    Fault("gpustats/result/stats.py", "runs.extend(part.runs)", "pass", _STATS + "every_counter_is_merged"),
    Fault(
        "gpustats/result/stats.py",
        "complete=all(part.complete for part in parts)",
        "complete=first.complete",
        _STATS + "one_part_that_was_stopped_makes_the_whole_incomplete",
    ),
    Fault(
        "gpustats/result/stats.py",
        "any(type(data[name]) is not type(value) for name, value in expected.items())",
        "any(not isinstance(data[name], type(value)) for name, value in expected.items())",
        _STATS + "a_damaged_definition_is_refused",
    ),
    Fault(
        "gpustats/result/stats.py",
        "if scale <= 0 or not isinstance(complete, bool):",
        "if scale < 0 or not isinstance(complete, bool):",
        _STATS + "a_damaged_result_is_refused",
    ),
    Fault(
        "gpustats/failures.py",
        "self.counts + other.counts",
        "self.counts | other.counts",
        _STATS + "every_counter_is_merged",
    ),
    Fault(
        "gpustats/result/text.py",
        "if len(stats.failures) > _FAILURES_SHOWN:",
        "if len(stats.failures) >= _FAILURES_SHOWN:",
        _DISPLAY + "five_failures_are_shown_whole_and_six_are_not",
    ),
    Fault(
        "gpustats/result/text.py",
        "unit = stats.scaled(1)",
        "unit = stats",
        _DISPLAY + "the_line_to_paste_is_always_on_0_to_1",
    ),
    Fault(
        "gpustats/failures.py",
        "seen >= JUDGED_FROM",
        "seen > JUDGED_FROM",
        _RUN + "when_failures_are_too_many",
    ),
    Fault(
        "gpustats/api.py",
        "        check_limit(buffer.totals.images + len(buffer), final=False)\n",
        "",
        _RUN + "a_count_is_judged_on_the_way",
    ),
    Fault(
        "gpustats/api.py",
        "        check_limit(buffer.totals.images, final=True)\n",
        "",
        _RUN + "a_share_is_judged_at_the_end_whatever_the_number",
    ),
    Fault(
        "gpustats/api.py",
        "check_limit(buffer.totals.images + len(buffer), final=False)",
        "check_limit(buffer.totals.images, final=False)",
        _RUN + "a_share_counts_every_image_seen",
    ),
    Fault(
        "gpustats/failures.py",
        "buffering=1",
        "buffering=-1",
        _RUN + "failures_are_written_as_they_happen_one_ascii_line_each",
    ),
    Fault(
        "gpustats/limits/memory.py",
        "size = size / 100 * usable if",
        "size = size * usable if",
        _MEMORY + "memory_in_words_and_shares",
    ),
    Fault(
        "gpustats/limits/memory.py",
        "if size <= self.share:",
        "if size < self.share:",
        _MEMORY + "what_is_reserved_refused_and_given_back",
    ),
    Fault(
        "gpustats/limits/memory.py",
        "self._free >= size)",
        "self._free > size)",
        _MEMORY + "what_is_reserved_refused_and_given_back",
    ),
]
