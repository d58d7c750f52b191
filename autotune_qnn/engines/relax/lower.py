"""Lowers a module for a target and extracts its tuning tasks."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax, tirx

from autotune_qnn.engines.relax.target import TargetSpec
from autotune_qnn.engines.relax.task import KernelReference, PlainReference, TuningTask, reference_module
from autotune_qnn.kernels.templates.plain import PlainTemplate
from autotune_qnn.transforms.grouping import bindings, dtype_of, shape_of
from autotune_qnn.transforms.lower_groups import LoweredKernel, workload_key
from autotune_qnn.transforms.pipeline import Dump, to_kernels

_LONGEST_NAME = 96


@dataclass(frozen=True)
class LoweredModule:
    """A network as calls of unscheduled kernels, and one tuning task for each different kernel."""

    mod: Any
    tasks: tuple[TuningTask, ...]
    target: TargetSpec
    threads: int


def lower(mod: Any, target: TargetSpec, threads: int, dump: Dump | None = None) -> LoweredModule:
    """Lower a module in the QNN dialect for a target and a number of threads.

    Raises BuildError where an operator has no kernel.
    """
    lowered, kernels = to_kernels(mod, target.isa, target.tvm(), dump)
    calls = _calls(lowered)
    tasks: list[TuningTask] = []
    names: Counter[str] = Counter()
    merged: dict[str, list[str]] = {}
    for variable, function in lowered.functions_items():
        if isinstance(function, tirx.PrimFunc) and calls[variable.name_hint]:
            bare = function.without_attr("op_pattern").with_attr("global_symbol", "main")
            merged.setdefault(workload_key(bare), []).append(variable.name_hint)
    for key, functions in merged.items():
        function = lowered[functions[0]].without_attr("op_pattern").with_attr("global_symbol", "main")
        task = _task(key, functions, function, kernels.get(functions[0]), threads, calls, target)
        names[task.name] += 1
        tasks.append(task if names[task.name] == 1 else _renamed(task, names[task.name]))
    return LoweredModule(lowered, tuple(tasks), target, threads)


def _renamed(task: TuningTask, count: int) -> TuningTask:
    fields = {name: getattr(task, name) for name in task.__dataclass_fields__}
    return TuningTask(**{**fields, "name": f"{task.name}_{count}"})


def _calls(mod: Any) -> Counter[str]:
    """How often "main" calls each global function."""
    counts: Counter[str] = Counter()
    for binding in bindings(mod["main"]):
        value = binding.value
        if isinstance(value, relax.Call) and str(getattr(value.op, "name", "")) == "relax.call_tir":
            counts[value.args[0].name_hint] += 1
    return counts


def _task(
    key: str,
    functions: list[str],
    function: Any,
    lowered: LoweredKernel | None,
    threads: int,
    calls: Counter[str],
    target: TargetSpec,
) -> TuningTask:
    mod = tvm.IRModule({"main": function})
    weight = sum(calls[name] for name in functions)
    if lowered is None:
        name = re.sub(r"\W+", "_", functions[0])[:_LONGEST_NAME]
        plain = PlainReference(mod, target.tvm())
        return TuningTask(
            name, key, "plain", weight, mod, tuple(functions), 0, PlainTemplate(threads), plain
        )
    group = lowered.groups[0]
    reference = KernelReference(
        reference_module(group.steps, group.inputs),
        tuple(
            (shape_of(variable), dtype_of(variable), storage)
            for variable, storage in zip(group.inputs, lowered.storages, strict=True)
        ),
        lowered.kernel.constants,
        lowered.output,
    )
    return TuningTask(
        lowered.kernel.name[:_LONGEST_NAME],
        key,
        lowered.kernel.kind,
        weight,
        mod,
        tuple(functions),
        lowered.kernel.macs,
        lowered.kernel.template(threads),
        reference,
    )


__all__ = ["LoweredModule", "lower"]
