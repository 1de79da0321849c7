"""Functions that become machine code when they are first used: by numba, without the interpreter lock, kept on disk."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Compiled", "compiled", "ready"]

_lock = threading.Lock()


class Compiled:
    """A function that numba compiles when it is first called, so that nothing imports numba before.

    Functions may call one another, also those that a module imports: all of them become dispatchers of numba together.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.dispatcher: Any = None
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any) -> Any:
        """Compile where that was not done yet, and call."""
        return ready(self)(*arguments)


def ready(function: Any) -> Any:
    """Return a compiled function as numba has it: to call that costs a microsecond less."""
    if not isinstance(function, Compiled):
        return function  # the name in its module is the dispatcher by now
    with _lock:
        if function.dispatcher is None:
            _prepare(function.function.__globals__)
        return function.dispatcher


def _prepare(names: dict[str, Any]) -> None:
    """Make dispatchers of all functions that a module names, and of those that they can call."""
    for name, value in list(names.items()):
        if isinstance(value, Compiled):
            if value.dispatcher is None:
                value.dispatcher = _jit(value.function)
                _prepare(value.function.__globals__)
            names[name] = value.dispatcher


def compiled(function: Callable[..., Any]) -> Any:
    """Mark a function to be compiled when it is first called."""
    return Compiled(function)


def _jit(function: Callable[..., Any]) -> Any:
    from numba import njit

    try:
        dispatcher = njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder for its cache (read-only installation without a home)
        return njit(nogil=True)(function)
    _load_alone(dispatcher)
    return dispatcher


def _load_alone(dispatcher: Any) -> None:
    """Let compiled code be loaded from the disk without numba's registries, which take longer than all the rest.

    They say how functions are compiled. numba loads them before it looks at its cache, and again before it compiles.
    What compiled code needs is numba's runtime, for memory. In a numba that is built in another way, nothing changes.
    """
    cache = dispatcher._cache
    load, guard = (getattr(cache, name, None) for name in ("_load_overload", "_guard_against_spurious_io_errors"))
    runtime = getattr(importlib.import_module("numba.core.runtime"), "rtsys", None)
    if load is None or guard is None or runtime is None:
        return

    def load_overload(signature: Any, context: Any) -> Any:
        runtime.initialize(context)
        with guard():
            return load(signature, context)

    cache.load_overload = load_overload
