"""Planted faults: from bytes to pixels."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_VERDICTS = "tests/decode/test_verdicts.py"
_HEADERS = "tests/decode/test_headers.py"
_PLAIN = "tests/decode/test_plain.py"
_PLAIN_TIFF = "tests/decode/test_plain_tiff.py"


def _decode(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/decode/decoder.py", old, new, f"{_VERDICTS}::{test}")


def _headers(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/decode/headers.py", old, new, f"{_HEADERS}::{test}")


def _pillow(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/decode/pillow.py", old, new, f"{_VERDICTS}::{test}")


def _modes(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/decode/modes.py", old, new, f"{_VERDICTS}::{test}")


def _formats(old: str, new: str, test: str, file: str = _HEADERS) -> Fault:
    return Fault("gpustats/decode/formats.py", old, new, f"{file}::{test}")


def _plain(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/decode/plain.py", old, new, f"{_PLAIN}::{test}")


def _plain_tiff(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/decode/plain_tiff.py", old, new, f"{_PLAIN_TIFF}::{test}")


def _masks(old: str, new: str, test: str, module: str = "engines/masks") -> Fault:
    return Fault(f"gpustats/{module}.py", old, new, f"tests/test_masks.py::{test}")


def _mode(module: str, old: str, new: str, test: str) -> Fault:
    return Fault(f"gpustats/decode/{module}.py", old, new, f"tests/decode/test_modes.py::{test}")


_TRANSFORM = "tests/decode/test_transform.py"


def _transform(old: str, new: str, test: str) -> Fault:
    return Fault("gpustats/decode/transform.py", old, new, f"{_TRANSFORM}::{test}")


def _fast(old: str, new: str, test: str, module: str = "decode/transform") -> Fault:
    return Fault(f"gpustats/{module}.py", old, new, f"tests/decode/test_fast.py::{test}")


FAULTS = [
    _masks("np.ma.getmaskarray(pixels) | ~counts", "~counts", "test_masks_of_arrays", "decode/transform"),
    _masks("mask.any(axis=2)", "mask[:, :, 2] > 0", "test_a_palette_of_a_mask"),
    _masks("mask.shape[2] not in _WITHOUT_ALPHA", "False", "test_what_is_wrong_with_a_mask"),
    _masks("if len(paths) > 1:", "if False:", "test_what_is_wrong_with_a_mask"),
    _masks("decoder.max_pixels = height * width", "decoder.max_pixels = 1 << 40", "test_what_is_wrong_with_a_mask"),
    _masks("[:, :, 3] > 0", "[:, :, 3] > 1", "test_alpha", "decode/modes"),
    _masks(
        "image.crop((0, top, image.width, min(", "image.crop((0, 0, image.width, min(", "test_alpha", "decode/modes"
    ),
    _masks("and not needs_alpha and", "and", "test_alpha", "decode/decoder"),
    _masks(
        "if alpha_masks or nodata_tag else 0",
        "if False else 0",
        "test_memory_for_a_mask_is_asked_for",
        "decode/decoder",
    ),
    _masks("and values[field.name] == field.default", "", "test_definitions_that_are_not_ours", "definition"),
    _plain_tiff("value >> high_half & 0xFFFF", "value & 0xFFFF", "test_tiff"),
    _plain_tiff("if tag <= last or tag", "if tag < last or tag", "test_directories_that_are_left_to_pillow"),
    _plain_tiff("or left < 0", "", "test_directories_that_are_left_to_pillow"),
    _plain_tiff("tags.value(tag, 1) == 1 for", "tags.value(tag, 1) for", "test_what_is_left_to_pillow"),
    _plain_tiff("is_one(tag, _RATIONAL)", "value(tag) >= 0", "test_what_else_a_file_may_say"),
    _plain_tiff("or high * wide > max(height * width, _LARGE_TILE)", "", "test_what_is_left_to_pillow"),
    _plain_tiff("if _MOST_ROWS < rows < _ALL_ROWS:", "if False:", "test_what_is_left_to_pillow"),
    _plain_tiff("any(tag in tags for tag in others)", "False", "test_what_is_left_to_pillow"),
    _plain_tiff("if any(start + size > end for", "if any(start > end for", "test_what_is_left_to_pillow"),
    _plain_tiff("if sizes[-1] != last * row or", "if", "test_what_is_left_to_pillow"),
    _plain_tiff("!= flat.size:", "> flat.size:", "test_deflate_that_is_left_to_pillow"),
    _plain_tiff("    if predicted:", "    if False:", "test_tiff"),
    _plain_tiff("not set(sampling) <= {1, 2, 4}", "False", "test_jpegs_that_are_left_to_pillow"),
    _plain_tiff(" or jpeg_scans(data, height * width)", "", "test_jpegs_that_are_left_to_pillow"),
    _plain_tiff("not in _SEQUENTIAL", "in ()", "test_jpegs_that_are_left_to_pillow"),
    _plain_tiff(
        "!= (8, *out.shape[:2], components)", "!= (8, *out.shape[:2], sampling)", "test_jpegs_that_are_left_to_pillow"
    ),
    _mode(
        "deep",
        "        _check_deflate(data, pieces)\n",
        "        pass\n",
        "test_a_deep_tiff_whose_compressed_data_are_damaged",
    ),
    _mode("modes", "+ 0x8000) >> 16", ") >> 16", "test_every_colour_as_pillow_greys_it"),
    _mode("modes", "19595, 38470, 7471", "19595, 38469, 7472", "test_every_colour_as_pillow_greys_it"),
    _mode("modes", "pixels.ndim == 3 and pixels.shape[2] != 1", "pixels.ndim != 2", "test_grey_is_for_encoded_images"),
    _mode("modes", '"P": "RGB"', '"P": "L"', "test_images_of_pillow"),
    _mode("deep", "    _check_rows(data, samples)\n", "", "test_a_png_of_16_bits_whose_rows_are_damaged"),
    _mode("deep", "or not stream.eof", "", "test_a_png_of_16_bits_whose_rows_are_damaged"),
    _mode("deep", "if filters.max() > 4:", "if filters.max() > 5:", "test_a_png_of_16_bits_whose_rows_are_damaged"),
    _mode("deep", "pixels = pixels.transpose(1, 2, 0)", "pass", "test_tiff"),
    _mode("deep", "if pixels.max() > maximum:", "if False:", "test_pnm"),
    _mode("deep", "if end > len(data):", "if False:", "test_what_a_tiff_is_refused_for"),
    _mode("deep", "_COLOURS = {1: 1, 2: 3}", "_COLOURS = {0: 1, 1: 1, 2: 3}", "test_what_a_tiff_is_refused_for"),
    _mode(
        "decoder",
        "        if deep.largest_piece > max",
        "        if False and deep.largest_piece > max",
        "test_what_a_tiff_is_refused_for",
    ),
    _mode(
        "decoder",
        'as_stored = color_space == "RGB" or target == "GRAY"',
        'as_stored = color_space == "RGB"',
        "test_lossless_jpeg",
    ),
    Fault(
        "gpustats/definition.py",
        'or data.get("mode", "RGB") not in MODES',
        "",
        "tests/decode/test_modes.py::test_definitions_of_earlier_versions",
    ),
    Fault(
        "gpustats/engines/device.py",
        'if definition.mode != "RGB":',
        "if False:",
        "tests/decode/test_modes.py::test_a_gpu_that_was_asked_for_does_not_decode_in_other_modes",
    ),
    Fault(
        "gpustats/engines/cpu.py",
        "            self._definition.mode,\n            alpha_masks",
        '            "RGB",\n            alpha_masks',
        "tests/decode/test_modes.py::test_a_run",
    ),
    _plain(
        "        if zlib.crc32(view[position + 4 : end]) != _CHECKSUM",
        "        if False and _CHECKSUM",
        "test_chunks_that_pillow_looks_at",
    ),
    _plain("if pixels_end not in (0, start):", "if False:", "test_what_is_left_to_pillow"),
    _plain("others > _MOST_OTHERS or", "", "test_what_is_left_to_pillow"),
    _plain(" and name not in _ANIMATION", "", "test_what_is_left_to_pillow"),
    _plain("return not stream.unconsumed_tail", "return True", "test_chunks_that_pillow_looks_at"),
    _plain("palette or pixels_end or size % 3", "size % 3", "test_what_is_left_to_pillow"),
    _plain("not 0 < colors <= 1 << depth", "not 0 < colors", "test_headers_that_are_left_to_pillow"),
    _plain("    if end > len(data):\n        return None\n", "", "test_webp_that_is_left_to_pillow"),
    _plain("data[position + 8] & _ANIMATED", "False", "test_webp_that_is_left_to_pillow"),
    _plain("if name not in _ONCE or name in found:", "if name not in _ONCE:", "test_webp_that_is_left_to_pillow"),
    Fault(
        "gpustats/decode/decoder.py",
        "    if pixels.dtype != np.uint8 or pixels.shape[:2] != (plain.height, plain.width):\n        return None\n",
        "",
        f"{_PLAIN}::test_pixels_of_another_size_than_the_header_are_left_to_pillow",
    ),
    Fault(
        "gpustats/decode/formats.py",
        'codec="spng_decode"',
        'codec="png_decode"',
        f"{_PLAIN}::test_png",
    ),
    _formats("peak_bytes=16", "peak_bytes=7", "test_a_format_asks_for_its_peak", _VERDICTS),
    _formats(
        "peak_bytes=20,\n            size=webp_size",
        "peak_bytes=8,\n            size=webp_size",
        "test_a_format_asks_for_its_peak",
        _VERDICTS,
    ),
    _formats("            size=webp_size,\n", "", "test_webp_asks_before_its_decoder_allocates", _VERDICTS),
    _formats("peak_bytes_of(data, pixels) if", "peak_bytes if", "test_a_format_asks_for_its_peak", _VERDICTS),
    _decode(
        "        except MemoryError:\n"
        '            raise ImageError("too_large", f"not enough memory to decode this {kind.name}") from None\n',
        "",
        "test_what_pillow_raises",
    ),
    _decode("        except ImageError:\n            raise\n", "", "test_what_pillow_raises"),
    _decode(
        "            self._admit_pixels(kind, data, image.height, image.width)\n",
        "",
        "test_the_limit_of_pixels_holds_for_every_format",
    ),
    _decode(
        "        check_size(height, width, self.max_pixels)\n        by =",
        "        by =",
        "test_the_limit_of_pixels_holds_for_every_format",
    ),
    _decode("if height * width > max_pixels:", "if height * width >= max_pixels:", "test_sizes"),
    _decode("if height <= 0 or width <= 0:", "if height <= 0 and width <= 0:", "test_sizes"),
    _pillow("height > max(max_pixels, 1)", "height >= max(max_pixels, 1)", "test_tiles_larger_than_any_image"),
    _pillow('"truncated" in lower or ', "", "test_the_word_for_an_error"),
    _pillow("isinstance(error, EOFError) or ", "", "test_the_word_for_an_error"),
    _pillow('    if "too large" in lower:', '    if "too large!" in lower:', "test_the_word_for_an_error"),
    _pillow('or "cannot handle" in lower', "", "test_the_word_for_an_error"),
    _modes(
        "        bottom = min(top + step, image.height)\n",
        "        bottom = min(top + step, image.height - 1)\n",
        "test_strips_are_the_whole",
    ),
    _modes(
        "len(target)), np.uint8)\n    step = max(_STRIP_PIXELS // image.width, 1)",
        "len(target)), np.uint8)\n    step = image.height",
        "test_large_images_are_converted_in_strips",
    ),
    _decode(
        "self._memory.check(self._file_alone + size)",
        "self._memory.check(size)",
        "test_a_file_held_alone_counts_with_its_pixels",
    ),
    _decode(
        "            self._memory.release(self._reserved)\n",
        "",
        "test_a_format_asks_for_its_peak",
    ),
    _decode(
        "if kind.damage is not None and (damage := kind.damage(data)):",
        "if kind.damage is not None and (damage := None):",
        "test_a_png_whose_checksums_are_wrong",
    ),
    _decode(
        "            if _truncated_depth == 0:\n                ImageFile",
        "            if _truncated_depth < 2:\n                ImageFile",
        "test_strictness_lasts_as_long_as_the_last_run",
    ),
    _formats("ftypavi[fs]", "ftypavif", "test_every_signature"),
    _formats("II[*+]", "II[*]", "test_every_signature"),
    _formats("re.DOTALL", "0", "test_every_signature"),
    _formats('".bmp", ".dib"', '".bmp"', "test_the_table_of_formats"),
    _headers("MAX_SCANS = 100\n", "MAX_SCANS = 101\n", "test_how_many_scans_a_jpeg_may_have"),
    _headers("scans > MAX_SCANS and", "scans >= MAX_SCANS and", "test_how_many_scans_a_jpeg_may_have"),
    _headers("scans * pixels > SCAN_WORK", "scans * pixels >= SCAN_WORK", "test_how_much_work_scans_may_be"),
    _headers("SCAN) > SCAN_WORK", "SCAN) >= SCAN_WORK", "test_how_long_a_jpeg_must_be_to_hide_scans"),
    _headers('\\xda", start)', '\\xda")', "test_scans_before_the_frame_do_not_count"),
    _headers("data[frame + 1] & 3 == 2", "data[frame + 1] == 0xC2", "test_images_of_several_scans"),
    _headers("not in (0xC4, 0xC8, 0xCC)", "not in (0xC4, 0xC8)", "test_images_of_several_scans"),
    _headers("position += 1 if marker == 0xFF else 2", "position += 2", "test_images_of_several_scans"),
    _headers("(bits >> 14 & 0x3FFF) + 1", "(bits >> 14) + 1", "test_the_size_of_webp"),
    _headers("return height & 0x3FFF, width & 0x3FFF", "return height, width", "test_the_size_of_webp"),
    _headers('from_bytes(payload[4:7], "little") + 1', 'from_bytes(payload[4:7], "little")', "test_the_size_of_webp"),
    _headers("if kind[:1].isupper() and", "if", "test_checksums_of_png"),
    _headers('        if kind == b"IEND":\n            return None\n', "", "test_checksums_of_png"),
    _headers("end + 4 > len(data)", "end > len(data)", "test_a_png_that_is_cut_off_is_not_judged_by_its_checksums"),
    _formats("_SMALLEST_FILE = 26", "_SMALLEST_FILE = 25", "test_files_shorter_than_any_image_are_cut_off"),
    _formats("data[-4096:]", "data[-64:]", "test_end_marks_near_the_end"),
    _formats('data.rstrip(b"\\0").endswith', "data.endswith", "test_files_that_end_before_they_say"),
    _formats('"little" if data[:2] == b"II" else "big"', '"little"', "test_files_that_end_before_they_say"),
    *(
        Fault("gpustats/decode/formats.py", f"misfit={name}_misfit,", "", f"tests/decode/test_depth.py::{test}")
        for name, test in (
            ("png", "test_png"),
            ("tiff", "test_tiff"),
            ("jpeg2000", "test_jpeg_2000_of_other_depths"),
            ("avif", "test_avif"),
        )
    ),
    Fault("gpustats/decode/formats.py", "misfit=pnm_misfit,", "", "tests/decode/test_depth.py::test_pnm"),
    Fault(
        "gpustats/decode/decoder.py",
        " or (as_stored and jpeg_precision(data) != 8)",
        "",
        "tests/decode/test_depth.py::test_lossless_jpeg",
    ),
    Fault(
        "gpustats/decode/decoder.py",
        '            if kind.name == "JPEG":\n                check_scan(data, image.mode)\n',
        "",
        "tests/decode/test_depth.py::test_a_scan_that_ends_too_early_is_truncated_also_with_an_end_marker",
    ),
    Fault(
        "gpustats/decode/depth.py",
        "extra[:1] not in ((1,), (2,))",
        "extra[:1] not in ((0,), (1,), (2,))",
        "tests/decode/test_depth.py::test_tiff",
    ),
    Fault(
        "gpustats/sources/values.py",
        "        if mode not in _PIL_AS_IT_IS and mode not in EIGHT_BIT_MODES:",
        "        if False:",
        "tests/decode/test_depth.py::test_pil_images",
    ),
    _transform(
        "other = int(size * long / short)", "other = round(size * long / short)", "test_pixels_are_those_of_pillow"
    ),
    _transform("round((height - high) / 2)", "(height - high) // 2", "test_pixels_are_those_of_pillow"),
    _transform("round((width - wide) / 2)", "(width - wide) // 2", "test_pixels_are_those_of_pillow"),
    _transform("if height <= width else (other, size)", "if True else ()", "test_pixels_are_those_of_pillow"),
    _transform(
        "            if height * width > max_pixels:",
        "            if False:",
        "test_a_resize_that_would_not_fit_into_memory_is_refused",
    ),
    _transform("7 * height * width +", "3 * height * width +", "test_memory_is_asked_for_the_transform_too"),
    _transform(
        "        if high > height or wide > width:",
        "        if False:",
        "test_an_image_that_is_smaller_than_the_crop_fails_by_name",
    ),
    _fast("if high * scale <= height and", "if high * (scale - 1) < height and", "test_scale_and_pixels"),
    _fast("or min(height, width) < _BLOCK", "", "test_every_size"),
    _fast("return height / by, width / by", "return height // by, width / by", "test_scale_and_pixels"),
    _fast("self.size(*(whole or pixels.shape[:2]))", "self.size(*pixels.shape[:2])", "test_a_run_in_any_order"),
    _fast("replace(RECIPES[recipe], fast=fast)", "RECIPES[recipe]", "test_it_is_for_a_resize"),
    _fast("if fast and not to:", "if False:", "test_it_is_for_a_resize"),
    _fast("whole[::-1]", "whole", "test_turned_images", "decode/decoder"),
    _fast("reduction(width, height)", "reduction(height, width)", "test_turned_images", "decode/decoder"),
    _fast("with suppress(ImageError):", "if True:", "test_unreadable_orientation", "decode/decoder"),
    _fast("        self.whole = None\n", "", "test_scale_and_pixels", "decode/decoder"),
    _fast("-(-height // by), -(-width // by)", "height // by, width // by", "test_every_size", "decode/decoder"),
    _fast("self._later(high, wide)", "self._later(height, width)", "test_memory_of_a_reduced_image", "decode/decoder"),
    _fast("* each + coefficients,", "* each,", "test_memory_of_a_reduced_image", "decode/decoder"),
    _fast("scale = extent / to", "scale = size / to", "test_a_run_in_any_order", "engines/resample"),
    _fast("if whole is None else (*pixels.shape, *whole)", "", "test_a_run_in_any_order", "engines/resample"),
    _fast("height, width = whole or", "height, width =", "test_turned_images", "engines/originals"),
    _transform("math.floor(cut[0] / crop_pct)", "math.ceil(cut[0] / crop_pct)", "test_crop_pct_is_that_of_timm"),
    _transform("7: lambda pixels: pixels[::-1, ::-1]", "7: lambda pixels: pixels", "test_every_orientation"),
    Fault(
        "gpustats/decode/pillow.py",
        ' or (kind.name == "TIFF" and by_pillow):',
        ":",
        f"{_TRANSFORM}::test_images_are_turned_as_pillow_turns_them",
    ),
    Fault(
        "gpustats/engines/cpu.py",
        "            memory,\n            self._transform,\n",
        "            memory,\n            Transform(),\n",
        f"{_TRANSFORM}::test_a_separate_process_asks_for_the_memory_too",
    ),
    Fault(
        "gpustats/engines/device.py",
        "_cpu_only(definition) or ",
        "",
        f"{_TRANSFORM}::test_the_gpu_leaves_transforms_to_the_cpu",
    ),
]
