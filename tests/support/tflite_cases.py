"""Random single-operator branches for differential tests: one model holds many of them side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.support.tflite_branches import BOUNDS, NONE, RELU, RELU6, SAME, VALID, Branches
from tests.support.tflite_convolution_cases import (
    convolution,
    dense,
    depthwise,
    same_extent,
    transpose_convolution,
)
from tests.support.tflite_float_cases import float_island
from tests.support.tflite_shape_cases import SHAPE_CASES
from tests.support.tflite_writer import constant


def _binary(name: str, table: str) -> Callable[[Branches], None]:
    def build(branches: Branches) -> None:
        shape = (1, int(branches.rng.integers(2, 9)), 5, int(branches.rng.integers(1, 30)))
        other = branches.choice(shape, shape, (1, 1, 1, shape[3]), (1, 1, 1, 1), shape[3:], (5, 1), ())
        left, *_ = branches.quantized(shape)
        if other != shape:
            scale, zero = branches.scale(), branches.zero()
            right = branches.tensor(constant(branches.integers(other), scale=scale, zero_point=zero))
        else:
            right, *_ = branches.quantized(other)
        output = branches.output(shape, branches.dtype, branches.scale(0.02, 0.3), branches.zero())
        activation = branches.choice(NONE, RELU, RELU6)
        branches.operator(name, [left, right], [output], table, fusedActivationFunction=activation)

    return build


def _extreme_scales(name: str, table: str) -> Callable[[Branches], None]:
    """Scale ratios over many powers of two: XNNPACK takes only some of them over.

    Ratios above 2^6 (ADD) and 1/2 (MUL) are left out: there nearly every result saturates, and the built-in
    kernels' 16-bit intermediate values wrap.
    """

    def build(branches: Branches) -> None:
        shape = (1, 3, 5, 7)
        scales = [branches.scale(1e-3, 1) for _ in range(2)]
        left, *_ = branches.quantized(shape, scale=scales[0])
        right, *_ = branches.quantized(shape, scale=scales[1])
        largest = scales[0] * scales[1] * 128 if name == "MUL" else max(scales)
        output_scale = float(np.float32(largest * 2.0 ** branches.rng.uniform(-6, 20)))
        output = branches.output(shape, branches.dtype, output_scale, branches.zero())
        branches.operator(name, [left, right], [output], table, fusedActivationFunction=NONE)

    return build


def _extremum(name: str) -> Callable[[Branches], None]:
    def build(branches: Branches) -> None:
        scale, zero = branches.scale(), branches.zero()
        shape = (1, 4, 5, int(branches.rng.integers(1, 30)))
        left, *_ = branches.quantized(shape, scale=scale, zero_point=zero)
        right, *_ = branches.quantized(shape, scale=scale, zero_point=zero)
        output = branches.output(shape, branches.dtype, scale, zero)
        branches.operator(name, [left, right], [output], "MaximumMinimumOptions")

    return build


def _pool(name: str) -> Callable[[Branches], None]:
    def build(branches: Branches) -> None:
        rng = branches.rng
        window = (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
        strides = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        padding = branches.choice(SAME, VALID)
        image, channels = (int(rng.integers(4, 10)), int(rng.integers(4, 10))), int(rng.integers(1, 40))
        data, scale, zero = branches.quantized((1, *image, channels))
        extents = [
            same_extent(v, s) if padding == SAME else (v - k) // s + 1
            for v, k, s in zip(image, window, strides, strict=True)
        ]
        output = branches.output((1, *extents, channels), branches.dtype, scale, zero)
        branches.operator(
            name, [data], [output], "Pool2DOptions", padding=padding, strideH=strides[0], strideW=strides[1],
            filterHeight=window[0], filterWidth=window[1],
            fusedActivationFunction=branches.choice(NONE, RELU, RELU6),
        )  # fmt: skip

    return build


def mean(branches: Branches) -> None:
    keep, axes = (
        branches.choice(True, False),
        branches.choice((1, 2), (1, 2), (1,), (2,), (3,), (-1,), (0, 1, 2, 3), (1, 3)),
    )
    shape = (branches.choice(1, 2), 7, 6, int(branches.rng.integers(3, 40)))
    data, *_ = branches.quantized(shape, scale=branches.scale(0.01, 0.05))
    reduced = np.zeros(shape).mean(axis=axes, keepdims=keep).shape
    operand = branches.tensor(constant(np.array(axes, "int32")))
    output = branches.output(reduced, branches.dtype, branches.scale(0.005, 0.03), branches.zero())
    branches.operator("MEAN", [data, operand], [output], "ReducerOptions", keepDims=keep)


def _unary(
    name: str,
    table: str | None = None,
    fixed: bool = False,
    between: tuple[float, float] = (0.004, 0.2),
    **options: Callable[[Branches], Any],
) -> Callable[[Branches], None]:
    """An operator on every stored value; `fixed` takes the output scale that TFLite demands."""

    def build(branches: Branches) -> None:
        values = branches.every_value()
        data = branches.input(values, branches.scale(*between), branches.zero())
        scale, zero = branches.scale(*between), branches.zero()
        if fixed:
            signed = branches.dtype == "int8"
            scale, zero = (
                (1 / 256, -128 if signed else 0) if name != "TANH" else (1 / 128, 0 if signed else 128)
            )
        output = branches.output(values.shape, branches.dtype, scale, zero)
        chosen = {key: choose(branches) for key, choose in options.items()}
        branches.operator(name, [data], [output], table, **chosen)

    return build


def prelu(branches: Branches) -> None:
    channels = int(branches.rng.integers(1, 30))
    data, *_ = branches.quantized((1, 6, 5, channels))
    alpha = branches.tensor(
        constant(branches.integers((1, 1, channels)), scale=branches.scale(), zero_point=branches.zero())
    )
    output = branches.output((1, 6, 5, channels), branches.dtype, branches.scale(), branches.zero())
    branches.operator("PRELU", [data, alpha], [output])


def softmax(branches: Branches) -> None:
    """Few near-equal classes: the reference kernel aborts where the exponentials sum to 256 or more."""
    classes = branches.choice(2, 10, 100, 1001)
    scale = branches.scale(0.01, 0.15)
    values = branches.integers((2, classes))
    if branches.rng.random() < 0.5:
        low, high = BOUNDS[branches.dtype]
        spread = np.round(branches.rng.normal(0, 12, (2, classes))) + (low + high + 1) // 2
        values = np.clip(spread, low, high).astype(branches.dtype)
    distance = (values.astype("float64") - values.max(-1, keepdims=True)) * scale
    if np.exp(distance).sum(-1).max() >= 200:
        values[:, 2:] = BOUNDS[branches.dtype][0]
        values[:, 0] = BOUNDS[branches.dtype][1]
        scale = 0.1
    data = branches.input(values, scale, branches.zero())
    output = branches.output(values.shape, branches.dtype, 1 / 256, BOUNDS[branches.dtype][0])
    branches.operator("SOFTMAX", [data], [output], "SoftmaxOptions", beta=1.0)


def _resize(name: str, table: str) -> Callable[[Branches], None]:
    def build(branches: Branches) -> None:
        rng = branches.rng
        image = (int(rng.integers(1, 8)), int(rng.integers(2, 8)))
        wanted = (int(rng.integers(1, 20)), int(rng.integers(1, 20)))
        if rng.random() < 0.3:
            wanted = (image[0] * 2, image[1] * 2)
        corners, half = branches.choice((False, False), (True, False), (False, True))
        channels = int(rng.integers(1, 20))
        data, scale, zero = branches.quantized((1, *image, channels))
        size = branches.tensor(constant(np.array(wanted, "int32")))
        output = branches.output((1, *wanted, channels), branches.dtype, scale, zero)
        branches.operator(name, [data, size], [output], table, alignCorners=corners, halfPixelCenters=half)

    return build


def arg_max(branches: Branches) -> None:
    shape = (2, 3, 17)
    data, *_ = branches.quantized(shape)
    axis = branches.choice(-1, 1, 2)
    operand = branches.tensor(constant(np.array(axis, "int32")))
    output = branches.output(tuple(np.zeros(shape).max(axis=axis).shape), "int32")
    branches.operator("ARG_MAX", [data, operand], [output], "ArgMaxOptions", outputType=2)


def quantize_float(branches: Branches) -> None:
    scale, zero = branches.scale(), branches.zero()
    ties = branches.rng.integers(-200, 200, (1, 63)) * scale + scale * 0.5
    feed = np.concatenate([branches.rng.normal(0, 5, (1, 200)), ties], axis=1).astype("float32")
    data = branches.input(feed)
    branches.operator(
        "QUANTIZE", [data], [branches.output(feed.shape, branches.dtype, scale, zero)], "QuantizeOptions"
    )


def _requantize(other: bool, between: tuple[float, float] = (0.01, 0.1)) -> Callable[[Branches], None]:
    def build(branches: Branches) -> None:
        dtype = branches.dtype
        if other:
            dtype = "int8" if dtype == "uint8" else "uint8"
        values = branches.every_value()
        data = branches.input(values, branches.scale(*between), branches.zero())
        output = branches.output(values.shape, dtype, branches.scale(*between), branches.zero(dtype))
        branches.operator("QUANTIZE", [data], [output], "QuantizeOptions")

    return build


def dequantize(branches: Branches) -> None:
    values = branches.every_value()
    data = branches.input(values, branches.scale(), branches.zero())
    branches.operator("DEQUANTIZE", [data], [branches.output(values.shape, "float32")], "DequantizeOptions")


CASES: dict[str, Callable[[Branches], None]] = {
    "conv2d": convolution,
    "conv2d_grouped": lambda branches: convolution(branches, 2),
    "depthwise": depthwise,
    "dense": dense,
    "transpose_conv": transpose_convolution,
    "add": _binary("ADD", "AddOptions"),
    "sub": _binary("SUB", "SubOptions"),
    "mul": _binary("MUL", "MulOptions"),
    "add_extreme": _extreme_scales("ADD", "AddOptions"),
    "mul_extreme": _extreme_scales("MUL", "MulOptions"),
    "maximum": _extremum("MAXIMUM"),
    "minimum": _extremum("MINIMUM"),
    "average_pool": _pool("AVERAGE_POOL_2D"),
    "max_pool": _pool("MAX_POOL_2D"),
    "mean": mean,
    "logistic": _unary("LOGISTIC", fixed=True),
    "tanh": _unary("TANH", fixed=True),
    "hard_swish": _unary("HARD_SWISH", "HardSwishOptions"),
    "leaky_relu": _unary(
        "LEAKY_RELU",
        "LeakyReluOptions",
        alpha=lambda branches: float(np.float32(branches.rng.uniform(0.02, 0.9))),
    ),
    "leaky_relu_extreme": _unary(
        "LEAKY_RELU",
        "LeakyReluOptions",
        between=(1e-4, 10),
        alpha=lambda branches: branches.choice(0.0, 1.0, 1e-3, -0.5, 1.5, float(np.float32(0.01))),
    ),
    "relu": _unary("RELU"),
    "relu6": _unary("RELU6"),
    "relu_n1_to_1": _unary("RELU_N1_TO_1"),
    "prelu": prelu,
    "softmax": softmax,
    "resize_bilinear": _resize("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    "resize_nearest": _resize("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
    "arg_max": arg_max,
    "quantize_float": quantize_float,
    "requantize": _requantize(False),
    "requantize_extreme": _requantize(False, (1e-4, 10)),
    "requantize_sign": _requantize(True),
    "dequantize": dequantize,
    "float_island": float_island,
    **SHAPE_CASES,
}
