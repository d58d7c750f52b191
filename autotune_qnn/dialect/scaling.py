"""qnn.quantize, qnn.dequantize and qnn.requantize: between real numbers and integers, and between integer
scales.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autotune_qnn.dialect import pytorch
from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.numeric import Array, along, f4, f8, in_blocks, integer, scalar, shifted
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import ANY_SCALE_DTYPES, SCALE_DTYPES, CallView, TensorView
from autotune_qnn.errors import DialectError
from autotune_qnn.quantization import ComputeDtype, Rounding, rescale, round_away, saturate, to_integer

STORED_DTYPES = ("int8", "uint8", "int16", "int32")
ACCUMULATOR_DTYPES = ("int8", "uint8", "int16", "int32")

QUANTIZE_FORMULAS = (
    (ComputeDtype.FLOAT32, Rounding.TONEAREST),
    (ComputeDtype.FLOAT32, Rounding.AWAY),
    (ComputeDtype.FLOAT64, Rounding.AWAY),
)
QUANTIZE_ENGINES = ("", "pytorch", "decomposed")
REQUANTIZE_FORMULAS = (
    (ComputeDtype.FLOAT32, Rounding.TONEAREST),
    (ComputeDtype.INT64, Rounding.TFLITE),
    (ComputeDtype.INT64, Rounding.RUY),
    (ComputeDtype.FLOAT64, Rounding.AWAY),
    (ComputeDtype.INT32, Rounding.UPWARD),
)


def quantize(
    data: Any,
    output_scale: Any,
    output_zero_point: Any,
    *,
    axis: int = -1,
    out_dtype: str,
    rounding: str = Rounding.TONEAREST,
    compute_dtype: str = ComputeDtype.FLOAT32,
    tail_rounding: str = "",
    tail_block: int = 0,
    engine: str = "",
) -> Any:
    """Float32 data to integers of `out_dtype`, saturated; scale and zero point () or (C,) along `axis`.

    float32/TONEAREST is rint(x·(1/scale)) + zero_point, float32/AWAY roundf(x/scale) + zero_point and
    float64/AWAY the same with the quotient in float64. With a `tail_block` the elements past the last whole
    block of the flattened tensor use `tail_rounding` in float64.

    engine "pytorch" (float64 scale) is quantize_per_tensor, rint(fma(x, 1/scale, zero_point)); "decomposed"
    is quantized_decomposed.quantize_per_tensor: rint(x·f4(1/scale taken in float64)) + zero_point.
    """
    attrs = {
        "axis": axis,
        "out_dtype": out_dtype,
        "rounding": rounding,
        "compute_dtype": compute_dtype,
        "tail_rounding": tail_rounding,
        "tail_block": tail_block,
        "engine": engine,
    }
    return make_call("qnn.quantize", [data, output_scale, output_zero_point], attrs)


def dequantize(
    data: Any,
    input_scale: Any,
    input_zero_point: Any,
    *,
    axis: int = -1,
    out_dtype: str = "float32",
    compute_dtype: str = ComputeDtype.FLOAT32,
    tail_block: int = 0,
) -> Any:
    """Integers to float32: f4(q − zero_point)·f4(scale); parameters () or (C,) along `axis`.

    The scale is float32 or float64.

    With a `tail_block` (scalar parameters only) whole blocks of the flattened tensor are
    f4(q)·scale + f4(−zero_point·f8(scale)), without fused multiply-add, and the rest as above.
    """
    attrs = {"axis": axis, "out_dtype": out_dtype, "compute_dtype": compute_dtype, "tail_block": tail_block}
    return make_call("qnn.dequantize", [data, input_scale, input_zero_point], attrs)


def requantize(
    data: Any,
    input_scale: Any,
    input_zero_point: Any,
    output_scale: Any,
    output_zero_point: Any,
    *,
    axis: int = -1,
    rounding: str,
    compute_dtype: str,
    out_dtype: str,
    tail_rounding: str = "",
    tail_block: int = 0,
    tail_axis: str = "channel",
) -> Any:
    """Integers of one scale to integers of another, saturated to `out_dtype`; zi and zo are the zero points.

    (compute_dtype, rounding) names the formula, s = f4(input_scale)/f4(output_scale):
    float32/TONEAREST rint(f4(x − zi)·s) + zo; int64/TFLITE and int64/RUY fixed point with the multiplier of
    f8(input_scale)/f8(output_scale); float64/AWAY roundf(f8(x − zi)·(f8(input_scale)/f8(output_scale))) + zo;
    int32/UPWARD (((x − zi)·rint(256·s) + 128) >> 8) + zo.

    input_scale is float32 or float64, () or (C,) along `axis`. With a `tail_block` the elements past the last
    whole block, counted along `axis` (tail_axis "channel") or over the flattened tensor ("flat"), use
    `tail_rounding`.
    """
    attrs = {
        "axis": axis,
        "rounding": rounding,
        "compute_dtype": compute_dtype,
        "out_dtype": out_dtype,
        "tail_rounding": tail_rounding,
        "tail_block": tail_block,
        "tail_axis": tail_axis,
    }
    operands = [data, input_scale, input_zero_point, output_scale, output_zero_point]
    return make_call("qnn.requantize", operands, attrs)


def _check_tail(view: CallView, allowed: tuple[str, ...]) -> None:
    block = view.block()
    rounding = view.attributes.string("tail_rounding")
    if block == 0 and rounding:
        raise view.error("attribute tail_rounding", f"{rounding!r} needs a tail_block")
    if block > 0:
        view.choice("tail_rounding", allowed)


def _infer_quantize(view: CallView) -> TensorView:
    data = view.data("data", ("float32",))
    channels = view.channels(data, "output_scale", "output_zero_point")
    out_dtype = view.choice("out_dtype", STORED_DTYPES)
    engine = view.choice("engine", QUANTIZE_ENGINES)
    view.scale("output_scale", channels, ("float64",) if engine else SCALE_DTYPES)
    view.zero_point("output_zero_point", channels, of=out_dtype)
    view.formula(*(QUANTIZE_FORMULAS[:1] if engine else QUANTIZE_FORMULAS))
    _check_tail(view, (Rounding.AWAY.value,))
    if engine and view.block():
        raise view.error("attribute tail_block", f"must be 0 for engine {engine}")
    return TensorView(data.shape, out_dtype)


def _infer_dequantize(view: CallView) -> TensorView:
    data = view.data("data", STORED_DTYPES)
    channels = view.channels(data, "input_scale", "input_zero_point")
    view.scale("input_scale", channels, ANY_SCALE_DTYPES, zero_allowed=True)
    view.zero_point("input_zero_point", channels, of=data.dtype)
    view.choice("compute_dtype", (ComputeDtype.FLOAT32.value,))
    if view.block() and channels is not None:
        raise view.error("input_scale", "must be per tensor where tail_block is set")
    return TensorView(data.shape, view.choice("out_dtype", ("float32",)))


def _infer_requantize(view: CallView) -> TensorView:
    data = view.data("data", ACCUMULATOR_DTYPES)
    channels = view.channels(data, "input_scale", "input_zero_point")
    view.scale("input_scale", channels, ANY_SCALE_DTYPES, zero_allowed=True)
    view.zero_point("input_zero_point", channels, of=data.dtype)
    out_dtype = view.choice("out_dtype", STORED_DTYPES)
    view.scale("output_scale")
    view.zero_point("output_zero_point", of=out_dtype)
    compute, _ = view.formula(*REQUANTIZE_FORMULAS)
    _check_tail(view, tuple(rounding.value for kind, rounding in REQUANTIZE_FORMULAS if kind is compute))
    if view.choice("tail_axis", ("channel", "flat")) == "channel" and view.block():
        view.axis("axis", data.rank)
    return TensorView(data.shape, out_dtype)


register(OperatorSpec("qnn.quantize", ("data", "output_scale", "output_zero_point"), _infer_quantize))
register(OperatorSpec("qnn.dequantize", ("data", "input_scale", "input_zero_point"), _infer_dequantize))
register(
    OperatorSpec(
        "qnn.requantize",
        ("data", "input_scale", "input_zero_point", "output_scale", "output_zero_point"),
        _infer_requantize,
    )
)


@reference("qnn.quantize")
def quantize_reference(
    attrs: Attributes, data: Array, output_scale: Array, output_zero_point: Array
) -> Array:
    """Quantize as `quantize` states; NaN becomes the zero point."""
    axis = attrs.integer("axis")
    rounding = Rounding(attrs.string("rounding"))
    zero = along(output_zero_point.astype(np.int64), axis, data.ndim)
    engine, dtype = attrs.string("engine"), attrs.string("out_dtype")
    if engine == "pytorch":
        factor = along(f4(1) / output_scale.astype(f4), axis, data.ndim)
        return pytorch.quantize_fused(data, factor, zero, dtype)
    if engine == "decomposed":
        factor = along((1.0 / output_scale.astype(f8)).astype(f4), axis, data.ndim)
        with np.errstate(over="ignore"):
            return saturate(to_integer(np.asarray(data * factor, f4), rounding) + zero, dtype)
    scale = along(output_scale.astype(f4), axis, data.ndim)
    with np.errstate(over="ignore"):
        if rounding is Rounding.TONEAREST:
            values = to_integer(data * (f4(1) / scale), rounding)
        elif attrs.string("compute_dtype") == ComputeDtype.FLOAT64.value:
            values = to_integer(data.astype(f8) / scale.astype(f8), rounding)
        else:
            values = to_integer(data / scale, rounding)
    block = attrs.integer("tail_block")
    if block:
        tail = to_integer(data.astype(f8) / scale.astype(f8), Rounding(attrs.string("tail_rounding")))
        values = in_blocks(values, tail, block, None)
    return saturate(values + zero, dtype)


@reference("qnn.dequantize")
def dequantize_reference(
    attrs: Attributes, data: Array, input_scale: Array, input_zero_point: Array
) -> Array:
    """Dequantize as `dequantize` states."""
    axis = attrs.integer("axis")
    scale = along(input_scale.astype(f4), axis, data.ndim)
    result = shifted(data, input_zero_point, axis).astype(f4) * scale
    block = attrs.integer("tail_block")
    if block:
        offset = f4(-integer(input_zero_point) * f8(scalar(input_scale)))
        result = in_blocks(data.astype(f4) * scale + offset, result, block, None)
    return np.asarray(result, f4)


@reference("qnn.requantize")
def requantize_reference(
    attrs: Attributes,
    data: Array,
    input_scale: Array,
    input_zero_point: Array,
    output_scale: Array,
    output_zero_point: Array,
) -> Array:
    """Requantize as `requantize` states."""
    axis = attrs.integer("axis")
    values = shifted(data, input_zero_point, axis)
    scale = along(input_scale, axis, data.ndim)
    compute = ComputeDtype(attrs.string("compute_dtype"))
    out_scale = scalar(output_scale)
    result = scaled_integers(values, scale, out_scale, compute, Rounding(attrs.string("rounding")))
    block = attrs.integer("tail_block")
    if block:
        tail = scaled_integers(values, scale, out_scale, compute, Rounding(attrs.string("tail_rounding")))
        flat = attrs.string("tail_axis") == "flat"
        result = in_blocks(result, tail, block, None if flat else axis)
    return saturate(result + integer(output_zero_point), attrs.string("out_dtype"))


def scaled_integers(
    values: Array, input_scale: Array, output_scale: Any, compute: ComputeDtype, rounding: Rounding
) -> Array:
    """int64 `values`·input_scale/output_scale by one of the requantize formulas, before the zero point.

    `input_scale` broadcasts against `values`. DialectError for a pair that is no formula.
    """
    if (compute, rounding) not in REQUANTIZE_FORMULAS:
        raise DialectError(f"qnn.requantize: no formula {compute.value}/{rounding.value}")
    if compute is ComputeDtype.FLOAT32:
        return to_integer(values.astype(f4) * (input_scale.astype(f4) / f4(output_scale)), rounding)
    if compute is ComputeDtype.INT64:
        return rescale(values, input_scale.astype(f8) / f8(output_scale), rounding)
    if compute is ComputeDtype.FLOAT64:
        return to_integer(
            round_away(values.astype(f8) * (input_scale.astype(f8) / f8(output_scale))), rounding
        )
    factor = np.rint(f4(256) * (input_scale.astype(f4) / f4(output_scale))).astype(np.int64)
    return np.asarray((values * factor + 128) >> 8)
