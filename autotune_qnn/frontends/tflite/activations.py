"""Activations of their own, SOFTMAX, ARG_MAX, QUANTIZE and DEQUANTIZE."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.rules import Expr, UnsupportedUseError, shape_of
from autotune_qnn.frontends.tflite.conversion import Conversion, rule
from autotune_qnn.frontends.tflite.float_ops import float_activation, float_hard_swish, float_prelu
from autotune_qnn.frontends.tflite.graph import GraphOperator, GraphTensor
from autotune_qnn.frontends.tflite.options import Activation, AlphaOptions
from autotune_qnn.frontends.tflite.requantization import Rescale, requantize
from autotune_qnn.quantization import Arithmetic, ComputeDtype, Rounding

_BLOCK = 8
_QUANTIZE_BLOCK = 16
_TABLES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "LOGISTIC": (dialect.sigmoid, relax.op.sigmoid),
    "TANH": (dialect.tanh, relax.op.tanh),
}
_CLAMPS = {"RELU": Activation.RELU, "RELU6": Activation.RELU6, "RELU_N1_TO_1": Activation.RELU_N1_TO_1}


def _pair(conversion: Conversion, operator: GraphOperator) -> tuple[GraphTensor, GraphTensor]:
    """Input and output, of one dtype."""
    data, output = conversion.operand(operator, 0), conversion.result(operator)
    if data.dtype != output.dtype:
        raise UnsupportedUseError(f"{data.dtype} data with {output.dtype} output")
    return data, output


@rule("LOGISTIC", "TANH")
def convert_table(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Functions of one 8-bit value: a table of 256 entries in every interpreter."""
    data, output = _pair(conversion, operator)
    quantized, real = _TABLES[operator.name]
    if data.dtype == "float32":
        return [real(conversion.value(data))]
    nearest = conversion.kernel(operator) is Arithmetic.XNNPACK
    return [
        quantized(
            conversion.value(data),
            *conversion.parameters((data, output)),
            rounding=(Rounding.TONEAREST if nearest else Rounding.AWAY).value,
            compute_dtype=ComputeDtype.FLOAT32.value,
        )
    ]


@rule("HARD_SWISH")
def convert_hard_swish(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """gemmlowp's 16-bit fixed point in every interpreter."""
    data, output = _pair(conversion, operator)
    if data.dtype == "float32":
        return [float_hard_swish(conversion, operator, conversion.value(data))]
    return [
        dialect.hardswish(
            conversion.value(data),
            *conversion.parameters((data, output)),
            rounding=Rounding.TFLITE.value,
            compute_dtype=ComputeDtype.INT16.value,
        )
    ]


@rule("LEAKY_RELU")
def convert_leaky_relu(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Two slopes around zero."""
    data, output = _pair(conversion, operator)
    alpha = operator.option(AlphaOptions).factor
    if data.dtype == "float32":
        return [relax.op.nn.leakyrelu(conversion.value(data), alpha)]
    xnnpack = conversion.kernel(operator) is Arithmetic.XNNPACK
    return [
        dialect.leaky_relu(
            conversion.value(data),
            *conversion.parameters((data, output)),
            alpha=alpha,
            rounding=(Rounding.UPWARD if xnnpack else Rounding.TFLITE).value,
            compute_dtype=(ComputeDtype.INT32 if xnnpack else ComputeDtype.INT64).value,
        )
    ]


@rule("PRELU")
def convert_prelu(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """A slope for each channel below zero; the built-in kernel in every interpreter."""
    data, output = _pair(conversion, operator)
    alpha = conversion.operand(operator, 1)
    if alpha.dtype != data.dtype:
        raise UnsupportedUseError(f"{data.dtype} data with {alpha.dtype} slopes")
    if data.dtype == "float32":
        return [float_prelu(conversion, conversion.value(data), conversion.value(alpha))]
    return [
        dialect.prelu(
            conversion.value(data),
            conversion.value(alpha),
            *conversion.parameters((data, alpha, output)),
            rounding=Rounding.TFLITE.value,
            compute_dtype=ComputeDtype.INT64.value,
        )
    ]


@rule("RELU", "RELU6", "RELU_N1_TO_1")
def convert_clamp(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """A requantize and a clamp in every interpreter."""
    data, output = _pair(conversion, operator)
    activation = _CLAMPS[operator.name]
    if data.dtype == "float32":
        return [float_activation(conversion, conversion.value(data), activation)]
    scale, zero_point = conversion.per_tensor(data)
    out_scale, _ = conversion.per_tensor(output)
    if scale == out_scale and zero_point == conversion.per_tensor(output)[1]:
        return [conversion.activate(conversion.value(data), activation, output)]
    rescale = Rescale(np.array([scale], "float32"), Rounding.TFLITE, ComputeDtype.INT64)
    result = requantize(conversion, conversion.value(data), zero_point, rescale, output)
    return [conversion.activate(result, activation, output)]


@rule("SOFTMAX")
def convert_softmax(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Over the last axis; gemmlowp's fixed point in the reference kernels, a float table in the others."""
    data, output = conversion.operand(operator, 0), conversion.result(operator)
    beta = operator.option(AlphaOptions).factor
    value = conversion.value(data)
    if data.dtype == "float32":
        if beta != 1.0:
            raise UnsupportedUseError(f"float32 data with beta {beta}")
        return [relax.op.nn.softmax(value, axis=-1)]
    if data.dtype != output.dtype:
        raise UnsupportedUseError(f"{data.dtype} data with {output.dtype} output")
    reference = conversion.kernel(operator) is Arithmetic.REFERENCE
    return [
        dialect.softmax(
            value,
            *conversion.parameters((data, output)),
            axis=-1,
            beta=beta,
            compute_dtype=(ComputeDtype.INT64 if reference else ComputeDtype.FLOAT32).value,
        )
    ]


@rule("ARG_MAX")
def convert_arg_max(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """The index of the first of the largest elements along a constant axis."""
    data, output = conversion.operand(operator, 0), conversion.result(operator)
    value = conversion.value(data)
    axis = conversion.integers(conversion.operand(operator, 1), "axis")
    rank = len(shape_of(value))
    if len(axis) != 1 or not -rank <= axis[0] < rank:
        raise ModelError(f"ARG_MAX along {axis} of {data.name}, which has rank {rank}")
    index = relax.op.argmax(value, axis=axis[0] % rank)
    return [relax.op.astype(conversion.emit(index), output.dtype) if output.dtype != "int64" else index]


@rule("QUANTIZE")
def convert_quantize(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Floats to integers, or integers of one scale to those of another."""
    data, output = conversion.operand(operator, 0), conversion.result(operator)
    kernel = conversion.kernel(operator)
    if data.dtype == "float32":
        builtin = kernel is Arithmetic.BUILTIN
        nearest = kernel is not Arithmetic.REFERENCE
        return [
            dialect.quantize(
                conversion.value(data),
                *conversion.parameters((output,)),
                axis=-1,
                out_dtype=output.dtype,
                rounding=(Rounding.TONEAREST if nearest else Rounding.AWAY).value,
                compute_dtype=ComputeDtype.FLOAT32.value,
                tail_rounding=Rounding.AWAY.value if builtin else "",
                tail_block=_BLOCK if builtin else 0,
            )
        ]
    scale, zero_point = conversion.per_tensor(data)
    factor = np.array([scale], "float32")
    if kernel is Arithmetic.XNNPACK:
        rescale = Rescale(factor, Rounding.UPWARD, ComputeDtype.INT32)
    elif kernel is Arithmetic.REFERENCE:
        rescale = Rescale(factor, Rounding.TFLITE, ComputeDtype.INT64)
    else:
        rescale = Rescale(factor, Rounding.RUY, ComputeDtype.INT64, Rounding.TFLITE, _QUANTIZE_BLOCK, "flat")
    return [requantize(conversion, conversion.value(data), zero_point, rescale, output)]


@rule("DEQUANTIZE")
def convert_dequantize(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Integers to float32."""
    data, output = conversion.operand(operator, 0), conversion.result(operator)
    if output.dtype != "float32":
        raise UnsupportedUseError(f"{output.dtype} output")
    builtin = conversion.kernel(operator) is Arithmetic.BUILTIN
    return [
        dialect.dequantize(
            conversion.value(data),
            *conversion.parameters((data,)),
            axis=-1,
            out_dtype="float32",
            compute_dtype=ComputeDtype.FLOAT32.value,
            tail_block=_BLOCK if builtin else 0,
        )
    ]
