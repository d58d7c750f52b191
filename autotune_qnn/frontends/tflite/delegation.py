"""Which operators TFLite's default interpreter hands to XNNPACK, and which it leaves to its built-in kernels.

The two round differently, so the importer must know. The conditions are those that the public source of
LiteRT's XNNPACK delegate states for 8-bit tensors, which need not be the installed version's; the
differential tests compare results with the installed interpreter, also with scales on both sides of the ADD,
MUL, LEAKY_RELU and QUANTIZE limits.
"""

from __future__ import annotations

import numpy as np

from autotune_qnn.frontends.tflite.graph import ABSENT, Graph, GraphOperator, GraphTensor
from autotune_qnn.frontends.tflite.options import AlphaOptions


def delegated(graph: Graph, operator: GraphOperator) -> bool:
    """Whether XNNPACK computes this operator. Only asked of operators whose arithmetic depends on it."""
    tensors = [graph.tensors[index] for index in operator.inputs if index != ABSENT]
    output = graph.tensors[operator.outputs[0]]
    name = operator.name
    if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return len(tensors) == 3 and _constant(tensors[1:]) and _same_dtype(tensors[:2], output)
    if name == "FULLY_CONNECTED":
        return _constant(tensors[1:]) and _same_dtype(tensors[:2], output)
    if name == "TRANSPOSE_CONV":
        return _constant([tensors[0], tensors[1], *tensors[3:]]) and _same_dtype(tensors[1:3], output)
    if name in ("ADD", "SUB"):
        return _same_dtype(tensors, output) and all(
            2.0**-10 <= _ratio(tensor, output) < 2.0**8 for tensor in tensors
        )
    if name == "MUL":
        return _same_dtype(tensors, output) and 2.0**-16 <= _product_ratio(tensors, output) < 2.0**8
    if name == "QUANTIZE":
        if tensors[0].dtype == "float32":
            return True
        return _same_dtype(tensors, output) and 2.0**-8 <= _ratio(tensors[0], output) <= 2.0**7
    if name == "LEAKY_RELU":
        return _leaky_relu(operator.option(AlphaOptions).factor, _ratio(tensors[0], output))
    return name in ("LOGISTIC", "TANH", "MEAN", "DEQUANTIZE", "RESIZE_BILINEAR")


def _leaky_relu(alpha: float, positive: float) -> bool:
    """LEAKY_RELU is taken over only where both slopes fit XNNPACK's 8-bit fraction."""
    negative = float(np.float32(positive) * np.float32(alpha))
    return (
        2.0**-8 <= positive <= 2.0**7
        and -127.99609375 <= negative <= 2.0**7
        and abs(negative) >= 2.0**-8
        and abs(alpha) >= float(np.finfo(np.float32).tiny)
    )


def _constant(tensors: list[GraphTensor]) -> bool:
    return all(tensor.data is not None for tensor in tensors)


def _same_dtype(inputs: list[GraphTensor], output: GraphTensor) -> bool:
    return all(tensor.dtype == output.dtype for tensor in inputs)


def _scale(tensor: GraphTensor) -> np.float32:
    return np.float32(tensor.quantization.scale[0]) if tensor.quantization is not None else np.float32(1)


def _ratio(tensor: GraphTensor, output: GraphTensor) -> float:
    return float(_scale(tensor) / _scale(output))


def _product_ratio(tensors: list[GraphTensor], output: GraphTensor) -> float:
    return float(_scale(tensors[0]) * _scale(tensors[1]) / _scale(output))
