"""Float32 operators between DEQUANTIZE and QUANTIZE, as plain Relax operators."""

from __future__ import annotations

from typing import Any

from tvm import relax

from autotune_qnn.frontends.tflite.conversion import Conversion, Expr, UnsupportedUseError, rule
from autotune_qnn.frontends.tflite.graph import GraphOperator
from autotune_qnn.frontends.tflite.options import Activation

_FLOAT_BOUNDS: dict[Activation, tuple[float, float]] = {
    Activation.RELU6: (0.0, 6.0),
    Activation.RELU_N1_TO_1: (-1.0, 1.0),
}
_UNARY: dict[str, Any] = {
    "EXP": relax.op.exp,
    "SQRT": relax.op.sqrt,
    "RSQRT": relax.op.rsqrt,
    "LOG": relax.op.log,
    "ABS": relax.op.abs,
    "NEG": relax.op.negative,
}


def float_activation(conversion: Conversion, value: Expr, activation: Activation) -> Expr:
    """A fused activation on float32."""
    if activation is Activation.NONE:
        return value
    if activation is Activation.RELU:
        return relax.op.nn.relu(conversion.emit(value))
    if activation in _FLOAT_BOUNDS:
        return relax.op.clip(conversion.emit(value), *_FLOAT_BOUNDS[activation])
    raise UnsupportedUseError(f"fused activation {activation.name}")


@rule(*_UNARY)
def convert_float_unary(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """EXP, SQRT, RSQRT, LOG, ABS and NEG of floats."""
    data = conversion.operand(operator, 0)
    if data.dtype != "float32":
        raise UnsupportedUseError(f"{data.dtype} data")
    return [_UNARY[operator.name](conversion.value(data))]
