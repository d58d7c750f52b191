"""PyTorch's quantized arithmetic in NumPy: what its kernels compute for one element.

Its vectorized loops and the scalar loops behind them differ: the one dequantizes with a fused multiply-add and adds
the zero point after rounding, the other subtracts the zero point first and adds it before rounding. All formulas were
established by running PyTorch 2.13 on one thread and comparing every element.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autotune_qnn.dialect.numeric import Array, f4, f8
from autotune_qnn.quantization import Rounding, saturate, to_integer


def fma(left: Any, right: Any, addend: Any) -> Array:
    """float32 left · right + addend with one rounding, of float32 operands.

    The product of two float32 is exact in float64. The sum is rounded to odd there, which keeps float64's own
    rounding from reaching the second one, to float32.
    """
    product = np.asarray(left, f8) * np.asarray(right, f8)
    addend = np.asarray(addend, f8)
    total = np.asarray(product + addend)
    with np.errstate(invalid="ignore"):  # infinities have no error
        part = total - product
        error = np.asarray((product - (total - part)) + (addend - part))
    even = (total.view(np.int64) & 1) == 0
    inexact = (error != 0) & np.isfinite(error) & even
    total = np.where(inexact, np.nextafter(total, np.copysign(np.inf, error)), total)
    with np.errstate(over="ignore"):
        return np.asarray(total.astype(f4))


def inverse(scale: Any) -> Any:
    """1/scale as most kernels take it: in float32."""
    return f4(1) / f4(scale)


def inverse_double(scale: Any) -> Any:
    """1/scale taken in float64 and rounded once."""
    return f4(1.0 / f8(scale))


def dequantize_vector(values: Array, scale: Any, zero_point: int) -> Array:
    """fma(q, s, s·(−z)): 8-bit values to float32 in the vectorized loops."""
    return fma(values, f4(scale), f4(scale) * f4(-zero_point))


def dequantize_scalar(values: Array, scale: Any, zero_point: int) -> Array:
    """f4(q − z)·s: everywhere else."""
    return np.asarray((values.astype(np.int64) - zero_point).astype(f4) * f4(scale))


def quantize_vector(values: Array, factor: Any, zero_point: int, dtype: str) -> Array:
    """rint(x·factor) + z, saturated: the vectorized loops."""
    with np.errstate(over="ignore"):
        return saturate(to_integer(values * factor, Rounding.TONEAREST) + zero_point, dtype)


def quantize_scalar(values: Any, scale: Any, zero_point: int, dtype: str) -> Array:
    """rint(f4(x·(1/s)) + z), saturated: the scalar loops, and bounds of a clamp."""
    with np.errstate(over="ignore"):
        shifted = np.asarray(values, f4) * inverse(scale) + f4(zero_point)
    return saturate(to_integer(np.asarray(shifted, f4), Rounding.TONEAREST), dtype)


def quantize_fused(values: Array, factor: Any, zero_point: Any, dtype: str) -> Array:
    """rint(fma(x, factor, z)), saturated: quantize_per_tensor, and sums in pooling kernels."""
    return saturate(to_integer(fma(values, factor, zero_point), Rounding.TONEAREST), dtype)
