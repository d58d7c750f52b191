"""qnn.avg_pool2d and qnn.mean: averages of quantized integers, over windows and over whole axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autotune_qnn.dialect import pytorch_pooling
from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.engine import (
    Engine,
    checked_engine,
    engine_attributes,
    engine_of,
    formula_attributes,
    scale_dtypes,
)
from autotune_qnn.dialect.numeric import Array, f4, f8, in_blocks, integer, require_equal, scalar, shifted
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import CallView, TensorView
from autotune_qnn.quantization import (
    ComputeDtype,
    Rounding,
    divide_away,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rescale,
    saturate,
    to_integer,
)

OPERANDS = ("data", "input_scale", "input_zero_point", "output_scale", "output_zero_point")
POOL_FORMULAS = ((ComputeDtype.INT32, Rounding.AWAY),)
ENGINE_FORMULAS = ((ComputeDtype.FLOAT32, Rounding.TONEAREST),)
POOL_BLOCK = 16
"""Channels that one step of PyTorch's avg_pool2d takes on machines with AVX-512; 8 on others."""
SUM_BLOCK = 32
"""Channels that one step of PyTorch's float32 sum over rows takes: four AVX2 vectors, on AVX-512 machines too."""
MEAN_FORMULAS = (
    (ComputeDtype.FLOAT32, Rounding.TONEAREST),
    (ComputeDtype.INT64, Rounding.TFLITE),
    (ComputeDtype.INT64, Rounding.RUY),
)


def avg_pool2d(
    data: Any,
    input_scale: Any,
    input_zero_point: Any,
    output_scale: Any,
    output_zero_point: Any,
    *,
    pool_size: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    layout: str = "NHWC",
    out_layout: str = "NHWC",
    rounding: str = "",
    compute_dtype: str = "",
    engine: str = "",
    tail_block: int | None = None,
    memory_order: str = "NHWC",
    divisor: int = 0,
) -> Any:
    """Average over windows of (N, H, W, C): the integer sum divided by the count, half away from zero.

    The count is of the window clipped to the image (to image and padding with `count_include_pad`, where padding holds
    the zero point). padding is top, left, bottom, right. Input and output parameters must be equal.

    engine "pytorch" and "qnnpack" (float64 scales): see `dialect.pytorch_pooling`. A `divisor` replaces the count.
    """
    window = {"pool_size": pool_size, "strides": strides, "padding": padding, "dilation": dilation}
    attrs = {
        **{name: tuple(extents) for name, extents in window.items()},
        "ceil_mode": ceil_mode,
        "count_include_pad": count_include_pad,
        "layout": layout,
        "out_layout": out_layout,
        **formula_attributes(engine, rounding, compute_dtype, plain=POOL_FORMULAS[0]),
        **engine_attributes(engine, memory_order, tail_block, POOL_BLOCK),
        "divisor": divisor,
    }
    operands = [data, input_scale, input_zero_point, output_scale, output_zero_point]
    return make_call("qnn.avg_pool2d", operands, attrs)


def mean(
    data: Any,
    input_scale: Any,
    input_zero_point: Any,
    output_scale: Any,
    output_zero_point: Any,
    *,
    axis: Sequence[int],
    keepdims: bool,
    rounding: str = "",
    compute_dtype: str = "",
    tail_block: int | None = None,
    engine: str = "",
    memory_order: str = "NHWC",
) -> Any:
    """Mean over the axes, n elements each, in the output's scale, saturated to the data's dtype.

    float32/TONEAREST: s = (si/so)·(1/f4(n)); rint(f4(sum)·s + (f4(zo) − f4(n·zi)·s)). int64/TFLITE: fixed
    point with the multiplier of f8(si)/f8(so) divided by n in integers. int64/RUY: t = f4(zi)·si/so, bias =
    zo − roundf(t), fixed point of the raw sum with si/(n·so); with a `tail_block` the last channels past the
    last whole block round as TFLITE.

    engine "pytorch" and "qnnpack" (float64 scales, output parameters equal to the input's): see
    `dialect.pytorch_pooling`.
    """
    attrs = {
        "axis": tuple(int(value) for value in axis),
        "keepdims": keepdims,
        **formula_attributes(engine, rounding, compute_dtype),
        **engine_attributes(engine, memory_order, tail_block, SUM_BLOCK),
    }
    operands = [data, input_scale, input_zero_point, output_scale, output_zero_point]
    return make_call("qnn.mean", operands, attrs)


def pooled_extents(attrs: Attributes, image: Sequence[int]) -> tuple[int, int]:
    """Height and width of a pooled image of the given height and width; below one where no window fits."""
    pool, strides = attrs.integers("pool_size", 2), attrs.integers("strides", 2)
    padding, dilation = attrs.integers("padding", 4), attrs.integers("dilation", 2)
    extents = []
    for axis in (0, 1):
        span = image[axis] + padding[axis] + padding[axis + 2] - (pool[axis] - 1) * dilation[axis] - 1
        if span < 0:
            extents.append(0)
        elif not attrs.flag("ceil_mode"):
            extents.append(span // strides[axis] + 1)
        else:
            extent = -(-span // strides[axis]) + 1
            starts_outside = (extent - 1) * strides[axis] >= image[axis] + padding[axis]
            extents.append(extent - 1 if starts_outside else extent)
    return extents[0], extents[1]


def _infer_avg_pool2d(view: CallView) -> TensorView:
    data = view.data("data", rank=4)
    pool, dilation = view.positive("pool_size", 2), view.positive("dilation", 2)
    view.positive("strides", 2)
    padding = view.not_negative("padding", 4)
    for name in ("layout", "out_layout"):
        view.choice(name, ("NHWC",))
    for axis in (0, 1, 2, 3):
        if padding[axis] > (pool[axis % 2] - 1) * dilation[axis % 2]:
            raise view.error(
                "attribute padding", f"{list(padding)} is not smaller than the window {list(pool)}"
            )
    engine = checked_engine(view, Engine.PYTORCH, Engine.QNNPACK)
    view.formula(*(POOL_FORMULAS if engine is Engine.NONE else ENGINE_FORMULAS))
    if view.attributes.integer("divisor") < 0 or (view.attributes.integer("divisor") and not engine):
        raise view.error("attribute divisor", "must not be negative, and 0 without an engine")
    _equal_parameters(view, data, engine)
    height, width = pooled_extents(view.attributes, data.shape[1:3])
    if height < 1 or width < 1:
        raise view.error("data", f"is smaller than the window: {list(data.shape[1:3])} and {list(pool)}")
    return TensorView((data.shape[0], height, width, data.shape[3]), data.dtype)


def _equal_parameters(view: CallView, data: TensorView, engine: Engine) -> None:
    view.quantization("input_scale", "input_zero_point", data.dtype, scale_dtypes(engine))
    view.quantization("output_scale", "output_zero_point", data.dtype, scale_dtypes(engine))
    for one, other in (("input_scale", "output_scale"), ("input_zero_point", "output_zero_point")):
        first, second = view.constant(one), view.constant(other)
        if first is not None and second is not None and not np.array_equal(first, second):
            raise view.error(other, f"must equal {one}: {second} and {first}")


def _infer_mean(view: CallView) -> TensorView:
    data = view.data("data")
    axes = [view.normalized("axis", axis, data.rank) for axis in view.attributes.integers("axis")]
    if not axes or len(set(axes)) != len(axes):
        raise view.error("attribute axis", f"must hold different axes, not {axes}")
    engine = checked_engine(view, Engine.PYTORCH, Engine.QNNPACK)
    _, rounding = view.formula(*(MEAN_FORMULAS if engine is Engine.NONE else ENGINE_FORMULAS))
    if view.block() and rounding is not Rounding.RUY and engine is not Engine.PYTORCH:
        raise view.error("attribute tail_block", f"must be 0 for rounding {rounding.value}")
    if engine is Engine.NONE:
        view.quantization("input_scale", "input_zero_point", data.dtype)
        view.quantization("output_scale", "output_zero_point", data.dtype)
    else:
        _equal_parameters(view, data, engine)
        if sorted(axes) != list(range(1, data.rank - 1)):
            raise view.error("attribute axis", f"must hold the image's axes for engine {engine}, not {axes}")
    if view.attributes.flag("keepdims"):
        shape = tuple(1 if place in axes else extent for place, extent in enumerate(data.shape))
    else:
        shape = tuple(extent for place, extent in enumerate(data.shape) if place not in axes)
    if view.block() and not shape:
        raise view.error("attribute tail_block", "must be 0 for a scalar result")
    return TensorView(shape, data.dtype)


register(OperatorSpec("qnn.avg_pool2d", OPERANDS, _infer_avg_pool2d))
register(OperatorSpec("qnn.mean", OPERANDS, _infer_mean))


@reference("qnn.avg_pool2d")
def avg_pool2d_reference(
    attrs: Attributes,
    data: Array,
    input_scale: Array,
    input_zero_point: Array,
    output_scale: Array,
    output_zero_point: Array,
) -> Array:
    """Pool as `avg_pool2d` states, one addition a window place."""
    require_equal("qnn.avg_pool2d", input_scale, output_scale, "input and output scale")
    require_equal("qnn.avg_pool2d", input_zero_point, output_zero_point, "input and output zero point")
    if engine_of(attrs) is not Engine.NONE:
        return _average_by_engine(attrs, data, scalar(input_scale), integer(input_zero_point))
    zero = integer(input_zero_point)
    centred = shifted(data, input_zero_point)
    image = np.ones((1, *data.shape[1:3], 1), np.int64)
    pad_counts = 1 if attrs.flag("count_include_pad") else 0
    totals = _window_sums(attrs, centred, data.shape[1:3], 0)
    counts = _window_sums(attrs, image, data.shape[1:3], pad_counts)
    return saturate(divide_away(totals + counts * zero, counts), str(data.dtype))


def _average_by_engine(attrs: Attributes, data: Array, scale: Any, zero_point: int) -> Array:
    centred = data.astype(np.int64) - zero_point
    image = np.ones((1, *data.shape[1:3], 1), np.int64)
    totals = _window_sums(attrs, centred, data.shape[1:3], 0)
    counts = _window_sums(attrs, image, data.shape[1:3], 1 if attrs.flag("count_include_pad") else 0)
    if attrs.integer("divisor"):
        counts = np.full_like(counts, attrs.integer("divisor"))
    return pytorch_pooling.average(attrs, totals, counts, scale, zero_point, str(data.dtype))


def _window_sums(attrs: Attributes, values: Array, image: Sequence[int], fill: int) -> Array:
    """Sums over the windows of (N, H, W, C): padding holds `fill`, places beyond the padding zero."""
    height, width = pooled_extents(attrs, image)
    pool, strides, dilation = (attrs.integers(name, 2) for name in ("pool_size", "strides", "dilation"))
    top, left, bottom, right = attrs.integers("padding", 4)
    padded = np.pad(values, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    reach = [
        (e - 1) * s + (p - 1) * d + 1
        for e, s, p, d in zip((height, width), strides, pool, dilation, strict=True)
    ]
    beyond = [max(needed - extent, 0) for needed, extent in zip(reach, padded.shape[1:3], strict=True)]
    padded = np.pad(padded, ((0, 0), (0, beyond[0]), (0, beyond[1]), (0, 0)))
    result = np.zeros((values.shape[0], height, width, values.shape[3]), np.int64)
    for row in range(pool[0]):
        for column in range(pool[1]):
            y, x = row * dilation[0], column * dilation[1]
            result += padded[
                :,
                y : y + strides[0] * (height - 1) + 1 : strides[0],
                x : x + strides[1] * (width - 1) + 1 : strides[1],
            ]
    return result


@reference("qnn.mean")
def mean_reference(
    attrs: Attributes,
    data: Array,
    input_scale: Array,
    input_zero_point: Array,
    output_scale: Array,
    output_zero_point: Array,
) -> Array:
    """Average as `mean` states."""
    axes = attrs.integers("axis")
    if engine_of(attrs) is not Engine.NONE:
        averages = pytorch_pooling.mean(attrs, data, scalar(input_scale), integer(input_zero_point))
        return averages if attrs.flag("keepdims") else averages.reshape(data.shape[0], data.shape[-1])
    count = int(np.prod([data.shape[axis] for axis in axes]))
    total = np.asarray(data.astype(np.int64).sum(axes, keepdims=attrs.flag("keepdims")))
    si, so = f4(scalar(input_scale)), f4(scalar(output_scale))
    zi, zo = integer(input_zero_point), integer(output_zero_point)
    rounding = Rounding(attrs.string("rounding"))
    if rounding is Rounding.TONEAREST:
        scale = (si / so) * (f4(1) / f4(count))
        values = total.astype(f4) * scale + (f4(zo) - f4(count * zi) * scale)
        return saturate(to_integer(np.asarray(values, f4), rounding), str(data.dtype))
    if rounding is Rounding.TFLITE:
        multiplier, exponent, shift = mean_multiplier(si, so, count)
        scaled = multiply_by_quantized_multiplier(total - count * zi, multiplier, exponent - shift, rounding)
        return saturate(scaled + zo, str(data.dtype))
    offset = f4(zi) * si / so
    bias = zo - int(np.trunc(offset + f4(0.5) if offset > 0 else offset - f4(0.5)))
    factor = f8(si / (f4(count) * so))
    scaled = rescale(total, factor, rounding)
    block = attrs.integer("tail_block")
    if block:
        scaled = in_blocks(scaled, rescale(total, factor, Rounding.TFLITE), block, -1)
    return saturate(scaled + bias, str(data.dtype))


def mean_multiplier(input_scale: Any, output_scale: Any, count: int) -> tuple[int, int, int]:
    """Multiplier, exponent and shift of TFLite's fixed-point mean of `count` elements, the count divided in.

    The scaled mean of a centred sum is that sum times multiplier · 2^(exponent − shift − 31).
    """
    multiplier, exponent = (int(value) for value in quantize_multiplier(f8(input_scale) / f8(output_scale)))
    shift = min(count.bit_length() - 1, 32, 31 + exponent)
    return (multiplier << shift) // count, exponent, shift
