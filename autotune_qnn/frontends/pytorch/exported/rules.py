"""Rules of the importer for what only exported programs have: their quantize and dequantize, and raised layers."""

from __future__ import annotations

import math

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.frontends.pytorch.conversion import Conversion, real, rule, zero
from autotune_qnn.frontends.pytorch.convolution import sums
from autotune_qnn.frontends.pytorch.exported.layers import Layer
from autotune_qnn.frontends.pytorch.exported.parameters import (
    DEQUANTIZE,
    DEQUANTIZE_AFFINE,
    QUANTIZE,
    QUANTIZE_AFFINE,
    Parameters,
    per_tensor,
)
from autotune_qnn.frontends.pytorch.exported.raising import LAYER
from autotune_qnn.frontends.pytorch.graph import Node, TensorMeta
from autotune_qnn.frontends.pytorch.layout import Expr, Value, channels_last, in_order
from autotune_qnn.frontends.rules import UnsupportedUseError
from autotune_qnn.quantization import Arithmetic


@rule(QUANTIZE, QUANTIZE_AFFINE)
def convert_quantize(conversion: Conversion, node: Node) -> list[Value]:
    """rint(x·f4(1/s)) + z, clipped."""
    parameters = node.arguments.get("parameters") or per_tensor(node)
    if not isinstance(parameters, Parameters):
        raise UnsupportedUseError("scales that are not one constant a tensor, or a dtype of more than 8 bits")
    value = conversion.value(node.get("input"))
    stored = dialect.quantize(
        value.expr,
        real(parameters.scale),
        zero(parameters.zero_point),
        out_dtype=parameters.dtype,
        engine="decomposed",
    )
    return [Value(_within(conversion, stored, parameters), value.order)]


@rule(DEQUANTIZE, DEQUANTIZE_AFFINE)
def convert_dequantize(conversion: Conversion, node: Node) -> list[Value]:
    """f4(q − z)·f4(s)."""
    operand = node.get("input")
    value, meta = conversion.value(operand), conversion.meta(operand)
    parameters = None if meta.quantized else per_tensor(node)
    if parameters is not None:
        constants = [real(parameters.scale), zero(parameters.zero_point)]
    elif meta.quantized:
        constants = conversion.parameters(meta)
    else:
        raise UnsupportedUseError("scales that are not one constant a tensor, or a dtype of more than 8 bits")
    return [Value(dialect.dequantize(value.expr, *constants), value.order)]


@rule(LAYER)
def convert_layer(conversion: Conversion, node: Node) -> list[Value]:
    """Exact sums of integers, then the program's float arithmetic on each."""
    layer: Layer = node.get("layer")
    operand, result = node.ref("self"), conversion.result(node)
    data = conversion.meta(operand)
    accumulator = sums(conversion, conversion.last(operand), data, layer.weights)
    order = in_order(2) if layer.linear else channels_last(result.rank)
    if layer.output is None:
        return [Value(_float(conversion, layer, accumulator, data), order)]
    stage = "inductor" if conversion.engine is Arithmetic.INDUCTOR else "decomposed"
    scale, _ = conversion.per_tensor(data)
    value = dialect.output_stage(
        accumulator,
        dialect.constant(layer.weights.addend),
        real(scale),
        dialect.constant(layer.weights.scale, "float64"),
        real(layer.output.scale),
        zero(layer.output.zero_point),
        engine=stage,
        out_dtype=layer.output.dtype,
    )
    return [Value(_clamped(conversion, value, layer, layer.output, stage), order)]


def _float(conversion: Conversion, layer: Layer, accumulator: Expr, data: TensorMeta) -> Expr:
    """((f4(sum)·f4(si))·f4(sw)) + b, clamped."""
    scale, _ = conversion.per_tensor(data)
    value = conversion.emit(relax.op.astype(accumulator, "float32"))
    for factor in (np.float32(scale), layer.weights.scale.astype(np.float32)):
        value = conversion.emit(relax.op.multiply(value, dialect.constant(np.asarray(factor, np.float32))))
    value = conversion.emit(relax.op.add(value, dialect.constant(layer.weights.addend)))
    if math.isfinite(layer.low):
        value = conversion.emit(relax.op.maximum(value, dialect.constant(np.float32(layer.low))))
    if math.isfinite(layer.high):
        value = conversion.emit(relax.op.minimum(value, dialect.constant(np.float32(layer.high))))
    return value


def _clamped(conversion: Conversion, value: Expr, layer: Layer, output: Parameters, stage: str) -> Expr:
    """The clamp of the real result, on integers, and the clip to the program's own bounds."""
    low, high = output.low, output.high
    if math.isfinite(layer.low):
        low = max(low, _stored(layer.low, output, stage))
    if math.isfinite(layer.high):
        high = max(low, min(high, _stored(layer.high, output, stage)))
    return _clipped(conversion, value, output.dtype, low, high)


def _stored(bound: float, output: Parameters, stage: str) -> int:
    """A real bound as the stage stores it: rounding is monotonic, so clipping to it clamps to the bound."""
    scaled = np.float32(bound) * np.float32(1.0 / output.scale)
    if stage == "inductor":
        return int(np.rint(scaled + np.float32(output.zero_point)))
    return int(np.rint(scaled)) + output.zero_point


def _within(conversion: Conversion, value: Expr, parameters: Parameters) -> Expr:
    return _clipped(conversion, value, parameters.dtype, parameters.low, parameters.high)


def _clipped(conversion: Conversion, value: Expr, dtype: str, low: int, high: int) -> Expr:
    info = np.iinfo(dtype)
    low, high = max(low, int(info.min)), min(high, int(info.max))
    if (low, high) == (int(info.min), int(info.max)):
        return value
    return relax.op.clip(conversion.emit(value), low, high)
