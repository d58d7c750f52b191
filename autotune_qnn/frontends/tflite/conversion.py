"""What a conversion rule works with: the graph, the Relax values made so far, and the registry of rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.rules import Expr, Rules, UnsupportedUseError
from autotune_qnn.frontends.tflite.delegation import delegated
from autotune_qnn.frontends.tflite.graph import ABSENT, Graph, GraphOperator, GraphTensor, Quantization
from autotune_qnn.frontends.tflite.options import Activation
from autotune_qnn.quantization import Arithmetic

Rule = Callable[["Conversion", GraphOperator], list[Expr]]
"""Emits one operator and returns the value of each of its outputs."""

DTYPE_BOUNDS = {"int8": (-128, 127), "uint8": (0, 255)}
RULES: Rules[Rule] = Rules()
rule = RULES.rule


def round_half_away(value: np.float32) -> int:
    """C's roundf on one float32."""
    truncated = np.trunc(value)
    return int(truncated) + (int(np.sign(value)) if abs(value - truncated) >= np.float32(0.5) else 0)


class Conversion:
    """The state of one import: which value each tensor has."""

    def __init__(self, graph: Graph, arithmetic: Arithmetic, batch: int, builder: Any) -> None:
        self.graph = graph
        self.arithmetic = arithmetic
        self.batch = batch
        self._builder = builder
        self._values: dict[int, Expr] = {}
        self._constants: dict[int, Array] = {}

    # Tensors

    def tensor(self, index: int) -> GraphTensor:
        """The tensor `index` as the file describes it."""
        return self.graph.tensors[index]

    def operand(self, operator: GraphOperator, position: int) -> GraphTensor:
        """The operand at `position`, which must be there."""
        if position >= len(operator.inputs) or operator.inputs[position] == ABSENT:
            raise ModelError(f"operator {operator.index} ({operator.name}) lacks its operand {position}")
        return self.tensor(operator.inputs[position])

    def has_operand(self, operator: GraphOperator, position: int) -> bool:
        """Whether the optional operand at `position` is there."""
        return position < len(operator.inputs) and operator.inputs[position] != ABSENT

    def result(self, operator: GraphOperator, position: int = 0) -> GraphTensor:
        """The output at `position`, which must be there."""
        if position >= len(operator.outputs):
            raise ModelError(f"operator {operator.index} ({operator.name}) lacks its output {position}")
        return self.tensor(operator.outputs[position])

    # Values

    def bind(self, index: int, value: Expr) -> None:
        """Makes `value` the value of tensor `index`."""
        self._values[index] = value

    def bind_constant(self, index: int, value: Array) -> None:
        """Makes a value that is known now (shape arithmetic) the value of tensor `index`."""
        self._constants[index] = value

    def value(self, tensor: GraphTensor) -> Expr:
        """The Relax value of a tensor; constants become Relax constants."""
        if tensor.index not in self._values:
            data = self.constant(tensor)
            if data is None:
                raise ModelError(f"tensor {tensor.name} is used before it is made")
            self._values[tensor.index] = relax.const(np.ascontiguousarray(data), data.dtype.name)
        return self._values[tensor.index]

    def constant(self, tensor: GraphTensor) -> Array | None:
        """The tensor's elements where they are known at import, else None."""
        return self._constants.get(tensor.index, tensor.data)

    def integers(self, tensor: GraphTensor, what: str) -> list[int]:
        """The elements of a small integer operand (axes, shapes, paddings) that must be known at import."""
        data = self.constant(tensor)
        if data is None:
            raise UnsupportedUseError(f"{what} that is not constant")
        if data.dtype.name not in ("int32", "int64") or data.size > 64:
            raise ModelError(f"tensor {tensor.name}, {data.dtype.name} {data.shape}, cannot be a {what}")
        return [int(value) for value in data.ravel()]

    def emit(self, expression: Expr, name: str = "") -> Expr:
        """Binds an expression to a variable, by the last part of the tensor's name where given."""
        hint = re.sub(r"\W+", "_", name.split(";")[0].split("/")[-1])[:40].strip("_")
        if hint and not hint[0].isalpha():
            hint = "t_" + hint
        return self._builder.emit(expression, name_hint=hint)

    # Quantization

    def kernel(self, operator: GraphOperator) -> Arithmetic:
        """Whose kernel computes this operator in the chosen interpreter: XNNPACK takes only some operators
        over.
        """
        if self.arithmetic is Arithmetic.XNNPACK and not delegated(self.graph, operator):
            return Arithmetic.BUILTIN
        return self.arithmetic

    def quantization(self, tensor: GraphTensor) -> Quantization:
        """The quantization of an 8-bit tensor."""
        if tensor.dtype not in DTYPE_BOUNDS:
            raise UnsupportedUseError(f"{tensor.dtype} data")
        if tensor.quantization is None:
            raise ModelError(f"tensor {tensor.name} is {tensor.dtype} but has no quantization")
        return tensor.quantization

    def per_tensor(self, tensor: GraphTensor) -> tuple[np.float32, int]:
        """The one scale and zero point of an 8-bit tensor; the zero point lies in the dtype's range."""
        quantization = self.quantization(tensor)
        if quantization.per_channel:
            raise UnsupportedUseError("per-channel activations")
        scale, zero_point = np.float32(quantization.scale[0]), int(quantization.zero_point[0])
        low, high = DTYPE_BOUNDS[tensor.dtype]
        if scale <= 0 or not low <= zero_point <= high:
            raise ModelError(
                f"tensor {tensor.name} ({tensor.dtype}) has scale {scale} and zero point {zero_point}"
            )
        return scale, zero_point

    def scale(self, tensor: GraphTensor) -> Expr:
        """The scale of an activation as a float32 constant of shape ()."""
        return relax.const(self.per_tensor(tensor)[0], "float32")

    def zero_point(self, tensor: GraphTensor) -> Expr:
        """The zero point of an activation as an int32 constant of shape ()."""
        return relax.const(np.int32(self.per_tensor(tensor)[1]), "int32")

    def parameters(self, tensors: Iterable[GraphTensor]) -> list[Expr]:
        """Scale and zero point of each tensor, in the operand order of the dialect."""
        return [constant for tensor in tensors for constant in (self.scale(tensor), self.zero_point(tensor))]

    def same_parameters(self, first: GraphTensor, second: GraphTensor) -> bool:
        """Whether two activations have exactly the same dtype, scale and zero point."""
        return first.dtype == second.dtype and self.per_tensor(first) == self.per_tensor(second)

    # Fused activation

    def bounds(self, activation: Activation, tensor: GraphTensor) -> tuple[int, int]:
        """The integer range that the activation leaves of the output: zo + roundf(f4(v) / f4(so))."""
        scale, zero_point = self.per_tensor(tensor)
        low, high = DTYPE_BOUNDS[tensor.dtype]

        def quantized(value: float) -> int:
            return zero_point + round_half_away(np.float32(value) / scale)

        if activation is Activation.RELU:
            return max(low, quantized(0)), high
        if activation is Activation.RELU6:
            return max(low, quantized(0)), min(high, quantized(6))
        if activation is Activation.RELU_N1_TO_1:
            return max(low, quantized(-1)), min(high, quantized(1))
        if activation is Activation.NONE:
            return low, high
        raise UnsupportedUseError(f"fused activation {activation.name}")

    def activate(self, value: Expr, activation: Activation, tensor: GraphTensor) -> Expr:
        """`value` (already of the output's dtype) clipped to the fused activation's bounds."""
        low, high = self.bounds(activation, tensor)
        if (low, high) == DTYPE_BOUNDS[tensor.dtype]:
            return value
        return relax.op.clip(self.emit(value), low, high)
