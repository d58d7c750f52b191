from __future__ import annotations

import json
import math
from typing import Any

import pytest

from autotune_qnn.logs import LogHeader, Status, TrialRecord, TunerName
from autotune_qnn.logs.schema import RecordError, parse_line

HEADER = LogHeader("llvm -mcpu=x", "0.27", "a cpu", 1, "0.1.0", "model", "xnnpack")


def record(**changes: Any) -> TrialRecord:
    fields: dict[str, Any] = {
        "task_key": "k",
        "task_name": "conv2d",
        "kind": "conv2d",
        "tuner": TunerName.AUTOTVM,
        "config": {"tile": 4},
        "trace": [[["GetSBlock", [], ["C", "main"], ["b0"]]], []],
        "status": Status.OK,
        "run_secs": (2e-3, 1e-3),
        "error": "",
        "timestamp": 12.5,
        "trial": 3,
        "source": "gemm",
    }
    return TrialRecord(**{**fields, **changes})


def test_header_and_record_survive_the_line() -> None:
    assert parse_line(HEADER.to_json().encode()) == HEADER
    assert parse_line(record().to_json().encode()) == record()
    failed = record(
        status=Status.CRASH, run_secs=(), error="SIGSEGV", config=None, tuner=TunerName.AUTOSCHEDULER
    )
    assert parse_line(failed.to_json().encode()) == failed


def test_seconds_is_the_minimum_and_infinite_for_failures() -> None:
    assert record().seconds == 1e-3
    assert record(status=Status.TIMEOUT, run_secs=()).seconds == math.inf


@pytest.mark.parametrize(
    "change, message",
    [
        ({"run_secs": [float("nan")]}, "NaN"),
        ({"run_secs": [-1.0]}, "run_secs"),
        ({"run_secs": []}, "run_secs"),
        ({"run_secs": [1e-3] * 10_001}, "run_secs"),
        ({"run_secs": [10**400]}, "run_secs"),
        ({"status": "fine"}, "status"),
        ({"tuner": 3}, "tuner"),
        ({"config": {"tile": 1.5}}, "tile"),
        ({"config": {"tile": True}}, "tile"),
        ({"config": [1]}, "config"),
        ({"trace": "x"}, "trace"),
        ({"task_key": "k" * 300}, "task_key"),
        ({"trial": -1}, "trial"),
        ({"type": "other"}, "type"),
        ({"error": "x" * 5000}, "error"),
    ],
)
def test_hostile_fields_are_named(change: dict[str, Any], message: str) -> None:
    fields = {**json.loads(record().to_json()), **change}
    with pytest.raises(RecordError, match=message):
        parse_line(json.dumps(fields).encode())


@pytest.mark.parametrize(
    "line", [b"", b"nonsense", b"[1]", b"[" * 100_000, b"\xff\xfe", b'{"a":' + b"1" * 5000 + b"}"]
)
def test_other_lines_are_rejected(line: bytes) -> None:
    with pytest.raises(RecordError):
        parse_line(line)


def test_another_schema_version_is_named() -> None:
    fields = {**json.loads(HEADER.to_json()), "schema_version": 99}
    with pytest.raises(RecordError, match="schema version 99"):
        parse_line(json.dumps(fields).encode())
