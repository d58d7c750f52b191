"""Tables of operators that map one 8-bit value to another: what a kernel looks up instead of computing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes, attributes
from autotune_qnn.dialect.constants import constant_value
from autotune_qnn.dialect.numeric import Array
from autotune_qnn.dialect.registry import reference_of
from autotune_qnn.dialect.tables import UNARY_OPERATORS
from autotune_qnn.dialect.view import TensorView, operand_view
from autotune_qnn.errors import DialectError
from autotune_qnn.quantization import dtype_range

TABLE_OPERATORS = (*UNARY_OPERATORS, "qnn.dequantize", "qnn.leaky_relu", "qnn.requantize")
"""Operators whose result depends on one 8-bit element and constants only, wherever no tail is set."""


def is_tabulable(call: Any) -> bool:
    """Whether `table_values` can give this call's table."""
    return _obstacle(call) is None


def table_values(call: Any) -> Array:
    """Outputs for every value of the 8-bit input from lowest to highest: 256 entries of the call's output
    dtype.

    The call is one of `TABLE_OPERATORS` with constant scalar parameters, and the result of no element depends on its
    place; DialectError otherwise.
    """
    obstacle = _obstacle(call)
    if obstacle is not None:
        raise DialectError(f"{call.op.name}: no table, {obstacle}")
    return _results(call, {})


def place_tables(call: Any) -> tuple[Array, Array]:
    """As `table_values`, of elements in whole blocks (see the attribute tail_block) and of those behind the last one.

    The same twice where there are no blocks. DialectError where no tables hold the call.
    """
    obstacle = _unfit(call)
    if obstacle is not None:
        raise DialectError(f"{call.op.name}: no table, {obstacle}")
    if not attributes(call).integer("tail_block"):
        return _results(call, {}), _results(call, {})
    return _results(call, {"tail_block": 1}), _results(call, {"tail_block": 1 << 16})


def _results(call: Any, changed: Mapping[str, Any]) -> Array:
    """Outputs for every value of the input, with some of the call's attributes changed."""
    name = str(call.op.name)
    function, attrs = reference_of(name), attributes(call)
    if function is None:
        raise DialectError(f"{name} is no operator of the dialect")
    values = {str(key): attrs.value(str(key)) for key in call.attrs.keys()}  # noqa: SIM118 - it is no mapping
    dtype = str(call.args[0].ty.dtype)
    low, high = dtype_range(dtype)
    parameters = [np.reshape(value, ()) for value in map(constant_value, call.args[1:]) if value is not None]
    inputs = np.arange(low, high + 1).astype(dtype)
    return np.asarray(function(Attributes(name, {**values, **changed}), inputs, *parameters))


def _obstacle(call: Any) -> str | None:
    """Why one table does not hold the call."""
    obstacle = _unfit(call)
    if obstacle is None and _has_tail(call):
        return "its rounding depends on an element's place"
    return obstacle


def _unfit(call: Any) -> str | None:
    """Why no tables hold the call."""
    name = str(getattr(call.op, "name", call.op))
    if name not in TABLE_OPERATORS:
        return "it is not elementwise in one 8-bit operand"
    data = operand_view(name, "data", call.args[0])
    if not isinstance(data, TensorView) or data.dtype not in ("int8", "uint8"):
        return f"its data is {data}, not int8 or uint8"
    for argument in call.args[1:]:
        value = constant_value(argument)
        if value is None:
            return "its parameters are not constants"
        if value.size != 1:
            return "its parameters differ by channel"
    return None


def _has_tail(call: Any) -> bool:
    """Whether the rounding of some elements depends on their place."""
    block = attributes(call).integer("tail_block")
    if str(call.op.name) in ("qnn.requantize", "qnn.dequantize"):
        return block != 0
    return block != 0 and math.prod(int(extent) for extent in call.args[0].ty.shape) % block != 0
