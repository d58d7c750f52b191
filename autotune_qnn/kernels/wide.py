"""How a depthwise convolution is cut into groups of 16, 32 or 64 channels.

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

from autotune_qnn.kernels.geometry import ConvGeometry, ceil_div
from autotune_qnn.kernels.intrinsics.interleave import channel_order
from autotune_qnn.kernels.isa import DotShape

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
    def widened(self) -> bool:
        """Whether rows are widened and multiplied in pairs."""
        return self.unit == _PAIR

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


def _rows_together(conv: ConvGeometry, unit: int) -> int:
    """How many output rows share quads: two where these hold what both read."""
    height, stride = conv.kernel[0], conv.strides[0]
    fits = height + stride <= ceil_div(height, unit) * unit
    return 2 if fits and conv.out_height % 2 == 0 else 1
