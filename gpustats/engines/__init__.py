"""Engines turn batches of samples into rows of exact numbers. `base.Engine` is the contract."""
