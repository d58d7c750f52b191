"""qnn.add, qnn.subtract and qnn.mul: elementwise arithmetic of two quantized tensors of different scales."""

from __future__ import annotations

from typing import Any

import numpy as np

from autotune_qnn.dialect import pytorch
from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.engine import (
    ELEMENTWISE_BLOCK,
    Engine,
    by_place,
    checked_engine,
    engine_attributes,
    engine_of,
    formula_attributes,
    scale_dtypes,
)
from autotune_qnn.dialect.numeric import Array, f4, f8, in_blocks, integer, scalar, shifted
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import CallView, Formula, TensorView, broadcast_shape
from autotune_qnn.errors import DialectError
from autotune_qnn.quantization import (
    ComputeDtype,
    Rounding,
    float32_exponent,
    rescale,
    saturate,
    shift_right_away,
    to_integer,
)

OPERANDS = (
    "lhs",
    "rhs",
    "lhs_scale",
    "lhs_zero_point",
    "rhs_scale",
    "rhs_zero_point",
    "output_scale",
    "output_zero_point",
)
QNNPACK_SUM = (ComputeDtype.INT32, Rounding.AWAY)
SUM_FORMULAS: dict[Engine, tuple[Formula, ...]] = {
    Engine.NONE: ((ComputeDtype.INT32, Rounding.UPWARD), (ComputeDtype.INT64, Rounding.TFLITE)),
    Engine.PYTORCH: ((ComputeDtype.FLOAT32, Rounding.TONEAREST),),
    Engine.QNNPACK: (QNNPACK_SUM,),
}
PRODUCT_FORMULAS = ((ComputeDtype.FLOAT32, Rounding.TONEAREST), (ComputeDtype.INT64, Rounding.TFLITE))
# Bits by which TFLite's fixed-point sum shifts both sides before it scales them.
LEFT_SHIFT = 20
# Bits of the larger multiplier of QNNPACK's sum.
QNNPACK_LEFT_SHIFT = 21


def _call(operator: str, operands: tuple[Any, ...], axes: tuple[int, int], attrs: dict[str, Any]) -> Any:
    """A call with the axes of both sides' parameters before the other attributes."""
    return make_call(operator, operands, {"lhs_axis": axes[0], "rhs_axis": axes[1], **attrs})


def add(
    lhs: Any,
    rhs: Any,
    lhs_scale: Any,
    lhs_zero_point: Any,
    rhs_scale: Any,
    rhs_zero_point: Any,
    output_scale: Any,
    output_zero_point: Any,
    *,
    lhs_axis: int = -1,
    rhs_axis: int = -1,
    rounding: str = "",
    compute_dtype: str = "",
    tail_block: int | None = None,
    engine: str = "",
    memory_order: str = "NHWC",
) -> Any:
    """lhs + rhs in the output's scale, saturated to their common dtype; operands broadcast, parameters are
    scalar.

    int32/UPWARD: with ra = f4(lhs_scale)/f4(output_scale), rb likewise, sh = 20 − exponent(max(ra, rb)) and m
    = rint(r·2^sh): ((2^(sh−1) + ma·(a − za) + mb·(b − zb)) >> sh) + zo. int64/TFLITE: both sides shifted left
    by 20, scaled by fixed point, added, scaled to the output.

    engine "pytorch" (float64 scales): the sum of the dequantized operands, quantized; `tail_block` elements at a
    time in vectors, the rest one by one (see `dialect.pytorch`). engine "qnnpack": as int32/UPWARD with
    sh = 21 − exponent, ties away from zero.
    """
    quantization = (lhs_scale, lhs_zero_point, rhs_scale, rhs_zero_point, output_scale, output_zero_point)
    formula = formula_attributes(engine, rounding, compute_dtype, QNNPACK_SUM)
    placement = engine_attributes(engine, memory_order, tail_block, ELEMENTWISE_BLOCK)
    return _call("qnn.add", (lhs, rhs, *quantization), (lhs_axis, rhs_axis), {**formula, **placement})


def subtract(
    lhs: Any,
    rhs: Any,
    lhs_scale: Any,
    lhs_zero_point: Any,
    rhs_scale: Any,
    rhs_zero_point: Any,
    output_scale: Any,
    output_zero_point: Any,
    *,
    lhs_axis: int = -1,
    rhs_axis: int = -1,
    rounding: str,
    compute_dtype: str,
    tail_block: int = 0,
) -> Any:
    """lhs − rhs; everything else as `add`."""
    quantization = (lhs_scale, lhs_zero_point, rhs_scale, rhs_zero_point, output_scale, output_zero_point)
    formula = formula_attributes("", rounding, compute_dtype)
    placement = engine_attributes("", "NHWC", tail_block)
    return _call("qnn.subtract", (lhs, rhs, *quantization), (lhs_axis, rhs_axis), {**formula, **placement})


def mul(
    lhs: Any,
    rhs: Any,
    lhs_scale: Any,
    lhs_zero_point: Any,
    rhs_scale: Any,
    rhs_zero_point: Any,
    output_scale: Any,
    output_zero_point: Any,
    *,
    lhs_axis: int = -1,
    rhs_axis: int = -1,
    rounding: str = "",
    compute_dtype: str = "",
    tail_block: int | None = None,
    engine: str = "",
    memory_order: str = "NHWC",
) -> Any:
    """lhs · rhs in the output's scale, saturated to their common dtype; operands broadcast, parameters are
    scalar.

    With p = (a − za)·(b − zb) and s = f4(lhs_scale)·f4(rhs_scale)/f4(output_scale): float32/TONEAREST
    rint(f4(p)·s) + zo; int64/TFLITE fixed point with the multiplier of f8(s), where a `tail_block` (int64
    only) saturates whole blocks of the flattened result to int16 before the zero point is added with int16
    wrap-around.

    engine "pytorch" (float64 scales): rint(f4(p)·(f4(lhs_scale)·f4(rhs_scale)·(1/f4(output_scale)))) + zo, wherever
    the element lies.
    """
    quantization = (lhs_scale, lhs_zero_point, rhs_scale, rhs_zero_point, output_scale, output_zero_point)
    formula = formula_attributes(engine, rounding, compute_dtype)
    placement = engine_attributes(engine, memory_order, tail_block)
    return _call("qnn.mul", (lhs, rhs, *quantization), (lhs_axis, rhs_axis), {**formula, **placement})


def _infer_operands(view: CallView, scales: tuple[str, ...]) -> TensorView:
    lhs, rhs = view.data("lhs"), view.data("rhs")
    if lhs.dtype != rhs.dtype:
        raise view.error("rhs", f"must be {lhs.dtype} as lhs, not {rhs.dtype}")
    view.quantization("lhs_scale", "lhs_zero_point", lhs.dtype, scales)
    view.quantization("rhs_scale", "rhs_zero_point", rhs.dtype, scales)
    view.quantization("output_scale", "output_zero_point", lhs.dtype, scales)
    return TensorView(broadcast_shape(view, "lhs", "rhs"), lhs.dtype)


def _infer_sum(view: CallView) -> TensorView:
    sum_of_two = view.operator == "qnn.add"
    engine = checked_engine(view, *((Engine.PYTORCH, Engine.QNNPACK) if sum_of_two else ()))
    result = _infer_operands(view, scale_dtypes(engine))
    view.formula(*SUM_FORMULAS[engine])
    if view.block() and engine is not Engine.PYTORCH:
        raise view.error("attribute tail_block", "must be 0: no sum rounds by an element's place")
    return result


def _infer_product(view: CallView) -> TensorView:
    engine = checked_engine(view, Engine.PYTORCH, place_matters=False)
    result = _infer_operands(view, scale_dtypes(engine))
    compute, _ = view.formula(*(PRODUCT_FORMULAS[:1] if engine else PRODUCT_FORMULAS))
    if view.block() and compute is not ComputeDtype.INT64:
        raise view.error("attribute tail_block", f"must be 0 for {compute.value}")
    return result


register(OperatorSpec("qnn.add", OPERANDS, _infer_sum))
register(OperatorSpec("qnn.subtract", OPERANDS, _infer_sum))
register(OperatorSpec("qnn.mul", OPERANDS, _infer_product))


def sum_multipliers(
    operator: str, lhs_scale: Any, rhs_scale: Any, output_scale: Any, bits: int = LEFT_SHIFT
) -> tuple[int, int, int]:
    """The integers (ma, mb, shift) of a sum in int32 from its three float32 scales; the larger multiplier has
    `bits` bits below its first.

    DialectError where the larger scale ratio is 2^bits or more, which leaves no fraction bits.
    """
    ratios = f4(lhs_scale) / f4(output_scale), f4(rhs_scale) / f4(output_scale)
    shift = bits - float32_exponent(max(ratios))
    if not 1 <= shift <= 62:
        raise DialectError(
            f"{operator}: scales {ratios[0]} and {ratios[1]} times the output's have no int32 form"
        )
    left, right = (int(np.rint(np.ldexp(ratio, shift))) for ratio in ratios)
    return left, right, shift


def qnnpack_multipliers(lhs_scale: Any, rhs_scale: Any, output_scale: Any) -> tuple[int, int, int]:
    """The integers (ma, mb, shift) of QNNPACK's sum from float32 scales, as `sum_multipliers` gives them."""
    return sum_multipliers("qnn.add", lhs_scale, rhs_scale, output_scale, QNNPACK_LEFT_SHIFT)


def _sum_reference(operator: str, sign: int, attrs: Attributes, operands: tuple[Array, ...]) -> Array:
    lhs, rhs, lhs_scale, lhs_zero, rhs_scale, rhs_zero, output_scale, output_zero = operands
    left, right = shifted(lhs, lhs_zero), shifted(rhs, rhs_zero)
    sa, sb, so = f4(scalar(lhs_scale)), f4(scalar(rhs_scale)), f4(scalar(output_scale))
    if attrs.string("compute_dtype") == ComputeDtype.INT32.value:
        ma, mb, shift = sum_multipliers(operator, sa, sb, so)
        result = ((1 << (shift - 1)) + ma * left + sign * mb * right) >> shift
    else:
        twice = 2.0 * f8(max(sa, sb))
        first = rescale(left << LEFT_SHIFT, f8(sa) / twice, Rounding.TFLITE)
        second = rescale(right << LEFT_SHIFT, f8(sb) / twice, Rounding.TFLITE)
        result = rescale(first + sign * second, twice / f8(f4(1 << LEFT_SHIFT) * so), Rounding.TFLITE)
    return saturate(result + integer(output_zero), str(lhs.dtype))


def _sum_qnnpack(operands: tuple[Array, ...]) -> Array:
    lhs, rhs, lhs_scale, lhs_zero, rhs_scale, rhs_zero, output_scale, output_zero = operands
    ma, mb, shift = qnnpack_multipliers(scalar(lhs_scale), scalar(rhs_scale), scalar(output_scale))
    total = ma * shifted(lhs, lhs_zero) + mb * shifted(rhs, rhs_zero)
    return saturate(shift_right_away(total, shift) + integer(output_zero), str(lhs.dtype))


def _sum_pytorch(attrs: Attributes, operands: tuple[Array, ...]) -> Array:
    lhs, rhs, lhs_scale, lhs_zero, rhs_scale, rhs_zero, output_scale, output_zero = operands
    sa, za, sb, zb = scalar(lhs_scale), integer(lhs_zero), scalar(rhs_scale), integer(rhs_zero)
    so, zo, dtype = scalar(output_scale), integer(output_zero), str(lhs.dtype)

    def body(left: Array, right: Array) -> Array:
        total = pytorch.dequantize_vector(left, sa, za) + pytorch.dequantize_vector(right, sb, zb)
        return pytorch.quantize_vector(total, pytorch.inverse(so), zo, dtype)

    def tail(left: Array, right: Array) -> Array:
        total = pytorch.dequantize_scalar(left, sa, za) + pytorch.dequantize_scalar(right, sb, zb)
        return pytorch.quantize_scalar(total, so, zo, dtype)

    return by_place(np.broadcast_shapes(lhs.shape, rhs.shape), attrs, body, tail, lhs, rhs)


@reference("qnn.add")
def add_reference(attrs: Attributes, *operands: Array) -> Array:
    """Add as `add` states."""
    engine = engine_of(attrs)
    if engine is Engine.QNNPACK:
        return _sum_qnnpack(operands)
    if engine is Engine.PYTORCH:
        return _sum_pytorch(attrs, operands)
    return _sum_reference("qnn.add", 1, attrs, operands)


@reference("qnn.subtract")
def subtract_reference(attrs: Attributes, *operands: Array) -> Array:
    """Subtract as `subtract` states."""
    return _sum_reference("qnn.subtract", -1, attrs, operands)


@reference("qnn.mul")
def mul_reference(attrs: Attributes, *operands: Array) -> Array:
    """Multiply as `mul` states."""
    lhs, rhs, lhs_scale, lhs_zero, rhs_scale, rhs_zero, output_scale, output_zero = operands
    product = shifted(lhs, lhs_zero) * shifted(rhs, rhs_zero)
    factor = f4(scalar(lhs_scale)) * f4(scalar(rhs_scale))
    if engine_of(attrs) is Engine.PYTORCH:
        factor = factor * pytorch.inverse(scalar(output_scale))
    else:
        factor = factor / f4(scalar(output_scale))
    zero = integer(output_zero)
    if attrs.string("compute_dtype") == ComputeDtype.FLOAT32.value:
        result = to_integer(product.astype(f4) * factor, Rounding.TONEAREST) + zero
    else:
        scaled = rescale(product, f8(factor), Rounding.TFLITE)
        result = scaled + zero
        block = attrs.integer("tail_block")
        if block:
            wrapped = (saturate(scaled, "int16").astype(np.int64) + zero).astype(np.int16).astype(np.int64)
            result = in_blocks(wrapped, result, block, None)
    return saturate(result, str(lhs.dtype))
