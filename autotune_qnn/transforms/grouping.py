"""Finds what becomes one kernel: an anchor and the elementwise operators that alone use its result.

A group starts at an anchor (a convolution, say) or at an elementwise operator, and takes in each following operator
that is elementwise, has an output of the same shape, and is the only user of the result so far. It runs where its
last operator stood, when all its other operands are there.

A concatenation also takes in the reshapes and transposes that alone use its result where these put two runs of
channels in turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tvm import relax

from autotune_qnn.dialect.attributes import attributes
from autotune_qnn.dialect.constants import is_constant
from autotune_qnn.kernels.anchors import is_anchor
from autotune_qnn.kernels.anchors.interleaved import two_streams
from autotune_qnn.kernels.channel_moves import RESHAPES, SLICE
from autotune_qnn.kernels.elements import is_elementwise

CONCATENATE = "qnn.concatenate"
"""Elementwise where it has one input, which it rescales."""

_LONGEST_GROUP = 8
# TVM's simplifier takes time exponential in the depth of values that are computed once and used twice.
_DEEPEST_ROUNDINGS = 4


@dataclass(frozen=True)
class Group:
    """Calls that become one kernel, each with the variable it defines, in order of execution."""

    steps: tuple[tuple[Any, Any], ...]

    @property
    def output(self) -> Any:
        """The variable that the kernel computes."""
        return self.steps[-1][0]

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Variables that come from outside, in order of first use."""
        defined = [variable for variable, _ in self.steps]
        found: list[Any] = []
        for _, call in self.steps:
            for argument in call.args:
                fields = argument.fields if isinstance(argument, relax.Tuple) else [argument]
                for field in fields:
                    if not isinstance(field, relax.Var):
                        continue
                    if not any(field.same_as(known) for known in [*defined, *found]):
                        found.append(field)
        return tuple(found)


def shape_of(expression: Any) -> tuple[int, ...]:
    """The static shape of a tensor expression."""
    return tuple(int(extent) for extent in expression.ty.shape)


def dtype_of(expression: Any) -> str:
    """The dtype of a tensor expression."""
    return str(expression.ty.dtype)


def operator_name(call: Any) -> str:
    """The name of the operator that a call applies, empty for other expressions."""
    return str(call.op.name) if isinstance(call, relax.Call) and hasattr(call.op, "name") else ""


def bindings(function: Any) -> list[Any]:
    """All bindings of a function's body, in order."""
    return [binding for block in function.body.blocks for binding in block.bindings]


class Users:
    """Which bindings use each variable, and how often it is used in all."""

    def __init__(self, function: Any) -> None:
        self.counts: Counter[int] = Counter()
        self.all: dict[int, list[Any]] = {}
        for binding in bindings(function):
            for variable in variables(binding.value):
                self.counts[_identity(variable)] += 1
                self.all.setdefault(_identity(variable), []).append(binding)
        for variable in variables(function.body.body):
            self.counts[_identity(variable)] += 1

    def sole(self, variable: Any) -> Any | None:
        """The only binding that uses the variable, and uses it once, or None."""
        users = self.every(variable)
        return users[0] if users is not None and len(users) == 1 else None

    def every(self, variable: Any) -> list[Any] | None:
        """All bindings that use the variable, or None where something else does or one uses it twice."""
        key = _identity(variable)
        users = self.all.get(key, [])
        return users if users and self.counts[key] == len(users) else None


def _identity(variable: Any) -> int:
    return int(variable.__hash__())


def variables(expression: Any) -> list[Any]:
    """The variables that an expression reads, each as often as it reads it."""
    if isinstance(expression, relax.Var):
        return [expression]
    if isinstance(expression, relax.Tuple):
        return [variable for field in expression.fields for variable in variables(field)]
    if isinstance(expression, relax.TupleGetItem):
        return variables(expression.tuple_value)
    if isinstance(expression, relax.Call):
        return [variable for argument in expression.args for variable in variables(argument)]
    return []


def with_variables(expression: Any, others: Mapping[Any, Any]) -> Any:
    """An expression with other variables in place of its own."""
    if isinstance(expression, relax.Var):
        return others[expression]
    if isinstance(expression, relax.Tuple):
        return relax.Tuple([with_variables(field, others) for field in expression.fields])
    if isinstance(expression, relax.TupleGetItem):
        return relax.TupleGetItem(with_variables(expression.tuple_value, others), expression.index)
    if isinstance(expression, relax.Call):
        arguments = [with_variables(argument, others) for argument in expression.args]
        return relax.Call(expression.op, arguments, expression.attrs, expression.ty_args)
    return expression


def _elementwise(call: Any) -> bool:
    """Whether a call can be computed element by element: plain arithmetic must be on integers."""
    name = operator_name(call)
    if not is_elementwise(name):
        return False
    if name == CONCATENATE:
        return _rescales(call)
    if name.startswith("qnn."):
        return True
    if dtype_of(call) not in ("int8", "uint8", "int32"):
        return False
    return name != "relax.add" or _is_bias(call)


def _anchored(call: Any) -> bool:
    return is_anchor(operator_name(call))


def stores_by_pixel(call: Any) -> bool:
    """Whether the kernel around this anchor stores vectors of one pixel's channels, of a tensor of any pitch.

    Other kernels store several pixels at once, which have to lie side by side.
    """
    name = operator_name(call)
    if name == "qnn.conv2d":
        return attributes(call).integer("groups") == 1
    return name in ("qnn.dense", "qnn.avg_pool2d") or _rescales(call)


def _rescales(call: Any) -> bool:
    """Whether a call is a concatenation of one input."""
    return operator_name(call) == CONCATENATE and len(call.args[0].fields) == 1


def _is_bias(call: Any) -> bool:
    if not is_constant(call.args[1]) or dtype_of(call) != "int32":
        return False
    extents = shape_of(call.args[1])
    return len(extents) <= 1 and (not extents or extents[0] in (1, shape_of(call)[-1]))


def _roundings(call: Any) -> int:
    """How deep an operator nests fixed-point roundings, each of which uses its value twice."""
    name = operator_name(call)
    if not name.startswith("qnn.") or "compute_dtype" not in call.attrs.keys():  # noqa: SIM118 - no containment
        return 0
    if attributes(call).string("compute_dtype") != "int64":
        return 0
    return 2 if name in ("qnn.add", "qnn.subtract") else 1


def _extend(start: Any, users: Users, taken: set[int]) -> Group:
    steps = [(start.var, start.value)]
    depth = _roundings(start.value)
    while len(steps) < _LONGEST_GROUP:
        following = users.sole(steps[-1][0])
        if following is None or _identity(following.var) in taken or not _elementwise(following.value):
            break
        if shape_of(following.value) != shape_of(start.value):
            break
        if _rescales(following.value) and not stores_by_pixel(start.value):
            break
        depth += _roundings(following.value)
        if depth > _DEEPEST_ROUNDINGS:
            break
        steps.append((following.var, following.value))
    return Group(tuple(steps))


def _moved(start: Any, users: Users) -> list[Group]:
    """Groups of a concatenation and of what puts its channels elsewhere; empty where no kernel does both at once.

    Where the result is only cut, each cut is a group that computes its own channels, so that the concatenation is
    in several.
    """
    if operator_name(start.value) != CONCATENATE:
        return []
    steps = [(start.var, start.value)]
    following = users.sole(start.var)
    while following is not None and operator_name(following.value) in RESHAPES:
        steps.append((following.var, following.value))
        following = users.sole(following.var)
    if len(steps) == 1:
        return []
    cuts = users.every(steps[-1][0]) or []
    sliced = [Group((*steps, (cut.var, cut.value))) for cut in cuts if operator_name(cut.value) == SLICE]
    groups = sliced if sliced and len(sliced) == len(cuts) else [Group(tuple(steps))]
    interleaved = all(two_streams([call for _, call in group.steps]) is not None for group in groups)
    return groups if interleaved else []


def find_groups(function: Any) -> list[Group]:
    """All groups of a Relax function, in the order of their last operators.

    Only a concatenation, with what moves its channels, is in more than one.
    """
    users = Users(function)
    taken: set[int] = set()
    groups = []
    candidates = bindings(function)
    for accepted in (_anchored, _elementwise):
        for binding in candidates:
            if _identity(binding.var) in taken or not accepted(binding.value):
                continue
            found = _moved(binding, users) or [_extend(binding, users, taken)]
            taken.update(_identity(variable) for group in found for variable, _ in group.steps)
            groups += found
    position = {_identity(binding.var): place for place, binding in enumerate(candidates)}
    return sorted(groups, key=lambda group: position[_identity(group.output)])
