"""A result as plain containers and JSON, and back."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from gpustats.definition import Definition
from gpustats.errors import DataError
from gpustats.failures import FailureLog
from gpustats.install import __version__
from gpustats.result.groups import read_groups
from gpustats.result.version1 import from_version_1
from gpustats.saved import checksum, natural
from gpustats.statistics.duplicates import Duplicates
from gpustats.statistics.totals import Totals

__all__ = ["FORMAT", "FORMAT_OF_KINDS", "FORMAT_VERSION", "check_format", "chunks", "load", "plain", "read", "to_dict"]

FORMAT = "gpustats.stats"
FORMAT_OF_KINDS = "gpustats.kinds"
FORMAT_VERSION = 2

_Read = TypeVar("_Read")


def to_dict(stats: Any) -> dict[str, Any]:
    """Return a result in plain containers, see `Stats.to_dict`."""
    data = _without_groups(stats)
    if stats.grouped is not None:
        data["groups"] = {"by": stats.grouped.by, "groups": plain(dict(stats.groups.to_dict()))}
    return data


def _without_groups(stats: Any) -> dict[str, Any]:
    derived: dict[str, Any] = {}
    for name in (name for name, number in stats.numbers().items() if number.in_json):
        *namespace, last = name.split(".")
        place = derived
        for part in namespace:
            place = place.setdefault(part, {})
        place[last] = plain(stats.number(name).tolist())
    totals = stats.totals.to_dict()
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "gpustats": __version__,
        "complete": stats.complete,
        "images": stats.n_images,
        "pixels": stats.n_pixels,
        "exact": stats.exact,
        "channels": list(stats.channels),
        "scale": str(stats.scale),
        **({"value_range": stats.value_range} if stats.n_images else {}),
        **derived,
        "height_range": list(stats.height_range),
        "width_range": list(stats.width_range),
        "definition": stats.definition.to_dict(),
        "failures": stats.failures.to_dict(),
        "skipped": dict(sorted(stats.skipped.items())),
        "runs": list(stats.runs),
        "totals": totals,
        "checksum": checksum(totals),
        **({"sizes": plain(stats.sizes.to_dict())} if "sizes" in stats.totals.parts else {}),
        **({"duplicates": stats.duplicates.to_dict()} if stats.duplicates is not None else {}),
        **({"left_out": list(stats.left_out)} if stats.left_out else {}),
        **(_estimate(stats) if stats.estimate is not None else {}),
    }


def _estimate(stats: Any) -> dict[str, Any]:
    """Return what a sample says of itself: of how many images it is, and its errors where they are known."""
    found = {"estimate": stats.estimate.to_dict()}
    if stats.n_images and stats.complete and stats.estimate.even:
        found["stderr"] = {name: plain(stats.stderr(name).tolist()) for name in ("mean", "std")}
        found["confidence_interval_95"] = {
            name: plain(stats.confidence_interval(0.95, name).tolist()) for name in ("mean", "std")
        }
    return found


def _read_estimate(data: Any) -> Any:
    if data is None:
        return None
    from gpustats.result.estimate import Estimate

    return Estimate.from_dict(data)


def chunks(stats: Any) -> Iterator[str]:
    """Yield the text of `to_json` in pieces, one group at a time: 100,000 of them need not be in memory."""
    whole = json.dumps(_without_groups(stats), indent=1, allow_nan=False)
    if stats.grouped is None:
        yield whole
        return
    yield whole.removesuffix("\n}") + f',\n "groups": {{\n  "by": {json.dumps(stats.grouped.by)},\n  "groups": {{'
    comma = "\n"
    for name, group in stats.groups.to_dict():
        yield f"{comma}   {json.dumps(name)}: {json.dumps(plain(group), allow_nan=False)}"
        comma = ",\n"
    yield "\n  }\n }\n}"


def load(path: str | os.PathLike[str], read: Callable[[Any], _Read]) -> _Read:
    """Return what a function reads from the JSON of a file, see `Stats.load`."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{os.fspath(path)}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{os.fspath(path)}: not a gpustats result (it is not text)") from None
    try:
        return read(json.loads(text))
    except json.JSONDecodeError as error:
        raise DataError(f"{os.fspath(path)}: not a gpustats result (no JSON: {error})") from None
    except DataError as error:
        raise DataError(f"{os.fspath(path)}: {error}") from None


def check_format(data: Any, form: str) -> None:
    """Raise `DataError` where data are not of a format, or of a version of it that is not read."""
    found = data.get("format") if isinstance(data, dict) else None
    if found == FORMAT_OF_KINDS and form == FORMAT:
        raise DataError("it holds a result for each kind of images, see 'gpustats show'; gpustats.Kinds.load reads it")
    if found != form:
        raise DataError(f'not a gpustats result (no "format": "{form}")')
    if data.get("version") not in range(1, FORMAT_VERSION + 1):
        raise DataError(
            f"written in version {data.get('version')!r} of the result format, this gpustats ({__version__}) reads "
            f"versions 1 to {FORMAT_VERSION}; update gpustats"
        )


def read(data: Any) -> dict[str, Any]:
    """Return the fields of a result from what `to_dict` returned, see `Stats.from_dict`."""
    check_format(data, FORMAT)
    if data["version"] == 1:
        data = from_version_1(data)
    try:
        skipped = {str(k): natural(v, k) for k, v in data["skipped"].items()}
        runs = tuple(dict(run) for run in data["runs"])
        scale = Fraction(data["scale"])
        definition, failures, complete = data["definition"], data["failures"], data["complete"]
        totals = Totals.from_dict(data["totals"])
        left_out = tuple(str(name) for name in data.get("left_out", ()))
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(f"the result is incomplete or damaged: {error!r}") from None
    if "checksum" in data and data["checksum"] != checksum(totals.to_dict()):
        raise DataError(
            "the numbers do not fit their checksum: the file was edited, or written again by a program that rounds "
            "integers above 2**53, as JavaScript does; use the file that gpustats wrote"
        )
    if scale <= 0 or not isinstance(complete, bool):
        raise DataError(f"the result is damaged: scale {scale}, complete {complete!r}")
    return {
        "totals": totals,
        "definition": Definition.from_dict(definition),
        "failures": FailureLog.from_dict(failures),
        "skipped": skipped,
        "runs": runs,
        "complete": complete,
        "scale": scale,
        "grouped": read_groups(data["groups"], totals) if "groups" in data else None,
        "left_out": left_out,
        "estimate": _read_estimate(data.get("estimate")),
        "duplicates": Duplicates.from_dict(data["duplicates"]) if "duplicates" in data else None,
    }


def plain(value: Any) -> Any:
    """Return lists, dictionaries and numbers for JSON: None for what is not finite."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
