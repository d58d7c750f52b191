"""Anchor rules of qnn.conv2d and qnn.dense: from operator to geometry, kernel and template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autotune_qnn.kernels.anchors.conv2d import conv2d
from autotune_qnn.kernels.anchors.depthwise import depthwise
from autotune_qnn.kernels.geometry import ConvGeometry
from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor
from autotune_qnn.kernels.lane import Lane, bounds
from autotune_qnn.kernels.operand import Operand
from autotune_qnn.kernels.templates.conv2d import ConvTemplate
from autotune_qnn.kernels.templates.depthwise import DepthwiseTemplate


def _pair(call: AnchorCall, name: str) -> tuple[int, int]:
    first, second = call.attributes.integers(name, 2)
    return first, second


def _stored_data(call: AnchorCall) -> tuple[Operand, int]:
    """The data operand, stored as uint8, and the zero point of its stored values."""
    data: Operand = call.operands[0]
    zero_point = call.constant(2)
    if zero_point.size != 1 or data.tensor is None or str(data.tensor.dtype) != "uint8":
        raise call.unsupported(f"data of dtype {data.dtype} with {zero_point.size} zero points")
    stored = int(zero_point.reshape(-1)[0]) + data.offset
    low, high = bounds("uint8")
    if not low <= stored <= high:
        raise call.unsupported(f"the input zero point {stored - data.offset}, outside of {data.dtype}")
    return data, stored


def _name(geometry: ConvGeometry) -> str:
    kernel = "x".join(str(extent) for extent in geometry.kernel)
    parts = [
        f"{geometry.batch}x{geometry.height}x{geometry.width}x{geometry.channels}",
        str(geometry.out_channels),
        f"k{kernel}s{geometry.strides[0]}",
    ]
    if geometry.strides[0] != geometry.strides[1]:
        parts[-1] += f"x{geometry.strides[1]}"
    if any(geometry.padding):
        parts.append("p" + "".join(str(extent) for extent in geometry.padding))
    if geometry.dilation != (1, 1):
        parts.append(f"d{geometry.dilation[0]}x{geometry.dilation[1]}")
    if geometry.groups > 1:
        parts.append(f"g{geometry.groups}")
    return "_".join(parts)


@anchor("qnn.conv2d", takes_bias=True, needs_unsigned=True)
def conv2d_rule(call: AnchorCall) -> Anchor:
    """qnn.conv2d, NHWC data and OHWI weights; depthwise where every group has one input channel."""
    data, zero_point = _stored_data(call)
    weights = call.constant(1)
    batch, height, width, channels = data.shape
    top, left, bottom, right = call.attributes.integers("padding", 4)
    geometry = ConvGeometry(
        batch,
        height,
        width,
        channels,
        weights.shape[0],
        (weights.shape[1], weights.shape[2]),
        _pair(call, "strides"),
        _pair(call, "dilation"),
        (top, left, bottom, right),
        call.attributes.integer("groups"),
    )
    arguments = (weights, call.constant(3), zero_point, call.bias)
    if geometry.groups == channels and channels > 1:
        result = depthwise(call.inputs, geometry, call.dot, data.tensor, *arguments)
        template: Any = DepthwiseTemplate.factory(geometry, call.dot)
        kind = "depthwise"
    else:
        result = conv2d(call.inputs, geometry, call.dot, lambda *index: data.tensor[index], *arguments)
        template = ConvTemplate.factory(geometry, call.dot)
        kind = "conv2d"

    def lane(index: Sequence[Any]) -> Lane:
        return Lane(result.value(index), clamped=True)

    return Anchor(lane, kind, _name(geometry), result.macs, template)


@anchor("qnn.dense", takes_bias=True, needs_unsigned=True)
def dense_rule(call: AnchorCall) -> Anchor:
    """qnn.dense as a 1x1 convolution over a row of pixels."""
    data, zero_point = _stored_data(call)
    weights = call.constant(1)
    rows, inner = data.shape
    geometry = ConvGeometry(1, 1, rows, inner, weights.shape[0], (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    reshaped = np.ascontiguousarray(weights).reshape(weights.shape[0], 1, 1, inner)
    result = conv2d(
        call.inputs,
        geometry,
        call.dot,
        lambda _n, _y, x, c: data.tensor[x, c],
        reshaped,
        call.constant(3),
        zero_point,
        call.bias,
    )

    def lane(index: Sequence[Any]) -> Lane:
        row, unit = index
        return Lane(result.value((0, 0, row, unit)), clamped=True)

    name = f"{rows}x{inner}_{geometry.out_channels}"
    return Anchor(lane, "dense", name, result.macs, ConvTemplate.factory(geometry, call.dot))
