"""Random uses of the operators with weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.support.tflite_branches import NONE, RELU, RELU6, RELU_N1_TO_1, SAME, VALID, Branches
from tests.support.tflite_writer import constant


def same_extent(extent: int, stride: int) -> int:
    return -(-extent // stride)


def weight_parameters(
    branches: Branches, channels: int, axis: int, per_channel: bool | None = None
) -> dict[str, Any]:
    """Random scales and zero points of weights: int8 symmetric, uint8 asymmetric per tensor."""
    if per_channel is None:
        per_channel = branches.dtype == "int8" and branches.rng.random() < 0.7
    scales = [branches.scale(0.001, 0.02) for _ in range(channels if per_channel else 1)]
    zero = 0 if branches.dtype == "int8" else branches.zero()
    return {"scale": scales, "zero_point": zero, "axis": axis if per_channel else 0}


def weights(branches: Branches, shape: tuple[int, ...], parameters: dict[str, Any]) -> int:
    data = branches.integers(shape)
    if branches.dtype == "int8":
        data = np.maximum(data, -127)
    return branches.tensor(constant(data, **parameters))


def bias(branches: Branches, channels: int, input_scale: float, parameters: dict[str, Any]) -> int:
    data = branches.rng.integers(-3000, 3000, channels).astype("int32")
    scale = np.float32(input_scale) * np.asarray(parameters["scale"], "float32")
    return branches.tensor(constant(data, scale=scale, zero_point=0))


def accumulator_output(
    branches: Branches, shape: Sequence[int], depth: int, input_scale: float, parameters: dict[str, Any]
) -> int:
    """An output whose scale lets accumulators of `depth` products use the range, or now and then saturate."""
    spread = np.sqrt(depth) * 5500.0 * input_scale * float(np.mean(parameters["scale"]))
    divisor = branches.rng.uniform(20, 60) if branches.rng.random() > 0.15 else 3000.0
    return branches.output(shape, branches.dtype, float(np.float32(spread / divisor)), branches.zero())


def convolution(branches: Branches, groups: int = 1) -> None:
    rng = branches.rng
    kernel, stride = branches.choice(1, 1, 3, 5), branches.choice(1, 2)
    dilation = branches.choice(1, 1, 1, 2) if stride == 1 else 1
    padding = branches.choice(SAME, VALID)
    reach = (kernel - 1) * dilation + 1
    height, width = int(rng.integers(reach, reach + 9)), int(rng.integers(reach, reach + 9))
    channels, filters = int(rng.integers(1, 40)), int(rng.integers(1, 40 // groups)) * groups
    data, scale, _ = branches.quantized((branches.choice(1, 1, 2), height, width, channels * groups))
    parameters = weight_parameters(branches, filters, 0)
    extents = [
        same_extent(v, stride) if padding == SAME else (v - reach) // stride + 1 for v in (height, width)
    ]
    operands = [data, weights(branches, (filters, kernel, kernel, channels), parameters)]
    operands.append(bias(branches, filters, scale, parameters))
    output = accumulator_output(
        branches,
        (branches.tensors[data].shape[0], *extents, filters),
        kernel * kernel * channels,
        scale,
        parameters,
    )
    branches.operator(
        "CONV_2D", operands, [output], "Conv2DOptions", padding=padding, strideH=stride, strideW=stride,
        dilationHFactor=dilation, dilationWFactor=dilation,
        fusedActivationFunction=branches.choice(NONE, RELU, RELU6, RELU_N1_TO_1),
    )  # fmt: skip


def depthwise(branches: Branches) -> None:
    rng = branches.rng
    kernel, stride, padding = branches.choice(1, 3, 3, 5), branches.choice(1, 2), branches.choice(SAME, VALID)
    height, width = int(rng.integers(kernel, kernel + 9)), int(rng.integers(kernel, kernel + 9))
    channels, multiplier = int(rng.integers(1, 40)), branches.choice(1, 1, 2)
    filters = channels * multiplier
    data, scale, _ = branches.quantized((1, height, width, channels))
    parameters = weight_parameters(branches, filters, 3)
    extents = [
        same_extent(v, stride) if padding == SAME else (v - kernel) // stride + 1 for v in (height, width)
    ]
    operands = [
        data,
        weights(branches, (1, kernel, kernel, filters), parameters),
        bias(branches, filters, scale, parameters),
    ]
    output = accumulator_output(branches, (1, *extents, filters), kernel * kernel, scale, parameters)
    branches.operator(
        "DEPTHWISE_CONV_2D", operands, [output], "DepthwiseConv2DOptions", padding=padding, strideH=stride,
        strideW=stride, depthMultiplier=multiplier, dilationHFactor=1, dilationWFactor=1,
        fusedActivationFunction=branches.choice(NONE, RELU, RELU6),
    )  # fmt: skip


def dense(branches: Branches) -> None:
    rng = branches.rng
    depth, units = int(rng.integers(1, 90)), int(rng.integers(1, 70))
    keep = rng.random() < 0.2
    shape = (2, 3, depth) if keep else (branches.choice(1, 1, 3, 8), depth)
    data, scale, _ = branches.quantized(shape)
    parameters = weight_parameters(branches, units, 0)
    operands = [data, weights(branches, (units, depth), parameters)]
    operands.append(bias(branches, units, scale, parameters) if rng.random() < 0.7 else -1)
    output = accumulator_output(branches, (*shape[:-1], units), depth, scale, parameters)
    branches.operator(
        "FULLY_CONNECTED", operands, [output], "FullyConnectedOptions",
        12 if len(parameters["scale"]) > 1 else None, keepNumDims=keep,
        fusedActivationFunction=branches.choice(NONE, RELU, RELU6),
    )  # fmt: skip


def transpose_convolution(branches: Branches) -> None:
    rng = branches.rng
    stride, kernel, padding = 2, branches.choice(2, 3, 4), branches.choice(SAME, VALID)
    height, width, channels = int(rng.integers(2, 6)), int(rng.integers(2, 6)), int(rng.integers(1, 20))
    filters = int(rng.integers(1, 20))
    if padding == SAME:
        extents = [height * stride, width * stride]
    else:
        extents = [(height - 1) * stride + kernel, (width - 1) * stride + kernel]
    data, scale, _ = branches.quantized((1, height, width, channels))
    parameters = weight_parameters(branches, filters, 0)
    shape = branches.tensor(constant(np.array([1, *extents, filters], "int32")))
    operands = [shape, weights(branches, (filters, kernel, kernel, channels), parameters), data]
    if rng.random() < 0.5:
        operands.append(bias(branches, filters, scale, parameters))
    output = accumulator_output(branches, (1, *extents, filters), kernel * channels, scale, parameters)
    branches.operator(
        "TRANSPOSE_CONV",
        operands,
        [output],
        "TransposeConvOptions",
        padding=padding,
        strideH=stride,
        strideW=stride,
    )
