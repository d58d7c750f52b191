"""PyTorch's hard swish, computed in float32, which is faster than a table is looked up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te

from autotune_qnn.dialect import pytorch
from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.constants import constant_value
from autotune_qnn.dialect.engine import Engine
from autotune_qnn.dialect.pytorch_tables import unary_tables
from autotune_qnn.kernels.elements.pytorch import LARGEST_RATIO, Dequantized, Quantization
from autotune_qnn.kernels.elements.registry import ElementCall, element
from autotune_qnn.kernels.fixed_point import once
from autotune_qnn.kernels.floats import fma, real
from autotune_qnn.kernels.lane import Lane
from autotune_qnn.kernels.operand import LaneFunction

# Results of products this large and their remainders are far from float32's subnormal numbers.
_SMALLEST_SCALE = 1e-12


def sixth(value: Any) -> Any:
    """value / 6 to the last bit for normal float32 numbers: a quotient by the reciprocal, and its remainder's."""
    reciprocal = real(float(np.float32(1) / np.float32(6)))

    def corrected(dividend: Any, quotient: Any) -> Any:
        return fma(fma(quotient, real(-6), dividend), reciprocal, quotient)

    return once(value, lambda dividend: once(dividend * reciprocal, lambda known: corrected(dividend, known)))


def _swish(x: Any, quotient: Any) -> Any:
    """x·min(max(x + 3, 0), 6)/6."""
    return once(x, lambda known: quotient(known * te.min(te.max(known + real(3), real(0)), real(6))))


def _placeless(call: Any) -> bool:
    """Whether vectorized and scalar loops give the same result for every value of the input, or one of them all."""
    attributes = Attributes(str(call.op.name), call.attrs)
    engine, block = Engine(attributes.string("engine")), attributes.integer("tail_block")
    if engine not in (Engine.PYTORCH, Engine.QNNPACK):
        return False
    count = math.prod(int(extent) for extent in call.ty.shape)
    if engine is Engine.QNNPACK or block == 0 or count % block == 0:
        return True
    si, zi, so, zo = (np.asarray(constant_value(argument)).reshape(-1)[0] for argument in call.args[1:])
    body, tail = unary_tables("qnn.hardswish", engine, si, int(zi), so, int(zo), str(call.ty.dtype))
    return bool(np.array_equal(body, tail))


@element("qnn.hardswish", engines=("pytorch", "qnnpack"), channelwise=_placeless)
def hardswish(call: ElementCall) -> LaneFunction:
    """x·min(max(x + 3, 0), 6)/6; QNNPACK rounds everywhere as PyTorch's scalar loop does."""
    data = Dequantized(call, *call.operands[:3])
    output = Quantization(call, *call.operands[3:5])
    inverse = call.inputs.real(float(pytorch.inverse_double(call.operands[3].scalar())))
    places = call.places()
    small = bool(data.scale / np.float32(call.operands[3].scalar()) < LARGEST_RATIO)
    quotient = sixth if data.scale > _SMALLEST_SCALE else lambda value: value / real(6)

    def body(value: Any) -> Lane:
        return output.rounded(_swish(data.vector(value), quotient) * inverse, small)

    def tail(value: Any) -> Lane:
        return output.shifted(_swish(data.scalar(value), quotient) * output.inverse, small)

    def mixed(value: Any, index: Sequence[Any]) -> Any:
        return places.choose(
            index, lambda: body(value).finished(call.inputs), lambda: tail(value).finished(call.inputs)
        )

    def lane(index: Sequence[Any]) -> Lane:
        value = data.integer(index)
        if call.text("engine") == Engine.QNNPACK.value:
            return tail(value)
        if _placeless(call.call):
            return body(value)
        return Lane.of(once(value, lambda known: mixed(known, index)), call.dtype)

    return lane
