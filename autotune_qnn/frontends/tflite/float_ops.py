"""Float32 operators between DEQUANTIZE and QUANTIZE, as plain Relax operators."""

from __future__ import annotations

import math
from typing import Any

from tvm import relax

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.rules import Expr, UnsupportedUseError, shape_of
from autotune_qnn.frontends.tflite.conversion import Conversion, rule
from autotune_qnn.frontends.tflite.graph import GraphOperator
from autotune_qnn.frontends.tflite.options import Activation, DenseOptions
from autotune_qnn.quantization import Arithmetic

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


def float_hard_swish(conversion: Conversion, operator: GraphOperator, value: Expr) -> Expr:
    """x · relu6(x + 3) / 6; only the reference kernel divides, the others multiply by 1/6."""
    shifted = conversion.emit(relax.op.add(value, relax.const(3.0, "float32")))
    gate = conversion.emit(relax.op.clip(shifted, 0.0, 6.0))
    product = conversion.emit(relax.op.multiply(value, gate))
    if conversion.kernel(operator) is Arithmetic.REFERENCE:
        return relax.op.divide(product, relax.const(6.0, "float32"))
    return relax.op.multiply(product, relax.const(1.0 / 6.0, "float32"))


def float_prelu(conversion: Conversion, value: Expr, alpha: Expr) -> Expr:
    """max(x, 0) + alpha · min(x, 0); alpha broadcasts."""
    zero = relax.const(0.0, "float32")
    negative = conversion.emit(relax.op.minimum(value, zero))
    scaled = conversion.emit(relax.op.multiply(negative, alpha))
    return relax.op.add(conversion.emit(relax.op.maximum(value, zero)), scaled)


def float_dense(conversion: Conversion, operator: GraphOperator) -> Expr:
    """FULLY_CONNECTED of floats. The order of the sum, and so its last bits, may differ."""
    options = operator.option(DenseOptions)
    data, filters = conversion.operand(operator, 0), conversion.operand(operator, 1)
    value, weights = conversion.value(data), conversion.value(filters)
    shape, kernel = shape_of(value), shape_of(weights)
    if filters.dtype != "float32" or len(kernel) != 2:
        raise UnsupportedUseError(f"float32 data with {filters.dtype} weights of shape {kernel}")
    units, depth = kernel
    if depth < 1 or math.prod(shape) % depth:
        raise ModelError(f"weights {filters.name} of shape {kernel} do not fit {data.name} of shape {shape}")
    rows = conversion.emit(relax.op.reshape(value, (math.prod(shape) // depth, depth)))
    turned = conversion.emit(relax.op.permute_dims(weights, [1, 0]))
    result = relax.op.matmul(rows, turned)
    if conversion.has_operand(operator, 2):
        result = relax.op.add(conversion.emit(result), conversion.value(conversion.operand(operator, 2)))
    result = float_activation(conversion, result, options.activation)
    if options.keep_dims and len(shape) != 2:
        result = relax.op.reshape(conversion.emit(result), (*shape[:-1], units))
    return result
