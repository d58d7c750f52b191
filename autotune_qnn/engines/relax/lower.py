"""Lowers a module for a target and extracts its tuning tasks."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import tvm
from tvm import tirx

from autotune_qnn.engines.relax.target import TargetSpec
from autotune_qnn.engines.relax.task import KernelReference, PlainReference, TuningTask, reference_module
from autotune_qnn.kernels.templates.base import ScheduleTemplate
from autotune_qnn.kernels.templates.elementwise import ElementwiseTemplate
from autotune_qnn.kernels.templates.plain import PlainTemplate
from autotune_qnn.transforms.grouping import bindings, dtype_of, operator_name, shape_of
from autotune_qnn.transforms.lower_groups import KERNEL_CALLS, LoweredKernel, bare_kernel, workload_key
from autotune_qnn.transforms.pipeline import Dump, to_kernels

_LONGEST_NAME = 96
_WHOLE_VECTOR = 16


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
    lowered, kernels = to_kernels(mod, target.dot, target.tvm(), dump)
    calls, outputs = _calls(lowered)
    tasks: list[TuningTask] = []
    names: Counter[str] = Counter()
    for bare in _merged(lowered, kernels, calls):
        kernel = kernels.get(bare.functions[0])
        if kernel is None:
            task = _plain_task(bare, outputs[bare.functions[0]], threads, target)
        else:
            task = _kernel_task(bare, kernel, threads)
        names[task.name] += 1
        tasks.append(task if names[task.name] == 1 else _renamed(task, names[task.name]))
    return LoweredModule(lowered, tuple(tasks), target, threads)


def _renamed(task: TuningTask, count: int) -> TuningTask:
    return replace(task, name=f"{task.name}_{count}")


def _calls(mod: Any) -> tuple[Counter[str], dict[str, int]]:
    """How often "main" calls each global function, and how many outputs each has."""
    counts: Counter[str] = Counter()
    outputs: dict[str, int] = {}
    for binding in bindings(mod["main"]):
        value = binding.value
        if operator_name(value) in KERNEL_CALLS:
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


def _merged(mod: Any, kernels: Mapping[str, LoweredKernel], calls: Counter[str]) -> list[_Bare]:
    """Every different kernel that "main" calls, wherever it stores its result."""
    functions: dict[str, list[str]] = {}
    bare: dict[str, Any] = {}
    for variable, function in mod.functions_items():
        name = variable.name_hint
        if isinstance(function, tirx.PrimFunc) and calls[name]:
            own = kernels[name].kernel.func if name in kernels else bare_kernel(function)
            key = workload_key(own)
            bare.setdefault(key, own)
            functions.setdefault(key, []).append(name)
    return [
        _Bare(key, tuple(names), bare[key], sum(calls[name] for name in names))
        for key, names in functions.items()
    ]


def _plain_task(bare: _Bare, outputs: int, threads: int, target: TargetSpec) -> TuningTask:
    mod = tvm.IRModule({"main": bare.function})
    name = re.sub(r"\W+", "_", bare.functions[0])[:_LONGEST_NAME]
    expected = PlainReference(mod, target.tvm(), outputs)
    template = _plain_template(bare.function, threads)
    return TuningTask(name, bare.key, "plain", bare.weight, mod, bare.functions, 0, template, expected)


def _plain_template(function: Any, threads: int) -> ScheduleTemplate:
    """The template of a PrimFunc of plain operators; its last parameter is its result."""
    buffers = [(*map(_constant, buffer.shape), _item(buffer)) for buffer in function.params]
    *_, column, row, item = (1, 1, *buffers[-1])
    if row % _WHOLE_VECTOR and _keeps_places(function):
        return ElementwiseTemplate(buffers[-1][:-1], threads)
    return PlainTemplate(threads, sum(math.prod(extents) for extents in buffers), row, item, column)


def _keeps_places(function: Any) -> bool:
    """Whether one block computes each element of the result from those in its own place."""
    shapes = [[_constant(extent) for extent in buffer.shape] for buffer in function.params]
    sch = tvm.s_tir.Schedule(tvm.IRModule({"main": function}))
    blocks = sch.get_child_blocks(sch.get_sblock("root"))
    if len(blocks) != 1 or any(shape != shapes[0] or 0 in shape for shape in shapes):
        return False
    block = sch.get(blocks[0])
    axes = [axis.var for axis in block.iter_vars]
    regions = [[part.min for part in region.region] for region in (*block.reads, *block.writes)]
    return str(block.name_hint) == "output" and all(
        len(region) == len(axes) and all(map(tirx.Var.same_as, axes, region)) for region in regions
    )


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
