"""qnn.conv2d and qnn.dense as TensorIR: packed weights, int32 accumulators, zero points folded into one vector.

With data a, its zero point za, weights w and theirs zw, the exact result is
    Σ (a - za)(w - zw) = Σ a·w' - r·Σ a - za·(Σ w' - K·r),   w' = w - s,  r = zw - s,
where s is chosen so that w' fits the multiply's dtype. The last term joins the bias; r is zero wherever w - zw
fits, and otherwise the window's sum of data is computed once for all output channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx

from autotune_qnn.kernels.anchors.convolved import Accumulated, Convolved, SplitWeights, bordered
from autotune_qnn.kernels.anchors.overlap import Blocks
from autotune_qnn.kernels.elements.requantize import per_channel
from autotune_qnn.kernels.geometry import ConvGeometry
from autotune_qnn.kernels.inputs import KernelInputs
from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.kernels.starts import Start


def _reader(geometry: ConvGeometry, shape: DotShape, data: Any, pad_value: Any) -> Any:
    """A function (batch, row, column, byte) → the padded input, counted from the window's corner.

    `data` is such a function of the input itself, uint8.
    """
    if not geometry.copied(shape):
        return data
    if not geometry.padded:
        extents = (geometry.batch, geometry.height, geometry.width, geometry.channels)
        wide = te.compute(extents, lambda *at: data(*at).astype(shape.data_dtype), name="data_pad")
        return lambda *at: wide[at]
    if geometry.rows:
        return _row_reader(geometry, shape, data, pad_value)
    channels, slack = geometry.channels, geometry.slack
    element = bordered(geometry, data, pad_value, channels if slack else None)
    padded = te.compute(
        (geometry.batch, geometry.padded_height, geometry.padded_width, channels + slack),
        lambda n, y, x, c: element(n, y, x, c).astype(shape.data_dtype),
        name="data_pad",
    )
    return lambda *at: padded[at]


def _row_reader(geometry: ConvGeometry, shape: DotShape, data: Any, pad_value: Any) -> Any:
    """The same for a padded input of which a kernel row is read as one run of bytes."""
    top, left = geometry.padding[:2]
    height, width, channels = geometry.height, geometry.width, geometry.channels

    def row_byte(n: Any, y: Any, byte: Any) -> Any:
        moved = byte - left * channels
        bounds = tirx.all(y >= top, y < height + top, moved >= 0, moved < width * channels)
        value = data(n, y - top, tirx.floordiv(moved, channels), tirx.floormod(moved, channels))
        return tirx.if_then_else(bounds, value, pad_value).astype(shape.data_dtype)

    extents = (geometry.batch, geometry.padded_height, geometry.padded_row_bytes)
    padded = te.compute(extents, row_byte, name="data_pad")
    return lambda n, y, x, c: padded[n, y, x * channels + c]


def _products(geometry: ConvGeometry, shape: DotShape, read: Any, packed: Any) -> Any:
    """The int32 sums of data times packed weights, [batch, rows, computed columns, padded channels]."""
    kernel_row = te.reduce_axis((0, geometry.kernel[0]), "kh")
    kernel_column = te.reduce_axis((0, geometry.columns), "kw")
    quad = te.reduce_axis((0, geometry.steps(shape)), "quad")
    pair = te.reduce_axis((0, shape.pair_count), "pair")
    inner = te.reduce_axis((0, shape.pair_size), "inner")
    outputs = geometry.padded_group_outputs(shape.lanes)
    stride_y, stride_x = geometry.strides
    dilate_y, dilate_x = geometry.dilation

    def total(n: Any, y: Any, x: Any, c: Any) -> Any:
        first = 0 if geometry.groups == 1 else tirx.floordiv(c, outputs) * geometry.group_channels
        places = [c // shape.lanes, kernel_row, kernel_column, quad]
        if shape.pair_count == 1:
            place, index, axis = inner, [*places, c % shape.lanes, inner], inner
        else:
            place, index, axis = pair, [*places, pair, c % shape.lanes], pair
        value = read(
            n,
            y * stride_y + kernel_row * dilate_y,
            x * stride_x + kernel_column * dilate_x,
            first + geometry.step_byte(quad, shape) + place,
        )
        return te.sum(
            value.astype("int32") * packed[tuple(index)].astype("int32"),
            axis=[kernel_row, kernel_column, quad, axis],
        )

    extents = (geometry.batch, geometry.out_height, geometry.computed_width, geometry.groups * outputs)
    return te.compute(extents, total, name="conv")


def _window_sums(geometry: ConvGeometry, read: Any) -> Any:
    """The int32 sum of the data under each window, for each group."""
    kernel_row = te.reduce_axis((0, geometry.kernel[0]), "kh")
    kernel_column = te.reduce_axis((0, geometry.kernel[1]), "kw")
    channel = te.reduce_axis((0, geometry.group_channels), "channel")
    column = geometry.channels if geometry.rows else 0

    def total(n: Any, y: Any, x: Any, g: Any) -> Any:
        row = y * geometry.strides[0] + kernel_row * geometry.dilation[0]
        if column:
            value = read(n, row, x * geometry.strides[1], kernel_column * column + channel)
        else:
            place = x * geometry.strides[1] + kernel_column * geometry.dilation[1]
            value = read(n, row, place, g * geometry.group_channels + channel)
        return te.sum(value.astype("int32"), axis=[kernel_row, kernel_column, channel])

    extents = (geometry.batch, geometry.out_height, geometry.computed_width, geometry.groups)
    return te.compute(extents, total, name="window_sum")


def conv2d(
    inputs: KernelInputs,
    geometry: ConvGeometry,
    shape: DotShape,
    terms: Convolved,
    *,
    in_blocks: bool = False,
) -> Accumulated:
    """A convolution; `in_blocks`: the caller's kernel is computed in the result's blocks where it has some."""
    split, folded = SplitWeights.of(terms, shape.weight_dtype), terms.folded
    read = _reader(geometry, shape, terms.data, terms.pad_value(inputs))
    simple = in_blocks and geometry.groups == 1 and not shape.tiles
    blocks = Blocks.of(geometry.out_channels, shape.lanes) if simple else None
    packing = geometry
    if blocks is not None:
        split = split.in_order(blocks.order)
        packing = replace(geometry, out_channels=blocks.order.size)
    packed = inputs.constant(packing.pack(split.values, shape), "weights")
    products = _products(packing, shape, read, packed)
    if split.remaining.any():
        products = _corrected(inputs, packing, products, _window_sums(geometry, read), split.remaining)
    if not shape.tiles:
        ordered = folded if blocks is None else folded[blocks.order]
        starts = _padded_groups(packing, packing.padded_group_outputs(shape.lanes), ordered)
        inputs.starts["conv"] = Start(inputs.vector(starts, "bias"), lambda axes: axes[3])
        moved = None
    else:
        moved = inputs.vector(folded, "bias")

    def result(index: Sequence[Any]) -> Any:
        n, y, x, c = index
        value = products(n, y, x, _product_channel(geometry, shape, blocks, c))
        return value if moved is None else value + moved[c]

    return Accumulated(result, blocks)


def _product_channel(geometry: ConvGeometry, shape: DotShape, blocks: Blocks | None, channel: Any) -> Any:
    """Where an output channel's products are among those of all padded groups, or of blocks."""
    if blocks is not None:
        return blocks.place(channel)
    outputs, padded = geometry.group_outputs, geometry.padded_group_outputs(shape.lanes)
    if geometry.groups == 1 or outputs == padded:
        return channel
    return tirx.floordiv(channel, outputs) * padded + tirx.floormod(channel, outputs)


def _padded_groups(geometry: ConvGeometry, outputs: int, values: NDArray[np.int32]) -> NDArray[np.int32]:
    """A value for each output channel, every group filled up with zeros to `outputs`."""
    padded = np.zeros((geometry.groups, outputs), np.int32)
    padded[:, : geometry.group_outputs] = values.reshape(geometry.groups, -1)
    return padded


def _corrected(
    inputs: KernelInputs, geometry: ConvGeometry, products: Any, sums: Any, remaining: NDArray[np.int32]
) -> Any:
    """The products minus the window's sum of data times what remains of the weights' zero point."""
    outputs = int(products.shape[3]) // geometry.groups
    same = bool((remaining == remaining[0]).all())  # one product a window for all of its channels
    vector = remaining[:1] if same else _padded_groups(geometry, outputs, remaining)
    factor = per_channel(inputs, vector.reshape(-1), "weight_zero_point", 0)

    def element(n: Any, y: Any, x: Any, c: Any) -> Any:
        window = sums[n, y, x, tirx.floordiv(c, outputs) if geometry.groups > 1 else 0]
        return products[n, y, x, c] - window * factor([c])

    return te.compute(products.shape, element, name="corrected")
