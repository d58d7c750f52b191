"""What the commands of this folder share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from autotune_qnn.cli.options import make_parser
from autotune_qnn.errors import AutotuneQnnError

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder."""


def build_options(words: Sequence[str]) -> argparse.Namespace:
    """The options of `build` that a command passes on. Nothing is written to their --output."""
    return make_parser().parse_args(["build", "--output", "unused.so", *words])


def exit_code(work: Callable[[], int]) -> int:
    """What `work` returns; where it raises one of the package's errors, that error's code, once it has been told."""
    try:
        return work()
    except AutotuneQnnError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
