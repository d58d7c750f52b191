"""Cases of PyTorch's quantized convolutions and linear layers: an exact accumulator and an engine's output stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.dialect import constant
from tests.support.dialect import zero
from tests.support.pytorch_tensors import OperatorCase, Quantized, channels_last, real, torch

KINDS = ("conv", "depthwise", "grouped", "many_groups", "pointwise", "linear", "transposed")
_MOST_ONEDNN_GROUPS = 100


@dataclass(frozen=True)
class _Layer:
    """A layer's integers and parameters; weights in PyTorch's order, one weight scale or one a channel."""

    kind: str
    data: Quantized
    weights: Any
    weight_scales: np.ndarray[Any, Any]
    bias: Any | None
    groups: int
    scale: float
    zero_point: int
    relu: bool

    @property
    def outputs(self) -> int:
        return int(self.weights.shape[1 if self.kind == "transposed" else 0])

    @property
    def padding(self) -> int:
        return 0 if self.kind == "pointwise" else 1


def _power(rng: np.random.Generator, low: int, high: int, size: int | None = None) -> Any:
    return 2.0 ** -rng.integers(low, high, size).astype(np.float64)


def _extents(rng: np.random.Generator, kind: str) -> tuple[int, int, int]:
    """Input channels, output channels and groups."""
    channels, outputs = (int(value) * 8 for value in rng.integers(1, 5, 2))
    if kind == "depthwise":
        return channels, channels, channels
    if kind == "many_groups":
        return 128, 128, 128
    if kind == "transposed":
        return channels, channels, 1  # with others, oneDNN's results are wrong
    if kind == "grouped":
        return channels, outputs, 4
    return channels, outputs + int(rng.integers(0, 5)), 1


@dataclass(frozen=True)
class _Factors:
    """Scales of data, weights (one, or one a channel) and output."""

    data: float
    weights: np.ndarray[Any, Any]
    output: float

    @classmethod
    def random(cls, rng: np.random.Generator, count: int, ties: bool) -> _Factors:
        """Generic ones; or with ratios that are powers of two, so that sums lie halfway between two integers.

        Half of the latter are powers of two themselves, which float arithmetic keeps exact; with the others
        every rounding of a formula shows.
        """
        si, so = float(np.exp(rng.uniform(-5, -2))), float(np.exp(rng.uniform(-3, 0)))
        if not ties:
            return cls(si, np.exp(rng.uniform(-7, -4, count)), so)
        if rng.integers(2):
            return cls(float(_power(rng, 4, 8)), _power(rng, 6, 9, count), float(_power(rng, 1, 4)))
        first = float(np.exp(rng.uniform(-7, -4)))
        return cls(si, first * _power(rng, 0, 3, count), si * first / float(_power(rng, 2, 7)))


def _layer(rng: np.random.Generator, kind: str, ties: bool) -> _Layer:
    channels, outputs, groups = _extents(rng, kind)
    per_channel = kind != "transposed" and bool(rng.integers(2))
    factors = _Factors.random(rng, outputs if per_channel else 1, ties)
    si, scales, so = factors.data, factors.weights, factors.output
    image = (4, channels) if kind == "linear" else (2, channels, 7, 6)
    values = torch.from_numpy(rng.integers(0, 128, image).astype(np.uint8))
    data = torch._make_per_tensor_quantized_tensor(values, si, int(rng.integers(0, 128)))
    shape = {
        "linear": (outputs, channels),
        "pointwise": (outputs, channels, 1, 1),
        "transposed": (channels, outputs, 3, 3),
    }.get(kind, (outputs, channels // groups, 3, 3))
    bias = None
    if rng.random() < 0.8:
        steps = rng.integers(-400, 400, outputs) * 0.5 if ties else rng.normal(0, 500, outputs)
        bias = torch.from_numpy((steps * (np.float32(si) * scales)).astype(np.float32))
    weights = torch.from_numpy(rng.integers(-127, 128, shape).astype(np.int8))
    relu = kind != "transposed" and bool(rng.integers(2))
    zero_point = 0 if relu and rng.random() < 0.5 else int(rng.integers(0, 256))
    return _Layer(kind, Quantized(data), weights, scales, bias, groups, so, zero_point, relu)


def _quantized_weights(layer: _Layer) -> Any:
    if layer.weight_scales.size == 1:
        return torch._make_per_tensor_quantized_tensor(layer.weights, float(layer.weight_scales[0]), 0)
    zeros = torch.zeros(layer.outputs, dtype=torch.long)
    scales = torch.from_numpy(layer.weight_scales)
    return torch._make_per_channel_quantized_tensor(layer.weights, scales, zeros, 0)


def _result(layer: _Layer) -> Any:
    """What PyTorch computes with the engine that is set."""
    operators, weights = torch.ops.quantized, _quantized_weights(layer)
    output = (layer.scale, layer.zero_point)
    suffix = "_relu" if layer.relu else ""
    if layer.kind == "linear":
        packed = operators.linear_prepack(weights, layer.bias)
        return getattr(operators, "linear" + suffix)(layer.data.tensor, packed, *output)
    pads = [layer.padding] * 2
    if layer.kind == "transposed":
        packed = operators.conv_transpose2d_prepack(weights, layer.bias, [2, 2], pads, [0, 0], [1, 1], 1)
        return operators.conv_transpose2d(layer.data.tensor, packed, *output)
    packed = operators.conv2d_prepack(weights, layer.bias, [1, 1], pads, [1, 1], layer.groups)
    return getattr(operators, "conv2d" + suffix)(layer.data.tensor, packed, *output)


def stage_engine(engine: str, kind: str, groups: int) -> str:
    """The output stage that PyTorch's engine takes for a kind of layer."""
    if engine == "x86":
        engine = "fbgemm" if kind == "linear" or groups > _MOST_ONEDNN_GROUPS else "onednn"
    if engine != "onednn":
        return engine
    if kind == "linear":
        return "onednn_linear"
    return "onednn_depthwise" if groups > 1 else "onednn"


def _accumulator(layer: _Layer, data: Any) -> Any:
    scale, zero_point = layer.data.parameters
    weights = layer.weights.numpy()
    parameters = (zero_point, zero(0), scale, real(layer.weight_scales[0]))
    if layer.kind == "linear":
        return dialect.dense(data, constant(weights), *parameters, units=layer.outputs)
    order = (1, 2, 3, 0) if layer.kind == "transposed" else (0, 2, 3, 1)
    kernel = constant(np.ascontiguousarray(weights.transpose(order)))
    operator = dialect.conv2d_transpose if layer.kind == "transposed" else dialect.conv2d
    return operator(
        data,
        kernel,
        *parameters,
        kernel_size=weights.shape[2:],
        channels=layer.outputs,
        strides=(2, 2) if layer.kind == "transposed" else (1, 1),
        padding=(layer.padding,) * 4,
        groups=layer.groups,
    )


def _build(layer: _Layer, engine: str) -> Callable[..., Any]:
    bias = np.zeros(layer.outputs, np.float32) if layer.bias is None else layer.bias.numpy()
    scales = layer.weight_scales if layer.weight_scales.size > 1 else layer.weight_scales[0]

    def build(data: Any) -> Any:
        stored = dialect.output_stage(
            _accumulator(layer, data),
            constant(bias),
            real(layer.data.scale),
            real(scales),
            real(layer.scale),
            zero(layer.zero_point),
            engine=stage_engine(engine, layer.kind, layer.groups),
        )
        return relax.op.clip(stored, layer.zero_point, 255) if layer.relu else stored

    return build


def stages(rng: np.random.Generator, engine: str, kind: str, ties: bool) -> Iterator[OperatorCase]:
    """One layer of a kind; relu, bias and weight scales per channel at random."""
    layer = _layer(rng, kind, ties)
    result = _result(layer).int_repr()
    name = f"{kind}{'_relu' * layer.relu}{'_channels' * (layer.weight_scales.size > 1)}"
    yield OperatorCase(name, _build(layer, engine), (layer.data.nhwc,), channels_last(result))
