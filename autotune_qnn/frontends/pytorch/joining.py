"""Concatenation of quantized tensors and of floats, and interpolation."""

from __future__ import annotations

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.pytorch.conversion import Conversion, real, rule, zero
from autotune_qnn.frontends.pytorch.graph import Node, ValueRef
from autotune_qnn.frontends.pytorch.layout import Value, channels_last
from autotune_qnn.frontends.rules import UnsupportedUseError


@rule("quantized::cat", "quantized::cat_relu", "aten::cat")
def convert_cat(conversion: Conversion, node: Node) -> list[Value]:
    """Stored in the order of the first operand; along channels of channels-last tensors by blocks."""
    if node.name.startswith("aten") and not conversion.result(node).quantized:
        return [_plain_cat(conversion, node)]
    operands = conversion.tensors(node, "qx" if "qx" in node.arguments else "tensors")
    metas, result = [conversion.meta(operand) for operand in operands], conversion.result(node)
    dim = node.integer("dim")
    in_blocks = dim == 1 and all(meta.channels_last for meta in metas)
    order = channels_last(4) if in_blocks else conversion.value(operands[0]).order
    parameters = [conversion.per_tensor(meta) for meta in metas]
    scale, zero_point = conversion.per_tensor(result)
    value = dialect.concatenate(
        relax.Tuple([conversion.stored(operand, order) for operand in operands]),
        relax.Tuple([real(s) for s, _ in parameters]),
        relax.Tuple([zero(z) for _, z in parameters]),
        real(scale),
        zero(zero_point),
        axis=order.index(dim % result.rank),
        engine="pytorch",
        memory_order="NHWC" if in_blocks else "NCHW",
    )
    if node.name.endswith("_relu"):
        value = conversion.relu(value, result)
    return [Value(value, order)]


def _plain_cat(conversion: Conversion, node: Node) -> Value:
    """Floats, some of which may be constants."""
    operands = node.get("tensors")
    first = next((operand for operand in operands if isinstance(operand, ValueRef)), None)
    if first is None:
        raise UnsupportedUseError("constant operands")
    order = conversion.value(first).order
    parts = [conversion.stored(operand, order) for operand in operands]
    axis = order.index(node.integer("dim") % len(order))
    return Value(relax.op.concat(parts, axis=axis), order)


@rule("aten::stack")
def convert_stack(conversion: Conversion, node: Node) -> list[Value]:
    """Tensors of one quantization along a new dimension."""
    operands, result = conversion.tensors(node, "tensors"), conversion.result(node)
    metas = [conversion.meta(operand) for operand in operands]
    if any((meta.scale, meta.zero_point) != (result.scale, result.zero_point) for meta in metas):
        raise UnsupportedUseError("operands of different scales")
    axis = node.integer("dim") % result.rank
    value = relax.op.stack([conversion.plain(operand) for operand in operands], axis=axis)
    return [Value(value, tuple(range(result.rank)))]


@rule("aten::upsample_bilinear2d")
def convert_bilinear(conversion: Conversion, node: Node) -> list[Value]:
    """Bilinear interpolation of quantized images."""
    operand, result = node.ref("self"), conversion.result(node)
    data = conversion.meta(operand)
    parameters = conversion.parameters(data)
    factors = [node.number(name) for name in ("scales_h", "scales_w") if node.has(name)]
    if len(factors) == 1:
        raise UnsupportedUseError("a scale for one dimension only")
    value = dialect.resize2d(
        conversion.last(operand),
        *parameters,
        size=result.shape[2:],
        coordinate_transformation_mode="align_corners" if node.flag("align_corners") else "half_pixel",
        engine="pytorch",
        scales=factors,
        memory_order="NHWC" if data.channels_last else "NCHW",
    )
    return [Value(value, channels_last(4))]


@rule("aten::upsample_nearest2d")
def convert_nearest(conversion: Conversion, node: Node) -> list[Value]:
    """Rows and columns repeated or left out."""
    operand, result = node.ref("self"), conversion.result(node)
    data = conversion.meta(operand)
    expr, order = conversion.value(operand).expr, conversion.value(operand).order
    for axis, name in ((2, "scales_h"), (3, "scales_w")):
        factor = node.arguments.get(name)
        places = nearest_places(data.shape[axis], result.shape[axis], factor)
        if not np.array_equal(places, np.arange(data.shape[axis])):
            indices = dialect.constant(places, "int32")
            expr = conversion.emit(relax.op.take(expr, indices, axis=order.index(axis)))
    return [Value(expr, order)]


def nearest_places(source: int, target: int, factor: float | None) -> Array:
    """The source place of each target place: trunc(place·scale) in float32, with exact halves for a doubled size."""
    if target == source:
        return np.arange(source)
    if target == 2 * source and factor in (None, 2.0):
        return np.arange(target) // 2
    scale = np.float32(1.0 / factor) if factor else np.float32(source) / np.float32(target)
    places = np.floor(np.arange(target).astype(np.float32) * scale).astype(np.int64)
    return np.minimum(places, source - 1)
