"""Operators of one 8-bit input as a table of 256 results, computed by the dialect's NumPy reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotune_qnn.dialect import is_tabulable, table_values
from autotune_qnn.dialect.tables import UNARY_OPERATORS
from autotune_qnn.kernels.elements.registry import ElementCall, element
from autotune_qnn.kernels.lane import Lane, bounds
from autotune_qnn.kernels.operand import LaneFunction


@element(*UNARY_OPERATORS, "qnn.leaky_relu", engines=("", "pytorch", "qnnpack"))
def table(call: ElementCall) -> LaneFunction:
    """Look each value up: entry i of the table is the result for the i-th value of the input's dtype."""
    data = call.operands[0]
    if data.dtype not in ("int8", "uint8"):
        raise call.unsupported(f"a table over {data.dtype}")
    if not is_tabulable(call.call):
        raise call.unsupported("results that depend on an element's place")
    values = call.inputs.constant(table_values(call.call), "table")
    lowest = bounds(data.dtype)[0]

    def lane(index: Sequence[Any]) -> Lane:
        place = data.at(index).stored(call.inputs, -lowest)
        return Lane.of(values[place].astype("int32"), call.dtype)

    return lane
