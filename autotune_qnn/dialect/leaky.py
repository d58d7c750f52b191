"""qnn.leaky_relu and qnn.prelu: a slope for what lies below zero, constant or per element."""

from __future__ import annotations

from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.engine import (
    ELEMENTWISE_BLOCK,
    Engine,
    checked_engine,
    engine_attributes,
    engine_of,
    formula_attributes,
    scale_dtypes,
)
from autotune_qnn.dialect.numeric import Array, f4, f8, integer, scalar, shifted
from autotune_qnn.dialect.pytorch_tables import leaky_tables, looked_up
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import CallView, TensorView, broadcast_shape
from autotune_qnn.quantization import ComputeDtype, Rounding, rescale, saturate

LEAKY_FORMULAS = ((ComputeDtype.INT32, Rounding.UPWARD), (ComputeDtype.INT64, Rounding.TFLITE))
PRELU_FORMULAS = ((ComputeDtype.INT64, Rounding.TFLITE),)


def leaky_relu(
    x: Any,
    input_scale: Any,
    input_zero_point: Any,
    output_scale: Any,
    output_zero_point: Any,
    *,
    alpha: float,
    rounding: str = "",
    compute_dtype: str = "",
    engine: str = "",
    tail_block: int | None = None,
    memory_order: str = "NHWC",
) -> Any:
    """x above zero, alpha·x below, in the output's scale, saturated to the data's dtype; d = q − zero point.

    int32/UPWARD, ps = f4(si)/f4(so): ((d·m + 128) >> 8) + zo with m = rint(256·ps) for d > 0, else
    rint(256·(ps·f4(alpha))). int64/TFLITE: fixed point with f4(si)/f4(so) for d ≥ 0, else
    f4(si)·f4(alpha)/f4(so). engine "pytorch" (float64 scales): see `dialect.pytorch_tables`.
    """
    attrs = {
        "alpha": float(alpha),
        **formula_attributes(engine, rounding, compute_dtype),
        **engine_attributes(engine, memory_order, tail_block, ELEMENTWISE_BLOCK),
    }
    operands = [x, input_scale, input_zero_point, output_scale, output_zero_point]
    return make_call("qnn.leaky_relu", operands, attrs)


def prelu(
    x: Any,
    alpha: Any,
    input_scale: Any,
    input_zero_point: Any,
    alpha_scale: Any,
    alpha_zero_point: Any,
    output_scale: Any,
    output_zero_point: Any,
    *,
    rounding: str,
    compute_dtype: str,
) -> Any:
    """As `leaky_relu` with a quantized slope that broadcasts to the data, of the data's dtype.

    int64/TFLITE: fixed point with f4(si)/f4(so) for d ≥ 0, else of d·(slope − its zero point) with
    f4(si)·f4(alpha_scale)/f4(so).
    """
    operands = [
        x,
        alpha,
        input_scale,
        input_zero_point,
        alpha_scale,
        alpha_zero_point,
        output_scale,
        output_zero_point,
    ]
    return make_call("qnn.prelu", operands, {"rounding": rounding, "compute_dtype": compute_dtype})


def _infer_leaky_relu(view: CallView) -> TensorView:
    x = view.data("x")
    engine = checked_engine(view, Engine.PYTORCH)
    view.quantization("input_scale", "input_zero_point", x.dtype, scale_dtypes(engine))
    view.quantization("output_scale", "output_zero_point", x.dtype, scale_dtypes(engine))
    if engine is Engine.PYTORCH:
        view.formula((ComputeDtype.FLOAT32, Rounding.TONEAREST))
    else:
        view.formula(*LEAKY_FORMULAS)
    if not np.isfinite(view.attributes.number("alpha")):
        raise view.error("attribute alpha", "must be finite")
    return x


def _infer_prelu(view: CallView) -> TensorView:
    x, alpha = view.data("x"), view.data("alpha")
    if alpha.dtype != x.dtype:
        raise view.error("alpha", f"must be {x.dtype} as x, not {alpha.dtype}")
    if broadcast_shape(view, "x", "alpha") != x.shape:
        raise view.error("alpha", f"of shape {list(alpha.shape)} does not broadcast to x's {list(x.shape)}")
    view.quantization("input_scale", "input_zero_point", x.dtype)
    view.quantization("alpha_scale", "alpha_zero_point", alpha.dtype)
    view.quantization("output_scale", "output_zero_point", x.dtype)
    view.formula(*PRELU_FORMULAS)
    return x


register(
    OperatorSpec(
        "qnn.leaky_relu",
        ("x", "input_scale", "input_zero_point", "output_scale", "output_zero_point"),
        _infer_leaky_relu,
    )
)
register(
    OperatorSpec(
        "qnn.prelu",
        (
            "x",
            "alpha",
            "input_scale",
            "input_zero_point",
            "alpha_scale",
            "alpha_zero_point",
            "output_scale",
            "output_zero_point",
        ),
        _infer_prelu,
    )
)


@reference("qnn.leaky_relu")
def leaky_relu_reference(
    attrs: Attributes,
    x: Array,
    input_scale: Array,
    input_zero_point: Array,
    output_scale: Array,
    output_zero_point: Array,
) -> Array:
    """Compute as `leaky_relu` states."""
    if engine_of(attrs) is Engine.PYTORCH:
        zi, zo = integer(input_zero_point), integer(output_zero_point)
        scales = scalar(input_scale), scalar(output_scale)
        tables = leaky_tables(attrs.number("alpha"), scales[0], zi, scales[1], zo, str(x.dtype))
        return looked_up(x, *tables, attrs)
    difference = shifted(x, input_zero_point)
    alpha = f4(attrs.number("alpha"))
    si, so = f4(scalar(input_scale)), f4(scalar(output_scale))
    if attrs.string("compute_dtype") == ComputeDtype.INT32.value:
        ratio = si / so
        above, below = (int(np.rint(f4(256) * factor)) for factor in (ratio, ratio * alpha))
        result = (difference * np.where(difference > 0, above, below) + 128) >> 8
    else:
        positive = rescale(difference, f8(si / so), Rounding.TFLITE)
        slope = f8(si * alpha / so)
        negative = rescale(difference, abs(slope), Rounding.TFLITE)
        if slope < 0:  # the multiplier's sign: rounding of the product follows it
            negative = rescale(-difference, abs(slope), Rounding.TFLITE)
        result = np.where(difference >= 0, positive, negative)
    return saturate(result + integer(output_zero_point), str(x.dtype))


@reference("qnn.prelu")
def prelu_reference(
    attrs: Attributes,
    x: Array,
    alpha: Array,
    input_scale: Array,
    input_zero_point: Array,
    alpha_scale: Array,
    alpha_zero_point: Array,
    output_scale: Array,
    output_zero_point: Array,
) -> Array:
    """Compute as `prelu` states."""
    difference = shifted(x, input_zero_point)
    slope = shifted(alpha, alpha_zero_point)
    si, sa, so = (f4(scalar(scale)) for scale in (input_scale, alpha_scale, output_scale))
    positive = rescale(difference, f8(si / so), Rounding.TFLITE)
    negative = rescale(difference * slope, f8(si * sa / so), Rounding.TFLITE)
    result = np.where(difference >= 0, positive, negative)
    return saturate(result + integer(output_zero_point), str(x.dtype))
