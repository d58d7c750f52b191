"""Depthwise convolution as TensorIR.

With VNNI, the window's columns of one channel are gathered four at a time into an int32 ("quad"), once for each
input row and output column; one vpdpbusd a kernel row and quad then does four multiplications for a vector of
channels. Elsewhere, widened multiply-adds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx

from autotune_qnn.kernels.anchors.convolved import Accumulated, Convolved, SplitWeights, bordered
from autotune_qnn.kernels.anchors.overlap import Blocks, first_channel
from autotune_qnn.kernels.geometry import ConvGeometry, ceil_div
from autotune_qnn.kernels.inputs import KernelInputs
from autotune_qnn.kernels.isa import DotShape


def _in_place(blocks: Blocks | None, index: Any) -> tuple[Any, ...]:
    """Where the products of an output element are, with blocks of channels or without."""
    n, y, x, c = index
    return (n, y, x, c if blocks is None else blocks.place(c))


def corrected(products: Any, sums: Any, zero_points: Any) -> Any:
    """The products minus each window's sum of data times its channel's zero point of the weights."""
    return te.compute(
        products.shape,
        lambda n, y, x, c: products[n, y, x, c] - sums[n, y, x, c] * zero_points[c],
        name="corrected",
    )


def accumulated(products: Any, bias: Any, blocks: Blocks | None) -> Accumulated:
    """The products with their bias, by output index."""
    return Accumulated(lambda index: products[_in_place(blocks, index)] + bias[index[3]], blocks)


def padded_data(
    geometry: ConvGeometry, data: Any, pad_value: Any, channels: int, blocks: Blocks | None
) -> Any:
    """The input with its border, one channel for each output channel: in `blocks`, or rounded up to whole vectors."""
    multiplier = geometry.group_outputs
    last = geometry.channels - 1
    whole = bordered(geometry, data, pad_value)

    def element(n: Any, y: Any, x: Any, c: Any) -> Any:
        source = c if multiplier == 1 else tirx.floordiv(c, multiplier)
        if blocks is not None:
            size = blocks.size
            source = first_channel(tirx.floordiv(c, size), size, last + 1) + tirx.floormod(c, size)
        elif channels != geometry.out_channels:
            source = te.min(source, last)
        return whole(n, y, x, source)

    extents = (geometry.batch, geometry.padded_height, geometry.padded_width, channels)
    return te.compute(extents, element, name="data_pad")


def _quads(geometry: ConvGeometry, padded: Any, channels: int) -> Any:
    """int32 quads of the window's columns: [batch, rows, quad, out columns, channels]."""
    width = geometry.kernel[1]
    count = ceil_div(width, 4)

    def element(n: Any, y: Any, q: Any, x: Any, c: Any) -> Any:
        def gathered(quad: int) -> Any:
            value: Any = None
            for place in range(min(4, width - quad * 4)):
                column = x * geometry.strides[1] + (quad * 4 + place) * geometry.dilation[1]
                byte = padded[n, y, column, c].astype("int32")
                part = byte if place == 0 else byte << tirx.const(8 * place, "int32")
                value = part if value is None else value | part
            return value

        value = gathered(count - 1)
        for quad in range(count - 2, -1, -1):
            value = tirx.Select(q == quad, gathered(quad), value)
        return value

    extents = (geometry.batch, geometry.padded_height, count, geometry.computed_width, channels)
    return te.compute(extents, element, name="quads")


def _pack(geometry: ConvGeometry, values: NDArray[Any], shape: DotShape, channels: int, vnni: bool) -> Any:
    """[KH, quads, blocks, lanes, 4] for VNNI, [KH, KW, channels] elsewhere."""
    height, width = geometry.kernel
    taps = values.reshape(-1, height, width)
    if vnni:
        count = ceil_div(width, 4)
        filled = np.zeros((channels, height, count * 4), np.int8)
        filled[: taps.shape[0], :, :width] = taps
        blocks = filled.reshape(channels // shape.lanes, shape.lanes, height, count, 4)
        return np.ascontiguousarray(blocks.transpose(2, 3, 0, 1, 4))
    wide = np.zeros((height, width, channels), np.int16)
    wide[:, :, : taps.shape[0]] = taps.transpose(1, 2, 0)
    return wide


def _quad_products(geometry: ConvGeometry, lanes: int, quads: Any, weights: Any, name: str) -> Any:
    height = te.reduce_axis((0, geometry.kernel[0]), "kh")
    quad = te.reduce_axis((0, ceil_div(geometry.kernel[1], 4)), "quad")
    inner = te.reduce_axis((0, 4), "inner")
    stride, dilation = geometry.strides[0], geometry.dilation[0]
    mask = tirx.const(255, "int32")

    def total(n: Any, y: Any, x: Any, c: Any) -> Any:
        word = quads[n, y * stride + height * dilation, quad, x, c]
        byte = (word >> (inner * 8)) & mask
        weight = weights[height, quad, c // lanes, c % lanes, inner]
        return te.sum(byte * weight.astype("int32"), axis=[height, quad, inner])

    extents = (geometry.batch, geometry.out_height, geometry.computed_width, quads.shape[4])
    return te.compute(extents, total, name=name)


def _plain_products(geometry: ConvGeometry, padded: Any, weights: Any) -> Any:
    height = te.reduce_axis((0, geometry.kernel[0]), "kh")
    width = te.reduce_axis((0, geometry.kernel[1]), "kw")

    def total(n: Any, y: Any, x: Any, c: Any) -> Any:
        row = y * geometry.strides[0] + height * geometry.dilation[0]
        column = x * geometry.strides[1] + width * geometry.dilation[1]
        value = padded[n, row, column, c].astype("int32") * weights[height, width, c].astype("int32")
        return te.sum(value, axis=[height, width])

    extents = (geometry.batch, geometry.out_height, geometry.computed_width, padded.shape[3])
    return te.compute(extents, total, name="depthwise")


def depthwise(
    inputs: KernelInputs,
    geometry: ConvGeometry,
    shape: DotShape,
    terms: Convolved,
) -> Accumulated:
    """A depthwise convolution."""
    channels = ceil_div(geometry.out_channels, shape.lanes) * shape.lanes
    blocks = Blocks.of(geometry.out_channels, shape.lanes) if geometry.group_outputs == 1 else None
    vnni = bool(shape.depthwise_intrinsic)
    split = SplitWeights.of(terms, "int8" if vnni else "int16")
    folded = inputs.vector(terms.folded, "bias")
    if blocks is not None:
        split = split.in_order(blocks.order)
    padded = padded_data(geometry, terms.data, terms.pad_value(inputs), channels, blocks)
    packed = inputs.constant(_pack(geometry, split.values, shape, channels, vnni), "weights")
    if not vnni:
        return accumulated(_plain_products(geometry, padded, packed), folded, blocks)
    quads = _quads(geometry, padded, channels)
    products = _quad_products(geometry, shape.lanes, quads, packed, "depthwise")
    if split.remaining.any():
        ones = inputs.constant(_pack(geometry, np.ones_like(split.values), shape, channels, True), "ones")
        sums = _quad_products(geometry, shape.lanes, quads, ones, "window_sum")
        products = corrected(products, sums, inputs.vector(split.remaining, "weight_zero_point"))
    return accumulated(products, folded, blocks)
