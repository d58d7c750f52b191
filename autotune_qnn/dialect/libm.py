"""float32 functions of the C library, with which TFLite and XNNPACK fill their tables.

NumPy's own float32 `exp` and `tanh` are vectorized approximations that differ from the C library's in the
last bit.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]


@cache
def _library() -> Any | None:
    try:
        return ctypes.CDLL("libm.so.6")
    except OSError:
        return None


@cache
def _function(name: str) -> Callable[[float], float]:
    library = _library()
    if library is None:  # another C library: Python's own, in float64, rounded to float32 once
        return _quiet(getattr(math, name.removesuffix("f")))
    function = getattr(library, name)
    function.restype = ctypes.c_float
    function.argtypes = [ctypes.c_float]
    return function


def _quiet(function: Callable[[float], float]) -> Callable[[float], float]:
    def call(value: float) -> float:
        try:
            return function(value)
        except OverflowError:
            return math.inf
        except ValueError:
            return -math.inf if value == 0 else math.nan

    return call


def apply(name: str, values: Float32Array) -> Float32Array:
    """A C function of one float such as ``"expf"`` on every element; meant for tables (each distinct value
    once).
    """
    function = _function(name)
    distinct, places = np.unique(values, return_inverse=True)
    results = np.array([function(float(value)) for value in distinct], np.float32)
    return np.asarray(results[places].reshape(values.shape), np.float32)


def expf(values: Float32Array) -> Float32Array:
    """e to the power of float32 values."""
    return apply("expf", values)


def tanhf(values: Float32Array) -> Float32Array:
    """Hyperbolic tangent of float32 values."""
    return apply("tanhf", values)


def erff(values: Float32Array) -> Float32Array:
    """Error function of float32 values."""
    return apply("erff", values)


def logf(values: Float32Array) -> Float32Array:
    """Natural logarithm of float32 values: −inf at zero, NaN below."""
    return apply("logf", values)
