"""What is installed: the version, and the line that installs an extra, made from how this package was installed."""

from __future__ import annotations

import json

__all__ = ["DISTRIBUTION", "__version__", "pip_install"]

__version__ = "0.2.0"

DISTRIBUTION = "gpustats-images"
"""The name for pip. The name ``gpustats`` on the Python package index belongs to another project."""


def pip_install(extra: str) -> str:
    """Return the command that installs an extra.

    Parameters
    ----------
    extra : str
        A name under ``optional-dependencies`` in ``pyproject.toml``.

    Returns
    -------
    str
        ``pip install '.[EXTRA]'`` where the package comes from a source checkout, the name of the distribution where it
        comes from a package index, and the location as well where it comes from a wheel or a repository.

    Examples
    --------
    >>> pip_install("parquet")  # doctest: +SKIP
    "pip install '.[parquet]'"
    """
    return f"pip install '{_requirement(extra)}'"


def _requirement(extra: str) -> str:
    from importlib import metadata  # not at the start: it takes 20 ms

    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return f".[{extra}]"
    if not text:
        return f"{DISTRIBUTION}[{extra}]"
    origin = json.loads(text)  # PEP 610
    if "dir_info" in origin:
        return f".[{extra}]"
    tool = f"{origin['vcs_info']['vcs']}+" if "vcs_info" in origin else ""
    return f"{DISTRIBUTION}[{extra}] @ {tool}{origin['url']}"
