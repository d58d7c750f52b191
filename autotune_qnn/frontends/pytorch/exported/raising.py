"""The pass that raises an exported program to integers: dequantize → operator → quantize becomes one operator on the
stored integers wherever that computes the same.

- Operators that only move or compare elements (reshape, slice, padding with zero, max-pool, relu, …) give the same on
  stored integers, and a quantize with the parameters of the dequantize before it gives the integers back. That is
  exact: for |q − z| up to 255, f4(f4(q − z)·f4(s))·f4(1/s) lies within 2⁻¹⁴ of q − z.
- relu and other clamps after a convolution and before its quantize are clips of the integers: rounding is monotonic.
- Convolutions and linear layers of dequantized data with stored weights sum integers, exactly. PyTorch sums the
  dequantized products in float32, in an order of its own: there both results are the same real number, rounded
  differently, and the stored result differs where PyTorch's error crosses a tie. They are counted as
  `summed`.
- Everything else stays in float, as the program has it: `kept`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from autotune_qnn.frontends.pytorch.exported import layers
from autotune_qnn.frontends.pytorch.exported.parameters import (
    DEQUANTIZE,
    DEQUANTIZE_AFFINE,
    QUANTIZE,
    QUANTIZE_AFFINE,
    Parameters,
    per_tensor,
)
from autotune_qnn.frontends.pytorch.graph import (
    Graph,
    Node,
    TensorMeta,
    ValueRef,
    clamp_bounds,
    references,
)

LAYER = "raised::layer"
"""A convolution or linear layer on stored integers; see `layers.Layer`."""

_MOVES = frozenset(
    {
        "aten::view",
        "aten::_unsafe_view",
        "aten::permute",
        "aten::transpose",
        "aten::t",
        "aten::slice",
        "aten::select",
        "aten::squeeze",
        "aten::unsqueeze",
        "aten::clone",
        "aten::alias",
        "aten::detach",
        "aten::split",
        "aten::split_with_sizes",
        "aten::relu",
    }
)
_MAX_POOL = "aten::max_pool2d_with_indices"
_PAD = "aten::constant_pad_nd"
_STORED_MAX_POOL = "aten::max_pool2d"
_CLAMPS = frozenset({"aten::relu", "aten::hardtanh", "aten::clamp"})


@dataclass(frozen=True, slots=True)
class Stored:
    """A float tensor that is a dequantized one: its number in the new graph, and how it is quantized."""

    index: int
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class Float:
    """A tensor as it is, by its number in the new graph."""

    index: int


@dataclass(frozen=True, slots=True)
class Pending:
    """A layer on integers whose output is not written yet: what follows decides whether it is quantized."""

    layer: layers.Layer
    data: int
    meta: TensorMeta


@dataclass(frozen=True, slots=True)
class Joined:
    """Tensors side by side along a dimension, not written yet."""

    parts: tuple[Any, ...]
    dim: int
    meta: TensorMeta


Fact = Stored | Float | Pending | Joined


@dataclass(frozen=True, slots=True)
class Raised:
    """The new graph and, by the operators' names, how many were raised exactly, how many sum integers where PyTorch
    sums floats, and how many stayed float.
    """

    graph: Graph
    exact: Mapping[str, int]
    summed: Mapping[str, int]
    kept: Mapping[str, int]


def raise_to_integers(graph: Graph) -> Raised:
    """The graph with everything on stored integers that can be."""
    return _Pass(graph).run()


class _Pass:
    """One walk over a graph, writing another."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.metas: list[TensorMeta] = []
        self.nodes: list[Node] = []
        self.facts: dict[int, Fact] = {}
        self.written: dict[int, int] = {}
        self.exact: Counter[str] = Counter()
        self.summed: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self.uses = Counter(
            reference.index for node in graph.nodes for reference in references(node.arguments)
        )
        self.uses.update(graph.outputs)

    def run(self) -> Raised:
        """Walk."""
        inputs = tuple(self._tensor(self.graph.metas[index]) for index in self.graph.inputs)
        self.facts = {old: Float(new) for old, new in zip(self.graph.inputs, inputs, strict=True)}
        for node in self.graph.nodes:
            self._raise(node)
        outputs = tuple(self._index(index) for index in self.graph.outputs)
        graph = replace(
            self.graph, metas=tuple(self.metas), nodes=tuple(self.nodes), inputs=inputs, outputs=outputs
        )
        return Raised(graph, self.exact, self.summed, self.kept)

    # One node

    def _raise(self, node: Node) -> None:
        parameters = per_tensor(node)
        if parameters is not None and node.name in (QUANTIZE, QUANTIZE_AFFINE):
            fact = self._known(node.ref("input").index)
            self.facts[node.outputs[0]] = Float(self._quantized(fact, parameters))
        elif parameters is not None and node.name in (DEQUANTIZE, DEQUANTIZE_AFFINE):
            self._dequantize(node, parameters)
        elif not (self._clamp(node) or self._move(node) or self._layer(node) or self._join(node)):
            self._keep(node)

    def _dequantize(self, node: Node, parameters: Parameters) -> None:
        index = self._index(node.ref("input").index)
        meta = self.metas[index]
        if (meta.scale, meta.zero_point, meta.dtype) != (
            parameters.scale,
            parameters.zero_point,
            parameters.dtype,
        ):
            self._keep(node)
        else:
            self.facts[node.outputs[0]] = Stored(index, parameters)

    def _clamp(self, node: Node) -> bool:
        """A clamp of a layer's result is part of the layer."""
        if node.name.removesuffix("_") not in _CLAMPS:
            return False
        fact = self._fact(node, "self")
        if not isinstance(fact, Pending):
            return False
        low, high = clamp_bounds(node)
        self._wait(node.outputs[0], replace(fact, layer=fact.layer.clamped(low, high)))
        self.exact[node.name] += 1
        return True

    def _wait(self, old: int, layer: Pending) -> None:
        """Leave a layer pending where one operator alone uses its result; else write it now, once."""
        self.facts[old] = layer if self.uses[old] == 1 else Float(self._real(layer))

    def _move(self, node: Node) -> bool:
        """An operator that works on stored integers as it is."""
        name = node.name.removesuffix("_")
        if name == _MAX_POOL and self.uses[node.outputs[1]]:
            return False
        zeros = name == _PAD and node.arguments.get("value") in (0, None)
        if name != _MAX_POOL and name not in _MOVES and not zeros:
            return False
        fact = self._fact(node, "self")
        if not isinstance(fact, Stored):
            return False
        arguments = {**node.arguments, "self": ValueRef(fact.index)}
        made = node.outputs[:1] if name == _MAX_POOL else node.outputs
        metas = [fact.parameters.quantized(self.graph.metas[index]) for index in made]
        outputs = self._write(_STORED_MAX_POOL if name == _MAX_POOL else node.name, arguments, *metas)
        for old, new in zip(made, outputs, strict=True):
            self.facts[old] = Stored(new, fact.parameters)
        self.exact[node.name] += 1
        return True

    def _layer(self, node: Node) -> bool:
        """A convolution or linear layer of dequantized data with constant stored weights."""
        found = layers.layer_of(node)
        if found is None:
            return False
        layer, operand = found
        fact = self._known(operand.index)
        if not isinstance(fact, Stored) or not layer.takes(self.metas[fact.index]):
            return False
        self._wait(node.outputs[0], Pending(layer, fact.index, self.graph.metas[node.outputs[0]]))
        self.summed[node.name] += 1
        return True

    def _join(self, node: Node) -> bool:
        """A concatenation waits for the quantize behind it, which may as well come before it."""
        if node.name != "aten::cat" or self.uses[node.outputs[0]] != 1:
            return False
        tensors = node.get("tensors")
        if not isinstance(tensors, tuple) or not all(isinstance(tensor, ValueRef) for tensor in tensors):
            return False
        parts = tuple(self._known(tensor.index) for tensor in tensors)
        if not all(isinstance(part, Stored | Pending) for part in parts):
            return False
        self.facts[node.outputs[0]] = Joined(parts, node.integer("dim"), self.graph.metas[node.outputs[0]])
        return True

    def _keep(self, node: Node) -> None:
        arguments = {name: self._plain(value) for name, value in node.arguments.items()}
        outputs = self._write(node.name, arguments, *(self.graph.metas[index] for index in node.outputs))
        self.facts.update({old: Float(new) for old, new in zip(node.outputs, outputs, strict=True)})
        self.kept[node.name] += 1

    # Writing

    def _quantized(self, fact: Fact, parameters: Parameters) -> int:
        """The tensor that holds `fact` quantized so."""
        if isinstance(fact, Stored) and fact.parameters == parameters:
            return fact.index
        if isinstance(fact, Pending):
            arguments = {"layer": replace(fact.layer, output=parameters), "self": ValueRef(fact.data)}
            return self._write(LAYER, arguments, parameters.quantized(fact.meta))[0]
        if isinstance(fact, Joined):
            parts = tuple(ValueRef(self._quantized(part, parameters)) for part in fact.parts)
            self.exact["aten::cat"] += 1
            return self._write(
                "aten::cat", {"tensors": parts, "dim": fact.dim}, parameters.quantized(fact.meta)
            )[0]
        index = self._real(fact)
        arguments = {"input": ValueRef(index), "parameters": parameters}
        self.kept[QUANTIZE] += 1
        return self._write(QUANTIZE, arguments, parameters.quantized(self.metas[index]))[0]

    def _real(self, fact: Fact) -> int:
        """The tensor that holds `fact` as floats."""
        if isinstance(fact, Float):
            return fact.index
        if isinstance(fact, Pending):
            return self._write(LAYER, {"layer": fact.layer, "self": ValueRef(fact.data)}, fact.meta)[0]
        if isinstance(fact, Joined):
            parts = tuple(ValueRef(self._real(part)) for part in fact.parts)
            self.kept["aten::cat"] += 1
            return self._write("aten::cat", {"tensors": parts, "dim": fact.dim}, fact.meta)[0]
        if fact.index not in self.written:
            meta = self.metas[fact.index]
            real = TensorMeta(meta.shape, meta.strides, "float32")
            self.written[fact.index] = self._write(DEQUANTIZE, {"input": ValueRef(fact.index)}, real)[0]
            self.kept[DEQUANTIZE] += 1
        return self.written[fact.index]

    def _plain(self, value: Any) -> Any:
        if isinstance(value, ValueRef):
            return ValueRef(self._index(value.index))
        if isinstance(value, tuple):
            return tuple(self._plain(item) for item in value)
        return layers.folded(value)

    def _index(self, old: int) -> int:
        """The number of a tensor of the old graph as it is, in the new one."""
        return self._real(self._known(old))

    def _known(self, old: int) -> Fact:
        return self.facts[old]

    def _fact(self, node: Node, name: str) -> Fact | None:
        value = node.get(name)
        return self._known(value.index) if isinstance(value, ValueRef) else None

    def _tensor(self, meta: TensorMeta) -> int:
        self.metas.append(meta)
        return len(self.metas) - 1

    def _write(self, name: str, arguments: Mapping[str, Any], *metas: TensorMeta) -> tuple[int, ...]:
        outputs = tuple(self._tensor(meta) for meta in metas)
        self.nodes.append(Node(len(self.nodes), name, arguments, outputs))
        return outputs
