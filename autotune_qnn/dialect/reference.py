"""Running a Relax function of qnn and plain operators with NumPy: the oracle of every kernel and of every
test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, tirx

import autotune_qnn.dialect.plain  # noqa: F401 - registers the references of plain Relax operators
from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.constants import constant_value
from autotune_qnn.dialect.registry import reference_of
from autotune_qnn.errors import DialectError

Array = npt.NDArray[Any]
Value = Any
"""An array, a tuple of values, a number (a primitive value) or a tuple of integers (a shape)."""


def run(
    mod: Any, inputs: Sequence[npt.ArrayLike], *, function: str = "main", intermediates: bool = False
) -> list[Array]:
    """Outputs of a Relax function for arrays in the order of its parameters.

    A tuple result is flattened to its tensors. With `intermediates` every bound tensor follows the outputs,
    in the order in which the function computes them (see `bindings` for their names). Functions of the module
    that it calls are run too. DialectError: inputs that do not fit, or operators without a reference (all of
    them named).
    """
    interpreter = _Interpreter(mod)
    values = interpreter.run(function, inputs)
    return [*values, *(array for _, array in interpreter.bound)] if intermediates else values


def bindings(mod: Any, inputs: Sequence[npt.ArrayLike]) -> list[tuple[str, Array]]:
    """Name and value of every tensor that "main" binds, in order of computation; tuples by element."""
    interpreter = _Interpreter(mod)
    interpreter.run("main", inputs)
    return interpreter.bound


def evaluate_call(call: Any, operands: Sequence[Value]) -> Value:
    """Run one call of a qnn or plain operator on values in place of its operands."""
    name = str(call.op.name)
    function = reference_of(name)
    if function is None:
        raise DialectError(f"no reference for operator {name}")
    return function(Attributes(name, call.attrs), *operands)


class _Interpreter:
    """Evaluates functions of one module; keeps what the outermost one binds."""

    def __init__(self, mod: Any) -> None:
        self._mod = mod
        self.bound: list[tuple[str, Array]] = []

    def run(self, name: str, inputs: Sequence[npt.ArrayLike]) -> list[Array]:
        function = self._function(name)
        self._require_references(function)
        arrays = self._inputs(name, function, inputs)
        return _tensors(self._call(function, arrays, outermost=True))

    def _function(self, name: str) -> Any:
        found = {str(variable.name_hint): value for variable, value in self._mod.functions.items()}.get(name)
        if not isinstance(found, relax.Function):
            raise DialectError(f"the module has no Relax function {name!r}")
        return found

    def _inputs(self, name: str, function: Any, inputs: Sequence[npt.ArrayLike]) -> list[Array]:
        if len(inputs) != len(function.params):
            raise DialectError(f"function {name} takes {len(function.params)} inputs, got {len(inputs)}")
        arrays = [np.asarray(value) for value in inputs]
        for parameter, array in zip(function.params, arrays, strict=True):
            _require_type(f"input {parameter.name}", parameter.ty, array)
        return arrays

    def _require_references(self, function: Any) -> None:
        missing: dict[str, int] = {}

        def visit(expression: Any) -> None:
            if not isinstance(expression, relax.Call):
                return
            if isinstance(expression.op, tvm.ir.Op):
                name = str(expression.op.name)
                if reference_of(name) is None:
                    missing[name] = missing.get(name, 0) + 1
            elif isinstance(expression.op, tvm.ir.GlobalVar):
                callee = self._function(str(expression.op.name_hint))
                relax.analysis.post_order_visit(callee, visit)

        relax.analysis.post_order_visit(function, visit)
        if missing:
            listed = ", ".join(f"{name} ({count})" for name, count in sorted(missing.items()))
            raise DialectError(f"no reference for these operators: {listed}")

    def _call(self, function: Any, arguments: Sequence[Value], outermost: bool = False) -> Value:
        environment: dict[Any, Value] = dict(zip(function.params, arguments, strict=True))
        body = function.body
        for block in body.blocks:
            for binding in block.bindings:
                value = self._evaluate(binding.value, environment)
                environment[binding.var] = value
                if outermost and not isinstance(value, relax.Function):
                    self._record(str(binding.var.name), value)
        return self._evaluate(body.body, environment)

    def _record(self, name: str, value: Value) -> None:
        if isinstance(value, np.ndarray):
            self.bound.append((name, value))
        elif isinstance(value, tuple):
            for index, field in enumerate(value):
                self._record(f"{name}.{index}", field)

    def _evaluate(self, expression: Any, environment: dict[Any, Value]) -> Value:
        if isinstance(expression, relax.Var):
            return environment[expression]
        array = constant_value(expression)
        if array is not None:
            return array
        if isinstance(expression, relax.Tuple):
            return tuple(self._evaluate(field, environment) for field in expression.fields)
        if isinstance(expression, relax.TupleGetItem):
            return self._evaluate(expression.tuple_value, environment)[int(expression.index)]
        if isinstance(expression, relax.ShapeExpr):
            return tuple(int(extent) for extent in expression.values)
        if isinstance(expression, (tirx.IntImm, tirx.FloatImm)):
            return expression.value
        if isinstance(expression, relax.Call):
            return self._evaluate_call(expression, environment)
        if isinstance(expression, relax.Function):
            return expression
        raise DialectError(f"no reference for an expression of kind {type(expression).__name__}")

    def _evaluate_call(self, call: Any, environment: dict[Any, Value]) -> Value:
        arguments = [self._evaluate(argument, environment) for argument in call.args]
        if isinstance(call.op, tvm.ir.GlobalVar):
            return self._call(self._function(str(call.op.name_hint)), arguments)
        if not isinstance(call.op, tvm.ir.Op):
            return self._call(self._evaluate(call.op, environment), arguments)
        value = evaluate_call(call, arguments)
        if isinstance(value, np.ndarray):
            _require_type(f"reference result of {call.op.name}", call.ty, value)
        return value


def _require_type(what: str, type_: Any, array: Array) -> None:
    """DialectError where an array has not the static shape or the dtype of a tensor type."""
    if not isinstance(type_, relax.TensorType):
        return
    dtype = str(type_.dtype)
    if dtype not in ("", "void", str(array.dtype)):
        raise DialectError(f"{what} is {array.dtype}, expected {dtype}")
    if type_.shape is None or not all(hasattr(extent, "value") for extent in type_.shape):
        return
    shape = tuple(int(extent.value) for extent in type_.shape)
    if shape != array.shape:
        raise DialectError(f"{what} has shape {list(array.shape)}, expected {list(shape)}")


def _tensors(value: Value) -> list[Array]:
    if isinstance(value, tuple):
        return [array for field in value for array in _tensors(field)]
    return [np.asarray(value)]
