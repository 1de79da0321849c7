"""Repeated attempts to read remote files, and what may be shown of their errors.

Errors are shown by their type and status only, since their text may repeat a URL with its credentials.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from gpustats.failures import ImageError

__all__ = ["ATTEMPTS", "Attempts", "Budget", "retry"]

ATTEMPTS = 6
_FIRST_DELAY = 0.1

T = TypeVar("T")


class Budget:
    """How many requests of one source may be repeated: some, and a share of those that succeed.

    A server that is down would otherwise be asked six times for each of a million files.

    Parameters
    ----------
    free : int
        Repetitions before any success.
    share : float
        What a success adds.
    """

    def __init__(self, free: int = 200, share: float = 0.25) -> None:
        self._free = float(free)
        self._most = self._free
        self._share = share

    def add(self) -> None:
        """Note that a request succeeded."""
        self._free = min(self._free + self._share, self._most)  # threads may miss one another's; it is no exact limit

    def take(self) -> bool:
        """Say whether one may be repeated."""
        if self._free < 1:
            return False
        self._free -= 1
        return True


class Attempts:
    """Counts the attempts of one request: at most `ATTEMPTS`, with growing random pauses.

    Parameters
    ----------
    budget : Budget, optional
        Is asked before a repetition.
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget
        self._made = 0

    def after(self, error: Exception) -> float:
        """Return how many seconds to wait before the next attempt.

        Raises
        ------
        ImageError
            ``missing`` at once where there is no such file; ``unreadable`` where access is refused or no attempt is
            left. An `ImageError` is raised as it is.
        """
        self._made += 1
        if isinstance(error, ImageError):
            raise error
        if isinstance(error, FileNotFoundError) and _status(error.__cause__) in (None, 404, 410):
            raise ImageError("missing", "no such file") from None
        # fsspec says "not found" for every error when it asked for a size; the cause is the real error.
        what, final = _verdict(error.__cause__ or error)
        if final or self._made == ATTEMPTS:
            times = "" if self._made == 1 else f" after {self._made} attempts"
            raise ImageError("unreadable", f"reading failed{times}: {what}") from None
        if self._budget is not None and not self._budget.take():
            raise ImageError("unreadable", f"reading failed: {what}; too many other requests failed") from None
        return float(_FIRST_DELAY * 2 ** (self._made - 1) * random.uniform(0.5, 1.0))

    def good(self) -> None:
        """Note that the request succeeded."""
        if self._budget is not None:
            self._budget.add()


def retry(function: Callable[[], T], budget: Budget | None = None) -> T:
    """Call a function that reads a remote file until it succeeds; see `Attempts`, also for the errors."""
    attempts = Attempts(budget)
    while True:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - every file system has its own errors
            pause = attempts.after(error)
        else:
            attempts.good()
            return result
        time.sleep(pause)


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
