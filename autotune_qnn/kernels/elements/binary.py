"""qnn.add, qnn.subtract and qnn.mul in each of their arithmetics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from autotune_qnn.kernels.elements.registry import ElementCall, element
from autotune_qnn.kernels.elements.requantize import FixedPoint
from autotune_qnn.kernels.fixed_point import once
from autotune_qnn.kernels.lane import Lane, bounds, int32
from autotune_qnn.kernels.operand import LaneFunction, Operand

_WIDEST_SHIFT = 30


def _parameters(call: ElementCall) -> tuple[np.float32, int, np.float32, int, np.float32, int]:
    scalars = [operand.scalar() for operand in call.operands[2:8]]
    if any(operand.array.size != 1 for operand in call.operands[2:8]):
        raise call.unsupported("scales or zero points that differ between channels")
    left, right, out = scalars[0::2]
    zero_left, zero_right, zero_out = (int(value) for value in scalars[1::2])
    return np.float32(left), zero_left, np.float32(right), zero_right, np.float32(out), zero_out


def _value(call: ElementCall, operand: Operand, index: Sequence[Any]) -> tuple[Any, int]:
    if operand.constant is not None and operand.array.size == 1:
        return call.inputs.integer(int(operand.scalar())), 0
    return operand.at(index).settled(call.inputs)


def _finish(call: ElementCall, value: Any, zero_point: int, small: bool = False) -> Lane:
    low, high = bounds(call.dtype)
    return Lane(value, zero_point, low, high, small=small)


@element("qnn.add", "qnn.subtract")
def add(call: ElementCall) -> LaneFunction:
    """The rule of qnn.add and qnn.subtract."""
    arithmetic = (call.text("compute_dtype"), call.text("rounding"))
    if arithmetic == ("int32", "UPWARD"):
        return _add_one_shift(call)
    if arithmetic == ("int64", "TFLITE"):
        return _add_fixed_point(call)
    raise call.unsupported(f"compute_dtype {arithmetic[0]} with rounding {arithmetic[1]}")


def _add_one_shift(call: ElementCall) -> LaneFunction:
    """XNNPACK's: (2^(shift-1) + ma·(a - za) ± mb·(b - zb)) >> shift."""
    left, zero_left, right, zero_right, out, zero_out = _parameters(call)
    ratio_left, ratio_right = left / out, right / out
    shift = 20 - (int(np.frexp(max(ratio_left, ratio_right))[1]) - 1)
    if not 0 < shift <= _WIDEST_SHIFT:
        raise call.unsupported(f"scales {left}, {right} → {out}: their ratio needs a shift of {shift}")
    sign = -1 if call.operator == "qnn.subtract" else 1
    multiply_left = int(np.rint(np.ldexp(ratio_left, shift)))
    multiply_right = sign * int(np.rint(np.ldexp(ratio_right, shift)))
    factors = call.inputs.integer(multiply_left), call.inputs.integer(multiply_right)
    places = call.inputs.integer(shift)

    def lane(index: Sequence[Any]) -> Lane:
        first, moved_first = _value(call, call.operands[0], index)
        second, moved_second = _value(call, call.operands[1], index)
        constant = (
            (1 << (shift - 1))
            + multiply_left * (moved_first - zero_left)
            + multiply_right * (moved_second - zero_right)
        )
        total = first * factors[0] + second * factors[1] + call.inputs.integer(constant)
        return _finish(call, total >> places, zero_out, small=True)

    return lane


def _add_fixed_point(call: ElementCall) -> LaneFunction:
    """TFLite's reference: both sides scaled to twice the larger scale with 20 bits to spare, then rescaled."""
    left, zero_left, right, zero_right, out, zero_out = _parameters(call)
    twice = 2.0 * np.float64(max(left, right))
    scaled = [FixedPoint.of(call.inputs, np.float64(side) / twice, 0) for side in (left, right)]
    rescale = FixedPoint.of(call.inputs, twice / np.float64(np.float32(1 << 20) * out), 0)

    def side(place: int, index: Sequence[Any], zero_point: int) -> Any:
        value, moved = _value(call, call.operands[place], index)
        centered = value + call.inputs.integer(moved - zero_point)
        return scaled[place].apply(centered << int32(20), index, "TFLITE")

    def lane(index: Sequence[Any]) -> Lane:
        first, second = side(0, index, zero_left), side(1, index, zero_right)
        total = first - second if call.operator == "qnn.subtract" else first + second
        return _finish(call, rescale.apply(total, index, "TFLITE"), zero_out, rescale.shrinks)

    return lane


@element("qnn.mul")
def mul(call: ElementCall) -> LaneFunction:
    """The rule of qnn.mul: the exact integer product, requantized."""
    left, zero_left, right, zero_right, out, zero_out = _parameters(call)
    scale = np.float32(left * right) / out
    arithmetic = (call.text("compute_dtype"), call.text("rounding"))
    block = call.number("tail_block")
    if arithmetic not in (("float32", "TONEAREST"), ("int64", "TFLITE")):
        raise call.unsupported(f"compute_dtype {arithmetic[0]} with rounding {arithmetic[1]}")
    factor = call.inputs.real(float(scale)) if arithmetic[0] == "float32" else None
    fixed = FixedPoint.of(call.inputs, np.float64(scale), 0) if factor is None else None
    blocks = int(np.prod(call.shape)) // block * block if block else 0

    def product(index: Sequence[Any]) -> Any:
        first, moved_first = _value(call, call.operands[0], index)
        second, moved_second = _value(call, call.operands[1], index)
        return (first + call.inputs.integer(moved_first - zero_left)) * (
            second + call.inputs.integer(moved_second - zero_right)
        )

    def in_blocks(value: Any, index: Sequence[Any]) -> Any:
        zero = call.inputs.integer(zero_out)
        narrow = te.max(te.min(value, int32(32767)), int32(-32768)) + zero
        wrapped = narrow.astype("int16").astype("int32")
        return tirx.Select(call.flat_index(index) < int32(blocks), wrapped, value + zero)

    def lane(index: Sequence[Any]) -> Lane:
        if fixed is None:
            return _finish(call, product(index).astype("float32") * factor, zero_out)
        value = fixed.apply(product(index), index, "TFLITE")
        if not blocks:
            return _finish(call, value, zero_out)
        return _finish(call, once(value, lambda known: in_blocks(known, index)), 0)

    return lane
