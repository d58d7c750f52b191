"""Anchor rules of qnn.avg_pool2d and qnn.mean: exact integer sums, and their division or rescaling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx

from autotune_qnn.dialect.pooling import mean_multiplier
from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor
from autotune_qnn.kernels.elements.requantize import FixedPoint
from autotune_qnn.kernels.fixed_point import once, unfused
from autotune_qnn.kernels.lane import Lane, bounds, int32
from autotune_qnn.kernels.operand import LaneFunction
from autotune_qnn.kernels.templates.base import TemplateFactory
from autotune_qnn.kernels.templates.reduction import ReductionTemplate

# Sums of this many 8-bit values stay within int32.
MOST_SUMMED = 1 << 23
# Sums of this many stay within int16.
_MOST_NARROW = 128
# A quotient below 256 of a divisor n is exact as a product with a rounded-up reciprocal of s bits where
# 2^s > 256·n².
_NARROW_BITS, _NARROW_COUNT = 22, 127
_WIDE_BITS = 54


def _axis_counts(
    image: int, extent: int, size: int, stride: int, dilation: int, before: int
) -> NDArray[np.int64]:
    """How many of each window's places lie within `image`, along one axis."""
    starts = np.arange(extent)[:, None] * stride - before
    places = starts + np.arange(size)[None, :] * dilation
    return ((places >= 0) & (places < image)).sum(1)


class Windows:
    """The windows of a pooling: their sums as TensorIR, and how many elements each averages.

    Raises BuildError where sums would not fit int32.
    """

    def __init__(self, call: AnchorCall) -> None:
        self.pool, self.strides, self.dilation = (
            call.attributes.integers(name, 2) for name in ("pool_size", "strides", "dilation")
        )
        self.padding = call.attributes.integers("padding", 4)
        self.data = call.activation().shape
        self.image = self.data[1:3]
        self.shape = call.shape
        self.inside = self._counts(self.image, (0, 0))
        self.counts = self.inside
        if call.attributes.flag("count_include_pad"):
            top, left, bottom, right = self.padding
            padded = (self.image[0] + top + bottom, self.image[1] + left + right)
            self.counts = self._counts(padded, (top, left))
        if int(self.counts.max()) > MOST_SUMMED:
            raise call.unsupported(f"a window of {self.counts.max()} elements")

    def _counts(self, image: tuple[int, ...], moved: tuple[int, int]) -> NDArray[np.int64]:
        rows, columns = (
            _axis_counts(
                image[axis],
                self.shape[1 + axis],
                self.pool[axis],
                self.strides[axis],
                self.dilation[axis],
                self.padding[axis] - moved[axis],
            )
            for axis in (0, 1)
        )
        return np.asarray(rows[:, None] * columns[None, :])

    @property
    def name(self) -> str:
        """What tells the pooling's shape from another's, as part of a kernel's name."""
        return f"{'x'.join(map(str, self.data))}_k{'x'.join(map(str, self.pool))}s{self.strides[0]}"

    @property
    def narrow(self) -> bool:
        """Whether sums fit int16, of which a register holds twice as many."""
        return math.prod(self.pool) <= _MOST_NARROW

    def template(self) -> TemplateFactory:
        """The schedule template of a kernel of these windows."""
        return ReductionTemplate.factory(self.shape, narrow=self.narrow)

    def sums(self, data: Any) -> Any:
        """A function from an element's index to the int32 sum of the stored values within the image."""
        row = te.reduce_axis((0, self.pool[0]), "kh")
        column = te.reduce_axis((0, self.pool[1]), "kw")
        whole = bool((self.inside == self.pool[0] * self.pool[1]).all())
        top, left = self.padding[:2]
        height, width = self.image
        dtype = "int16" if self.narrow else "int32"

        def total(n: Any, y: Any, x: Any, c: Any) -> Any:
            source_y = y * self.strides[0] + row * self.dilation[0] - top
            source_x = x * self.strides[1] + column * self.dilation[1] - left
            if whole:
                return te.sum(data[n, source_y, source_x, c].astype(dtype), axis=[row, column])
            inside = tirx.all(source_y >= 0, source_y < height, source_x >= 0, source_x < width)
            value = data[n, source_y, source_x, c].astype(dtype)
            return te.sum(tirx.if_then_else(inside, value, tirx.const(0, dtype)), axis=[row, column])

        totals = te.compute(self.shape, total, name="total")
        return lambda *index: totals(*index).astype("int32")


def _divided_away(call: AnchorCall, counts: NDArray[np.int64]) -> Any:
    """A function (sum, index) → the sum over its window's count, half away from zero."""
    largest = int(counts.max())
    uniform = bool((counts == largest).all())
    narrow = largest <= _NARROW_COUNT
    dtype, bits = ("int32", _NARROW_BITS) if narrow else ("int64", _WIDE_BITS)
    if not uniform:
        inverse = (1 << bits) // np.maximum(counts, 1) + 1
        reciprocals = call.inputs.constant(inverse.astype(dtype), "reciprocals")
        halves = call.inputs.constant((counts // 2).astype(np.int32), "halves")

    def quotient(magnitude: Any, index: Sequence[Any]) -> Any:
        if uniform:
            return tirx.truncdiv(magnitude + int32(largest // 2), int32(largest))
        wide = (magnitude + halves[index[1], index[2]]).astype(dtype) * reciprocals[index[1], index[2]]
        return (wide >> tirx.const(bits, dtype)).astype("int32")

    def divided(value: Any, index: Sequence[Any]) -> Any:
        if call.dtype == "uint8":
            return quotient(value, index)
        return once(value, lambda known: once(quotient(tirx.abs(known), index), lambda q: signed(known, q)))

    def signed(value: Any, magnitude: Any) -> Any:
        return tirx.Select(value < int32(0), int32(0) - magnitude, magnitude)

    return divided


def _corrections(call: AnchorCall, windows: Windows) -> Any:
    """A function (sum of stored values, index) → sum of the window's values, counted padding included."""
    padding = windows.counts - windows.inside
    values = padding * int(call.scalar(2)) - windows.inside * call.activation().offset
    if not (padding.any() or call.activation().offset):
        return lambda value, _index: value
    if (padding == padding.flat[0]).all() and (windows.inside == windows.inside.flat[0]).all():
        scalar = call.inputs.integer(int(values.flat[0]))
        return lambda value, _index: value + scalar
    vector = call.inputs.constant(values.astype(np.int32), "corrections")
    return lambda value, index: value + vector[index[1], index[2]]


@anchor("qnn.avg_pool2d")
def avg_pool2d(call: AnchorCall) -> Anchor:
    """Sums over windows, divided by the number of elements averaged, half away from zero."""
    if call.scalar(1) != call.scalar(3) or call.scalar(2) != call.scalar(4):
        raise call.unsupported("input and output of different scales")
    data = call.activation()
    windows = Windows(call)
    sums = windows.sums(data.tensor)
    correction = _corrections(call, windows)
    divided = _divided_away(call, windows.counts)

    def lane(index: Sequence[Any]) -> Lane:
        return Lane.of(divided(correction(sums(*index), index), index), call.dtype)

    return Anchor(lane, "avg_pool2d", windows.name, 0, windows.template())


@dataclass(frozen=True)
class Means:
    """Averages over whole axes: the shape of the data, the axes in order, and how many elements each averages."""

    data: tuple[int, ...]
    axes: tuple[int, ...]
    count: int

    @classmethod
    def of(cls, call: AnchorCall) -> Means:
        """Those of a call; BuildError where sums would not fit int32."""
        shape = call.activation().shape
        axes = tuple(sorted(axis % len(shape) for axis in call.attributes.integers("axis")))
        count = math.prod(shape[axis] for axis in axes)
        if not 0 < count <= MOST_SUMMED:
            raise call.unsupported(f"a mean of {count} elements")
        return cls(shape, axes, count)

    @property
    def name(self) -> str:
        """What tells one such shape from another, as part of a kernel's name."""
        return "x".join(map(str, self.data)) + "_over" + "x".join(map(str, self.axes))

    def sums(self, call: AnchorCall) -> Any:
        """int32 sums of the stored values, in the shape of the result."""
        reduced = {axis: te.reduce_axis((0, self.data[axis]), f"r{axis}") for axis in self.axes}
        keep = call.attributes.flag("keepdims")

        def total(*index: Any) -> Any:
            free = iter(index)
            places = []
            for axis in range(len(self.data)):
                if axis not in reduced:
                    places.append(next(free))
                    continue
                places.append(reduced[axis])
                if keep:
                    next(free)
            return te.sum(call.activation().tensor(*places).astype("int32"), axis=list(reduced.values()))

        return te.compute(call.shape, total, name="total")


@anchor("qnn.mean")
def mean(call: AnchorCall) -> Anchor:
    """Sums over whole axes, rescaled by the operator's arithmetic."""
    means = Means.of(call)
    sums = means.sums(call)
    rounding = call.attributes.string("rounding")
    build = {"TONEAREST": _mean_float32, "TFLITE": _mean_fixed_point, "RUY": _mean_premultiplied}[rounding]
    lane = build(call, means.count, lambda index: sums(*index))
    vector = len(means.data) - 1 not in means.axes
    return Anchor(lane, "mean", means.name, 0, ReductionTemplate.factory(call.shape, vector))


def _scales(call: AnchorCall) -> tuple[np.float32, int, np.float32, int]:
    si, zi, so, zo = (call.scalar(place) for place in (1, 2, 3, 4))
    return np.float32(si), int(zi), np.float32(so), int(zo)


def _finish(call: AnchorCall, value: Any, zero_point: int) -> Lane:
    return Lane(value, zero_point, *bounds(call.dtype))


def _mean_float32(call: AnchorCall, count: int, sums: Any) -> LaneFunction:
    si, zi, so, zo = _scales(call)
    scale = (si / so) * (np.float32(1) / np.float32(count))
    factor = call.inputs.real(float(scale))
    addend = call.inputs.real(float(np.float32(zo) - np.float32(count * zi) * scale))
    moved = call.inputs.integer(-count * call.activation().offset)

    def lane(index: Sequence[Any]) -> Lane:
        total = (sums(index) + moved).astype("float32")
        return _finish(call, unfused(total * factor) + addend, 0)

    return lane


def _mean_fixed_point(call: AnchorCall, count: int, sums: Any) -> LaneFunction:
    si, zi, so, zo = _scales(call)
    multiplier, exponent, shift = mean_multiplier(si, so, count)
    fixed = FixedPoint.of_parts(call.inputs, np.array([multiplier]), np.array([exponent - shift]), 0)
    moved = call.inputs.integer(-count * (call.activation().offset + zi))
    return lambda index: _finish(call, fixed.apply(sums(index) + moved, index, "TFLITE"), zo)


def _mean_premultiplied(call: AnchorCall, count: int, sums: Any) -> LaneFunction:
    si, zi, so, zo = _scales(call)
    offset = np.float32(zi) * si / so
    half = np.float32(0.5)
    bias = zo - int(np.trunc(offset + half if offset > 0 else offset - half))
    fixed = FixedPoint.of(call.inputs, np.float64(si / (np.float32(count) * so)), 0)
    moved = call.inputs.integer(-count * call.activation().offset)
    block = call.attributes.integer("tail_block")
    boundary = call.shape[-1] // block * block if block else 0

    def mixed(total: Any, index: Sequence[Any]) -> Any:
        body, rest = fixed.apply(total, index, "RUY"), fixed.apply(total, index, "TFLITE")
        return tirx.Select(index[-1] < int32(boundary), body, rest)

    def lane(index: Sequence[Any]) -> Lane:
        total = sums(index) + moved
        if not block:
            return _finish(call, fixed.apply(total, index, "RUY"), bias)
        return _finish(call, once(total, lambda known: mixed(known, index)), bias)

    return lane
