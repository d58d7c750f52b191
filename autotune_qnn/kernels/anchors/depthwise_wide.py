"""Depthwise convolution with VNNI over groups of 32 or 64 channels at a time.

The bytes of a window's columns are interleaved by unpack instructions, which put the channels of a group in an order
of their own (see kernels/intrinsics/interleave.py). Weights, bias and scales are packed in that order, accumulation
and requantization work in it, and the final narrowing to bytes restores the channels' own order at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx

from autotune_qnn.kernels.geometry import ConvGeometry, SplitWeights
from autotune_qnn.kernels.inputs import KernelInputs
from autotune_qnn.kernels.intrinsics.interleave import channel_order
from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.kernels.lane import bounds
from autotune_qnn.kernels.operand import Operand
from autotune_qnn.kernels.storage import Storage

_TAPS = 4
_BAND_BYTES = 64 * 1024


@dataclass(frozen=True)
class WideGeometry:
    """How a depthwise convolution is cut: `group` channels at a time, tasks of `band` output rows."""

    conv: ConvGeometry
    group: int
    band: int

    @classmethod
    def of(cls, conv: ConvGeometry, dot: DotShape) -> WideGeometry | None:
        """The cut of a convolution, or None where this form does not apply."""
        fits = conv.kernel[1] <= _TAPS and conv.dilation == (1, 1) and conv.group_outputs == 1
        if not dot.depthwise_intrinsic or not fits or conv.computed_width != conv.out_width:
            return None
        group = next((g for g in (4 * dot.lanes, 32) if conv.out_channels % g == 0), None)
        if group is None:
            return None
        row = conv.out_width * group * 4
        bands = [band for band in range(1, conv.out_height + 1) if conv.out_height % band == 0]
        small = [band for band in bands if cls(conv, group, band).band_rows * row <= _BAND_BYTES]
        return cls(conv, group, max(small, default=1))

    @property
    def band_rows(self) -> int:
        """Input rows of a band."""
        return (self.band - 1) * self.conv.strides[0] + self.conv.kernel[0]

    @property
    def lanes(self) -> int:
        """int32 lanes of a register."""
        return self.group // 4

    @property
    def groups(self) -> int:
        """Groups of channels."""
        return self.conv.out_channels // self.group

    @property
    def tiles(self) -> tuple[int, ...]:
        """Shape of accumulators: batch, bands, groups, rows, columns, registers of a group, lanes."""
        conv = self.conv
        bands = conv.out_height // self.band
        return (conv.batch, bands, self.groups, self.band, conv.out_width, 4, self.lanes)

    def place(self, index: Sequence[Any]) -> tuple[Any, ...]:
        """The place among `tiles` of an element [batch, row, column, place in the groups' order]."""
        n, y, x, c = index
        return (
            n,
            tirx.floordiv(y, self.band),
            tirx.floordiv(c, self.group),
            tirx.floormod(y, self.band),
            x,
            tirx.floordiv(tirx.floormod(c, self.group), self.lanes),
            tirx.floormod(c, self.lanes),
        )


def _padded(wide: WideGeometry, data: Any, pad_value: Any) -> Any:
    """The input with its border, [batch, rows, groups, columns, channels of a group]."""
    conv = wide.conv
    top, left = conv.padding[:2]

    def element(n: Any, y: Any, g: Any, x: Any, c: Any) -> Any:
        inside = tirx.all(y >= top, y < conv.height + top, x >= left, x < conv.width + left)
        return tirx.if_then_else(inside, data[n, y - top, x - left, g * wide.group + c], pad_value)

    extents = (conv.batch, conv.padded_height, wide.groups, conv.padded_width, wide.group)
    return te.compute(extents, element, name="data_pad")


def _quads(wide: WideGeometry, padded: Any) -> Any:
    """int32 quads of the window's columns, [batch, bands, groups, rows, columns, registers, lanes]."""
    conv = wide.conv
    stride = wide.band * conv.strides[0]

    def element(n: Any, b: Any, g: Any, r: Any, x: Any, j: Any, v: Any) -> Any:
        channel = tirx.floordiv(v, 4) * 16 + j * 4 + tirx.floormod(v, 4)
        value: Any = None
        for tap in range(conv.kernel[1]):
            byte = padded[n, b * stride + r, g, x * conv.strides[1] + tap, channel].astype("int32")
            part = byte if tap == 0 else byte << tirx.const(8 * tap, "int32")
            value = part if value is None else value | part
        return value

    batch, bands, groups = wide.tiles[:3]
    extents = (batch, bands, groups, wide.band_rows, conv.out_width, 4, wide.lanes)
    return te.compute(extents, element, name="quads")


def _pack(wide: WideGeometry, values: NDArray[Any]) -> NDArray[np.int8]:
    """[KH, groups, registers, lanes, 4] from weights [channels, KH, KW, 1]."""
    height, width = wide.conv.kernel
    channels = wide.conv.out_channels
    taps = np.zeros((height, channels, 4), np.int8)
    taps[:, :, :width] = values.reshape(channels, height, width).transpose(1, 0, 2)
    ordered = taps[:, channel_order(channels, wide.group)]
    return np.ascontiguousarray(ordered.reshape(height, wide.groups, 4, wide.lanes, 4))


def _products(wide: WideGeometry, quads: Any, weights: Any, name: str) -> Any:
    height = te.reduce_axis((0, wide.conv.kernel[0]), "kh")
    inner = te.reduce_axis((0, 4), "inner")
    stride, mask = wide.conv.strides[0], tirx.const(255, "int32")

    def total(n: Any, b: Any, g: Any, y: Any, x: Any, j: Any, v: Any) -> Any:
        byte = (quads[n, b, g, y * stride + height, x, j, v] >> (inner * 8)) & mask
        return te.sum(byte * weights[height, g, j, v, inner].astype("int32"), axis=[height, inner])

    return te.compute(wide.tiles, total, name=name)


def depthwise_wide(
    inputs: KernelInputs,
    wide: WideGeometry,
    data: Any,
    weights: NDArray[Any],
    weight_zero_point: NDArray[Any],
    data_zero_point: int,
    bias: NDArray[Any] | None,
) -> Any:
    """A function from [batch, row, column, place in the groups' order] to the exact int32 result.

    From here on, vectors of `inputs` are in the groups' order too.
    """
    conv = wide.conv
    inputs.order = channel_order(conv.out_channels, wide.group)
    split = SplitWeights.of(weights, weight_zero_point, "int8")
    pad_value = inputs.integer(data_zero_point).astype("uint8")
    quads = _quads(wide, _padded(wide, data, pad_value))
    packed = inputs.constant(_pack(wide, split.values), "weights")
    products = _products(wide, quads, packed, "depthwise")
    folded = inputs.vector(split.folded(data_zero_point, bias), "bias")
    if not split.remaining.any():
        return lambda index: products[wide.place(index)] + folded[index[3]]
    ones = inputs.constant(_pack(wide, np.ones_like(split.values)), "ones")
    sums = _products(wide, quads, ones, "window_sum")
    remaining = inputs.vector(split.remaining, "weight_zero_point")

    def corrected(index: Sequence[Any]) -> Any:
        place = wide.place(index)
        return products[place] - sums[place] * remaining[index[3]] + folded[index[3]]

    return corrected


def store_wide(wide: WideGeometry, inputs: KernelInputs, finished: Operand, output: Storage) -> Any:
    """The output tensor: finished values as int32 in the groups' order, then narrowed in the channels' own."""
    low, high = bounds(output.dtype)

    def element(n: Any, b: Any, g: Any, y: Any, x: Any, j: Any, v: Any) -> Any:
        index = (n, b * wide.band + y, x, g * wide.group + j * wide.lanes + v)
        return finished.at(index).stored_wide(inputs, output.dtype, output.offset)

    values = te.compute(wide.tiles, element, name="wide")

    def narrow(n: Any, y: Any, x: Any, c: Any) -> Any:
        inner = tirx.floormod(c, wide.group)
        place = (
            n,
            tirx.floordiv(y, wide.band),
            tirx.floordiv(c, wide.group),
            tirx.floormod(y, wide.band),
            x,
            tirx.floordiv(tirx.floormod(inner, 16), 4),
            tirx.floordiv(inner, 16) * 4 + tirx.floormod(inner, 4),
        )
        smallest, largest = tirx.const(low, "int32"), tirx.const(high, "int32")
        return te.max(te.min(values[place], largest), smallest).astype(output.dtype)

    conv = wide.conv
    extents = (conv.batch, conv.out_height, conv.out_width, conv.out_channels)
    return te.compute(extents, narrow, name="output")
