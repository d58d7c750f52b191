"""ADD, SUB, MUL, DIV, MAXIMUM and MINIMUM, on stored integers or on floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.frontends.rules import Expr, UnsupportedUseError
from autotune_qnn.frontends.tflite.conversion import Conversion, rule
from autotune_qnn.frontends.tflite.float_ops import float_activation
from autotune_qnn.frontends.tflite.graph import GraphOperator, GraphTensor
from autotune_qnn.frontends.tflite.options import ActivationOptions
from autotune_qnn.quantization import Arithmetic, ComputeDtype, Rounding

_INTEGER: dict[str, Callable[..., Any]] = {"ADD": dialect.add, "SUB": dialect.subtract, "MUL": dialect.mul}
_FLOAT: dict[str, Callable[..., Any]] = {
    "ADD": relax.op.add,
    "SUB": relax.op.subtract,
    "MUL": relax.op.multiply,
    "DIV": relax.op.divide,
}
_BUILTIN_MUL_BLOCK = 16
"""The built-in int8 MUL computes blocks of 16 elements in saturating int16."""


def _operands(
    conversion: Conversion, operator: GraphOperator
) -> tuple[GraphTensor, GraphTensor, GraphTensor]:
    """Both operands and the output, all of one dtype."""
    left, right = conversion.operand(operator, 0), conversion.operand(operator, 1)
    output = conversion.result(operator)
    if not left.dtype == right.dtype == output.dtype:
        raise UnsupportedUseError(f"mixed types {left.dtype}, {right.dtype} and {output.dtype}")
    return left, right, output


@rule("ADD", "SUB", "MUL", "DIV")
def convert_binary(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Broadcasting arithmetic with a fused activation."""
    left, right, output = _operands(conversion, operator)
    activation = operator.option(ActivationOptions).activation
    values = (conversion.value(left), conversion.value(right))
    if left.dtype == "float32":
        result = _FLOAT[operator.name](*values)
        return [float_activation(conversion, result, activation)]
    if operator.name not in _INTEGER:
        raise UnsupportedUseError(f"{left.dtype} data")
    rounding, compute, block = _arithmetic(conversion, operator, left.dtype)
    result = _INTEGER[operator.name](
        *values,
        *conversion.parameters((left, right, output)),
        rounding=rounding.value,
        compute_dtype=compute.value,
        tail_block=block,
    )
    return [conversion.activate(result, activation, output)]


def _arithmetic(
    conversion: Conversion, operator: GraphOperator, dtype: str
) -> tuple[Rounding, ComputeDtype, int]:
    """Rounding, compute dtype and tail block of ADD, SUB and MUL."""
    kernel = conversion.kernel(operator)
    if operator.name != "MUL":
        if kernel is Arithmetic.XNNPACK:
            return Rounding.UPWARD, ComputeDtype.INT32, 0
        return Rounding.TFLITE, ComputeDtype.INT64, 0
    if kernel is Arithmetic.XNNPACK:
        return Rounding.TONEAREST, ComputeDtype.FLOAT32, 0
    if kernel is Arithmetic.BUILTIN and dtype == "int8":
        return Rounding.TFLITE, ComputeDtype.INT64, _BUILTIN_MUL_BLOCK
    return Rounding.TFLITE, ComputeDtype.INT64, 0


@rule("MAXIMUM", "MINIMUM")
def convert_extremum(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """The larger or smaller of two operands; TFLite compares stored integers, so their parameters must be
    equal.
    """
    left, right, output = _operands(conversion, operator)
    if left.dtype in ("int8", "uint8") and not (
        conversion.same_parameters(left, right) and conversion.same_parameters(left, output)
    ):
        raise UnsupportedUseError("operands of different scales")
    function = relax.op.maximum if operator.name == "MAXIMUM" else relax.op.minimum
    return [function(conversion.value(left), conversion.value(right))]
