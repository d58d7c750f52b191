"""Operators that move, copy or pad elements and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.rules import Expr, UnsupportedUseError, shape_of
from autotune_qnn.frontends.tflite.conversion import DTYPE_BOUNDS, Conversion, rule
from autotune_qnn.frontends.tflite.graph import GraphOperator, GraphTensor
from autotune_qnn.frontends.tflite.options import (
    Activation,
    AxisOptions,
    ConcatOptions,
    CountOptions,
    ReshapeOptions,
)
from autotune_qnn.quantization import ComputeDtype, Rounding

_MAX_PAD = 1 << 15


def checked_axis(axis: int, rank: int, operator: GraphOperator) -> int:
    """An axis counted from the front; ModelError where it is none."""
    if not -rank <= axis < rank:
        raise ModelError(f"operator {operator.index} ({operator.name}) has axis {axis} for rank {rank}")
    return axis % rank


def single_axis(conversion: Conversion, operator: GraphOperator, position: int, rank: int) -> int:
    """The one axis that a constant operand names."""
    values = conversion.integers(conversion.operand(operator, position), "axis")
    if len(values) != 1:
        raise ModelError(f"operator {operator.index} ({operator.name}) has {len(values)} axes, expected one")
    return checked_axis(values[0], rank, operator)


@rule("PAD", "PADV2")
def convert_pad(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """PAD fills with the zero point (float: 0), PADV2 with a constant operand's stored value."""
    data, output = conversion.operand(operator, 0), conversion.result(operator)
    value = conversion.value(data)
    widths = conversion.integers(conversion.operand(operator, 1), "list of paddings")
    if len(widths) != 2 * len(shape_of(value)) or not all(0 <= width <= _MAX_PAD for width in widths):
        raise ModelError(f"{operator.name} by {widths} does not fit {data.name} of shape {shape_of(value)}")
    if data.dtype in DTYPE_BOUNDS and not conversion.same_parameters(data, output):
        raise UnsupportedUseError("input and output of different scales")
    fill = float(conversion.per_tensor(data)[1]) if data.dtype in DTYPE_BOUNDS else 0.0
    if operator.name == "PADV2":
        given = conversion.operand(operator, 2)
        constant = conversion.constant(given)
        if constant is None or constant.size != 1:
            raise UnsupportedUseError("a padding value that is not one constant")
        if given.dtype != data.dtype or (
            data.dtype in DTYPE_BOUNDS and not conversion.same_parameters(data, given)
        ):
            raise UnsupportedUseError("a padding value of another scale")
        fill = float(constant.ravel()[0])
    return [relax.op.nn.pad(value, widths, "constant", fill)]


@rule("RESHAPE")
def convert_reshape(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """The new shape comes from the second operand, else from the options; -1 stands for what remains."""
    data = conversion.operand(operator, 0)
    value = conversion.value(data)
    if conversion.has_operand(operator, 1):
        given = conversion.operand(operator, 1)
        target, from_file = conversion.integers(given, "shape"), given.data is not None
    else:
        target, from_file = list(operator.option(ReshapeOptions).values), True
    if from_file and conversion.batch != 1 and target and target[0] == 1:
        target[0] = conversion.batch
    total = math.prod(shape_of(value))
    known = math.prod(extent for extent in target if extent != -1)
    if target.count(-1) == 1 and known > 0:
        target[target.index(-1)] = total // known
    if any(extent < 0 for extent in target) or math.prod(target) != total:
        raise ModelError(f"{data.name} of shape {shape_of(value)} cannot be reshaped to {target}")
    return [relax.op.reshape(value, tuple(target))]


@rule("SQUEEZE")
def convert_squeeze(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Without axes: all of extent 1."""
    data = conversion.operand(operator, 0)
    value = conversion.value(data)
    shape = shape_of(value)
    axes = [checked_axis(axis, len(shape), operator) for axis in operator.option(ReshapeOptions).values]
    if not axes:
        axes = [axis for axis, extent in enumerate(data.shape) if extent == 1]
    if any(shape[axis] != 1 for axis in axes):
        raise ModelError(f"SQUEEZE of axes {axes} of {data.name}, which has shape {shape}")
    return [relax.op.reshape(value, tuple(extent for axis, extent in enumerate(shape) if axis not in axes))]


@rule("EXPAND_DIMS")
def convert_expand_dims(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """A new axis of extent 1 at a constant place."""
    value = conversion.value(conversion.operand(operator, 0))
    shape = list(shape_of(value))
    shape.insert(single_axis(conversion, operator, 1, len(shape) + 1), 1)
    return [relax.op.reshape(value, tuple(shape))]


@rule("TRANSPOSE")
def convert_transpose(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """A constant permutation of the axes."""
    value = conversion.value(conversion.operand(operator, 0))
    order = conversion.integers(conversion.operand(operator, 1), "permutation")
    rank = len(shape_of(value))
    axes = [checked_axis(axis, rank, operator) for axis in order]
    if sorted(axes) != list(range(rank)):
        raise ModelError(f"operator {operator.index} (TRANSPOSE) has no permutation of {rank} axes: {order}")
    return [relax.op.permute_dims(value, axes)]


@rule("CONCATENATION")
def convert_concatenation(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Copies where the parameters are equal; TFLite rescales uint8 only."""
    options = operator.option(ConcatOptions)
    if options.activation is not Activation.NONE:
        raise UnsupportedUseError(f"fused activation {options.activation.name}")
    tensors = [conversion.operand(operator, position) for position in range(len(operator.inputs))]
    output = conversion.result(operator)
    if not tensors or any(tensor.dtype != output.dtype for tensor in tensors):
        raise UnsupportedUseError("no operands or mixed types")
    values = [conversion.value(tensor) for tensor in tensors]
    axis = checked_axis(options.axis, len(shape_of(values[0])), operator)
    if output.dtype not in DTYPE_BOUNDS:
        return [relax.op.concat(values, axis=axis)]
    same = all(conversion.same_parameters(tensor, output) for tensor in tensors)
    if output.dtype == "int8" and not same:
        raise UnsupportedUseError("int8 operands of different scales, which TFLite refuses too")
    if len(values) == 1:
        return [values[0]] if same else _refuse_rescale()
    return [
        dialect.concatenate(
            relax.Tuple(values),
            relax.Tuple([conversion.scale(tensor) for tensor in tensors]),
            relax.Tuple([conversion.zero_point(tensor) for tensor in tensors]),
            *conversion.parameters((output,)),
            axis=axis,
            rounding=Rounding.AWAY.value,
            compute_dtype=ComputeDtype.FLOAT32.value,
        )
    ]


def _refuse_rescale() -> list[Expr]:
    raise UnsupportedUseError("one operand of another scale than the output")


@rule("SPLIT")
def convert_split(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Equal parts along a constant axis; the axis is the first operand."""
    value = conversion.value(conversion.operand(operator, 1))
    shape = shape_of(value)
    axis = single_axis(conversion, operator, 0, len(shape))
    count = operator.option(CountOptions).count
    if count < 1 or count != len(operator.outputs) or shape[axis] % count:
        raise ModelError(f"operator {operator.index} (SPLIT) cuts {shape[axis]} elements into {count} parts")
    if count == 1:
        return [value]
    parts = conversion.emit(relax.op.split(value, count, axis=axis))
    return [parts[position] for position in range(count)]


@rule("PACK")
def convert_pack(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Stacks tensors of one shape along a new axis."""
    tensors = [conversion.operand(operator, position) for position in range(len(operator.inputs))]
    output = conversion.result(operator)
    if not tensors:
        raise ModelError(f"operator {operator.index} (PACK) has no operands")
    _require_same(conversion, [*tensors, output])
    values = [conversion.value(tensor) for tensor in tensors]
    shape = list(shape_of(values[0]))
    axis = checked_axis(operator.option(AxisOptions).axis, len(shape) + 1, operator)
    shape.insert(axis, 1)
    parts = [conversion.emit(relax.op.reshape(value, tuple(shape))) for value in values]
    return [parts[0] if len(parts) == 1 else relax.op.concat(parts, axis=axis)]


@rule("UNPACK")
def convert_unpack(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Cuts an axis into its elements and drops it."""
    data = conversion.operand(operator, 0)
    _require_same(conversion, [data, *(conversion.tensor(index) for index in operator.outputs)])
    value = conversion.value(data)
    shape = shape_of(value)
    axis = checked_axis(operator.option(AxisOptions).axis, len(shape), operator)
    if len(operator.outputs) != shape[axis]:
        raise ModelError(
            f"operator {operator.index} (UNPACK) cuts {shape[axis]} elements into {len(operator.outputs)}"
        )
    rest = tuple(extent for place, extent in enumerate(shape) if place != axis)
    if shape[axis] == 1:
        return [relax.op.reshape(value, rest)]
    parts = conversion.emit(relax.op.split(value, shape[axis], axis=axis))
    return [relax.op.reshape(conversion.emit(parts[place]), rest) for place in range(shape[axis])]


def _require_same(conversion: Conversion, tensors: Sequence[GraphTensor]) -> None:
    """Operators that only copy need one dtype and one scale."""
    first = tensors[0]
    for tensor in tensors[1:]:
        if tensor.dtype != first.dtype:
            raise UnsupportedUseError("mixed types")
        if first.dtype in DTYPE_BOUNDS and not conversion.same_parameters(first, tensor):
            raise UnsupportedUseError("tensors of different scales")


def fold_shape(shape: tuple[int, ...], dtype: str) -> Array:
    """The value of a SHAPE operator."""
    return np.array(shape, dtype="int64" if dtype == "int64" else "int32")
