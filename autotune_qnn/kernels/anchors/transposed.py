"""Anchor rule of qnn.conv2d_transpose: a plain convolution with the flipped kernel over a widened input.

Between neighbouring input elements lie stride - 1 new ones that hold the zero point, and so add nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tvm import te, tirx

from autotune_qnn.kernels.anchors.conv2d import conv2d
from autotune_qnn.kernels.anchors.convolution import convolution_name, stored_terms
from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor
from autotune_qnn.kernels.geometry import ConvGeometry
from autotune_qnn.kernels.groups import join_groups
from autotune_qnn.kernels.templates.transposed import TransposedTemplate


def transposed_geometry(call: AnchorCall) -> ConvGeometry:
    """The convolution of stride 1 over the widened input; its padding is negative where it crops."""
    batch, height, width, channels = call.activation().shape
    kernel = call.constant(1)
    strides, dilation = (call.attributes.integers(name, 2) for name in ("strides", "dilation"))
    top, left, bottom, right = call.attributes.integers("padding", 4)
    below, beside = call.attributes.integers("output_padding", 2)
    reach = [(extent - 1) * step for extent, step in zip(kernel.shape[1:3], dilation, strict=True)]
    return ConvGeometry(
        batch,
        (height - 1) * strides[0] + 1,
        (width - 1) * strides[1] + 1,
        channels,
        kernel.shape[0],
        (kernel.shape[1], kernel.shape[2]),
        (1, 1),
        (dilation[0], dilation[1]),
        (reach[0] - top, reach[1] - left, reach[0] - bottom + below, reach[1] - right + beside),
        call.attributes.integer("groups"),
    )


@anchor("qnn.conv2d_transpose", takes_bias=True, needs_unsigned=True)
def conv2d_transpose(call: AnchorCall) -> Anchor:
    """qnn.conv2d_transpose with constant weights, dense or in groups."""
    stored = stored_terms(call)
    geometry = transposed_geometry(call)
    stride_y, stride_x = call.attributes.integers("strides", 2)
    fill = stored.pad_value(call.inputs)

    def widened(n: Any, y: Any, x: Any, c: Any) -> Any:
        whole = tirx.all(tirx.floormod(y, stride_y) == 0, tirx.floormod(x, stride_x) == 0)
        value = stored.data(n, tirx.floordiv(y, stride_y), tirx.floordiv(x, stride_x), c)
        return value if (stride_y, stride_x) == (1, 1) else tirx.if_then_else(whole, value, fill)

    source: Any = widened
    if not geometry.copied(call.dot) and (stride_y, stride_x) != (1, 1):
        extents = (geometry.batch, geometry.height, geometry.width, geometry.channels)
        source = te.compute(extents, widened, name="widened")
    flipped = stored.weights[:, ::-1, ::-1]
    joined, weights = join_groups(geometry, flipped, stored.weight_zero_point, call.dot.lanes)
    result = conv2d(call.inputs, joined, call.dot, replace(stored, data=source, weights=weights))
    name = f"{convolution_name(geometry)}_of{stride_y}x{stride_x}"
    template = TransposedTemplate.factory(joined, call.dot)
    return Anchor(result.lanes, "conv2d_transpose", name, geometry.macs, template)
