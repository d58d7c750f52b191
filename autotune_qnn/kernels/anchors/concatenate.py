"""Anchor rules of qnn.concatenate: each input copied, or rescaled in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import tirx

from autotune_qnn.dialect.pytorch import inverse_double
from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor
from autotune_qnn.kernels.elements.pytorch import Dequantized, Quantization
from autotune_qnn.kernels.elements.requantize import round_half_away
from autotune_qnn.kernels.fixed_point import once, unfused
from autotune_qnn.kernels.lane import Lane, bounds, int32
from autotune_qnn.kernels.operand import LaneFunction, Operand
from autotune_qnn.kernels.templates.concatenate import ConcatenateTemplate


@anchor("qnn.concatenate")
def concatenate(call: AnchorCall) -> Anchor:
    """Every element from the input that holds its place along the axis, rescaled as TFLite does."""
    return joined_parts(call, [_part(call, place) for place in range(len(call.operands[0]))])


@anchor("qnn.concatenate", engines=("pytorch",))
def concatenate_pytorch(call: AnchorCall) -> Anchor:
    """The same, rescaled as PyTorch does."""
    return joined_parts(call, [_part_pytorch(call, place) for place in range(len(call.operands[0]))])


def joined_parts(call: AnchorCall, parts: list[LaneFunction]) -> Anchor:
    """The anchor of a concatenation whose inputs, in the output's scale, are `parts`."""
    axis = call.attributes.integer("axis") % len(call.shape)
    operands: tuple[Operand, ...] = call.operands[0]
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


def _part_pytorch(call: AnchorCall, place: int) -> LaneFunction:
    """One input in the output's scale: one formula, or one for channels in whole blocks and one for the others."""
    data: Operand = call.operands[0][place]
    scale, zero_point = call.operands[1][place], call.operands[2][place]
    if scale.scalar() == call.scalar(3) and zero_point.scalar() == call.scalar(4):
        return data.at
    real = Dequantized(call, data, scale, zero_point)
    output = Quantization(call, *call.operands[3:5])
    if call.attributes.string("memory_order") == "NCHW":
        return lambda index: output.fused(real.scalar(real.integer(index)), output.inverse)
    inverse = call.inputs.real(float(inverse_double(call.scalar(3))))
    block = call.attributes.integer("tail_block")
    boundary = data.shape[-1] // block * block

    def body(value: Any) -> Lane:
        return output.rounded(real.vector(value) * inverse)

    def tail(value: Any) -> Lane:
        return output.shifted(real.scalar(value) * output.inverse)

    def mixed(value: Any, index: Sequence[Any]) -> Any:
        lanes = (lane.finished(call.inputs) for lane in (body(value), tail(value)))
        return tirx.Select(index[-1] < int32(boundary), *lanes)

    def lane(index: Sequence[Any]) -> Lane:
        value = real.integer(index)
        if boundary in (0, data.shape[-1]):
            return body(value) if boundary else tail(value)
        return Lane.of(once(value, lambda known: mixed(known, index)), call.dtype)

    return lane
