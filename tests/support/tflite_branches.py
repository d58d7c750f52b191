"""A TFLite model of many independent branches, for differential tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.support.tflite_writer import Operator, Tensor, write_model

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
