"""Operators of one 8-bit input as a table of 256 results, computed by the dialect's NumPy reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autotune_qnn.dialect.tables import UNARY_OPERATORS
from autotune_qnn.dialect.tabulate import place_tables
from autotune_qnn.kernels.elements.registry import ElementCall, element
from autotune_qnn.kernels.lane import Lane, bounds, int32
from autotune_qnn.kernels.operand import LaneFunction

_TABULATED = (*UNARY_OPERATORS, "qnn.leaky_relu")
# What is computed faster than looked up has a rule of its own (see `hardswish`).
_COMPUTED = ("qnn.hardswish",)


@element(*(name for name in _TABULATED if name not in _COMPUTED), engines=("pytorch", "qnnpack"))
@element(*_TABULATED)
def table(call: ElementCall) -> LaneFunction:
    """Look each value up: entry i of a table is the result for the i-th value of the input's dtype.

    The second table is for elements behind the last whole block.
    """
    data = call.operands[0]
    if data.dtype not in ("int8", "uint8"):
        raise call.unsupported(f"a table over {data.dtype}")
    body, tail = place_tables(call.call)
    places = call.places()
    values = call.inputs.constant(np.concatenate([body, tail]), "table")
    lowest = bounds(data.dtype)[0]
    size = int32(body.size)

    def lane(index: Sequence[Any]) -> Lane:
        place = data.at(index).stored(call.inputs, -lowest)
        place = places.choose(index, lambda: place, lambda: place + size)
        return Lane.of(values[place].astype("int32"), call.dtype)

    return lane
