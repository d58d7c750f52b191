"""The convolutions and dense layers of a lowered network in order of execution, to be held against other engines'."""

from __future__ import annotations

from typing import Any

from tvm import relax

from autotune_qnn.engines.relax import LoweredModule, TuningTask
from autotune_qnn.transforms.grouping import bindings
from autotune_qnn.transforms.lower_groups import KERNEL_CALLS
from benchmarks.lib.layers import Layer

_WITH_WEIGHTS = ("qnn.conv2d", "qnn.dense")


def own_layers(lowered: LoweredModule) -> list[Layer]:
    """The layers with weights, each as often as the network runs it; `name` is the task's."""
    tasks = {name: task for task in lowered.tasks for name in task.functions}
    called = (binding.value for binding in bindings(lowered.mod["main"]))
    return [
        layer
        for call in called
        if _operator(call) in KERNEL_CALLS
        for layer in _layers(tasks[call.args[0].name_hint])
    ]


def _layers(task: TuningTask) -> list[Layer]:
    """Those in a task's kernel: what is fused behind them is not looked at."""
    if not task.macs:
        return []
    return [
        Layer(task.name, _shape(binding.value.args[0]), _shape(binding.var), task.macs)
        for binding in bindings(task.expected.mod["main"])
        if _operator(binding.value) in _WITH_WEIGHTS
    ]


def _operator(value: Any) -> str:
    return str(getattr(value.op, "name", "")) if isinstance(value, relax.Call) else ""


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in value.ty.shape)
