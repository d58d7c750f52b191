"""Float operators outside of the quantized region. Their sums are not PyTorch's to the bit, single operations are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.pytorch.conversion import Conversion, rule
from autotune_qnn.frontends.pytorch.graph import ConstantTensor, Node, TensorMeta
from autotune_qnn.frontends.pytorch.layout import Expr, Value, channels_last, in_order
from autotune_qnn.frontends.pytorch.placement import common_order
from autotune_qnn.frontends.rules import UnsupportedUseError

_BINARY: dict[str, Callable[[Expr, Expr], Expr]] = {
    "aten::add": relax.op.add,
    "aten::sub": relax.op.subtract,
    "aten::mul": relax.op.multiply,
    "aten::div": relax.op.divide,
    "aten::maximum": relax.op.maximum,
    "aten::minimum": relax.op.minimum,
}
_UNARY: dict[str, Callable[[Expr], Expr]] = {
    "aten::exp": relax.op.exp,
    "aten::log": relax.op.log,
    "aten::sqrt": relax.op.sqrt,
    "aten::rsqrt": relax.op.rsqrt,
    "aten::abs": relax.op.abs,
    "aten::neg": relax.op.negative,
}


def _require_float(conversion: Conversion, *operands: Any) -> None:
    for operand in operands:
        meta = conversion.meta(operand)
        if meta.quantized or meta.dtype != "float32":
            raise UnsupportedUseError("quantized data" if meta.quantized else f"{meta.dtype} data")


@rule(*_BINARY)
def convert_binary(conversion: Conversion, node: Node) -> list[Value]:
    """Two tensors, or a tensor and a number."""
    result = conversion.result(node)
    operands = [_operand(node.get("self")), _operand(node.get("other"))]
    factor = node.arguments.get("alpha", 1)
    if node.arguments.get("rounding_mode") is not None or factor not in (1, None):
        raise UnsupportedUseError("a factor or a rounding mode")
    _require_float(conversion, *operands)
    order = common_order(conversion, result, operands)
    first, second = (conversion.broadcast(operand, order) for operand in operands)
    return [Value(_BINARY[node.name.removesuffix("_")](first, second), order)]


def _operand(value: Any) -> Any:
    """A number as a constant of no dimensions."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return ConstantTensor(TensorMeta((), (), "float32"), np.array(value, np.float32))


@rule(*_UNARY)
def convert_unary(conversion: Conversion, node: Node) -> list[Value]:
    """A function of each element."""
    operand = node.get("self")
    _require_float(conversion, operand)
    value = conversion.value(operand)
    return [Value(_UNARY[node.name.removesuffix("_")](value.expr), value.order)]


@rule("aten::_softmax", "aten::_log_softmax")
def convert_softmax(conversion: Conversion, node: Node) -> list[Value]:
    """Along one dimension."""
    operand = node.get("self")
    _require_float(conversion, operand)
    value = conversion.value(operand)
    axis = value.order.index(node.integer("dim") % len(value.order))
    function = relax.op.nn.softmax if node.name == "aten::_softmax" else relax.op.nn.log_softmax
    return [Value(function(value.expr, axis=axis), value.order)]


@rule("aten::argmax")
def convert_argmax(conversion: Conversion, node: Node) -> list[Value]:
    """Places of the highest values."""
    operand, result = node.get("self"), conversion.result(node)
    axis = node.integer("dim") if node.has("dim") else None
    value = relax.op.argmax(conversion.plain(operand), axis=axis, keepdims=node.flag("keepdim"))
    return [Value(value, in_order(result.rank))]


@rule("aten::mm", "aten::bmm")
def convert_matmul(conversion: Conversion, node: Node) -> list[Value]:
    """Products of matrices."""
    operands = (node.get("self"), node.get("mat2"))
    _require_float(conversion, *operands)
    first, other = (conversion.plain(operand) for operand in operands)
    return [Value(relax.op.matmul(first, other), in_order(conversion.result(node).rank))]


@rule("aten::addmm", "aten::linear")
def convert_linear(conversion: Conversion, node: Node) -> list[Value]:
    """A matrix product and a bias."""
    rank = conversion.result(node).rank
    if node.name == "aten::addmm":
        if node.arguments.get("alpha", 1) != 1 or node.arguments.get("beta", 1) != 1:
            raise UnsupportedUseError("factors")
        data, weight, bias = node.get("mat1"), node.get("mat2"), node.get("self")
        _require_float(conversion, data, weight, bias)
        matrix = conversion.plain(weight)
    else:
        data, weight, bias = node.get("input"), node.get("weight"), node.get("bias")
        _require_float(conversion, data, weight)
        matrix = conversion.emit(relax.op.permute_dims(conversion.plain(weight)))
    product = conversion.emit(relax.op.matmul(conversion.plain(data), matrix))
    if bias is None:
        return [Value(product, in_order(rank))]
    return [Value(relax.op.add(product, conversion.plain(bias)), in_order(rank))]


@rule("aten::convolution", "aten::_convolution")
def convert_convolution(conversion: Conversion, node: Node) -> list[Value]:
    """A float convolution of images with constant weights."""
    operand, weight, bias = node.get("input"), node.get("weight"), node.get("bias")
    _require_float(conversion, operand, weight)
    if conversion.meta(operand).rank != 4 or not isinstance(weight, ConstantTensor):
        raise UnsupportedUseError("data that are no images, or weights that are not constant")
    if node.arguments.get("transposed"):
        raise UnsupportedUseError("transposed float convolutions")
    kernel = np.ascontiguousarray(weight.data.transpose(0, 2, 3, 1))
    value = relax.op.nn.conv2d(
        conversion.last(operand),
        dialect.constant(kernel),
        strides=node.integers("stride", 2),
        padding=node.integers("padding", 2) * 2,
        dilation=node.integers("dilation", 2),
        groups=node.integer("groups"),
        data_layout="NHWC",
        kernel_layout="OHWI",
        out_layout="NHWC",
    )
    if bias is not None:
        value = relax.op.add(conversion.emit(value), conversion.plain(bias))
    return [Value(value, channels_last(4))]


@rule("aten::native_batch_norm", "aten::_native_batch_norm_legit_no_training")
def convert_batch_norm(conversion: Conversion, node: Node) -> list[Value]:
    """Batch normalization by the stored statistics: one factor and one addend a channel."""
    operand = node.get("input")
    _require_float(conversion, operand)
    if node.arguments.get("training"):
        raise ModelError(f"operator {node.index} ({node.name}) is in training mode; call eval() first")
    mean, variance = (_constant(node, name) for name in ("running_mean", "running_var"))
    gamma = _constant(node, "weight") if node.has("weight") else np.ones_like(mean)
    beta = _constant(node, "bias") if node.has("bias") else np.zeros_like(mean)
    factor = (gamma / np.sqrt(variance + np.float32(node.number("eps")))).astype(np.float32)
    addend = (beta - mean * factor).astype(np.float32)
    data = conversion.last(operand)
    scaled = conversion.emit(relax.op.multiply(data, dialect.constant(factor)))
    order = channels_last(conversion.meta(operand).rank)
    value = Value(relax.op.add(scaled, dialect.constant(addend)), order)
    spare = [Value(relax.op.zeros((0,), "float32"), (0,)) for _ in node.outputs[1:]]
    return [value, *spare]


def _constant(node: Node, name: str) -> Any:
    value = node.get(name)
    if not isinstance(value, ConstantTensor):
        raise UnsupportedUseError(f"{name} that is not constant")
    return value.data.astype(np.float32)
