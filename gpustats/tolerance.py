"""How many failures a run puts up with."""

from __future__ import annotations

__all__ = ["JUDGED_FROM", "FailureLimit"]

JUDGED_FROM = 1000
"""Images seen before a share of failures is judged on the way; at the end it is judged whatever their number."""


class FailureLimit:
    """A limit on failed images, as a count or as a share of all images.

    Parameters
    ----------
    limit : int, float or None
        An integer counts images; a float from 0 to 1 is a share of the images seen; None is no limit.

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> FailureLimit(0.01).exceeded(failed=20, seen=1500)
    True
    >>> FailureLimit(20).exceeded(failed=20, seen=25)
    False
    """

    def __init__(self, limit: float | None) -> None:
        share = isinstance(limit, float)
        if limit is not None and (
            isinstance(limit, bool)
            or not isinstance(limit, int | float)
            or not (0 <= limit <= 1 if share else limit >= 0)
        ):
            raise ValueError(
                f"max_failures should be a count (an integer from 0), a share (a float from 0.0 to 1.0) or None, "
                f"got {limit!r}"
            )
        self._limit = limit
        self._share = share

    def exceeded(self, failed: int, seen: int, final: bool = False) -> bool:
        """Say whether `failed` of `seen` images are too many; `final` where no more will come."""
        if self._limit is None:
            return False
        if not self._share:
            return failed > self._limit
        return failed > self._limit * seen and (final or seen >= JUDGED_FROM)

    def __str__(self) -> str:
        return f"{self._limit:,}"
