"""qnn.prelu: a quantized slope for every element below zero, in TFLite's fixed point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import tirx

from autotune_qnn.kernels.elements.registry import ElementCall, element
from autotune_qnn.kernels.elements.requantize import FixedPoint
from autotune_qnn.kernels.fixed_point import once
from autotune_qnn.kernels.lane import Lane, bounds, int32
from autotune_qnn.kernels.operand import LaneFunction


@element("qnn.prelu")
def prelu(call: ElementCall) -> LaneFunction:
    """int64/TFLITE: two multipliers, one for d ≥ 0 and one for the product of d with the centred slope."""
    x, alpha = call.operands[:2]
    si, zi, sa, za, so, zo = (operand.scalar() for operand in call.operands[2:8])
    si, sa, so = np.float32(si), np.float32(sa), np.float32(so)
    above = FixedPoint.of(call.inputs, np.float64(si / so), 0)
    below = FixedPoint.of(call.inputs, np.float64(si * sa / so), 0)
    low, high = bounds(call.dtype)

    def lane(index: Sequence[Any]) -> Lane:
        value, moved = x.at(index).settled(call.inputs)
        slope, slope_moved = alpha.at(index).settled(call.inputs)
        centred = slope + call.inputs.integer(slope_moved - int(za))

        def scaled(difference: Any) -> Any:
            return tirx.Select(
                difference >= int32(0),
                above.apply(difference, index, "TFLITE"),
                below.apply(difference * centred, index, "TFLITE"),
            )

        return Lane(once(value + call.inputs.integer(moved - int(zi)), scaled), int(zo), low, high)

    return lane
