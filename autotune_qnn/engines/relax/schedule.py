"""Gives every kernel of a lowered module its schedule: tuned where there is one, the template's default elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tvm

from autotune_qnn.engines.relax.lower import LoweredModule
from autotune_qnn.engines.relax.task import TuningTask
from autotune_qnn.errors import BuildError
from autotune_qnn.kernels.templates.base import ScheduleRejected
from autotune_qnn.kernels.templates.primitives import TVM_SCHEDULE_ERRORS


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many tasks run a tuned schedule, a default one, or TVM's unscheduled code."""

    tuned: int
    fallback: int
    missing: int


Scheduled = Callable[[TuningTask], Any | None]
"""From a task to its module with the tuned schedule applied, or None where nothing was tuned."""


def default_schedule(task: TuningTask) -> Any | None:
    """The task's module with its template's default configuration, or None where there is no template."""
    template = task.template()
    if template is None:
        return None
    sch = tvm.s_tir.Schedule(task.mod, debug_mask="none")
    try:
        template.apply(sch, template.default())
    except ScheduleRejected:
        return None
    except TVM_SCHEDULE_ERRORS as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BuildError(f"{task.name}: the default schedule does not apply: {reason}") from error
    return sch.mod


def nothing_tuned(_task: TuningTask) -> None:
    """The history of a model that was never tuned."""
    return


def apply_best(lowered: LoweredModule, scheduled: Scheduled = nothing_tuned) -> tuple[Any, Coverage]:
    """The lowered module with every kernel scheduled, and how many were tuned."""
    mod = tvm.IRModule(dict(lowered.mod.functions_items()), attrs=lowered.mod.attrs)
    tuned = fallback = missing = 0
    for task in lowered.tasks:
        chosen = scheduled(task)
        if chosen is not None:
            tuned += 1
        else:
            chosen = default_schedule(task)
            fallback += chosen is not None
            missing += chosen is None
        function = (task.mod if chosen is None else chosen)["main"]
        for name in task.functions:
            variable = mod.get_global_var(name)
            mod[variable] = function.with_attr("global_symbol", name).with_attr("op_pattern", 8)
    return mod, Coverage(tuned, fallback, missing)
