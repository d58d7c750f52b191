"""qnn.conv2d of 3x3 windows as TensorIR by Winograd's algorithm in integers (see kernels/winograd.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx

from autotune_qnn.kernels.anchors.convolved import Accumulated, Convolved, bordered
from autotune_qnn.kernels.anchors.origins import Origins
from autotune_qnn.kernels.anchors.overlap import first_channel, store_elsewhere
from autotune_qnn.kernels.inputs import KernelInputs
from autotune_qnn.kernels.lane import int32
from autotune_qnn.kernels.winograd import INVERSE, POINTS, SHIFT, TILE, WinogradGeometry, narrow, transformed
from autotune_qnn.kernels.wrapping import minus, plus, times

_HALVINGS = (0, 1, 2, 2)
"""Powers of two by which each output of `_outputs` is smaller than 24 times the result."""


def _select(place: Any, values: Sequence[Any]) -> Any:
    """The value at a place that is known once loops are unrolled."""
    chosen = values[-1]
    for number in reversed(range(len(values) - 1)):
        chosen = tirx.Select(place == number, values[number], chosen)
    return chosen


def _data(place: Any, d: Callable[[int], Any]) -> Any:
    """Row `place` of Bᵀ d, int16."""
    one, two = tirx.const(1, "int16"), tirx.const(2, "int16")
    even, odd = minus(d(4), d(2) << two), minus(d(3), d(1) << two)
    near, far = minus(d(4), d(2)), minus(d(3), d(1)) << one
    return _select(
        place,
        [
            plus(near, minus(d(0), d(2)) << two),
            plus(even, odd),
            minus(even, odd),
            plus(near, far),
            minus(near, far),
            minus(minus(d(5), d(3)), far << one),
        ],
    )


def _weights(place: Any, g: Callable[[int], Any]) -> Any:
    """Row `place` of U g, int16."""
    one, two = tirx.const(1, "int16"), tirx.const(2, "int16")
    near, far = plus(g(0), g(2)), plus(g(0), g(2) << two)
    return _select(
        place,
        [
            plus(g(0) << two, g(0) << one),
            plus(near, g(1)),
            minus(near, g(1)),
            plus(far, g(1) << one),
            minus(far, g(1) << one),
            plus(g(2) << two, g(2) << one),
        ],
    )


def _outputs(place: Any, m: Callable[[int], Any]) -> Any:
    """Row `place` of Aᵀ(s * m), int32, divided by 2 to the power of `_HALVINGS`."""
    ones, twos = plus(m(1), m(2)), plus(m(3), m(4))
    one, two = minus(m(1), m(2)), minus(m(3), m(4))
    return _select(
        place,
        [
            minus(plus(m(0), twos), ones << int32(2)),
            minus(two, one << int32(1)),
            minus(twos, ones),
            minus(plus(m(5), two << int32(1)), one),
        ],
    )


def _inverse(halvings: int) -> Any:
    """The int32 that takes 9 * 2^(SHIFT - halvings) times a number to 2^SHIFT times it."""
    return int32(int(np.uint32((INVERSE << halvings) % (1 << 32)).astype(np.int32)))


@dataclass(frozen=True)
class WinogradTiles:
    """Results computed in tiles, [batch, tile row, tile column, row, column, channel]."""

    geometry: WinogradGeometry
    _rows: Origins = field(default_factory=Origins)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the results in tiles."""
        conv = self.geometry.conv
        return (conv.batch, self.geometry.rows, self.geometry.columns, TILE, TILE, conv.out_channels)

    def place(self, indices: Sequence[Any]) -> list[Any]:
        """The index [batch, row, column, channel] of an index in tiles."""
        n, ty, tx, i, j, c = indices
        conv = self.geometry.conv
        row = first_channel(ty, TILE, conv.out_height) + i
        column = first_channel(tx, TILE, conv.out_width) + j
        return [n, row, column, c]

    def results(self, element: Callable[..., Any]) -> list[Any]:
        """The tensor in tiles, from what computes an element of the whole."""

        def tiled(*indices: Any) -> Any:
            place = self.place(indices)
            self._rows.remember(place[1], indices)
            return element(*place)

        return [te.compute(self.shape, tiled, name="output")]

    def tiled(self, index: Sequence[Any]) -> tuple[Any, ...]:
        """The index in tiles of an index that `results` has made."""
        indices: tuple[Any, ...] = self._rows.of(index[1])
        return indices

    def stored(self, func: Any) -> Any:
        """The PrimFunc of `results` whose output is the tensor itself."""
        conv = self.geometry.conv
        shape = (conv.batch, conv.out_height, conv.out_width, conv.out_channels)
        return store_elsewhere(func, shape, [self.place])


def _padded(geometry: WinogradGeometry, data: Callable[..., Any], pad_value: Any) -> Callable[..., Any]:
    """A function (batch, row, column, channel) → uint8, counted from the window's corner."""
    conv = geometry.conv
    if not any(conv.padding):
        return data
    extents = (conv.batch, conv.out_height + POINTS - TILE, conv.out_width + POINTS - TILE, conv.channels)
    padded: Callable[..., Any] = te.compute(extents, bordered(conv, data, pad_value), name="data_pad")
    return padded


def _points(geometry: WinogradGeometry, read: Callable[..., Any]) -> Any:
    """Bᵀ d B, int16 [batch, 6, 6, tile rows, tile columns, channels]."""
    conv = geometry.conv
    tiles = (geometry.rows, geometry.columns)

    def row(n: Any, ty: Any, tx: Any, a: Any, j: Any, c: Any) -> Any:
        y, x = first_channel(ty, TILE, conv.out_height), first_channel(tx, TILE, conv.out_width)
        return _data(a, lambda place: read(n, y + place, x + j, c).astype("int16"))

    rows = te.compute((conv.batch, *tiles, POINTS, POINTS, conv.channels), row, name="rows")

    def point(n: Any, a: Any, b: Any, ty: Any, tx: Any, c: Any) -> Any:
        return _data(b, lambda place: rows(n, ty, tx, a, place, c))

    return te.compute((conv.batch, POINTS, POINTS, *tiles, conv.channels), point, name="points")


def _kernel(geometry: WinogradGeometry, inputs: KernelInputs, weights: NDArray[np.int32]) -> Any:
    """U g Uᵀ, int16 [6, 6, blocks, pairs, lanes, 2]: a constant, or computed from the weights."""
    if geometry.stored:
        return inputs.constant(transformed(weights, geometry.lanes), "weights")
    packed = inputs.constant(narrow(weights, geometry.lanes), "weights")
    inner = (geometry.blocks, geometry.pairs, geometry.lanes, 2)

    def row(a: Any, x: Any, *place: Any) -> Any:
        return _weights(a, lambda y: packed(y, x, *place).astype("int16"))

    rows = te.compute((POINTS, 3, *inner), row, name="kernel_rows")

    def point(a: Any, b: Any, *place: Any) -> Any:
        return _weights(b, lambda x: rows(a, x, *place))

    return te.compute((POINTS, POINTS, *inner), point, name="kernel")


def _products(geometry: WinogradGeometry, points: Any, packed: Any) -> Any:
    """int32 sums over channels [batch, 6, 6, tile rows, tile columns, output channels], modulo 2³²."""
    conv, lanes = geometry.conv, geometry.lanes
    pair = te.reduce_axis((0, geometry.pairs), "pair")
    inner = te.reduce_axis((0, 2), "inner")

    def total(n: Any, a: Any, b: Any, ty: Any, tx: Any, c: Any) -> Any:
        value = points[n, a, b, ty, tx, pair * 2 + inner].astype("int32")
        weight = packed[a, b, tirx.floordiv(c, lanes), pair, tirx.floormod(c, lanes), inner].astype("int32")
        return te.sum(value * weight, axis=[pair, inner])

    extents = (conv.batch, POINTS, POINTS, geometry.rows, geometry.columns, conv.out_channels)
    return te.compute(extents, total, name="products")


def winograd(
    inputs: KernelInputs,
    tiles: WinogradTiles,
    terms: Convolved,
    middle: NDArray[np.int64],
) -> Accumulated:
    """A convolution, by an index that `tiles` has made.

    `middle` is what `kernels.winograd.middles` says of the weights minus their zero point.
    """
    geometry = tiles.geometry
    points = _points(geometry, _padded(geometry, terms.data, terms.pad_value(inputs)))
    products = _products(geometry, points, _kernel(geometry, inputs, terms.centred))
    start = inputs.vector((-(middle << SHIFT)).astype(np.int32), "start")
    moved = inputs.vector((terms.folded + middle).astype(np.int32), "bias")

    def column(n: Any, ty: Any, tx: Any, i: Any, b: Any, c: Any) -> Any:
        return _outputs(i, lambda place: products(n, place, b, ty, tx, c))

    shape = tiles.shape
    columns = te.compute((*shape[:4], POINTS, shape[-1]), column, name="columns")

    def total(n: Any, ty: Any, tx: Any, i: Any, j: Any, c: Any) -> Any:
        value = _outputs(j, lambda place: columns(n, ty, tx, i, place, c))
        factor = _select(i, [_select(j, [_inverse(a + b) for b in _HALVINGS]) for a in _HALVINGS])
        scaled = plus(times(value, factor), start(c))
        return plus(scaled >> int32(SHIFT), moved(c))

    sums = te.compute(shape, total, name="sums")
    return Accumulated(lambda index: sums(*tiles.tiled(index)))
