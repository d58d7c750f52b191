"""Elementwise operators of the dialect, told which of their elements PyTorch takes in vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tvm import relax

from autotune_qnn.frontends.pytorch.conversion import Conversion
from autotune_qnn.frontends.pytorch.graph import Argument, TensorMeta
from autotune_qnn.frontends.pytorch.layout import (
    Expr,
    Order,
    Value,
    channels_last,
    in_order,
    significant,
    stored_shape,
    with_units,
)
from autotune_qnn.frontends.pytorch.place import BLOCK, Walk, walk


class Builder(Protocol):
    """Constructs the operator on stored operands."""

    def __call__(self, *operands: Expr, memory_order: str, tail_block: int) -> Expr:
        """The call, with the attributes that say where vectors are."""
        ...


def elementwise(
    conversion: Conversion, output: TensorMeta, operands: Sequence[Argument], build: Builder
) -> Value:
    """The operator on operands that broadcast to the output's shape, each element by the formula of its place."""
    found = walk(output, *(conversion.meta(operand) for operand in operands))
    order = common_order(conversion, output, operands)
    if output.size < BLOCK or not found.vectorized or found.length < BLOCK:
        # Every element by itself: no block fits into the whole tensor.
        return _whole(conversion, order, operands, build, "NHWC", max(output.size + 1, BLOCK))
    if found.rows > 1 and found.length % BLOCK:
        return _by_rows(conversion, output, operands, build, found)
    if output.size % BLOCK:
        order, memory_order = _ordered(output.shape, order, found)
        return _whole(conversion, order, operands, build, memory_order, BLOCK)
    return _whole(conversion, order, operands, build, "NHWC", BLOCK)


def common_order(conversion: Conversion, output: TensorMeta, operands: Sequence[Argument]) -> Order:
    """The order of the first operand that has all of the output's dimensions."""
    for operand in operands:
        if conversion.meta(operand).shape == output.shape:
            return conversion.value(operand).order
    return channels_last(output.rank)


def _whole(
    conversion: Conversion,
    order: Order,
    operands: Sequence[Argument],
    build: Builder,
    memory_order: str,
    tail_block: int,
) -> Value:
    stored = [conversion.broadcast(operand, order) for operand in operands]
    return Value(build(*stored, memory_order=memory_order, tail_block=tail_block), order)


def _ordered(shape: Sequence[int], order: Order, found: Walk) -> tuple[Order, str]:
    """An order to store in and the attribute memory_order that together are the walk's order."""
    rank = len(shape)
    if significant(shape, order) == found.axes:
        return order, "NHWC"
    if rank > 2 and order == channels_last(rank) and significant(shape, in_order(rank)) == found.axes:
        return order, "NCHW"
    return with_units(shape, found.axes), "NHWC"


def _by_rows(
    conversion: Conversion, output: TensorMeta, operands: Sequence[Argument], build: Builder, found: Walk
) -> Value:
    """Rows with vectors in front and single elements behind: computed apart and joined."""
    order = with_units(output.shape, found.axes)
    border = found.length // BLOCK * BLOCK
    rows = []
    for operand in operands:
        stored = conversion.broadcast(operand, order)
        if conversion.meta(operand).shape != output.shape:
            stored = conversion.emit(relax.op.broadcast_to(stored, stored_shape(output.shape, order)))
        rows.append(conversion.emit(relax.op.reshape(stored, (found.rows, found.length))))
    parts = []
    for begin, end, block in ((0, border, BLOCK), (border, found.length, output.size + 1)):
        cut = [conversion.emit(relax.op.strided_slice(row, [1], [begin], [end])) for row in rows]
        parts.append(conversion.emit(build(*cut, memory_order="NHWC", tail_block=block)))
    joined = conversion.emit(relax.op.concat(parts, axis=1))
    return Value(relax.op.reshape(joined, stored_shape(output.shape, order)), order)
