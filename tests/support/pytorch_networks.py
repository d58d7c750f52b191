"""Small quantized networks of PyTorch, one for each operator family, made of its own quantized operators."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch

Body = Callable[..., Any]
Q = torch.ops.quantized
F = torch.nn.functional


class Network(torch.nn.Module):
    """A float input, quantized with a few simple scale ratios that lead to many ties, then `body`."""

    def __init__(
        self, body: Body, *, last: bool = False, scale: float = 0.0625, zero_point: int = 61
    ) -> None:
        super().__init__()
        self.body = body
        self.last = last
        self.scale, self.zero_point = scale, zero_point

    def forward(self, x: Any) -> Any:
        if self.last:
            x = x.contiguous(memory_format=torch.channels_last)
        return self.body(torch.quantize_per_tensor(x, self.scale, self.zero_point, torch.quint8))


def weights(rng: np.random.Generator, shape: tuple[int, ...], per_channel: bool, axis: int = 0) -> Any:
    """Quantized weights, per tensor or per channel of `axis`."""
    values = torch.from_numpy(rng.integers(-127, 128, shape).astype(np.int8))
    if not per_channel:
        return torch._make_per_tensor_quantized_tensor(values, 0.0078125 * 1.1, 0)
    scales = torch.from_numpy(2.0 ** -rng.integers(6, 9, shape[axis]))
    points = torch.zeros(shape[axis], dtype=torch.long)
    return torch._make_per_channel_quantized_tensor(values, scales, points, axis)


def bias(rng: np.random.Generator, channels: int) -> Any:
    return torch.from_numpy(rng.normal(0, 1, channels).astype(np.float32))


def convolution(
    rng: np.random.Generator,
    channels: tuple[int, int],
    window: int = 3,
    *,
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
    groups: int = 1,
    per_channel: bool = True,
    relu: bool = False,
    with_bias: bool = True,
) -> Body:
    weight = weights(rng, (channels[1], channels[0] // groups, window, window), per_channel)
    vector = bias(rng, channels[1]) if with_bias else None
    pairs = ([stride] * 2, [padding] * 2, [dilation] * 2)
    packed = Q.conv2d_prepack(weight, vector, *pairs, groups)
    operator = Q.conv2d_relu if relu else Q.conv2d
    return lambda x: operator(x, packed, 0.25, 70)


def transposed(
    rng: np.random.Generator, channels: tuple[int, int], *, extra: int = 0, groups: int = 1, window: int = 3
) -> Body:
    weight = weights(rng, (channels[0], channels[1] // groups, window, window), False)
    packed = Q.conv_transpose2d_prepack(
        weight, bias(rng, channels[1]), [2, 2], [1, 1], [extra, extra], [1, 1], groups
    )
    return lambda x: Q.conv_transpose2d(x, packed, 0.25, 90)


def row_convolution(rng: np.random.Generator, channels: tuple[int, int], relu: bool) -> Body:
    weight = weights(rng, (channels[1], channels[0], 3), True)
    packed = Q.conv1d_prepack(weight, bias(rng, channels[1]), [2], [1], [1], 1)
    operator = Q.conv1d_relu if relu else Q.conv1d
    return lambda x: operator(x, packed, 0.25, 70)


def linear(rng: np.random.Generator, features: tuple[int, int], relu: bool, per_channel: bool) -> Body:
    packed = Q.linear_prepack(weights(rng, (features[1], features[0]), per_channel), bias(rng, features[1]))
    operator = Q.linear_relu if relu else Q.linear
    return lambda x: operator(x, packed, 0.25, 70)


def batch_norm(rng: np.random.Generator, channels: int, relu: bool) -> Body:
    vectors = [bias(rng, channels), bias(rng, channels), bias(rng, channels), bias(rng, channels).abs() + 0.1]
    operator = Q.batch_norm2d_relu if relu else Q.batch_norm2d
    return lambda x: operator(x, *vectors, 1e-5, 0.125, 50)


def shuffled(x: Any, groups: int) -> Any:
    """ShuffleNet's channel shuffle."""
    batch, channels, height, width = x.shape
    split = x.view(batch, groups, channels // groups, height, width)
    return torch.transpose(split, 1, 2).contiguous().view(batch, channels, height, width)


def shuffle_unit(rng: np.random.Generator) -> Body:
    """Half of the channels through a convolution, joined with the other half and shuffled."""
    layer = convolution(rng, (12, 12), relu=True)

    def body(x: Any) -> Any:
        first, second = x.chunk(2, dim=1)
        return shuffled(Q.cat([first, layer(second)], 1, 0.125, 40), 2)

    return body


def squeeze(rng: np.random.Generator) -> Body:
    """MobileNetV3's squeeze and excitation."""
    layer = convolution(rng, (24, 24), 1, padding=0)

    def body(x: Any) -> Any:
        scale = F.hardsigmoid(layer(F.adaptive_avg_pool2d(x, 1)))
        return Q.mul(scale, x, 0.05, 64)

    return body


def residual(rng: np.random.Generator, relu: bool) -> Body:
    """A sum of a channels-last and the network's own tensor, which is not."""
    layer = convolution(rng, (24, 24))

    def body(x: Any) -> Any:
        y = layer(x)
        z = (Q.add_relu if relu else Q.add)(y, layer(y), 0.5, 66)
        return Q.add(z, x, 0.4, 60)

    return body


Case = tuple[Callable[[np.random.Generator], Body], tuple[int, ...]]
"""Makes the body; and the shape of the network's input."""

IMAGE = (1, 24, 9, 11)

LAYERS: dict[str, Case] = {
    "conv_1x1": (lambda rng: convolution(rng, (24, 40), 1, padding=0), IMAGE),
    "conv_relu": (lambda rng: convolution(rng, (24, 17), relu=True, stride=2), IMAGE),
    "conv_per_tensor": (lambda rng: convolution(rng, (24, 16), per_channel=False, with_bias=False), IMAGE),
    "conv_batch": (lambda rng: convolution(rng, (5, 9), 5, padding=2, stride=2), (3, 5, 12, 10)),
    "conv_dilated": (lambda rng: convolution(rng, (8, 8), dilation=2, padding=2), (1, 8, 12, 12)),
    "conv_groups": (lambda rng: convolution(rng, (24, 48), groups=4, per_channel=False), IMAGE),
    "conv_many_groups": (lambda rng: convolution(rng, (208, 208), groups=104, relu=True), (1, 208, 5, 6)),
    "depthwise": (lambda rng: convolution(rng, (24, 24), groups=24, relu=True), IMAGE),
    "depthwise_wide": (
        lambda rng: convolution(rng, (128, 128), 5, padding=2, groups=128, stride=2, per_channel=False),
        (1, 128, 7, 7),
    ),
    "depthwise_multiplier": (
        lambda rng: convolution(rng, (104, 208), 7, padding=3, groups=104),
        (1, 104, 8, 5),
    ),
    "depthwise_narrow": (lambda rng: convolution(rng, (12, 12), groups=12), (1, 12, 5, 6)),
    "conv1d": (lambda rng: row_convolution(rng, (6, 10), False), (2, 6, 20)),
    "conv1d_relu": (lambda rng: row_convolution(rng, (16, 16), True), (1, 16, 33)),
    "transposed": (lambda rng: transposed(rng, (16, 16)), (1, 16, 5, 6)),
    "transposed_extended": (lambda rng: transposed(rng, (8, 8), extra=1, window=4), (1, 8, 5, 6)),
    "linear": (lambda rng: linear(rng, (96, 33), False, True), (3, 96)),
    "linear_relu": (lambda rng: linear(rng, (96, 33), True, False), (1, 96)),
    "linear_deep": (lambda rng: linear(rng, (20, 12), False, False), (2, 5, 20)),
    "batch_norm": (lambda rng: batch_norm(rng, 24, False), IMAGE),
    "batch_norm_relu": (lambda rng: batch_norm(rng, 24, True), IMAGE),
}
"""Layers with parameters."""

OPERATORS: dict[str, Case] = {
    "residual": (lambda rng: residual(rng, False), IMAGE),
    "residual_relu": (lambda rng: residual(rng, True), IMAGE),
    "squeeze": (squeeze, IMAGE),
    "shuffle_unit": (shuffle_unit, (1, 24, 6, 6)),
    "shuffle_unit_batch": (shuffle_unit, (2, 24, 5, 6)),
    "add_broadcast": (
        lambda rng: lambda x: Q.add(x, F.adaptive_avg_pool2d(x, 1), 0.1, 63),
        (2, 70, 5, 3),
    ),
    "add_slices": (lambda rng: lambda x: Q.add(x[:, :70], x[:, 30:], 0.1, 63), (1, 100, 3, 5)),
    "mul": (lambda rng: lambda x: Q.mul_relu(x, torch.tanh(x), 0.03, 90), IMAGE),
    "scalars": (
        lambda rng: (
            lambda x: Q.mul_scalar(Q.add_scalar(Q.mul_scalar_relu(Q.add_scalar(x, 1.3), 2.0), -0.7), -0.3)
        ),
        IMAGE,
    ),
    "scalar_far": (lambda rng: lambda x: Q.add_scalar(Q.add_scalar_relu(x, 9.3), -15.0), IMAGE),
    "scalar_zero": (lambda rng: lambda x: Q.mul_scalar(x, 0.0), IMAGE),
    "hardswish": (lambda rng: lambda x: Q.hardswish(x, 0.05, 20), IMAGE),
    "sigmoid": (lambda rng: torch.sigmoid, IMAGE),
    "sigmoid_scaled": (lambda rng: lambda x: Q.sigmoid(x, 0.01, 3), IMAGE),
    "leaky_relu": (lambda rng: lambda x: Q.leaky_relu(x, 0.1, False, 0.05, 40), IMAGE),
    "leaky_relu_sliced": (lambda rng: lambda x: F.leaky_relu(x[:, 3:], 0.2), (2, 90, 4, 3)),
    "clamps": (lambda rng: lambda x: F.hardtanh(torch.clamp(F.relu6(x), 0.5, 4.0), -1.0, 3.3), IMAGE),
    "relu": (lambda rng: torch.relu, IMAGE),
    "relu_in_place": (lambda rng: lambda x: Q.add_scalar(x, 0.5).relu_(), IMAGE),
    "quantized_relu6": (lambda rng: lambda x: Q.relu6(x, False), (1, 4, 5, 6)),
    "max_pool": (lambda rng: lambda x: F.max_pool2d(x, 3, 2, 1), IMAGE),
    "max_pool_ceil": (lambda rng: lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), (1, 24, 10, 12)),
    "avg_pool": (lambda rng: lambda x: F.avg_pool2d(x, 3, 2, 1), IMAGE),
    "avg_pool_inside": (lambda rng: lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), IMAGE),
    "avg_pool_ceil": (lambda rng: lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True), IMAGE),
    "adaptive": (lambda rng: lambda x: torch.flatten(F.adaptive_avg_pool2d(x, 1), 1), IMAGE),
    "adaptive_parts": (lambda rng: lambda x: torch.flatten(F.adaptive_avg_pool2d(x, (3, 4)), 1), IMAGE),
    "mean": (lambda rng: lambda x: x.mean([2, 3]), IMAGE),
    "mean_kept": (lambda rng: lambda x: x.mean([-1, -2], keepdim=True), (2, 70, 7, 7)),
    "cat": (lambda rng: lambda x: Q.cat([x, torch.tanh(x), x], 1, 0.05, 77), IMAGE),
    "cat_relu_rows": (lambda rng: lambda x: Q.cat_relu([x, torch.sigmoid(x)], 2, 0.05, 77), IMAGE),
    "cat_plain": (lambda rng: lambda x: torch.cat([x, x], 1), IMAGE),
    "moves": (
        lambda rng: lambda x: x.permute(0, 2, 3, 1).reshape(1, 99, 24).transpose(1, 2)[:, ::2].flatten(1),
        IMAGE,
    ),
    "splits": (
        lambda rng: lambda x: Q.add(*[part[:, :, 1:, :-2] for part in x.split(12, 1)], 0.2, 50).flatten(),
        IMAGE,
    ),
    "channel_shuffle": (lambda rng: lambda x: F.channel_shuffle(x, 3), IMAGE),
    "pad": (lambda rng: lambda x: F.pad(x, (1, 2, 0, 3)), IMAGE),
    "nearest": (lambda rng: lambda x: F.interpolate(x, scale_factor=2), IMAGE),
    "nearest_size": (lambda rng: lambda x: F.interpolate(x, size=(5, 17)), IMAGE),
    "bilinear": (
        lambda rng: lambda x: F.interpolate(x, size=(13, 7), mode="bilinear", align_corners=False),
        IMAGE,
    ),
    "bilinear_scaled": (
        lambda rng: lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
        IMAGE,
    ),
    "dropout": (lambda rng: lambda x: F.dropout(x, training=False).dequantize() * 2.0 + 1.0, IMAGE),
    "stacked": (lambda rng: lambda x: torch.stack([x, torch.relu(x)], 1).flatten(1, 2), IMAGE),
    "outputs": (lambda rng: lambda x: (x.dequantize(), torch.relu(x), x.mean([2, 3])), IMAGE),
}
"""Operators without parameters."""
