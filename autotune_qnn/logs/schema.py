"""The lines of a tuning log: one header, then one record a trial, each a JSON object.

Logs are shared between people and machines, so that what is read is checked field by field: types, finite
numbers, and sizes. `parse_*` raise RecordError with the field's name; the store decides what that means.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning or disappears."""

MAX_LINE_BYTES = 4 << 20
"""Longest line of a log; a trace of the largest kernels takes some ten kilobytes."""

E = TypeVar("E", bound=StrEnum)

_MAX_TEXT = 4096
_MAX_REPEATS = 10_000
_MAX_KNOBS = 256
_MAX_ERROR = 600


class RecordError(ValueError):
    """A line that is not what a log may hold; the store counts it or turns it into a LogStoreError."""


class Status(StrEnum):
    """How a trial ended."""

    OK = "ok"
    COMPILE_ERROR = "compile_error"
    TIMEOUT = "timeout"
    WRONG_RESULT = "wrong_result"
    CRASH = "crash"
    RUNTIME_ERROR = "runtime_error"


class TunerName(StrEnum):
    """The search that proposed a trial."""

    AUTOTVM = "autotvm"
    AUTOSCHEDULER = "autoscheduler"


@dataclass(frozen=True, slots=True)
class LogHeader:
    """The conditions under which every record of a file was measured.

    `target` is the canonical target string, `cpu` the CPU's model name, `threads` the number of threads that
    kernels ran with, `arithmetic` the interpreter whose rounding the kernels follow.
    """

    target: str
    tvm_version: str
    cpu: str
    threads: int
    package_version: str
    model: str
    arithmetic: str
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The header as one line of JSON, without the newline."""
        return _dump(
            {
                "type": "header",
                "schema_version": self.schema_version,
                "target": self.target,
                "tvm_version": self.tvm_version,
                "cpu": self.cpu,
                "threads": self.threads,
                "package_version": self.package_version,
                "model": self.model,
                "arithmetic": self.arithmetic,
            }
        )


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One measured (or failed) trial.

    `run_secs` holds seconds per run, one figure a repeat, empty unless `status` is OK. `config` is the
    template's configuration (AUTOTVM), `trace` the schedule's trace as MetaSchedule writes it in JSON.
    `trial` counts the trials of this log; `timestamp` is Unix time in seconds. `source` names the template
    or the kind of sketch.
    """

    task_key: str
    task_name: str
    kind: str
    tuner: TunerName
    config: Mapping[str, int] | None
    trace: list[Any] | None
    status: Status
    run_secs: tuple[float, ...]
    error: str
    timestamp: float
    trial: int
    source: str = ""

    @property
    def seconds(self) -> float:
        """The trial's latency: the minimum of its repeats, which survives noisy neighbours; inf if it
        failed.
        """
        return min(self.run_secs) if self.status is Status.OK else math.inf

    def to_json(self) -> str:
        """The record as one line of JSON, without the newline."""
        return _dump(
            {
                "type": "trial",
                "task_key": self.task_key,
                "task_name": self.task_name,
                "kind": self.kind,
                "tuner": self.tuner.value,
                "source": self.source,
                "config": None if self.config is None else dict(self.config),
                "trace": self.trace,
                "status": self.status.value,
                "run_secs": [float(f"{value:.6g}") for value in self.run_secs],
                "error": self.error[:_MAX_ERROR],
                "timestamp": round(self.timestamp, 3),
                "trial": self.trial,
            }
        )


def parse_line(line: bytes) -> LogHeader | TrialRecord:
    """Read one line of a log. Raises RecordError when it is not one that this package could have written."""
    if len(line) > MAX_LINE_BYTES:
        raise RecordError(f"a line of {len(line)} bytes; at most {MAX_LINE_BYTES} are read")
    try:
        fields = json.loads(line, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise RecordError(f"a JSON object is expected, not {type(fields).__name__}")
    kind = fields.get("type")
    if kind == "header":
        return _parse_header(fields)
    if kind == "trial":
        return _parse_trial(fields)
    raise RecordError(f"field 'type' is {kind!r:.40}; expected 'header' or 'trial'")


def _dump(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _parse_header(fields: Mapping[str, Any]) -> LogHeader:
    version = _integer(fields, "schema_version", 0, 1 << 31)
    if version != SCHEMA_VERSION:
        raise RecordError(f"schema version {version}; this package reads version {SCHEMA_VERSION}")
    return LogHeader(
        target=_text(fields, "target"),
        tvm_version=_text(fields, "tvm_version"),
        cpu=_text(fields, "cpu"),
        threads=_integer(fields, "threads", 1, 1 << 16),
        package_version=_text(fields, "package_version"),
        model=_text(fields, "model"),
        arithmetic=_text(fields, "arithmetic"),
        schema_version=version,
    )


def _parse_trial(fields: Mapping[str, Any]) -> TrialRecord:
    status = _member(fields, "status", Status)
    run_secs = _run_secs(fields)
    if bool(run_secs) != (status is Status.OK):
        raise RecordError(f"field 'run_secs' has {len(run_secs)} values with status {status.value!r}")
    trace = fields.get("trace")
    if trace is not None and not isinstance(trace, list):
        raise RecordError("field 'trace' must be a list or null")
    return TrialRecord(
        task_key=_text(fields, "task_key", 256),
        task_name=_text(fields, "task_name"),
        kind=_text(fields, "kind", 256),
        tuner=_member(fields, "tuner", TunerName),
        config=_config(fields),
        trace=trace,
        status=status,
        run_secs=run_secs,
        error=_text(fields, "error"),
        timestamp=_number(fields.get("timestamp"), "timestamp"),
        trial=_integer(fields, "trial", 0, 1 << 48),
        source=_text(fields, "source", 256) if "source" in fields else "",
    )


def _text(fields: Mapping[str, Any], name: str, limit: int = _MAX_TEXT) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > limit:
        raise RecordError(f"field {name!r} must be a string of at most {limit} characters")
    return value


def _integer(fields: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise RecordError(f"field {name!r} must be an integer from {low} to {high}")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e18:
        raise RecordError(f"field {name!r} must hold finite numbers from 0")
    return float(value)


def _member(fields: Mapping[str, Any], name: str, kind: type[E]) -> E:
    value = fields.get(name)
    try:
        return kind(str(value))
    except ValueError:
        expected = ", ".join(member.value for member in kind)
        raise RecordError(f"field {name!r} is {value!r:.40}; expected one of {expected}") from None


def _run_secs(fields: Mapping[str, Any]) -> tuple[float, ...]:
    values = fields.get("run_secs")
    if not isinstance(values, list) or len(values) > _MAX_REPEATS:
        raise RecordError(f"field 'run_secs' must be a list of at most {_MAX_REPEATS} numbers")
    seconds = tuple(_number(value, "run_secs") for value in values)
    if any(value <= 0 for value in seconds):
        raise RecordError("field 'run_secs' must hold positive numbers")
    return seconds


def _config(fields: Mapping[str, Any]) -> dict[str, int] | None:
    values = fields.get("config")
    if values is None:
        return None
    if not isinstance(values, dict) or len(values) > _MAX_KNOBS:
        raise RecordError(f"field 'config' must be an object of at most {_MAX_KNOBS} knobs, or null")
    return {name[:256]: _integer(values, name, -(1 << 62), 1 << 62) for name in values}
