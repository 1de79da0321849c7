"""The command line: arguments in, text out. A command is one file here, and one line in `program`."""

from gpustats.cli.program import main

__all__ = ["main"]
