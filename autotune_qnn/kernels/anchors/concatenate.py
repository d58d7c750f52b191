"""Anchor rule of qnn.concatenate: each input copied, or rescaled in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import tirx

from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor
from autotune_qnn.kernels.elements.requantize import round_half_away
from autotune_qnn.kernels.fixed_point import unfused
from autotune_qnn.kernels.lane import Lane, bounds
from autotune_qnn.kernels.operand import LaneFunction, Operand
from autotune_qnn.kernels.templates.concatenate import ConcatenateTemplate


@anchor("qnn.concatenate")
def concatenate(call: AnchorCall) -> Anchor:
    """Every element from the input that holds its place along the axis."""
    axis = call.attributes.integer("axis") % len(call.shape)
    operands: tuple[Operand, ...] = call.operands[0]
    parts = [_part(call, place) for place in range(len(operands))]
    starts = np.cumsum([0, *(operand.shape[axis] for operand in operands)]).tolist()

    def lane(index: Sequence[Any]) -> Lane:
        joined: Any = None
        for part, start in reversed(list(zip(parts, starts[:-1], strict=True))):
            own = [place - start if at == axis else place for at, place in enumerate(index)]
            value = part(own).finished(call.inputs)
            if joined is None:
                joined, boundary = value, start
            else:
                joined, boundary = tirx.if_then_else(index[axis] < boundary, value, joined), start
        return Lane.of(joined, call.dtype)

    name = "x".join(map(str, call.shape)) + f"_axis{axis}_of{len(parts)}"
    return Anchor(lane, "concatenate", name, 0, ConcatenateTemplate.factory(call.shape, axis, tuple(starts)))


def _part(call: AnchorCall, place: int) -> LaneFunction:
    """One input in the output's scale."""
    data: Operand = call.operands[0][place]
    si, zi = np.float32(call.operands[1][place].scalar()), int(call.operands[2][place].scalar())
    so, zo = np.float32(call.scalar(3)), int(call.scalar(4))
    if si == so and zi == zo:
        return data.at
    scale = si * (np.float32(1) / so)
    factor, addend = call.inputs.real(float(scale)), call.inputs.real(float(np.float32(-zi) * scale))
    low, high = bounds(call.dtype)

    def rescaled(index: Sequence[Any]) -> Lane:
        real = unfused(data.at(index).finished(call.inputs).astype("float32") * factor) + addend
        return Lane(round_half_away(real).astype("int32"), zo, low, high)

    return rescaled
