"""Planted faults: what loaders and datasets yield, and the chunks of MDS and LitData."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_ROOM = "gpustats/sources"
_TESTS = "tests/sources"


def _fault(file: str, old: str, new: str, test: str) -> Fault:
    return Fault(f"{_ROOM}/{file}.py", old, new, f"{_TESTS}/{test}")


_SEVERAL = "test_elements.py::test_several_images_of_an_element_are_asked_about"
_RAISES = "test_objects.py::test_an_iterable_that_raises_ends_the_run"
_SAMPLE = "test_chunks.py::test_a_damaged_sample_costs_one_image"
_REAL = "test_chunks.py::test_what_the_real_writers_wrote"
_LARGER = "test_chunks.py::test_a_chunk_that_is_larger_than_the_index_says_or_than_allowed"

_FILES = "test_vision.py::test_where_items_are_their_files"
_MORE = "test_vision.py::test_where_items_are_more_than_their_files"

_AGAIN = "test_repetition.py::"

_URLS = "test_chunks.py::test_damaged_chunks_behind_urls"
_HASHES = "test_chunks.py::test_hashes_of_the_index"

FAULTS = [
    _fault("records/chunks", "if digest.hexdigest() != value.lower():", "if False:", _HASHES),
    _fault("records/chunks", "        _check_hash(io.BytesIO(data), chunk)\n", "", _HASHES),
    _fault("records/chunks", "        stream.seek(0)\n", "", _HASHES),
    _fault("records/chunks", "        check_bytes(chunk.size, max_bytes)\n", "", _URLS),
    _fault("records/chunk_index", "local is None or ", "local is not None and ", _URLS),
    _fault(
        "repetition",
        "return self._whole_rounds(_SURE)",
        "return False",
        _AGAIN + "test_workers_that_do_not_share_their_work",
    ),
    _fault("repetition", "multiples and together", "False", _AGAIN + "test_workers_that_shuffle"),
    _fault(
        "repetition",
        "min(counts) == self._workers and ",
        "",
        _AGAIN + "test_workers_that_share_their_work_and_have_equal_images",
    ),
    _fault(
        "repetition",
        " and len(self._counts) >= contents",
        "",
        _AGAIN + "test_workers_that_share_their_work_and_have_equal_images",
    ),
    _fault("repetition", "2 * self._mask + 1", "self._mask", _AGAIN + "test_a_sample_of_contents_is_compared"),
    _fault("repetition", "self._look_at = 1 << 63", "pass", _AGAIN + "test_a_loop_that_may_be_endless"),
    _fault(
        "repetition",
        "values[: len(values) // _PIECES * _PIECES]",
        "values[: _PIECES * _PIECE]",
        _AGAIN + "test_large_arrays_are_compared_in_pieces",
    ),
    _fault(
        "iterables",
        "if watch is not None and watch.at_the_end() and",
        "if False and",
        _AGAIN + "test_few_images_are_seen_at_the_end",
    ),
    _fault("iterables", "return not self.lists and (", "return (", _AGAIN + "test_what_is_not_compared"),
    _fault("loaders", "return count % size", "return 0", _AGAIN + "test_images_that_a_loader_leaves_out"),
    _fault("loaders", "extra = sampler.total_size - items", "extra = 0", _AGAIN + "test_samplers"),
    _fault(
        "loaders",
        'getattr(sampler, "replacement", False)',
        "False",
        _AGAIN + "test_samplers",
    ),
    _fault(
        "endless",
        "return not data.nsamples > 0",
        "return True",
        "test_vision.py::test_datasets_that_never_end",
    ),
    _fault("elements", "(_is_single(rest[0]) or max(map(_axes, first)) > 3)", "_is_single(rest[0])", _SEVERAL),
    _fault("elements", "(_is_single(rest[0]) or max(map(_axes, first)) > 3)", "max(map(_axes, first)) > 3", _SEVERAL),
    _fault("elements", " and len(set(map(_sort_of, element))) == 1", "", _SEVERAL),
    _fault("elements", "return str(image.dtype), len(shape)", "return len(shape)", _SEVERAL),
    _fault(
        "elements",
        "type(part) is tuple or ",
        "",
        "test_elements.py::test_images_and_labels_in_whatever_they_are_nested",
    ),
    _fault("iterables", "if self._prefix or not number:", "if not number:", _RAISES),
    _fault("iterables", "self.notes.stopped = stopped", "pass", _RAISES),
    _fault(
        "iterables", "            if number == 0:\n", "            if True:\n", "test_objects.py::test_what_is_not_read"
    ),
    _fault(
        "iterables",
        "if len(self._dataset) != length:",
        "if len(self._dataset) < length:",
        "test_objects.py::test_a_dataset_that_changes_its_length",
    ),
    _fault("records/chunks", "    if at != end:", "    if False:", _SAMPLE),
    _fault("records/chunks", "unpack(data, size + 1)", "unpack(data, size)", _LARGER),
    _fault("records/chunks", "    if len(unpacked) > size:", "    if False:", _LARGER),
    _fault("records/chunks", "check_bytes(max(chunk.size, ", "check_bytes(min(chunk.size, ", _LARGER),
    _fault(
        "records/chunks",
        "if count != chunk.samples or",
        "if",
        "test_chunks.py::test_a_damaged_chunk_is_one_failure",
    ),
    _fault("records/chunk_values", 'order = "<" if name == "numpy" else ">"', 'order = "<"', _REAL),
    _fault("records/chunk_values", "if width * height > 8 * len(data):", "if False:", _SAMPLE),
    _fault(
        "records/chunk_values",
        "if start + sum(sizes) != size:",
        "if False:",
        "test_chunks.py::test_a_damaged_list_costs_its_images",
    ),
    _fault(
        "records/chunk_index",
        "name != os.path.basename(name)",
        "False",
        "test_chunks.py::test_other_indexes",
    ),
    _fault(
        "records/chunk_index",
        "if packed and (local is None or not os.path.exists(local)):",
        "if packed:",
        "test_chunks.py::test_a_cache_holds_some_shards_and_their_unpacked_form",
    ),
    _fault("vision", " or transform_of(data)", "", _MORE),
    _fault("vision", " or not _is_theirs(type(data).__getitem__)", "", _MORE),
    _fault("vision", ' if _is_theirs(getattr(data, "loader", None)) else None', "", _MORE),
    _fault("vision", " or len(found) != len(data)", "", _MORE),
    _fault("vision", " or (label is not None and rest[:1] != [label])", "", _MORE),
    _fault("vision", "{0, len(found) // 2, len(found) - 1}", "{0, len(found) - 1}", _MORE),
    _fault("objects", "source.names_once = True", "pass", _FILES),
    _fault("objects", 'if from_module(data, "ray") and', "if False and", "test_vision.py::test_the_rows_of_ray"),
    _fault("endless", "len(data) >= sys.maxsize", "False", "test_vision.py::test_datasets_that_never_end"),
    _fault("kinds", ' and "videos" not in names', "", "test_vision.py::test_a_folder_of_lerobot"),
    _fault("once", "notes.take_back()", "pass", "test_once.py::test_what_was_chosen_is_counted_once_too"),
]
