"""Anchor rules of qnn.concatenate: each input copied, or rescaled in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from autotune_qnn.dialect import pytorch
from autotune_qnn.dialect.concatenate import rescaled, rescaled_body, rescaled_fused, rescaled_tail
from autotune_qnn.dialect.pytorch import inverse_double
from autotune_qnn.kernels.anchors.joined import Joined, Part
from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor
from autotune_qnn.kernels.elements.pytorch import LARGEST_RATIO, Dequantized, Quantization
from autotune_qnn.kernels.elements.requantize import round_half_away
from autotune_qnn.kernels.fixed_point import once, unfused
from autotune_qnn.kernels.floats import fma
from autotune_qnn.kernels.lane import Lane, bounds, int32
from autotune_qnn.kernels.operand import LaneFunction, Operand
from autotune_qnn.kernels.templates.concatenate import ConcatenateTemplate
from autotune_qnn.kernels.templates.joined import JoinedTemplate


@dataclass(frozen=True)
class _Source:
    """An input's lanes in the output's scale, and whether these are its elements as they are."""

    lanes: LaneFunction
    copied: bool = False


@anchor("qnn.concatenate")
def concatenate(call: AnchorCall) -> Anchor:
    """Every element from the input that holds its place along the axis, rescaled as TFLite does."""
    return joined_parts(call, [_part(call, place) for place in range(len(call.operands[0]))])


@anchor("qnn.concatenate", engines=("pytorch",))
def concatenate_pytorch(call: AnchorCall) -> Anchor:
    """The same, rescaled as PyTorch does."""
    return joined_parts(call, [_part_pytorch(call, place) for place in range(len(call.operands[0]))])


def joined_parts(call: AnchorCall, parts: list[_Source]) -> Anchor:
    """The anchor of a concatenation of these inputs."""
    axis = call.attributes.integer("axis") % len(call.shape)
    operands: tuple[Operand, ...] = call.operands[0]
    starts = tuple(np.cumsum([0, *(operand.shape[axis] for operand in operands)]).tolist())
    name = "x".join(map(str, call.shape)) + f"_axis{axis}_of{len(parts)}"
    if axis == len(call.shape) - 1:
        joined = Joined(
            call.shape,
            tuple(
                Part(start, end - start, source.lanes, source.copied)
                for source, start, end in zip(parts, starts, starts[1:], strict=False)
            ),
        )
        template = JoinedTemplate.factory(call.shape, tuple(part.vectors for part in joined.parts))
        return Anchor(joined.at, "concatenate", name, 0, template, placement=joined)

    def lane(index: Sequence[Any]) -> Lane:
        joined: Any = None
        for part, start in reversed(list(zip(parts, starts[:-1], strict=True))):
            own = [place - start if at == axis else place for at, place in enumerate(index)]
            value = part.lanes(own).finished(call.inputs)
            if joined is None:
                joined, boundary = value, start
            else:
                joined, boundary = tirx.if_then_else(index[axis] < boundary, value, joined), start
        return Lane.of(joined, call.dtype)

    return Anchor(lane, "concatenate", name, 0, ConcatenateTemplate.factory(call.shape, axis, starts))


def _all_values(call: AnchorCall) -> NDArray[Any]:
    """Every value that an element can have."""
    low, high = bounds(call.dtype)
    return np.arange(low, high + 1).astype(call.dtype)


def _linear(call: AnchorCall, place: int, results: list[NDArray[Any]]) -> LaneFunction | None:
    """rint(fma(q, f4(si/so), f4(-zi·si/so))) + zo, or None where that is not what all formulas give.

    `results` holds what each of the formulas in question gives for `_all_values`: an element has so few values that
    all can be tried.
    """
    data: Operand = call.operands[0][place]
    ratio = float(call.operands[1][place].scalar()) / float(call.scalar(3))
    zi, zo = int(call.operands[2][place].scalar()), int(call.scalar(4))
    factor, addend = np.float32(ratio), np.float32(-zi * ratio)
    if not ratio <= LARGEST_RATIO:
        return None
    rounded = np.rint(pytorch.fma(_all_values(call), factor, addend)).astype(np.int64)
    low, high = bounds(call.dtype)
    if any((np.clip(rounded + zo, low, high) != result).any() for result in results):
        return None
    m, a = call.inputs.real(float(factor)), call.inputs.real(float(addend))

    def lane(index: Sequence[Any]) -> Lane:
        value = data.at(index).finished(call.inputs).astype("float32")
        return Lane(fma(value, m, a), zo, low, high, small=True)

    return lane


def _part(call: AnchorCall, place: int) -> _Source:
    """One input in the output's scale."""
    data: Operand = call.operands[0][place]
    si, zi = np.float32(call.operands[1][place].scalar()), int(call.operands[2][place].scalar())
    so, zo = np.float32(call.scalar(3)), int(call.scalar(4))
    if si == so and zi == zo:
        return _Source(data.at, True)
    linear = _linear(call, place, [rescaled(_all_values(call), si, zi, so, zo)])
    if linear is not None:
        return _Source(linear)
    scale = si * (np.float32(1) / so)
    factor, addend = call.inputs.real(float(scale)), call.inputs.real(float(np.float32(-zi) * scale))
    low, high = bounds(call.dtype)

    def lane(index: Sequence[Any]) -> Lane:
        real = unfused(data.at(index).finished(call.inputs).astype("float32") * factor) + addend
        return Lane(round_half_away(real).astype("int32"), zo, low, high)

    return _Source(lane)


def _part_pytorch(call: AnchorCall, place: int) -> _Source:
    """One input in the output's scale: one formula, or one for channels in whole blocks and one for the others."""
    data: Operand = call.operands[0][place]
    scale, zero_point = call.operands[1][place], call.operands[2][place]
    if scale.scalar() == call.scalar(3) and zero_point.scalar() == call.scalar(4):
        return _Source(data.at, True)
    linear = _linear(call, place, _formulas_pytorch(call, place))
    return _Source(linear or _exact_pytorch(call, data, scale, zero_point))


def _boundary(call: AnchorCall, data: Operand) -> int:
    """The channel at which PyTorch's whole blocks end."""
    block = call.attributes.integer("tail_block")
    return data.shape[-1] // block * block


def _formulas_pytorch(call: AnchorCall, place: int) -> list[NDArray[Any]]:
    """For each formula that PyTorch applies to some channel of an input, the results for `_all_values`."""
    data: Operand = call.operands[0][place]
    parameters = (
        np.float64(call.operands[1][place].scalar()),
        int(call.operands[2][place].scalar()),
        np.float64(call.scalar(3)),
        int(call.scalar(4)),
    )
    values = _all_values(call)
    if call.attributes.string("memory_order") == "NCHW":
        return [rescaled_fused(values, *parameters)]
    boundary = _boundary(call, data)
    found = [rescaled_body(values, *parameters)] if boundary else []
    return [*found, rescaled_tail(values, *parameters)] if boundary < data.shape[-1] else found


def _exact_pytorch(call: AnchorCall, data: Operand, scale: Operand, zero_point: Operand) -> LaneFunction:
    """PyTorch's own formulas."""
    real = Dequantized(call, data, scale, zero_point)
    output = Quantization(call, *call.operands[3:5])
    if call.attributes.string("memory_order") == "NCHW":
        return lambda index: output.fused(real.scalar(real.integer(index)), output.inverse)
    inverse = call.inputs.real(float(inverse_double(call.scalar(3))))
    boundary = _boundary(call, data)

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
