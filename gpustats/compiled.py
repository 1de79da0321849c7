"""How functions of this package become machine code: by numba, without the interpreter lock, kept on disk."""

from __future__ import annotations

from typing import Any

from numba import njit

__all__ = ["compiled"]


def compiled(function: Any) -> Any:
    """Compile without the interpreter lock; keep the machine code on disk where some folder can be written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder for its cache (read-only installation without a home)
        return njit(nogil=True)(function)
