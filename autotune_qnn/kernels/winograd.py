"""Winograd's convolution F(4x4, 3x3) in integers, exactly: 36 products for 16 outputs in place of 144.

With the points 0, 1, -1, 2, -2 and infinity (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
2015), a row of four outputs y of a kernel g over six data d is y = Aᵀ((G g) * (Bᵀ d)). B is integer; G has the
denominator 24, so that the rows of 24 G, each divided by what can wait, give U = 24 G / s with small integers, and
24 y = Aᵀ(s * U g * Bᵀ d). In two dimensions the sums come out as 576 times the result.

Data of 8 bits have at most 15 after Bᵀ d B, weights of 9 bits 14 after U g Uᵀ: both fit int16. The sums of their
products may exceed int32, but what wraps around modulo 2³² does so in the result alone: 576 = 9 * 2⁶, nine has an
inverse modulo 2³², and the shift by six leaves the result modulo 2²⁶. A layer whose results span less, which its
weights tell, is therefore exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune_qnn.kernels.geometry import ConvGeometry, ceil_div
from autotune_qnn.kernels.isa import DotShape

TILE = 4
"""Outputs of a tile along each axis."""
POINTS = 6
"""Data of a tile along each axis, and points."""
SHIFT = 6
ODD = 9
INVERSE = pow(ODD, -1, 1 << 32)
"""576 = ODD * 2^SHIFT; INVERSE * ODD is one modulo 2³²."""

WEIGHTS = np.array([[6, 0, 0], [1, 1, 1], [1, -1, 1], [1, 2, 4], [1, -2, 4], [0, 0, 6]])
"""U, with s = 1, -4, -4, 1, 1, 4."""
_GAIN = 1.1
"""What is worth another form."""
_STORED_BYTES = 768 << 10
_RANGE = 1 << (32 - SHIFT)


@dataclass(frozen=True, slots=True)
class _Speeds:
    """Rough speeds of one thread.

    Attributes:
        macs, vnni_macs: products of 16 bits and of 8 with VNNI, a nanosecond.
        data, narrow_data, output: nanoseconds of transforms of a tile's channel, in whole vectors of 16 bits and in
            halves of them, and of an output channel.
        weight: nanoseconds to transform one.
        outputs: of a direct convolution, a nanosecond.
        blocks: vectors of output channels without which direct products wait for loads.
    """

    macs: float
    vnni_macs: float
    data: float
    narrow_data: float
    output: float
    weight: float
    outputs: float
    blocks: int


_SPEEDS = {
    1: _Speeds(110.0, 225.0, 1.5, 1.5, 3.8, 0.8, 16.0, 2),
    2: _Speeds(160.0, 320.0, 2.2, 4.4, 3.9, 0.8, 8.3, 1),
}
"""By products that a core begins in a cycle: as measured where other work runs beside them, and with two at 2.5 GHz,
whose ports all other work shares, as counted from its instructions.
"""


@dataclass(frozen=True)
class WinogradGeometry:
    """How a 3x3 convolution is cut into tiles of 4x4 outputs, of which the last of a row overlaps the one before."""

    conv: ConvGeometry
    lanes: int
    rate: int = 1

    @classmethod
    def of(cls, conv: ConvGeometry, dot: DotShape) -> WinogradGeometry | None:
        """The tiles of a convolution, or None where this form does not apply."""
        plain = conv.kernel == (3, 3) and conv.strides == conv.dilation == (1, 1) and conv.groups == 1
        fits = min(conv.out_height, conv.out_width) >= TILE
        whole = conv.channels % dot.lanes == 0 == conv.out_channels % dot.lanes
        if not (plain and fits and whole and dot.intrinsic) or dot.tiles:
            return None
        return cls(conv, dot.lanes, dot.rate)

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return ceil_div(self.conv.out_height, TILE)

    @property
    def columns(self) -> int:
        """Columns of tiles."""
        return ceil_div(self.conv.out_width, TILE)

    @property
    def pairs(self) -> int:
        """Pairs of input channels."""
        return self.conv.channels // 2

    @property
    def blocks(self) -> int:
        """Vectors of output channels."""
        return self.conv.out_channels // self.lanes

    @property
    def tiles(self) -> int:
        """Tiles of all images."""
        return self.conv.batch * self.rows * self.columns

    @property
    def products(self) -> int:
        """Multiplications."""
        return self.tiles * POINTS * POINTS * self.conv.channels * self.conv.out_channels

    @property
    def stored(self) -> bool:
        """Whether the kernel reads weights that are transformed already: eight times the bytes of those that are not,
        which a network has to fetch from far away.
        """
        return POINTS * POINTS * self._weights * np.dtype(np.int16).itemsize <= _STORED_BYTES

    @property
    def _weights(self) -> int:
        """Weights of a point."""
        return self.conv.channels * self.conv.out_channels

    @property
    def nanoseconds(self) -> float:
        """About how long one thread takes."""
        speeds, channels = _SPEEDS[self.rate], self.conv.channels
        data = speeds.data if channels % (2 * self.lanes) == 0 else speeds.narrow_data
        transforms = channels * data + self.conv.out_channels * speeds.output
        weights = 0.0 if self.stored else self._weights * speeds.weight
        return self.products / speeds.macs + self.tiles * transforms + weights

    def pays(self, dot: DotShape) -> bool:
        """Whether this is faster than summing the windows' products."""
        conv, speeds = self.conv, _SPEEDS[self.rate]
        outputs = conv.batch * conv.out_height * conv.out_width * conv.out_channels
        macs = conv.macs / conv.out_channels * conv.padded_group_outputs(speeds.blocks * dot.lanes)
        speed = speeds.vnni_macs if not dot.widened else speeds.macs
        return _GAIN * self.nanoseconds < macs / speed + outputs / speeds.outputs


def transformed(weights: NDArray[np.int32], lanes: int) -> NDArray[np.int16]:
    """U g Uᵀ of OHWI weights minus their zero point, as [6, 6, blocks, pairs, lanes, 2]."""
    points = np.einsum("ay,oyxc,bx->oabc", WEIGHTS, weights.astype(np.int64), WEIGHTS)
    return _packed(points, lanes).astype(np.int16)


def narrow(weights: NDArray[np.int32], lanes: int) -> NDArray[np.int8 | np.int16]:
    """OHWI weights minus their zero point as [3, 3, blocks, pairs, lanes, 2], int8 where they fit."""
    packed = _packed(weights, lanes)
    fits = weights.size == 0 or (weights.min() >= -128 and weights.max() <= 127)
    return packed.astype(np.int8) if fits else packed.astype(np.int16)


def _packed(values: NDArray[Any], lanes: int) -> NDArray[Any]:
    """[outputs, rows, columns, channels] as [rows, columns, blocks, pairs, lanes, 2]."""
    outputs, rows, columns, channels = values.shape
    split = values.reshape(outputs // lanes, lanes, rows, columns, channels // 2, 2)
    return np.ascontiguousarray(split.transpose(2, 3, 0, 4, 1, 5))


def middles(weights: NDArray[np.int32]) -> NDArray[np.int64] | None:
    """The middle of what each output channel's sums of uint8 data can be, or None where they span too much.

    `weights` are OHWI minus their zero point.
    """
    flat = weights.reshape(weights.shape[0], -1).astype(np.int64)
    low, high = (255 * np.minimum(flat, 0).sum(1), 255 * np.maximum(flat, 0).sum(1))
    return (low + high) // 2 if bool((high - low < _RANGE - 1).all()) else None
