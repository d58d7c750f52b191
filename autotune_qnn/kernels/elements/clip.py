"""Plain Relax operators on integers that move no zero point: clip, relu, minimum, maximum, bias add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te

from autotune_qnn.kernels.elements.registry import ElementCall, element
from autotune_qnn.kernels.lane import Lane, bounds, int32
from autotune_qnn.kernels.operand import LaneFunction, Operand


def _literal(expression: Any) -> float:
    return float(
        getattr(getattr(expression, "value", expression), "value", getattr(expression, "value", expression))
    )


@element("relax.clip")
def clip(call: ElementCall) -> LaneFunction:
    """relax.clip with constant bounds."""
    low, high = (int(np.round(_literal(bound))) for bound in call.call.args[1:3])
    data = call.operands[0]
    return lambda index: data.at(index).clip(low, high)


@element("relax.nn.relu")
def relu(call: ElementCall) -> LaneFunction:
    """relax.nn.relu on integers: nothing below zero."""
    data = call.operands[0]
    return lambda index: data.at(index).clip(0, bounds(call.dtype)[1])


@element("relax.add")
def add(call: ElementCall) -> LaneFunction:
    """relax.add of an int32 accumulator and a constant vector along the last axis: a bias."""
    data, bias = call.operands
    if call.dtype != "int32" or bias.constant is None or bias.array.size not in (1, call.shape[-1]):
        raise call.unsupported("relax.add of anything but an int32 accumulator and its bias")
    vector = call.inputs.vector(np.broadcast_to(bias.array.reshape(-1), (call.shape[-1],)), "bias")

    def lane(index: Sequence[Any]) -> Lane:
        return Lane(data.at(index).finished(call.inputs) + vector[index[-1]], clamped=True)

    return lane


def _extreme(call: ElementCall, choose: Any) -> LaneFunction:
    def value(operand: Operand, index: Sequence[Any]) -> Any:
        if operand.constant is not None and operand.array.size == 1:
            return int32(int(operand.scalar()))
        return operand.at(index).finished(call.inputs)

    first, second = call.operands
    return lambda index: Lane.of(choose(value(first, index), value(second, index)), call.dtype)


@element("relax.maximum")
def maximum(call: ElementCall) -> LaneFunction:
    """relax.maximum on integers of equal scale and zero point."""
    return _extreme(call, te.max)


@element("relax.minimum")
def minimum(call: ElementCall) -> LaneFunction:
    """relax.minimum on integers of equal scale and zero point."""
    return _extreme(call, te.min)
