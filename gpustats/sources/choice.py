"""Which column, feature, array or dataset is the image: the one rule of all containers.

A container says what its candidates are, by type and shape. One with a usual name is taken, else the only one; what was
taken is in the result. Several that are equally good are an error that lists them and the option to choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gpustats.failures import ImageError, printable

__all__ = ["choose_one", "listed"]

_LISTED = 20


def choose_one(
    candidates: Mapping[str, object], *, what: str, choose_with: str, usual: tuple[tuple[str, ...], ...] = ()
) -> str | None:
    """Return the candidate that is the image; None where there is no candidate.

    Parameters
    ----------
    candidates : mapping of str to object
        By name; the value is a type or shape, for the error.
    what : str
        What they are, in the plural.
    choose_with : str
        The way to choose.
    usual : tuple of tuple of str
        Names of images in lower case, the best ones first; those in one tuple are equally good.

    Raises
    ------
    ImageError
        Where several are equally good.

    Examples
    --------
    >>> choose_one({"mask": "", "Image": ""}, what="columns", choose_with="column=", usual=(("image", "img"),))
    'Image'
    """
    best: Iterable[str] = candidates
    for names in usual:
        found = [name for name in candidates if name.lower() in names]
        if found:
            best = found
            break
    best = list(best)
    if len(best) > 1:
        several = listed({name: candidates[name] for name in best})
        raise ImageError("unsupported", f"several {what} may hold images: {several}; choose with {choose_with}")
    return best[0] if best else None


def listed(candidates: Mapping[str, object]) -> str:
    """Return names with their types or shapes, at most twenty of them."""
    names = [f"{printable(name)[:100]} {found}".rstrip() for name, found in candidates.items()]
    return ", ".join([*names[:_LISTED], *(["..."] if len(names) > _LISTED else [])]) or "none"
