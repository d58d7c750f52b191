"""What a conversion rule works with: the graph, the values made so far and how they are stored, the rules by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.pytorch.graph import Argument, ConstantTensor, Graph, Node, TensorMeta, ValueRef
from autotune_qnn.frontends.pytorch.layout import (
    Expr,
    Order,
    Value,
    channels_last,
    in_order,
    same_memory,
    stored_shape,
)
from autotune_qnn.frontends.rules import Rules, UnsupportedUseError
from autotune_qnn.quantization import Arithmetic, dtype_range

Rule = Callable[["Conversion", Node], list[Value]]
"""Emits one operator and returns the value of each tensor that it makes."""

QUANTIZED_DTYPES = ("uint8", "int8")
RULES: Rules[Rule] = Rules()
rule = RULES.rule


def find_rule(name: str) -> Rule | None:
    """The rule of an operator; an operator in place follows the one of the same name without underscore."""
    return RULES.find(name) or RULES.find(name.removesuffix("_"))


def real(value: float) -> Expr:
    """A scale as the dialect takes PyTorch's: a float64 scalar."""
    return dialect.constant(value, "float64")


def zero(value: int) -> Expr:
    """A zero point as an int32 scalar."""
    return dialect.constant(value, "int32")


class Conversion:
    """The state of one import: the value of each tensor, in every order in which it was needed.

    `used` holds the numbers of tensors that anything is done with.
    """

    def __init__(self, graph: Graph, builder: Any) -> None:
        self.graph = graph
        self.used = graph.used()
        self._builder = builder
        self._values: dict[int, Value] = {}
        self._stored: dict[tuple[int, Order], Expr] = {}

    @property
    def engine(self) -> Arithmetic:
        """The engine whose arithmetic the operators follow."""
        return self.graph.engine

    # Tensors

    def meta(self, argument: Argument) -> TensorMeta:
        """What is known of a tensor argument."""
        if isinstance(argument, ValueRef):
            return self.graph.metas[argument.index]
        if isinstance(argument, ConstantTensor):
            return argument.meta
        raise UnsupportedUseError("an operand that is not a tensor")

    def result(self, node: Node, place: int = 0) -> TensorMeta:
        """What is known of a tensor that an operator makes."""
        return self.graph.metas[node.outputs[place]]

    def tensors(self, node: Node, name: str) -> tuple[ValueRef, ...]:
        """An argument that is a list of tensors which depend on the input."""
        values = node.get(name)
        if not isinstance(values, tuple) or not values:
            raise ModelError(f"operator {node.index} ({node.name}) needs tensors as {name}")
        if not all(isinstance(value, ValueRef) for value in values):
            raise UnsupportedUseError("constant operands among others")
        return values

    # Values

    def bind(self, index: int, value: Value) -> None:
        """Makes `value` the value of tensor `index`."""
        self._values[index] = value

    def value(self, argument: Argument) -> Value:
        """A tensor argument as it is stored; constants are stored in PyTorch's order."""
        if isinstance(argument, ValueRef):
            if argument.index not in self._values:
                raise ModelError(f"tensor {argument.index} is used before it is made")
            return self._values[argument.index]
        if isinstance(argument, ConstantTensor):
            return Value(dialect.constant(argument.data), in_order(argument.meta.rank))
        raise UnsupportedUseError("an operand that is not a tensor")

    def stored(self, argument: Argument, order: Order) -> Expr:
        """A tensor argument in an order, transposed at most once for all who need it so."""
        if isinstance(argument, ConstantTensor):
            return dialect.constant(np.ascontiguousarray(argument.data.transpose(order)))
        value = self.value(argument)
        if value.order == order:
            return value.expr
        key = (argument.index, order)
        if key not in self._stored:
            self._stored[key] = self.reordered(value, order, self.meta(argument).shape)
        return self._stored[key]

    def reordered(self, value: Value, order: Order, shape: Sequence[int]) -> Expr:
        """A value in another order. Where nothing moves but dimensions of one element, it is a reshape."""
        if value.order == order:
            return value.expr
        if same_memory(shape, value.order, order):
            return self.emit(relax.op.reshape(value.expr, stored_shape(shape, order)))
        axes = [value.order.index(axis) for axis in order]
        return self.emit(relax.op.permute_dims(value.expr, axes))

    def last(self, argument: Argument) -> Expr:
        """A tensor argument with channels last."""
        return self.stored(argument, channels_last(self.meta(argument).rank))

    def plain(self, argument: Argument) -> Expr:
        """A tensor argument in PyTorch's order."""
        return self.stored(argument, in_order(self.meta(argument).rank))

    def broadcast(self, argument: Argument, order: Order) -> Expr:
        """An operand stored so that it broadcasts against tensors of `order`: with dimensions of one element in
        front where it has fewer.
        """
        meta = self.meta(argument)
        missing = len(order) - meta.rank
        if not missing:
            return self.stored(argument, order)
        shape = (1,) * missing + meta.shape
        whole = self.emit(relax.op.reshape(self.plain(argument), shape))
        return self.reordered(Value(whole, in_order(len(order))), order, shape)

    def emit(self, expression: Expr, name: str = "") -> Expr:
        """Binds an expression to a variable."""
        if isinstance(expression, relax.Var):
            return expression
        hint = re.sub(r"\W+", "_", name).strip("_")[:40]
        return self._builder.emit(expression, name_hint=hint)

    # Quantization

    def per_tensor(self, meta: TensorMeta) -> tuple[float, int]:
        """Scale and zero point of a tensor that has to be quantized to 8 bits."""
        if meta.scale is None or meta.zero_point is None:
            raise UnsupportedUseError(f"{meta.dtype} operands")
        if meta.dtype not in QUANTIZED_DTYPES:
            raise UnsupportedUseError(f"operands quantized to {meta.dtype}")
        low, high = dtype_range(meta.dtype)
        if not (meta.scale > 0 and np.isfinite(meta.scale) and low <= meta.zero_point <= high):
            raise UnsupportedUseError(f"scale {meta.scale} and zero point {meta.zero_point}")
        return meta.scale, meta.zero_point

    def parameters(self, *metas: TensorMeta) -> list[Expr]:
        """Scale and zero point of each tensor, in the operand order of the dialect."""
        pairs = [self.per_tensor(meta) for meta in metas]
        return [constant for scale, point in pairs for constant in (real(scale), zero(point))]

    def relu(self, value: Expr, meta: TensorMeta) -> Expr:
        """Stored integers clipped at their zero point."""
        _, zero_point = self.per_tensor(meta)
        low, high = dtype_range(meta.dtype)
        if zero_point == low:
            return value
        return relax.op.clip(self.emit(value), zero_point, high)


def engine_of(conversion: Conversion, meta: TensorMeta) -> str:
    """Whose kernel takes an operand where QNNPACK has one of its own: it does for uint8."""
    if conversion.engine is Arithmetic.QNNPACK and meta.dtype == "uint8":
        return "qnnpack"
    return "pytorch"
