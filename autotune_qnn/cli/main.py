"""The entry point: parses options, runs one subcommand, turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import logging
import sys
from collections.abc import Sequence

from autotune_qnn.cli.options import make_parser
from autotune_qnn.cli.terminal import INTERRUPTED, say
from autotune_qnn.errors import AutotuneQnnError, MissingDependencyError

_OURS = "autotune_qnn"
_FFI_PIN = "0.1.14"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Results go to stdout, everything else to stderr."""
    arguments = make_parser().parse_args(argv)
    level = logging.ERROR if arguments.quiet else logging.INFO if arguments.verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s: %(message)s", force=True)
    try:
        if arguments.command != "doctor":
            check_ffi()
        return _run(arguments)
    except AutotuneQnnError as error:
        say(f"error: {one_line(str(error))}")
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def one_line(text: str) -> str:
    """An error's message on one line; lists that it holds keep their order."""
    return " ".join(text.split())


def check_ffi() -> None:
    """Stop before TVM is imported beside a tvm-ffi with which storing a module segfaults."""
    try:
        found = importlib.metadata.version("apache-tvm-ffi")
    except importlib.metadata.PackageNotFoundError:
        raise MissingDependencyError(
            "apache-tvm-ffi is not installed in this Python; set everything up with scripts/setup"
        ) from None
    if not found.startswith(f"{_FFI_PIN}."):
        raise MissingDependencyError(
            f"apache-tvm-ffi {found} crashes when TVM stores a module; install the pinned one: "
            "pip install 'apache-tvm-ffi>=0.1.14.post1,<0.1.15'"
        )


def _run(arguments: argparse.Namespace) -> int:
    """Run the subcommand. What it needs, now or later, and is not installed is named."""
    try:
        return int(importlib.import_module(f"{_OURS}.cli.{arguments.command}").run(arguments))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == _OURS:
            raise
        raise MissingDependencyError(
            f"the package {error.name} is not installed in {sys.executable}; "
            "set everything up with scripts/setup"
        ) from None
