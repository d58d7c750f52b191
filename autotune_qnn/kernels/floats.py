"""Float arithmetic with stated roundings, as TensorIR expressions (see also `fixed_point.unfused`)."""

from __future__ import annotations

from typing import Any

from tvm import tirx

from autotune_qnn.kernels.lane import expression_dtype


def fma(left: Any, right: Any, addend: Any) -> Any:
    """left · right + addend with one rounding: one instruction where the CPU has it, the C library's function
    elsewhere.
    """
    return tirx.call_llvm_pure_intrin(expression_dtype(addend), "llvm.fma", left, right, addend)


def real(value: float) -> Any:
    """A float32 literal."""
    return tirx.const(value, "float32")
