"""Reads a `.tflite` file into a `Graph`, trusting nothing in it.

Every index, length and shape is checked against the file before it is used, so that a damaged or hostile file
ends in a ModelError of one line. Constant data stay views of the file's bytes: nothing the file claims makes
the reader allocate.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from tflite.utils import BUILTIN_OPCODE2NAME

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.tflite.graph import ABSENT, Graph, GraphOperator, GraphTensor, Quantization
from autotune_qnn.frontends.tflite.options import read_options

MAX_MODEL_BYTES = 2**31 - 1
"""Flatbuffer offsets are 32-bit: no valid model is larger."""
MAX_RANK = 8
MAX_ELEMENTS = 2**31 - 1
IDENTIFIER = b"TFL3"

_DTYPES = {
    tflite.TensorType.FLOAT32: "float32",
    tflite.TensorType.FLOAT16: "float16",
    tflite.TensorType.INT32: "int32",
    tflite.TensorType.UINT8: "uint8",
    tflite.TensorType.INT64: "int64",
    tflite.TensorType.BOOL: "bool",
    tflite.TensorType.INT16: "int16",
    tflite.TensorType.INT8: "int8",
    tflite.TensorType.FLOAT64: "float64",
    tflite.TensorType.UINT32: "uint32",
    tflite.TensorType.UINT64: "uint64",
    tflite.TensorType.UINT16: "uint16",
}
_READ_ERRORS = (
    struct.error,
    IndexError,
    ValueError,
    TypeError,
    OverflowError,
    UnicodeDecodeError,
    AttributeError,
)


def read_model_bytes(path: Path) -> bytes:
    """The bytes of the model file `path`, after the checks that need no parsing."""
    try:
        if not path.is_file():
            raise ModelError(f"no model file at {path}")
        size = path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise ModelError(
                f"{path} has {size} bytes; a .tflite file cannot have more than {MAX_MODEL_BYTES}"
            )
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    if len(content) < 16:
        raise ModelError(f"{path} is no TFLite model: it has only {len(content)} bytes")
    if content[4:8] != IDENTIFIER:
        raise ModelError(f"{path} is no TFLite model: the identifier TFL3 is missing")
    return content


def read_graph(content: bytes, path: Path) -> Graph:
    """The checked main graph of the model `content` (as `read_model_bytes` gives it); `path` names it in
    messages.
    """
    try:
        return _Reader(content, path).graph()
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except _READ_ERRORS as error:
        raise ModelError(
            f"{path} is damaged or truncated: its tables point outside its {len(content)} bytes"
        ) from error


class _Reader:
    """One pass over one file."""

    def __init__(self, content: bytes, path: Path) -> None:
        self._content = content
        self._path = path
        self._index_budget = len(content) // 4
        self._model = tflite.Model.GetRootAs(content, 0)

    def graph(self) -> Graph:
        """The main subgraph."""
        model = self._model
        if model.Version() != 3:
            raise ModelError(f"schema version {model.Version()} is not supported, expected 3")
        if self._count(model.SubgraphsLength(), "subgraphs") < 1:
            raise ModelError("the model has no subgraph")
        subgraph = model.Subgraphs(0)
        names = [
            self._code_name(i) for i in range(self._count(model.OperatorCodesLength(), "operator codes"))
        ]
        tensors = tuple(
            self._tensor(index, subgraph.Tensors(index))
            for index in range(self._count(subgraph.TensorsLength(), "tensors"))
        )
        operators = tuple(
            self._operator(index, subgraph.Operators(index), names, len(tensors))
            for index in range(self._count(subgraph.OperatorsLength(), "operators"))
        )
        inputs = self._indices(subgraph.InputsAsNumpy(), len(tensors), "graph inputs", optional=False)
        outputs = self._indices(subgraph.OutputsAsNumpy(), len(tensors), "graph outputs", optional=False)
        graph = Graph(self._path.stem, tensors, operators, inputs, outputs)
        _check_flow(graph)
        return graph

    def _count(self, length: int, what: str) -> int:
        """A vector's length, refused where the file cannot hold that many entries."""
        if length * 4 > len(self._content):
            raise ModelError(f"it claims {length} {what}, more than the file can hold")
        return int(length)

    def _code_name(self, index: int) -> str:
        code = self._model.OperatorCodes(index)
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number == tflite.BuiltinOperator.CUSTOM:
            custom = code.CustomCode() or b""
            return f"CUSTOM({_text(custom)})"
        return str(BUILTIN_OPCODE2NAME.get(number, f"BUILTIN_{number}"))

    def _tensor(self, index: int, table: Any) -> GraphTensor:
        name = _text(table.Name() or b"") or f"tensor_{index}"
        dtype = _DTYPES.get(table.Type(), f"type{table.Type()}")
        shape = self._dimensions(table.ShapeAsNumpy(), name, lowest=0)
        signature = self._dimensions(table.ShapeSignatureAsNumpy(), name, lowest=-1) or shape
        if len(signature) != len(shape):
            raise ModelError(f"tensor {name}: shape {shape} and signature {signature} differ in rank")
        if table.IsVariable():
            raise ModelError(f"tensor {name} is a variable: models with state are not supported")
        if table.Sparsity() is not None:
            raise ModelError(f"tensor {name} is sparse: sparse weights are not supported")
        data = self._data(table.Buffer(), name, shape, dtype)
        return GraphTensor(index, name, shape, signature, dtype, data, self._quantization(table, name, shape))

    def _dimensions(self, array: Any, name: str, *, lowest: int) -> tuple[int, ...]:
        """A shape vector, checked; flatbuffers gives the number 0 for a missing one."""
        values = () if isinstance(array, int) else tuple(int(value) for value in array[: MAX_RANK + 1])
        if len(values) > MAX_RANK:
            raise ModelError(f"tensor {name} has more than {MAX_RANK} dimensions")
        if any(value < lowest for value in values) or math.prod(abs(v) for v in values) > MAX_ELEMENTS:
            raise ModelError(f"tensor {name} has the impossible shape {values}")
        return values

    def _data(self, buffer_index: int, name: str, shape: tuple[int, ...], dtype: str) -> Array | None:
        """The constant data of a tensor as a read-only view, or None."""
        if buffer_index >= self._model.BuffersLength():
            raise ModelError(
                f"tensor {name} points to buffer {buffer_index}, but there are {self._model.BuffersLength()}"
            )
        if buffer_index == 0:
            return None
        buffer = self._model.Buffers(buffer_index)
        if buffer.Offset() > 1 or buffer.Size() > 1:
            raise ModelError(f"tensor {name} keeps its data outside the flatbuffer, which is not supported")
        raw = buffer.DataAsNumpy()
        if isinstance(raw, int) or raw.size == 0:
            return None
        if dtype.startswith("type"):
            raise ModelError(f"tensor {name} has constant data of the unsupported type {dtype[4:]}")
        expected = math.prod(shape) * np.dtype(dtype).itemsize
        if raw.size != expected:
            raise ModelError(
                f"tensor {name} of shape {shape}, {dtype}, needs {expected} bytes; its buffer has {raw.size}"
            )
        return np.asarray(raw.view(np.dtype(dtype).newbyteorder("<")).reshape(shape))

    def _quantization(self, table: Any, name: str, shape: tuple[int, ...]) -> Quantization | None:
        parameters = table.Quantization()
        if parameters is None or parameters.ScaleLength() == 0:
            return None
        if parameters.DetailsType() != 0:
            raise ModelError(f"tensor {name} has a custom quantization, which is not supported")
        scale = np.asarray(parameters.ScaleAsNumpy(), dtype="float32")
        count = scale.size
        if not np.all(np.isfinite(scale)) or not np.all(scale >= 0):
            raise ModelError(f"tensor {name} has a scale that is negative or not finite")
        zeros = parameters.ZeroPointAsNumpy()
        zero_point = np.zeros(count, "int64") if isinstance(zeros, int) else np.asarray(zeros, dtype="int64")
        if zero_point.size == 1 and count > 1:
            zero_point = np.repeat(zero_point, count)
        axis = parameters.QuantizedDimension()
        if zero_point.size != count:
            raise ModelError(f"tensor {name} has {count} scales but {zero_point.size} zero points")
        if count > 1 and (not 0 <= axis < len(shape) or shape[axis] != count):
            raise ModelError(f"tensor {name} of shape {shape} has {count} scales along axis {axis}")
        return Quantization(scale, zero_point, int(axis))

    def _operator(self, index: int, table: Any, names: list[str], tensors: int) -> GraphOperator:
        code = table.OpcodeIndex()
        if code >= len(names):
            raise ModelError(f"operator {index} has code {code}, but there are {len(names)}")
        name = names[code]
        inputs = self._indices(
            table.InputsAsNumpy(), tensors, f"inputs of operator {index} ({name})", optional=True
        )
        outputs = self._indices(
            table.OutputsAsNumpy(), tensors, f"outputs of operator {index} ({name})", optional=False
        )
        return GraphOperator(index, name, inputs, outputs, read_options(name, table))

    def _indices(self, array: Any, tensors: int, what: str, *, optional: bool) -> tuple[int, ...]:
        """A vector of tensor indices; all of them together cannot be more than the file has room for."""
        if isinstance(array, int):
            return ()
        self._index_budget -= int(array.size)
        if self._index_budget < 0:
            raise ModelError(f"the {what} are more than the file can hold")
        values = tuple(int(value) for value in array)
        lowest = ABSENT if optional else 0
        for value in values:
            if not lowest <= value < tensors:
                raise ModelError(f"the {what} name tensor {value}, but there are {tensors}")
        return values


def _text(raw: bytes) -> str:
    """A name from the file as one printable line of bounded length."""
    decoded = raw[:200].decode("utf-8", errors="replace")
    return "".join(character if character.isprintable() else "?" for character in decoded)


def _check_flow(graph: Graph) -> None:
    """Each tensor is made once and before it is used; inputs and outputs exist."""
    if not graph.inputs or not graph.outputs:
        raise ModelError("the model has no inputs or no outputs")
    known = {tensor.index for tensor in graph.tensors if tensor.data is not None}
    for index in graph.inputs:
        if index in known:
            raise ModelError(f"graph input {graph.tensors[index].name} is given twice or is a constant")
        known.add(index)

    def describe(index: int) -> str:
        return f"{graph.tensors[index].name} (tensor {index})"

    for operator in graph.operators:
        for index in operator.inputs:
            if index != ABSENT and index not in known and graph.tensors[index].shape != (0,):
                raise ModelError(
                    f"operator {operator.index} ({operator.name}) uses {describe(index)} before it is made"
                )
        for index in operator.outputs:
            if index in known:
                raise ModelError(
                    f"{describe(index)} is written by operator {operator.index} ({operator.name}) again"
                )
            known.add(index)
    for index in graph.outputs:
        if index not in known:
            raise ModelError(f"graph output {describe(index)} is never made")
