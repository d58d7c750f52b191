"""Depthwise convolution with VNNI or vpmaddwd over groups of 16, 32 or 64 channels at a time.

The bytes of a window's rows are interleaved by unpack instructions, which put the channels of a group in an order
of their own (see kernels/intrinsics/interleave.py). Weights, bias and scales are packed in that order, accumulation
and requantization work in it, and the final narrowing to bytes restores the channels' own order at no cost. Where
groups do not divide the channels, the last one overlaps the one before (see anchors/overlap.py). Which rows, channels
and pixels make a group is in kernels/wide.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx

from autotune_qnn.kernels.anchors.convolved import Accumulated, Convolved, bordered
from autotune_qnn.kernels.anchors.overlap import first_channel, store_elsewhere
from autotune_qnn.kernels.inputs import KernelInputs
from autotune_qnn.kernels.intrinsics.interleave import narrow_place
from autotune_qnn.kernels.lane import bounds
from autotune_qnn.kernels.operand import Operand
from autotune_qnn.kernels.starts import Start
from autotune_qnn.kernels.storage import Storage
from autotune_qnn.kernels.wide import WideGeometry


def _shifted(wide: WideGeometry, data: Any, pad_value: Any) -> Any:
    """The input with its border, [batch, 1, positions, rows, pixels side by side with their channels]."""
    conv = wide.conv
    channels = conv.channels
    extents = (conv.batch, conv.padded_height, conv.padded_width, channels)
    border = te.compute(extents, bordered(conv, data, pad_value), name="border")

    def element(n: Any, _group: Any, x: Any, y: Any, c: Any) -> Any:
        first = tirx.floordiv(x, wide.step) * wide.side + tirx.floormod(x, wide.step)
        return border[n, y, first + tirx.floordiv(c, channels), tirx.floormod(c, channels)]

    shape = (conv.batch, 1, wide.positions, conv.padded_height, wide.group)
    return te.compute(shape, element, name="data_pad")


def _padded(wide: WideGeometry, data: Any, pad_value: Any) -> Any:
    """The input with its border, [batch, groups, columns, rows, channels of a group]."""
    conv = wide.conv
    if wide.side > 1:
        return _shifted(wide, data, pad_value)
    whole = bordered(conv, data, pad_value)

    def element(n: Any, g: Any, x: Any, y: Any, c: Any) -> Any:
        return whole(n, y, x, first_channel(g, wide.group, conv.out_channels) + c)

    extents = (conv.batch, wide.groups, wide.positions, conv.padded_height, wide.group)
    return te.compute(extents, element, name="data_pad")


def _quads(wide: WideGeometry, padded: Any) -> Any:
    """int32 quads of the windows' rows, [batch, bands, groups, output rows, quads, columns, registers, lanes]."""

    def element(n: Any, b: Any, g: Any, y: Any, q: Any, x: Any, j: Any, v: Any) -> Any:
        channel = tirx.floordiv(v, 4) * 16 + j * 4 + tirx.floormod(v, 4)
        value: Any = None
        for tap in range(wide.taps):
            row = (b * wide.band + y * wide.rows) * wide.conv.strides[0] + wide.first_row(q) + tap
            byte = padded[n, g, x, row, channel].astype("int32")
            part = byte if tap == 0 else byte << tirx.const(8 * tap, "int32")
            value = part if value is None else value | part
        return value

    shared = wide.band // wide.rows
    extents = (*wide.tiles[:3], shared, wide.quads, wide.positions, 4, wide.lanes)
    return te.compute(extents, element, name="quads")


def _pack(wide: WideGeometry, values: NDArray[Any]) -> NDArray[Any]:
    """[KW, quads, output rows that share them, groups, registers, lanes, unit] from weights [channels, KH, KW, 1]."""
    height, width = wide.conv.kernel
    channels = wide.conv.out_channels
    columns = values.reshape(channels, height, width).transpose(2, 1, 0)
    taps = np.zeros((width, wide.quads, wide.rows, channels, wide.unit), values.dtype)
    for row in range(wide.rows):
        for tap in range(height):
            place = row * wide.conv.strides[0] + tap
            quad = place // wide.unit
            first = wide.last if quad == wide.quads - 1 else quad * wide.unit
            taps[:, quad, row, :, place - first] = columns[:, tap]
    ordered = taps[:, :, :, wide.channels]
    shape = (width, wide.quads, wide.rows, wide.groups, 4, wide.lanes, wide.unit)
    return np.ascontiguousarray(ordered.reshape(shape))


def _products(wide: WideGeometry, quads: Any, weights: Any, count: int) -> Any:
    """The sums over columns and `count` quads of weights, each of the parts in turn over the window's quads."""
    column = te.reduce_axis((0, wide.conv.kernel[1]), "kw")
    quad = te.reduce_axis((0, count), "quad")
    inner = te.reduce_axis((0, wide.unit), "inner")
    stride, mask = wide.step, tirx.const(255, "int32")

    def total(n: Any, b: Any, g: Any, y: Any, x: Any, j: Any, v: Any) -> Any:
        rows = quad if count == wide.quads else tirx.floormod(quad, wide.quads)
        shared, row = tirx.floordiv(y, wide.rows), tirx.floormod(y, wide.rows)
        word = quads[n, b, g, shared, rows, x * stride + column, j, v]
        byte = (word >> (inner * 8)) & mask
        weight = weights[column, quad, row, g, j, v, inner].astype("int32")
        return te.sum(byte * weight, axis=[column, quad, inner])

    return te.compute(wide.tiles, total, name="depthwise")


def depthwise_wide(
    inputs: KernelInputs,
    wide: WideGeometry,
    terms: Convolved,
) -> Accumulated:
    """A depthwise convolution, by [batch, row, column, place in the groups' order].

    From here on, vectors of `inputs` are in the groups' order too.
    """
    inputs.order = wide.channels
    quads = _quads(wide, _padded(wide, terms.data, terms.pad_value(inputs)))
    whole = [terms.centred.astype(np.int16)] if wide.widened else _parts(terms.centred)
    parts = np.concatenate([_pack(wide, part) for part in whole], axis=1)
    products = _products(wide, quads, inputs.constant(parts, "weights"), parts.shape[1])
    inputs.starts["depthwise"] = Start(inputs.vector(terms.folded, "bias"), wide.flat)
    return Accumulated(lambda index: products(*wide.place(index)))


def _parts(centred: NDArray[np.int32]) -> list[NDArray[np.int8]]:
    """int8 arrays whose sum are the weights minus their zero point: one, or two or three where that takes nine bits.

    Further parts cost a product each, which is less than the window's sum of data for the zero point's sake.
    """
    parts: list[NDArray[np.int8]] = []
    rest = centred
    while not parts or rest.any():
        parts.append(np.clip(rest, -128, 127).astype(np.int8))
        rest = rest - parts[-1]
    return parts


def store_wide(wide: WideGeometry, inputs: KernelInputs, finished: Operand, output: Storage) -> Any:
    """The output, [batch, row, column, group, channel of the group], or with pixels side by side [batch, row, column of
    groups, pixel, channel]: finished values as int32 in the groups' order, then narrowed in the channels' own.
    """
    low, high = bounds(output.dtype)

    def element(n: Any, b: Any, g: Any, y: Any, x: Any, j: Any, v: Any) -> Any:
        index = (n, b * wide.band + y, x, g * wide.group + j * wide.lanes + v)
        return finished.at(index).stored_wide(inputs, output.dtype, output.offset)

    values = te.compute(wide.tiles, element, name="wide")

    conv = wide.conv

    def narrow(n: Any, y: Any, x: Any, outer: Any, c: Any) -> Any:
        group, pixel = (outer, 0) if wide.side == 1 else (0, outer)
        register, lane = narrow_place(pixel, c, wide.group // wide.side)
        value = values[n, tirx.floordiv(y, wide.band), group, tirx.floormod(y, wide.band), x, register, lane]
        smallest, largest = tirx.const(low, "int32"), tirx.const(high, "int32")
        return te.max(te.min(value, largest), smallest).astype(output.dtype)

    parts = (wide.groups, wide.group) if wide.side == 1 else (wide.side, conv.channels)
    extents = (conv.batch, conv.out_height, wide.columns, *parts)
    return te.compute(extents, narrow, name="output")


def side_by_side(wide: WideGeometry, func: Any) -> Any:
    """The PrimFunc of pixels side by side whose output has the convolution's shape."""
    conv = wide.conv

    def place(indices: Sequence[Any]) -> list[Any]:
        n, y, x, pixel, channel = indices
        return [n, y, x * wide.side + pixel, channel]

    return store_elsewhere(func, (conv.batch, conv.out_height, conv.out_width, conv.channels), [place])
