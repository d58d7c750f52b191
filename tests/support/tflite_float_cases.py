"""Float operators between DEQUANTIZE and QUANTIZE."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.support.tflite_branches import BOUNDS, NONE, RELU, RELU6, VALID, Branches
from tests.support.tflite_writer import Tensor, constant


def float_island(branches: Branches) -> None:
    """DEQUANTIZE, float arithmetic, QUANTIZE."""
    data, *_ = branches.quantized((1, 4, 8, 8))
    real = branches.tensor(Tensor((1, 4, 8, 8), "float32"))
    branches.operator("DEQUANTIZE", [data], [real], "DequantizeOptions")
    factor = branches.tensor(constant(branches.rng.normal(0, 1, (8,)).astype("float32")))
    product = branches.tensor(Tensor((1, 4, 8, 8), "float32"))
    branches.operator(
        "MUL", [real, factor], [product], "MulOptions", fusedActivationFunction=branches.choice(NONE, RELU6)
    )
    total = branches.tensor(Tensor((1, 4, 8, 8), "float32"))
    branches.operator(
        "ADD", [product, real], [total], "AddOptions", fusedActivationFunction=branches.choice(NONE, RELU)
    )
    output = branches.output((1, 4, 8, 8), branches.dtype, branches.scale(), branches.zero())
    branches.operator("QUANTIZE", [total], [output], "QuantizeOptions")


@dataclass(frozen=True)
class FloatCase:
    """A float operator between DEQUANTIZE and QUANTIZE: its constant operands, options and output shape."""

    operands: tuple[Any, ...] = ()
    table: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = (1, 4, 8, 8)


_WINDOW = {"padding": VALID, "strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}
FLOAT_CASES: dict[str, FloatCase] = {
    "LOGISTIC": FloatCase(),
    "TANH": FloatCase(),
    "SOFTMAX": FloatCase(table="SoftmaxOptions", options={"beta": 1.0}),
    "EXP": FloatCase(table="ExpOptions"),
    "SQRT": FloatCase(),
    "RSQRT": FloatCase(),
    "LOG": FloatCase(),
    "ABS": FloatCase(table="AbsOptions"),
    "NEG": FloatCase(table="NegOptions"),
    "RELU": FloatCase(),
    "RELU6": FloatCase(),
    "LEAKY_RELU": FloatCase(table="LeakyReluOptions", options={"alpha": 0.1}),
    "HARD_SWISH": FloatCase(table="HardSwishOptions"),
    "PRELU": FloatCase((np.full((1, 1, 8), 0.3, "float32"),)),
    "DIV": FloatCase((np.array([3.0], "float32"),), "DivOptions"),
    "SUB": FloatCase((np.array([0.7], "float32"),), "SubOptions"),
    "MAXIMUM": FloatCase((np.array([2.0], "float32"),), "MaximumMinimumOptions"),
    "MEAN": FloatCase((np.array([1, 2], "int32"),), "ReducerOptions", {"keepDims": True}, (1, 1, 1, 8)),
    "AVERAGE_POOL_2D": FloatCase((), "Pool2DOptions", _WINDOW, (1, 2, 4, 8)),
    "MAX_POOL_2D": FloatCase((), "Pool2DOptions", _WINDOW, (1, 2, 4, 8)),
    "FULLY_CONNECTED": FloatCase((np.eye(3, 8, dtype="float32"),), "FullyConnectedOptions", {}, (32, 3)),
    "RESHAPE": FloatCase((np.array([1, 256], "int32"),), shape=(1, 256)),
    "TRANSPOSE": FloatCase((np.array([0, 2, 1, 3], "int32"),), "TransposeOptions", shape=(1, 8, 4, 8)),
    "PAD": FloatCase(
        (np.array([[0, 0], [0, 0], [0, 0], [0, 2]], "int32"),), "PadOptions", shape=(1, 4, 8, 10)
    ),
}


def float_operator(branches: Branches, name: str) -> None:
    """DEQUANTIZE to positive floats, the operator, QUANTIZE."""
    case = FLOAT_CASES[name]
    lowest = BOUNDS[branches.dtype][0]
    data = branches.input(np.maximum(branches.integers((1, 4, 8, 8)), lowest + 1), 0.05, lowest)
    real = branches.tensor(Tensor((1, 4, 8, 8), "float32"))
    branches.operator("DEQUANTIZE", [data], [real], "DequantizeOptions")
    operands = [real, *(branches.tensor(constant(np.asarray(operand))) for operand in case.operands)]
    if name == "FULLY_CONNECTED":
        operands.append(-1)
    result = branches.tensor(Tensor(case.shape, "float32"))
    branches.operator(name, operands, [result], case.table, 1, **case.options)
    output = branches.output(case.shape, branches.dtype, 0.03, branches.zero())
    branches.operator("QUANTIZE", [result], [output], "QuantizeOptions")
