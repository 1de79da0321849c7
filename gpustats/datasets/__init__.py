"""Datasets that gpustats makes, and datasets that everybody knows."""
