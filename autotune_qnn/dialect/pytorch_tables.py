"""Tables of PyTorch's unary quantized operators: one of the vectorized loop, one of the scalar loop behind it.

PyTorch takes elements in blocks of 64 (two vectors of 32), in the order of memory; what is left over goes through
scalar code with other roundings. Each is a function of one 8-bit value, so that two tables hold everything.

- The vectorized loop dequantizes as fma(q, s, s·(−z)) (sigmoid as the scalar loop) and quantizes as
  rint(y·inverse) + z; the scalar one dequantizes as f4(q − z)·s and quantizes as rint(f4(y·(1/f4(so))) + z). The
  inverse is f4(1/so taken in float64) but for leaky_relu, which takes 1/f4(so).
- hardswish x·min(max(x + 3, 0), 6)/6; hardsigmoid min(max(x + 3, 0), 6)/6; leaky_relu x above zero, x·f4(alpha)
  below; tanh; sigmoid 1/(1 + exp(−x)), the vectorized one with SLEEF's expf, the scalar one divided in float64.
- QNNPACK fills one table: rint(y·(1/f4(so)) + z) in float32 for every element.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autotune_qnn.dialect import libm, pytorch
from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.engine import Engine, by_place
from autotune_qnn.dialect.numeric import Array, f4, f8
from autotune_qnn.quantization import dtype_range

Function = Callable[[Array], Array]
Tables = tuple[Array, Array]


# e^r for |r| ≤ ln 2 / 2 as SLEEF's single-precision exp (1.0 ulp) approximates it, highest power first, from r² on.
_POLYNOMIAL = (
    0.000198527617612853646278381,
    0.00139304355252534151077271,
    0.00833336077630519866943359,
    0.0416664853692054748535156,
    0.166666671633720397949219,
    0.5,
)
# ln 2 as a sum of two float32, the first of few bits.
_LN2_HIGH, _LN2_LOW = 0.693145751953125, 1.428606765330187045e-06
_LARGEST_EXPONENT = 104.0


def sleef_expf(x: Array) -> Array:
    """float32 e^x as SLEEF's vectorized function computes it with fused multiply-adds."""
    bounded = np.clip(x, f4(-_LARGEST_EXPONENT), f4(_LARGEST_EXPONENT))
    power = np.rint(bounded * f4(1 / np.log(2.0)))
    rest = pytorch.fma(power, f4(-_LN2_LOW), pytorch.fma(power, f4(-_LN2_HIGH), bounded))
    series = np.full_like(rest, _POLYNOMIAL[0])
    for coefficient in _POLYNOMIAL[1:]:
        series = pytorch.fma(series, rest, f4(coefficient))
    value = f4(1) + pytorch.fma(rest * rest, series, rest)
    with np.errstate(over="ignore"):
        return np.asarray(np.ldexp(value, power.astype(np.int32)), f4)


def _sigmoid(x: Array) -> Array:
    return np.asarray(f4(1) / (f4(1) + sleef_expf(-x)))


def _sigmoid_scalar(x: Array) -> Array:
    return np.asarray((1.0 / (1.0 + libm.expf(-x).astype(f8))).astype(f4))


def _sigmoid_qnnpack(x: Array) -> Array:
    return np.asarray(f4(1) / (f4(1) + libm.expf(-x)))


def _tanh(x: Array) -> Array:
    return np.tanh(x.astype(f8)).astype(f4)


def _hardswish(x: Array) -> Array:
    return np.asarray(x * np.clip(x + f4(3), f4(0), f4(6)) / f4(6))


def _hardsigmoid(x: Array) -> Array:
    return np.asarray(np.clip(x + f4(3), f4(0), f4(6)) / f4(6))


# The functions of the vectorized and of the scalar loop.
_FUNCTIONS: dict[str, tuple[Function, Function]] = {
    "qnn.sigmoid": (_sigmoid, _sigmoid_scalar),
    "qnn.tanh": (_tanh, libm.tanhf),
    "qnn.hardswish": (_hardswish, _hardswish),
    "qnn.hardsigmoid": (_hardsigmoid, _hardsigmoid),
}

# QNNPACK's functions where they are not the vectorized loop's.
_QNNPACK: dict[str, Function] = {"qnn.sigmoid": _sigmoid_qnnpack, "qnn.tanh": libm.tanhf}


def _inputs(dtype: str) -> Array:
    low, high = dtype_range(dtype)
    return np.arange(low, high + 1)


def unary_tables(name: str, engine: Engine, si: Any, zi: int, so: Any, zo: int, dtype: str) -> Tables:
    """Results for each value of `dtype`, lowest first, in whole blocks and behind them; scales are float64."""
    values = _inputs(dtype)
    vector, scalar = _FUNCTIONS[name]
    if engine is Engine.QNNPACK:
        table = pytorch.quantize_scalar(
            _QNNPACK.get(name, vector)(pytorch.dequantize_scalar(values, si, zi)), so, zo, dtype
        )
        return table, table
    dequantize = pytorch.dequantize_scalar if name == "qnn.sigmoid" else pytorch.dequantize_vector
    body = vector(dequantize(values, si, zi))
    tail = scalar(pytorch.dequantize_scalar(values, si, zi))
    return (
        pytorch.quantize_vector(body, pytorch.inverse_double(so), zo, dtype),
        pytorch.quantize_scalar(tail, so, zo, dtype),
    )


def leaky_tables(alpha: float, si: Any, zi: int, so: Any, zo: int, dtype: str) -> Tables:
    """As `unary_tables`, of leaky_relu."""
    values = _inputs(dtype)
    body, tail = pytorch.dequantize_vector(values, si, zi), pytorch.dequantize_scalar(values, si, zi)
    body, tail = (np.where(x > 0, x, x * f4(alpha)) for x in (body, tail))
    return (
        pytorch.quantize_vector(body, pytorch.inverse(so), zo, dtype),
        pytorch.quantize_scalar(tail, so, zo, dtype),
    )


def looked_up(x: Array, body: Array, tail: Array, attrs: Attributes) -> Array:
    """Each element's entry of `body`, or of `tail` behind the last whole block."""
    places = x.astype(np.int64) - dtype_range(str(x.dtype))[0]
    return by_place(x.shape, attrs, lambda place: body[place], lambda place: tail[place], places)
