"""Anchor rule of qnn.batch_matmul: products of two activations (or an activation and a constant).

The second operand is transposed and centred into int16 first, so that vectors run along the result's columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx

from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor
from autotune_qnn.kernels.geometry import ceil_div
from autotune_qnn.kernels.lane import Lane, int32
from autotune_qnn.kernels.operand import Operand
from autotune_qnn.kernels.templates.matmul import MatmulTemplate


def _reader(call: AnchorCall, place: int) -> Any:
    """A function (batch, row, inner) → the int32 value minus its zero point."""
    operand: Operand = call.operands[place]
    moved = call.inputs.integer(-int(call.scalar(2 + place)))
    single = operand.shape[0] == 1

    def value(b: Any, row: Any, inner: Any) -> Any:
        return operand.at([0 if single else b, row, inner]).finished(call.inputs) + moved

    return value


@anchor("qnn.batch_matmul")
def batch_matmul(call: AnchorCall) -> Anchor:
    """(B, M, K) times the transpose of (B, N, K), exact in int32."""
    left, right = _reader(call, 0), _reader(call, 1)
    _, rows, inner = call.operands[0].shape
    batches, columns = call.operands[1].shape[:2]
    lanes = call.dot.lanes
    width = ceil_div(columns, lanes) * lanes

    def centred(b: Any, k: Any, n: Any) -> Any:
        value = right(b, n, k).astype("int16")
        return value if width == columns else tirx.if_then_else(n < columns, value, tirx.const(0, "int16"))

    packed = te.compute((batches, inner, width), centred, name="packed")
    step = te.reduce_axis((0, inner), "inner")

    def product(b: Any, m: Any, n: Any) -> Any:
        weight = packed[0 if batches == 1 else b, step, n].astype("int32")
        return te.sum(left(b, m, step) * weight, axis=[step])

    products = te.compute((call.shape[0], rows, width), product, name="matmul")

    def lane(index: Sequence[Any]) -> Lane:
        return Lane(products(*index) + int32(0), clamped=True)

    name = f"{call.shape[0]}x{rows}x{inner}_{columns}"
    macs = call.shape[0] * rows * columns * inner
    return Anchor(
        lane, "batch_matmul", name, macs, MatmulTemplate.factory((call.shape[0], rows, width), inner, lanes)
    )
