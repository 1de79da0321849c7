"""Repeated attempts to read remote files, and what may be shown of their errors.

Errors are shown by their type and status only, since their text may repeat a URL with its credentials.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from gpustats.failures import ImageError

__all__ = ["ATTEMPTS", "retry"]

ATTEMPTS = 6
_FIRST_DELAY = 0.1

T = TypeVar("T")


def retry(function: Callable[[], T]) -> T:
    """Call a function that reads a remote file until it succeeds, at most `ATTEMPTS` times, with growing random pauses.

    Raises
    ------
    ImageError
        ``missing`` at once where there is no such file; ``unreadable`` where access is refused or every attempt failed.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return function()
        except ImageError:
            raise
        except Exception as error:  # noqa: BLE001 - every file system has its own errors
            if isinstance(error, FileNotFoundError) and _status(error.__cause__) in (None, 404, 410):
                raise ImageError("missing", "no such file") from None
            # fsspec says "not found" for every error when it asked for a size; the cause is the real error.
            what, final = _verdict(error.__cause__ or error)
            if final or attempt == ATTEMPTS:
                times = "" if attempt == 1 else f" after {attempt} attempts"
                raise ImageError("unreadable", f"reading failed{times}: {what}") from None
            time.sleep(_FIRST_DELAY * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))
    raise AssertionError


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status that an error of aiohttp or botocore carries."""
    status = getattr(error, "status", None)
    if not isinstance(status, int):
        response = getattr(error, "response", None)
        metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
        status = metadata.get("HTTPStatusCode")
    return status if isinstance(status, int) else None


def _verdict(error: BaseException) -> tuple[str, bool]:
    """Return what may be shown of an error, and whether another attempt is in vain."""
    status, name = _status(error), type(error).__name__
    if status is not None:
        return f"{name} (HTTP status {status})", 400 <= status < 500 and status not in (408, 425, 429)
    return name, isinstance(error, PermissionError | NotImplementedError | TypeError | ImportError)
