"""Traces: from a schedule to plain JSON, and from a log's JSON back to a schedule.

A log may come from anywhere, so a trace is checked before TVM sees it: only schedule primitives, and no
annotation that would import foreign code into the kernel.
"""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm.s_tir.schedule import Trace
from tvm.tirx import FloatImm, IntImm

from autotune_qnn.errors import LogStoreError, first_line
from autotune_qnn.kernels.intrinsics import ensure
from autotune_qnn.logs import TrialRecord

TVM_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, KeyError)
"""What TVM's schedule primitives raise: its own errors are RuntimeErrors, others keep Python's types."""

_MAX_INSTRUCTIONS = 20_000
_ANNOTATIONS = frozenset({"Annotate", "Unannotate"})
_FORBIDDEN = ("import", "debug")


def to_jsonable(value: Any) -> Any:
    """A trace's JSON with TVM's integers and containers turned into Python's."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, IntImm):
        return int(value.value)
    if isinstance(value, FloatImm):
        return float(value.value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "items"):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if hasattr(value, "__iter__"):
        return [to_jsonable(item) for item in value]
    raise TypeError(f"a trace holds a {type(value).__name__}, which JSON cannot")


def trace_json(schedule: Any) -> list[Any]:
    """The trace of a schedule as plain lists, ready for a record."""
    trace: list[Any] = to_jsonable(schedule.trace.as_json())
    return trace


def new_schedule(mod: Any) -> Any:
    """A traced schedule of an IRModule with the cheap settings of a search."""
    return tvm.s_tir.Schedule(mod, seed=1, debug_mask="none", error_render_level="none")


def replay(record: TrialRecord, task_mod: Any) -> Any:
    """The schedule that a record describes, on the unscheduled module of its task.

    Raises LogStoreError when the record has no trace, holds what no trace of ours would, or does not apply.
    """
    where = f"the record of trial {record.trial} for task {record.task_name!r:.120}"
    if record.trace is None:
        raise LogStoreError(f"{where} has no trace")
    _check(record.trace, where)
    _register_intrinsics(record.trace[0])
    schedule = new_schedule(task_mod)
    try:
        Trace.apply_json_to_schedule(record.trace, schedule)
    except TVM_ERRORS as error:
        reason = first_line(error)[:200]
        raise LogStoreError(f"{where} does not apply to its workload: {reason}") from None
    if _signature(schedule.mod) != _signature(task_mod):
        raise LogStoreError(f"{where} changes the kernel's signature")
    return schedule


def _register_intrinsics(instructions: list[Any]) -> None:
    """Register the tensor intrinsics that the trace names."""
    for instruction in instructions:
        if instruction[0] == "Tensorize":
            for name in instruction[2]:
                if isinstance(name, str):
                    ensure(name)


def _signature(mod: Any) -> list[tuple[tuple[str, ...], str]]:
    """Shape and dtype of every parameter of the module's kernel."""
    return [(tuple(map(str, buffer.shape)), str(buffer.dtype)) for buffer in mod["main"].params]


def _check(trace: list[Any], where: str) -> None:
    if len(trace) != 2 or not all(isinstance(part, list) for part in trace):
        raise LogStoreError(f"{where} holds no trace of two lists")
    if len(trace[0]) > _MAX_INSTRUCTIONS:
        raise LogStoreError(f"{where} has {len(trace[0])} instructions; at most {_MAX_INSTRUCTIONS} are read")
    for instruction in trace[0]:
        if not _is_instruction(instruction):
            raise LogStoreError(f"{where} holds something that is no instruction of a schedule")
        if instruction[0] in _ANNOTATIONS and any(word in str(instruction) for word in _FORBIDDEN):
            raise LogStoreError(f"{where} annotates a loop with something that tuning never writes")
    places = [entry[0] if isinstance(entry, list) and len(entry) == 2 else None for entry in trace[1]]
    if any(not isinstance(place, int) or not 0 <= place < len(trace[0]) for place in places):
        raise LogStoreError(f"{where} decides for an instruction that it does not have")
    _check_numbers(trace, where)


def _is_instruction(value: Any) -> bool:
    """Whether a value is [name, inputs, attributes, outputs], which is all that TVM checks badly itself."""
    if not isinstance(value, list) or len(value) != 4 or not isinstance(value[0], str):
        return False
    return all(isinstance(part, list) for part in value[1:])


def _check_numbers(value: Any, where: str) -> None:
    """Integers must fit 64 bits, which is all that TVM reads."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, int) and abs(item) >= 1 << 62:
            raise LogStoreError(f"{where} holds a number of more than 62 bits")
        elif isinstance(item, float) and not math.isfinite(item):
            raise LogStoreError(f"{where} holds a number that is not finite")
