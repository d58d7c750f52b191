"""What the kernels of convolutions multiply and add, and the border around their data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from autotune_qnn.kernels.anchors.overlap import Blocks
from autotune_qnn.kernels.geometry import ConvGeometry
from autotune_qnn.kernels.inputs import KernelInputs
from autotune_qnn.kernels.lane import Lane


@dataclass(frozen=True)
class Convolved:
    """The terms of a convolution.

    Attributes:
        data: a tensor of uint8, or a function from (batch, row, column, channel) to one of its elements.
        weights: a constant, OHWI; of a depthwise convolution [output channels, KH, KW, 1].
        weight_zero_point: one, or one for each output channel.
        data_zero_point: that of the data as stored; it also fills the border.
        bias: one for each output channel, or None.
    """

    data: Callable[..., Any]
    weights: NDArray[Any]
    weight_zero_point: NDArray[Any]
    data_zero_point: int
    bias: NDArray[Any] | None

    def pad_value(self, inputs: KernelInputs) -> Any:
        """What fills the border, uint8."""
        return inputs.integer(self.data_zero_point).astype("uint8")

    @property
    def zero_points(self) -> NDArray[np.int32]:
        """The weights' zero point for each output channel."""
        zeros = self.weight_zero_point.reshape(-1).astype(np.int32)
        return np.broadcast_to(zeros, (self.weights.shape[0],))

    @cached_property
    def centred(self) -> NDArray[np.int32]:
        """The weights minus their zero point."""
        return self.weights.astype(np.int32) - self.zero_points.reshape(-1, 1, 1, 1)

    @property
    def folded(self) -> NDArray[np.int32]:
        """Bias plus all terms that do not depend on the data, for each output channel."""
        total = -self.data_zero_point * self.centred.sum((1, 2, 3), np.int64)
        if self.bias is not None:
            total = total + self.bias.reshape(-1).astype(np.int64)
        return total.astype(np.int32)


@dataclass(frozen=True)
class SplitWeights:
    """Weights minus their zero point, as far as they fit the dtype that the kernel multiplies with.

    `values` holds weight - zero_point + remaining; `remaining` (one value for each output channel, or all zero)
    times the sum of the data under the window has to be subtracted.
    """

    values: NDArray[Any]
    remaining: NDArray[np.int32]

    @classmethod
    def of(cls, terms: Convolved, dtype: str) -> SplitWeights:
        """The weights of a convolution that multiplies in a dtype."""
        weights, info = terms.weights, np.iinfo(dtype)
        fits = weights.size == 0 or info.min <= terms.centred.min() <= terms.centred.max() <= info.max
        if fits:
            return cls(terms.centred.astype(dtype), np.zeros(weights.shape[0], np.int32))
        shift = 128 if weights.dtype == np.uint8 else 0
        return cls((weights.astype(np.int32) - shift).astype(dtype), terms.zero_points - np.int32(shift))

    def in_order(self, channels: NDArray[np.int64]) -> SplitWeights:
        """Those of output channels in another order."""
        return SplitWeights(self.values[channels], self.remaining[channels])


@dataclass(frozen=True)
class Accumulated:
    """An anchor's result: int32 accumulators by output index, bias included.

    With `blocks`, the index's channel has to come from there.
    """

    value: Callable[[Sequence[Any]], Any]
    blocks: Blocks | None = None

    def lanes(self, index: Sequence[Any]) -> Lane:
        """The accumulators as what later operators of the kernel read."""
        return Lane(self.value(index), clamped=True)


def bordered(
    geometry: ConvGeometry, data: Callable[..., Any], pad_value: Any, channels: int | None = None
) -> Callable[[Any, Any, Any, Any], Any]:
    """A function (batch, row, column, channel) → the data with their border, counted from its corner.

    With `channels`, there is a border behind so many channels, too.
    """
    top, left = geometry.padding[:2]

    def element(n: Any, y: Any, x: Any, c: Any) -> Any:
        inside = tirx.all(y >= top, y < geometry.height + top, x >= left, x < geometry.width + left)
        if channels is not None:
            inside = tirx.all(inside, c < channels)
        return tirx.if_then_else(inside, data(n, y - top, x - left, c), pad_value)

    return element
