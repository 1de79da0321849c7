"""Mutation testing: what share of small random changes to the package do the tests notice?

``python -m tests.mutation --sample 200 --seed 1`` draws changes with the operators of cosmic-ray, makes one at a time
in a copy of the repository and runs the tests that guard the changed module. `guards` is the table of modules and
tests, `mutants` finds and filters the changes, `study` draws, runs and writes. Results stand in ``results/``.

cosmic-ray was taken and not mutmut because it changes the file on disk, one change at a time: mutmut compiles all
variants of a function into one module and switches between them while it runs, which neither functions compiled by
numba nor tests in processes of their own can follow.
"""
