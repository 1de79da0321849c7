"""Faults of the command line, of interrupts and of what the machine offers."""

from __future__ import annotations

from tests.planted import Fault

__all__ = ["FAULTS"]

_COMPUTE = "gpustats/cli/compute.py"
_DEMO = "gpustats/cli/demo.py"
_PARSE = "gpustats/cli/options.py"
_OUTPUT = "gpustats/cli/output.py"
_OPTIONS = "tests/test_cli_options.py::"
_HASH = _OPTIONS + "test_a_touched_file_is_read_again_by_mtime_and_not_by_its_content"
_INTERRUPTS = "tests/robust/test_interrupts.py::"
_RESOURCES = "tests/test_resources.py::"

FAULTS = [
    Fault(
        _PARSE,
        "return float(text[:-1]) / 100",
        "return float(text[:-1])",
        _OPTIONS + "test_max_failures_as_a_count_and_as_a_share",
    ),
    Fault(
        _PARSE,
        "return int(text) if text.isdecimal() else float(text)",
        "return float(text)",
        _OPTIONS + "test_max_failures_as_a_count_and_as_a_share",
    ),
    Fault(
        _PARSE,
        'for name in text.split(",")',
        "for name in (text,)",
        _OPTIONS + "test_statistics_one_by_one_and_separated_by_commas",
    ),
    Fault(
        _PARSE,
        "options[name] = json.loads(value)",
        "options[name] = value",
        _OPTIONS + "test_storage_options_reach_the_file_system_by_name_and_type",
    ),
    Fault(
        _PARSE,
        'text.partition("=")',
        'text.rpartition("=")',
        _OPTIONS + "test_storage_options_reach_the_file_system_by_name_and_type",
    ),
    Fault(
        _PARSE,
        "return options or None",
        "return options",
        _OPTIONS + "test_storage_options_reach_the_file_system_by_name_and_type",
    ),
    Fault(
        _COMPUTE,
        "paths[0] if len(paths) == 1 else list(paths)",
        "paths[0]",
        _OPTIONS + "test_one_path_and_several",
    ),
    Fault(_PARSE, '"--workers",\n', '"--workers",\n        expose_value=False,\n', _OPTIONS + "test_workers"),
    Fault(
        _COMPUTE,
        '    "--storage-option",\n    "storage_options",\n',
        '    "--storage-option",\n    "storage_options",\n    expose_value=False,\n',
        _OPTIONS + "test_storage_options_reach_the_file_system_by_name_and_type",
    ),
    Fault(_COMPUTE, 'default="skip"', 'default="raise"', _OPTIONS + "test_on_error"),
    Fault(_COMPUTE, 'default="mtime"', 'default="hash"', _HASH),
    Fault(_COMPUTE, 'default="auto", help="The device', 'default="cpu", help="The device', _OPTIONS + "test_device"),
    Fault(_COMPUTE, "default=512_000_000", "default=12", _OPTIONS + "test_max_pixels"),
    Fault(_OUTPUT, "code = EXIT_FAILURES", "code = EXIT_ERROR", _OPTIONS + "test_on_error"),
    Fault(
        _OUTPUT,
        "stats, code = interrupt.partial, EXIT_INTERRUPTED",
        "stats, code = interrupt.partial, EXIT_ERROR",
        _OPTIONS + "test_an_interrupt_shows_what_there_is",
    ),
    Fault(
        _OUTPUT,
        'if shown.json is not None and shown.json != "-":',
        "if shown.json is not None:",
        _OPTIONS + "test_json_to_a_file_beside_the_table_and_to_standard_output_alone",
    ),
    Fault(_OUTPUT, "unit = stats.scaled(1)", "unit = stats", _OPTIONS + "test_show"),
    Fault(_OUTPUT, "_FAILURES_SHOWN = 20", "_FAILURES_SHOWN = 21", _OPTIONS + "test_twenty_failures_are_listed"),
    Fault(_OUTPUT, "    if not quiet:\n", "    if True:\n", _OPTIONS + "test_quiet"),
    Fault(_OUTPUT, "    if not stats.n_images:\n", "    if False:\n", _OPTIONS + "test_twenty_failures_are_listed"),
    Fault(_DEMO, "if folder.exists():", "if not folder.exists():", _OPTIONS + "test_demo"),
    Fault(_DEMO, "write_images(folder, count)", "write_images(folder, 300)", _OPTIONS + "test_demo"),
    Fault(
        "gpustats/limits/interrupts.py",
        "if self._holding and self._signals == 1:",
        "if self._holding:",
        _INTERRUPTS + "test_a_step_is_whole_and_the_second_signal_is_not_held_back",
    ),
    Fault(
        "gpustats/limits/interrupts.py",
        "            self._pending = False\n            raise",
        "            raise",
        _INTERRUPTS + "test_a_signal_that_was_held_back_is_raised_once",
    ),
    Fault(
        "gpustats/limits/interrupts.py",
        "        finally:\n            self._holding = outer\n",
        "        finally:\n            pass\n",
        _INTERRUPTS + "test_outside_a_step_the_first_signal_is_raised_at_once",
    ),
    Fault(
        "gpustats/limits/interrupts.py",
        "and signal.getsignal(signal.SIGINT) is signal.default_int_handler",
        "",
        _INTERRUPTS + "test_a_handler_of_the_program_is_left_alone",
    ),
    Fault(
        "gpustats/limits/interrupts.py",
        "if callable(handler):",
        "if not callable(handler):",
        _OPTIONS + "test_sigterm_does_what_the_handler_of_ctrl_c_does",
    ),
    Fault(
        "gpustats/limits/machine.py",
        "math.ceil(quota / period)",
        "quota // period",
        _RESOURCES + "test_a_quota_is_rounded_up_and_bounds_the_affinity",
    ),
    Fault(
        "gpustats/limits/machine.py",
        "return int(line.split()[1]) * 1024",
        "return int(line.split()[1])",
        _RESOURCES + "test_plain_machine",
    ),
    Fault(
        "gpustats/limits/machine.py",
        "min(available, max(limit - used, 0))",
        "max(limit - used, 0)",
        _RESOURCES + "test_the_tightest_memory_limit_counts",
    ),
    Fault(
        "gpustats/limits/machine.py",
        "(folder, *folder.parents)",
        "(folder,)",
        _RESOURCES + "test_folders_of_a_cgroup_and_its_parents",
    ),
]
