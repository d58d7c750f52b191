"""qnn.softmax, in the two forms that TFLite has: a float table and gemmlowp's fixed point."""

from __future__ import annotations

from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.libm import expf
from autotune_qnn.dialect.numeric import Array, f4, f8, integer, scalar
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import CallView, TensorView
from autotune_qnn.quantization import (
    INT32_MAX,
    INT32_MIN,
    ComputeDtype,
    IntArray,
    Rounding,
    doubling_high_multiply,
    dtype_range,
    quantize_multiplier,
    saturate,
    shift_right_away,
    to_integer,
)

# Fixed-point formats of the int64 form: differences have 5 integer bits, the sum of exponentials 12.
_DIFFERENCE_BITS = 5
SUM_BITS = 12
# e^(−2^k) as Q31 for k = −2 … 4, by which the exponential of the integer part is assembled.
_EXPONENTIALS = (
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)
_EXP_MINUS_EIGHTH = 1895147668
_ONE_THIRD = 715827883
_48_OVER_17 = 1515870810
_MINUS_32_OVER_17 = -1010580540


def softmax(
    x: Any,
    scale: Any,
    zero_point: Any,
    output_scale: Any,
    output_zero_point: Any,
    *,
    axis: int = -1,
    beta: float = 1.0,
    compute_dtype: str,
) -> Any:
    """Softmax of beta·scale·x along `axis`, in the data's dtype.

    "float32": a 256-entry table of expf, summed in order in float32, p = e·(1/(sum·so)); uint8 trunc(p + ½),
    int8 roundf(p) + zo. "int64": gemmlowp's fixed point, whose output scale is 1/256 and zero point the
    dtype's lowest value.
    """
    operands = [x, scale, zero_point, output_scale, output_zero_point]
    return make_call(
        "qnn.softmax", operands, {"axis": axis, "beta": float(beta), "compute_dtype": compute_dtype}
    )


def _infer_softmax(view: CallView) -> TensorView:
    x = view.data("x")
    if x.rank == 0:
        raise view.error("x", "must have at least one dimension")
    view.axis("axis", x.rank)
    if view.attributes.number("beta") <= 0:
        raise view.error("attribute beta", "must be positive")
    view.quantization("scale", "zero_point", x.dtype)
    view.quantization("output_scale", "output_zero_point", x.dtype)
    compute = view.choice("compute_dtype", (ComputeDtype.FLOAT32.value, ComputeDtype.INT64.value))
    scale, zero_point = view.constant("output_scale"), view.constant("output_zero_point")
    if compute == ComputeDtype.INT64.value and scale is not None and float(scale) != 1 / 256:
        raise view.error("output_scale", f"must be 1/256 for int64, not {float(scale)}")
    if zero_point is not None and int(zero_point) != dtype_range(x.dtype)[0]:
        raise view.error(
            "output_zero_point", f"must be {dtype_range(x.dtype)[0]} for {x.dtype}, not {int(zero_point)}"
        )
    return x


register(
    OperatorSpec(
        "qnn.softmax", ("x", "scale", "zero_point", "output_scale", "output_zero_point"), _infer_softmax
    )
)


@reference("qnn.softmax")
def softmax_reference(
    attrs: Attributes,
    x: Array,
    scale: Array,
    zero_point: Array,
    output_scale: Array,
    output_zero_point: Array,
) -> Array:
    """Softmax as `softmax` states, row by row along the axis."""
    axis, beta = attrs.integer("axis"), attrs.number("beta")
    rows = np.moveaxis(x, axis, -1)
    dtype = str(x.dtype)
    if attrs.string("compute_dtype") == ComputeDtype.FLOAT32.value:
        so, zo = scalar(output_scale), integer(output_zero_point)
        result = _float_softmax(rows, f4(scalar(scale)) * f4(beta), so, zo, dtype)
    else:
        result = _fixed_softmax(rows.astype(np.int64), f8(f4(beta)) * f8(f4(scalar(scale))), dtype)
    return np.ascontiguousarray(np.moveaxis(result, -1, axis))


def exponential_table(factor: Any) -> Array:
    """float32 table t[i] = expf(−factor · (255 − i)), which a score indexes by q + 255 − (highest q of its
    row).
    """
    return expf((-f4(factor) * np.arange(255, -1, -1).astype(f4)).astype(f4))


def _float_softmax(rows: Array, factor: Any, output_scale: Any, output_zero_point: int, dtype: str) -> Array:
    values = rows.astype(np.int64)
    terms = exponential_table(factor)[values + 255 - values.max(axis=-1, keepdims=True)]
    total = np.add.accumulate(terms, axis=-1, dtype=f4)[..., -1:]  # in order, as the framework adds
    shares = terms * (f4(1) / (total * f4(output_scale)))
    if dtype == "uint8":
        return saturate(np.trunc(shares + f4(0.5)), dtype)
    return saturate(to_integer(shares, Rounding.AWAY) + output_zero_point, dtype)


def fixed_exponential_table(factor: Any) -> IntArray:
    """Q31 exponentials of factor · (i − 255) for i = 0 … 255, as `exponential_table` is indexed.

    Zero below the range of gemmlowp's differences, where an element counts for nothing.
    """
    scaled = min(float(factor) * (1 << (31 - _DIFFERENCE_BITS)), float(INT32_MAX))
    multiplier, exponent = (int(value) for value in quantize_multiplier(scaled))
    lowest = -int(np.floor(((1 << _DIFFERENCE_BITS) - 1) * (1 << (31 - _DIFFERENCE_BITS)) / 2.0**exponent))
    difference = np.arange(-255, 1)
    counted = difference >= lowest
    shifted = np.where(counted, difference, 0) << max(exponent, 0)
    terms = exp_of_negative(doubling_high_multiply(shifted, multiplier), _DIFFERENCE_BITS)
    return np.where(counted, terms, 0)


def _fixed_softmax(rows: IntArray, factor: Any, dtype: str) -> Array:
    low, _ = dtype_range(dtype)
    terms = fixed_exponential_table(factor)[rows + 255 - rows.max(axis=-1, keepdims=True)]
    total = shift_right_away(terms, SUM_BITS).sum(axis=-1, keepdims=True)
    headroom = 32 - np.frexp(total.astype(f8))[1].astype(np.int64)  # leading zeros of the 32-bit sum
    inverse = one_over_one_plus((total << headroom) - (1 << 31))
    bits_over_unit = SUM_BITS - headroom
    shares = shift_right_away(doubling_high_multiply(inverse, terms), bits_over_unit + 31 - 8) + low
    return saturate(shares, dtype)


def _multiply_by_power(values: IntArray, exponent: int) -> IntArray:
    """values · 2^exponent: rounded half away below zero, saturated to int32 above."""
    if exponent < 0:
        return shift_right_away(values, -exponent)
    return np.clip(values << exponent, INT32_MIN, INT32_MAX)


def _exp_of_small(values: IntArray) -> IntArray:
    """exp of Q31 values in [−1/4, 0): the fourth-order Taylor series around −1/8."""
    x = values + (1 << 28)
    x2 = doubling_high_multiply(x, x)
    x3 = doubling_high_multiply(x2, x)
    x4 = doubling_high_multiply(x2, x2)
    quartic = _multiply_by_power(x4, -2)
    tail = _multiply_by_power(doubling_high_multiply(quartic + x3, np.int64(_ONE_THIRD)) + x2, -1)
    constant = np.int64(_EXP_MINUS_EIGHTH)
    return np.asarray(constant + doubling_high_multiply(constant, x + tail), np.int64)


def exp_of_negative(values: IntArray, integer_bits: int) -> IntArray:
    """Q31 exp of values ≤ 0 that have `integer_bits` bits before the point, by gemmlowp's method."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    modulo = (values & (quarter - 1)) - quarter
    result = _exp_of_small(_multiply_by_power(modulo, integer_bits))
    remainder = modulo - values
    for exponent, factor in _EXPONENTIALS:
        if integer_bits > exponent:
            present = (remainder & (1 << (fraction_bits + exponent))) != 0
            result = np.where(present, doubling_high_multiply(result, np.int64(factor)), result)
    if integer_bits > 5:
        result = np.where(values < -(1 << (36 - integer_bits)), 0, result)
    return np.asarray(np.where(values == 0, INT32_MAX, result), np.int64)


def one_over_one_plus(values: IntArray) -> IntArray:
    """Q31 1/(1 + x) of Q31 x in [0, 1), by three Newton-Raphson steps."""
    total = values + INT32_MAX
    sign = np.where(total >= 0, 1, -1)
    half = np.trunc((total + sign) / 2).astype(np.int64)
    x = _48_OVER_17 + doubling_high_multiply(half, np.int64(_MINUS_32_OVER_17))
    for _ in range(3):
        product = doubling_high_multiply(half, x)
        x = x + _multiply_by_power(doubling_high_multiply(x, (1 << 29) - product), 2)
    return _multiply_by_power(x, 1)
