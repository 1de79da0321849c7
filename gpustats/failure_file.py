"""Every failure of a run in a file, one JSON object a line, written as they happen."""

from __future__ import annotations

import json
import os
from types import TracebackType
from typing import TextIO

from gpustats.errors import DataError
from gpustats.failures import Failure, printable

__all__ = ["FailureFile"]


class FailureFile:
    """Writes failures to `path` line by line: ``{"key": ..., "reason": ..., "message": ...}``.

    Pure ASCII: a key that is not UTF-8 is written with JSON escapes, which ``json.loads`` turns back into the string
    that Python uses for the file name. A run writes the file anew; a resumed run writes the earlier failures too.

    Parameters
    ----------
    path : path-like
        Replaced where it exists.

    Raises
    ------
    DataError
        Where it cannot be written, at the start or later (a full disk).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = printable(os.fsdecode(path))
        try:
            # Line buffered, so that a run that is killed leaves whole lines and `tail -f` shows them.
            self._file: TextIO = open(path, "w", encoding="ascii", buffering=1)  # noqa: SIM115 - closed by __exit__
        except (OSError, ValueError) as error:
            raise self._error(error) from None

    def add(self, failure: Failure) -> None:
        """Write one failure."""
        line = json.dumps({"key": failure.key, "reason": failure.reason, "message": failure.message})
        try:
            self._file.write(line + "\n")
        except OSError as error:
            raise self._error(error) from None

    def __enter__(self) -> FailureFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError as error:
            if kind is None:
                raise self._error(error) from None

    def _error(self, error: OSError | ValueError) -> DataError:
        reason = getattr(error, "strerror", None) or str(error)
        return DataError(f"{self._path}: the list of failures cannot be written: {reason}")
