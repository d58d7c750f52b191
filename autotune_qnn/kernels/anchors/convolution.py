"""Anchor rules of qnn.conv2d and qnn.dense: from operator to geometry, kernel and template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import tirx

from autotune_qnn.kernels.anchors.conv2d import conv2d
from autotune_qnn.kernels.anchors.depthwise import depthwise
from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor
from autotune_qnn.kernels.geometry import ConvGeometry
from autotune_qnn.kernels.lane import Lane, bounds
from autotune_qnn.kernels.operand import Operand
from autotune_qnn.kernels.templates.conv2d import ConvTemplate
from autotune_qnn.kernels.templates.depthwise import DepthwiseTemplate


def _pair(call: AnchorCall, name: str) -> tuple[int, int]:
    first, second = call.attributes.integers(name, 2)
    return first, second


def stored_data(call: AnchorCall) -> tuple[Operand, int]:
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


def convolution_name(geometry: ConvGeometry) -> str:
    """What tells a convolution's shape from another's, as part of a kernel's name."""
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
    data, zero_point = stored_data(call)
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

    return Anchor(lane, kind, convolution_name(geometry), result.macs, template)


def _unraveled(row: Any, extents: Sequence[int]) -> list[Any]:
    """The index over several axes of a row counted over all of them."""
    places: list[Any] = []
    for extent in reversed(extents[1:]):
        places.insert(0, tirx.floormod(row, extent))
        row = tirx.floordiv(row, extent)
    return [row, *places]


@anchor("qnn.dense", takes_bias=True, needs_unsigned=True)
def dense_rule(call: AnchorCall) -> Anchor:
    """qnn.dense as a 1x1 convolution over a row of pixels."""
    data, zero_point = stored_data(call)
    weights = call.constant(1)
    *leading, inner = data.shape
    rows = math.prod(leading)
    geometry = ConvGeometry(1, 1, rows, inner, weights.shape[0], (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    reshaped = np.ascontiguousarray(weights).reshape(weights.shape[0], 1, 1, inner)
    result = conv2d(
        call.inputs,
        geometry,
        call.dot,
        lambda _n, _y, x, c: data.tensor(*_unraveled(x, leading), c),
        reshaped,
        call.constant(3),
        zero_point,
        call.bias,
    )

    def lane(index: Sequence[Any]) -> Lane:
        *places, unit = index
        row = places[0]
        for place, extent in zip(places[1:], leading[1:], strict=True):
            row = row * extent + place
        return Lane(result.value((0, 0, row, unit)), clamped=True)

    name = f"{rows}x{inner}_{geometry.out_channels}"
    return Anchor(lane, "dense", name, result.macs, ConvTemplate.factory(geometry, call.dot))
