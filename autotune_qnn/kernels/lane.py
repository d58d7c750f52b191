"""One element of an integer tensor while a kernel computes it: its value, and the clamp it still owes.

A clamp that follows a requantize can be merged with the saturation to the output's dtype: both bounds are integers,
so clamping before or after rounding gives the same result. `Lane` keeps the value unclamped until it is stored or
used, which turns requantize → clip into one pair of min and max.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tvm import te, tirx

from autotune_qnn.kernels.inputs import KernelInputs


def int32(value: int) -> Any:
    """An int32 literal."""
    return tirx.const(value, "int32")


def expression_dtype(expression: Any) -> str:
    """The dtype of a TensorIR expression."""
    return str(expression.ty.dtype)


def bounds(dtype: str) -> tuple[int, int]:
    """Lowest and highest value of an integer dtype."""
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


@dataclass(frozen=True, slots=True)
class Lane:
    """A value, not yet clamped to [low, high] nor moved by its zero point.

    Attributes:
        value: int32, or float32 where it still has to be rounded (to nearest, ties to even).
        zero_point: added after rounding and clamping.
        low, high: bounds of the result, zero point included.
        clamped: whether `value` + `zero_point` is known to lie within the bounds.
        small: whether the unclamped value is known to be within ±2³⁰, so that it can be rounded to int32 and
            moved by a zero point before it is clamped.
        complete: whether `value` has its zero point in it, so that `zero_point` is no parameter of the layer.
    """

    value: Any
    zero_point: int = 0
    low: int = -(1 << 31)
    high: int = (1 << 31) - 1
    clamped: bool = False
    small: bool = False
    complete: bool = False

    @classmethod
    def of(cls, value: Any, dtype: str, offset: int = 0) -> Lane:
        """A lane whose int32 `value` minus its storage offset is known to be within a dtype's range."""
        low, high = bounds(dtype)
        return cls(value, -offset, low, high, True)

    def clip(self, low: int, high: int) -> Lane:
        """The lane with narrower bounds."""
        narrower = low > self.low or high < self.high
        return replace(
            self,
            low=min(max(self.low, low), high),
            high=max(min(self.high, high), low),
            clamped=self.clamped and not narrower,
        )

    def settled(self, inputs: KernelInputs) -> tuple[Any, int]:
        """An int32 expression and an integer whose sum is the finished value: rounded and clamped."""
        value = self._clamped(inputs)
        if expression_dtype(value) == "float32":
            value = tirx.call_llvm_pure_intrin("int32", "llvm.lrint", value)
        return value, self.zero_point

    def _clamped(self, inputs: KernelInputs) -> Any:
        """The value within the bounds, without the zero point."""
        if self.clamped:
            return self.value
        literal = inputs.real if expression_dtype(self.value) == "float32" else inputs.integer
        low, high = literal(self.low - self.zero_point), literal(self.high - self.zero_point)
        return te.max(te.min(self.value, high), low)

    def finished(self, inputs: KernelInputs) -> Any:
        """The finished value as one int32 expression."""
        return self.stored(inputs, 0)

    def stored(self, inputs: KernelInputs, offset: int) -> Any:
        """The int32 expression to store: the finished value plus the offset of its storage."""
        value, moved = self.settled(inputs)
        moved += offset
        return self._plus(inputs, value, moved, self.clamped or self.complete or moved == 0)

    def real(self, inputs: KernelInputs) -> Any:
        """The finished value as a float32 expression, exact for 8-bit bounds."""
        if expression_dtype(self.value) != "float32":
            return self.finished(inputs).astype("float32")
        value = tirx.call_llvm_pure_intrin("float32", "llvm.rint", self._clamped(inputs))
        return value if self.complete else value + inputs.real(self.zero_point)

    def stored_byte(self, inputs: KernelInputs, dtype: str, offset: int) -> Any:
        """The expression to store in an 8-bit dtype.

        Where the bounds are the dtype's own, the clamp is written as LLVM's pattern of a saturating conversion,
        one instruction for a vector.
        """
        if self.clamped or not self._saturates(dtype, offset):
            return self.stored(inputs, offset).astype(dtype)
        flip = 128 if dtype == "uint8" else 0
        moved = self._moved(inputs, offset, -flip)
        narrow = te.max(te.min(moved, int32(127)), int32(-128)).astype("int8")
        return narrow.astype("uint8") ^ tirx.const(flip, "uint8") if flip else narrow

    def stored_wide(self, inputs: KernelInputs, dtype: str, offset: int) -> Any:
        """An int32 expression that gives what `stored_byte` stores, once saturated to the dtype."""
        if self.clamped or not self._saturates(dtype, offset):
            return self.stored(inputs, offset)
        return self._moved(inputs, offset, 0)

    def _saturates(self, dtype: str, offset: int) -> bool:
        """Whether saturation to the dtype does the clamp that is owed."""
        return self.small and (self.low + offset, self.high + offset) == bounds(dtype)

    def _moved(self, inputs: KernelInputs, offset: int, further: int) -> Any:
        """The rounded value, not clamped, plus zero point, offset and a number that is the same in every layer.

        Layers whose zero point and offset cancel, as those behind a relu do, have kernels of their own without them.
        """
        value = self.value
        if expression_dtype(value) == "float32":
            value = tirx.call_llvm_pure_intrin("int32", "llvm.lrint", value)
        moved = self.zero_point + offset
        return self._plus(inputs, value, moved + further, self.complete or moved == 0)

    @staticmethod
    def _plus(inputs: KernelInputs, value: Any, moved: int, literal: bool) -> Any:
        """An int32 value plus a number: a literal where it is the same in every layer, otherwise a parameter."""
        if not literal:
            return value + inputs.integer(moved)
        return value if moved == 0 else value + int32(moved)
