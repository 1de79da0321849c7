"""Fuzzing: mutated files of every format, decoded as a run decodes them.

A few seconds of it run with the tests. Longer, by hand::

    python -m tests.fuzz --rounds 20000 --seed 7
    python -m tests.fuzz --kind JPEG --files photos/ --rounds 1000

A target is a function that takes bytes and raises nothing; `targets.TARGETS` lists them by name.
"""
