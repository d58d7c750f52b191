"""Writes small TFLite models for tests: tensors and operators as plain values, packed into a flatbuffer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
    "int8": schema.TensorType.INT8,
}
# Operator versions that admit int8 where the first version does not.
_VERSIONS = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "TRANSPOSE_CONV": 3, "ADD": 2, "SUB": 2,
    "MUL": 2, "MEAN": 2, "AVERAGE_POOL_2D": 2, "MAX_POOL_2D": 2, "SOFTMAX": 2, "LOGISTIC": 2, "TANH": 2,
    "LEAKY_RELU": 2,
    "RELU": 2, "RELU6": 2, "QUANTIZE": 2, "DEQUANTIZE": 2, "CONCATENATION": 2, "RESIZE_BILINEAR": 3,
    "RESIZE_NEAREST_NEIGHBOR": 3, "PAD": 2, "PADV2": 2, "SPLIT": 2, "STRIDED_SLICE": 2, "SLICE": 2, "PACK": 2,
    "UNPACK": 2, "TRANSPOSE": 2, "MAXIMUM": 2, "MINIMUM": 2, "ARG_MAX": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A tensor to be written; `data` makes it a constant, `scale` (one or one a channel) quantized."""

    shape: tuple[int, ...]
    dtype: str
    scale: float | Sequence[float] | np.ndarray | None = None
    zero_point: int | Sequence[int] = 0
    axis: int = 0
    data: np.ndarray | None = None
    signature: tuple[int, ...] | None = None


def constant(data: np.ndarray, **quantization: Any) -> Tensor:
    """A constant tensor."""
    return Tensor(data.shape, data.dtype.name, data=data, **quantization)


@dataclass(frozen=True)
class Operator:
    """An operator by its TFLite name; `options` are attributes of the schema's option table `table`."""

    name: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    table: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    version: int | None = None


def write_model(
    tensors: Sequence[Tensor], operators: Sequence[Operator], inputs: Sequence[int], outputs: Sequence[int]
) -> bytes:
    """The model as the bytes of a `.tflite` file; tensor `i` is called `t<i>`."""
    model = schema.ModelT()
    model.version = 3
    model.description = b"test"
    model.buffers = [schema.BufferT()]
    subgraph = schema.SubGraphT()
    subgraph.tensors = [_tensor(model, index, tensor) for index, tensor in enumerate(tensors)]
    model.operatorCodes = [_code(operator) for operator in operators]
    subgraph.operators = [_operator(index, operator) for index, operator in enumerate(operators)]
    subgraph.inputs = list(inputs)
    subgraph.outputs = list(outputs)
    model.subgraphs = [subgraph]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(model: Any, index: int, tensor: Tensor) -> Any:
    written = schema.TensorT()
    written.shape = list(tensor.shape)
    if tensor.signature is not None:
        written.shapeSignature = list(tensor.signature)
    written.type = _TYPES[tensor.dtype]
    written.name = f"t{index}".encode()
    written.buffer = 0
    if tensor.data is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(tensor.data).tobytes(), np.uint8)
        model.buffers.append(buffer)
        written.buffer = len(model.buffers) - 1
    if tensor.scale is not None:
        parameters = schema.QuantizationParametersT()
        scales = np.atleast_1d(np.asarray(tensor.scale, "float32"))
        parameters.scale = [float(value) for value in scales]
        parameters.zeroPoint = [int(value) for value in np.broadcast_to(tensor.zero_point, scales.shape)]
        parameters.quantizedDimension = tensor.axis
        written.quantization = parameters
    return written


def _code(operator: Operator) -> Any:
    number = getattr(schema.BuiltinOperator, operator.name)
    code = schema.OperatorCodeT()
    code.deprecatedBuiltinCode = min(number, 127)
    code.builtinCode = number
    code.version = operator.version or _VERSIONS.get(operator.name, 1)
    return code


def _operator(index: int, operator: Operator) -> Any:
    written = schema.OperatorT()
    written.opcodeIndex = index
    written.inputs = list(operator.inputs)
    written.outputs = list(operator.outputs)
    if operator.table is not None:
        options = getattr(schema, operator.table + "T")()
        for name, value in operator.options.items():
            if not hasattr(options, name):
                raise AttributeError(f"{operator.table} has no {name}")
            setattr(options, name, value)
        written.builtinOptionsType = getattr(schema.BuiltinOptions, operator.table)
        written.builtinOptions = options
    return written
