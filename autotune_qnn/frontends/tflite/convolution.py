"""CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV and FULLY_CONNECTED: exact accumulators, bias, requantize, fused
activation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.rules import Expr, UnsupportedUseError, shape_of
from autotune_qnn.frontends.tflite.conversion import Conversion, rule
from autotune_qnn.frontends.tflite.float_ops import float_dense
from autotune_qnn.frontends.tflite.graph import GraphOperator, GraphTensor
from autotune_qnn.frontends.tflite.options import Activation, ConvOptions, DenseOptions
from autotune_qnn.frontends.tflite.requantization import Family, accumulator_rescale, requantize
from autotune_qnn.frontends.tflite.windows import transpose_padding, window_padding


@dataclass(frozen=True, slots=True)
class _Weights:
    """Weights as the dialect takes them: `value` [OC, ...], scale float32 [1] or [OC], zero point of shape ()
    or (OC,).
    """

    value: Expr
    shape: tuple[int, ...]
    scale: Array
    zero_point: Array

    def scale_operand(self) -> Expr:
        """The scale as a constant of shape () or (OC,)."""
        return relax.const(self.scale.reshape(()) if self.scale.size == 1 else self.scale, "float32")

    def zero_point_operand(self) -> Expr:
        """The zero point as a constant of shape () or (OC,)."""
        return relax.const(self.zero_point, "int32")


def _weights(
    conversion: Conversion, tensor: GraphTensor, channel_axis: int, order: tuple[int, ...] | None
) -> _Weights:
    """The weights, transposed to `order` where given; `channel_axis` is the output channel's in the file."""
    quantization = conversion.quantization(tensor)
    if quantization.per_channel and quantization.axis != channel_axis:
        raise UnsupportedUseError(f"weights quantized along axis {quantization.axis}")
    data = conversion.constant(tensor)
    if data is None and order is not None:
        raise UnsupportedUseError("weights that are not constant")
    if data is None:
        value, shape = conversion.value(tensor), shape_of(conversion.value(tensor))
    else:
        data = data if order is None else np.ascontiguousarray(data.transpose(order))
        value, shape = relax.const(data, data.dtype.name), data.shape
    zero_point = quantization.zero_point.astype("int32")
    if np.all(zero_point == zero_point[0]):
        zero_point = zero_point[:1].reshape(())
    return _Weights(value, tuple(int(extent) for extent in shape), quantization.scale, zero_point)


def _finish(
    conversion: Conversion,
    operator: GraphOperator,
    accumulator: Expr,
    data: GraphTensor,
    weights: _Weights,
    family: Family,
    bias_position: int,
    activation: Activation,
) -> Expr:
    """Bias, requantize and fused activation of an int32 accumulator."""
    output = conversion.result(operator)
    if output.dtype != data.dtype:
        raise UnsupportedUseError(f"{data.dtype} data with {output.dtype} output")
    if conversion.has_operand(operator, bias_position):
        bias = conversion.operand(operator, bias_position)
        if bias.dtype != "int32":
            raise UnsupportedUseError(f"{bias.dtype} bias")
        value = conversion.value(bias)
        if math.prod(shape_of(value)) != weights.shape[0]:
            raise ModelError(f"bias {bias.name} has shape {bias.shape} for {weights.shape[0]} channels")
        if len(shape_of(value)) != 1:
            value = conversion.emit(relax.op.reshape(value, (weights.shape[0],)))
        accumulator = relax.op.add(conversion.emit(accumulator), value)
    scale, _ = conversion.per_tensor(data)
    rescale = accumulator_rescale(conversion.kernel(operator), family, data.dtype, scale, weights.scale)
    return conversion.activate(requantize(conversion, accumulator, 0, rescale, output), activation, output)


def _parameters(conversion: Conversion, data: GraphTensor, weights: _Weights) -> list[Expr]:
    """Zero points and scales of data and weights in the dialect's order."""
    return [
        conversion.zero_point(data),
        weights.zero_point_operand(),
        conversion.scale(data),
        weights.scale_operand(),
    ]


def _image(conversion: Conversion, data: GraphTensor, weights: _Weights) -> tuple[int, int, int]:
    """Height, width and channels of NHWC data; the weights must have rank 4 too."""
    shape = shape_of(conversion.value(data))
    if len(shape) != 4 or len(weights.shape) != 4:
        raise ModelError(
            f"data {data.name} of shape {shape} and weights of shape {weights.shape} must both have rank 4"
        )
    return shape[1], shape[2], shape[3]


@rule("CONV_2D", "DEPTHWISE_CONV_2D")
def convert_convolution(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """NHWC data, OHWI weights; depthwise weights [1, KH, KW, OC] become [OC, KH, KW, 1]."""
    options = operator.option(ConvOptions)
    data, filters = conversion.operand(operator, 0), conversion.operand(operator, 1)
    conversion.per_tensor(data)
    depthwise = operator.name == "DEPTHWISE_CONV_2D"
    if depthwise and (len(filters.shape) != 4 or filters.shape[0] != 1):
        raise ModelError(
            f"depthwise weights {filters.name} have shape {filters.shape}, expected [1, KH, KW, OC]"
        )
    weights = _weights(conversion, filters, 3 if depthwise else 0, (3, 1, 2, 0) if depthwise else None)
    height, width, channels = _image(conversion, data, weights)
    group_channels = weights.shape[3]
    groups = channels // group_channels if group_channels else 0
    if groups < 1 or groups * group_channels != channels or weights.shape[0] % groups:
        raise ModelError(
            f"weights {filters.name} of shape {filters.shape} do not fit {channels} channels of {data.name}"
        )
    window = (weights.shape[1], weights.shape[2])
    pads = window_padding(options.padding, (height, width), window, options.strides, options.dilation)
    accumulator = dialect.conv2d(
        conversion.value(data),
        weights.value,
        *_parameters(conversion, data, weights),
        kernel_size=window,
        channels=weights.shape[0],
        strides=options.strides,
        padding=pads,
        dilation=options.dilation,
        groups=groups,
    )
    family = Family.CONVOLUTION if groups == 1 else Family.GROUPED
    if depthwise:
        family = Family.DEPTHWISE
    return [_finish(conversion, operator, accumulator, data, weights, family, 2, options.activation)]


@rule("TRANSPOSE_CONV")
def convert_transpose_convolution(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Operands: output shape, weights [OC, KH, KW, IC], data NHWC, optional bias."""
    options = operator.option(ConvOptions)
    wanted = conversion.integers(conversion.operand(operator, 0), "output shape")
    filters, data = conversion.operand(operator, 1), conversion.operand(operator, 2)
    weights = _weights(conversion, filters, 0, None)
    height, width, channels = _image(conversion, data, weights)
    if len(wanted) != 4 or weights.shape[3] != channels or wanted[3] != weights.shape[0]:
        raise ModelError(f"weights {filters.name} of shape {filters.shape} do not fit output {wanted}")
    window = (weights.shape[1], weights.shape[2])
    pads, extra = transpose_padding(
        (height, width), window, options.strides, (wanted[1], wanted[2]), options.padding
    )
    accumulator = dialect.conv2d_transpose(
        conversion.value(data),
        weights.value,
        *_parameters(conversion, data, weights),
        kernel_size=window,
        channels=weights.shape[0],
        strides=options.strides,
        padding=pads,
        output_padding=extra,
        dilation=(1, 1),
        groups=1,
    )
    return [
        _finish(conversion, operator, accumulator, data, weights, Family.TRANSPOSE, 3, options.activation)
    ]


@rule("FULLY_CONNECTED")
def convert_dense(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Data of any rank, flattened to [-1, K]; weights [units, K]."""
    options = operator.option(DenseOptions)
    data, filters = conversion.operand(operator, 0), conversion.operand(operator, 1)
    if options.shuffled:
        raise UnsupportedUseError("shuffled weights")
    if data.dtype == "float32":
        return [float_dense(conversion, operator)]
    conversion.per_tensor(data)
    weights = _weights(conversion, filters, 0, None)
    value = conversion.value(data)
    shape = shape_of(value)
    if len(weights.shape) != 2 or math.prod(shape) % max(weights.shape[1], 1):
        raise ModelError(
            f"weights {filters.name} of shape {weights.shape} do not fit {data.name} of shape {shape}"
        )
    units, depth = weights.shape
    rows = math.prod(shape) // depth
    if shape != (rows, depth):
        value = conversion.emit(relax.op.reshape(value, (rows, depth)))
    accumulator = dialect.dense(value, weights.value, *_parameters(conversion, data, weights), units=units)
    result = _finish(conversion, operator, accumulator, data, weights, Family.DENSE, 2, options.activation)
    if options.keep_dims and len(shape) != 2:
        result = relax.op.reshape(conversion.emit(result), (*shape[:-1], units))
    return [result]
