"""Anchor rule of qnn.resize2d: source places and weights in tables, computed by the dialect's reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from autotune_qnn.dialect.resize import (
    Interpolation,
    interpolation_float32,
    interpolation_q10,
    interpolation_q11,
)
from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor
from autotune_qnn.kernels.fixed_point import once, unfused
from autotune_qnn.kernels.lane import Lane, bounds, int32
from autotune_qnn.kernels.operand import LaneFunction, Operand
from autotune_qnn.kernels.templates.elementwise import ElementwiseTemplate

_Q10, _Q11 = 10, 11
_ONE_Q10, _ONE_Q11 = 1 << _Q10, 1 << _Q11


@dataclass(frozen=True)
class _Axis:
    """Source places and weights along one axis of the image, as constants of the kernel."""

    lower: Any
    upper: Any
    weight: Any
    rest: Any

    @classmethod
    def of(cls, call: AnchorCall, places: Interpolation, one: Any, dtype: str) -> _Axis:
        def placed(values: NDArray[Any], kind: str, name: str) -> Any:
            return call.inputs.constant(values.astype(kind), name)

        return cls(
            placed(places.lower, "int32", "lower"),
            placed(places.upper, "int32", "upper"),
            placed(places.weight, dtype, "weight"),
            placed(one - places.weight, dtype, "rest"),
        )


class Corners:
    """The four source elements around an output element, and the weights of the lower and upper ones."""

    def __init__(self, call: AnchorCall, interpolate: Any, one: Any, dtype: str) -> None:
        """`interpolate` gives the `Interpolation` of a source extent, a target extent, the mode and the axis."""
        mode = call.attributes.string("coordinate_transformation_mode")
        size = call.attributes.integers("size", 2)
        self.data: Operand = call.activation()
        self.rows, self.columns = (
            _Axis.of(call, interpolate(source, target, mode, axis), one, dtype)
            for axis, (source, target) in enumerate(zip(self.data.shape[1:3], size, strict=True))
        )

    def values(self, index: Sequence[Any]) -> list[Any]:
        """Stored int32 values at (lower, lower), (lower, upper), (upper, lower), (upper, upper)."""
        n, y, x, c = index
        return [
            self.data.tensor[n, row[y], column[x], c].astype("int32")
            for row in (self.rows.lower, self.rows.upper)
            for column in (self.columns.lower, self.columns.upper)
        ]


def _without_axis(interpolate: Any) -> Any:
    return lambda source, target, mode, _axis: interpolate(source, target, mode)


@anchor("qnn.resize2d")
def resize2d(call: AnchorCall) -> Anchor:
    """Bilinear interpolation in each of its arithmetics."""
    arithmetic = (call.attributes.string("compute_dtype"), call.attributes.string("rounding"))
    builders = {
        ("int32", "UPWARD"): _q11,
        ("int32", "AWAY"): _q10,
        ("float32", "TFLITE"): _float32,
        ("float32", "RUY"): _float32,
    }
    if arithmetic not in builders or call.attributes.string("method") != "linear":
        raise call.unsupported(f"compute_dtype {arithmetic[0]} with rounding {arithmetic[1]}")
    lane = builders[arithmetic](call)
    return resized(call, lane)


def resized(call: AnchorCall, lane: LaneFunction) -> Anchor:
    """The anchor of a resize whose elements are these lanes."""
    name = "x".join(map(str, call.activation().shape)) + f"_to{call.shape[1]}x{call.shape[2]}"
    return Anchor(lane, "resize2d", name, 0, ElementwiseTemplate.factory(call.shape))


def _q11(call: AnchorCall) -> LaneFunction:
    """11 fraction bits; moving all values moves the result alike, so stored values need no correction."""
    corners = Corners(call, _without_axis(interpolation_q11), _ONE_Q11, "int32")
    offset = corners.data.offset

    def lane(index: Sequence[Any]) -> Lane:
        a, b, c, d = corners.values(index)
        wy, wx = corners.rows.weight[index[1]], corners.columns.weight[index[2]]

        def between(first: Any, second: Any, weight: Any) -> Any:
            return once(first, lambda known: (known << int32(_Q11)) + (second - known) * weight)

        total = between(between(a, b, wx), between(c, d, wx), wy) + int32(1 << (2 * _Q11 - 1))
        return Lane.of(total >> int32(2 * _Q11), call.dtype, offset)

    return lane


def _q10(call: AnchorCall) -> LaneFunction:
    """10 fraction bits, half away from zero: that needs the logical values."""
    corners = Corners(call, _without_axis(interpolation_q10), _ONE_Q10, "int32")
    low, high = bounds(call.dtype)
    moved = call.inputs.integer(-(corners.data.offset << (2 * _Q10)))

    def lane(index: Sequence[Any]) -> Lane:
        a, b, c, d = corners.values(index)
        wy, vy = corners.rows.weight[index[1]], corners.rows.rest[index[1]]
        wx, vx = corners.columns.weight[index[2]], corners.columns.rest[index[2]]
        total = a * (vy * vx) + c * (wy * vx) + b * (vy * wx) + d * (wy * wx) + moved
        half = int32(1 << (2 * _Q10 - 1))

        def rounded(known: Any) -> Any:
            magnitude = (tirx.abs(known) + half) >> int32(2 * _Q10)
            return tirx.Select(known > int32(0), magnitude, int32(0) - magnitude)

        return Lane(once(total, rounded), 0, low, high)

    return lane


def _float32(call: AnchorCall) -> LaneFunction:
    """Four products in float32, in the order of TFLITE's reference kernel or of its optimized one (RUY)."""
    corners = Corners(call, _without_axis(interpolation_float32), np.float32(1), "float32")
    premultiplied = call.attributes.string("rounding") == "RUY"
    low, high = bounds(call.dtype)
    offset = int32(corners.data.offset)

    def lane(index: Sequence[Any]) -> Lane:
        a, b, c, d = ((value - offset).astype("float32") for value in corners.values(index))
        wy, vy = corners.rows.weight[index[1]], corners.rows.rest[index[1]]
        wx, vx = corners.columns.weight[index[2]], corners.columns.rest[index[2]]
        if premultiplied:
            products = [a * (vy * vx), b * (vy * wx), c * (wy * vx), d * (wy * wx)]
        else:
            products = [a * vy * vx, c * wy * vx, b * vy * wx, d * wy * wx]
        total = unfused(products[0])
        for product in products[1:]:
            total = total + unfused(product)
        return Lane((total + tirx.const(0.5, "float32")).astype("int32"), 0, low, high)

    return lane
