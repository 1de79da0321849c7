"""Which modules make up an area, and which tests guard a module: globs, so that most moves need no new line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

__all__ = ["AREAS", "GUARDS", "WIDE", "area_of", "files_of_tests", "guards_of", "modules"]

AREAS: Mapping[str, tuple[str, ...]] = {
    "statistics": ("gpustats/statistics/*", "gpustats/result/stats.py", "gpustats/result/version1.py"),
    "checkpoint": ("gpustats/checkpoint/*",),
    "decode": ("gpustats/decode/*",),
    "sources": ("gpustats/sources/*",),
    "engines": ("gpustats/engines/*",),
    "cuda": ("gpustats/cuda/*",),
    "result": ("gpustats/result/*",),
    "rest": ("gpustats/*",),
}
"""Globs of modules by area; the first area that matches counts. ``*`` also stands for folders."""

GUARDS: tuple[tuple[str, str], ...] = (
    # statistics
    ("*/exact.py", "tests/test_arithmetic.py"),
    ("*/moments.py", "tests/test_moments.py tests/test_arithmetic.py tests/test_numbers.py tests/test_reduce.py"),
    (
        "*/float_moments.py",
        "tests/sources/test_arrays.py tests/test_totals.py tests/test_numbers.py tests/gpu/test_statistics.py",
    ),
    ("*/histogram.py", "tests/test_histogram.py tests/gpu/test_statistics.py"),
    ("*/covariance.py", "tests/test_covariance.py tests/gpu/test_statistics.py"),
    ("*/lanes.py", "tests/test_reduce.py"),
    ("*/totals.py", "tests/test_totals.py tests/test_stats.py tests/test_rows.py"),
    ("*/rows.py", "tests/test_rows.py tests/test_run.py"),
    ("*/builder.py", "tests/test_rows.py tests/test_run.py tests/sources/test_arrays.py tests/test_covariance.py"),
    ("*/statistics/base.py", "tests/test_numbers.py tests/test_totals.py tests/test_rows.py tests/test_covariance.py"),
    ("*/stats.py", "tests/test_stats.py tests/test_numbers.py tests/test_toy_statistic.py"),
    ("*/version1.py", "tests/test_version_1.py tests/test_stats.py"),
    ("*/statistics/*", "tests/test_toy_statistic.py tests/test_stats.py tests/test_totals.py tests/test_rows.py"),
    # checkpoint
    ("*/journal.py", "tests/*test_journal*.py tests/*test_resume*.py tests/*test_checkpoint*.py"),
    ("*/resume.py", "tests/*test_resume*.py tests/*test_checkpoint*.py"),
    ("*/checkpoint/*", "tests/*test_resume*.py tests/*test_journal*.py tests/*test_checkpoint*.py"),
    # decode
    ("*/formats.py", "tests/*test_headers*.py tests/decode/test_verdicts.py"),
    ("*/headers.py", "tests/*test_headers*.py tests/*test_decode*.py tests/robust/test_failures.py"),
    ("*/decoder.py", "tests/*test_decode*.py tests/decode/test_verdicts.py"),
    (
        "*/decoder.py",
        "tests/robust/test_failures.py tests/robust/test_limits.py tests/robust/test_decoder_exceptions.py",
    ),
    ("*/decode/*", "tests/decode/test_*.py tests/*test_decode*.py"),
    ("*/decode/*", "tests/robust/test_failures.py tests/robust/test_limits.py"),
    # sources
    ("*/parquet.py", "tests/sources/test_parquet*.py"),
    ("*/reader.py", "tests/sources/test_parts.py tests/*test_sources.py"),
    ("*/names.py", "tests/sources/test_names.py"),
    ("*/statx.py", "tests/sources/test_names.py"),
    ("*/items.py", "tests/sources/test_base*.py tests/robust/test_resume.py tests/robust/test_decoder_exceptions.py"),
    ("*/places/*", "tests/sources/test_paths*.py tests/*test_sources.py tests/sources/test_parts.py"),
    ("*/lmdb*.py", "tests/sources/test_lmdb*.py tests/sources/test_records*.py"),
    ("*/protobuf.py", "tests/sources/test_records*.py tests/sources/test_bad_input.py tests/sources/test_lmdb*.py"),
    ("*/tfrecord.py", "tests/sources/test_records*.py tests/sources/test_containers.py"),
    ("*/remote*.py", "tests/sources/test_remote*.py"),
    ("*/huggingface.py", "tests/sources/test_huggingface*.py tests/sources/test_objects*.py"),
    ("*/tar*.py", "tests/sources/test_tar*.py tests/sources/test_containers.py tests/robust/test_checkpoint.py"),
    ("*/zip.py", "tests/sources/test_zip*.py tests/sources/test_containers.py tests/robust/test_checkpoint.py"),
    ("*/manifest.py", "tests/sources/test_manifest*.py tests/sources/test_containers.py"),
    (
        "*/tables.py",
        "tests/sources/test_manifest*.py tests/sources/test_parquet*.py tests/sources/test_huggingface*.py",
    ),
    ("*/files.py", "tests/sources/test_base*.py tests/*test_sources.py tests/robust/test_failures.py"),
    ("*/base.py", "tests/sources/test_base*.py tests/*test_sources.py"),
    *(
        (
            f"*/{name}.py",
            "tests/sources/test_layout*.py tests/sources/test_*arrays*.py tests/sources/test_containers.py",
        )
        for name in ("arrays", "layout", "slabs", "numpy", "hdf5", "zarr", "idx", "cifar")
    ),
    ("*/objects.py", "tests/sources/test_objects*.py tests/sources/test_arrays*.py tests/sources/test_huggingface*.py"),
    ("*/sources/*", "tests/*test_sources.py tests/sources/test_*.py"),
    # engines
    ("*/gpu.py", "tests/gpu/test_nothing_lost.py tests/gpu/test_engine.py"),
    ("*/session.py", "tests/gpu/test_nothing_lost.py tests/gpu/test_engine.py tests/gpu/test_nothing_is_lost.py"),
    ("*/feed.py", "tests/engines/test_feed*.py tests/gpu/test_nothing_lost.py"),
    *(
        (f"*/{name}.py", "tests/engines/test_batch_reader.py tests/engines/test_feed.py tests/gpu/test_engine.py")
        for name in ("screen", "batch_reader", "filling", "gpu_batch")
    ),
    ("*/preflight.py", "tests/gpu/test_preflight.py"),
    ("*/dali.py", "tests/gpu/test_preflight.py tests/gpu/test_engine.py"),
    ("*/spot_check.py", "tests/gpu/test_spot_check.py tests/gpu/test_preflight.py"),
    ("*/device_arrays.py", "tests/gpu/test_device_arrays.py"),
    ("*/on_gpu.py", "tests/gpu/test_device_arrays.py"),
    ("*/isolated.py", "tests/robust/test_isolate.py tests/engines/test_isol*.py"),
    ("*/worker.py", "tests/robust/test_isolate.py tests/engines/test_isol*.py"),
    ("*/cpu.py", "tests/engines/test_cpu*.py tests/test_pool.py tests/test_run.py tests/robust/test_limits.py"),
    ("*/shared_batches.py", "tests/test_pool.py tests/engines/test_cpu*.py"),
    ("*/mailbox.py", "tests/engines/test_mailbox*.py tests/test_pool.py tests/robust/test_interrupts.py"),
    ("*/device.py", "tests/engines/test_choice*.py"),
    ("*/engines/*", "tests/engines/test_*.py tests/gpu/test_*.py tests/test_pool.py tests/robust/test_isolate.py"),
    # cuda
    ("*/launcher.py", "tests/kernels/test_kernel_reducer.py tests/kernels/test_kernel_plan.py"),
    ("*/tiles.py", "tests/kernels/test_kernel_plan.py tests/kernels/test_kernel_arithmetic.py"),
    ("*/outputs.py", "tests/kernels/test_kernel_arithmetic.py tests/kernels/test_kernel_reducer.py"),
    ("*/cuda/*", "tests/kernels/test_kernel_reducer.py tests/kernels/test_kernel_plan.py tests/gpu/test_*.py"),
    # the rest
    ("*/api.py", "tests/test_run.py tests/test_compute.py tests/robust/test_interrupts.py tests/robust/test_resume.py"),
    ("*/run.py", "tests/test_run.py tests/test_compute.py tests/robust/test_interrupts.py"),
    ("*/memory.py", "tests/*test_memory*.py tests/robust/test_limits.py"),
    ("*/machine.py", "tests/*test_resources*.py tests/*test_machine*.py"),
    ("*/interrupts.py", "tests/robust/test_interrupts.py"),
    ("*/fail*.py", "tests/robust/test_failures.py tests/*test_run.py tests/*test_display*.py tests/test_stats.py"),
    ("*/definition.py", "tests/test_stats.py"),
    ("*/saved.py", "tests/test_stats.py tests/robust/test_journal.py"),
    ("*/install.py", "tests/test_install.py"),
    ("*/result/*", "tests/result/test_*.py tests/*test_display*.py tests/*test_stats*.py"),
    ("*/cli*", "tests/*test_cli*.py"),
    ("*/__main__.py", "tests/*test_cli*.py"),
    ("*/demo.py", "tests/*test_cli*.py tests/*test_demo*.py"),
    ("*/progress.py", "tests/*test_progress*.py tests/*test_run.py tests/*test_cli*.py"),
)
"""Globs of modules, and the tests that know them best. All rows that match count, in this order."""

WIDE = (
    "tests/test_characterisation.py tests/test_run.py tests/test_compute.py tests/test_package.py "
    "tests/robust/test_failures.py"
)
"""What every module goes through at last."""


def area_of(module: str) -> str:
    """Return the area of a module, by its path from the top of the repository."""
    return next(area for area, globs in AREAS.items() if _matches(module, globs))


def guards_of(module: str, files: Iterable[str]) -> list[str]:
    """Return which of the test files guard a module, the most specific first."""
    files = sorted(files)
    globs = [glob for pattern, tests in GUARDS if fnmatchcase(module, pattern) for glob in tests.split()]
    chosen = [file for glob in (*globs, *WIDE.split()) for file in files if fnmatchcase(file, glob)]
    return list(dict.fromkeys(chosen))


def files_of_tests(root: Path) -> list[str]:
    """Return the files of tests, as paths from the top of the repository."""
    return sorted(str(file.relative_to(root)) for file in (root / "tests").rglob("test_*.py"))


def modules(root: Path) -> list[str]:
    """Return the modules of the package, as paths from the top of the repository."""
    return sorted(str(file.relative_to(root)) for file in (root / "gpustats").rglob("*.py"))


def _matches(path: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(path, glob) for glob in globs)
