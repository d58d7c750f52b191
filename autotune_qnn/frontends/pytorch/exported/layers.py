"""Convolutions and linear layers of exported programs, as layers on stored integers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.pytorch.exported.parameters import STORED_DTYPES, Parameters, QuantizedConstant
from autotune_qnn.frontends.pytorch.graph import ConstantTensor, Node, PackedWeights, TensorMeta, ValueRef


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer on stored integers: weights with their scales and bias, the range that its real result is clamped to,
    and how it is quantized, None where it stays float.
    """

    weights: PackedWeights
    low: float = -math.inf
    high: float = math.inf
    output: Parameters | None = None

    @property
    def linear(self) -> bool:
        """Whether it is a linear layer rather than a convolution."""
        return self.weights.weight.ndim == 2

    def takes(self, data: TensorMeta) -> bool:
        """Whether it can sum integers of such data."""
        if data.dtype not in STORED_DTYPES or not data.quantized:
            return False
        return data.rank == (2 if self.linear else 4) and data.shape[1] == self.weights.depth

    def clamped(self, low: float, high: float) -> Layer:
        """The layer with a clamp behind it: min(max(x, low), high) of what it gives so far."""
        return replace(self, low=min(max(self.low, low), high), high=min(max(self.high, low), high))


def layer_of(node: Node) -> tuple[Layer, ValueRef] | None:
    """The layer that a node computes if its data are dequantized integers, and the tensor of these; None where its
    weights are no stored constants, or its form is another.
    """
    if node.name == "aten::convolution":
        weights, operand = _convolution(node), node.get("input")
    elif node.name in ("aten::addmm", "aten::mm"):
        weights, operand = _product(node)
    else:
        return None
    if weights is None or not isinstance(operand, ValueRef):
        return None
    return Layer(weights), operand


def folded(value: Any) -> Any:
    """A stored constant as the float constant that the program makes of it; anything else as it is."""
    if not isinstance(value, QuantizedConstant):
        return value
    shape = [1] * value.data.ndim
    if value.scale.ndim:
        shape[value.axis] = -1
    centred = (value.data.astype(np.int64) - value.zero_point.reshape(shape)).astype(np.float32)
    return ConstantTensor(value.meta, np.asarray(centred * value.scale.reshape(shape).astype(np.float32)))


def _convolution(node: Node) -> PackedWeights | None:
    weight, transposed = node.get("weight"), node.flag("transposed")
    if not _usable(weight, axis=1 if transposed else 0) or weight.data.ndim != 4:
        return None
    if transposed and weight.scale.ndim and node.integer("groups") != 1:
        return None
    bias = _bias(node, "bias")
    if node.get("bias") is not None and bias is None:
        return None
    return PackedWeights(
        weight.data,
        weight.scale,
        weight.zero_point,
        bias,
        node.integers("stride", 2),
        node.integers("padding", 2),
        node.integers("output_padding", 2),
        node.integers("dilation", 2),
        node.integer("groups"),
        transposed,
    )


def _product(node: Node) -> tuple[PackedWeights | None, Any]:
    """A product with a constant matrix [K, O], with or without a bias."""
    fused = node.name == "aten::addmm"
    operand, weight = node.get("mat1" if fused else "self"), node.get("mat2")
    if not _usable(weight, axis=1) or weight.data.ndim != 2:
        return None, operand
    bias = None
    if fused:
        bias = _bias(node, "self")
        plain = node.number("beta") == 1 and node.number("alpha") == 1
        if bias is None or not plain or bias.shape != (weight.data.shape[1],):
            return None, operand
    return PackedWeights(np.ascontiguousarray(weight.data.T), weight.scale, weight.zero_point, bias), operand


def _usable(weight: Any, axis: int) -> bool:
    """Whether weights are stored as int8 or uint8, with scales per tensor or by output channel."""
    if not isinstance(weight, QuantizedConstant) or str(weight.data.dtype) not in STORED_DTYPES:
        return False
    return weight.scale.ndim == 0 or weight.axis == axis


def _bias(node: Node, name: str) -> Array | None:
    value = folded(node.get(name))
    if not isinstance(value, ConstantTensor) or value.data.ndim != 1:
        return None
    return value.data.astype(np.float32)
