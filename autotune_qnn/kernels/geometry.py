"""Shapes and packing of a convolution, independent of TensorIR."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune_qnn.kernels.isa import DotShape

_LONGEST_TILE = 14
_SHORTEST_TILE = 4
_TILE_QUADS = 16


def ceil_div(value: int, divisor: int) -> int:
    """The quotient rounded up."""
    return -(-value // divisor)


@dataclass(frozen=True)
class ConvGeometry:
    """A convolution over NHWC data with OHWI weights.

    Attributes:
        batch, height, width, channels: of the input.
        out_channels: of the output; groups divide both channel counts.
        kernel, strides, dilation: (height, width).
        padding: (top, left, bottom, right).
        step: quads of four bytes that are multiplied at once. Where it does not divide their number, the last step
            begins earlier, and its weights are zero where the one before has them already.
    """

    batch: int
    height: int
    width: int
    channels: int
    out_channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]
    groups: int = 1
    step: int = 1

    def in_tiles(self) -> ConvGeometry:
        """The same convolution with the fewest steps of at most 16 quads, which is what a row of a tile holds."""
        quads = replace(self, step=1).quads
        return replace(self, step=ceil_div(quads, ceil_div(quads, _TILE_QUADS)))

    @cached_property
    def out_height(self) -> int:
        """Rows of the output."""
        top, _, bottom, _ = self.padding
        return (self.height + top + bottom - (self.kernel[0] - 1) * self.dilation[0] - 1) // self.strides[
            0
        ] + 1

    @cached_property
    def out_width(self) -> int:
        """Columns of the output."""
        _, left, _, right = self.padding
        return (self.width + left + right - (self.kernel[1] - 1) * self.dilation[1] - 1) // self.strides[
            1
        ] + 1

    @property
    def group_channels(self) -> int:
        """Input channels of one group."""
        return self.channels // self.groups

    @property
    def group_outputs(self) -> int:
        """Output channels of one group."""
        return self.out_channels // self.groups

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations, padding included."""
        pixels = self.batch * self.out_height * self.out_width
        return pixels * self.out_channels * self.group_channels * self.kernel[0] * self.kernel[1]

    @cached_property
    def computed_width(self) -> int:
        """Output columns to compute: more than there are where no good register tile divides their number.

        Tiles need no such number, so that with them this is not worth a copy of the input of its own.
        """
        width = self.out_width
        if self.step > 1 and not any(self.padding) and self.group_channels % 4 == 0:
            return width
        if width <= _LONGEST_TILE or any(
            width % tile == 0 for tile in range(_SHORTEST_TILE, _LONGEST_TILE + 1)
        ):
            return width
        return min(ceil_div(width, tile) * tile for tile in range(8, _SHORTEST_TILE, -1))

    @property
    def late_quad(self) -> bool:
        """Whether the last quad begins early enough to end with the channels, which needs nothing behind them.

        It does where a pixel is all that is read. Its weights are zero where the quad before has them already.
        """
        pixel = self.kernel == (1, 1) and self.groups == 1 and self.step == 1
        return pixel and self.channels > 4 and self.channels % 4 != 0

    @property
    def rows(self) -> bool:
        """Whether a kernel row is read as one run of bytes.

        In NHWC the channels of neighbouring columns follow each other. Where the channel count is no multiple
        of four, the run is cut into quads and only its end is padded, with zero weights.
        """
        return self.groups == 1 and self.dilation[1] == 1 and self.channels % 4 != 0 and not self.late_quad

    @property
    def padded(self) -> bool:
        """Whether the input is first copied into a buffer with its border and some slack behind each row."""
        behind = self.group_channels % 4 != 0 and not self.late_quad
        return any(self.padding) or behind or self.computed_width != self.out_width

    def copied(self, shape: DotShape) -> bool:
        """Whether the products read a copy of the input, the block data_pad: with its border, widened, or both."""
        return self.padded or shape.widened

    @property
    def quads(self) -> int:
        """Quads of four bytes along the innermost reduction axis, those that come twice included."""
        return ceil_div(self._own_quads, self.step) * self.step

    @property
    def _own_quads(self) -> int:
        return ceil_div(self._own_bytes, 4)

    @property
    def _own_bytes(self) -> int:
        """Bytes that follow each other along the innermost reduction axis."""
        return self.group_channels * (self.kernel[1] if self.rows else 1)

    def quad_byte(self, quad: Any) -> Any:
        """The first byte of a quad, counted from the first channel (an integer or an expression)."""
        if self.late_quad:
            return quad * 4 - quad // (self.quads - 1) * (4 * self.quads - self.channels)
        twice = self.quads - self._own_quads
        if not twice:
            return quad * 4
        return quad * 4 - quad // (self.quads - self.step) * (4 * twice)

    def steps(self, shape: DotShape) -> int:
        """Steps of an instruction set's dot product along the innermost reduction axis."""
        if self.step > 1 or self.late_quad or shape.steps == 1:
            return self.quads * shape.steps
        return ceil_div(self._own_bytes, 4 // shape.steps)

    def step_byte(self, step: Any, shape: DotShape) -> Any:
        """The first byte of such a step, counted from the first channel."""
        if shape.steps == 1:
            return self.quad_byte(step)
        size = 4 // shape.steps
        if self.late_quad or self.quads != self._own_quads:
            return self.quad_byte(step // shape.steps) + step % shape.steps * size
        return step * size

    @property
    def columns(self) -> int:
        """Extent of the reduction axis over kernel columns: 1 where a row is one run."""
        return 1 if self.rows else self.kernel[1]

    @property
    def padded_height(self) -> int:
        """Rows that the computation reads."""
        return (self.out_height - 1) * self.strides[0] + (self.kernel[0] - 1) * self.dilation[0] + 1

    @property
    def padded_width(self) -> int:
        """Columns that the computation reads."""
        return (self.computed_width - 1) * self.strides[1] + (self.kernel[1] - 1) * self.dilation[1] + 1

    @property
    def pixel_strides(self) -> tuple[int, int]:
        """Bytes from an output row's first byte of data to the next row's, and from a pixel's to the next pixel's."""
        pixel = self.channels
        row = self.width * pixel
        if self.padded and self.rows:
            row = self.padded_row_bytes
        elif self.padded:
            pixel += self.slack
            row = self.padded_width * pixel
        return self.strides[0] * row, self.strides[1] * pixel

    @property
    def padded_row_bytes(self) -> int:
        """Bytes of a row of the padded input where a kernel row is read as one run: quads can be read at its end."""
        return (self.padded_width * self.channels + 3 + 63) // 64 * 64

    @property
    def slack(self) -> int:
        """Bytes behind each pixel of the padded input elsewhere, so that quads can be read there."""
        return 0 if self.group_channels % 4 == 0 or self.late_quad else 4

    def padded_group_outputs(self, lanes: int) -> int:
        """Output channels of one group, rounded up to whole vectors."""
        return ceil_div(self.group_outputs, lanes) * lanes

    def pack(self, weights: NDArray[Any], shape: DotShape) -> NDArray[Any]:
        """OHWI weights as [blocks, KH, columns, steps, pair_count, lanes, pair_size].

        The axis pair_count is left out where it is 1, and so is pair_size.
        """
        kernel_height = self.kernel[0]
        outputs = self.padded_group_outputs(shape.lanes)
        inner = self._own_quads * 4
        grouped = np.zeros((self.groups, outputs, kernel_height, self.columns, inner), shape.weight_dtype)
        run = weights.reshape(self.groups, self.group_outputs, kernel_height, self.columns, -1)
        grouped[:, : self.group_outputs, :, :, : run.shape[-1]] = run
        if self.late_quad:
            grouped[..., -4:] = np.roll(grouped[..., -4:], -self.channels % 4, axis=-1)
        if self.quads != self._own_quads:
            first = (self.quads - self.step) * 4
            grouped = np.insert(grouped, [first] * (self.quads * 4 - inner), 0, axis=-1)
        blocks = self.groups * outputs // shape.lanes
        steps = self.steps(shape)
        used = grouped[..., : steps * (4 // shape.steps)]
        split = used.reshape(
            blocks, shape.lanes, kernel_height, self.columns, steps, shape.pair_count, shape.pair_size
        )
        packed = split.transpose(0, 2, 3, 4, 5, 1, 6)
        if shape.pair_count == 1:
            return np.ascontiguousarray(packed[:, :, :, :, 0])
        return np.ascontiguousarray(packed[..., 0] if shape.pair_size == 1 else packed)
