"""qnn.add, qnn.subtract and qnn.mul: elementwise arithmetic of two quantized tensors of different scales."""

from __future__ import annotations

from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.numeric import Array, f4, f8, in_blocks, integer, scalar, shifted
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import CallView, TensorView, broadcast_shape
from autotune_qnn.errors import DialectError
from autotune_qnn.quantization import ComputeDtype, Rounding, float32_exponent, rescale, saturate, to_integer

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
SUM_FORMULAS = ((ComputeDtype.INT32, Rounding.UPWARD), (ComputeDtype.INT64, Rounding.TFLITE))
PRODUCT_FORMULAS = ((ComputeDtype.FLOAT32, Rounding.TONEAREST), (ComputeDtype.INT64, Rounding.TFLITE))
# Bits by which TFLite's fixed-point sum shifts both sides before it scales them.
LEFT_SHIFT = 20


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
    rounding: str,
    compute_dtype: str,
    tail_block: int = 0,
) -> Any:
    """lhs + rhs in the output's scale, saturated to their common dtype; operands broadcast, parameters are
    scalar.

    int32/UPWARD: with ra = f4(lhs_scale)/f4(output_scale), rb likewise, sh = 20 − exponent(max(ra, rb)) and m
    = rint(r·2^sh): ((2^(sh−1) + ma·(a − za) + mb·(b − zb)) >> sh) + zo. int64/TFLITE: both sides shifted left
    by 20, scaled by fixed point, added, scaled to the output.
    """
    operands = [
        lhs,
        rhs,
        lhs_scale,
        lhs_zero_point,
        rhs_scale,
        rhs_zero_point,
        output_scale,
        output_zero_point,
    ]
    return make_call(
        "qnn.add", operands, _attributes(lhs_axis, rhs_axis, rounding, compute_dtype, tail_block)
    )


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
    operands = [
        lhs,
        rhs,
        lhs_scale,
        lhs_zero_point,
        rhs_scale,
        rhs_zero_point,
        output_scale,
        output_zero_point,
    ]
    return make_call(
        "qnn.subtract", operands, _attributes(lhs_axis, rhs_axis, rounding, compute_dtype, tail_block)
    )


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
    rounding: str,
    compute_dtype: str,
    tail_block: int = 0,
) -> Any:
    """lhs · rhs in the output's scale, saturated to their common dtype; operands broadcast, parameters are
    scalar.

    With p = (a − za)·(b − zb) and s = f4(lhs_scale)·f4(rhs_scale)/f4(output_scale): float32/TONEAREST
    rint(f4(p)·s) + zo; int64/TFLITE fixed point with the multiplier of f8(s), where a `tail_block` (int64
    only) saturates whole blocks of the flattened result to int16 before the zero point is added with int16
    wrap-around.
    """
    operands = [
        lhs,
        rhs,
        lhs_scale,
        lhs_zero_point,
        rhs_scale,
        rhs_zero_point,
        output_scale,
        output_zero_point,
    ]
    return make_call(
        "qnn.mul", operands, _attributes(lhs_axis, rhs_axis, rounding, compute_dtype, tail_block)
    )


def _attributes(
    lhs_axis: int, rhs_axis: int, rounding: str, compute_dtype: str, tail_block: int
) -> dict[str, Any]:
    return {
        "lhs_axis": lhs_axis,
        "rhs_axis": rhs_axis,
        "rounding": rounding,
        "compute_dtype": compute_dtype,
        "tail_block": tail_block,
    }


def _infer_operands(view: CallView) -> TensorView:
    lhs, rhs = view.data("lhs"), view.data("rhs")
    if lhs.dtype != rhs.dtype:
        raise view.error("rhs", f"must be {lhs.dtype} as lhs, not {rhs.dtype}")
    view.quantization("lhs_scale", "lhs_zero_point", lhs.dtype)
    view.quantization("rhs_scale", "rhs_zero_point", rhs.dtype)
    view.quantization("output_scale", "output_zero_point", lhs.dtype)
    return TensorView(broadcast_shape(view, "lhs", "rhs"), lhs.dtype)


def _infer_sum(view: CallView) -> TensorView:
    result = _infer_operands(view)
    view.formula(*SUM_FORMULAS)
    if view.block():
        raise view.error("attribute tail_block", "must be 0: no sum rounds by an element's place")
    return result


def _infer_product(view: CallView) -> TensorView:
    result = _infer_operands(view)
    compute, _ = view.formula(*PRODUCT_FORMULAS)
    if view.block() and compute is not ComputeDtype.INT64:
        raise view.error("attribute tail_block", f"must be 0 for {compute.value}")
    return result


register(OperatorSpec("qnn.add", OPERANDS, _infer_sum))
register(OperatorSpec("qnn.subtract", OPERANDS, _infer_sum))
register(OperatorSpec("qnn.mul", OPERANDS, _infer_product))


def sum_multipliers(operator: str, lhs_scale: Any, rhs_scale: Any, output_scale: Any) -> tuple[int, int, int]:
    """The integers (ma, mb, shift) of the int32/UPWARD sum from its three float32 scales.

    DialectError where the larger scale ratio is 2²⁰ or more, which leaves no fraction bits.
    """
    ratios = f4(lhs_scale) / f4(output_scale), f4(rhs_scale) / f4(output_scale)
    shift = LEFT_SHIFT - float32_exponent(max(ratios))
    if not 1 <= shift <= 62:
        raise DialectError(
            f"{operator}: scales {ratios[0]} and {ratios[1]} times the output's have no int32 form"
        )
    left, right = (int(np.rint(np.ldexp(ratio, shift))) for ratio in ratios)
    return left, right, shift


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


@reference("qnn.add")
def add_reference(attrs: Attributes, *operands: Array) -> Array:
    """Add as `add` states."""
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
    factor = (f4(scalar(lhs_scale)) * f4(scalar(rhs_scale))) / f4(scalar(output_scale))
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
