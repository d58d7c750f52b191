"""Sums and products of quantized tensors, with each other and with numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.pytorch.conversion import Conversion, engine_of, rule
from autotune_qnn.frontends.pytorch.graph import ConstantTensor, Node
from autotune_qnn.frontends.pytorch.layout import Expr, Value, channels_last
from autotune_qnn.frontends.pytorch.placement import common_order, elementwise
from autotune_qnn.frontends.rules import UnsupportedUseError
from autotune_qnn.quantization import Arithmetic, dtype_range


def _relu(conversion: Conversion, node: Node, value: Value) -> list[Value]:
    if not node.name.endswith("_relu"):
        return [value]
    return [Value(conversion.relu(value.expr, conversion.result(node)), value.order)]


@rule("quantized::add", "quantized::add_relu")
def convert_add(conversion: Conversion, node: Node) -> list[Value]:
    """The sum of two tensors, or of a tensor and a number."""
    if _other_number(node) is not None:
        return convert_add_scalar(conversion, node)
    operands = (node.get("qa"), node.get("qb"))
    result = conversion.result(node)
    first, second = (conversion.meta(operand) for operand in operands)
    parameters = conversion.parameters(first, second, result)
    if engine_of(conversion, result) == "qnnpack" and first.shape == second.shape:
        order = common_order(conversion, result, operands)
        stored = [conversion.stored(operand, order) for operand in operands]
        return _relu(conversion, node, Value(dialect.add(*stored, *parameters, engine="qnnpack"), order))
    if conversion.engine is Arithmetic.QNNPACK and result.dtype == "int8":
        raise UnsupportedUseError("int8 operands under the engine qnnpack")

    def build(*stored: Expr, memory_order: str, tail_block: int) -> Expr:
        return dialect.add(
            *stored, *parameters, engine="pytorch", memory_order=memory_order, tail_block=tail_block
        )

    return _relu(conversion, node, elementwise(conversion, result, operands, build))


@rule("quantized::mul", "quantized::mul_relu")
def convert_mul(conversion: Conversion, node: Node) -> list[Value]:
    """The product of two tensors, or of a tensor and a number."""
    if _other_number(node) is not None:
        return convert_mul_scalar(conversion, node)
    operands = (node.get("qa"), node.get("qb"))
    result = conversion.result(node)
    order = common_order(conversion, result, operands)
    stored = [conversion.broadcast(operand, order) for operand in operands]
    metas = [conversion.meta(operand) for operand in operands]
    value = dialect.mul(*stored, *conversion.parameters(*metas, result), engine="pytorch")
    return _relu(conversion, node, Value(value, order))


def _other_number(node: Node) -> float | None:
    """The second operand where it is a number, or a constant of one element that is not quantized."""
    other = node.get("qb" if "qb" in node.arguments else "b")
    if isinstance(other, ConstantTensor) and other.data.size == 1 and not other.meta.quantized:
        return float(other.data.reshape(-1)[0])
    return float(other) if isinstance(other, (int, float)) else None


def _number(node: Node) -> float:
    value = _other_number(node)
    if value is None:
        raise UnsupportedUseError("a tensor in the place of a number")
    return value


@rule("quantized::add_scalar", "quantized::add_scalar_relu")
def convert_add_scalar(conversion: Conversion, node: Node) -> list[Value]:
    """Only the zero point moves, by rint(number/scale); where it would leave the dtype's range, integers are scaled to
    a scale that holds it.
    """
    operand = node.get("qa")
    value, source, result = conversion.value(operand), conversion.meta(operand), conversion.result(node)
    scale, zero_point = conversion.per_tensor(source)
    if result.scale == scale:
        return _relu(conversion, node, value)
    moved = zero_point - int(np.rint(_number(node) / scale))
    widened = conversion.emit(relax.op.astype(value.expr, "int32"))
    scaled = dialect.requantize(
        widened,
        dialect.constant(scale, "float64"),
        dialect.constant(moved, "int32"),
        dialect.constant(np.float32(conversion.per_tensor(result)[0])),
        dialect.constant(conversion.per_tensor(result)[1], "int32"),
        rounding="TONEAREST",
        compute_dtype="float32",
        out_dtype=result.dtype,
    )
    return _relu(conversion, node, Value(scaled, value.order))


@rule("quantized::mul_scalar", "quantized::mul_scalar_relu")
def convert_mul_scalar(conversion: Conversion, node: Node) -> list[Value]:
    """Only the scale changes; a negative number turns the integers about the middle of their range, zero makes all of
    them zero.
    """
    operand = node.get("qa")
    value, result = conversion.value(operand), conversion.result(node)
    conversion.per_tensor(conversion.meta(operand))
    factor = _number(node)
    if factor == 0:
        nothing = relax.op.clip(value.expr, 0, 0)
        return _relu(conversion, node, Value(nothing, value.order))
    if factor < 0:
        low, high = dtype_range(result.dtype)
        middle = dialect.constant(np.array(low + high, result.dtype))
        value = Value(conversion.emit(relax.op.subtract(middle, value.expr)), value.order)
    return _relu(conversion, node, value)


@rule(
    "quantized::batch_norm",
    "quantized::batch_norm_relu",
    "quantized::batch_norm1d",
    "quantized::batch_norm1d_relu",
    "quantized::batch_norm2d",
    "quantized::batch_norm2d_relu",
)
def convert_batch_norm(conversion: Conversion, node: Node) -> list[Value]:
    """Batch normalization that no convolution has taken up."""
    operand, result = node.ref("qx"), conversion.result(node)
    data = conversion.meta(operand)
    if data.rank not in (2, 3, 4):
        raise UnsupportedUseError(f"{data.rank}-dimensional data")
    channels = data.shape[1]
    vectors = [
        _vector(node, "weight", 1.0, channels),
        _vector(node, "bias", 0.0, channels),
        _vector(node, "mean", 0.0, channels),
        _vector(node, "var", 1.0, channels),
    ]
    value = dialect.batch_norm(
        conversion.last(operand),
        *vectors,
        *conversion.parameters(data, result),
        epsilon=node.number("eps"),
    )
    return _relu(conversion, node, Value(value, channels_last(data.rank)))


def _vector(node: Node, name: str, default: float, channels: int) -> Any:
    value = node.get(name)
    if value is None:
        return dialect.constant(np.full(channels, default, np.float32))
    if not isinstance(value, ConstantTensor) or value.data.shape != (channels,):
        raise ModelError(f"operator {node.index} ({node.name}) needs {channels} constants as {name}")
    return dialect.constant(value.data, "float32")
