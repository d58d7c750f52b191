"""Operators that move elements or only name their dimensions anew: view, permute, slice, split, expand, pad."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.dialect.pytorch import quantize_scalar
from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.pytorch.conversion import Conversion, rule
from autotune_qnn.frontends.pytorch.graph import Argument, Node
from autotune_qnn.frontends.pytorch.layout import (
    Value,
    channels_last,
    permuted,
    reshaped,
    stored_shape,
)
from autotune_qnn.frontends.rules import UnsupportedUseError


def reshape(conversion: Conversion, operand: Argument, shape: Sequence[int]) -> Value:
    """The operand in another shape, its stored dimensions moved as little as can be."""
    data = conversion.meta(operand)
    if math.prod(data.shape) == 0:
        raise UnsupportedUseError("tensors without elements")
    before, after = reshaped(data.shape, conversion.value(operand).order, shape)
    stored = conversion.stored(operand, before)
    extents = stored_shape(shape, after)
    if extents == stored_shape(data.shape, before):
        return Value(stored, after)
    return Value(relax.op.reshape(stored, extents), after)


@rule(
    "aten::view",
    "aten::_unsafe_view",
    "aten::_reshape_alias",
    "aten::unsqueeze",
    "aten::squeeze",
)
def convert_view(conversion: Conversion, node: Node) -> list[Value]:
    """Every one of them is told by the shape of its result."""
    return [reshape(conversion, node.get("self"), conversion.result(node).shape)]


@rule("aten::clone", "aten::detach", "aten::alias", "aten::lift_fresh")
def convert_copy(conversion: Conversion, node: Node) -> list[Value]:
    """The same elements; where PyTorch puts them in memory is known to every operator behind."""
    return [conversion.value(node.get("self"))]


@rule("aten::_to_copy")
def convert_cast(conversion: Conversion, node: Node) -> list[Value]:
    """Elements in another dtype."""
    value, result = conversion.value(node.get("self")), conversion.result(node)
    if conversion.meta(node.get("self")).dtype == result.dtype:
        return [value]
    return [Value(relax.op.astype(value.expr, result.dtype), value.order)]


@rule("aten::permute")
def convert_permute(conversion: Conversion, node: Node) -> list[Value]:
    """Nothing moves: the stored dimensions get other names."""
    value = conversion.value(node.get("self"))
    rank = len(value.order)
    dims = [axis % rank for axis in node.integers("dims")]
    return [Value(value.expr, permuted(value.order, dims))]


@rule("aten::transpose", "aten::t")
def convert_transpose(conversion: Conversion, node: Node) -> list[Value]:
    """As permute, of two dimensions."""
    value = conversion.value(node.get("self"))
    rank = len(value.order)
    dims = list(range(rank))
    if rank > 1:
        named = "dim0" in node.arguments
        first, second = (node.integer("dim0") % rank, node.integer("dim1") % rank) if named else (0, 1)
        dims[first], dims[second] = dims[second], dims[first]
    return [Value(value.expr, permuted(value.order, dims))]


@rule("aten::slice")
def convert_slice(conversion: Conversion, node: Node) -> list[Value]:
    """Every step-th element of a range of one dimension."""
    operand = node.get("self")
    value, data = conversion.value(operand), conversion.meta(operand)
    axis = node.integer("dim") % data.rank
    begin = node.integer("start") if node.has("start") else 0
    end = node.integer("end") if node.has("end") else data.shape[axis]
    begin, end, step = slice(begin, end, node.integer("step")).indices(data.shape[axis])
    if (begin, end, step) == (0, data.shape[axis], 1):
        return [value]
    return [_cut(value, axis, begin, max(end, begin), step)]


def _cut(value: Value, axis: int, begin: int, end: int, step: int = 1) -> Value:
    place = value.order.index(axis)
    return Value(relax.op.strided_slice(value.expr, [place], [begin], [end], [step]), value.order)


@rule("aten::select")
def convert_select(conversion: Conversion, node: Node) -> list[Value]:
    """One element of a dimension, which goes."""
    operand = node.get("self")
    data = conversion.meta(operand)
    axis = node.integer("dim") % data.rank
    index = node.integer("index") % data.shape[axis]
    return [_taken(conversion, conversion.value(operand), axis, index, conversion.result(node).shape)]


def _taken(conversion: Conversion, value: Value, axis: int, index: int, shape: Sequence[int]) -> Value:
    """One element of a dimension, which goes; `shape` is what is left."""
    part = conversion.emit(_cut(value, axis, index, index + 1).expr)
    order = tuple(other - (other > axis) for other in value.order if other != axis)
    return Value(relax.op.reshape(part, stored_shape(shape, order)), order)


@rule("aten::unbind")
def convert_unbind(conversion: Conversion, node: Node) -> list[Value]:
    """Every element of a dimension, which goes."""
    operand = node.get("self")
    value, axis = conversion.value(operand), node.integer("dim") % conversion.meta(operand).rank
    return [
        _taken(conversion, value, axis, place, conversion.result(node, place).shape)
        for place in range(len(node.outputs))
    ]


@rule("aten::split", "aten::split_with_sizes", "aten::unsafe_split")
def convert_split(conversion: Conversion, node: Node) -> list[Value]:
    """Consecutive parts of one dimension, told by the shapes of the results."""
    operand = node.get("self")
    value, data = conversion.value(operand), conversion.meta(operand)
    axis = node.integer("dim") % data.rank
    parts: list[Value] = []
    begin = 0
    for place in range(len(node.outputs)):
        extent = conversion.result(node, place).shape[axis]
        parts.append(_cut(value, axis, begin, begin + extent))
        begin += extent
    return parts


@rule("aten::expand", "aten::repeat")
def convert_expand(conversion: Conversion, node: Node) -> list[Value]:
    """Dimensions of one element repeated."""
    operand = node.get("self")
    data, result = conversion.meta(operand), conversion.result(node)
    missing = result.rank - data.rank
    whole = (1,) * missing + data.shape
    repeats = [wanted // extent for wanted, extent in zip(result.shape, whole, strict=True)]
    if node.name == "aten::repeat" and any(
        extent != 1 and count != 1 for extent, count in zip(whole, repeats, strict=True)
    ):
        raise UnsupportedUseError("repeated dimensions of several elements")
    order = conversion.value(operand).order if not missing else channels_last(result.rank)
    expr = conversion.broadcast(operand, order)
    if result.shape == whole:
        return [Value(expr, order)]
    return [Value(relax.op.broadcast_to(expr, stored_shape(result.shape, order)), order)]


@rule("aten::channel_shuffle")
def convert_channel_shuffle(conversion: Conversion, node: Node) -> list[Value]:
    """Channels of the groups in turns."""
    operand = node.get("self")
    data, groups = conversion.meta(operand), node.integer("groups")
    channels = data.shape[1]
    if groups < 1 or channels % groups:
        raise ModelError(f"{groups} groups do not divide {channels} channels")
    places = np.arange(channels).reshape(groups, channels // groups).T.reshape(-1)
    value = conversion.value(operand)
    indices = dialect.constant(places, "int32")
    return [Value(relax.op.take(value.expr, indices, axis=value.order.index(1)), value.order)]


@rule("aten::constant_pad_nd")
def convert_pad(conversion: Conversion, node: Node) -> list[Value]:
    """Constant borders: of quantized tensors the quantized constant."""
    operand = node.get("self")
    value, data = conversion.value(operand), conversion.meta(operand)
    pads = node.integers("pad")
    pairs = [(0, 0)] * data.rank
    for place in range(len(pads) // 2):
        pairs[data.rank - 1 - place] = (pads[2 * place], pads[2 * place + 1])
    if any(amount < 0 for pair in pairs for amount in pair):
        raise UnsupportedUseError("negative padding")
    constant = node.number("value")
    if data.quantized:
        scale, zero_point = conversion.per_tensor(data)
        constant = float(quantize_scalar(constant, scale, zero_point, data.dtype))
    widths = [amount for axis in value.order for amount in pairs[axis]]
    return [Value(relax.op.nn.pad(value.expr, widths, "constant", constant), value.order)]
