"""Functions that become machine code when they are first used: by numba, without the interpreter lock, kept on disk.

numba takes 0.4 seconds to load that code, and some seconds to make it. A kernel may name a function of NumPy that does
the same for the first images of a process, so that few images need no numba.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Compiled", "at_first", "compiled", "compiled_after", "expect", "ready"]

_lock = threading.Lock()

_FEW_IMAGES = 128
_FEW_VALUES = 32 << 20  # 60 photographs of 500 x 375, and 0.1 s of NumPy
_many = False  # whether more images are expected


class Compiled:
    """A function that numba compiles when it is first called, so that nothing imports numba before.

    Functions may call one another, also those that a module imports: all of them become dispatchers of numba together.

    Parameters
    ----------
    function : callable
        What is compiled.
    plain : callable, optional
        What does the same with NumPy. Both take an array of values first.
    """

    def __init__(self, function: Callable[..., Any], plain: Callable[..., Any] | None = None) -> None:
        self.function = function
        self.plain = plain
        self.dispatcher: Any = None
        self.__doc__ = function.__doc__
        self._images = 0
        self._values = 0

    def __call__(self, *arguments: Any) -> Any:
        """Compile where that was not done yet, and call."""
        return ready(self)(*arguments)

    def start(self, values: Any, *arguments: Any) -> Any:
        """Let NumPy do it for a few images, then compile."""
        self._images += 1  # threads may miss one another's; it is no exact limit
        self._values += values.size
        if self.plain is None or _many or self._images > _FEW_IMAGES or self._values > _FEW_VALUES:
            return self(values, *arguments)
        return self.plain(values, *arguments)


def expect(images: int) -> None:
    """Say that this process is to measure so many images: where these are not few, compile with the first."""
    global _many
    _many = _many or images > _FEW_IMAGES


def ready(function: Any) -> Any:
    """Return a compiled function as numba has it: to call that costs a microsecond less."""
    if not isinstance(function, Compiled):
        return function  # the name in its module is the dispatcher by now
    with _lock:
        if function.dispatcher is None:
            _prepare(function.function.__globals__)
        return function.dispatcher


def at_first(function: Any) -> Any:
    """Return what to call for the images that come next: numba's function, or what does without it for a few."""
    if isinstance(function, Compiled) and function.plain is not None and function.dispatcher is None:
        return function.start
    return ready(function)


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


def compiled_after(plain: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Mark a function to be compiled when `plain` has done the same for some images."""
    return lambda function: Compiled(function, plain)


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
