"""Fixed-point and rounding arithmetic in NumPy: what quantized frameworks compute between an accumulator and
a stored integer.

Every function works on int64 arrays that hold int32 values (so that no product overflows) and states its
rounding. The formulas were established by running the frameworks' own kernels and comparing every element.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating[Any]]

INT32_MIN = -(1 << 31)
INT32_MAX = (1 << 31) - 1
# Beyond this a float is far outside every stored integer type but 32-bit ones, and still exact as float32 and
# int64.
_FLOAT_LIMIT = float(1 << 40)


class Arithmetic(StrEnum):
    """Whose kernels an imported model follows: one of TFLite's three interpreters, one of PyTorch's quantized engines,
    or, for exported programs, their own float operators or what Inductor compiles them to.
    """

    XNNPACK = "xnnpack"
    REFERENCE = "reference"
    BUILTIN = "builtin"
    X86 = "x86"
    FBGEMM = "fbgemm"
    ONEDNN = "onednn"
    QNNPACK = "qnnpack"
    EXPORTED = "exported"
    INDUCTOR = "inductor"


class Rounding(StrEnum):
    """How a value between two integers becomes one of them."""

    TONEAREST = "TONEAREST"
    """To the nearest, ties to even (the CPU's own conversion)."""
    AWAY = "AWAY"
    """To the nearest, ties away from zero (C's round)."""
    UPWARD = "UPWARD"
    """To the nearest, ties toward positive infinity (add half, shift)."""
    TFLITE = "TFLITE"
    """Doubling high multiply with ties up, then a right shift with ties away from zero: two roundings."""
    RUY = "RUY"
    """Doubling high multiply with ties up, then a right shift with ties up: two roundings."""


class ComputeDtype(StrEnum):
    """The type in which an operator's arithmetic is carried out; with the rounding it names one formula."""

    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"


def dtype_range(dtype: str) -> tuple[int, int]:
    """Lowest and highest value of an integer dtype such as ``"int8"``."""
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def saturate(values: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """Clip to the range of the integer `dtype` and convert to it."""
    low, high = dtype_range(dtype)
    return np.clip(values, low, high).astype(dtype)


def quantize_multiplier(factor: npt.ArrayLike) -> tuple[IntArray, IntArray]:
    """Q31 multiplier and exponent of non-negative float64 factors: factor ≈ multiplier · 2^(exponent − 31).

    The mantissa is rounded half away from zero; one that rounds to 2³¹ is halved and its exponent raised;
    factors below 2⁻³² become zero. Shapes are those of `factor`.
    """
    mantissa, exponent = np.frexp(np.asarray(factor, np.float64))
    multiplier = np.floor(mantissa * 2.0**31 + 0.5).astype(np.int64)
    exponent = exponent.astype(np.int64)
    overflow = multiplier == 1 << 31
    exponent = np.where(overflow, exponent + 1, exponent)
    multiplier = np.where(overflow, 1 << 30, multiplier)
    vanishes = exponent < -31
    return np.where(vanishes, 0, multiplier), np.where(vanishes, 0, exponent)


def doubling_high_multiply(left: npt.ArrayLike, right: npt.ArrayLike) -> IntArray:
    """(left · right + 2³⁰) >> 31 of int32 values: high half of the doubled product, ties up, saturated."""
    product = np.asarray(left, np.int64) * np.asarray(right, np.int64)
    return np.minimum((product + (1 << 30)) >> 31, INT32_MAX)


def shift_right_away(values: npt.ArrayLike, bits: npt.ArrayLike) -> IntArray:
    """values / 2^bits, to the nearest, ties away from zero; `bits` ≥ 0 broadcasts."""
    array = np.asarray(values, np.int64)
    amount = np.asarray(bits, np.int64)
    mask = (np.int64(1) << amount) - 1
    threshold = (mask >> 1) + (array < 0)
    return np.asarray((array >> amount) + ((array & mask) > threshold), np.int64)


def shift_right_up(values: npt.ArrayLike, bits: npt.ArrayLike) -> IntArray:
    """values / 2^bits, to the nearest, ties toward positive infinity; `bits` ≥ 0 broadcasts."""
    array = np.asarray(values, np.int64)
    amount = np.asarray(bits, np.int64)
    half = (np.int64(1) << amount) >> 1
    return np.asarray((array + half) >> amount, np.int64)


def multiply_by_quantized_multiplier(
    values: npt.ArrayLike, multiplier: npt.ArrayLike, exponent: npt.ArrayLike, rounding: Rounding
) -> IntArray:
    """values · multiplier · 2^(exponent − 31) by `Rounding.TFLITE` or `Rounding.RUY`; all operands broadcast.

    A positive exponent shifts the value first, saturated to int32. Raises ValueError for another rounding.
    """
    if rounding not in (Rounding.TFLITE, Rounding.RUY):
        raise ValueError(f"no fixed-point multiplication rounds {rounding.value}; expected TFLITE or RUY")
    array = np.asarray(values, np.int64)
    power = np.asarray(exponent, np.int64)
    if np.any(power > 0):
        array = np.clip(array << np.clip(power, 0, 31), INT32_MIN, INT32_MAX)
    high = doubling_high_multiply(array, multiplier)
    right = np.maximum(-power, 0)
    return shift_right_away(high, right) if rounding is Rounding.TFLITE else shift_right_up(high, right)


def rescale(values: npt.ArrayLike, factor: npt.ArrayLike, rounding: Rounding) -> IntArray:
    """`multiply_by_quantized_multiplier` with the multiplier and exponent of the float64 `factor`."""
    multiplier, exponent = quantize_multiplier(factor)
    return multiply_by_quantized_multiplier(values, multiplier, exponent, rounding)


def round_away(values: FloatArray) -> FloatArray:
    """C's round in the array's own float type: ties away from zero, exact for every magnitude."""
    with np.errstate(invalid="ignore"):  # an infinity is its own whole and no tie
        whole = np.trunc(values)
        tie = np.abs(values - whole) >= 0.5
    return np.asarray(whole + np.where(tie, np.copysign(1, values), 0).astype(values.dtype), values.dtype)


def to_integer(values: FloatArray, rounding: Rounding) -> IntArray:
    """Round floats by TONEAREST or AWAY and convert to int64, infinities to ±2⁴⁰ and NaN to zero.

    Raises ValueError for another rounding.
    """
    if rounding is Rounding.TONEAREST:
        rounded = np.rint(np.clip(values, -_FLOAT_LIMIT, _FLOAT_LIMIT))
    elif rounding is Rounding.AWAY:
        rounded = round_away(np.clip(values, -_FLOAT_LIMIT, _FLOAT_LIMIT))
    else:
        raise ValueError(f"no conversion from float rounds {rounding.value}; expected TONEAREST or AWAY")
    missing = np.isnan(rounded)
    return np.asarray(np.where(missing, 0, rounded) if missing.any() else rounded).astype(np.int64)


def divide_away(numerators: npt.ArrayLike, denominators: npt.ArrayLike) -> IntArray:
    """Integer quotient to the nearest, ties away from zero; denominators are positive and broadcast."""
    top = np.asarray(numerators, np.int64)
    bottom = np.asarray(denominators, np.int64)
    magnitude = (np.abs(top) + bottom // 2) // bottom
    return np.asarray(np.where(top < 0, -magnitude, magnitude), np.int64)


def float32_exponent(value: float | np.float32) -> int:
    """Binary exponent of a positive float32: the e with 2^e ≤ value < 2^(e+1)."""
    return int(np.frexp(np.float32(value))[1]) - 1
