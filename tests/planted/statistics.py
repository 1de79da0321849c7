"""Faults of the exact core: sums, totals, derived numbers, rows, results, and what is said about them."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_ARITHMETIC = "tests/test_arithmetic.py::test_"
_TOTALS = "tests/test_totals.py::test_"
_NUMBERS = "tests/test_numbers.py::test_"
_HISTOGRAM = "tests/test_histogram.py::test_"
_COVARIANCE = "tests/test_covariance.py::test_"
_ROWS = "tests/test_rows.py::test_"
_STATS = "tests/test_stats.py::test_"
_SAVING = "tests/test_saving.py::test_"
_DISPLAY = "tests/test_display.py::test_"
_RUN = "tests/test_run.py::test_"
_MEMORY = "tests/test_memory.py::test_"
_DISTRIBUTION = "tests/test_distribution.py::test_"
_COUNTING = "tests/test_counting.py::test_"
_GROUPS = "tests/test_groups.py::test_"
_TABLE = "tests/test_image_table.py::test_"
_COLOUR = "tests/test_colour.py::test_"


def _missing(
    old: str, new: str, test: str, file: str = "gpustats/statistics/missing.py", tests: str = "tests/test_missing.py"
) -> Fault:
    return Fault(file, old, new, f"{tests}::{test}")


FAULTS = [
    Fault(
        "gpustats/statistics/exact.py",
        "high_a - high_b - (low_a < low_b).astype(np.uint64)",
        "high_a - high_b",
        _ARITHMETIC + "16_bit_images_of_a_megapixel",
    ),
    Fault(
        "gpustats/statistics/exact.py",
        "(low_a < low_b)",
        "(low_a <= low_b)",
        _ARITHMETIC + "squared_deviation_is_exact_where_float64_can_be",
    ),
    Fault(
        "gpustats/statistics/exact.py",
        "fine = np.rint(",
        "fine = np.floor(",
        _ARITHMETIC + "fixed_point_sums_are_sums_of_rounded_fractions",
    ),
    Fault(
        "gpustats/statistics/moments.py",
        "mean = np.rint(",
        "mean = np.floor(",
        _ARITHMETIC + "every_total_against_the_model",
    ),
    Fault(
        "gpustats/statistics/exact.py",
        "middle2 = a_low * b_high + (middle & _LOW)",
        "middle2 = a_low * b_high + middle",
        _ARITHMETIC + "products_at_every_boundary",
    ),
    Fault(
        "gpustats/statistics/exact.py",
        "return [[(h << 32) + w for",
        "return [[(h << 32) | w for",
        _ARITHMETIC + "column_sums_at_every_boundary",
    ),
    Fault(
        "gpustats/statistics/moments.py",
        "divided(deviation, count * (count - 1.0), several)",
        "divided(deviation, count * count, several)",
        _ARITHMETIC + "every_total_against_the_model",
    ),
    Fault(
        "gpustats/statistics/moments.py",
        "several <= images <= n",
        "several <= images < n",
        _TOTALS + "integers_at_their_limits_are_read",
    ),
    Fault(
        "gpustats/statistics/moments.py",
        "and q <= (lowest + highest) * s",
        "and q <= 1e99 + (lowest + highest) * s",
        _TOTALS + "integers_that_contradict_one_another",
    ),
    Fault(
        "gpustats/statistics/moments.py",
        "several <= images <= n\n            and bool(images) == bool(n)",
        "several <= images <= n",
        _TOTALS + "integers_that_contradict_one_another",
    ),
    Fault(
        "gpustats/statistics/float_moments.py",
        " and bool(images) == bool(n) and low <= high",
        " and bool(images) == bool(n)",
        _TOTALS + "moments_that_contradict_one_another",
    ),
    Fault(
        "gpustats/statistics/sums.py",
        "_STEPS_U8 = 8192",
        "_STEPS_U8 = 8300",
        _ARITHMETIC + "lanes_of_8_bit_squares_do_not_overflow",
    ),
    Fault(
        "gpustats/statistics/sums.py",
        "_STEPS_U16 = 16384",
        "_STEPS_U16 = 16385",
        _ARITHMETIC + "lanes_of_16_bit_values_do_not_overflow",
    ),
    Fault(
        "gpustats/statistics/totals.py",
        'key.encode("utf-8", "surrogateescape")',
        "key.encode()",
        _TOTALS + "an_image_whose_name_is_not_utf8_counts",
    ),
    Fault(
        "gpustats/statistics/totals.py",
        "sum(axis=0, dtype=np.uint64)",
        "sum(axis=0, dtype=np.uint32)",
        _TOTALS + "the_hash_of_the_keys_is_that_of_the_names_on_disk",
    ),
    Fault(
        "gpustats/statistics/totals.py",
        "(self.key_hash + other.key_hash) % _KEY_MODULUS",
        "self.key_hash + other.key_hash",
        _TOTALS + "the_hash_of_the_keys_is_that_of_the_names_on_disk",
    ),
    Fault(
        "gpustats/statistics/base.py",
        "name: copy.deepcopy(value) for",
        "name: value for",
        "tests/test_moments.py::test_what_was_given_out_is_a_copy",
    ),
    Fault(
        "gpustats/statistics/totals.py",
        "all(count <= self.pixels for count in n)",
        "all(count <= self.pixels + 1 for count in n)",
        _TOTALS + "integers_that_contradict_one_another",
    ),
    Fault(
        "gpustats/statistics/moments.py",
        '        "images_unbiased": add,\n',
        '        "images_unbiased": lambda a, b: a,\n',
        _TOTALS + "every_number_of_a_merge_is_that_of_the_whole",
    ),
    Fault(
        "gpustats/statistics/totals.py",
        "(_SMALLEST, min)",
        "(_SMALLEST, max)",
        _TOTALS + "the_range_of_sizes",
    ),
    Fault(
        "gpustats/saved.py",
        "type(value) is int and value >= 0)",
        "isinstance(value, int) and value >= 0)",
        _TOTALS + "every_number_of_another_kind_is_noticed",
    ),
    Fault(
        "gpustats/statistics/float_moments.py",
        "deviation_a + deviation_b + delta * delta * (n_a * share)",
        "deviation_a + deviation_b",
        _TOTALS + "moments_of_rows_and_of_merges_are_exact_where_floats_can_be",
    ),
    Fault(
        "gpustats/statistics/float_moments.py",
        "np.divide(deviations, count - 1.0, out=np.zeros(count.shape), where=several)",
        "deviations / np.maximum(count - 1.0, 1.0) * 0.999",
        _NUMBERS + "images_of_one_pixel_do_not_enter_the_unbiased_average",
    ),
    Fault(
        "gpustats/statistics/float_moments.py",
        "    if not n_b:\n        return mean_a, deviation_a\n",
        "",
        _NUMBERS + "a_channel_without_pixels_has_no_numbers",
    ),
    Fault(
        "gpustats/statistics/moments.py",
        'lambda v: list(map(over, v["image_std_unbiased"], v["images_unbiased"]))',
        'lambda v: list(map(over, v["image_std_unbiased"], v["images"]))',
        _NUMBERS + "images_of_one_pixel_do_not_enter_the_unbiased_average",
    ),
    Fault(
        "gpustats/statistics/moments.py",
        "over(d, n and n - 1)",
        "over(d, n)",
        _NUMBERS + "two_pixels_have_an_unbiased_std",
    ),
    Fault(
        "gpustats/statistics/base.py",
        "exact = unit**self.power",
        "exact = unit",
        _NUMBERS + "integer_images_against_fractions",
    ),
    Fault(
        "gpustats/statistics/base.py",
        "rounded = float(unit) ** (self.power / (1 + self.root))",
        "rounded = float(unit) ** self.power",
        _NUMBERS + "float_images_against_fractions",
    ),
    Fault(
        "gpustats/statistics/moments.py",
        "[x if n else math.nan for",
        "[x for",
        _NUMBERS + "a_channel_without_pixels_has_no_numbers",
    ),
    Fault(
        "gpustats/result/version1.py",
        'if channels and totals["images"]:',
        "if channels:",
        _NUMBERS + "a_result_of_version_1_may_know_the_channels_of_no_images",
    ),
    Fault(
        "gpustats/statistics/base.py",
        "else 1 << 32\n",
        "else 1 << 33\n",
        _ROWS + "the_largest_image_cannot_overflow",
    ),
    Fault(
        "gpustats/statistics/histogram.py",
        "return (1 << 32) - 1",
        "return 1 << 32",
        _ROWS + "the_largest_image_cannot_overflow",
    ),
    Fault(
        "gpustats/statistics/builder.py",
        "height * width > statistic.most_pixels",
        "height * width >= statistic.most_pixels",
        _ROWS + "images_have_a_largest_size",
    ),
    Fault(
        "gpustats/statistics/builder.py",
        "            and pixels.size <= self._most_values\n",
        "",
        _ROWS + "images_have_a_largest_size",
    ),
    Fault(
        "gpustats/statistics/builder.py",
        "            and pixels.flags.c_contiguous\n",
        "",
        _ROWS + "pixels_in_every_layout",
    ),
    Fault(
        "gpustats/statistics/totals.py",
        "self._count >= self._limit or",
        "self._count > self._limit or",
        _ROWS + "a_buffer_folds_when_it_is_full_and_when_it_is_flushed",
    ),
    Fault(
        "gpustats/statistics/totals.py",
        "        for sink in self._sinks:\n",
        "        for sink in self._sinks[:1]:\n",
        _ROWS + "a_buffer_folds_into_every_sink",
    ),
    Fault(
        "gpustats/statistics/rows.py",
        " or any(len(blob) != record.itemsize for blob in fixed)",
        "",
        _ROWS + "damaged_rows_are_refused",
    ),
    Fault(
        "gpustats/statistics/rows.py",
        'array.dtype.newbyteorder("<").str',
        'array.dtype.newbyteorder(">").str',
        _ROWS + "the_bytes_are_little_endian_numbers_in_the_order_of_the_columns",
    ),
    Fault(
        "gpustats/statistics/histogram.py",
        "copies[i % channels, pixels[i]]",
        "copies[0, pixels[i]]",
        _HISTOGRAM + "every_length_of_the_end",
    ),
    Fault(
        "gpustats/statistics/histogram.py",
        "copies[first + 2, (word >> np.uint32(16)) & np.uint32(255)]",
        "copies[first + 2, (word >> np.uint32(8)) & np.uint32(255)]",
        _HISTOGRAM + "every_length_of_the_end",
    ),
    Fault(
        "gpustats/statistics/histogram.py",
        "bins[row, first + channel, value] =",
        "bins[row, channel, value] =",
        _HISTOGRAM + "every_layout_in_memory",
    ),
    Fault(
        "gpustats/statistics/histogram.py",
        "bins[row, first + channel, value] =",
        "bins[row, first + channel, value] +=",
        _HISTOGRAM + "a_row_is_written_over",
    ),
    Fault(
        "gpustats/statistics/histogram.py",
        ".sum(axis=0, dtype=np.uint64)",
        ".sum(axis=0, dtype=np.uint32)",
        _HISTOGRAM + "counts_of_many_rows_do_not_overflow",
    ),
    Fault(
        "gpustats/statistics/histogram.py",
        'if kind.dtype == "uint8" else',
        "if not kind.is_float else",
        "tests/test_deep_histogram.py::test_every_number_against_numpy_and_scipy",
    ),
    Fault(
        "gpustats/statistics/histogram.py",
        'zip(sums, ("n", "sum", "sumsq"), strict=True)',
        'zip(sums, ("n",))',
        _HISTOGRAM + "one_count_more_or_elsewhere_is_refused",
    ),
    Fault(
        "gpustats/statistics/totals.py",
        "^ {*other.statistics} | {*self.left_out}",
        "^ {*other.statistics}",
        _HISTOGRAM + "results_with_and_without_are_pooled_without",
    ),
    Fault(
        "gpustats/statistics/totals.py",
        " | {*other.left_out}",
        "",
        _HISTOGRAM + "results_with_and_without_are_pooled_without",
    ),
    Fault(
        "gpustats/statistics/covariance.py",
        "_AT_ONCE = 1024",
        "_AT_ONCE = 1 << 16",
        _COVARIANCE + "products_of_8_bits_do_not_overflow",
    ),
    Fault(
        "gpustats/statistics/covariance.py",
        "stop = min(start + _AT_ONCE, count)",
        "stop = start + _AT_ONCE",
        _COVARIANCE + "no_value_behind_the_pixels_counts",
    ),
    Fault(
        "gpustats/statistics/covariance.py",
        "product_sum(some[i], some[j])",
        "product_sum(some[0], some[j])",
        _COVARIANCE + "every_length_and_start",
    ),
    Fault(
        "gpustats/statistics/planes.py",
        "            place += channels\n",
        "            place += np.uint64(1)\n",
        _COVARIANCE + "every_length_and_start",
    ),
    Fault(
        "gpustats/statistics/planes.py",
        "    if pixels.itemsize > 1:\n        split_any(pixels, planes)\n",
        "    if pixels.itemsize > 1:\n        split_3(pixels, planes)\n",
        _COVARIANCE + "every_length_and_start",
    ),
    Fault(
        "gpustats/statistics/covariance.py",
        "        products[place] = 0\n",
        "        products[place] = 1\n",
        _COVARIANCE + "every_length_and_start",
    ),
    Fault(
        "gpustats/statistics/covariance.py",
        "spread[i, j] ** 2 <=",
        "spread[i, j] ** 2 <",
        _COVARIANCE + "sums_that_contradict_one_another",
    ),
    Fault(
        "gpustats/statistics/covariance.py",
        "spread[i, i] >= 0 and ",
        "",
        _COVARIANCE + "sums_that_contradict_one_another",
    ),
    Fault(
        "gpustats/statistics/covariance.py",
        '            and part["sum"] == moments["sum"]\n',
        "",
        _COVARIANCE + "sums_that_contradict_the_moments",
    ),
    Fault(
        "gpustats/statistics/covariance.py",
        "            power=2,\n",
        "            power=1,\n",
        _COVARIANCE + "the_matrix_is_the_exact_one_rounded_once",
    ),
    Fault(
        "gpustats/statistics/covariance.py",
        "if wide else None",
        "if False else None",
        _COVARIANCE + "floats_stop_the_run_before_any_counts",
    ),
    Fault(
        "gpustats/result/saving.py",
        "temporary = _new_file(os.path.dirname(target), data())",
        'open(target, "wb").writelines(data())',
        _STATS + "a_write_that_fails_leaves_the_old_file_and_nothing_else",
    ),
    Fault(
        "gpustats/result/saving.py",
        "    finally:\n        if temporary:\n",
        "    finally:\n        if not temporary:\n",
        _STATS + "a_file_that_cannot_be_put_in_place_leaves_the_old_one",
    ),
    Fault(
        "gpustats/result/saving.py",
        "os.chmod(temporary, stat.S_IMODE(status.st_mode))",
        "pass",
        _SAVING + "the_mode_of_a_file_is_kept_and_a_new_one_follows_the_umask",
    ),
    Fault("gpustats/result/saving.py", "_replace(os.path.realpath(", "_replace(str(", _SAVING + "links_are_followed"),
    Fault(
        "gpustats/result/saving.py",
        "os.path.exists(target) and not os.path.isfile(target)",
        "not target",
        _SAVING + "a_named_pipe_stays_one",
    ),
    Fault(
        "gpustats/result/saving.py",
        "                stream.flush()\n",
        "                pass\n",
        _SAVING + "open_descriptors_share_their_position",
    ),
    Fault(
        "gpustats/result/stored.py",
        '"checksum" in data and',
        "False and",
        _SAVING + "integers_that_were_rounded_are_noticed",
    ),
    Fault(
        "gpustats/result/stats.py",
        '_FIELDS - {"runs"}',
        '_FIELDS - {"runs", "scale"}',
        _STATS + "results_are_equal_by_what_they_say",
    ),
    Fault(
        "gpustats/result/text.py",
        "if max(map(len, noted)) <= WIDTH else numbers",
        "",
        _DISPLAY + "any_number_of_channels_fits_into_80_columns",
    ),
    Fault(
        "gpustats/accumulator.py",
        "        totals.merge(self._totals)\n        never",
        "        totals = self._totals\n        never",
        "tests/test_accumulator.py::test_an_update_that_raises_adds_nothing",
    ),
    Fault(
        "gpustats/engines/cpu.py",
        "if self._definition.color_order != RGB:",
        "if not self._definition.color_order:",
        "tests/test_accumulator.py::test_bgr_is_never_called_rgb",
    ),
    Fault(
        "gpustats/run.py",
        "    if decoded and given != RGB:\n",
        "    if decoded and not given:\n",
        "tests/test_accumulator.py::test_what_a_decoder_gave_is_not_renamed",
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
        "gpustats/definition.py",
        "any(type(value) is not type(known[name]) for name, value in data.items())",
        "any(not isinstance(value, type(known[name])) for name, value in data.items())",
        _STATS + "a_damaged_definition_is_refused",
    ),
    Fault(
        "gpustats/result/stored.py",
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
        "if len(failures) > FAILURES_SHOWN:",
        "if len(failures) >= FAILURES_SHOWN:",
        _DISPLAY + "five_failures_are_shown_whole_and_six_are_not",
    ),
    Fault(
        "gpustats/failures.py",
        "seen >= JUDGED_FROM",
        "seen > JUDGED_FROM",
        _RUN + "when_failures_are_too_many",
    ),
    Fault(
        "gpustats/run.py",
        "        self._check_limit(self._read, final=False)\n",
        "",
        _RUN + "a_count_is_judged_on_the_way",
    ),
    Fault(
        "gpustats/run.py",
        "        self._check_limit(read, final=True)\n",
        "",
        _RUN + "a_share_is_judged_at_the_end_whatever_the_number",
    ),
    Fault(
        "gpustats/run.py",
        "            self._read += len(outcome.rows)\n",
        "            self._read = self._tallies[kind].totals.images\n",
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
        "gpustats/statistics/distribution.py",
        "math.ceil(n * q) - 1",
        "math.floor(n * q)",
        _DISTRIBUTION + "every_hundredth_of_every_small_number_of_pixels",
    ),
    Fault(
        "gpustats/statistics/distribution.py",
        "math.ceil(n * q)",
        "math.ceil(n * Fraction(q))",
        _DISTRIBUTION + "every_hundredth_of_every_small_number_of_pixels",
    ),
    Fault(
        "gpustats/statistics/distribution.py",
        "* (place - low)",
        "* (low - place)",
        _DISTRIBUTION + "the_command_line_shows_them",
    ),
    Fault(
        "gpustats/statistics/distribution.py",
        "second * second) - 3 if",
        "second * second) if",
        _DISTRIBUTION + "every_number_against_numpy_and_scipy",
    ),
    Fault(
        "gpustats/statistics/distribution.py",
        "second**3)), third)",
        "second**3)), 1)",
        _DISTRIBUTION + "billions_of_pixels_keep_every_digit",
    ),
    Fault(
        "gpustats/statistics/colour.py",
        "column *= -1",
        "pass",
        _COLOUR + "the_sign_does_not_depend_on_the_solver",
    ),
    Fault(
        "gpustats/statistics/colour.py",
        "values[::-1], 0.0), vectors[:, ::-1]",
        "values[::-1], 0.0), vectors[:, :]",
        _COLOUR + "everything_against_numpy",
    ),
    Fault(
        "gpustats/statistics/colour.py",
        "if len(values) and values[-1]",
        "if not len(values) and values[-1]",
        _COLOUR + "grey_images_cannot_be_whitened_without_eps",
    ),
    Fault(
        "gpustats/result/derived.py",
        'self.number("covariance") / unit**2',
        'self.number("covariance") / unit',
        _COLOUR + "scales",
    ),
    Fault(
        "gpustats/statistics/grouped.py",
        "names[place] != names[place - 1]",
        "place > 1 and names[place] != names[place - 1]",
        _GROUPS + "any_split_and_order_gives_the_same_groups",
    ),
    Fault(
        "gpustats/statistics/grouped.py",
        "self._unpacked(name) if name in self._packed else Totals(self._statistics)",
        "Totals(self._statistics)",
        _GROUPS + "thousands_of_groups_are_kept_small_and_come_back",
    ),
    Fault(
        "gpustats/statistics/grouped.py",
        "                    self._packed[other] = _pack(totals)\n",
        "                    self._packed.setdefault(other, _pack(totals))\n",
        _GROUPS + "thousands_of_groups_are_kept_small_and_come_back",
    ),
    Fault(
        "gpustats/statistics/grouped.py",
        "totals.merge(self._at_hand[name] if name in self._at_hand else self._unpacked(name))\n        return totals",
        "return self._at_hand[name] if name in self._at_hand else self._unpacked(name)",
        _GROUPS + "thousands_of_groups_are_kept_small_and_come_back",
    ),
    Fault(
        "gpustats/statistics/grouped.py",
        "self._merge(name, totals.only(self._statistics))",
        "self._merge(name, totals)",
        _GROUPS + "results_are_pooled_group_by_group",
    ),
    Fault(
        "gpustats/statistics/exact.py",
        "np.add.reduceat(half, starts, axis=0)",
        "np.add.reduceat(half, starts[:1], axis=0)",
        _GROUPS + "any_split_and_order_gives_the_same_groups",
    ),
    Fault(
        "gpustats/result/groups.py",
        " or totals.kind != whole.kind:",
        ":",
        _GROUPS + "damaged_groups_are_refused",
    ),
    Fault(
        "gpustats/result/groups.py",
        '("images", "pixels", "key_hash", "parts")',
        '("images", "pixels", "key_hash")',
        _GROUPS + "damaged_groups_are_refused",
    ),
    Fault(
        "gpustats/sources/grouping.py",
        'if self._by == "folder" and source.takes & _NO_FOLDERS:',
        'if self._by == "folder" and not source.takes:',
        _GROUPS + "what_is_no_group_by",
    ),
    Fault(
        "gpustats/run.py",
        "Outcome(rows, outcome.failures + failures)",
        "Outcome(rows, failures)",
        _GROUPS + "images_that_cannot_be_read_stay_failures_beside_those_of_the_function",
    ),
    _missing(
        "            and type(pixels) is np.ndarray  # not a masked array\n",
        "",
        "test_the_fast_way_is_not_taken_by_masked_arrays",
        "gpustats/statistics/builder.py",
    ),
    _missing(" and not self._nodata:", ":", "test_nodata", "gpustats/statistics/builder.py"),
    _missing(
        "            valid &= np.isfinite(values)",
        "            pass",
        "test_nan_and_infinity_are_left_out",
        "gpustats/statistics/builder.py",
    ),
    _missing("equal if missing is None else missing | equal", "equal", "test_masked_values_and_no_data_together"),
    _missing(
        "    if not valid.any(axis=(0, 1)).all():",
        "    if not valid.any():",
        "test_an_image_without_a_valid_pixel_is_a_failure",
    ),
    _missing(
        "        if not np.array_equal(whole, valid.any(axis=2)):",
        "        if False:",
        "test_a_histogram_of_channels_with_other_pixels_missing",
    ),
    _missing(
        "(values == np.array(wanted, values.dtype)).all(axis=2)",
        "(values == np.array(wanted, values.dtype)).any(axis=2)",
        "test_a_whole_pixel_that_stands_for_no_data",
    ),
    _missing(
        "self._prepares or bool(host_only)",
        "self._transforms",
        "test_what_no_kernel_does_is_done_on_the_host",
        "gpustats/engines/cpu.py",
        "tests/gpu/test_device_arrays.py",
    ),
    Fault(
        "gpustats/result/image_table.py",
        "values * unit**power if power else values",
        "values * unit",
        _TABLE + "every_row_against_numpy",
    ),
    Fault(
        "gpustats/result/image_table.py",
        "if self._kind is not None and self._count",
        "if self._kind is None and self._count",
        _TABLE + "rows_are_written_while_the_run_goes_on",
    ),
    Fault(
        "gpustats/result/image_table.py",
        "self._pending, [], 0\n",
        "self._pending, [], self._count\n",
        _TABLE + "rows_are_written_while_the_run_goes_on",
    ),
    Fault(
        "gpustats/result/image_table.py",
        "        self._flush()\n        return self._writer.table()",
        "        return self._writer.table()",
        _TABLE + "an_arrow_table_in_memory",
    ),
    Fault(
        "gpustats/result/image_table.py",
        'text.encode("utf-8", "backslashreplace").decode()',
        "text",
        _TABLE + "names_that_are_not_utf8_are_escaped",
    ),
    Fault(
        "gpustats/statistics/moments.py",
        '"n": (n, 0),',
        '"n": (n // 2 * 2, 0),',
        _TABLE + "the_sums_of_the_rows_are_the_totals",
    ),
    Fault(
        "gpustats/result/stats.py",
        "        image_table=None,\n",
        "",
        _TABLE + "an_arrow_table_in_memory",
    ),
    Fault(
        "gpustats/statistics/counting.py",
        "if len(seen) else (top, 0)",
        "if len(seen) else (0, top)",
        _COUNTING + "same_row_as_compiled_code",
    ),
    Fault(
        "gpustats/statistics/counting.py",
        "for start in range(channel, pixels.size, step)",
        "for start in range(channel, min(pixels.size, step), step)",
        _COUNTING + "same_row_as_compiled_code",
    ),
    Fault(
        "gpustats/statistics/compiled.py",
        " or self._values > _FEW_VALUES",
        "",
        _COUNTING + "a_large_image_is_never_counted",
    ),
]
