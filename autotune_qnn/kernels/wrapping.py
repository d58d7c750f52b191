"""Integer sums, differences and products modulo a power of two.

TVM tells LLVM that int32 arithmetic never overflows, and rearranges it. Where a kernel counts on values that wrap
around, it uses these: calls that nothing looks into, which `transforms/wrapping.py` completes.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx

OPERATIONS = ("llvm.vp.add", "llvm.vp.sub", "llvm.vp.mul")
"""LLVM's operations on some of a vector's elements, which know no overflow."""


def plus(a: Any, b: Any) -> Any:
    """a + b, two expressions of one integer dtype."""
    return _call(OPERATIONS[0], a, b)


def minus(a: Any, b: Any) -> Any:
    """a - b."""
    return _call(OPERATIONS[1], a, b)


def times(a: Any, b: Any) -> Any:
    """a * b."""
    return _call(OPERATIONS[2], a, b)


def _call(name: str, a: Any, b: Any) -> Any:
    return tirx.call_llvm_pure_intrin(str(a.ty.dtype), name, a, b)
