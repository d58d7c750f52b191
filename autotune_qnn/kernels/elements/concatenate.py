"""Element rule of qnn.concatenate with one input: that input in the result's scale.

A concatenation of several inputs consists of the same, see `source`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from autotune_qnn.dialect import pytorch
from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.concatenate import rescaled, rescaled_body, rescaled_fused, rescaled_tail
from autotune_qnn.dialect.pytorch import inverse_double
from autotune_qnn.kernels.elements.pytorch import LARGEST_RATIO, Dequantized, Quantization
from autotune_qnn.kernels.elements.registry import ElementCall, element
from autotune_qnn.kernels.elements.requantize import round_half_away
from autotune_qnn.kernels.fixed_point import once, unfused
from autotune_qnn.kernels.floats import fma
from autotune_qnn.kernels.lane import Lane, bounds, int32
from autotune_qnn.kernels.operand import LaneFunction, Operand


@dataclass(frozen=True)
class Source:
    """An input's lanes in the output's scale, and whether these are its elements as they are."""

    lanes: LaneFunction
    copied: bool = False


@element("qnn.concatenate")
def alone(call: ElementCall) -> LaneFunction:
    """The only input, rescaled as TFLite does."""
    return source(call, 0).lanes


@element("qnn.concatenate", engines=("pytorch",))
def alone_pytorch(call: ElementCall) -> LaneFunction:
    """The only input, rescaled as PyTorch does."""
    return source_pytorch(call, 0).lanes


def _attributes(call: Any) -> Attributes:
    return Attributes(call.operator, call.call.attrs)


def _all_values(call: Any) -> NDArray[Any]:
    """Every value that an element can have."""
    low, high = bounds(call.dtype)
    return np.arange(low, high + 1).astype(call.dtype)


def _linear(call: Any, place: int, results: list[NDArray[Any]]) -> LaneFunction | None:
    """rint(fma(q, f4(si/so), f4(-zi·si/so))) + zo, or None where that is not what all formulas give.

    `results` holds what each of the formulas in question gives for `_all_values`: an element has so few values that
    all can be tried.
    """
    data: Operand = call.operands[0][place]
    ratio = float(call.operands[1][place].scalar()) / float(call.operands[3].scalar())
    zi, zo = int(call.operands[2][place].scalar()), int(call.operands[4].scalar())
    factor, addend = np.float32(ratio), np.float32(-zi * ratio)
    if not ratio <= LARGEST_RATIO:
        return None
    rounded = np.rint(pytorch.fma(_all_values(call), factor, addend)).astype(np.int64)
    low, high = bounds(call.dtype)
    if any((np.clip(rounded + zo, low, high) != result).any() for result in results):
        return None
    m, a = call.inputs.real(float(factor)), call.inputs.real(float(addend))

    def lane(index: Sequence[Any]) -> Lane:
        return Lane(fma(data.at(index).real(call.inputs), m, a), zo, low, high, small=True)

    return lane


def source(call: Any, place: int) -> Source:
    """One input in the output's scale, of an ElementCall or an AnchorCall."""
    data: Operand = call.operands[0][place]
    si, zi = np.float32(call.operands[1][place].scalar()), int(call.operands[2][place].scalar())
    so, zo = np.float32(call.operands[3].scalar()), int(call.operands[4].scalar())
    if si == so and zi == zo:
        return Source(data.at, True)
    linear = _linear(call, place, [rescaled(_all_values(call), si, zi, so, zo)])
    if linear is not None:
        return Source(linear)
    scale = si * (np.float32(1) / so)
    factor, addend = call.inputs.real(float(scale)), call.inputs.real(float(np.float32(-zi) * scale))
    low, high = bounds(call.dtype)

    def lane(index: Sequence[Any]) -> Lane:
        real = unfused(data.at(index).real(call.inputs) * factor) + addend
        return Lane(round_half_away(real).astype("int32"), zo, low, high)

    return Source(lane)


def source_pytorch(call: Any, place: int) -> Source:
    """The same with PyTorch's formulas: one, or one for channels in whole blocks and one for the others."""
    data: Operand = call.operands[0][place]
    scale, zero_point = call.operands[1][place], call.operands[2][place]
    if scale.scalar() == call.operands[3].scalar() and zero_point.scalar() == call.operands[4].scalar():
        return Source(data.at, True)
    linear = _linear(call, place, _formulas_pytorch(call, place))
    return Source(linear or _exact_pytorch(call, data, scale, zero_point))


def _boundary(call: Any, data: Operand) -> int:
    """The channel at which PyTorch's whole blocks end."""
    block = _attributes(call).integer("tail_block")
    return data.shape[-1] // block * block


def _formulas_pytorch(call: Any, place: int) -> list[NDArray[Any]]:
    """For each formula that PyTorch applies to some channel of an input, the results for `_all_values`."""
    data: Operand = call.operands[0][place]
    parameters = (
        np.float64(call.operands[1][place].scalar()),
        int(call.operands[2][place].scalar()),
        np.float64(call.operands[3].scalar()),
        int(call.operands[4].scalar()),
    )
    values = _all_values(call)
    if _attributes(call).string("memory_order") == "NCHW":
        return [rescaled_fused(values, *parameters)]
    boundary = _boundary(call, data)
    found = [rescaled_body(values, *parameters)] if boundary else []
    return [*found, rescaled_tail(values, *parameters)] if boundary < data.shape[-1] else found


def _exact_pytorch(call: Any, data: Operand, scale: Operand, zero_point: Operand) -> LaneFunction:
    """PyTorch's own formulas."""
    real = Dequantized(call, data, scale, zero_point)
    output = Quantization(call, *call.operands[3:5])
    if _attributes(call).string("memory_order") == "NCHW":
        return lambda index: output.fused(real.scalar(real.integer(index)), output.inverse)
    inverse = call.inputs.real(float(inverse_double(call.operands[3].scalar())))
    boundary = _boundary(call, data)

    def body(value: Any) -> Lane:
        return output.rounded(real.vector(value) * inverse)

    def tail(value: Any) -> Lane:
        return output.shifted(real.scalar(value) * output.inverse)

    if boundary in (0, data.shape[-1]):
        return lambda index: (body if boundary else tail)(real.integer(index))
    blocks = call.inputs.vector((np.arange(data.shape[-1]) < boundary).astype(np.int32), "blocks")

    def mixed(value: Any, index: Sequence[Any]) -> Any:
        lanes = (lane.finished(call.inputs) for lane in (body(value), tail(value)))
        return tirx.Select(blocks(index[-1]) > int32(0), *lanes)

    def lane(index: Sequence[Any]) -> Lane:
        return Lane.of(once(real.integer(index), lambda known: mixed(known, index)), call.dtype)

    return lane
