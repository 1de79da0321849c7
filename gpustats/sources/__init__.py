"""Where images come from. `open_source` picks the kind; each kind is one module with the contract of `base.Source`."""

from __future__ import annotations

from gpustats.sources.base import Batch, Source
from gpustats.sources.items import load
from gpustats.sources.open import open_source
from gpustats.sources.options import SourceOptions

__all__ = ["Batch", "Source", "SourceOptions", "load", "open_source"]
