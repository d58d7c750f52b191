"""Anchor rules of qnn.conv2d and qnn.dense: from operator to geometry, kernel and template."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from autotune_qnn.dialect.pairs import PAIRS_INT16, pairs_can_saturate
from autotune_qnn.kernels.anchors.conv2d import conv2d
from autotune_qnn.kernels.anchors.depthwise import depthwise
from autotune_qnn.kernels.anchors.depthwise_pairs import depthwise_pairs
from autotune_qnn.kernels.anchors.depthwise_wide import WideGeometry, depthwise_wide, side_by_side, store_wide
from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor
from autotune_qnn.kernels.anchors.winograd import WinogradTiles, winograd
from autotune_qnn.kernels.geometry import ConvGeometry
from autotune_qnn.kernels.groups import join_groups
from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.kernels.lane import Lane, bounds
from autotune_qnn.kernels.operand import Operand
from autotune_qnn.kernels.templates.base import TemplateFactory
from autotune_qnn.kernels.templates.conv2d import ConvTemplate
from autotune_qnn.kernels.templates.conv2d_amx import ConvAmxTemplate, suits_tiles
from autotune_qnn.kernels.templates.depthwise import DepthwiseTemplate
from autotune_qnn.kernels.templates.depthwise_wide import DepthwiseWideTemplate
from autotune_qnn.kernels.templates.winograd import WinogradTemplate
from autotune_qnn.kernels.winograd import WinogradGeometry, middles

_IMAGE_AXES = 3


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


def _scheduled(geometry: ConvGeometry, dot: DotShape) -> tuple[ConvGeometry, TemplateFactory]:
    """The geometry as the target's kernel computes it, and the kernel's template."""
    if not suits_tiles(geometry, dot):
        return geometry, ConvTemplate.factory(geometry, dot)
    tiled = geometry.in_tiles()
    return tiled, ConvAmxTemplate.factory(tiled, dot)


def _geometry(call: AnchorCall, data: Operand) -> ConvGeometry:
    weights = call.constant(1)
    batch, height, width, channels = data.shape
    top, left, bottom, right = call.attributes.integers("padding", 4)
    return ConvGeometry(
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


@anchor("qnn.conv2d", takes_bias=True, needs_unsigned=True)
def conv2d_rule(call: AnchorCall) -> Anchor:
    """qnn.conv2d, NHWC data and OHWI weights; depthwise where every group has one input channel."""
    data, zero_point = stored_data(call)
    weights = call.constant(1)
    geometry = _geometry(call, data)
    arguments = (weights, call.constant(3), zero_point, call.bias)
    if call.attributes.string("accumulation") == PAIRS_INT16 and pairs_can_saturate(weights):
        return _in_pairs(call, geometry, data.tensor, arguments)
    if geometry.groups == geometry.channels > 1:
        return _depthwise(call, geometry, data.tensor, arguments)
    tiles = WinogradGeometry.of(geometry, call.dot)
    if tiles is not None and tiles.pays(call.dot):
        centred = weights.astype(np.int32) - call.constant(3).astype(np.int32).reshape(-1, 1, 1, 1)
        middle = middles(centred)
        if middle is not None:
            return _in_tiles(call, tiles, data.tensor, (centred, middle, zero_point, call.bias))
    joined, joined_weights = join_groups(geometry, weights, call.constant(3), call.dot.lanes)
    joined, template = _scheduled(joined, call.dot)
    arguments = (joined_weights, *arguments[1:])
    source = data.tensor
    result = conv2d(call.inputs, joined, call.dot, lambda *index: source[index], *arguments, in_blocks=True)
    return Anchor(
        lambda index: Lane(result.value(index), clamped=True),
        "conv2d",
        convolution_name(geometry),
        geometry.macs,
        template,
        blocks=result.blocks,
    )


def _depthwise(call: AnchorCall, geometry: ConvGeometry, data: Any, arguments: Any) -> Anchor:
    wide = WideGeometry.of(geometry, call.dot)
    if wide is not None and call.channelwise and call.output.dtype in ("int8", "uint8"):
        return _wide(call, wide, data, arguments)
    result = depthwise(call.inputs, geometry, call.dot, data, *arguments)
    return Anchor(
        lambda index: Lane(result.value(index), clamped=True),
        "depthwise",
        convolution_name(geometry),
        geometry.macs,
        DepthwiseTemplate.factory(geometry, call.dot),
        blocks=result.blocks,
    )


def _in_pairs(call: AnchorCall, geometry: ConvGeometry, data: Any, arguments: Any) -> Anchor:
    result = depthwise_pairs(call.inputs, geometry, call.dot, data, *arguments)
    plain = dataclasses.replace(call.dot, depthwise_intrinsic="")
    return Anchor(
        lambda index: Lane(result.value(index), clamped=True),
        "depthwise_pairs",
        convolution_name(geometry),
        result.macs,
        DepthwiseTemplate.factory(geometry, plain),
        blocks=result.blocks,
    )


def _in_tiles(call: AnchorCall, geometry: WinogradGeometry, data: Any, arguments: Any) -> Anchor:
    tiles = WinogradTiles(geometry)
    result = winograd(call.inputs, tiles, data, *arguments)
    return Anchor(
        lambda index: Lane(result(index), clamped=True),
        "conv2d",
        convolution_name(geometry.conv) + "_winograd",
        geometry.conv.macs,
        WinogradTemplate.factory(geometry, call.dot),
        placement=tiles,
    )


def _wide(call: AnchorCall, wide: WideGeometry, data: Any, arguments: Any) -> Anchor:
    result = depthwise_wide(call.inputs, wide, data, *arguments)
    return Anchor(
        lambda index: Lane(result(index), clamped=True),
        "depthwise",
        convolution_name(wide.conv),
        wide.conv.macs,
        DepthwiseWideTemplate.factory(wide, call.dot, call.output.dtype),
        lambda finished: store_wide(wide, call.inputs, finished, call.output),
        stored=partial(side_by_side, wide) if wide.side > 1 else None,
    )


@anchor("qnn.dense", takes_bias=True, needs_unsigned=True)
def dense_rule(call: AnchorCall) -> Anchor:
    """qnn.dense as a 1x1 convolution: data of two, three or four dimensions are rows of pixels."""
    data, zero_point = stored_data(call)
    weights = call.constant(1)
    *leading, inner = data.shape
    if len(leading) > _IMAGE_AXES:
        raise call.unsupported(f"data of {len(data.shape)} dimensions")
    missing = _IMAGE_AXES - len(leading)
    batch, height, width = [1] * missing + leading
    units = weights.shape[0]
    geometry = ConvGeometry(batch, height, width, inner, units, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    geometry, template = _scheduled(geometry, call.dot)
    reshaped = np.ascontiguousarray(weights).reshape(units, 1, 1, inner)

    def source(*index: Any) -> Any:
        return data.tensor[index[missing:]]

    arguments = (reshaped, call.constant(3), zero_point, call.bias)
    result = conv2d(call.inputs, geometry, call.dot, source, *arguments, in_blocks=True)

    def lane(index: Sequence[Any]) -> Lane:
        return Lane(result.value([0] * missing + list(index)), clamped=True)

    name = f"{'x'.join(map(str, data.shape))}_{units}"
    return Anchor(lane, "dense", name, result.macs, template, blocks=result.blocks)
