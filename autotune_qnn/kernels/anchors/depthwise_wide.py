"""Depthwise convolution with VNNI or vpmaddwd over groups of 16, 32 or 64 channels at a time.

The bytes of a window's rows are interleaved by unpack instructions, which put the channels of a group in an order
of their own (see kernels/intrinsics/interleave.py). Weights, bias and scales are packed in that order, accumulation
and requantization work in it, and the final narrowing to bytes restores the channels' own order at no cost. Where
groups do not divide the channels, the last one overlaps the one before (see anchors/overlap.py).

A quad holds four neighbouring rows of a column. With three kernel rows and stride 1 that is what two output rows read,
which then share it, each with a zero among its weights. A kernel of five to eight rows takes two quads: the first four
rows of its window, and the last four, with zero as the weight of what the first has had.

Four, eight or sixteen channels make a group together with those of their neighbours in the row, which follow them in
memory. Such a group's quads belong to one kernel column: the next column's begin a pixel later.

vpmaddwd multiplies 16-bit numbers: there two rows, widened, take the place of four, with as many such pairs as cover
the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx

from autotune_qnn.kernels.anchors.convolved import Accumulated, Convolved, bordered
from autotune_qnn.kernels.anchors.overlap import first_channel, store_elsewhere
from autotune_qnn.kernels.geometry import ConvGeometry, ceil_div
from autotune_qnn.kernels.inputs import KernelInputs
from autotune_qnn.kernels.intrinsics.interleave import channel_order, narrow_place
from autotune_qnn.kernels.isa import DotShape
from autotune_qnn.kernels.lane import bounds
from autotune_qnn.kernels.operand import Operand
from autotune_qnn.kernels.starts import Start
from autotune_qnn.kernels.storage import Storage

_TAPS, _PAIR = 4, 2
_BAND_BYTES = 64 * 1024
# Time that a register's width takes for each channel, in relation to others: narrow ones do less in a step.
_COSTS = {_TAPS: {16: 2.8, 32: 1.5, 64: 1.0}, _PAIR: {16: 2.3, 32: 1.15, 64: 1.0}}
_FEW_CHANNELS = (4, 8, 16)


@dataclass(frozen=True)
class WideGeometry:
    """How a depthwise convolution is cut: `group` channels at a time, tasks of `band` output rows.

    `rows` output rows share quads, which hold `unit` input rows. A group holds all channels of `side` neighbouring
    pixels, or of one pixel some.
    """

    conv: ConvGeometry
    group: int
    band: int
    rows: int
    side: int = 1
    unit: int = _TAPS

    @classmethod
    def of(cls, conv: ConvGeometry, dot: DotShape) -> WideGeometry | None:
        """The cut of a convolution, or None where this form does not apply."""
        fits = max(conv.kernel) <= 2 * _TAPS and conv.dilation == (1, 1) and conv.group_outputs == 1
        channels = conv.out_channels
        side = _side_by_side(conv, dot)
        unit = _PAIR if dot.widened else _TAPS
        costs = _COSTS[unit]
        sizes = [size for size in costs if size <= min(4 * dot.lanes, channels * side)]
        if not (dot.depthwise_intrinsic or dot.widened) or not fits or not sizes:
            return None
        group = channels * side
        if side == 1:
            group = min(sizes, key=lambda size: (ceil_div(channels, size) * size * costs[size], -size))
        rows = _rows_together(conv, unit)
        bands = [band for band in range(rows, conv.out_height + 1, rows) if conv.out_height % band == 0]
        cuts = [cls(conv, group, band, rows, side, unit) for band in bands]
        small = [cut for cut in cuts if cut.band_rows * cut.positions * group <= _BAND_BYTES]
        return small[-1] if small else cuts[0]

    @property
    def window(self) -> int:
        """Rows that the output rows which share quads read."""
        return (self.rows - 1) * self.conv.strides[0] + self.conv.kernel[0]

    @property
    def taps(self) -> int:
        """Rows of a quad."""
        return min(self.window, self.unit)

    @property
    def quads(self) -> int:
        """Quads of a kernel column."""
        return ceil_div(self.window, self.unit)

    @property
    def last(self) -> int:
        """The row of a window at which its last quad begins."""
        return self.window - self.taps

    def first_row(self, quad: Any) -> Any:
        """The row of a window at which a quad begins."""
        if self.quads > 1 and self.last == (self.quads - 1) * self.unit:
            return quad * self.unit
        return quad * self.last if self.quads <= 2 else te.min(quad * self.unit, self.last)

    @property
    def columns(self) -> int:
        """Groups of pixels in an output row."""
        return self.conv.out_width // self.side

    @property
    def step(self) -> int:
        """Positions from one group of pixels to the next."""
        return self.conv.strides[1] if self.side == 1 else self.conv.kernel[1]

    @property
    def positions(self) -> int:
        """Columns that an output row reads; with pixels side by side, those of the kernel for each group of them."""
        return (self.columns - 1) * self.step + self.conv.kernel[1]

    @property
    def channels(self) -> NDArray[np.int64]:
        """For each place in the groups' order, the channel that is there."""
        total = self.conv.out_channels
        if self.side > 1:
            return np.asarray(channel_order(self.group) % total, np.int64)
        starts = np.minimum(np.arange(self.groups) * self.group, total - self.group)
        return np.asarray((starts[:, None] + channel_order(self.group)).reshape(-1), np.int64)

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
        return ceil_div(self.conv.out_channels, self.group)

    @property
    def tiles(self) -> tuple[int, ...]:
        """Shape of accumulators: batch, bands, groups, rows, columns, registers of a group, lanes."""
        conv = self.conv
        bands = conv.out_height // self.band
        return (conv.batch, bands, self.groups, self.band, self.columns, 4, self.lanes)

    def flat(self, tile: Sequence[Any]) -> Any:
        """The place in the groups' order of an element of `tiles`."""
        return tile[2] * self.group + tile[5] * self.lanes + tile[6]

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


def _side_by_side(conv: ConvGeometry, dot: DotShape) -> int:
    """How many pixels of a row make a group: as many as fit a register and divide the row."""
    if conv.out_channels not in _FEW_CHANNELS or conv.strides[1] != 1:
        return 1
    most = 4 * dot.lanes // conv.out_channels
    return max(side for side in (1, 2, 4, 8, 16) if side <= most and conv.out_width % side == 0)


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


def _rows_together(conv: ConvGeometry, unit: int) -> int:
    """How many output rows share quads: two where these hold what both read."""
    height, stride = conv.kernel[0], conv.strides[0]
    fits = height + stride <= ceil_div(height, unit) * unit
    return 2 if fits and conv.out_height % 2 == 0 else 1


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
    whole = [terms.centred.astype(np.int16)] if wide.unit == _PAIR else _parts(terms.centred)
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
