"""Faults of what is measured of whole images and their files: sharpness, sizes, duplicates, and what bins tell."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_SHARPNESS = "gpustats/statistics/sharpness.py"
_SIZES = "gpustats/statistics/sizes.py"
_COUNTED = "gpustats/statistics/counted.py"
_DUPLICATES = "gpustats/statistics/duplicates.py"
_RESULT = "gpustats/result/sizes.py"
_TABLE = "gpustats/result/image_table.py"
_OF_SHARPNESS = "tests/test_sharpness.py::test_"
_OF_SIZES = "tests/test_sizes.py::test_"
_OF_DUPLICATES = "tests/test_duplicates.py::test_"

FAULTS = [
    Fault(
        _COUNTED,
        "half = (np.uint64(1) << shift) >> np.uint64(1)",
        "half = np.uint64(0)",
        _OF_SIZES + "values_are_rounded_to_digits",
    ),
    Fault(
        _COUNTED,
        "    if len(together) == len(a[0]):",
        "    if len(together) == len(b[0]):",
        _OF_SIZES + "counts_add_up_in_any_order",
    ),
    Fault(
        _COUNTED,
        " | (segments[1:] != segments[:-1])",
        "",
        _OF_SIZES + "counts_of_segments",
    ),
    Fault(_COUNTED, "or 0 in counts ", "", _OF_SIZES + "damaged_counts"),
    Fault(_COUNTED, "any(a >= b for", "any(a > b for", _OF_SIZES + "damaged_counts"),
    Fault(
        _SHARPNESS,
        "_R, _G, _B, _HALF, _SHIFT = 19595, 38470, 7471, 32768, 16",
        "_R, _G, _B, _HALF, _SHIFT = 19595, 38470, 7471, 0, 16",
        _OF_SHARPNESS + "luma_is_that_of_pillow",
    ),
    Fault(
        _SHARPNESS,
        "beside = own[x - 1 if x else min(1, own.size - 1)]",
        "beside = own[x - 1 if x else 0]",
        _OF_SHARPNESS + "sums_against_scipy",
    ),
    Fault(_SHARPNESS, "            if last > 0:\n", "            if last > 1:\n", _OF_SHARPNESS + "sums_against_scipy"),
    Fault(
        _SHARPNESS,
        "above = at - 1 if y > 0 else at + min(1, height - 1)",
        "above = at - 1 if y > 0 else at",
        _OF_SHARPNESS + "sums_against_scipy",
    ),
    Fault(
        _SHARPNESS,
        "below = at + 1 if y < height - 1 else at - min(1, height - 1)",
        "below = at + 1 if y < height - 1 else at",
        _OF_SHARPNESS + "sums_against_scipy",
    ),
    Fault(
        _SHARPNESS,
        "for x in range(2 * width if start else 0):",
        "for x in range(width if start else 0):",
        _OF_SHARPNESS + "sums_against_scipy",
    ),
    Fault(
        _SHARPNESS,
        "total += np.int64(own[max(last - 1, 0)]) - np.int64(own[last])",
        "total += np.int64(own[last]) - np.int64(own[last])",
        _OF_SHARPNESS + "sums_against_scipy",
    ),
    Fault(
        _SHARPNESS,
        "                total += step(down, own)\n",
        "                total += 0\n",
        _OF_SHARPNESS + "sums_against_scipy",
    ),
    Fault(_SHARPNESS, "_TOGETHER = 2048\n", "_TOGETHER = 1 << 20\n", _OF_SHARPNESS + "sums_against_scipy"),
    Fault(
        _SHARPNESS,
        "found = found[np.logical_and.reduce([valid, *_neighbours(valid)])]",
        "found = found[valid]",
        _OF_SHARPNESS + "pixels_that_are_left_out",
    ),
    Fault(
        _SHARPNESS,
        'columns["n"] > 0)[:, None], starts',
        'columns["n"] >= 0)[:, None], starts',
        _OF_SHARPNESS + "pixels_that_are_left_out",
    ),
    Fault(
        _SHARPNESS,
        'total = np.abs(columns["sum"])',
        'total = (0 * columns["sum"])',
        _OF_SHARPNESS + "the_average_of_images_and_the_table",
    ),
    Fault(
        _SHARPNESS,
        'None if color_order in ("RGB", "L") else',
        "None if color_order else",
        _OF_SHARPNESS + "channels_in_another_order_are_refused_before_the_first_image",
    ),
    Fault(_SIZES, "len(data) if form else 0", "len(found.data)", _OF_SIZES + "arrays_have_no_bytes"),
    Fault(_SIZES, "np.minimum(width, height)", "height", _OF_SIZES + "sizes_of_files"),
    Fault(
        _SIZES,
        "files = np.flatnonzero(size)",
        "files = np.arange(len(size))",
        _OF_SIZES + "arrays_have_no_bytes",
    ),
    Fault(_SIZES, "else a[name] or b[name]", "else a[name]", _OF_SIZES + "files_and_arrays_together"),
    Fault(_SIZES, 'total(part["format"]) == files <=', "files <=", _OF_SIZES + "damaged_sizes"),
    Fault(
        _RESULT,
        "if images - enlarged - count < share * images:",
        "if images - enlarged < share * images:",
        _OF_SIZES + "what_to_resize_to",
    ),
    Fault(
        _RESULT,
        "size = size - size % multiple if size >= multiple else size",
        "size = size - size % multiple",
        _OF_SIZES + "what_to_resize_to",
    ),
    Fault(_RESULT, "if value < size)", "if value <= size)", _OF_SIZES + "what_to_resize_to"),
    Fault(
        "gpustats/engines/cpu.py",
        "came = original(data, pixels, decoder.whole, decoder.color_space) if",
        "came = original(data, self._prepared(key, pixels, None) if self._prepares else pixels) if",
        _OF_SIZES + "sizes_of_files",
    ),
    Fault(
        "gpustats/decode/peek.py",
        'return f"{mode};16" if depth == 16 else mode',
        "return mode",
        "tests/decode/test_peek.py::test_stored_modes",
    ),
    Fault(
        _DUPLICATES,
        "(ordered[1:] != ordered[:-1]).any(axis=1)",
        "(ordered[1:] != ordered[:-1]).all(axis=1)",
        _OF_DUPLICATES + "both_halves_of_the_hash_count",
    ),
    Fault(
        _DUPLICATES,
        "order = np.lexsort((hashes[:, 1], hashes[:, 0]))",
        "order = np.argsort(hashes[:, 0])",
        _OF_DUPLICATES + "the_same_in_any_order_and_any_parts",
    ),
    Fault(
        _DUPLICATES,
        "kept[which] = heapq.nsmallest(KEYS_LISTED, kept[which])",
        "kept[which] = kept[which][:KEYS_LISTED]",
        _OF_DUPLICATES + "all_are_counted_and_some_listed",
    ),
    Fault(
        _DUPLICATES,
        'f"{values.dtype.str} {shape}".encode()',
        'f"{values.dtype.str}".encode()',
        _OF_DUPLICATES + "arrays_are_compared_by_type_shape_and_values",
    ),
    Fault(
        _DUPLICATES,
        'values.dtype.newbyteorder("<"), copy=False)',
        "values.dtype, copy=False)",
        _OF_DUPLICATES + "arrays_are_compared_by_type_shape_and_values",
    ),
    Fault(_DUPLICATES, "sets + copies <= images", "True", _OF_DUPLICATES + "damaged_duplicates"),
    Fault(
        "gpustats/result/stats.py",
        "if known and len(known) == len(found) else None",
        "if known else None",
        _OF_DUPLICATES + "results_are_pooled",
    ),
    Fault(
        "gpustats/statistics/sums.py",
        "lowest, highest = min(lowest, value), value",
        "lowest, highest = min(lowest, value), max(highest, count)",
        "tests/test_given.py::test_moments_and_squares_come_from_the_bins",
    ),
    Fault(
        "gpustats/statistics/covariance.py",
        "            place += channels - channel\n",
        "            place += 1\n",
        "tests/test_covariance.py::test_every_shape_against_integers",
    ),
    Fault(
        "gpustats/statistics/covariance.py",
        "yb_squared += 2 * product(r, g) - 4",
        "yb_squared += product(r, g) - 4",
        _OF_SHARPNESS + "the_average_of_images_and_the_table",
    ),
    Fault(
        "gpustats/statistics/covariance.py",
        '(channels.index(name) for name in "RGB")',
        "range(3)",
        _OF_SHARPNESS + "colorfulness_knows_the_order_of_the_channels",
    ),
    Fault(
        "gpustats/result/outliers.py",
        'if name != "bytes"]',
        "]",
        "tests/test_outliers.py::test_other_files_of_the_same_pixels_are_alike",
    ),
    Fault(
        "gpustats/engines/cpu.py",
        " or self._binning or self._of_originals\n",
        " or self._binning\n",
        "tests/gpu/test_statistics.py::test_arrays_on_the_device_are_copied_for_their_hashes",
    ),
    Fault(
        "gpustats/engines/session.py",
        "**self._of_files(batch)",
        "",
        "tests/gpu/test_statistics.py::test_what_is_read_from_files",
    ),
    Fault(
        "gpustats/statistics/sizes.py",
        "files.components == 1",
        "files.components == 3",
        "tests/gpu/test_statistics.py::test_what_is_read_from_files",
    ),
    Fault(
        "gpustats/statistics/builder.py",
        "zip(*found[:done], strict=True)",
        "zip(*found, strict=True)",
        "tests/test_given.py::test_images_that_are_refused_leave_no_row",
    ),
    Fault(
        "gpustats/statistics/builder.py",
        "rows[row:] = [statistic.measure(image)]",
        "rows.append(statistic.measure(image))",
        "tests/test_given.py::test_images_that_are_refused_leave_no_row",
    ),
    Fault(
        "gpustats/statistics/builder.py",
        "        self._derive(row, row + 1)\n",
        "",
        "tests/test_given.py::test_images_that_are_refused_leave_no_row",
    ),
    Fault(
        "gpustats/statistics/builder.py",
        "        self._derive(0, done)\n",
        "        self._derive(0, 1)\n",
        "tests/test_given.py::test_moments_and_squares_come_from_the_bins",
    ),
    Fault(
        "gpustats/decode/decoder.py",
        '        self.color_space = ""\n        self.value_range = 0\n        self.whole = None\n        if',
        "        self.value_range = 0\n        self.whole = None\n        if",
        _OF_SIZES + "sizes_of_files",
    ),
    Fault(
        "gpustats/decode/decoder.py",
        "        self.color_space = color_space\n",
        '        self.color_space = "YCbCr"\n',
        _OF_SIZES + "modes_of_jpegs",
    ),
]
