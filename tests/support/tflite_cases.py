"""Random single-operator branches for differential tests: one model holds many of them side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.support.tflite_writer import Operator, Tensor, constant, write_model

BOUNDS = {"int8": (-128, 127), "uint8": (0, 255)}
NONE, RELU, RELU_N1_TO_1, RELU6 = 0, 1, 2, 3
SAME, VALID = 0, 1


@dataclass
class Branches:
    """A model under construction; `feeds` are the inputs to run it with."""

    rng: np.random.Generator
    dtype: str
    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    feeds: list[np.ndarray] = field(default_factory=list)

    def tensor(self, tensor: Tensor) -> int:
        """Adds a tensor that an operator makes, or a constant."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def input(self, feed: np.ndarray, scale: float | None = None, zero_point: int = 0) -> int:
        """Adds a graph input with its feed."""
        index = self.tensor(Tensor(feed.shape, feed.dtype.name, scale, zero_point))
        self.inputs.append(index)
        self.feeds.append(feed)
        return index

    def output(
        self, shape: Sequence[int], dtype: str, scale: float | None = None, zero_point: int = 0
    ) -> int:
        """Adds a graph output."""
        index = self.tensor(Tensor(tuple(int(v) for v in shape), dtype, scale, zero_point))
        self.outputs.append(index)
        return index

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        table: str | None = None,
        version: int | None = None,
        **options: Any,
    ) -> None:
        """Adds an operator."""
        self.operators.append(Operator(name, inputs, outputs, table, options, version))

    def model(self) -> bytes:
        """The model's bytes."""
        return write_model(self.tensors, self.operators, self.inputs, self.outputs)

    # Random values

    def scale(self, low: float = 0.004, high: float = 0.2) -> float:
        """A scale, log-uniform, exactly a float32."""
        return float(np.float32(np.exp(self.rng.uniform(np.log(low), np.log(high)))))

    def zero(self, dtype: str | None = None) -> int:
        """A zero point."""
        low, high = BOUNDS[dtype or self.dtype]
        return int(self.rng.integers(low, high + 1))

    def integers(self, shape: Sequence[int], dtype: str | None = None) -> np.ndarray:
        """Uniform stored integers."""
        low, high = BOUNDS[dtype or self.dtype]
        return self.rng.integers(low, high + 1, tuple(shape)).astype(dtype or self.dtype)

    def quantized(self, shape: Sequence[int], **parameters: Any) -> tuple[int, float, int]:
        """A random quantized input: its index, scale and zero point."""
        scale, zero = parameters.get("scale", self.scale()), parameters.get("zero_point", self.zero())
        return self.input(self.integers(shape), scale, zero), scale, zero

    def choice(self, *values: Any) -> Any:
        """One of the values."""
        return values[int(self.rng.integers(len(values)))]

    def every_value(self) -> np.ndarray:
        """All 256 stored values and seven more, [1, 263]: whole vectors and a tail."""
        low, high = BOUNDS[self.dtype]
        values = np.arange(low, high + 1)
        return np.concatenate([values, values[:7]]).astype(self.dtype).reshape(1, 263)


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


def concatenation(branches: Branches) -> None:
    same = branches.dtype == "int8" or branches.rng.random() < 0.4
    axis = branches.choice(1, 3, -1)
    shapes = [[1, 5, 7, 3] for _ in range(branches.choice(2, 3))]
    for shape in shapes:
        shape[axis] = int(branches.rng.integers(1, 6))
    scale, zero = branches.scale(), branches.zero()
    operands = [
        branches.quantized(shape, **({"scale": scale, "zero_point": zero} if same else {}))[0]
        for shape in shapes
    ]
    total = np.concatenate([np.zeros(shape) for shape in shapes], axis=axis).shape
    output = branches.output(total, branches.dtype, scale, zero)
    branches.operator("CONCATENATION", operands, [output], "ConcatenationOptions", axis=axis)


def _moved(branches: Branches, data: int, result: np.ndarray) -> int:
    """An output of the shape of `result` and the parameters of `data`."""
    tensor = branches.tensors[data]
    return branches.output(result.shape, branches.dtype, tensor.scale, tensor.zero_point)


def pad(branches: Branches) -> None:
    data, *_ = branches.quantized((1, 4, 5, 3))
    widths = branches.rng.integers(0, 3, (4, 2)).astype("int32")
    operand = branches.tensor(constant(widths))
    branches.operator(
        "PAD", [data, operand], [_moved(branches, data, np.pad(branches.feeds[-1], widths))], "PadOptions"
    )


def pad_v2(branches: Branches) -> None:
    data, scale, zero = branches.quantized((1, 4, 5, 3))
    widths = branches.rng.integers(0, 3, (4, 2)).astype("int32")
    operand = branches.tensor(constant(widths))
    fill = branches.tensor(constant(branches.integers((1,)), scale=scale, zero_point=zero))
    result = _moved(branches, data, np.pad(branches.feeds[-1], widths))
    branches.operator("PADV2", [data, operand, fill], [result], "PadV2Options")


def reshape(branches: Branches) -> None:
    data, *_ = branches.quantized((1, 4, 5, 6))
    shape = branches.choice([1, 120], [2, -1, 6], [1, 20, 6, 1], [-1])
    operand = branches.tensor(constant(np.array(shape, "int32")))
    result = _moved(branches, data, branches.feeds[-1].reshape(shape))
    branches.operator("RESHAPE", [data, operand], [result], "ReshapeOptions", newShape=list(shape))


def squeeze(branches: Branches) -> None:
    data, *_ = branches.quantized((1, 4, 1, 6))
    axes = branches.choice([0], [2], [-2], [0, 2], [])
    result = branches.feeds[-1].squeeze(tuple(axes) if axes else None)
    branches.operator("SQUEEZE", [data], [_moved(branches, data, result)], "SqueezeOptions", squeezeDims=axes)


def expand_dims(branches: Branches) -> None:
    data, *_ = branches.quantized((3, 4, 6))
    axis = branches.choice(0, 1, 3, -1)
    operand = branches.tensor(constant(np.array([axis], "int32")))
    result = np.expand_dims(branches.feeds[-1], axis)
    branches.operator("EXPAND_DIMS", [data, operand], [_moved(branches, data, result)], "ExpandDimsOptions")


def transpose(branches: Branches) -> None:
    data, *_ = branches.quantized((2, 3, 4, 5))
    order = branches.rng.permutation(4).astype("int32")
    operand = branches.tensor(constant(order))
    result = branches.feeds[-1].transpose(order)
    branches.operator("TRANSPOSE", [data, operand], [_moved(branches, data, result)], "TransposeOptions")


def split(branches: Branches) -> None:
    data, *_ = branches.quantized((2, 6, 4, 6))
    axis, count = branches.choice(1, 3, -1), branches.choice(2, 3)
    operand = branches.tensor(constant(np.array(axis, "int32")))
    parts = [_moved(branches, data, part) for part in np.split(branches.feeds[-1], count, axis)]
    branches.operator("SPLIT", [operand, data], parts, "SplitOptions", numSplits=count)


def slice_(branches: Branches) -> None:
    data, *_ = branches.quantized((2, 6, 4, 6))
    begin, size = np.array([0, 1, 2, 0], "int32"), np.array([2, branches.choice(3, -1), 1, 4], "int32")
    operands = [data, branches.tensor(constant(begin)), branches.tensor(constant(size))]
    result = branches.feeds[-1][:, 1 : (None if size[1] == -1 else 4), 2:3, :4]
    branches.operator("SLICE", operands, [_moved(branches, data, result)], "SliceOptions")


def strided_slice(branches: Branches) -> None:
    data, *_ = branches.quantized((2, 6, 4, 6))
    feed = branches.feeds[-1]
    begin, end, strides, masks, result = branches.choice(
        ([0, 1, 0, 0], [2, 5, 4, 6], [1, 2, 1, 3], {}, feed[:, 1:5:2, :, ::3]),
        ([0, -1, 0, 0], [2, -5, 4, 6], [1, -1, 1, 1], {}, feed[:, -1:-5:-1]),
        ([0, 5, 0, 0], [2, 0, 4, 6], [1, -2, 1, 1], {"endMask": 2}, feed[:, 5::-2]),
        ([0, 2, 1, 1], [1, 3, 4, -1], [1, 1, 1, 1], {"shrinkAxisMask": 2}, feed[0:1, 2, 1:, 1:-1]),
        ([1, 0, 0, 3], [2, 99, 4, 6], [1, 1, 1, 1], {"beginMask": 8, "endMask": 4}, feed[1:2]),
    )
    operands = [data, *(branches.tensor(constant(np.array(v, "int32"))) for v in (begin, end, strides))]
    branches.operator(
        "STRIDED_SLICE", operands, [_moved(branches, data, result)], "StridedSliceOptions", **masks
    )


def pack(branches: Branches) -> None:
    scale, zero = branches.scale(), branches.zero()
    count, axis = branches.choice(2, 3), branches.choice(0, 1, 2, -1)
    operands = [branches.quantized((3, 5), scale=scale, zero_point=zero)[0] for _ in range(count)]
    result = np.stack(branches.feeds[-count:], axis)
    output = _moved(branches, operands[0], result)
    branches.operator("PACK", operands, [output], "PackOptions", valuesCount=count, axis=axis)


def unpack(branches: Branches) -> None:
    data, *_ = branches.quantized((3, 4, 5))
    axis = branches.choice(0, 1, -1)
    feed = branches.feeds[-1]
    parts = [_moved(branches, data, feed.take(i, axis)) for i in range(feed.shape[axis])]
    branches.operator("UNPACK", [data], parts, "UnpackOptions", num=feed.shape[axis], axis=axis)


def float_island(branches: Branches) -> None:
    """DEQUANTIZE, float arithmetic, QUANTIZE."""
    data, *_ = branches.quantized((1, 4, 8, 8))
    real = branches.tensor(Tensor((1, 4, 8, 8), "float32"))
    branches.operator("DEQUANTIZE", [data], [real], "DequantizeOptions")
    factor = branches.tensor(constant(branches.rng.normal(0, 1, (8,)).astype("float32")))
    product = branches.tensor(Tensor((1, 4, 8, 8), "float32"))
    branches.operator(
        "MUL", [real, factor], [product], "MulOptions", fusedActivationFunction=branches.choice(NONE, RELU6)
    )
    total = branches.tensor(Tensor((1, 4, 8, 8), "float32"))
    branches.operator(
        "ADD", [product, real], [total], "AddOptions", fusedActivationFunction=branches.choice(NONE, RELU)
    )
    output = branches.output((1, 4, 8, 8), branches.dtype, branches.scale(), branches.zero())
    branches.operator("QUANTIZE", [total], [output], "QuantizeOptions")


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
    "concatenation": concatenation,
    "pad": pad,
    "pad_v2": pad_v2,
    "reshape": reshape,
    "squeeze": squeeze,
    "expand_dims": expand_dims,
    "transpose": transpose,
    "split": split,
    "slice": slice_,
    "strided_slice": strided_slice,
    "pack": pack,
    "unpack": unpack,
    "float_island": float_island,
}
