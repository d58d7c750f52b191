"""Depthwise convolution whose products are added in pairs that saturate at 16 bits, as TensorIR.

The formula is dialect/pairs.py's: the pairs' sums are of stored data and stored weights, so that zero points are taken
off afterwards, by the window's sum of data where the weights have one. Widened multiply-adds and a clip a pair.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx

from autotune_qnn.dialect.pairs import HIGH, LOW
from autotune_qnn.kernels.anchors.convolved import Accumulated, Convolved
from autotune_qnn.kernels.anchors.depthwise import accumulated, corrected, padded_data
from autotune_qnn.kernels.anchors.overlap import Blocks
from autotune_qnn.kernels.geometry import ConvGeometry, ceil_div
from autotune_qnn.kernels.inputs import KernelInputs
from autotune_qnn.kernels.isa import DotShape


def _window(geometry: ConvGeometry, padded: Any, tap: Any, place: tuple[Any, ...]) -> Any:
    """The data under a tap, counted in row-major order, as int32."""
    n, y, x, c = place
    columns = geometry.kernel[1]
    row = y * geometry.strides[0] + tirx.floordiv(tap, columns) * geometry.dilation[0]
    column = x * geometry.strides[1] + tirx.floormod(tap, columns) * geometry.dilation[1]
    return padded[n, row, column, c].astype("int32")


def _pair_sums(geometry: ConvGeometry, padded: Any, weights: Any) -> Any:
    taps = geometry.kernel[0] * geometry.kernel[1]
    pair = te.reduce_axis((0, ceil_div(taps, 2)), "pair")
    low, high = tirx.const(LOW, "int32"), tirx.const(HIGH, "int32")

    def total(*place: Any) -> Any:
        # The tap behind an odd number of them has the weight zero, and reads what the last one does.
        first, second = pair * 2, te.min(pair * 2 + 1, taps - 1)
        both = _window(geometry, padded, first, place) * weights[pair, 0, place[3]].astype("int32") + _window(
            geometry, padded, second, place
        ) * weights[pair, 1, place[3]].astype("int32")
        return te.sum(te.max(te.min(both, high), low), axis=[pair])

    extents = (geometry.batch, geometry.out_height, geometry.computed_width, padded.shape[3])
    return te.compute(extents, total, name="depthwise")


def _window_sums(geometry: ConvGeometry, padded: Any) -> Any:
    tap = te.reduce_axis((0, geometry.kernel[0] * geometry.kernel[1]), "tap")
    extents = (geometry.batch, geometry.out_height, geometry.computed_width, padded.shape[3])
    return te.compute(
        extents,
        lambda *place: te.sum(_window(geometry, padded, tap, place), axis=[tap]),
        name="window_sum",
    )


def _pack(weights: NDArray[Any], channels: int) -> NDArray[np.int16]:
    """[pairs, 2, channels] from weights [out channels, KH, KW, 1]."""
    taps = weights.reshape(weights.shape[0], -1)
    packed = np.zeros((channels, ceil_div(taps.shape[1], 2) * 2), np.int16)
    packed[: taps.shape[0], : taps.shape[1]] = taps
    return np.ascontiguousarray(packed.T.reshape(-1, 2, channels))


def depthwise_pairs(
    inputs: KernelInputs,
    geometry: ConvGeometry,
    shape: DotShape,
    terms: Convolved,
) -> Accumulated:
    """A depthwise convolution with int8 weights."""
    channels = ceil_div(geometry.out_channels, shape.lanes) * shape.lanes
    weights, zeros = terms.weights, terms.zero_points
    blocks = Blocks.of(geometry.out_channels, shape.lanes) if geometry.group_outputs == 1 else None
    padded = padded_data(geometry, terms.data, terms.pad_value(inputs), channels, blocks)
    folded = inputs.vector(terms.folded, "bias")
    if blocks is not None:
        weights, zeros = weights[blocks.order], zeros[blocks.order]
    packed = inputs.constant(_pack(weights, channels), "weights")
    products = _pair_sums(geometry, padded, packed)
    if zeros.any():
        sums, taken = _window_sums(geometry, padded), inputs.vector(zeros, "weight_zero_point")
        products = corrected(products, sums, taken)
    return accumulated(products, folded, blocks)
