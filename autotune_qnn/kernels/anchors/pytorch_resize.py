"""Anchor rule of PyTorch's bilinear interpolation (formulas: `dialect.resize`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import tirx

from autotune_qnn.dialect.resize import Interpolation, interpolation_pytorch
from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor
from autotune_qnn.kernels.anchors.resize import Corners, resized
from autotune_qnn.kernels.fixed_point import unfused
from autotune_qnn.kernels.floats import fma
from autotune_qnn.kernels.lane import Lane, bounds, int32
from autotune_qnn.kernels.operand import LaneFunction


@anchor("qnn.resize2d", engines=("pytorch",))
def resize2d_pytorch(call: AnchorCall) -> Anchor:
    """float32, with the fused multiply-adds of the channels-last kernel or without any."""
    fused = call.attributes.string("memory_order") == "NHWC"
    if not fused and call.shape == call.activation().shape:
        return resized(call, call.activation().at)
    factors = call.attributes.value("scales") or (None, None)

    def interpolate(source: int, target: int, mode: str, axis: int) -> Interpolation:
        return interpolation_pytorch(source, target, mode, fused, factors[axis])

    corners = Corners(call, interpolate, np.float32(1), "float32")
    return resized(call, _fused(call, corners) if fused else _plain(call, corners))


class _Values:
    """What an output element is made of: its corners (logical values) and weights, float32."""

    def __init__(self, corners: Corners, index: Sequence[Any]) -> None:
        offset = int32(corners.data.offset)
        self.top_left, self.top_right, self.bottom_left, self.bottom_right = (
            (value - offset).astype("float32") for value in corners.values(index)
        )
        self.upper, self.lower = corners.rows.rest[index[1]], corners.rows.weight[index[1]]
        self.left, self.right = corners.columns.rest[index[2]], corners.columns.weight[index[2]]


def _finish(call: AnchorCall, value: Any) -> Lane:
    """(value − z) + z, each rounded."""
    zero_point = call.inputs.real(int(call.scalar(2)))
    return Lane((value - zero_point) + zero_point, 0, *bounds(call.dtype), small=True)


def _plain(call: AnchorCall, corners: Corners) -> LaneFunction:
    def lane(index: Sequence[Any]) -> Lane:
        at = _Values(corners, index)
        top = unfused(at.left * at.top_left) + unfused(at.right * at.top_right)
        bottom = unfused(at.left * at.bottom_left) + unfused(at.right * at.bottom_right)
        return _finish(call, unfused(at.upper * top) + unfused(at.lower * bottom))

    return lane


def _fused(call: AnchorCall, corners: Corners) -> LaneFunction:
    block = call.attributes.integer("tail_block")
    boundary = call.shape[-1] // block * block

    def body(at: _Values) -> Any:
        top = fma(at.right, at.top_right, at.left * at.top_left)
        bottom = fma(at.right, at.bottom_right, at.left * at.bottom_left)
        return fma(at.lower, bottom, at.upper * top)

    def tail(at: _Values) -> Any:
        top = fma(at.left, at.top_left, at.right * at.top_right)
        bottom = fma(at.left, at.bottom_left, at.right * at.bottom_right)
        return fma(at.upper, top, at.lower * bottom)

    def lane(index: Sequence[Any]) -> Lane:
        at = _Values(corners, index)
        if boundary in (0, call.shape[-1]):
            return _finish(call, body(at) if boundary else tail(at))
        return _finish(call, tirx.Select(index[-1] < int32(boundary), body(at), tail(at)))

    return lane
