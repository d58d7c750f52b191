"""Tables of operators that map one 8-bit value to another: what a kernel looks up instead of computing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import attributes
from autotune_qnn.dialect.constants import constant_value
from autotune_qnn.dialect.numeric import Array
from autotune_qnn.dialect.registry import evaluate
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

    The call is one of `TABLE_OPERATORS` with constant scalar parameters and no tail block; DialectError
    otherwise.
    """
    obstacle = _obstacle(call)
    if obstacle is not None:
        raise DialectError(f"{call.op.name}: no table, {obstacle}")
    data = operand_view(str(call.op.name), "data", call.args[0])
    low, high = dtype_range(data.dtype if isinstance(data, TensorView) else "int8")
    values = np.arange(low, high + 1).astype(data.dtype if isinstance(data, TensorView) else "int8")
    parameters = [np.reshape(value, ()) for value in map(constant_value, call.args[1:]) if value is not None]
    return evaluate(call, [values, *parameters])


def _obstacle(call: Any) -> str | None:
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
    if _has_tail(call, data):
        return "its rounding depends on an element's place"
    return None


def _has_tail(call: Any, data: TensorView) -> bool:
    """Whether the rounding of some elements depends on their place."""
    block = attributes(call).integer("tail_block")
    if str(call.op.name) in ("qnn.requantize", "qnn.dequantize"):
        return block != 0
    return block != 0 and math.prod(data.shape) % block != 0
