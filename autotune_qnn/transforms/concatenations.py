"""Concatenations along channels that no kernel computes: whatever makes an input stores it in its place.

`separate_inputs` turns every input of such a concatenation that needs more than that (another scale, a second use)
into the result of a concatenation of its own with one input. Behind a convolution that is one more step of the
convolution's kernel, elsewhere a kernel. `places` then finds where each kernel's result belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax

from autotune_qnn.dialect.attributes import attributes
from autotune_qnn.dialect.constants import constant_value
from autotune_qnn.transforms.grouping import (
    CONCATENATE,
    Group,
    Users,
    bindings,
    find_groups,
    operator_name,
    shape_of,
    stores_by_pixel,
    with_variables,
)


@dataclass(frozen=True)
class Place:
    """Where a kernel's result belongs: `channels` of the variable `whole`, of all `total`, from `start` on."""

    whole: Any
    total: int
    start: int


@dataclass(frozen=True)
class _Join:
    """A concatenation along channels that is a group of its own, and for each input whether its kernel can store it
    elsewhere.
    """

    variable: Any
    call: Any
    writable: tuple[bool, ...]

    @property
    def inputs(self) -> list[Any]:
        """Its inputs, in order."""
        return list(self.call.args[0].fields)

    def copied(self, place: int) -> bool:
        """Whether an input's elements are the result's."""
        _, scales, zero_points, scale, zero_point = self.call.args
        pairs = ((scales.fields[place], scale), (zero_points.fields[place], zero_point))
        return all(_equal(own, result) for own, result in pairs)


def _is_in(value: Any, variables: set[Any]) -> bool:
    return isinstance(value, relax.Var) and value in variables


def _equal(first: Any, second: Any) -> bool:
    one, other = constant_value(first), constant_value(second)
    return one is not None and other is not None and np.array_equal(one, other)


def _joins(function: Any, groups: Sequence[Group]) -> list[_Join]:
    """The concatenations of two inputs or more along channels of which at least one can be stored elsewhere."""
    users = Users(function)
    writers = {group.output for group in groups if stores_by_pixel(group.steps[0][1])}
    found = []
    for group in groups:
        variable, call = group.steps[0]
        if len(group.steps) > 1 or operator_name(call) != CONCATENATE or len(call.args[0].fields) < 2:
            continue
        rank = len(shape_of(call))
        if attributes(call).integer("axis") % rank != rank - 1:
            continue
        inputs = call.args[0].fields
        writable = tuple(_is_in(value, writers) and users.sole(value) is not None for value in inputs)
        if any(writable):
            found.append(_Join(variable, call, writable))
    return found


def places(function: Any, groups: Sequence[Group]) -> dict[Any, Place]:
    """By variable, the place of every result that its kernel stores in a larger tensor.

    All inputs of a concatenation have one, or none: with them all stored, it is done.
    """
    found: dict[Any, Place] = {}
    for join in _joins(function, groups):
        if not all(writable and join.copied(place) for place, writable in enumerate(join.writable)):
            continue
        start, total = 0, shape_of(join.call)[-1]
        for value in join.inputs:
            found[value] = Place(join.variable, total, start)
            start += shape_of(value)[-1]
    return found


@tvm.transform.module_pass(opt_level=0, name="autotune_qnn.SeparateInputs")
def separate_inputs(mod: Any, _context: Any) -> Any:
    """Let every input of a concatenation be in the result's scale and used by nothing else.

    Only where a kernel stores at least one of them in its place: other concatenations are kernels themselves.
    """
    function = mod["main"]
    joins = {join.variable: join for join in _joins(function, find_groups(function))}
    if not joins:
        return mod
    builder = relax.BlockBuilder()
    renamed: dict[Any, Any] = {old: relax.Var(old.name, old.ty) for old in function.params}
    with builder.function("main", list(renamed.values())):
        with builder.dataflow():
            for binding in bindings(function):
                value = with_variables(binding.value, renamed)
                if binding.var in joins:
                    value = _joined(builder, joins[binding.var], value)
                renamed[binding.var] = builder.emit(value, binding.var.name)
            output = builder.emit_output(with_variables(function.body.body, renamed))
        builder.emit_func_output(output)
    return builder.get()


def _joined(builder: Any, join: _Join, call: Any) -> Any:
    """The concatenation of inputs that its kernels can all store elsewhere."""
    data, scales, zero_points, scale, zero_point = call.args
    parts = []
    for place, value in enumerate(data.fields):
        if not (join.writable[place] and join.copied(place)):
            alone = [relax.Tuple([operand.fields[place]]) for operand in (data, scales, zero_points)]
            value = builder.emit(relax.Call(call.op, [*alone, scale, zero_point], call.attrs))
        parts.append(value)
    count = len(parts)
    tuples = (relax.Tuple(fields) for fields in (parts, [scale] * count, [zero_point] * count))
    return relax.Call(call.op, [*tuples, scale, zero_point], call.attrs)
