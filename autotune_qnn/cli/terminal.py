"""What goes to the terminal: results to stdout, everything else to stderr."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def show(text: str) -> None:
    """Write a result to stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Write a remark or an error to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
