"""Anchor rule of qnn.softmax: exponentials from a table of 256 entries, their sum, and shares of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from autotune_qnn.dialect.softmax import SUM_BITS, exponential_table, fixed_exponential_table
from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor
from autotune_qnn.kernels.elements.requantize import round_half_away
from autotune_qnn.kernels.fixed_point import unfused
from autotune_qnn.kernels.lane import Lane, bounds, int32
from autotune_qnn.kernels.templates.softmax import SoftmaxTemplate

_48_OVER_17 = 1515870810
_MINUS_32_OVER_17 = -1010580540
_NEWTON_STEPS = 3


def _wide(value: int) -> Any:
    return tirx.const(value, "int64")


class _Rows:
    """Rows along the axis: the index of a row is that of its elements without their place along the axis."""

    def __init__(self, call: AnchorCall) -> None:
        self.shape = call.shape
        self.axis = call.attributes.integer("axis") % len(call.shape)
        self.rows = tuple(extent for place, extent in enumerate(call.shape) if place != self.axis) or (1,)

    def row(self, index: Sequence[Any]) -> list[Any]:
        """The index of an element's row."""
        return [place for at, place in enumerate(index) if at != self.axis] or [0]

    def element(self, row: Sequence[Any], place: Any) -> list[Any]:
        """The index of an element of a row."""
        index = list(row) if len(self.shape) > 1 else []
        index.insert(self.axis, place)
        return index

    def reduce(self, combine: Any, value: Any, name: str) -> Any:
        """One value a row, from all of its elements in order."""
        place = te.reduce_axis((0, self.shape[self.axis]), "place")
        return te.compute(
            self.rows, lambda *row: combine(value(self.element(row, place)), axis=[place]), name=name
        )


@anchor("qnn.softmax")
def softmax(call: AnchorCall) -> Anchor:
    """float32: expf's table, summed in order. int64: gemmlowp's fixed point, its exponentials in a table."""
    data = call.activation()
    rows = _Rows(call)
    highest = rows.reduce(te.max, lambda index: data.tensor(*index), "highest")
    exact = call.attributes.string("compute_dtype") == "int64"
    beta, scale = np.float32(call.attributes.number("beta")), np.float32(call.scalar(1))
    if exact:
        values = fixed_exponential_table(np.float64(beta) * np.float64(scale)).astype(np.int32)
    else:
        values = exponential_table(scale * beta)
    table = call.inputs.constant(values, "exponentials")

    def term(*index: Any) -> Any:
        below = data.tensor(*index).astype("int32") - highest(*rows.row(index)).astype("int32")
        return table[below + int32(255)]

    terms = te.compute(call.shape, term, name="terms")
    lane = _fixed_shares(call, rows, terms) if exact else _float_shares(call, rows, terms)
    name = "x".join(map(str, call.shape)) + f"_axis{rows.axis}"
    return Anchor(lane, "softmax", name, 0, SoftmaxTemplate.factory(call.shape, rows.axis))


def _float_shares(call: AnchorCall, rows: _Rows, terms: Any) -> Any:
    total = rows.reduce(te.sum, lambda index: terms(*index), "total")
    scale = call.inputs.real(float(call.scalar(3)))
    one = tirx.const(1.0, "float32")
    unit = te.compute(rows.rows, lambda *row: one / (total(*row) * scale), name="unit")
    low, high = bounds(call.dtype)
    zero_point = int(call.scalar(4))

    def lane(index: Sequence[Any]) -> Lane:
        share = unfused(terms(*index) * unit(*rows.row(index)))
        if call.dtype == "uint8":
            return Lane((share + tirx.const(0.5, "float32")).astype("int32"), 0, low, high)
        return Lane(round_half_away(share).astype("int32"), zero_point, low, high)

    return lane


def _fixed_shares(call: AnchorCall, rows: _Rows, terms: Any) -> Any:
    half = _wide(1 << (SUM_BITS - 1))
    total = rows.reduce(
        te.sum, lambda index: (terms(*index).astype("int64") + half) >> _wide(SUM_BITS), "total"
    )
    headroom = te.compute(
        rows.rows,
        lambda *row: (
            tirx.call_llvm_pure_intrin("int64", "llvm.ctlz", total(*row), tirx.const(1, "bool")) - _wide(32)
        ),
        name="headroom",
    )
    unit = te.compute(
        rows.rows,
        lambda *row: _one_over((total(*row) << headroom(*row)) - _wide(1 << 31)),
        name="unit",
    )
    low, high = bounds(call.dtype)

    def lane(index: Sequence[Any]) -> Lane:
        row = rows.row(index)
        shift = _wide(SUM_BITS + 31 - 8) - headroom(*row)
        share = _high_multiply(unit(*row), terms(*index).astype("int64"))
        rounded = (share + (_wide(1) << (shift - _wide(1)))) >> shift
        return Lane(rounded.astype("int32"), low, low, high)

    return lane


def _high_multiply(left: Any, right: Any) -> Any:
    return (left * right + _wide(1 << 30)) >> _wide(31)


def _saturated(value: Any) -> Any:
    return te.max(te.min(value, _wide((1 << 31) - 1)), _wide(-(1 << 31)))


def _one_over(value: Any) -> Any:
    """Q31 1/(1 + x) of Q31 x in [0, 1), an int64, by three Newton-Raphson steps as gemmlowp takes them."""
    half = (value + _wide(1 << 31)) >> _wide(1)
    estimate = _wide(_48_OVER_17) + _high_multiply(half, _wide(_MINUS_32_OVER_17))
    for _ in range(_NEWTON_STEPS):
        missing = _wide(1 << 29) - _high_multiply(half, estimate)
        estimate = estimate + _saturated(_high_multiply(estimate, missing) << _wide(2))
    return _saturated(estimate << _wide(1))
