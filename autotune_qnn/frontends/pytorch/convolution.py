"""quantized::conv1d, conv2d, conv_transpose1d, conv_transpose2d and linear, with and without relu: accumulators, exact
but for fbgemm's depthwise convolutions, and the output stage of the engine.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.dialect.pairs import EXACT
from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.pytorch.conversion import Conversion, real, rule, zero
from autotune_qnn.frontends.pytorch.engines import accumulation, convolution_stage, linear_stage
from autotune_qnn.frontends.pytorch.graph import Node, PackedWeights, TensorMeta
from autotune_qnn.frontends.pytorch.layout import Expr, Value, channels_last, in_order
from autotune_qnn.frontends.rules import UnsupportedUseError
from autotune_qnn.quantization import Arithmetic

_LOGGER = logging.getLogger(__name__)


@rule(
    "quantized::conv1d",
    "quantized::conv1d_relu",
    "quantized::conv2d",
    "quantized::conv2d_relu",
    "quantized::conv_transpose1d",
    "quantized::conv_transpose2d",
)
def convert_convolution(conversion: Conversion, node: Node) -> list[Value]:
    """Channels-last data; one-dimensional data are images of one row."""
    weights = _weights(node, "packed_weight")
    operand, result = node.ref("qx"), conversion.result(node)
    data = conversion.meta(operand)
    rank = 3 if "1d" in node.name else 4
    if data.rank != rank:
        raise UnsupportedUseError(f"{data.rank}-dimensional data")
    _check_data(data, node)
    image = (data.shape[0], *(1,) * (4 - rank), *data.shape[2:], data.shape[1])
    expr = conversion.last(operand)
    if rank == 3:
        expr = conversion.emit(relax.op.reshape(expr, image))
    if weights.depth != data.shape[1]:
        raise ModelError(
            f"operator {node.index} ({node.name}) is for {weights.depth} channels, its data have {data.shape[1]}"
        )
    stage = convolution_stage(conversion.engine, weights, conversion.graph.cpu)
    _warn_of_onednn(conversion, node, weights, stage)
    accumulator = sums(conversion, expr, data, weights, accumulation(stage, weights))
    value = _finish(conversion, node, accumulator, weights, stage, result)
    if rank == 3:
        value = relax.op.reshape(
            conversion.emit(value), (result.shape[0], *result.shape[2:], result.shape[1])
        )
    return [Value(value, channels_last(rank))]


@rule("quantized::linear", "quantized::linear_relu")
def convert_linear(conversion: Conversion, node: Node) -> list[Value]:
    """Data of two dimensions or more, features last."""
    weights = _weights(node, "W_prepack")
    operand, result = node.ref("X"), conversion.result(node)
    data = conversion.meta(operand)
    _check_data(data, node)
    if data.rank < 2 or data.shape[-1] != weights.weight.shape[1]:
        raise ModelError(
            f"operator {node.index} ({node.name}) is for {weights.weight.shape[1]} features, "
            f"its data are {list(data.shape)}"
        )
    accumulator = sums(conversion, conversion.plain(operand), data, weights)
    value = _finish(conversion, node, accumulator, weights, linear_stage(conversion.engine), result)
    return [Value(value, in_order(data.rank))]


def _weights(node: Node, name: str) -> PackedWeights:
    weights = node.get(name)
    if not isinstance(weights, PackedWeights):
        raise UnsupportedUseError("weights that are not packed for a layer of one or two dimensions")
    return weights


def _check_data(data: TensorMeta, node: Node) -> None:
    if not data.quantized:
        raise ModelError(f"operator {node.index} ({node.name}) has {data.dtype} data that are not quantized")
    if data.dtype != "uint8":
        raise UnsupportedUseError(f"{data.dtype} data")


def sums(
    conversion: Conversion, expr: Expr, data: TensorMeta, weights: PackedWeights, how: str = EXACT
) -> Expr:
    """The int32 sums of a linear layer, features last, or of a convolution, channels last. `how` is a convolution's
    attribute accumulation.
    """
    quantization = _quantization(conversion, data, weights)
    if weights.weight.ndim == 2:
        matrix = dialect.constant(weights.weight)
        return conversion.emit(dialect.dense(expr, matrix, *quantization, units=weights.channels))
    kernel = ohwi(weights)
    operands = (expr, dialect.constant(kernel), *quantization)
    window: dict[str, Any] = {
        "kernel_size": (int(kernel.shape[1]), int(kernel.shape[2])),
        "channels": weights.channels,
        "strides": weights.stride,
        "padding": weights.padding * 2,
        "dilation": weights.dilation,
        "groups": weights.groups,
    }
    if not weights.transposed:
        return conversion.emit(dialect.conv2d(*operands, **window, accumulation=how))
    extra = weights.output_padding
    return conversion.emit(dialect.conv2d_transpose(*operands, **window, output_padding=extra))


def _warn_of_onednn(conversion: Conversion, node: Node, weights: PackedWeights, stage: str) -> None:
    if weights.transposed and stage.startswith("onednn") and weights.weight.shape[0] != weights.channels:
        _LOGGER.warning(
            "%s (operator %d): PyTorch's engine %s returns wrong numbers for transposed convolutions whose input and "
            "output channels differ; the imported network computes the right ones, so outputs will differ "
            "(--arithmetic fbgemm agrees)",
            node.name,
            node.index,
            Arithmetic(conversion.engine).value,
        )


def ohwi(weights: PackedWeights) -> Array:
    """A convolution's weights as [O, H, W, I/groups]."""
    if not weights.transposed:
        return np.ascontiguousarray(weights.weight.transpose(0, 2, 3, 1))
    inputs, outputs, height, width = weights.weight.shape
    groups = weights.groups
    parts = weights.weight.reshape(groups, inputs // groups, outputs, height, width)
    return np.ascontiguousarray(
        parts.transpose(0, 2, 3, 4, 1).reshape(groups * outputs, height, width, inputs // groups)
    )


def _quantization(conversion: Conversion, data: TensorMeta, weights: PackedWeights) -> list[Expr]:
    """Zero points and scales of data and weights in the dialect's order."""
    scale, zero_point = conversion.per_tensor(data)
    points = weights.zero_point
    if points.ndim and np.all(points == points[0]):
        points = points[0]
    return [
        zero(zero_point),
        dialect.constant(points, "int32"),
        real(scale),
        dialect.constant(weights.scale, "float64"),
    ]


def _finish(
    conversion: Conversion,
    node: Node,
    accumulator: Expr,
    weights: PackedWeights,
    stage: str,
    result: TensorMeta,
) -> Expr:
    """Bias, scales, rounding and relu."""
    data = conversion.meta(node.ref("X" if "X" in node.arguments else "qx"))
    scale, _ = conversion.per_tensor(data)
    value = dialect.output_stage(
        accumulator,
        dialect.constant(weights.addend, "float32"),
        real(scale),
        dialect.constant(weights.scale, "float64"),
        *conversion.parameters(result),
        engine=stage,
        out_dtype=result.dtype,
    )
    return conversion.relu(value, result) if node.name.endswith("_relu") else value
