"""Planted faults: small realistic errors in the package, each with the test that must fail when it is there.

A module of this folder holds the faults of one area in a list ``FAULTS``. ``python -m tests.planted`` plants each in a
copy of the repository and runs its test; the suite does so with the first of every area, so a quick one stands there.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Fault"]


class Fault(NamedTuple):
    """One error to plant.

    Attributes
    ----------
    path : str
        The file, relative to the top of the repository.
    old, new : str
        The text that occurs exactly once in the file, and the text that replaces it.
    test : str
        The pytest node id (without parameters where several apply) of a test that must fail.
    """

    path: str
    old: str
    new: str
    test: str
