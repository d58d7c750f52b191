"""Constants of Relax modules as NumPy arrays, and arrays as constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax


def constant(value: npt.ArrayLike, dtype: str | None = None) -> Any:
    """A Relax constant in `dtype`, or else the array's own (relax.const makes float64 float32)."""
    array = np.array(value, dtype=dtype, order="C")
    return relax.const(array, str(array.dtype))


def is_constant(expression: Any) -> bool:
    """Whether an expression is a tensor constant."""
    return isinstance(expression, tvm.ir.GenericConst) and hasattr(expression.value, "numpy")


def constant_value(expression: Any) -> npt.NDArray[Any] | None:
    """The array of a tensor constant; None for any other expression."""
    return np.asarray(expression.value.numpy()) if is_constant(expression) else None
