"""Gives every kernel of a lowered module its schedule: tuned where there is one, the template's default elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import tvm

from autotune_qnn.engines.relax.lower import LoweredModule
from autotune_qnn.engines.relax.task import TuningTask
from autotune_qnn.errors import BuildError, first_line
from autotune_qnn.kernels.templates.base import ScheduleRejected
from autotune_qnn.kernels.templates.primitives import TVM_SCHEDULE_ERRORS
from autotune_qnn.transforms.grouping import bindings, operator_name
from autotune_qnn.transforms.lower_groups import IN_PLACE, bare_kernel


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
        raise BuildError(f"{task.name}: the default schedule does not apply: {first_line(error)}") from error
    return sch.mod


def nothing_tuned(_task: TuningTask) -> None:
    """The history of a model that was never tuned."""
    return


def apply_best(lowered: LoweredModule, scheduled: Scheduled = nothing_tuned) -> tuple[Any, Coverage]:
    """The lowered module with every kernel scheduled, and how many were tuned.

    A kernel that stores its results in several places counts as tuned where its schedule applies to all of them.
    """
    mod = tvm.IRModule(dict(lowered.mod.functions_items()), attrs=lowered.mod.attrs)
    within = _called_in_place(mod["main"])
    counts: list[Coverage] = []
    for task in lowered.tasks:
        alone = [name for name in task.functions if name not in within]
        found = {
            name: _schedule(_storing(task, mod[name]), scheduled) for name in task.functions if name in within
        }
        if alone:
            found |= dict.fromkeys(alone, _schedule(task, scheduled))
        for name, (function, _) in found.items():
            variable = mod.get_global_var(name)
            mod[variable] = function.with_attr("global_symbol", name).with_attr("op_pattern", 8)
        counts.append(
            max((count for _, count in found.values()), key=lambda count: (count.missing, count.fallback))
        )
    return mod, Coverage(*(sum(getattr(count, name) for count in counts) for name in Coverage.__slots__))


def _called_in_place(main: Any) -> set[str]:
    """The global functions that store their results in larger tensors."""
    values = (binding.value for binding in bindings(main))
    return {value.args[0].name_hint for value in values if operator_name(value) == IN_PLACE}


def _storing(task: TuningTask, function: Any) -> TuningTask:
    """The task with its kernel as it is called, which stores the result in a larger tensor."""
    return replace(task, mod=tvm.IRModule({"main": bare_kernel(function)}))


def _schedule(task: TuningTask, scheduled: Scheduled) -> tuple[Any, Coverage]:
    """The task's kernel with a schedule, and how that counts."""
    chosen = scheduled(task)
    if chosen is not None:
        return chosen["main"], Coverage(1, 0, 0)
    chosen = default_schedule(task)
    if chosen is not None:
        return chosen["main"], Coverage(0, 1, 0)
    return task.mod["main"], Coverage(0, 0, 1)
