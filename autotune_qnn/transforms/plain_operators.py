"""Plain Relax operators on stored tensors: which of them work on int8 moved up by 128 as they are."""

from __future__ import annotations

from typing import Any

from tvm import relax

from autotune_qnn.dialect.attributes import Attributes

_ORDER_PRESERVING = frozenset(
    {
        "relax.reshape",
        "relax.permute_dims",
        "relax.squeeze",
        "relax.expand_dims",
        "relax.flatten",
        "relax.split",
        "relax.strided_slice",
        "relax.take",
        "relax.concat",
        "relax.stack",
        "relax.broadcast_to",
        "relax.nn.max_pool2d",
        "relax.maximum",
        "relax.minimum",
        "relax.argmax",
        "relax.argmin",
        "relax.max",
        "relax.min",
    }
)


def works_on_stored(operator: str) -> bool:
    """Whether an operator commutes with moving all int8 values up by 128.

    It does where it only copies or compares values. `relax.nn.pad` is one of them too, once its constant is moved.
    """
    return operator in _ORDER_PRESERVING or operator == "relax.nn.pad"


def on_stored(call: Any, arguments: list[Any], offset: int) -> Any:
    """The call on stored arguments, its padding constant moved by the offset."""
    if str(call.op.name) == "relax.nn.pad" and offset:
        attributes = Attributes("relax.nn.pad", call.attrs)
        widths = list(attributes.integers("pad_width"))
        value = attributes.number("pad_value") + offset
        return relax.op.nn.pad(arguments[0], widths, attributes.string("pad_mode"), value)
    return relax.Call(call.op, arguments, call.attrs)
