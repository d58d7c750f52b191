"""A PyTorch network as plain values: the operators that one run of it dispatches, with the shape, the place in memory
and the quantization of every tensor between them.

Nothing here knows PyTorch (see `capture`) and nothing here knows TVM (see `importer`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.base import Array
from autotune_qnn.quantization import Arithmetic


@dataclass(frozen=True, slots=True)
class TensorMeta:
    """Shape, strides (in elements), dtype of the stored numbers, and quantization per tensor, or None."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None

    @property
    def rank(self) -> int:
        """How many dimensions it has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def quantized(self) -> bool:
        """Whether the elements are integers with a scale and a zero point."""
        return self.scale is not None

    @property
    def contiguous(self) -> bool:
        """Whether elements follow each other in memory in the order of the dimensions."""
        return self._dense(tuple(range(self.rank)))

    @property
    def channels_last(self) -> bool:
        """Whether PyTorch takes it for channels-last: four dimensions, in memory in the order 0, 2, 3, 1. A tensor of
        one channel or one pixel can be that and contiguous.
        """
        return self.rank == 4 and self._dense((0, 2, 3, 1))

    def _dense(self, order: tuple[int, ...]) -> bool:
        expected = 1
        for axis in reversed(order):
            if self.shape[axis] != 1:
                if self.strides[axis] != expected:
                    return False
                expected *= self.shape[axis]
        return True


@dataclass(frozen=True, slots=True)
class ValueRef:
    """A tensor that depends on the network's input, by its number."""

    index: int


@dataclass(frozen=True, slots=True)
class ConstantTensor:
    """A tensor that does not: its elements (stored integers where it is quantized), in the order of its shape."""

    meta: TensorMeta
    data: Array


@dataclass(frozen=True, slots=True)
class PackedWeights:
    """The parameters of a convolution or a linear layer, unpacked to the stored integers.

    `weight` is int8 in PyTorch's order, [O, I/groups, H, W], [I, O/groups, H, W] (transposed) or [O, I]; `scale`
    float64 and `zero_point` int64 have shape () or, per output channel, (O,); `bias` is float32 (O,) or None. The rest
    is empty for linear layers.
    """

    weight: Array
    scale: Array
    zero_point: Array
    bias: Array | None
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    transposed: bool = False

    @property
    def channels(self) -> int:
        """Output channels."""
        if self.transposed:
            return int(self.weight.shape[1]) * self.groups
        return int(self.weight.shape[0])

    @property
    def depth(self) -> int:
        """Input channels."""
        return int(self.weight.shape[0] if self.transposed else self.weight.shape[1] * self.groups)

    @property
    def per_channel(self) -> bool:
        """Whether every output channel has its scale."""
        return self.scale.ndim > 0

    @property
    def addend(self) -> Array:
        """The bias, zeros where there is none: float32 (O,)."""
        return np.zeros(self.channels, np.float32) if self.bias is None else self.bias


Argument = Any
"""ValueRef, ConstantTensor, PackedWeights, a tuple of such, or a plain Python value (dtypes as their names)."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator: its name (`quantized::conv2d`), arguments by their names in its schema, defaults included, and the
    numbers of the tensors that it makes.
    """

    index: int
    name: str
    arguments: Mapping[str, Argument]
    outputs: tuple[int, ...]

    def get(self, name: str) -> Argument:
        """An argument; ModelError where this version of the operator has none of that name."""
        if name not in self.arguments:
            raise ModelError(f"operator {self.index} ({self.name}) has no argument {name}")
        return self.arguments[name]

    def has(self, name: str) -> bool:
        """Whether the argument exists and is not None."""
        return self.arguments.get(name) is not None

    def ref(self, name: str) -> ValueRef:
        """An argument that is a tensor depending on the input."""
        value = self.get(name)
        if not isinstance(value, ValueRef):
            raise ModelError(f"operator {self.index} ({self.name}) needs a tensor as {name}")
        return value

    def number(self, name: str) -> float:
        """A numeric argument as a float."""
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ModelError(f"operator {self.index} ({self.name}) needs a number as {name}, not {value!r}")
        return float(value)

    def integer(self, name: str) -> int:
        """An integer argument."""
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ModelError(f"operator {self.index} ({self.name}) needs an integer as {name}, not {value!r}")
        return value

    def flag(self, name: str) -> bool:
        """A boolean argument."""
        return bool(self.get(name))

    def integers(self, name: str, count: int | None = None) -> tuple[int, ...]:
        """An argument of integers; one integer stands for `count` of them."""
        value = self.get(name)
        values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        if any(isinstance(item, bool) or not isinstance(item, int) for item in values):
            raise ModelError(f"operator {self.index} ({self.name}) needs integers as {name}, not {value!r}")
        if count is not None and len(values) == 1:
            values *= count
        if count is not None and len(values) != count:
            raise ModelError(f"operator {self.index} ({self.name}) needs {count} integers as {name}")
        return values


@dataclass(frozen=True, slots=True)
class CpuTraits:
    """What PyTorch's kernels depend on in this machine: AVX-512 for the width of some loops, VNNI for the choice that
    the engine x86 makes, and the output stage of oneDNN's dense convolutions (see `probe`).
    """

    avx512: bool
    vnni: bool
    dense_stage: str = "onednn"


@dataclass(frozen=True, slots=True)
class Graph:
    """What one run of a network dispatched under `engine`, operators in order. `inputs` and `outputs` are numbers of
    tensors, `input_names` as the network calls them.
    """

    name: str
    engine: Arithmetic
    cpu: CpuTraits
    metas: tuple[TensorMeta, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    input_names: tuple[str, ...]
    outputs: tuple[int, ...]

    def counts(self) -> tuple[tuple[str, int], ...]:
        """How often each operator occurs, by name, most frequent first."""
        counted = Counter(node.name for node in self.nodes)
        return tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    def packed(self) -> tuple[PackedWeights, ...]:
        """The parameters of every convolution and linear layer."""
        found = (value for node in self.nodes for value in node.arguments.values())
        return tuple(value for value in found if isinstance(value, PackedWeights))

    def used(self) -> frozenset[int]:
        """The numbers of all tensors that some operator takes or the network returns."""
        taken = (reference.index for node in self.nodes for reference in references(node.arguments))
        return frozenset((*taken, *self.outputs))


def references(value: Any) -> list[ValueRef]:
    """The tensors that arguments refer to, each as often as they do."""
    if isinstance(value, ValueRef):
        return [value]
    values = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else ()
    return [reference for item in values for reference in references(item)]


def clamp_bounds(node: Node) -> tuple[float, float]:
    """What relu, relu6, hardtanh or a clamp clamps to; infinite where there is no bound."""
    name = node.name.split("::")[-1].removesuffix("_")
    if name in ("relu", "relu6"):
        return 0.0, math.inf if name == "relu" else 6.0
    low, high = (
        next((node.number(name) for name in names if node.has(name)), None)
        for names in (("min", "min_val"), ("max", "max_val"))
    )
    return -math.inf if low is None else low, math.inf if high is None else high
