"""qnn.requantize in each of its arithmetics (formulas: the dialect's documentation of the operator)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tvm import te, tirx

from autotune_qnn.kernels.elements.registry import ElementCall, element
from autotune_qnn.kernels.fixed_point import (
    doubling_high_multiply,
    once,
    shift_half_away,
    shift_half_up,
    shift_left_saturated,
)
from autotune_qnn.kernels.inputs import KernelInputs
from autotune_qnn.kernels.lane import Lane, bounds, expression_dtype, int32
from autotune_qnn.kernels.operand import LaneFunction
from autotune_qnn.quantization import Rounding, quantize_multiplier, rescale


def per_channel(inputs: KernelInputs, array: NDArray[Any], name: str, axis: int) -> Any:
    """A function from an element's index to its channel's value: a scalar where the array has one element."""
    flat = np.asarray(array).reshape(-1)
    if flat.size == 1:
        value = flat[0]
        constant = inputs.real(float(value)) if flat.dtype == np.float32 else inputs.integer(int(value))
        return lambda _index: constant
    vector = inputs.vector(flat, name)
    return lambda index: vector(index[axis])


@dataclass(frozen=True)
class FixedPoint:
    """Multiplier and shifts of a fixed-point requantization, as functions of an element's index.

    `shrinks` says whether every result is within ±2³⁰.
    """

    multiplier: Any
    right: Any
    half: Any
    sign: Any
    left: Any | None
    shrinks: bool

    @classmethod
    def of(cls, inputs: KernelInputs, ratio: ArrayLike, axis: int) -> FixedPoint:
        """From input scale over output scale, one value or one for each channel."""
        return cls.of_parts(inputs, *quantize_multiplier(ratio), axis)

    @classmethod
    def of_parts(
        cls, inputs: KernelInputs, multiplier: NDArray[np.int64], exponent: NDArray[np.int64], axis: int
    ) -> FixedPoint:
        """From Q31 multipliers and exponents, one pair or one for each channel."""
        multiplier, exponent = multiplier.reshape(-1), exponent.reshape(-1)
        right = np.maximum(-exponent, 0)
        half = np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)

        def place(values: NDArray[Any], name: str) -> Any:
            return per_channel(inputs, values.astype(np.int32), name, axis)

        left = np.maximum(exponent, 0)
        return cls(
            place(multiplier, "multiplier"),
            place(right, "shift"),
            place(half, "half"),
            place(np.where(right > 0, -1, 0), "sign"),
            place(left, "left_shift") if left.any() else None,
            bool((right > 0).all()),
        )

    def apply(self, value: Any, index: Sequence[Any], rounding: str) -> Any:
        """The requantized int32 value of one element, before its zero point; rounding TFLITE or RUY."""
        if self.left is not None:
            value = shift_left_saturated(value, self.left(index))
        high = doubling_high_multiply(value, self.multiplier(index))
        if rounding == "RUY":
            return shift_half_up(high, self.right(index), self.half(index))
        return shift_half_away(high, self.right(index), self.half(index), self.sign(index))


def round_half_away(value: Any) -> Any:
    """roundf for a float expression: to nearest, ties away from zero, as a float."""
    dtype = expression_dtype(value)
    one = tirx.const(1.0, dtype)
    zero = tirx.const(0.0, dtype)
    half = tirx.const(0.5, dtype)

    def rounded(known: Any, whole: Any) -> Any:
        step = tirx.Select(known < zero, zero - one, one)
        return whole + tirx.Select(tirx.abs(known - whole) >= half, step, zero)

    return once(value, lambda known: once(tirx.trunc(known), lambda whole: rounded(known, whole)))


def _centered(call: ElementCall, index: Sequence[Any], zero_point: int) -> Any:
    value, moved = call.operands[0].at(index).settled(call.inputs)
    if call.operands[0].dtype == "int32" and zero_point == 0 and moved == 0:
        return value
    return value + call.inputs.integer(moved - zero_point)


@element("qnn.requantize")
def requantize(call: ElementCall) -> LaneFunction:
    """The rule of qnn.requantize; its arithmetic is named by `compute_dtype` and `rounding`."""
    arithmetic = (call.text("compute_dtype"), call.text("rounding"))
    builders = {
        ("float32", "TONEAREST"): _float32,
        ("int64", "TFLITE"): _fixed_point,
        ("int64", "RUY"): _fixed_point,
        ("float64", "AWAY"): _float64,
        ("int32", "UPWARD"): _eight_bit,
    }
    if arithmetic not in builders:
        raise call.unsupported(f"compute_dtype {arithmetic[0]} with rounding {arithmetic[1]}")
    input_zero_point = call.operands[2].array.reshape(-1)
    if (input_zero_point != input_zero_point[0]).any() or call.operands[4].array.size != 1:
        raise call.unsupported("zero points that differ between channels")
    return _moved(call) or builders[arithmetic](call)


def _moved(call: ElementCall) -> LaneFunction | None:
    """The rule of a requantize that only adds a constant to every 8-bit value, as uint8 → int8 of one scale does.

    None where it does more. Such a requantize is a copy, whatever its tail.
    """
    tables = _tables(call)
    if tables is None:
        return None
    lowest = bounds(call.operands[0].dtype)[0]
    moved = int(tables[0][0]) - lowest
    if any((table != np.arange(lowest, lowest + 256) + moved).any() for table in tables):
        return None

    def lane(index: Sequence[Any]) -> Lane:
        value, pending = call.operands[0].at(index).settled(call.inputs)
        low, high = bounds(call.dtype)
        return Lane(value, pending + moved, low, high, clamped=True)

    return lane


def _tables(call: ElementCall) -> list[NDArray[np.int64]] | None:
    """Results for each 8-bit value in the body's arithmetic and, where there is one, the tail's."""
    if call.operands[0].dtype not in ("int8", "uint8") or call.operands[1].array.size != 1:
        return None
    if call.text("compute_dtype") != "int64":
        return None
    lowest = bounds(call.operands[0].dtype)[0]
    values = np.arange(lowest, lowest + 256) - int(call.operands[2].scalar())
    ratio = np.float64(call.operands[1].scalar()) / np.float64(call.operands[3].scalar())
    zero_point = int(call.operands[4].scalar())
    roundings = [call.text("rounding")]
    if call.text("tail_rounding") and call.number("tail_block"):
        roundings.append(call.text("tail_rounding"))
    low, high = bounds(call.dtype)
    return [np.clip(rescale(values, ratio, Rounding(name)) + zero_point, low, high) for name in roundings]


def _axis(call: ElementCall) -> int:
    return call.number("axis") % len(call.shape)


def _finish(call: ElementCall, value: Any, small: bool) -> Lane:
    low, high = bounds(call.dtype)
    return Lane(value, int(call.operands[4].scalar()), low, high, small=small)


def _float32(call: ElementCall) -> LaneFunction:
    scale = np.float32(call.operands[1].array) / np.float32(call.operands[3].scalar())
    factor = per_channel(call.inputs, np.asarray(scale, np.float32), "scale", _axis(call))
    zero_point = int(call.operands[2].scalar())
    small = bool(np.max(scale) <= 0.5)

    def lane(index: Sequence[Any]) -> Lane:
        return _finish(call, _centered(call, index, zero_point).astype("float32") * factor(index), small)

    return lane


def _fixed_point(call: ElementCall) -> LaneFunction:
    ratio = call.operands[1].array.astype(np.float64) / np.float64(call.operands[3].scalar())
    fixed = FixedPoint.of(call.inputs, np.asarray(ratio), _axis(call))
    zero_point = int(call.operands[2].scalar())
    rounding, tail = call.text("rounding"), call.text("tail_rounding")
    block, flat = call.number("tail_block"), call.text("tail_axis") == "flat"
    count = math.prod(call.shape) if flat else call.shape[_axis(call)]

    def mixed(value: Any, index: Sequence[Any]) -> Any:
        place = call.flat_index(index) if flat else index[_axis(call)]
        body, rest = fixed.apply(value, index, rounding), fixed.apply(value, index, tail)
        return tirx.Select(place < int32(count // block * block), body, rest)

    def lane(index: Sequence[Any]) -> Lane:
        value = _centered(call, index, zero_point)
        if tail and block:
            return _finish(call, once(value, lambda known: mixed(known, index)), fixed.shrinks)
        return _finish(call, fixed.apply(value, index, rounding), fixed.shrinks)

    return lane


def _float64(call: ElementCall) -> LaneFunction:
    ratio = call.operands[1].array.astype(np.float64) / np.float64(call.operands[3].scalar())
    factor = call.inputs.vector(np.broadcast_to(ratio.reshape(-1), (call.shape[_axis(call)],)), "ratio")
    zero_point = int(call.operands[2].scalar())
    moved = int(call.operands[4].scalar())
    low, high = bounds(call.dtype)

    def lane(index: Sequence[Any]) -> Lane:
        value = _centered(call, index, zero_point).astype("float64") * factor[index[_axis(call)]]
        smallest, largest = (call.inputs.integer(bound - moved).astype("float64") for bound in (low, high))
        rounded = round_half_away(te.max(te.min(value, largest), smallest))
        return Lane(rounded.astype("int32"), moved, low, high)

    return lane


def _eight_bit(call: ElementCall) -> LaneFunction:
    ratio = np.float32(call.operands[1].scalar()) / np.float32(call.operands[3].scalar())
    multiplier = call.inputs.integer(int(np.rint(np.float32(256) * ratio)))
    zero_point = int(call.operands[2].scalar())

    def lane(index: Sequence[Any]) -> Lane:
        value = _centered(call, index, zero_point) * multiplier + int32(128)
        return _finish(call, value >> int32(8), small=True)

    return lane
