"""Plain Relax operators on stored tensors: which of them work on int8 moved up by 128 as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn.dialect.attributes import attributes
from autotune_qnn.dialect.constants import constant, constant_value
from autotune_qnn.errors import BuildError
from autotune_qnn.transforms.grouping import operator_name, shape_of

_ORDER_PRESERVING = frozenset(
    {
        "relax.reshape",
        "relax.permute_dims",
        "relax.squeeze",
        "relax.expand_dims",
        "relax.flatten",
        "relax.nn.batch_flatten",
        "relax.split",
        "relax.strided_slice",
        "relax.take",
        "relax.gather_elements",
        "relax.concat",
        "relax.stack",
        "relax.broadcast_to",
        "relax.repeat",
        "relax.tile",
        "relax.flip",
        "relax.where",
        "relax.nn.pad",
        "relax.nn.max_pool2d",
        "relax.maximum",
        "relax.minimum",
        "relax.argmax",
        "relax.argmin",
        "relax.max",
        "relax.min",
    }
)


def works_on_stored(call: Any) -> bool:
    """Whether an operator commutes with moving all int8 values up by 128.

    It does where it only copies or compares values. `relax.nn.pad` is one of them too, once its constant is
    moved.
    """
    name = operator_name(call)
    if name == "relax.image.resize2d":
        return attributes(call).string("method") == "nearest_neighbor"
    return name in _ORDER_PRESERVING


def on_stored(call: Any, arguments: list[Any], offset: int) -> Any:
    """The call on stored arguments, its padding constant moved by the offset and its indices made safe."""
    name = operator_name(call)
    if name == "relax.nn.pad" and offset:
        read = attributes(call)
        value = read.number("pad_value") + offset
        return relax.op.nn.pad(arguments[0], list(read.integers("pad_width")), read.string("pad_mode"), value)
    if name == "relax.take":
        axis = attributes(call).value("axis")
        return relax.op.take(arguments[0], _checked_indices(call, arguments[1]), axis, mode="clip")
    return relax.Call(call.op, arguments, call.attrs)


def _checked_indices(call: Any, indices: Any) -> Any:
    """Constant indices counted from the front; BuildError where one is outside of its axis."""
    array = constant_value(indices)
    if array is None or attributes(call).string("mode") != "fast":
        return indices
    axis = attributes(call).value("axis")
    shape = shape_of(call.args[0])
    extent = int(np.prod(shape)) if axis is None else shape[axis]
    if array.size and not -extent <= array.min() <= array.max() < extent:
        raise BuildError(f"relax.take: indices {array.min()} to {array.max()} in an axis of {extent}")
    return constant(np.where(array < 0, array + extent, array).astype(array.dtype))
