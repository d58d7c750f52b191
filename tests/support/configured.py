"""Kernels with schedules of one's choice: compiled, and held against the dialect's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm

from autotune_qnn.engines.relax import TargetSpec, TuningTask, lower
from autotune_qnn.kernels.templates.base import Config, ScheduleTemplate
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from tests.support.networks import ConvCase


def runnable(text: str) -> TargetSpec:
    """The target; the test is skipped where this machine cannot run its code."""
    target = TargetSpec.parse(text)
    reason = target.runs_here()
    if reason:
        pytest.skip(f"{text} cannot run here: {reason}")
    return target


def main_task(case: ConvCase, target: TargetSpec, threads: int = 1) -> TuningTask:
    """The task of the case's convolution."""
    return next(task for task in lower(case.module(), target, threads).tasks if task.kind != "plain")


def template_of(task: TuningTask) -> ScheduleTemplate:
    """The task's template, which has to be there."""
    template = task.template()
    assert template is not None
    return template


def scheduled(task: TuningTask, template: ScheduleTemplate, config: Config) -> Any:
    """The task's module with a schedule."""
    schedule = tvm.s_tir.Schedule(task.mod, debug_mask="none")
    template.apply(schedule, config)
    return schedule.mod


def compiled(task: TuningTask, target: TargetSpec, template: ScheduleTemplate, config: Config) -> Any:
    """The library of a task's kernel with a schedule."""
    return compile_kernel(scheduled(task, template, config), target.tvm())


def with_knobs(task: TuningTask, target: TargetSpec, **knobs: int) -> Any:
    """The library of a task's kernel with its template's default schedule but for some knobs."""
    template = template_of(task)
    return compiled(task, target, template, template.default().replace(**knobs))


def check(library: Any, arguments: list[Any], expected: list[Any], said: object = "") -> None:
    """Run a kernel on a task's `arguments` and compare its output, which is the last of them."""
    tensors = [tvm.runtime.tensor(array) for array in arguments]
    library["main"](*tensors)
    np.testing.assert_array_equal(tensors[-1].numpy(), expected[0], err_msg=str(said))
