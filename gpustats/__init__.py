"""Exact per-channel statistics of image datasets."""

__version__ = "0.1.0"
