"""Fixed-point requantization as TensorIR expressions (formulas: gemmlowp's, as TFLite's reference kernels use them)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import te, tirx

from autotune_qnn.kernels.lane import expression_dtype, int32


def once(value: Any, use: Callable[[Any], Any]) -> Any:
    """The expression that `use` makes of a value, in which the value is computed once however often it is used.

    Without it, operators in a chain that read their operand twice would double the code with every link.
    """
    if isinstance(value, tirx.Var | tirx.IntImm | tirx.FloatImm):
        return use(value)
    variable = tirx.Var("once", expression_dtype(value))
    return tirx.Let(variable, value, use(variable))


def doubling_high_multiply(value: Any, multiplier: Any) -> Any:
    """srdhm: (value · multiplier + 2³⁰) >> 31 in 64 bits; both int32, the result int32."""
    product = value.astype("int64") * multiplier.astype("int64") + tirx.const(1 << 30, "int64")
    return (product >> tirx.const(31, "int64")).astype("int32")


def shift_left_saturated(value: Any, shift: Any) -> Any:
    """Left shift of an int32 by an int32, saturated to int32."""
    wide = value.astype("int64") << shift.astype("int64")
    lowest, highest = (tirx.const(bound, "int64") for bound in (-(1 << 31), (1 << 31) - 1))
    return te.max(te.min(wide, highest), lowest).astype("int32")


def shift_half_away(value: Any, shift: Any, half: Any, sign: Any) -> Any:
    """Right shift, ties away from zero.

    `half` is 2^(shift-1), and `sign` is -1 where shift > 0; both are 0 where shift is 0.
    """
    return once(value, lambda known: (known + half + ((known >> int32(31)) & sign)) >> shift)


def shift_half_up(value: Any, shift: Any, half: Any) -> Any:
    """Right shift, ties up. `half` is 2^(shift-1), or 0 where shift is 0."""
    return (value + half) >> shift


def unfused(product: Any) -> Any:
    """A float product that is rounded before anything is added to it.

    TVM lets LLVM contract a multiplication and an addition into one fused operation with one rounding; the
    frameworks' kernels round twice where this is used.
    """
    return tirx.call_llvm_pure_intrin(expression_dtype(product), "llvm.arithmetic.fence", product)
