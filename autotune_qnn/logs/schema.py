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
_MAX_FEATURES = 512
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
    kernels ran with, `arithmetic` the interpreter whose rounding the kernels follow. `pinning` says on which
    cores kernels ran and `frequency` what the system tells of their clock; both are empty in older logs.
    """

    target: str
    tvm_version: str
    cpu: str
    threads: int
    package_version: str
    model: str
    arithmetic: str
    schema_version: int = SCHEMA_VERSION
    pinning: str = ""
    frequency: str = ""

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
                "pinning": self.pinning,
                "frequency": self.frequency,
            }
        )


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a comparison of a task's leaders, measured in turns, said of one of them.

    `trial` and `trial_time` are the number and the timestamp of the trial, `session` the Unix time of the comparison,
    which all that took part share, `rank` the place in it (0: the schedule to build with).
    """

    task_key: str
    trial: int
    trial_time: float
    session: float
    rank: int
    run_secs: tuple[float, ...]
    noise: float = 0.0

    def to_json(self) -> str:
        """The confirmation as one line of JSON, without the newline."""
        return _dump(
            {
                "type": "confirmation",
                "task_key": self.task_key,
                "trial": self.trial,
                "trial_time": round(self.trial_time, 3),
                "session": round(self.session, 3),
                "rank": self.rank,
                "run_secs": [float(f"{value:.6g}") for value in self.run_secs],
                "noise": _short(self.noise),
            }
        )


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One measured (or failed) trial.

    `run_secs` holds seconds per run, one figure a repeat, empty unless `status` is OK. `config` is the
    template's configuration (AUTOTVM), `trace` the schedule's trace as MetaSchedule writes it in JSON.
    `trial` counts the trials of this log; `timestamp` is Unix time in seconds. `source` names the template
    or the kind of sketch. `features` is what the cost model saw, after the version of its features (nothing in
    older logs); `noise` how long a fixed piece of work took beside the measurement, relative to its shortest time
    in the run (1 on a quiet machine, 0 unknown), and `mhz` the clock where the system tells it (else 0).
    `confirmation` is the last comparison that the trial took part in.
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
    features: tuple[float, ...] = ()
    noise: float = 0.0
    mhz: float = 0.0
    confirmation: Confirmation | None = None

    @property
    def seconds(self) -> float:
        """The trial's latency: the minimum of its repeats, which survives noisy neighbours; inf if it
        failed.
        """
        return min(self.run_secs) if self.status is Status.OK else math.inf

    @property
    def standing(self) -> tuple[float, int, float]:
        """What records of a task are sorted by, the one to build with first: those of the latest comparison in
        its order, before those that no comparison confirmed, by their seconds.
        """
        if self.confirmation is None:
            return 0.0, 0, self.seconds
        return -self.confirmation.session, self.confirmation.rank, self.seconds

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
                "features": [_short(value) for value in self.features],
                "noise": _short(self.noise),
                "mhz": _short(self.mhz),
                "timestamp": round(self.timestamp, 3),
                "trial": self.trial,
            }
        )


def parse_line(line: bytes) -> LogHeader | TrialRecord | Confirmation:
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
    if kind == "confirmation":
        return _parse_confirmation(fields)
    raise RecordError(f"field 'type' is {kind!r:.40}; expected 'header', 'trial' or 'confirmation'")


def _dump(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def _short(value: float) -> float:
    """Few digits; whole numbers without a fraction."""
    rounded = round(value, 3)
    return int(rounded) if rounded == int(rounded) else rounded


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
        pinning=_text(fields, "pinning") if "pinning" in fields else "",
        frequency=_text(fields, "frequency") if "frequency" in fields else "",
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
        features=_features(fields),
        noise=_number(fields.get("noise", 0.0), "noise"),
        mhz=_number(fields.get("mhz", 0.0), "mhz"),
    )


def _parse_confirmation(fields: Mapping[str, Any]) -> Confirmation:
    run_secs = _run_secs(fields)
    if not run_secs:
        raise RecordError("field 'run_secs' is empty")
    return Confirmation(
        task_key=_text(fields, "task_key", 256),
        trial=_integer(fields, "trial", 0, 1 << 48),
        trial_time=_number(fields.get("trial_time"), "trial_time"),
        session=_number(fields.get("session"), "session"),
        rank=_integer(fields, "rank", 0, 1 << 16),
        run_secs=run_secs,
        noise=_number(fields.get("noise", 0.0), "noise"),
    )


def _features(fields: Mapping[str, Any]) -> tuple[float, ...]:
    values = fields.get("features", [])
    if not isinstance(values, list) or len(values) > _MAX_FEATURES:
        raise RecordError(f"field 'features' must be a list of at most {_MAX_FEATURES} numbers")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e18:
            raise RecordError("field 'features' must hold finite numbers")
    return tuple(float(value) for value in values)


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
