"""Files that sources read from: on this machine, or behind a URL."""

from __future__ import annotations

from gpustats.sources.files.file import File, LocalFile, key_of, public_url

__all__ = ["File", "LocalFile", "key_of", "public_url"]
