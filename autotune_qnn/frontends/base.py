"""What every frontend gives the rest of the project: a module in the QNN dialect and a runner of the source
framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy.typing as npt

from autotune_qnn.quantization import Arithmetic

Array = npt.NDArray[Any]
"""A NumPy array of any dtype."""

if TYPE_CHECKING:
    IRModule = Any


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A graph input or output. `scale` and `zero_point` are None where the elements are not quantized per
    tensor.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How a model is imported: whose arithmetic its operators follow (None: what the frontend finds right for the
    model), the batch size that is fixed into it, and, for files that do not say it, the shape of its one input.
    `trusted` is a file that this project has made itself: that code in it runs needs no warning.
    """

    arithmetic: Arithmetic | None = None
    batch: int = 1
    input_shape: tuple[int, ...] | None = None
    trusted: bool = False


@dataclass(frozen=True)
class ImportedModel:
    """A model in the QNN dialect.

    `mod` has the function "main": its parameters are the model's inputs, in the model's order and by their
    names; it returns one tensor, or a tuple where the model has several outputs. `source` is the file that
    was read (for an archive: the extracted member), `sha256` its hash. `operators` counts the source
    framework's operators by name; `remarks` are lines for the report on how it was imported.
    """

    name: str
    frontend: str
    source: Path
    sha256: str
    mod: IRModule
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    arithmetic: Arithmetic
    operators: tuple[tuple[str, int], ...]
    batch: int
    remarks: tuple[str, ...] = ()


class ReferenceRunner(Protocol):
    """The source framework itself, running the model. A context manager; `close` may be called twice."""

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The model's outputs, in order. VerificationError where the framework fails or dies."""
        ...

    def time(self, inputs: Sequence[Array], number: int, repeat: int) -> list[float]:
        """`repeat` measurements, each the mean seconds a run over `number` runs, inputs set beforehand."""
        ...

    def close(self) -> None:
        """Ends the runner and frees what it holds."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Frontend(Protocol):
    """One source framework."""

    name: str

    def load(self, path: Path, options: ImportOptions) -> ImportedModel:
        """Imports the model at `path`. ModelError or UnsupportedOperatorError where that is not possible."""
        ...

    def reference(self, model: ImportedModel, threads: int) -> ReferenceRunner:
        """The framework's own runner of `model`, with the arithmetic that the model was imported with."""
        ...
