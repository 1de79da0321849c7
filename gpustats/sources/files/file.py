"""A file that a source reads from: on this machine, or behind a URL (`remote.RemoteFile`)."""

from __future__ import annotations

import os
import re
from typing import BinaryIO, Protocol

__all__ = ["LOCAL_SCHEMES", "File", "LocalFile", "key_of", "public_url"]


LOCAL_SCHEMES = ("file://", "local://")


class File(Protocol):
    """What a container source needs to know of its file.

    Attributes
    ----------
    label : str
        For messages; holds no credentials.
    name : str
        The last part of the path, which says by its ending what the file is.
    path : str or None
        The path on this machine; None for a remote file.
    identity : str
        The path, or what tells a remote file from others; may hold a query, so it is not to be shown.
    """

    label: str
    name: str
    path: str | None
    identity: str

    def open(self) -> BinaryIO:
        """Open for reading; the result is seekable and belongs to one thread at a time."""
        ...

    def sibling(self, name: str) -> str:
        """Return the path that the relative path `name` means from this file."""
        ...

    def below(self, name: str) -> File:
        """Return a file in this, which is a folder."""
        ...


class LocalFile:
    """A file on this machine.

    Parameters
    ----------
    path : str
        Need not exist yet.
    """

    def __init__(self, path: str) -> None:
        self.path: str | None = path
        self.identity = path
        self.label = path
        self.name = os.path.basename(path)
        self._path = path

    def open(self) -> BinaryIO:
        """Open for reading."""
        return open(self._path, "rb")

    def sibling(self, name: str) -> str:
        """Return the path of a file in the same folder; an absolute path stays as it is."""
        return os.path.join(os.path.dirname(self._path), name)

    def below(self, name: str) -> LocalFile:
        """Return a file in this folder."""
        return LocalFile(os.path.join(self._path, name))


def public_url(url: str) -> str:
    """Return a URL, or several that are chained as fsspec has it, without user information, query and fragment.

    >>> public_url("https://me:secret@example.org/a.tar?token=1")
    'https://example.org/a.tar'
    >>> public_url("simplecache::https://me:secret@[::1]/a.tar?token=1")
    'simplecache::https://[::1]/a.tar'
    """
    return "::".join(map(_public, _CHAINED.split(url)))


_CHAINED = re.compile(r"::(?=[A-Za-z0-9+.-]+(?:://|::))")


def _public(url: str) -> str:
    scheme, parted, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    host, path = (re.split("[?#]", part)[0] for part in (host.rpartition("@")[2], path))
    return f"{scheme}{parted}{host}{slash}{path}"


def key_of(path: str) -> str:
    """Return the key for a path or URL as the user wrote it: forward slashes, no credentials."""
    return public_url(path) if "://" in path else path.replace(os.sep, "/")
