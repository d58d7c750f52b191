"""The exception tree. Each class carries the exit code with which the command line ends.

A message says what was wrong, where (file, operator, tensor), what was expected, and what to do.
"""

from __future__ import annotations


class AutotuneQnnError(Exception):
    """Base of every error that a user can cause or can act on."""

    exit_code = 1


class UsageError(AutotuneQnnError):
    """An option or argument that cannot be used as given."""

    exit_code = 2


class ModelError(AutotuneQnnError):
    """A model file that is missing, unreadable, damaged or not quantized."""

    exit_code = 3


class UnsupportedOperatorError(ModelError):
    """A model with operators that no importer rule covers; the message lists all of them."""

    exit_code = 4


class TargetError(AutotuneQnnError):
    """A target that cannot be parsed, is unknown, or cannot run on this machine."""

    exit_code = 5


class LogStoreError(AutotuneQnnError):
    """A tuning log that cannot be read, written, or belongs to another target or model."""

    exit_code = 6


class MissingDependencyError(AutotuneQnnError):
    """A framework that is not installed; the message names the extra that brings it."""

    exit_code = 7


class DatasetError(AutotuneQnnError):
    """An image, archive or array file that cannot be used as evaluation data."""

    exit_code = 8


class DialectError(AutotuneQnnError):
    """A QNN operator whose operands or attributes break its rules."""

    exit_code = 9


class BuildError(AutotuneQnnError):
    """A module that could not be compiled, exported or loaded."""

    exit_code = 10


class VerificationError(AutotuneQnnError):
    """An output that differs from its reference where it must not."""

    exit_code = 11


def first_line(error: BaseException) -> str:
    """The first line of what another package's error says, the error's type where it says nothing."""
    return _lines(error)[0]


def last_line(error: BaseException) -> str:
    """The last line of what another package's error says, the error's type where it says nothing."""
    return _lines(error)[-1]


def _lines(error: BaseException) -> list[str]:
    lines = [line.strip() for line in str(error).splitlines()]
    return [line for line in lines if line] or [type(error).__name__]
