"""The pass over graphs made by hand: what is raised, what stays, what is written once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from autotune_qnn.frontends.pytorch.exported.layers import Layer, layer_of
from autotune_qnn.frontends.pytorch.exported.parameters import (
    DEQUANTIZE,
    QUANTIZE,
    Parameters,
    QuantizedConstant,
)
from autotune_qnn.frontends.pytorch.exported.raising import LAYER, Raised, raise_to_integers
from autotune_qnn.frontends.pytorch.graph import (
    ConstantTensor,
    CpuTraits,
    Graph,
    Node,
    PackedWeights,
    TensorMeta,
    ValueRef,
)
from autotune_qnn.quantization import Arithmetic

IMAGE = (1, 4, 6, 6)


def strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps, step = [], 1
    for extent in reversed(shape):
        steps.append(step)
        step *= extent
    return tuple(reversed(steps))


class Writer:
    """Builds a graph operator by operator."""

    def __init__(self, shape: tuple[int, ...] = IMAGE) -> None:
        self.metas = [TensorMeta(shape, strides(shape), "float32")]
        self.nodes: list[Node] = []

    def add(
        self, name: str, shape: tuple[int, ...] = IMAGE, made: str = "float32", /, **arguments: Any
    ) -> int:
        self.metas.append(TensorMeta(shape, strides(shape), made))
        index = len(self.metas) - 1
        held = {
            key: ValueRef(value)
            if key in ("self", "input", "mat1", "other") and isinstance(value, int)
            else value
            for key, value in arguments.items()
        }
        self.nodes.append(Node(len(self.nodes), name, held, (index,)))
        return index

    def quantize(self, value: int, scale: float = 0.5, zero: int = 3, **limits: Any) -> int:
        arguments = {
            "scale": scale,
            "zero_point": zero,
            "quant_min": 0,
            "quant_max": 255,
            "dtype": "uint8",
            **limits,
        }
        return self.add(QUANTIZE, self.metas[value].shape, arguments["dtype"], input=value, **arguments)

    def dequantize(self, value: int, scale: float = 0.5, zero: int = 3) -> int:
        arguments = {"scale": scale, "zero_point": zero, "quant_min": 0, "quant_max": 255, "dtype": "uint8"}
        return self.add(DEQUANTIZE, self.metas[value].shape, input=value, **arguments)

    def convolve(self, value: int, weight: Any = None, **changes: Any) -> int:
        arguments: dict[str, Any] = {
            "weight": constant() if weight is None else weight,
            "bias": None,
            "stride": (1, 1),
            "padding": (1, 1),
            "dilation": (1, 1),
            "transposed": False,
            "output_padding": (0, 0),
            "groups": 1,
            **changes,
        }
        return self.add("aten::convolution", input=value, **arguments)

    def graph(self, *outputs: int) -> Graph:
        return Graph(
            "hand",
            Arithmetic.EXPORTED,
            CpuTraits(True, True),
            tuple(self.metas),
            tuple(self.nodes),
            (0,),
            ("x",),
            outputs,
        )


def constant(axis: int = 0) -> QuantizedConstant:
    shape = (4, 4, 3, 3)
    data = np.arange(144, dtype=np.int8).reshape(shape)
    return QuantizedConstant(
        TensorMeta(shape, strides(shape), "float32"), data, np.full(4, 0.25), np.zeros(4, np.int64), axis
    )


def names(raised: Raised) -> list[str]:
    return [node.name.split("::")[-1] for node in raised.graph.nodes]


def test_moves_and_comparisons_work_on_stored_integers() -> None:
    writer = Writer()
    value = writer.dequantize(writer.quantize(0))
    for name in ("aten::relu", "aten::clone", "aten::permute"):
        value = writer.add(name, self=value, dims=(0, 1, 2, 3))
    stored = writer.quantize(value)
    raised = raise_to_integers(writer.graph(writer.dequantize(stored)))
    assert names(raised) == ["quantize_per_tensor", "relu", "clone", "permute", "dequantize_per_tensor"]
    assert raised.exact == {"aten::relu": 1, "aten::clone": 1, "aten::permute": 1}
    metas = raised.graph.metas
    assert [metas[node.outputs[0]].scale for node in raised.graph.nodes] == [0.5, 0.5, 0.5, 0.5, None]


def test_a_max_pool_whose_places_are_used_stays_float() -> None:
    for used in (False, True):
        writer = Writer()
        value = writer.dequantize(writer.quantize(0))
        pooled = writer.add("aten::max_pool2d_with_indices", self=value, kernel_size=(2, 2))
        writer.metas.append(TensorMeta(IMAGE, strides(IMAGE), "int64"))
        writer.nodes[-1] = Node(
            len(writer.nodes) - 1, writer.nodes[-1].name, writer.nodes[-1].arguments, (pooled, 4)
        )
        raised = raise_to_integers(writer.graph(writer.quantize(pooled), *([4] if used else [])))
        assert ("max_pool2d" in names(raised)) is not used


def test_a_layer_takes_its_clamp_and_its_quantize() -> None:
    writer = Writer()
    data = writer.dequantize(writer.quantize(0))
    value = writer.add("aten::hardtanh", self=writer.convolve(data), min_val=0.0, max_val=6.0)
    raised = raise_to_integers(writer.graph(writer.quantize(value, 0.1, 0)))
    assert names(raised) == ["quantize_per_tensor", "layer"]
    layer = raised.graph.nodes[1].arguments["layer"]
    assert (layer.low, layer.high) == (0.0, 6.0)
    assert layer.output == Parameters(0.1, 0, "uint8", 0, 255)
    assert raised.summed == {"aten::convolution": 1}


def test_a_layer_that_several_use_is_written_once_and_in_float() -> None:
    writer = Writer()
    convolved = writer.convolve(writer.dequantize(writer.quantize(0)))
    stored = writer.quantize(convolved)
    total = writer.add("aten::add", self=convolved, other=writer.dequantize(stored), alpha=1)
    raised = raise_to_integers(writer.graph(total))
    assert names(raised).count("layer") == 1
    assert raised.graph.nodes[1].arguments["layer"].output is None
    assert raised.kept["aten::add"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {
            "weight": ConstantTensor(
                TensorMeta((4, 4, 3, 3), strides((4, 4, 3, 3)), "float32"), np.zeros((4, 4, 3, 3))
            )
        },
        {"weight": constant(axis=1)},
        {"bias": ValueRef(0)},
        {"groups": 2},
    ],
    ids=["float weights", "scales along the input channels", "a bias that is computed", "other channels"],
)
def test_other_convolutions_stay_float(changes: dict[str, Any]) -> None:
    writer = Writer()
    value = writer.convolve(writer.dequantize(writer.quantize(0)), **changes)
    raised = raise_to_integers(writer.graph(writer.quantize(value)))
    assert LAYER not in [node.name for node in raised.graph.nodes]
    kept = next(node for node in raised.graph.nodes if node.name == "aten::convolution")
    assert isinstance(kept.arguments["weight"], ConstantTensor)


def test_float_data_keep_a_convolution_float() -> None:
    writer = Writer()
    raised = raise_to_integers(writer.graph(writer.quantize(writer.convolve(0))))
    assert raised.kept["aten::convolution"] == 1


def test_a_quantize_moves_before_a_concatenation() -> None:
    writer = Writer()
    first, second = (
        writer.dequantize(writer.quantize(0)),
        writer.dequantize(writer.quantize(0, 0.25, 9), 0.25, 9),
    )
    joined = writer.add("aten::cat", (1, 8, 6, 6), tensors=(ValueRef(first), ValueRef(second)), dim=1)
    raised = raise_to_integers(writer.graph(writer.quantize(joined)))
    assert raised.exact == {"aten::cat": 1}
    assert names(raised)[-1] == "cat"
    last = raised.graph.nodes[-1]
    parts = [raised.graph.metas[part.index] for part in last.arguments["tensors"]]
    assert [(part.scale, part.zero_point) for part in parts] == [(0.5, 3), (0.5, 3)]


def test_other_parameters_mean_another_quantize() -> None:
    writer = Writer()
    value = writer.quantize(writer.dequantize(writer.quantize(0)), 0.25)
    raised = raise_to_integers(writer.graph(value))
    assert names(raised) == ["quantize_per_tensor", "dequantize_per_tensor", "quantize_per_tensor"]


def test_a_dequantize_that_belongs_to_no_quantize_is_kept_as_it_is() -> None:
    writer = Writer()
    value = writer.add("aten::add", self=writer.dequantize(writer.quantize(0, 0.5), 0.75), other=1, alpha=1)
    raised = raise_to_integers(writer.graph(value))
    assert raised.graph.nodes[1].arguments["scale"] == 0.75


def test_clamps_one_after_the_other() -> None:
    weights = PackedWeights(np.zeros((1, 1), np.int8), np.array(1.0), np.array(0), None)
    values = np.linspace(-9, 9, 37)
    bounds = [(-1.0, 2.0), (0.0, math.inf), (3.0, 5.0), (-math.inf, 1.0), (4.0, 2.0)]
    for first in bounds:
        for second in bounds:
            layer = Layer(weights).clamped(*first).clamped(*second)
            expected = values
            for low, high in (first, second):
                expected = np.minimum(np.maximum(expected, low), high)
            assert np.array_equal(np.minimum(np.maximum(values, layer.low), layer.high), expected)


def test_a_product_with_a_transposed_constant_is_a_layer() -> None:
    meta = TensorMeta((4, 2), (1, 4), "float32")
    weight = QuantizedConstant(
        meta, np.arange(8, dtype=np.int8).reshape(4, 2), np.array([0.1, 0.2]), np.zeros(2, np.int64), 1
    )
    bias = ConstantTensor(TensorMeta((2,), (1,), "float32"), np.array([1, 2], np.float32))
    arguments: dict[str, Any] = {"self": bias, "mat1": ValueRef(0), "mat2": weight, "beta": 1, "alpha": 1}
    found = layer_of(Node(0, "aten::addmm", arguments, (1,)))
    assert found is not None
    assert found[0].weights.weight.shape == (2, 4)
    assert layer_of(Node(0, "aten::addmm", {**arguments, "alpha": 2}, (1,))) is None
