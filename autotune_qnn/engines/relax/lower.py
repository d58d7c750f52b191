"""Lowers a module for a target and extracts its tuning tasks."""

from __future__ import annotations

import math
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
    calls, outputs = _calls(lowered)
    tasks: list[TuningTask] = []
    names: Counter[str] = Counter()
    merged: dict[str, list[str]] = {}
    for variable, function in lowered.functions_items():
        if isinstance(function, tirx.PrimFunc) and calls[variable.name_hint]:
            bare = function.without_attr("op_pattern").with_attr("global_symbol", "main")
            merged.setdefault(workload_key(bare), []).append(variable.name_hint)
    for key, functions in merged.items():
        function = lowered[functions[0]].without_attr("op_pattern").with_attr("global_symbol", "main")
        bare = _Bare(key, tuple(functions), function, sum(calls[name] for name in functions))
        kernel = kernels.get(functions[0])
        if kernel is None:
            task = _plain_task(bare, outputs[functions[0]], threads, target)
        else:
            task = _kernel_task(bare, kernel, threads)
        names[task.name] += 1
        tasks.append(task if names[task.name] == 1 else _renamed(task, names[task.name]))
    return LoweredModule(lowered, tuple(tasks), target, threads)


def _renamed(task: TuningTask, count: int) -> TuningTask:
    fields = {name: getattr(task, name) for name in task.__dataclass_fields__}
    return TuningTask(**{**fields, "name": f"{task.name}_{count}"})


def _calls(mod: Any) -> tuple[Counter[str], dict[str, int]]:
    """How often "main" calls each global function, and how many outputs each has."""
    counts: Counter[str] = Counter()
    outputs: dict[str, int] = {}
    for binding in bindings(mod["main"]):
        value = binding.value
        if isinstance(value, relax.Call) and str(getattr(value.op, "name", "")) == "relax.call_tir":
            name = value.args[0].name_hint
            counts[name] += 1
            outputs[name] = len(value.ty.fields) if isinstance(value.ty, tvm.ir.TupleType) else 1
    return counts, outputs


@dataclass(frozen=True)
class _Bare:
    """A kernel without its schedule: its key, the global functions equal to it, and how often they are called."""

    key: str
    functions: tuple[str, ...]
    function: Any
    weight: int


def _plain_task(bare: _Bare, outputs: int, threads: int, target: TargetSpec) -> TuningTask:
    mod = tvm.IRModule({"main": bare.function})
    name = re.sub(r"\W+", "_", bare.functions[0])[:_LONGEST_NAME]
    expected = PlainReference(mod, target.tvm(), outputs)
    template = _plain_template(bare.function, threads)
    return TuningTask(name, bare.key, "plain", bare.weight, mod, bare.functions, 0, template, expected)


def _plain_template(function: Any, threads: int) -> PlainTemplate:
    """The template of a PrimFunc of plain operators; its last parameter is its result."""
    buffers = [(*map(_constant, buffer.shape), _item(buffer)) for buffer in function.params]
    *_, column, row, item = (1, 1, *buffers[-1])
    return PlainTemplate(threads, sum(math.prod(extents) for extents in buffers), row, item, column)


def _item(buffer: Any) -> int:
    return int(tvm.DataType(str(buffer.dtype)).itemsize)


def _constant(extent: Any) -> int:
    """An extent, 0 where it is not constant."""
    return int(extent) if isinstance(extent, tirx.IntImm) else 0


def _kernel_task(bare: _Bare, lowered: LoweredKernel, threads: int) -> TuningTask:
    group, kernel = lowered.groups[0], lowered.kernel
    inputs = zip(group.inputs, lowered.storages, strict=True)
    expected = KernelReference(
        reference_module(group.steps, group.inputs),
        tuple((shape_of(variable), dtype_of(variable), storage) for variable, storage in inputs),
        kernel.constants,
        lowered.output,
    )
    return TuningTask(
        kernel.name[:_LONGEST_NAME],
        bare.key,
        kernel.kind,
        bare.weight,
        tvm.IRModule({"main": bare.function}),
        bare.functions,
        kernel.macs,
        kernel.template(threads),
        expected,
    )


__all__ = ["LoweredModule", "lower"]
