"""PyTorch's averages of quantized integers: pooling, adaptive pooling and the mean over an image.

With T the exact sum of q − z over a window, n the number that it is divided by, and everything in float32:

- avg_pool2d: memory order NCHW rint(f4(T)·(1/n) + z); NHWC, channels in whole blocks of 16, rint(f4(T)·(1/n)) + z,
  the others rint(f4(T)·inv + z) with inv = 1/(1/(1/n)).
- adaptive_avg_pool2d: NCHW rint(f4(sum of q)·((1/height)/width)) of a window's height and width; NHWC, channels in
  whole blocks of 8, rint(fma(T, inv, z)), the others rint(f4(T)·inv + z).
- mean over an image: NCHW rint(f4(T)/n + z). NHWC: quantize_per_tensor of PyTorch's float32 mean of the dequantized
  image, whose order of summation `cascade` and `interleaved` follow.
- qnnpack (all three): rint(f4(T)·(f4(s)/(f4(s)·n))) + z, padding counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autotune_qnn.dialect import pytorch
from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.engine import Engine, engine_of
from autotune_qnn.dialect.numeric import Array, f4
from autotune_qnn.quantization import Rounding, saturate, to_integer

ROWS = 4
_STEP = 16


def _rounded(values: Array, dtype: str) -> Array:
    return saturate(to_integer(np.asarray(values, f4), Rounding.TONEAREST), dtype)


def qnnpack_factor(scale: Any, count: int) -> Any:
    """QNNPACK's float32 factor of a sum of `count` elements, input and output of one scale."""
    return f4(scale) / (f4(scale) * f4(count))


def _qnnpack_average(totals: Array, scale: Any, count: int, zero_point: int, dtype: str) -> Array:
    return pytorch.quantize_vector(totals.astype(f4), qnnpack_factor(scale, count), zero_point, dtype)


def average(
    attrs: Attributes, totals: Array, counts: Array, scale: Any, zero_point: int, dtype: str
) -> Array:
    """avg_pool2d's averages of (N, H, W, C) totals; `counts` are (1, H, W, 1)."""
    if engine_of(attrs) is Engine.QNNPACK:
        pool = attrs.integers("pool_size", 2)
        return _qnnpack_average(totals, scale, pool[0] * pool[1], zero_point, dtype)
    real, zero = totals.astype(f4), f4(zero_point)
    factor = f4(1) / counts.astype(f4)
    if attrs.string("memory_order") == "NCHW":
        return _rounded(real * factor + zero, dtype)
    inverse = f4(1) / (f4(1) / factor)
    block = attrs.integer("tail_block")
    boundary = totals.shape[-1] // block * block
    body = pytorch.quantize_vector(real[..., :boundary], factor, zero_point, dtype)
    return np.concatenate([body, _rounded(real[..., boundary:] * inverse + zero, dtype)], axis=-1)


def adaptive_average(
    attrs: Attributes, totals: Array, extents: tuple[Array, Array], scale: Any, zero_point: int, dtype: str
) -> Array:
    """adaptive_avg_pool2d's averages of (N, H, W, C) totals over windows of the `extents`, (H,) and (W,)."""
    heights, widths = extents[0].reshape(-1, 1, 1), extents[1].reshape(-1, 1)
    counts = heights * widths
    if engine_of(attrs) is Engine.QNNPACK:
        return _qnnpack_average(totals, scale, int(counts.flat[0]), zero_point, dtype)
    if attrs.string("memory_order") == "NCHW":
        return _rounded((totals + counts * zero_point).astype(f4) * adaptive_factor(heights, widths), dtype)
    real, zero = totals.astype(f4), f4(zero_point)
    factor = f4(1) / counts.astype(f4)
    inverse = f4(1) / (f4(1) / factor)
    block = attrs.integer("tail_block")
    boundary = totals.shape[-1] // block * block
    body = pytorch.quantize_fused(real[..., :boundary], inverse, zero, dtype)
    return np.concatenate([body, _rounded(real[..., boundary:] * inverse + zero, dtype)], axis=-1)


def adaptive_factor(heights: Array, widths: Array) -> Array:
    """float32 (1/height)/width."""
    return np.asarray((f4(1) / heights.astype(f4)) / widths.astype(f4))


def mean(attrs: Attributes, data: Array, scale: Any, zero_point: int) -> Array:
    """Means over all axes of (N, ..., C) but the first and the last, which stay as axes of one element."""
    rows = data.reshape(data.shape[0], -1, data.shape[-1]).astype(np.int64)
    count, dtype = rows.shape[1], str(data.dtype)
    totals = (rows - zero_point).sum(1)
    if engine_of(attrs) is Engine.QNNPACK:
        result = _qnnpack_average(totals, scale, count, zero_point, dtype)
    elif attrs.string("memory_order") == "NCHW":
        result = _rounded(totals.astype(f4) / f4(count) + f4(zero_point), dtype)
    else:
        real = pytorch.dequantize_scalar(rows, scale, zero_point)
        boundary = summed_in_rows(data.shape[-1], attrs.integer("tail_block"))
        sums = np.concatenate([cascade(real[..., :boundary]), interleaved(real[..., boundary:])], axis=-1)
        result = pytorch.quantize_fused(sums / f4(count), pytorch.inverse(scale), zero_point, dtype)
    return result.reshape(data.shape[0], *(1,) * (data.ndim - 2), data.shape[-1])


def summed_in_rows(channels: int, block: int) -> int:
    """How many channels PyTorch's float sum over rows takes as `cascade`; the others as `interleaved`.

    `block` is four vectors; with fewer channels than one vector it goes by four channels.
    """
    return channels // ROWS * ROWS if channels < block // ROWS else channels // block * block


def cascade_steps(count: int) -> int:
    """Elements of one level of `cascade`."""
    return max(_STEP, 1 << (max(count - 1, 0).bit_length() // 4))


def cascade(values: Array) -> Array:
    """PyTorch's float32 sum over axis 1, which carries partial sums up through levels of 16 elements and more."""
    count = values.shape[1]
    step = cascade_steps(count)
    levels = [np.zeros_like(values[:, 0]) for _ in range(4)]
    place = 0
    while place + step <= count:
        for _ in range(step):
            levels[0] = levels[0] + values[:, place]
            place += 1
        for level in range(1, 4):
            levels[level] = levels[level] + levels[level - 1]
            levels[level - 1] = np.zeros_like(levels[0])
            if place % step ** (level + 1) != 0:
                break
    for rest in range(place, count):
        levels[0] = levels[0] + values[:, rest]
    return np.asarray(((levels[0] + levels[1]) + levels[2]) + levels[3])


def interleaved(values: Array) -> Array:
    """The same of single channels: four interleaved sums, added up."""
    count = values.shape[1] // ROWS * ROWS
    if not values.size:
        return np.asarray(values[:, 0])
    parts = [cascade(values[:, start:count:ROWS]) for start in range(ROWS)] if count else []
    total = parts[0] if parts else np.zeros_like(values[:, 0])
    for rest in range(count, values.shape[1]):
        total = total + values[:, rest]
    for part in parts[1:]:
        total = total + part
    return np.asarray(total)
