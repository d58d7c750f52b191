"""relu, relu6, hardtanh, clamp, and the activations that a table holds: sigmoid, tanh, hardswish, hardsigmoid,
leaky_relu. Of floats too.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.dialect.pytorch import quantize_scalar
from autotune_qnn.frontends.pytorch.conversion import Conversion, engine_of, rule
from autotune_qnn.frontends.pytorch.graph import Node, clamp_bounds
from autotune_qnn.frontends.pytorch.layout import Expr, Value, channels_last, in_order
from autotune_qnn.frontends.pytorch.placement import common_order, elementwise
from autotune_qnn.frontends.rules import UnsupportedUseError
from autotune_qnn.quantization import dtype_range

_LOGGER = logging.getLogger(__name__)
_LARGEST_FLOAT = 3.4028234663852886e38

_TABLES = {
    "aten::sigmoid": dialect.sigmoid,
    "quantized::sigmoid": dialect.sigmoid,
    "aten::tanh": dialect.tanh,
    "quantized::hardswish": dialect.hardswish,
    "aten::hardsigmoid": dialect.hardsigmoid,
}


def _float_hardsigmoid(x: Expr) -> Expr:
    three, six = (relax.const(value, "float32") for value in (3.0, 6.0))
    return relax.op.divide(relax.op.clip(relax.op.add(x, three), 0.0, 6.0), six)


def _float_hardswish(x: Expr) -> Expr:
    three, six = (relax.const(value, "float32") for value in (3.0, 6.0))
    return relax.op.divide(relax.op.multiply(x, relax.op.clip(relax.op.add(x, three), 0.0, 6.0)), six)


_FLOATS: dict[str, Callable[[Expr], Expr]] = {
    "aten::sigmoid": relax.op.sigmoid,
    "aten::tanh": relax.op.tanh,
    "aten::hardswish": _float_hardswish,
    "aten::hardsigmoid": _float_hardsigmoid,
    "aten::silu": relax.op.nn.silu,
}


@rule(*_TABLES, *_FLOATS)
def convert_unary(conversion: Conversion, node: Node) -> list[Value]:
    """A function of each element by itself."""
    operand = node.ref(next(name for name in ("self", "qx", "input") if name in node.arguments))
    data, result = conversion.meta(operand), conversion.result(node)
    name = node.name.removesuffix("_")
    if not data.quantized and name in _FLOATS:
        value = conversion.value(operand)
        return [Value(_FLOATS[name](value.expr), value.order)]
    if name not in _TABLES:
        raise UnsupportedUseError("quantized data")
    construct, parameters = _TABLES[name], conversion.parameters(data, result)
    if engine_of(conversion, data) == "qnnpack":
        order = common_order(conversion, result, [operand])
        return [Value(construct(conversion.stored(operand, order), *parameters, engine="qnnpack"), order)]

    def build(*stored: Expr, memory_order: str, tail_block: int) -> Expr:
        return construct(
            *stored, *parameters, engine="pytorch", memory_order=memory_order, tail_block=tail_block
        )

    return [elementwise(conversion, result, [operand], build)]


@rule("quantized::leaky_relu", "aten::leaky_relu")
def convert_leaky_relu(conversion: Conversion, node: Node) -> list[Value]:
    """x above zero, slope · x below."""
    operand = node.ref("qx" if "qx" in node.arguments else "self")
    data, result = conversion.meta(operand), conversion.result(node)
    alpha = node.number("negative_slope")
    if not data.quantized:
        value = conversion.value(operand)
        return [Value(relax.op.nn.leakyrelu(value.expr, alpha), value.order)]
    parameters = conversion.parameters(data, result)

    def build(*stored: Expr, memory_order: str, tail_block: int) -> Expr:
        return dialect.leaky_relu(
            *stored,
            *parameters,
            alpha=alpha,
            engine="pytorch",
            memory_order=memory_order,
            tail_block=tail_block,
        )

    return [elementwise(conversion, result, [operand], build)]


@rule("aten::relu")
def convert_relu(conversion: Conversion, node: Node) -> list[Value]:
    """Stored integers clipped at the zero point; floats at zero."""
    operand = node.ref("self")
    value, data = conversion.value(operand), conversion.meta(operand)
    if not data.quantized:
        return [Value(relax.op.nn.relu(value.expr), value.order)]
    return [Value(conversion.relu(value.expr, data), value.order)]


@rule(
    "aten::clamp",
    "aten::clamp_min",
    "aten::clamp_max",
    "aten::hardtanh",
    "quantized::clamp",
    "quantized::relu6",
)
def convert_clamp(conversion: Conversion, node: Node) -> list[Value]:
    """Clipped at quantized bounds, rint(f4(x·(1/s)) + z) each; floats at the bounds themselves."""
    operand = node.ref("self" if "self" in node.arguments else "qx")
    value, data = conversion.value(operand), conversion.meta(operand)
    low, high = clamp_bounds(node)
    if not data.quantized:
        limits = (max(low, -_LARGEST_FLOAT), min(high, _LARGEST_FLOAT))
        return [Value(relax.op.clip(value.expr, *limits), value.order)]
    scale, zero_point = conversion.per_tensor(data)
    lowest, highest = dtype_range(data.dtype)
    bounds = (
        int(quantize_scalar(low, scale, zero_point, data.dtype)) if math.isfinite(low) else lowest,
        int(quantize_scalar(high, scale, zero_point, data.dtype)) if math.isfinite(high) else highest,
    )
    expr = value.expr if bounds == (lowest, highest) else relax.op.clip(value.expr, *bounds)
    return [_as_qnnpack_stores(conversion, node, Value(expr, value.order))]


def _as_qnnpack_stores(conversion: Conversion, node: Node, value: Value) -> Value:
    """QNNPACK's clamp of a channels-last image is stored as it came and then read as channels-first: PyTorch's own
    result is scrambled, and so is this, since both have to agree.
    """
    data, result = (
        conversion.meta(node.ref("self" if "self" in node.arguments else "qx")),
        conversion.result(node),
    )
    scrambles = engine_of(conversion, data) == "qnnpack" and not node.name.endswith("_")
    if not scrambles or not data.channels_last or data.contiguous or not result.contiguous:
        return value
    _LOGGER.warning(
        "%s (operator %d): PyTorch's engine qnnpack mixes up channels and pixels here, and the imported network with "
        "it; --arithmetic x86 does not",
        node.name,
        node.index,
    )
    stored = conversion.reordered(
        Value(conversion.emit(value.expr), value.order), channels_last(data.rank), data.shape
    )
    return Value(relax.op.reshape(stored, data.shape), in_order(data.rank))
