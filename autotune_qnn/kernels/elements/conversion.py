"""qnn.quantize and qnn.dequantize: the borders between float and integer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from autotune_qnn.kernels.elements.registry import ElementCall, element
from autotune_qnn.kernels.elements.requantize import per_channel, round_half_away
from autotune_qnn.kernels.fixed_point import once, unfused
from autotune_qnn.kernels.lane import Lane, bounds, expression_dtype, int32
from autotune_qnn.kernels.operand import LaneFunction


def _clamped(call: ElementCall, value: Any, zero_point: int) -> Any:
    """A float clamped to where it saturates; NaN becomes the lower bound as in a compare-and-select."""
    low, high = bounds(call.dtype)
    largest, smallest = call.inputs.integer(high - zero_point), call.inputs.integer(low - zero_point)
    dtype = expression_dtype(value)
    return te.max(te.min(value, largest.astype(dtype)), smallest.astype(dtype))


@element("qnn.quantize")
def quantize(call: ElementCall) -> LaneFunction:
    """TONEAREST multiplies by the reciprocal scale and rounds ties to even; AWAY divides and rounds ties away."""
    data, scale, zero = call.operands
    if zero.array.size != 1:
        raise call.unsupported("zero points that differ between channels")
    axis = call.number("axis") % len(call.shape)
    zero_point, block = int(zero.scalar()), call.number("tail_block")
    low, high = bounds(call.dtype)
    count = int(np.prod(call.shape))
    scales = np.asarray(scale.array, np.float32)
    divisor = per_channel(call.inputs, scales, "scale", axis)
    exact = block > 0
    inverse = (1.0 / scales.astype(np.float64)).astype(np.float32) if exact else np.float32(1) / scales
    factor = per_channel(call.inputs, np.asarray(inverse, np.float32), "inverse_scale", axis)
    nearest = call.text("rounding") == "TONEAREST"
    compute = call.text("compute_dtype")

    def away(value: Any, index: Sequence[Any], dtype: str) -> Any:
        quotient = value.astype(dtype) / divisor(index).astype(dtype)
        return round_half_away(_clamped(call, quotient, zero_point)).astype("int32")

    def body(value: Any, index: Sequence[Any]) -> Any:
        if not nearest:
            return away(value, index, compute)
        scaled = _clamped(call, value * factor(index), zero_point)
        return tirx.call_llvm_pure_intrin("int32", "llvm.lrint", scaled)

    def mixed(value: Any, index: Sequence[Any]) -> Any:
        whole = call.flat_index(index) < int32(count // block * block)
        return tirx.Select(whole, body(value, index), away(value, index, "float64"))

    def lane(index: Sequence[Any]) -> Lane:
        value = data.at(index).value
        if not exact and nearest:
            return Lane(value * factor(index), zero_point, low, high)
        if not exact:
            return Lane(away(value, index, compute), zero_point, low, high)
        return Lane(once(value, lambda known: mixed(known, index)), zero_point, low, high)

    return lane


@element("qnn.dequantize")
def dequantize(call: ElementCall) -> LaneFunction:
    """f4(q - z)·f4(s); with a tail block, f4(q)·s + f4(-z·f8(s)) in whole blocks."""
    data, scale, zero = call.operands
    axis = call.number("axis") % len(call.shape)
    scales = np.asarray(scale.array, np.float32)
    zeros = np.asarray(zero.array, np.int32)
    factor = per_channel(call.inputs, scales, "scale", axis)
    offset = per_channel(call.inputs, zeros, "zero_point", axis)
    block, count = call.number("tail_block"), int(np.prod(call.shape))
    shift = np.asarray(-zeros.astype(np.float64) * scales.astype(np.float64), np.float32)
    addend = per_channel(call.inputs, shift, "offset", axis) if block else offset

    def plain(value: Any, index: Sequence[Any]) -> Any:
        return (value - offset(index)).astype("float32") * factor(index)

    def mixed(value: Any, index: Sequence[Any]) -> Any:
        body = unfused(value.astype("float32") * factor(index)) + addend(index)
        whole = call.flat_index(index) < int32(count // block * block)
        return tirx.Select(whole, body, plain(value, index))

    def lane(index: Sequence[Any]) -> Lane:
        value = data.at(index).finished(call.inputs)
        if not block:
            return Lane(plain(value, index), clamped=True)
        return Lane(once(value, lambda known: mixed(known, index)), clamped=True)

    return lane
