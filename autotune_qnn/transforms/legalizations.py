"""How some plain Relax operators become kernels otherwise than by TVM's own rules.

Float products are rounded before anything is added to them: TVM lets LLVM fuse a multiplication and an addition into
one operation with a single rounding, while the frameworks round float operators one by one; and whether LLVM fuses
would depend on how kernels are fused and scheduled.

The place of the highest or lowest of small integers is searched among int32: TVM's rule starts from the dtype's own
bound and finds no place (-1) where no element is beyond it.
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


def _legalize_extreme(search: Any) -> Legalization:
    def legalize(builder: Any, call: Any) -> Any:
        axis, keepdims = attributes(call).value("axis"), attributes(call).flag("keepdims")

        def place(data: Any) -> Any:
            small = str(data.dtype) in ("int8", "uint8", "int16", "uint16")
            found = search(topi.cast(data, "int32") if small else data, axis, keepdims)
            return topi.cast(found, "int64")

        return builder.call_te(place, *call.args)

    return legalize


LEGALIZATIONS: dict[str, Legalization] = {
    "relax.multiply": _legalize_multiply,
    "relax.square": _legalize_square,
    "relax.nn.leakyrelu": _legalize_leaky_relu,
    "relax.argmax": _legalize_extreme(topi.argmax),
    "relax.argmin": _legalize_extreme(topi.argmin),
}
"""By operator, what LegalizeOps does instead of its own rule."""
