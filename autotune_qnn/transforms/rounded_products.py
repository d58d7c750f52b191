"""Legalization of float products: rounded before anything is added to them.

TVM lets LLVM fuse a multiplication and an addition into one operation with a single rounding. The frameworks round
float operators one by one, and whether LLVM fuses would depend on how kernels are fused and scheduled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import te, topi

from autotune_qnn.dialect.attributes import attributes
from autotune_qnn.kernels.fixed_point import unfused

Legalization = Callable[[Any, Any], Any]


def _rounded(product: Any) -> Any:
    if not str(product.dtype).startswith("float"):
        return product
    return te.compute(product.shape, lambda *index: unfused(product(*index)), name="rounded")


def _legalize_multiply(builder: Any, call: Any) -> Any:
    def multiply(left: Any, right: Any) -> Any:
        return _rounded(topi.multiply(left, right))

    return builder.call_te(multiply, *call.args)


def _legalize_square(builder: Any, call: Any) -> Any:
    def square(data: Any) -> Any:
        return _rounded(topi.multiply(data, data))

    return builder.call_te(square, *call.args)


def _legalize_leaky_relu(builder: Any, call: Any) -> Any:
    alpha = attributes(call).number("alpha")

    def leaky_relu(data: Any) -> Any:
        return _rounded(topi.nn.leaky_relu(data, alpha))

    return builder.call_te(leaky_relu, *call.args)


ROUNDED: dict[str, Legalization] = {
    "relax.multiply": _legalize_multiply,
    "relax.square": _legalize_square,
    "relax.nn.leakyrelu": _legalize_leaky_relu,
}
"""By operator, what LegalizeOps does instead of its own rule."""
