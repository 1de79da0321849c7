"""Planted faults: integers of every type, what 1.0 is, and the formats behind extras."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_INTEGERS = "tests/test_integers.py::"
_RANGE = "tests/test_value_range.py::"
_EXTRAS = "tests/decode/test_extras.py::"
_MODES = "tests/decode/test_modes.py::"
_PAGES = "tests/sources/test_pages.py::"
_DEPTH = "gpustats/decode/depth.py"
_MATRIX = "tests/decode/test_matrix.py::"
_PYTHON = _INTEGERS + "test_every_integer_is_that_of_python"


def _builder(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/statistics/builder.py", old, new, test)


def _moments(old: str, new: str, test: str = _PYTHON) -> Fault:
    return Fault("gpustats/statistics/moments.py", old, new, test)


def _wide(old: str, new: str, test: str = _PYTHON) -> Fault:
    return Fault("gpustats/statistics/wide_moments.py", old, new, test)


def _deep(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/decode/deep.py", old, new, test)


def _extras(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/decode/extras.py", old, new, _EXTRAS + test)


def _avif(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/decode/avif.py", old, new, f"tests/decode/test_avif.py::{test}")


def _jpegxl(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/decode/jpegxl.py", old, new, _EXTRAS + test)


def _pages(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/sources/pages.py", old, new, _PAGES + test)


def _kind(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/statistics/base.py", old, new, test)


FAULTS = [
    _builder("^ np.array(kind.offset, unsigned)", "", _PYTHON),
    _builder(
        "low < limits.min or high > limits.max",
        "low < limits.min",
        _INTEGERS + "test_64_bits_are_measured_where_the_values_fit_into_32",
    ),
    _builder("            and not value_range\n", "", _RANGE + "test_what_the_file_says"),
    _builder(
        "self._value_range or value_range or None",
        "value_range or self._value_range or None",
        _RANGE + "test_what_the_file_says",
    ),
    _builder("kind.limits[1] + 1:", "kind.limits[1]:", _RANGE + "test_values_above_it_fail"),
    _builder(
        'if kind == Kind(kind.channels, "uint8") and',
        'if kind.dtype == "uint8" and',
        _RANGE + "test_values_above_it_fail",
    ),
    _moments("- 2 * b * one", "- b * one"),
    _moments('one["sum"] -= b * n', 'one["sum"] -= b'),
    _moments("- 2 * fixed * one", "- fixed * one"),
    _moments('one["image_mean"] -= fixed * images', 'one["image_mean"] -= fixed'),
    _moments('one["min"] -= b', 'one["min"] -= 0'),
    _moments('shifted(one["products"], b)', 'one["products"]'),
    _moments("total / count - self.kind.offset", "total / count", _INTEGERS + "test_the_table_of_images"),
    _moments("astype(np.int64) - self.kind.offset", "astype(np.int64)", _INTEGERS + "test_the_table_of_images"),
    _moments("most <= kind.value_range", "most < kind.value_range", _RANGE + "test_what_the_file_says"),
    _moments(
        "largest.max().item() - offset",
        "largest.max().item()",
        _RANGE + "test_numbers_are_those_of_the_values_divided_by_it",
    ),
    _wide("total * _UNIT, n", "total, n"),
    _wide("upper += lower >> half", "upper += np.uint64(0)"),
    _wide("squares_high[row, column] = upper >> half", "squares_high[row, column] = 0"),
    _wide("n * (n - 1)", "n * n"),
    _wide("self.merge, rows[start:stop]", "self.merge, rows[start : start + 1]"),
    Fault(
        "gpustats/statistics/covariance.py",
        "- b * (total[i] + total[j])",
        "- b * total[i]",
        _INTEGERS + "test_covariance_of_signed_integers",
    ),
    _kind(
        "None if number == _USUAL.get(self.dtype) else number", "number", _RANGE + "test_the_usual_range_may_be_said"
    ),
    _kind(
        "if self.value_range is None else (self.value_range,)",
        "",
        _RANGE + "test_groups_checkpoints_and_processes_keep_it",
    ),
    _kind(
        "return whole if self.kind.offset else natural",
        "return natural",
        _INTEGERS + "test_any_parts_in_any_order_are_the_whole",
    ),
    _kind("if name in self.counts:", "if False:", _INTEGERS + "test_a_damaged_result_of_signed_integers_is_refused"),
    _deep("if self.colours not in (1, wanted):", "if False:", _RANGE + "test_as_grey"),
    _deep("len(components) - 1 | 1", "len(components)", _MATRIX + "test_as_rgb_where_the_user_says_what_1_is"),
    _deep("depth < 8 * dtype.itemsize", "depth > 8 * dtype.itemsize", _MODES + "test_tiff_of_odd_depths"),
    _deep("if abs(depth) > _MOST_BITS:", "if False:", _MODES + "test_jpeg_2000_of_every_depth"),
    Fault(
        "gpustats/decode/decoder.py",
        "        self.value_range = 0\n        self.whole = None\n        if",
        "        self.whole = None\n        if",
        _MODES + "test_tiff_of_odd_depths",
    ),
    Fault(
        "gpustats/decode/modes.py",
        "if channels == 2 else _OPAQUE",
        "if channels > 2 else _OPAQUE",
        _MODES + "test_rgba",
    ),
    Fault(
        "gpustats/decode/decoder.py",
        '(self._mode == "RGBA" and kind.name == "PNG" and b"tRNS" in data)',
        "False",
        _MODES + "test_rgba",
    ),
    Fault(
        "gpustats/decode/decoder.py",
        '            if self._mode != "RGBA":\n                image.info',
        "            if True:\n                image.info",
        _MODES + "test_rgba",
    ),
    _extras("data[start + 21] & 7, data[start + 22] & 7", "data[start + 21] & 0, 0", "test_heic_of_more_than_8_bits"),
    _extras("hdr_to_16bit=False", "hdr_to_16bit=True", "test_heic_of_more_than_8_bits"),
    _extras("if _DEFLATED in data[:_META]:", "if False:", "test_what_a_dicom_is_refused_for"),
    _extras("if any(size != (height, width) for size in sizes):", "if False:", "test_compressed_dicom"),
    _extras('found[-1].get("RescaleSlope", 1)', "1", "test_slope_and_intercept_are_applied"),
    _extras("index=0", "index=-1", "test_dicom_as_it_is_stored"),
    _extras("if colours != samples:", "if False:", "test_what_a_dicom_is_refused_for"),
    _jpegxl("(4, 3), (3, 2)", "(3, 2), (4, 3)", "test_jpeg_xl"),
    _jpegxl("8 * (1 + bits.take(5))", "8 * bits.take(5)", "test_jpeg_xl"),
    _jpegxl("position += head + (4 if", "position += head + (0 if", "test_jpeg_xl_in_parts"),
    _jpegxl("header.floats or header.bits != 8", "header.floats", "test_what_a_jpeg_xl_is_refused_for"),
    _pages("number <= self._image.tell()", "number < 0", "test_frames_in_any_order"),
    _pages("self._passed[passed] = self", "self._passed[number] = self", "test_frames_in_any_order"),
    _pages(
        "if len(pages) < 2 and failure is None:",
        "if not pages and failure is None:",
        "test_files_of_one_page_keep_their_keys",
    ),
    _pages("yield Within(item)", "yield Within(None)", "test_checkpoints_and_samples"),
    _pages("looks_cut_off(kind, data)", "False", "test_files_that_end_early"),
    _pages("_image.seek(number)", "_image.seek(0)", "test_every_frame_of_an_animation"),
    _pages('place, form = (8, "Q") if big', 'place, form = (4, "Q") if big', "test_every_page_of_a_tiff"),
    Fault(
        "gpustats/decode/depth.py", "_NO_PAGE = 1 | 4", "_NO_PAGE = 1", _PAGES + "test_overviews_and_masks_are_no_pages"
    ),
    Fault(_DEPTH, "if start in seen:", "if False:", _PAGES + "test_files_that_end_early"),
    _avif("12 if flags & _TWELVE else 10", "12", "test_values_are_those_that_were_written"),
    _avif("1 if flags & _GREY else 3", "3", "test_values_are_those_that_were_written"),
    _avif("colours + alpha", "colours", "test_values_are_those_that_were_written"),
    _avif("if frames != 1:", "if False:", "test_what_is_refused"),
    _avif('if b"prem" in data[:_BOXES]:', "if False:", "test_what_is_refused"),
    _avif("value_range=said", "value_range=0", "test_a_run"),
    Fault(
        "gpustats/decode/formats.py",
        "            deep=deep_avif,\n",
        "",
        "tests/decode/test_avif.py::test_a_run",
    ),
    Fault(
        "gpustats/decode/formats.py",
        "_STRONG, _ALL = _signatures(weak=False), _signatures(weak=True)",
        "_STRONG = _ALL = _signatures(weak=True)",
        _EXTRAS + "test_qoi_and_tga",
    ),
    Fault(
        "gpustats/decode/depth.py",
        '(?!\\w)")',
        '")',
        "tests/decode/test_depth.py::test_pnm_headers",
    ),
]
