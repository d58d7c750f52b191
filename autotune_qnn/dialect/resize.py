"""qnn.resize2d: bilinear interpolation of quantized images, in integers or, for uint8 in TFLite's kernels, in
float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.engine import (
    Engine,
    checked_engine,
    engine_attributes,
    formula_attributes,
    scale_dtypes,
)
from autotune_qnn.dialect.numeric import Array, f4, in_blocks, integer
from autotune_qnn.dialect.pytorch import fma
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import CallView, TensorView
from autotune_qnn.quantization import ComputeDtype, IntArray, Rounding, saturate

FORMULAS = (
    (ComputeDtype.INT32, Rounding.UPWARD),
    (ComputeDtype.INT32, Rounding.AWAY),
    (ComputeDtype.FLOAT32, Rounding.TFLITE),
    (ComputeDtype.FLOAT32, Rounding.RUY),
)
PYTORCH_FORMULAS = ((ComputeDtype.FLOAT32, Rounding.TONEAREST),)
CHANNEL_BLOCK = 8
"""Channels that one step of PyTorch's channels-last interpolation takes."""
PYTORCH_MODES = ("align_corners", "half_pixel")
MODES = ("asymmetric", "align_corners", "half_pixel")
_Q10 = 10
_Q11 = 11


def resize2d(
    data: Any,
    input_scale: Any,
    input_zero_point: Any,
    *,
    size: Sequence[int],
    method: str = "linear",
    coordinate_transformation_mode: str = "asymmetric",
    compute_dtype: str = "",
    rounding: str = "",
    engine: str = "",
    scales: Sequence[float] = (),
    tail_block: int | None = None,
    memory_order: str = "NHWC",
) -> Any:
    """Bilinear resize of (N, H, W, C) int8 or uint8 to `size` (height, width), in the same scale.

    int32/UPWARD: weights of 11 fraction bits, interpolated along x then y, + 2²¹ >> 22. int32/AWAY: weights
    of 10 fraction bits and integer coordinates, half away from zero. float32/TFLITE: the four products in
    float32 in the reference kernel's order, + ½, truncated; float32/RUY: the same with the pair of weights
    multiplied first.

    engine "pytorch" (float64 scale): f4 h0·(w0·a + w1·b) + h1·(w0·c + w1·d) = r, rint((r − zi) + zi), for
    half_pixel and align_corners. With memory_order NHWC sums are fused multiply-adds: of the second product where
    channels lie in whole blocks of `tail_block`, of the first elsewhere, and of half_pixel's places. `scales` are
    the (height, width) factors that were asked for in place of a size, where PyTorch computes places from them; with
    memory_order NCHW an image of unchanged size is copied in spite of them.
    """
    attrs = {
        "size": tuple(size),
        "method": method,
        "coordinate_transformation_mode": coordinate_transformation_mode,
        **formula_attributes(engine, rounding, compute_dtype),
        **engine_attributes(engine, memory_order, tail_block, CHANNEL_BLOCK),
        "scales": tuple(float(scale) for scale in scales),
    }
    return make_call("qnn.resize2d", [data, input_scale, input_zero_point], attrs)


def _infer_resize2d(view: CallView) -> TensorView:
    data = view.data("data", rank=4)
    engine = checked_engine(view, Engine.PYTORCH)
    view.quantization("input_scale", "input_zero_point", data.dtype, scale_dtypes(engine))
    size = view.positive("size", 2)
    view.choice("method", ("linear",))
    view.choice("coordinate_transformation_mode", MODES if engine is Engine.NONE else PYTORCH_MODES)
    view.formula(*(FORMULAS if engine is Engine.NONE else PYTORCH_FORMULAS))
    scales = view.attributes.value("scales")
    if len(scales) not in ((0,) if engine is Engine.NONE else (0, 2)) or any(scale <= 0 for scale in scales):
        raise view.error("attribute scales", f"must hold two positive factors, or none, not {list(scales)}")
    return TensorView((data.shape[0], *size, data.shape[3]), data.dtype)


register(OperatorSpec("qnn.resize2d", ("data", "input_scale", "input_zero_point"), _infer_resize2d))


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Along one axis: for every output place the lower and upper source place and the upper one's weight."""

    lower: IntArray
    upper: IntArray
    weight: Array


def interpolation_q11(source: int, target: int, mode: str) -> Interpolation:
    """XNNPACK's source places and weights of 11 fraction bits; the scale and coordinates are float32."""
    scale = _float_scale(source, target, mode)
    places = np.arange(target).astype(f4)
    places = places * scale + (f4(0.5) * scale - f4(0.5)) if mode == "half_pixel" else places * scale
    places = np.minimum(np.maximum(places, f4(0)), f4(source - 1))
    lower = np.floor(places).astype(np.int64)
    weight = np.rint((places - lower.astype(f4)) * f4(1 << _Q11)).astype(np.int64)
    return Interpolation(lower, np.minimum(lower + 1, source - 1), weight)


def interpolation_q10(source: int, target: int, mode: str) -> Interpolation:
    """TFLite's reference source places and weights of 10 fraction bits; all integer."""
    if mode == "align_corners" and target > 1:
        scale = (((source - 1) << _Q10) + (target - 1) // 2) // (target - 1)
    else:
        scale = ((source << _Q10) + target // 2) // target
    places = np.arange(target, dtype=np.int64) * scale
    if mode == "half_pixel":
        places = places + scale // 2 - (1 << (_Q10 - 1))
    one = 1 << _Q10
    lower = np.maximum(np.trunc(places / one).astype(np.int64), 0)
    upper = np.minimum(np.trunc((places + one - 1) / one).astype(np.int64), source - 1)
    return Interpolation(lower, upper, places - lower * one)


def interpolation_float32(source: int, target: int, mode: str) -> Interpolation:
    """TFLite's float32 source places and weights."""
    scale = _float_scale(source, target, mode)
    places = np.arange(target).astype(f4)
    places = (places + f4(0.5)) * scale - f4(0.5) if mode == "half_pixel" else places * scale
    lower = np.maximum(np.floor(places).astype(np.int64), 0)
    upper = np.minimum(np.ceil(places).astype(np.int64), source - 1)
    return Interpolation(lower, upper, (places - lower.astype(f4)).astype(f4))


def _float_scale(source: int, target: int, mode: str) -> Any:
    if mode == "align_corners" and target > 1:
        return f4(source - 1) / f4(target - 1)
    return f4(source) / f4(target)


@reference("qnn.resize2d")
def resize2d_reference(attrs: Attributes, data: Array, input_scale: Array, input_zero_point: Array) -> Array:
    """Interpolate as `resize2d` states."""
    size, mode = attrs.integers("size", 2), attrs.string("coordinate_transformation_mode")
    rounding = Rounding(attrs.string("rounding"))
    if attrs.string("engine") == Engine.PYTORCH.value:
        result = _resize_pytorch(attrs, data, integer(input_zero_point))
    elif attrs.string("compute_dtype") == ComputeDtype.FLOAT32.value:
        result = _resize_float32(data, size, mode, premultiplied=rounding is Rounding.RUY)
    elif rounding is Rounding.UPWARD:
        result = _resize_q11(data, size, mode)
    else:
        result = _resize_q10(data, size, mode)
    return saturate(result, str(data.dtype))


def _corners(image: Array, y: Interpolation, x: Interpolation) -> tuple[Array, Array, Array, Array]:
    """Source values at (lower, lower), (lower, upper), (upper, lower), (upper, upper)."""
    top, bottom = image[:, y.lower], image[:, y.upper]
    return top[:, :, x.lower], top[:, :, x.upper], bottom[:, :, x.lower], bottom[:, :, x.upper]


def _weights(y: Interpolation, x: Interpolation) -> tuple[Array, Array]:
    return y.weight[None, :, None, None], x.weight[None, None, :, None]


def _resize_q11(data: Array, size: Sequence[int], mode: str) -> Array:
    y, x = (
        interpolation_q11(source, target, mode) for source, target in zip(data.shape[1:3], size, strict=True)
    )
    wy, wx = _weights(y, x)
    a, b, c, d = _corners(data.astype(np.int64), y, x)
    top = (a << _Q11) + (b - a) * wx
    bottom = (c << _Q11) + (d - c) * wx
    return np.asarray(((top << _Q11) + (bottom - top) * wy + (1 << (2 * _Q11 - 1))) >> (2 * _Q11))


def _resize_q10(data: Array, size: Sequence[int], mode: str) -> Array:
    y, x = (
        interpolation_q10(source, target, mode) for source, target in zip(data.shape[1:3], size, strict=True)
    )
    wy, wx = _weights(y, x)
    one = 1 << _Q10
    a, b, c, d = _corners(data.astype(np.int64), y, x)
    total = a * (one - wy) * (one - wx) + c * wy * (one - wx) + b * (one - wy) * wx + d * wy * wx
    half = 1 << (2 * _Q10 - 1)
    rounded = total + np.where(total > 0, half, -half)
    return np.asarray(np.sign(rounded) * (np.abs(rounded) >> (2 * _Q10)))


def interpolation_pytorch(
    source: int, target: int, mode: str, fused: bool, factor: float | None = None
) -> Interpolation:
    """PyTorch's source places and float32 weights.

    `fused`: half_pixel's places have one rounding. `factor` is the scale factor, where one was given.
    """
    places = np.arange(target).astype(f4)
    if mode == "align_corners":
        places = places * (f4(source - 1) / f4(target - 1) if target > 1 else f4(0))
    else:
        scale = f4(1.0 / factor) if factor else f4(source) / f4(target)
        centres = places + f4(0.5)
        places = fma(scale, centres, f4(-0.5)) if fused else scale * centres - f4(0.5)
        places = np.maximum(places, f4(0))
    lower = np.minimum(places.astype(np.int64), source - 1)
    return Interpolation(lower, np.minimum(lower + 1, source - 1), (places - lower.astype(f4)).astype(f4))


def _resize_pytorch(attrs: Attributes, data: Array, zero_point: int) -> Array:
    size, mode = attrs.integers("size", 2), attrs.string("coordinate_transformation_mode")
    fused = attrs.string("memory_order") == "NHWC"
    if not fused and size == data.shape[1:3]:
        return data
    factors = attrs.value("scales") or (None, None)
    y, x = (
        interpolation_pytorch(source, target, mode, fused, factor)
        for source, target, factor in zip(data.shape[1:3], size, factors, strict=True)
    )
    wy, wx = _weights(y, x)
    a, b, c, d = _corners(data.astype(f4), y, x)
    vy, vx = f4(1) - wy, f4(1) - wx
    if fused:
        body = fma(wy, fma(wx, d, vx * c), vy * fma(wx, b, vx * a))
        tail = fma(vy, fma(vx, a, wx * b), wy * fma(vx, c, wx * d))
        total = in_blocks(body, tail, attrs.integer("tail_block"), -1)
    else:
        total = vy * (vx * a + wx * b) + wy * (vx * c + wx * d)
    return np.rint((total - f4(zero_point)) + f4(zero_point)).astype(np.int64)


def _resize_float32(data: Array, size: Sequence[int], mode: str, premultiplied: bool) -> Array:
    y, x = (
        interpolation_float32(source, target, mode)
        for source, target in zip(data.shape[1:3], size, strict=True)
    )
    wy, wx = _weights(y, x)
    a, b, c, d = _corners(data.astype(f4), y, x)
    vy, vx = f4(1) - wy, f4(1) - wx
    if premultiplied:
        total = a * (vy * vx) + b * (vy * wx) + c * (wy * vx) + d * (wy * wx)
    else:
        total = a * vy * vx + c * wy * vx + b * vy * wx + d * wy * wx
    return np.trunc(total + f4(0.5)).astype(np.int64)
