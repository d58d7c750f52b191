"""The quantized dialect: qnn.* operators on Relax with Relay's names, type inference and a NumPy reference
for each.

Importing the package registers the operators, once. The functions below construct calls of them (relax.Call).
"""

from __future__ import annotations

from autotune_qnn.dialect.adaptive_pool import adaptive_avg_pool2d
from autotune_qnn.dialect.attributes import attr, attr_bool, attr_float, attr_int, attr_ints, attr_str
from autotune_qnn.dialect.batch_norm import batch_norm
from autotune_qnn.dialect.binary import add, mul, subtract
from autotune_qnn.dialect.concatenate import concatenate
from autotune_qnn.dialect.constants import constant, constant_value, is_constant
from autotune_qnn.dialect.conv import conv2d, conv2d_transpose
from autotune_qnn.dialect.dense import batch_matmul, dense
from autotune_qnn.dialect.leaky import leaky_relu, prelu
from autotune_qnn.dialect.output_stage import output_stage
from autotune_qnn.dialect.pooling import avg_pool2d, mean
from autotune_qnn.dialect.registry import operand_names, operator_names
from autotune_qnn.dialect.resize import resize2d
from autotune_qnn.dialect.scaling import dequantize, quantize, requantize
from autotune_qnn.dialect.softmax import softmax
from autotune_qnn.dialect.tables import (
    absolute,
    erf,
    exp,
    hardsigmoid,
    hardswish,
    log,
    rsqrt,
    sigmoid,
    sqrt,
    tanh,
)
from autotune_qnn.dialect.tables import absolute as abs  # noqa: A004 - the operator's name
from autotune_qnn.dialect.tabulate import TABLE_OPERATORS, is_tabulable, table_values

__all__ = [
    "TABLE_OPERATORS",
    "abs",
    "absolute",
    "adaptive_avg_pool2d",
    "add",
    "attr",
    "attr_bool",
    "attr_float",
    "attr_int",
    "attr_ints",
    "attr_str",
    "avg_pool2d",
    "batch_matmul",
    "batch_norm",
    "concatenate",
    "constant",
    "constant_value",
    "conv2d",
    "conv2d_transpose",
    "dense",
    "dequantize",
    "erf",
    "exp",
    "hardsigmoid",
    "hardswish",
    "is_constant",
    "is_tabulable",
    "leaky_relu",
    "log",
    "mean",
    "mul",
    "operand_names",
    "operator_names",
    "output_stage",
    "prelu",
    "quantize",
    "requantize",
    "resize2d",
    "rsqrt",
    "sigmoid",
    "softmax",
    "sqrt",
    "subtract",
    "table_values",
    "tanh",
]
