"""Benchmarks of gpustats beside its peers and beside what the machine could do at best; `python -m benchmarks`."""
