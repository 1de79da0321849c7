"""Faults of the checkpoint: its file, and which images are read again."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_JOURNAL = "tests/robust/test_journal.py::test_"
_RESUME = "tests/robust/test_resume.py::test_"
_RUN = "tests/test_run.py::test_"

FAULTS = [
    Fault(
        "gpustats/checkpoint/journal.py",
        'execute("PRAGMA synchronous = NORMAL")',
        'execute("PRAGMA synchronous = OFF")',
        _JOURNAL + "the_file_survives_a_power_cut_and_keeps_others_out",
    ),
    Fault(
        "gpustats/checkpoint/journal.py",
        'execute("PRAGMA journal_mode = WAL")',
        'execute("PRAGMA journal_mode = MEMORY")',
        _JOURNAL + "the_file_survives_a_power_cut_and_keeps_others_out",
    ),
    Fault(
        "gpustats/checkpoint/journal.py",
        'execute("PRAGMA locking_mode = EXCLUSIVE")\n',
        "pass\n",
        _JOURNAL + "the_file_survives_a_power_cut_and_keeps_others_out",
    ),
    Fault(
        "gpustats/checkpoint/journal.py",
        "if version != _SCHEMA_VERSION:",
        "if version > _SCHEMA_VERSION:",
        _JOURNAL + "a_file_of_another_program_or_version_is_left_alone",
    ),
    Fault(
        "gpustats/checkpoint/journal.py",
        "if tables and owner != _APPLICATION_ID:",
        "if tables and owner == 0:",
        _JOURNAL + "a_file_of_another_program_or_version_is_left_alone",
    ),
    Fault(
        "gpustats/checkpoint/journal.py",
        "for name in sorted(stored.keys() | settings.keys())",
        "for name in sorted(settings.keys())",
        _JOURNAL + "other_settings_are_named",
    ),
    Fault(
        "gpustats/checkpoint/journal.py",
        "CASE WHEN id > :last THEN NULL ELSE excluded.stamp END",
        "excluded.stamp",
        _JOURNAL + "a_key_of_two_images_loses_its_stamp",
    ),
    Fault(
        "gpustats/checkpoint/journal.py",
        "self._forms = {}  # what was just added is lost with the transaction",
        "pass",
        _JOURNAL + "a_transaction_that_fails_stores_nothing_and_the_next_is_whole",
    ),
    Fault(
        "gpustats/checkpoint/journal.py",
        'self._db.execute("ROLLBACK")',
        'self._db.execute("COMMIT")',
        _JOURNAL + "a_transaction_that_fails_stores_nothing_and_the_next_is_whole",
    ),
    Fault(
        "gpustats/checkpoint/journal.py",
        "reason = excluded.reason, ",
        "",
        _JOURNAL + "a_later_run_replaces_every_field",
    ),
    Fault(
        "gpustats/checkpoint/journal.py",
        'return value.encode("utf-8", "backslashreplace").decode()',
        "return value",
        _RESUME + "a_folder_whose_name_is_not_utf8",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        "if many or time.monotonic() > self._stored_at + _STORED_EVERY:",
        "if False:",
        _RESUME + "a_run_that_is_killed_keeps_what_it_had_read",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        " or time.monotonic() > self._stored_at + _STORED_EVERY",
        "",
        _RESUME + "results_are_stored_on_the_way",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        "        with self._lock:\n            try:\n                self._store()\n",
        "        with self._lock:\n            try:\n                pass\n",
        _RESUME + "results_are_stored_on_the_way",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        "self._source_failed |= bool(batch.failures)",
        "self._source_failed = bool(batch.failures)",
        _RESUME + "failures_of_the_source_are_not_stored_and_keep_what_is_gone",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        "if not self._source_failed and not self._keep:",
        "if not self._keep:",
        _RESUME + "failures_of_the_source_are_not_stored_and_keep_what_is_gone",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        "(found.size, found.stamp) == stamp",
        "found.size == stamp[0]",
        _RESUME + "how_a_changed_file_is_told",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        '_TRIED_AGAIN = frozenset({"missing", "unreadable", "too_large"})',
        '_TRIED_AGAIN = frozenset({"missing", "unreadable"})',
        _RESUME + "which_failures_are_tried_again",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        "found = stamp = None",
        "found = None",
        _RESUME + "two_members_of_one_name_in_one_container",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        "self._stamps[key] = None if key in self._stamps else stamp",
        "self._stamps[key] = stamp",
        _RESUME + "two_images_of_one_name_that_are_done_in_another_order",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        "self._seen = bytearray(self._journal.last_id // 8 + 1)",
        "self._seen = bytearray((self._journal.last_id + 7) // 8)",
        _RESUME + "what_is_gone_is_forgotten_and_nothing_else",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        "self._seen[number >> 3] |= 1 << (number & 7)",
        "self._seen[number >> 3] |= 255",
        _RESUME + "what_is_gone_is_forgotten_and_nothing_else",
    ),
    Fault(
        "gpustats/checkpoint/journal.py",
        'return key.encode("utf-8", "surrogatepass")',
        'return key.encode("utf-8", "replace")',
        _RESUME + "every_name_is_found_again",
    ),
    Fault(
        "gpustats/sources/items.py",
        'content = hashlib.blake2b(f"{item.dtype.str} {item.shape}".encode(), digest_size=16)',
        "content = hashlib.blake2b(digest_size=16)",
        _RESUME + "what_an_image_in_memory_is_told_by",
    ),
    Fault(
        "gpustats/sources/items.py",
        "while chunk := file.read(_CHUNK):",
        "if chunk := file.read(_CHUNK):",
        _RESUME + "a_change_far_into_a_large_file_is_seen",
    ),
    Fault(
        "gpustats/sources/items.py",
        "(callable(item) or not by_content)",
        "callable(item)",
        _RESUME + "members_of_a_container_are_told_by_its_file",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        "                while window:\n                    yield self._sift(*window.popleft())\n                yield",
        "                yield",
        _RESUME + "batches_keep_their_order_and_none_is_lost",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        "if len(window) > _AHEAD:",
        "if False:",
        _RESUME + "batches_keep_their_order_and_none_is_lost",
    ),
    Fault(
        "gpustats/engines/base.py",
        "        yield Outcome(rows, failures)\n        failures = []\n",
        "        yield Outcome(rows, failures)\n",
        _RESUME + "rows_of_several_kinds_and_failures_come_back_from_one_batch",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        "return public_url(path) if",
        "return path if",
        _RESUME + "what_a_checkpoint_remembers_of_the_data",
    ),
    Fault(
        "gpustats/api.py",
        'names = ("column", "picked", "feature", "group", "root", "suffixes", "layout", "color_order", "repeats")',
        'names = ("column", "feature", "root", "layout")',
        _RUN + "a_checkpoint_is_of_one_set_of_options",
    ),
    Fault(
        "gpustats/api.py",
        'settings = {"max_pixels": str(max_pixels), **_described(options)}',
        "settings = _described(options)",
        _RUN + "a_checkpoint_is_of_one_set_of_options",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        "if self._pool is None:",
        "if True:",
        _RESUME + "files_are_hashed_by_a_few_threads_that_end_with_the_run",
    ),
    Fault(
        "gpustats/checkpoint/resume.py",
        "/ max(len(paths), 1) - self._pace) / 8",
        "/ 1 - self._pace) / 8",
        _RESUME + "files_are_looked_at_ahead_of_time_once_they_prove_slow",
    ),
    Fault(  # a key is cut at its null character
        "gpustats/checkpoint/journal.py",
        ' or r"\\u0000" in images:',
        ":",
        _JOURNAL + "a_block_is_stored_as_its_entries_are",
    ),
    Fault(  # every row of a block is a byte off
        "gpustats/checkpoint/journal.py",
        "substr(:rows, key * :size + 1, :size)",
        "substr(:rows, key * :size, :size)",
        _JOURNAL + "a_block_is_stored_as_its_entries_are",
    ),
    Fault(  # a block is committed although a later one fails
        "gpustats/checkpoint/journal.py",
        "                for block in blocks:\n                    self._store_block(block)\n",
        "                for block in blocks:\n                    self._store_block(block)\n"
        '                    self._db.execute("COMMIT")\n                    self._db.execute("BEGIN IMMEDIATE")\n',
        _JOURNAL + "a_block_that_fails_takes_the_transaction_with_it",
    ),
    Fault(  # of two images of one name in flight, the one that is done first is stored
        "gpustats/checkpoint/resume.py",
        "self._stamps.keys().isdisjoint(batch.keys) and ",
        "",
        _RESUME + "two_images_of_one_name_in_flight_are_not_stored",
    ),
    Fault(  # of two images of one name in a batch, the stamp of the second is stored
        "gpustats/checkpoint/resume.py",
        " and len(set(batch.keys)) == len(batch):",
        ":",
        _RESUME + "two_images_of_one_name_in_flight_are_not_stored",
    ),
    Fault(  # rows whose images cannot be told again are stored with the stamp of another
        "gpustats/checkpoint/resume.py",
        "            rows = rows.take(np.array([stamp is not None for stamp in stamps]))\n",
        "            rows = rows.take(np.arange(sum(stamp is not None for stamp in stamps)))\n",
        _RESUME + "images_without_a_stamp_among_others",
    ),
    Fault(  # the link is looked at and not the file
        "gpustats/sources/files/statx.py",
        "_FOLLOW_LINKS, _SIZE_AND_MTIME = -100, 0, 0x240",
        "_FOLLOW_LINKS, _SIZE_AND_MTIME = -100, 0x100, 0x240",
        "tests/sources/test_names.py::test_the_same_as_os_stat_says",
    ),
    Fault(  # what cannot be looked at has the size and time of the file before
        "gpustats/sources/files/names.py",
        "pair if fine else _size_and_time(path) for",
        "pair for",
        "tests/sources/test_names.py::test_what_cannot_be_looked_at",
    ),
]
