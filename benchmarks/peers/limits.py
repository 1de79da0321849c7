"""What the limits share: files spread over threads one by one, so that all threads end together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

__all__ = ["spread"]


def spread(items: list[str] | list[bytes], workers: int, start: Callable[[], Callable[[str | bytes], object]]) -> None:
    """Give every item to one of `workers` threads; `start` makes a thread's function."""
    stream: Iterator[str | bytes] = iter(items)
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            function = start()
            while True:
                with lock:
                    item = next(stream, None)
                if item is None:
                    return
                function(item)
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def read(path: str | bytes) -> bytes:
    """The whole file, with Python's unbuffered file object."""
    with open(path, "rb", buffering=0) as file:
        data: bytes = file.read()
    return data
