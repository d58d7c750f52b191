"""Registering qnn.* operators on Relax: type inference, purity, operands, and the NumPy reference of each.

An operator is declared by one `OperatorSpec`; its module calls `register` at import and decorates its
reference with `@reference(name)`. Registration survives operators of the same name that exist already: ours
then takes precedence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
import tvm_ffi
from tvm import relax
from tvm.ir import Op, register_op_attr

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.view import CallView, TensorView, operand_view
from autotune_qnn.errors import DialectError

Array = npt.NDArray[Any]
Operand = Array | tuple[Array, ...]
ReferenceFunction = Callable[..., Any]

_FIRST_LEVEL = 10
_LAST_LEVEL = 30


@dataclass(frozen=True, slots=True)
class OperatorSpec:
    """One operator: its full name ("qnn.conv2d"), its operands in order and its type rule."""

    name: str
    operands: tuple[str, ...]
    infer: Callable[[CallView], TensorView]


_SPECS: dict[str, OperatorSpec] = {}
_REFERENCES: dict[str, ReferenceFunction] = {}

# Lets a DialectError that type inference raises below TVM's C++ arrive as a DialectError above it.
tvm_ffi.register_error("DialectError", DialectError)


def register(spec: OperatorSpec) -> None:
    """Register an operator with Relax: number and names of operands, type inference and purity."""
    first_time = spec.name not in _SPECS
    _SPECS[spec.name] = spec

    def infer_type(call: Any, _builder: Any) -> Any:
        result = infer(_SPECS[spec.name], call.args, call.attrs)
        return relax.TensorType(result.shape, result.dtype)

    if first_time:
        _set_attribute(spec.name, "FInferType", infer_type)
        _set_attribute(spec.name, "FPurity", True)
    operator = Op.get(spec.name)
    operator.set_num_inputs(len(spec.operands))
    known = {str(argument.name) for argument in operator.arguments}
    for operand in spec.operands:
        if operand not in known:
            operator.add_argument(operand, "Tensor", "")


def _set_attribute(operator: str, key: str, value: Any) -> None:
    for level in range(_FIRST_LEVEL, _LAST_LEVEL):
        try:
            register_op_attr(operator, key, value, level)
        except tvm.error.InternalError as error:
            if "already registered" not in str(error):
                raise
        else:
            return
    raise DialectError(f"{operator}: {key} is registered already at every level")


def infer(spec: OperatorSpec, args: Sequence[Any], attrs: Any) -> TensorView:
    """Result shape and dtype of a call; DialectError naming operator and operand where a rule is broken."""
    if len(args) != len(spec.operands):
        expected = f"{len(spec.operands)} operands ({', '.join(spec.operands)})"
        raise DialectError(f"{spec.name}: expected {expected}, got {len(args)}")
    operands = {
        name: operand_view(spec.name, name, arg) for name, arg in zip(spec.operands, args, strict=True)
    }
    expressions = dict(zip(spec.operands, args, strict=True))
    return spec.infer(CallView(spec.name, operands, Attributes(spec.name, attrs), expressions))


def make_call(name: str, args: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
    """A relax.Call of a registered operator. Checked at once where every operand already has a type.

    Attribute values may be enums, numbers, strings, booleans or sequences of integers.
    """
    spec = _SPECS[name]
    node = tvm.ir.make_node("ir.DictAttrs", **{key: _attribute(value) for key, value in attrs.items()})
    if all(_has_type(argument) for argument in args):
        infer(spec, args, node)
    return relax.Call(Op.get(name), list(args), node)


def _attribute(value: Any) -> Any:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_attribute(item) for item in value]
    return value


def _has_type(expression: Any) -> bool:
    if isinstance(expression, relax.Tuple):
        return all(_has_type(field) for field in expression.fields)
    return isinstance(expression.ty, (relax.TensorType, tvm.ir.TupleType))


def reference(name: str) -> Callable[[ReferenceFunction], ReferenceFunction]:
    """Decorator: the NumPy reference of an operator, called as fn(attributes, *operands) -> array.

    Operands are arrays (a tuple of arrays where the operand is a tuple); the result has the inferred shape
    and dtype.
    """

    def decorate(function: ReferenceFunction) -> ReferenceFunction:
        _REFERENCES[name] = function
        return function

    return decorate


def reference_of(name: str) -> ReferenceFunction | None:
    """The NumPy reference of a qnn operator, or None where the name is no operator of the dialect."""
    return _REFERENCES.get(name)


def evaluate(call: Any, operands: Sequence[Operand]) -> Array:
    """Run the reference of a qnn call on arrays in place of its operands."""
    name = str(call.op.name)
    function = _REFERENCES.get(name)
    if function is None:
        raise DialectError(f"{name} is no operator of the dialect")
    return np.asarray(function(Attributes(name, call.attrs), *operands))


def operator_names() -> tuple[str, ...]:
    """Names of all operators of the dialect, sorted."""
    return tuple(sorted(_SPECS))


def operand_names(name: str) -> tuple[str, ...]:
    """Names of an operator's operands, in order."""
    if name not in _SPECS:
        raise DialectError(f"{name} is no operator of the dialect")
    return _SPECS[name].operands
