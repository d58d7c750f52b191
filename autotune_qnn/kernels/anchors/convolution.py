"""Anchor rules of qnn.conv2d and qnn.dense: from operator to geometry, kernel and template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune_qnn.dialect.pairs import PAIRS_INT16, pairs_can_saturate
from autotune_qnn.kernels.anchors.conv2d import conv2d
from autotune_qnn.kernels.anchors.convolved import Accumulated, Convolved
from autotune_qnn.kernels.anchors.depthwise import depthwise
from autotune_qnn.kernels.anchors.depthwise_pairs import depthwise_pairs
from autotune_qnn.kernels.anchors.depthwise_wide import depthwise_wide, side_by_side, store_wide
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
from autotune_qnn.kernels.wide import WideGeometry
from autotune_qnn.kernels.winograd import WinogradGeometry, middles

_IMAGE_AXES = 3


def _pair(call: AnchorCall, name: str) -> tuple[int, int]:
    first, second = call.attributes.integers(name, 2)
    return first, second


def stored_terms(call: AnchorCall) -> Convolved:
    """The operands and the bias, of data that are stored as uint8."""
    data: Operand = call.operands[0]
    zero_point = call.constant(2)
    if zero_point.size != 1 or data.tensor is None or str(data.tensor.dtype) != "uint8":
        raise call.unsupported(f"data of dtype {data.dtype} with {zero_point.size} zero points")
    stored = int(zero_point.reshape(-1)[0]) + data.offset
    low, high = bounds("uint8")
    if not low <= stored <= high:
        raise call.unsupported(f"the input zero point {stored - data.offset}, outside of {data.dtype}")
    return Convolved(data.tensor, call.constant(1), call.constant(3), stored, call.bias)


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


def _geometry(call: AnchorCall) -> ConvGeometry:
    weights = call.constant(1)
    batch, height, width, channels = call.activation().shape
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


def _anchor(
    kind: str, geometry: ConvGeometry, result: Accumulated, template: TemplateFactory, **more: Any
) -> Anchor:
    name = convolution_name(geometry)
    return Anchor(result.lanes, kind, name, geometry.macs, template, blocks=result.blocks, **more)


@anchor("qnn.conv2d", takes_bias=True, needs_unsigned=True)
def conv2d_rule(call: AnchorCall) -> Anchor:
    """qnn.conv2d, NHWC data and OHWI weights; depthwise where every group has one input channel."""
    terms, geometry = stored_terms(call), _geometry(call)
    if call.attributes.string("accumulation") == PAIRS_INT16 and pairs_can_saturate(terms.weights):
        return _in_pairs(call, geometry, terms)
    if geometry.groups == geometry.channels > 1:
        return _depthwise(call, geometry, terms)
    tiles = WinogradGeometry.of(geometry, call.dot)
    if tiles is not None and tiles.pays(call.dot):
        middle = middles(terms.centred)
        if middle is not None:
            return _in_tiles(call, tiles, terms, middle)
    joined, weights = join_groups(geometry, terms.weights, terms.weight_zero_point, call.dot.lanes)
    joined, template = _scheduled(joined, call.dot)
    result = conv2d(call.inputs, joined, call.dot, replace(terms, weights=weights), in_blocks=True)
    return _anchor("conv2d", geometry, result, template)


def _depthwise(call: AnchorCall, geometry: ConvGeometry, terms: Convolved) -> Anchor:
    wide = WideGeometry.of(geometry, call.dot)
    if wide is not None and call.channelwise and call.output.dtype in ("int8", "uint8"):
        return _wide(call, wide, terms)
    result = depthwise(call.inputs, geometry, call.dot, terms)
    return _anchor("depthwise", geometry, result, DepthwiseTemplate.factory(geometry, call.dot))


def _in_pairs(call: AnchorCall, geometry: ConvGeometry, terms: Convolved) -> Anchor:
    result = depthwise_pairs(call.inputs, geometry, call.dot, terms)
    plain = replace(call.dot, depthwise_intrinsic="")
    return _anchor("depthwise_pairs", geometry, result, DepthwiseTemplate.factory(geometry, plain))


def _in_tiles(
    call: AnchorCall, geometry: WinogradGeometry, terms: Convolved, middle: NDArray[np.int64]
) -> Anchor:
    tiles = WinogradTiles(geometry)
    result = winograd(call.inputs, tiles, terms, middle)
    template = WinogradTemplate.factory(geometry, call.dot)
    found = _anchor("conv2d", geometry.conv, result, template, placement=tiles)
    return replace(found, detail=found.detail + "_winograd")


def _wide(call: AnchorCall, wide: WideGeometry, terms: Convolved) -> Anchor:
    return _anchor(
        "depthwise",
        wide.conv,
        depthwise_wide(call.inputs, wide, terms),
        DepthwiseWideTemplate.factory(wide, call.dot, call.output.dtype),
        store=lambda finished: store_wide(wide, call.inputs, finished, call.output),
        stored=partial(side_by_side, wide) if wide.side > 1 else None,
    )


@anchor("qnn.dense", takes_bias=True, needs_unsigned=True)
def dense_rule(call: AnchorCall) -> Anchor:
    """qnn.dense as a 1x1 convolution: data of two, three or four dimensions are rows of pixels."""
    terms, shape = stored_terms(call), call.activation().shape
    *leading, inner = shape
    if len(leading) > _IMAGE_AXES:
        raise call.unsupported(f"data of {len(shape)} dimensions")
    missing = _IMAGE_AXES - len(leading)
    batch, height, width = [1] * missing + leading
    units = terms.weights.shape[0]
    geometry = ConvGeometry(batch, height, width, inner, units, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    geometry, template = _scheduled(geometry, call.dot)
    image = replace(
        terms,
        data=lambda *index: terms.data(*index[missing:]),
        weights=terms.weights.reshape(units, 1, 1, inner),
    )
    result = conv2d(call.inputs, geometry, call.dot, image, in_blocks=True)

    def lanes(index: Sequence[Any]) -> Lane:
        return result.lanes([0] * missing + list(index))

    name = f"{'x'.join(map(str, shape))}_{units}"
    return Anchor(lanes, "dense", name, geometry.macs, template, blocks=result.blocks)
