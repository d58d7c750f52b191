"""PyTorch's elementwise operators (formulas: `dialect.pytorch`), and QNNPACK's addition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autotune_qnn.dialect import pytorch
from autotune_qnn.dialect.batch_norm import folded
from autotune_qnn.dialect.binary import qnnpack_multipliers
from autotune_qnn.kernels.elements.registry import ElementCall, element
from autotune_qnn.kernels.elements.requantize import per_channel
from autotune_qnn.kernels.fixed_point import once, shift_half_away, unfused
from autotune_qnn.kernels.floats import fma
from autotune_qnn.kernels.lane import Lane, bounds, int32
from autotune_qnn.kernels.operand import LaneFunction, Operand

_WIDEST_SHIFT = 30
# Two 8-bit values at this many times the output's scale are far within int32.
LARGEST_RATIO = float(1 << 20)


class Dequantized:
    """An 8-bit operand as float32: in the vectorized loops' rounding, and in the scalar ones'."""

    def __init__(self, call: Any, data: Operand, scale: Operand, zero_point: Operand) -> None:
        """`call` is an ElementCall or an AnchorCall."""
        self._data, self._inputs = data, call.inputs
        self.scale = np.float32(scale.scalar())
        self.zero_point = int(zero_point.scalar())
        self._factor = self._inputs.real(float(self.scale))
        self._addend = self._inputs.real(float(self.scale * np.float32(-self.zero_point)))

    def integer(self, index: Sequence[Any]) -> Any:
        """The stored value, int32."""
        return self._data.at(index).finished(self._inputs)

    def real(self, index: Sequence[Any]) -> Any:
        """The stored value, float32."""
        return self._data.at(index).real(self._inputs)

    def centred(self, value: Any) -> Any:
        """q − z of a stored value, int32."""
        return value - self._inputs.integer(self.zero_point)

    def vector(self, value: Any) -> Any:
        """fma(q, s, s·(−z)) of a stored value, int32 or float32."""
        return fma(value.astype("float32"), self._factor, self._addend)

    def scalar(self, value: Any) -> Any:
        """f4(q − z)·s of a stored value, rounded."""
        return unfused(self.centred(value).astype("float32") * self._factor)


class Quantization:
    """A kernel's output scale and zero point, and lanes of float values in either rounding."""

    def __init__(self, call: Any, scale: Operand, zero_point: Operand) -> None:
        """`call` is an ElementCall or an AnchorCall."""
        self.zero_point = int(zero_point.scalar())
        self._bounds = bounds(call.dtype)
        self._inputs = call.inputs
        self._real_zero = call.inputs.real(self.zero_point)
        self.inverse = call.inputs.real(float(pytorch.inverse(scale.scalar())))

    def rounded(self, value: Any, small: bool = False) -> Lane:
        """A value in steps, to which the zero point is added after rounding."""
        return Lane(value, self.zero_point, *self._bounds, small=small)

    def shifted(self, value: Any, small: bool = False) -> Lane:
        """A value in steps, to which the zero point is added before rounding."""
        return self.complete(unfused(value) + self._real_zero, small)

    def fused(self, value: Any, factor: Any, small: bool = False) -> Lane:
        """value · factor + zero point with one rounding before that to an integer."""
        return self.complete(fma(value, factor, self._real_zero), small)

    def complete(self, value: Any, small: bool) -> Lane:
        """A value with the zero point in it."""
        return Lane(value, 0, *self._bounds, small=small, complete=True)


@element("qnn.add", engines=("pytorch",))
def add(call: ElementCall) -> LaneFunction:
    """The sum of both sides, dequantized and quantized as vectors or one by one."""
    left = Dequantized(call, call.operands[0], *call.operands[2:4])
    right = Dequantized(call, call.operands[1], *call.operands[4:6])
    output = Quantization(call, *call.operands[6:8])
    ratio = max(left.scale, right.scale) / np.float32(call.operands[6].scalar())
    small = bool(ratio < LARGEST_RATIO)
    places = call.places(operands=2)

    def body(first: Any, second: Any) -> Lane:
        return output.rounded((left.vector(first) + right.vector(second)) * output.inverse, small)

    def tail(first: Any, second: Any) -> Lane:
        return output.shifted((left.scalar(first) + right.scalar(second)) * output.inverse, small)

    def mixed(index: Sequence[Any], first: Any, second: Any) -> Any:
        return places.choose(
            index,
            lambda: body(first, second).finished(call.inputs),
            lambda: tail(first, second).finished(call.inputs),
        )

    def lane(index: Sequence[Any]) -> Lane:
        if places.boundary == places.count:
            return body(left.real(index), right.real(index))
        first, second = left.integer(index), right.integer(index)
        chosen = once(first, lambda a: once(second, lambda b: mixed(index, a, b)))
        return Lane.of(chosen, call.dtype)

    return lane


@element("qnn.add", engines=("qnnpack",))
def add_qnnpack(call: ElementCall) -> LaneFunction:
    """(ma·(a − za) + mb·(b − zb)) >> shift, half away from zero."""
    left = Dequantized(call, call.operands[0], *call.operands[2:4])
    right = Dequantized(call, call.operands[1], *call.operands[4:6])
    ma, mb, shift = qnnpack_multipliers(left.scale, right.scale, call.operands[6].scalar())
    if shift > _WIDEST_SHIFT:
        raise call.unsupported(f"scales whose ratio needs a shift of {shift}")
    factors = call.inputs.integer(ma), call.inputs.integer(mb)
    bits, half = call.inputs.integer(shift), call.inputs.integer(1 << (shift - 1))
    zero_point = int(call.operands[7].scalar())

    def lane(index: Sequence[Any]) -> Lane:
        first, second = (left.centred(left.integer(index)), right.centred(right.integer(index)))
        total = first * factors[0] + second * factors[1]
        value = shift_half_away(total, bits, half, int32(-1))
        return Lane(value, zero_point, *bounds(call.dtype), small=True)

    return lane


@element("qnn.mul", engines=("pytorch",))
def mul(call: ElementCall) -> LaneFunction:
    """The exact integer product, requantized."""
    left = Dequantized(call, call.operands[0], *call.operands[2:4])
    right = Dequantized(call, call.operands[1], *call.operands[4:6])
    output = Quantization(call, *call.operands[6:8])
    scale = left.scale * right.scale * pytorch.inverse(call.operands[6].scalar())
    factor = call.inputs.real(float(scale))
    small = bool(scale < 1)

    def lane(index: Sequence[Any]) -> Lane:
        product = left.centred(left.integer(index)) * right.centred(right.integer(index))
        return output.rounded(product.astype("float32") * factor, small)

    return lane


@element("qnn.quantize", engines=("pytorch",))
def quantize(call: ElementCall) -> LaneFunction:
    """quantize_per_tensor and quantize_per_channel: rint(fma(x, 1/s, z))."""
    data, scale, zero = call.operands
    axis = call.number("axis") % len(call.shape)
    inverse = np.float32(1) / np.asarray(scale.array, np.float32)
    factor = per_channel(call.inputs, np.asarray(inverse, np.float32), "inverse_scale", axis)
    offset = per_channel(call.inputs, np.asarray(zero.array, np.float32), "zero_point", axis)
    low, high = bounds(call.dtype)
    return lambda index: Lane(fma(data.at(index).value, factor(index), offset(index)), 0, low, high)


@element("qnn.quantize", engines=("decomposed",))
def quantize_decomposed(call: ElementCall) -> LaneFunction:
    """quantized_decomposed's: rint(x·f4(1/s)) + z."""
    data, scale, zero = call.operands
    if zero.array.size != 1:
        raise call.unsupported("zero points that differ between channels")
    axis = call.number("axis") % len(call.shape)
    inverse = (1.0 / np.asarray(scale.array, np.float64)).astype(np.float32)
    factor = per_channel(call.inputs, np.asarray(inverse, np.float32), "inverse_scale", axis)
    low, high = bounds(call.dtype)
    return lambda index: Lane(data.at(index).value * factor(index), int(zero.scalar()), low, high)


@element("qnn.batch_norm", engines=("pytorch",))
def batch_norm(call: ElementCall) -> LaneFunction:
    """rint(fma(alpha, q − zi, beta)) + zo with a factor and an addend for each channel."""
    data, gamma, beta, mean, variance, si, zi, so, zo = call.operands
    epsilon = call.real("epsilon")
    parameters = (gamma.array, beta.array, mean.array, variance.array)
    factors, addends = folded(*parameters, epsilon, si.scalar(), so.scalar())
    axis = len(call.shape) - 1
    factor = per_channel(call.inputs, factors, "factor", axis)
    addend = per_channel(call.inputs, addends, "addend", axis)
    zero_point = call.inputs.integer(int(zi.scalar()))
    low, high = bounds(call.dtype)

    def lane(index: Sequence[Any]) -> Lane:
        centred = (data.at(index).finished(call.inputs) - zero_point).astype("float32")
        return Lane(fma(centred, factor(index), addend(index)), int(zo.scalar()), low, high)

    return lane
