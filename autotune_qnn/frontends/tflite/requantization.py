"""How an int32 accumulator becomes the stored integer of the output, for each interpreter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.rules import Expr
from autotune_qnn.frontends.tflite.conversion import Conversion
from autotune_qnn.frontends.tflite.graph import GraphTensor
from autotune_qnn.quantization import Arithmetic, ComputeDtype, Rounding


class Family(Enum):
    """The operators whose accumulators are requantized differently."""

    CONVOLUTION = "convolution"
    GROUPED = "grouped"
    DEPTHWISE = "depthwise"
    TRANSPOSE = "transpose"
    DENSE = "dense"


@dataclass(frozen=True, slots=True)
class Rescale:
    """The arithmetic of one requantize: the dialect's attributes and the input scale."""

    input_scale: Array
    rounding: Rounding
    compute_dtype: ComputeDtype
    tail_rounding: Rounding | None = None
    tail_block: int = 0
    tail_axis: str = "channel"


def accumulator_rescale(
    kernel: Arithmetic, family: Family, dtype: str, input_scale: np.float32, weight_scale: Array
) -> Rescale:
    """The requantize of an accumulator: `weight_scale` float32 [1] or [C], result scale of the same length.

    XNNPACK multiplies in float32. The other two use a fixed-point multiplier whose real value is a product of
    float32s, taken in float32 for uint8 and for per-tensor FULLY_CONNECTED and else in float64; the built-in
    kernels then round half up in whole vectors and half away from zero elsewhere, which depends on the
    family (a grouped convolution runs the reference kernel there).
    """
    single = (input_scale * weight_scale).astype("float32")
    exact = np.float64(input_scale) * weight_scale.astype("float64")
    if kernel is Arithmetic.XNNPACK:
        return Rescale(single, Rounding.TONEAREST, ComputeDtype.FLOAT32)
    if kernel is Arithmetic.REFERENCE and family is Family.DENSE:
        return Rescale(exact, Rounding.AWAY, ComputeDtype.FLOAT64)
    per_tensor_dense = family is Family.DENSE and weight_scale.size == 1
    factor = single if dtype == "uint8" or per_tensor_dense else exact
    reference_kernel = family is Family.GROUPED or (family is Family.DEPTHWISE and dtype == "uint8")
    if kernel is Arithmetic.REFERENCE or reference_kernel:
        return Rescale(factor, Rounding.TFLITE, ComputeDtype.INT64)
    if family in (Family.DEPTHWISE, Family.TRANSPOSE):
        block, axis = (8, "channel") if dtype == "int8" else (16, "flat")
        return Rescale(factor, Rounding.RUY, ComputeDtype.INT64, Rounding.TFLITE, block, axis)
    return Rescale(factor, Rounding.RUY, ComputeDtype.INT64)


def requantize(
    conversion: Conversion, value: Expr, zero_point: int, rescale: Rescale, output: GraphTensor
) -> Expr:
    """`value` in the scale and dtype of `output`; the channel axis is the last."""
    scale = rescale.input_scale
    tail = rescale.tail_rounding
    return dialect.requantize(
        conversion.emit(value),
        relax.const(scale.reshape(()) if scale.size == 1 else scale, scale.dtype.name),
        relax.const(np.int32(zero_point), "int32"),
        conversion.scale(output),
        conversion.zero_point(output),
        axis=-1,
        rounding=rescale.rounding.value,
        compute_dtype=rescale.compute_dtype.value,
        out_dtype=output.dtype,
        tail_rounding=tail.value if tail is not None else "",
        tail_block=rescale.tail_block,
        tail_axis=rescale.tail_axis,
    )
