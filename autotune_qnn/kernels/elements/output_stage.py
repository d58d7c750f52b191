"""qnn.output_stage: each engine's way from accumulators and a float bias to stored integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autotune_qnn.dialect.engine import StageEngine
from autotune_qnn.dialect.output_stage import StageFactors, integer_bias, stage_factors
from autotune_qnn.kernels.elements.registry import ElementCall, element
from autotune_qnn.kernels.elements.requantize import per_channel
from autotune_qnn.kernels.fixed_point import unfused
from autotune_qnn.kernels.floats import fma
from autotune_qnn.kernels.lane import Lane, bounds
from autotune_qnn.kernels.operand import LaneFunction

# Below these an accumulator times its scale, and a bias in steps of the output, are far within int32.
_SMALL_SCALE, _SMALL_BIAS = 0.25, float(1 << 28)


class _Stage:
    """A call's parameters as the formulas take them."""

    def __init__(self, call: ElementCall) -> None:
        self.call = call
        self.engine = StageEngine(call.text("engine"))
        self.axis = call.number("axis") % len(call.shape)
        self.bias = np.asarray(call.operands[1].array, np.float32)
        input_scale, kernel_scale, output_scale = (operand.array for operand in call.operands[2:5])
        self.per_channel = kernel_scale.ndim > 0
        self.factors: StageFactors = stage_factors(
            self.engine, input_scale.reshape(-1)[0], kernel_scale, output_scale.reshape(-1)[0]
        )
        self.zero_point = int(call.operands[5].scalar())
        ratio = np.max(kernel_scale) * float(input_scale) / float(output_scale)
        steps = np.max(np.abs(self.bias), initial=0) / float(output_scale)
        self.small = bool(ratio <= _SMALL_SCALE and steps <= _SMALL_BIAS)

    def vector(self, values: Any, name: str) -> Any:
        """A function from an element's index to its channel's float32 value."""
        return per_channel(self.call.inputs, np.asarray(values, np.float32), name, self.axis)

    def accumulator(self, index: Sequence[Any]) -> Any:
        """The int32 accumulator of an element."""
        return self.call.operands[0].at(index).finished(self.call.inputs)

    def rounded(self, value: Any) -> Lane:
        """A value that is rounded before the zero point is added."""
        return Lane(value, self.zero_point, *bounds(self.call.dtype), small=self.small)

    def shifted(self, value: Any) -> Lane:
        """A value with the zero point in it."""
        return Lane(value, 0, *bounds(self.call.dtype), small=self.small, complete=True)


_ENGINES = tuple(engine.value for engine in StageEngine)


@element("qnn.output_stage", engines=_ENGINES)
def output_stage(call: ElementCall) -> LaneFunction:
    """The rule of qnn.output_stage."""
    if any(operand.constant is None for operand in call.operands[1:]):
        raise call.unsupported("parameters that are not constants")
    stage = _Stage(call)
    if stage.engine is StageEngine.QNNPACK:
        return _qnnpack(stage)
    return _fbgemm(stage) if stage.engine is StageEngine.FBGEMM else _onednn(stage)


def _fbgemm(stage: _Stage) -> LaneFunction:
    """The bias joins in units of the accumulator."""
    first = stage.factors.first
    factor = stage.vector(stage.factors.second, "factor")
    if stage.per_channel:
        moved = stage.vector(stage.bias / first, "bias")
        return lambda index: stage.rounded(
            (stage.accumulator(index).astype("float32") + moved(index)) * factor(index)
        )
    bias = stage.vector(stage.bias, "bias")
    inverse = stage.call.inputs.real(float(np.float32(1) / first))
    return lambda index: stage.rounded(
        fma(bias(index), inverse, stage.accumulator(index).astype("float32")) * factor(index)
    )


def _onednn(stage: _Stage) -> LaneFunction:
    """Real units in between: data's scale, weights' scale, bias, output's scale, each rounded."""
    data = stage.vector(stage.factors.first, "data_scale")
    weights = stage.vector(stage.factors.second, "weight_scale")
    combined = stage.engine is StageEngine.ONEDNN_COMBINED  # the weights' scale is in the data's
    bias = stage.vector(stage.bias, "bias")
    output = stage.call.inputs.real(float(stage.factors.output))
    zero_point = stage.call.inputs.real(stage.zero_point)
    zero_last = stage.engine is StageEngine.DECOMPOSED

    def lane(index: Sequence[Any]) -> Lane:
        value = stage.accumulator(index).astype("float32") * data(index)
        value = value if combined else value * weights(index)
        value = (unfused(value) + bias(index)) * output
        if zero_last:
            return stage.rounded(value)
        return stage.shifted(unfused(value) + zero_point if stage.zero_point else value)

    return lane


def _qnnpack(stage: _Stage) -> LaneFunction:
    """An integer bias."""
    integers = integer_bias(stage.bias, np.broadcast_to(stage.factors.first, stage.bias.shape))
    low, high = bounds("int32")
    bias = per_channel(stage.call.inputs, np.clip(integers, low, high).astype(np.int32), "bias", stage.axis)
    factor = stage.vector(stage.factors.second, "factor")
    return lambda index: stage.rounded(
        (stage.accumulator(index) + bias(index)).astype("float32") * factor(index)
    )
