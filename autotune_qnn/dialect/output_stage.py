"""qnn.output_stage: from int32 accumulators and a float bias to stored integers, as each of PyTorch's engines does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.engine import StageEngine
from autotune_qnn.dialect.numeric import Array, along, f4, f8, integer, scalar
from autotune_qnn.dialect.pytorch import fma
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import DATA_8BIT, CallView, TensorView
from autotune_qnn.quantization import Rounding, saturate, to_integer

OPERANDS = ("accumulator", "bias", "input_scale", "kernel_scale", "output_scale", "output_zero_point")


def output_stage(
    accumulator: Any,
    bias: Any,
    input_scale: Any,
    kernel_scale: Any,
    output_scale: Any,
    output_zero_point: Any,
    *,
    axis: int = -1,
    engine: str,
    out_dtype: str = "uint8",
) -> Any:
    """int32 accumulators and a float32 bias (C,) along `axis` to `out_dtype`, saturated; scales are float64.

    kernel_scale is () or (C,): some engines round differently for a scale per tensor and one per channel. With
    A = f4(accumulator), aw = f4(si)·f4(sw), m = aw/f4(so) and everything in float32:

    - fbgemm, per channel: rint((A + b/aw)·m) + zo; per tensor: rint(fma(b, 1/aw, A)·m) + zo.
    - onednn and onednn_depthwise, S = 1/f4(1/si), I = 1/(1/f4(1/so)): rint(((A·S)·f4(sw) + b)·I + zo).
    - onednn_combined: the same with (A·(S·f4(sw)) + b) within. Which of both a dense convolution follows depends on
      the CPU.
    - onednn_linear: as onednn with 1/f4(1/sw) per tensor, 1/(1/f4(sw)) per channel, in place of f4(sw).
    - qnnpack: rint(f4(accumulator + rint(b·(1/f4(si·sw))))·((f4(sw)·f4(si))·(1/f4(so)))) + zo.
    - decomposed, I = f4(1/so): rint(((A·si)·sw + b)·I) + zo; inductor: rint(((A·si)·sw + b)·I + zo).

    A fused relu is a following clip at the zero point.
    """
    operands = [accumulator, bias, input_scale, kernel_scale, output_scale, output_zero_point]
    attrs = {"axis": axis, "engine": engine, "out_dtype": out_dtype}
    return make_call("qnn.output_stage", operands, attrs)


def _infer_output_stage(view: CallView) -> TensorView:
    data = view.data("accumulator", ("int32",))
    channels = data.shape[view.axis("axis", data.rank)]
    view.require_parameter_shape("bias", view.data("bias", ("float32",), rank=1), channels)
    view.scale("input_scale", dtypes=("float64",))
    view.scale("kernel_scale", channels, ("float64",), zero_allowed=True)
    view.scale("output_scale", dtypes=("float64",))
    view.choice("engine", tuple(engine.value for engine in StageEngine))
    out_dtype = view.choice("out_dtype", DATA_8BIT)
    view.zero_point("output_zero_point", of=out_dtype)
    return TensorView(data.shape, out_dtype)


register(OperatorSpec("qnn.output_stage", OPERANDS, _infer_output_stage))


@dataclass(frozen=True, slots=True)
class StageFactors:
    """The float32 factors of an engine's formula, () or (C,) by the kernel scale's shape.

    fbgemm: `first` is aw, `second` m. onednn, decomposed and inductor: the accumulator's factor (S or si), that of the
    weights (onednn_combined: their product, and 1), and I as `output`, which is 1 elsewhere. qnnpack: `first` is the
    bias's factor, `second` the accumulator's.
    """

    first: Array
    second: Array
    output: Any


def stage_factors(
    engine: StageEngine, input_scale: Any, kernel_scale: Array, output_scale: Any
) -> StageFactors:
    """The factors of `engine` from float64 scales."""
    one = f4(1)
    si, sw, so = f4(input_scale), kernel_scale.astype(f4), f4(output_scale)
    with np.errstate(divide="ignore", over="ignore"):
        if engine is StageEngine.FBGEMM:
            return StageFactors(si * sw, si * sw / so, one)
        if engine is StageEngine.QNNPACK:
            bias_scale = (f8(input_scale) * kernel_scale.astype(f8)).astype(f4)
            return StageFactors(one / bias_scale, (sw * si) * (one / so), one)
        if engine in (StageEngine.DECOMPOSED, StageEngine.INDUCTOR):
            return StageFactors(np.asarray(si), sw, f4(1.0 / f8(output_scale)))
        data_factor = one / f4(1.0 / f8(input_scale))
        output = one / (one / f4(1.0 / f8(output_scale)))
        if engine is StageEngine.ONEDNN_LINEAR:
            sw = one / (one / sw if kernel_scale.ndim else (1.0 / kernel_scale.astype(f8)).astype(f4))
        if engine is StageEngine.ONEDNN_COMBINED:
            return StageFactors(np.asarray(data_factor * sw), np.ones_like(sw), output)
        return StageFactors(np.asarray(data_factor), np.asarray(sw, f4), output)


def integer_bias(bias: Array, factor: Array) -> Array:
    """qnnpack's bias in units of the accumulator: rint(b · factor), int64."""
    return to_integer(np.asarray(bias * factor, f4), Rounding.TONEAREST)


@reference("qnn.output_stage")
def output_stage_reference(
    attrs: Attributes,
    accumulator: Array,
    bias: Array,
    input_scale: Array,
    kernel_scale: Array,
    output_scale: Array,
    output_zero_point: Array,
) -> Array:
    """Compute as `output_stage` states."""
    engine = StageEngine(attrs.string("engine"))
    axis, rank = attrs.integer("axis"), accumulator.ndim
    factors = stage_factors(engine, scalar(input_scale), kernel_scale, scalar(output_scale))
    first = along(factors.first, axis, rank)
    second = along(factors.second, axis, rank)
    total = accumulator.astype(f4)
    offset = along(bias.astype(f4), axis, rank)
    zero, dtype = integer(output_zero_point), attrs.string("out_dtype")
    if engine in (StageEngine.FBGEMM, StageEngine.QNNPACK):
        if engine is StageEngine.QNNPACK:
            moved = integer_bias(bias.astype(f4), np.broadcast_to(factors.first, bias.shape))
            total = (accumulator.astype(np.int64) + along(moved, axis, rank)).astype(f4)
        elif kernel_scale.ndim:
            total = total + offset / first
        else:
            total = fma(offset, f4(1) / first, total)
        return saturate(to_integer(np.asarray(total * second, f4), Rounding.TONEAREST) + zero, dtype)
    total = (total * first) * second + offset
    if engine is StageEngine.DECOMPOSED:
        return saturate(to_integer(np.asarray(total * factors.output, f4), Rounding.TONEAREST) + zero, dtype)
    return saturate(to_integer(np.asarray(total * factors.output + f4(zero), f4), Rounding.TONEAREST), dtype)
