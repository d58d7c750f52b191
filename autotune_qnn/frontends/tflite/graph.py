"""The TFLite graph as plain, checked Python values: what the importer's rules work on.

Nothing here reads flatbuffers (see `schema`) and nothing here knows TVM (see `importer`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeVar

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.tflite.options import Options

OptionsT = TypeVar("OptionsT", bound=Options)

QUANTIZED_DTYPES = ("int8", "uint8")
ABSENT = -1
"""The tensor index by which TFLite marks an optional operand that is not there."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """Affine quantization: real = scale * (q - zero_point).

    `scale` float32 [1] or [C]; `zero_point` int64 of the same length; `axis` the tensor's channel axis (per-
    channel only).
    """

    scale: Array
    zero_point: Array
    axis: int

    @property
    def per_channel(self) -> bool:
        """Whether there is more than one scale."""
        return int(self.scale.size) > 1


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """One tensor of the model. `signature` holds -1 for dimensions that the model leaves open; `data` only
    for constants.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str
    data: Array | None
    quantization: Quantization | None

    @property
    def quantized(self) -> bool:
        """Whether the elements are 8-bit integers with a scale."""
        return self.dtype in QUANTIZED_DTYPES and self.quantization is not None


@dataclass(frozen=True, slots=True)
class GraphOperator:
    """One operator: its TFLite name (`CONV_2D`), tensor indices (-1: absent), and its options (None: it has
    none).
    """

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options | None

    def option(self, kind: type[OptionsT]) -> OptionsT:
        """The operator's options, which must be of `kind`; ModelError where the file leaves them out."""
        if not isinstance(self.options, kind):
            raise ModelError(
                f"operator {self.index} ({self.name}) has no {kind.__name__}: the file is damaged"
            )
        return self.options


@dataclass(frozen=True, slots=True)
class Graph:
    """The main subgraph of a model, operators in execution order."""

    name: str
    tensors: tuple[GraphTensor, ...]
    operators: tuple[GraphOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def counts(self) -> tuple[tuple[str, int], ...]:
        """How often each operator occurs, by name, most frequent first."""
        counted = Counter(operator.name for operator in self.operators)
        return tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0])))
