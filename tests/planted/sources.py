"""Planted faults: where images come from."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_ROOM = "gpustats/sources"
_TESTS = "tests/sources"


def _fault(file: str, old: str, new: str, test: str) -> Fault:
    return Fault(f"{_ROOM}/{file}.py", old, new, f"{_TESTS}/{test}")


FAULTS = [
    _fault(
        "once",
        "return not marker or self._groups[place] == marker",
        "return True",
        "test_once.py::test_the_first_group_counts_and_another_one_is_said",
    ),
    _fault(
        "once",
        "real = os.path.normcase(os.path.realpath(folder))",
        "real = os.path.normcase(folder)",
        "test_once.py::test_what_the_same_file_is",
    ),
    _fault(
        "once",
        "        if holder is None:\n",
        "        if False:\n",
        "test_once.py::test_tables_of_paths_that_share_files",
    ),
    _fault(
        "once",
        'elif self._is_first(self._resolved(holder), ""):',
        "else:",
        "test_once.py::test_containers_that_are_named_twice",
    ),
    _fault(
        "once",
        "while names[place] not in (0, key):",
        "while names[place]:",
        "test_once.py::test_one_row_for_each_box",
    ),
    _fault(
        "once",
        "        self._seen = _Seen()\n        return self._first",
        "        return self._first",
        "test_parts.py::test_parts_travel",
    ),
    _fault(
        "arrays/hdf5",
        'return f"{self.file.identity}::{self._name}"',
        "return self.file.identity",
        "test_once.py::test_arrays_of_a_store_are_told_apart",
    ),
    _fault(
        "archives/tarwalk",
        "            long_name, pax = None, {}\n",
        "            long_name = None\n",
        "test_tar.py::test_a_long_name_is_that_of_one_member",
    ),
    _fault(
        "archives/tarwalk",
        "            long_name, pax = None, {}\n",
        "            pax = {}\n",
        "test_tar.py::test_a_long_name_is_that_of_one_member",
    ),
    _fault(
        "archives/tarwalk",
        'size = int(pax.get("size", size))',
        "size = int(size)",
        "test_tar.py::test_a_pax_size_is_that_of_one_member",
    ),
    _fault(
        "archives/tarwalk",
        'if flag == ord("x"):',
        'if flag in b"xg":',
        "test_tar.py::test_global_headers_and_long_links_name_nothing",
    ),
    _fault(
        "archives/tarwalk",
        'if flag == ord("S") or any(key.startswith("GNU.sparse.") for key in pax):',
        'if flag == ord("S"):',
        "test_tar.py::test_sparse_members_are_failures_and_the_next_one_is_read",
    ),
    _fault(
        "archives/tarwalk",
        "if field[0] in (0x80, 0xFF):",
        "if field[0] == 0xFF:",
        "test_tar.py::test_sizes_in_base_256",
    ),
    _fault(
        "archives/tarwalk",
        'if header[257:263] == b"ustar\\0" and header[345]:',
        "if header[345]:",
        "test_tar.py::test_the_prefix_of_ustar",
    ),
    _fault(
        "archives/tarwalk",
        "checksum != unsigned and checksum != unsigned - 256 * sum(byte > 127 for byte in others)",
        "checksum != unsigned",
        "test_tar.py::test_checksums_of_signed_bytes",
    ),
    _fault(
        "archives/tarwalk",
        'if kind in ("link", "folder"):',
        'if kind == "folder":',
        "test_tar.py::test_kinds_of_members",
    ),
    _fault(
        "archives/tarwalk",
        'return field.split(b"\\0", 1)[0].decode("utf-8", "surrogateescape")',
        'return field.split(b"\\0", 1)[0].decode("utf-8", "replace")',
        "test_tar.py::test_names_of_any_bytes",
    ),
    _fault(
        "archives/tarwalk",
        "if rest.count(0) < len(rest):",
        "if rest.count(0) == 0:",
        "test_tar.py::test_where_an_archive_may_end",
    ),
    _fault(
        "archives/tar",
        "            yield from self._flush(images, label)  # what came before the damage is whole\n",
        "",
        "test_tar.py::test_a_compressed_archive_that_ends_within_a_member",
    ),
    _fault(
        "archives/tar",
        "sample, images, label = folder + slash + stem, [], None",
        "sample, images = folder + slash + stem, []",
        "test_tar.py::test_members_of_one_sample",
    ),
    _fault(
        "archives/tar",
        "member.offset + member.size > end:",
        "member.offset + member.size >= end:",
        "test_tar.py::test_where_an_archive_may_end",
    ),
    _fault(
        "tables/huggingface",
        "                row += batch.num_rows\n",
        "",
        "test_huggingface.py::test_rows_are_numbered_through",
    ),
    _fault(
        "tables/huggingface",
        "rows = number * _BATCH_ROWS",
        "rows = number",
        "test_huggingface.py::test_where_a_dataset_fails",
    ),
    _fault(
        "archives/zip",
        "elif archive.NameToInfo.get(name, info) is not info:",
        "elif False:",
        "test_zip.py::test_a_member_that_comes_twice_counts_once",
    ),
    _fault(
        "archives/zip",
        "elif info.flag_bits & 1:",
        "elif info.flag_bits & 2:",
        "test_zip.py::test_encrypted_members_and_unknown_methods",
    ),
    _fault(
        "archives/zip",
        "if zlib.crc32(data) != info.CRC:",
        "if info.compress_type and zlib.crc32(data) != info.CRC:",
        "test_zip.py::test_a_checksum_that_is_wrong",
    ),
    _fault(
        "archives/zip",
        "(data, info.file_size + 1)",
        "(data, info.file_size)",
        "test_zip.py::test_a_size_that_is_wrong",
    ),
    _fault(
        "tables/manifest",
        'encoding="utf-8-sig"',
        'encoding="utf-8"',
        "test_manifest.py::test_names_of_any_bytes_in_tables",
    ),
    _fault(
        "tables/manifest",
        'errors="surrogateescape"',
        'errors="replace"',
        "test_manifest.py::test_names_of_any_bytes_in_tables",
    ),
    _fault(
        "tables/manifest",
        'delimiter="\\t" if ending == ".tsv" else ","',
        'delimiter=","',
        "test_manifest.py::test_names_of_any_bytes_in_tables",
    ),
    _fault(
        "files/root",
        'if path.startswith("/") or ".." in path.split("/"):',
        'if path.startswith("/"):',
        "test_manifest.py::test_paths_below_a_url",
    ),
    _fault(
        "base",
        "            skipped.update(source.skipped)\n",
        "            pass\n",
        "test_paths.py::test_what_the_parts_pass_over_is_added_up",
    ),
    _fault(
        "base",
        '        yield Failure(part.key, "missing" if missing else "unreadable", str(error))\n',
        "        raise\n",
        "test_parts.py::test_a_damaged_part_is_one_failure",
    ),
    _fault(
        "reader",
        "        self._skipped.update(stream.skipped)\n",
        "",
        "test_parts.py::test_what_parts_pass_over_is_counted_once",
    ),
    _fault(
        "reader",
        ">= _OPEN_PARTS",
        "> _OPEN_PARTS",
        "test_parts.py::test_four_parts_are_read_side_by_side",
    ),
    _fault(
        "reader",
        "stream = max(free, key=lambda stream: stream.depth)",
        "stream = free[0]",
        "test_parts.py::test_one_thread_reads_parts_in_order_and_several_read_the_same",
    ),
    _fault(
        "places/lists",
        "elif isinstance(entry, str | os.PathLike):",
        "elif True:",
        "test_parts.py::test_the_users_objects_are_no_parts",
    ),
    _fault(
        "tables/parquet",
        "if row - start != claimed.num_rows:",
        "if False:",
        "test_parquet.py::test_numbers_of_rows_that_contradict_one_another",
    ),
    _fault(
        "tables/parquet",
        "if sum(rows) != metadata.num_rows or",
        "if",
        "test_parquet.py::test_numbers_of_rows_that_contradict_one_another",
    ),
    _fault(
        "tables/parquet",
        'yield Failure(f"{self.key}: row group {number}", error.reason, str(error))',
        "raise",
        "test_parquet.py::test_a_damaged_page_costs_the_rest_of_its_row_group",
    ),
    _fault(
        "items",
        "return not callable(item) and not isinstance(item, memoryview)",
        "return not callable(item)",
        "test_parquet.py::test_isolated_decoding",
    ),
    _fault(
        "tables/parquet",
        "starts = list(accumulate(rows, initial=0))",
        "starts = [0] * (len(rows) + 1)",
        "test_parquet.py::test_row_groups_are_parts",
    ),
    _fault(
        "places/patterns",
        'inside = match + "/"',
        "inside = match",
        "test_paths.py::test_a_glob_beside_folders_with_like_names",
    ),
    _fault(
        "places/folder",
        "    entries.sort()",
        "    entries.sort(reverse=True)",
        "test_paths.py::test_the_order_of_folders_and_files",
    ),
    _fault(
        "places/folder",
        'skipped["linked_folder"] += 1',
        'skipped["hidden"] += 1',
        "test_paths.py::test_links_and_cycles",
    ),
    _fault(
        "files/remote",
        "if size is not None and len(data) != size:",
        "if size is not None and len(data) > size:",
        "test_remote_reading.py::test_a_body_that_is_too_short_is_asked_for_again",
    ),
    _fault(
        "files/retry",
        "status not in (408, 425, 429)",
        "status not in (408, 425)",
        "test_remote_reading.py::test_which_errors_are_tried_again",
    ),
    _fault(
        "files/retry",
        "if final or attempt == ATTEMPTS:",
        "if final or attempt == ATTEMPTS - 1:",
        "test_remote_reading.py::test_what_succeeds_at_last_is_given",
    ),
    _fault(
        "files/stream",
        "if len(data) != end - start:",
        "if not data:",
        "test_remote_reading.py::test_a_stream_goes_on_after_errors",
    ),
    _fault(
        "files/stream",
        "if self._size is not None and self._at < self._size:",
        "if False:",
        "test_remote_reading.py::test_a_stream_goes_on_after_errors",
    ),
    _fault(
        "files/stream",
        "self._blocks.move_to_end(number)",
        "self._blocks.move_to_end(number, last=False)",
        "test_remote_reading.py::test_few_blocks_are_held",
    ),
    _fault(
        "arrays/layout",
        "shape[1] == shape[2] != shape[0]",
        "shape[1] == shape[2]",
        "test_layout.py::test_a_cube_is_not_taken_for_a_batch",
    ),
    _fault(
        "arrays/layout",
        "if first and (channels_first or not last):",
        "if first and channels_first:",
        "test_layout.py::test_every_shape",
    ),
    _fault(
        "records/tfrecord",
        "if size >= 1 << 62:",
        "if size > 1 << 62:",
        "test_records.py::test_lengths_and_checksums_of_records",
    ),
    _fault(
        "records/tfrecord",
        "if len(record) < size or len(tail) < 4:",
        "if len(record) < size:",
        "test_records.py::test_where_a_file_of_records_may_end",
    ),
    _fault(
        "records/protobuf",
        "for shift in range(0, 70, 7):",
        "for shift in range(0, 63, 7):",
        "test_records.py::test_the_longest_number",
    ),
    _fault(
        "records/lmdb",
        'value.key.decode("utf-8", "backslashreplace")',
        'value.key.decode("utf-8", "replace")',
        "test_records.py::test_values_of_lmdb",
    ),
    _fault(
        "arrays/idx",
        "if stream.read(1):",
        "if False:",
        "test_stored_arrays.py::test_idx_files_of_many_images",
    ),
    _fault(
        "arrays/idx",
        "if shape != (count,):",
        "if shape[0] < count:",
        "test_stored_arrays.py::test_labels_beside_idx",
    ),
    _fault(
        "arrays/cifar",
        "or len(labels) != len(pixels)",
        "or len(labels) > len(pixels)",
        "test_stored_arrays.py::test_cifar_without_a_label_for_each_image",
    ),
    _fault(
        "arrays/numpy",
        'np.lib.format.open_memmap(self.file.path, mode="r")',
        'np.load(self.file.path, mmap_mode="r")',
        "test_stored_arrays.py::test_an_archive_that_is_called_npy",
    ),
    _fault(
        "arrays/zarr",
        'pending += [configuration.get("codecs"), configuration.get("index_codecs")]',
        'pending += [configuration.get("codecs")]',
        "test_stored_arrays.py::test_codecs_of_zarr_3",
    ),
    _fault(
        "arrays/hdf5",
        "entry.ndim >= 3",
        "entry.ndim >= 2",
        "test_stored_arrays.py::test_hdf5",
    ),
    _fault(
        "arrays/slabs",
        "step = max(step - step % chunk, 1)",
        "step = max(step, 1)",
        "test_layout.py::test_arrays_are_read_in_slabs",
    ),
    _fault(
        "objects",
        "if len(texts) == count:",
        "if len(texts) >= count:",
        "test_objects.py::test_batches_are_counted_image_by_image",
    ),
    _fault(
        "objects",
        "                yield element\n                number += 1\n",
        "                yield element\n",
        "test_objects.py::test_datasets_with_an_index",
    ),
    _fault(
        "items",
        "return len(item) if isinstance(item, bytes | memoryview) else 0",
        "return len(item) if isinstance(item, bytes) else 0",
        "test_base.py::test_a_batch_holds_bytes_up_to_a_limit",
    ),
    _fault(
        "items",
        "if len(data) != status.st_size:",
        "if False:",
        "test_base.py::test_a_file_whose_size_changes",
    ),
    _fault(
        "arrays/numpy",
        "least = 3 if any(number >= 3 for number in axes.values()) else 2",
        "least = 2",
        "test_stored_arrays.py::test_labels_of_an_npz_are_no_image",
    ),
    _fault(
        "records/tfrecord",
        "if count > 1:",
        "if count > 9:",
        "test_records.py::test_a_record_with_several_images_is_refused",
    ),
    _fault("records/lmdb", "if not value or ", "if ", "test_records.py::test_values_of_lmdb"),
    _fault(
        "records/lmdb",
        'if _may_be_metadata(key.rpartition("/")[2], value):',
        "if True:",
        "test_records.py::test_values_of_lmdb",
    ),
    _fault(
        "places/lists",
        "utf-8-sig",
        "utf-8",
        "test_manifest.py::test_a_text_list_that_begins_with_a_byte_order_mark",
    ),
    _fault(
        "records/tfrecord",
        '        except ValueError as error:\n            return Failure(key, "corrupt", f"the feature',
        '        except KeyError as error:\n            return Failure(key, "corrupt", f"the feature',
        "test_records.py::test_a_feature_that_is_damaged_behind_its_first_value_costs_one_record",
    ),
]
