"""Type inference refuses what breaks an operator's rules, naming operator and operand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import relax, tirx

from autotune_qnn import dialect
from autotune_qnn.errors import DialectError
from tests.support.dialect import scale, variable, zero

IMAGE = ((1, 8, 8, 4), "int8")
SUM = {"rounding": "UPWARD", "compute_dtype": "int32"}
FLOAT = {"rounding": "TONEAREST", "compute_dtype": "float32"}


def _conv(
    data: Any = IMAGE,
    kernel: Any = ((6, 3, 3, 4), "int8"),
    zi: Any = 0,
    zw: Any = 0,
    si: Any = 1,
    sw: Any = 1,
    operator: Any = dialect.conv2d,
    **attrs: Any,
) -> Any:
    arguments = {"kernel_size": (3, 3), "channels": 6, "strides": (1, 1), "padding": (0, 0, 0, 0), **attrs}
    return operator(
        variable(*data), variable(*kernel, "w"), zero(zi), zero(zw), scale(si), scale(sw), **arguments
    )


def _requantize(data: Any = IMAGE, factor: Any = 1, axis: int = -1, out: str = "int8", **attrs: Any) -> Any:
    arguments = {**FLOAT, "axis": axis, "out_dtype": out, **attrs}
    return dialect.requantize(variable(*data), scale(factor), zero(0), scale(1), zero(0), **arguments)


def _binary(left: Any = IMAGE, right: Any = IMAGE, operator: Any = dialect.add, **attrs: Any) -> Any:
    arguments = {**SUM, **attrs}
    return operator(variable(*left), variable(*right, "y"), *[scale(1), zero(0)] * 3, **arguments)


def _pool(data: Any = IMAGE, output: Any = (1, 0), **attrs: Any) -> Any:
    arguments = {"pool_size": (2, 2), "strides": (1, 1), "padding": (0, 0, 0, 0), **attrs}
    so, zo = output
    return dialect.avg_pool2d(variable(*data), scale(1), zero(0), scale(so), zero(zo), **arguments)


def _mean(axis: Any, **attrs: Any) -> Any:
    arguments = {**FLOAT, "keepdims": False, **attrs}
    return dialect.mean(variable(*IMAGE), *[scale(1), zero(0)] * 2, axis=axis, **arguments)


def _concatenate(parts: Any, scales: int = 2, axis: int = 0) -> Any:
    return dialect.concatenate(
        relax.Tuple([variable(*part) for part in parts]),
        relax.Tuple([scale(1)] * scales),
        relax.Tuple([zero(0)] * len(parts)),
        scale(1),
        zero(0),
        axis=axis,
    )


def _dense(data: Any = ((2, 4), "int8"), weight: Any = ((3, 4), "int8"), units: int = 3) -> Any:
    return dialect.dense(
        variable(*data), variable(*weight, "w"), *[zero(0)] * 2, *[scale(1)] * 2, units=units
    )


def _matmul(x: Any, y: Any) -> Any:
    return dialect.batch_matmul(variable(*x), variable(*y, "y"), *[zero(0)] * 2, *[scale(1)] * 2)


def _prelu(alpha: Any) -> Any:
    attrs = {"rounding": "TFLITE", "compute_dtype": "int64"}
    return dialect.prelu(variable(*IMAGE), variable(*alpha, "a"), *[scale(1), zero(0)] * 3, **attrs)


def _softmax(so: float = 1 / 256, zo: int = -128, **attrs: Any) -> Any:
    arguments = {"compute_dtype": "int64", **attrs}
    return dialect.softmax(variable((2, 3), "int8"), scale(1), zero(0), scale(so), zero(zo), **arguments)


def _resize(**attrs: Any) -> Any:
    arguments = {"size": (2, 2), **SUM, **attrs}
    return dialect.resize2d(variable(*IMAGE), scale(1), zero(0), **arguments)


CASES: list[tuple[Callable[[], Any], str]] = [
    # conv2d
    (
        lambda: _conv(data=((8, 8, 4), "int8")),
        "qnn.conv2d: data must have 4 dimensions, not 3 (shape [8, 8, 4])",
    ),
    (lambda: _conv(data=((1, 8, 8, 4), "float32")), "qnn.conv2d: data must be int8 or uint8, not float32"),
    (lambda: _conv(kernel=((6, 3, 3, 4), "int32")), "qnn.conv2d: kernel must be int8 or uint8, not int32"),
    (lambda: _conv(kernel=((5, 3, 3, 4), "int8")), "qnn.conv2d: kernel has 5 output channels"),
    (lambda: _conv(kernel=((6, 2, 3, 4), "int8")), "qnn.conv2d: kernel is [2, 3] large"),
    (lambda: _conv(kernel=((6, 3, 3, 3), "int8")), "qnn.conv2d: kernel has 3 input channels, expected 4"),
    (lambda: _conv(groups=3), "qnn.conv2d: attribute groups 3 does not divide"),
    (lambda: _conv(sw=[1] * 5), "qnn.conv2d: kernel_scale must have shape () or (6,), not (5,)"),
    (lambda: _conv(zw=[0] * 4), "qnn.conv2d: kernel_zero_point must have shape () or (6,), not (4,)"),
    (lambda: _conv(zi=[0] * 4), "qnn.conv2d: input_zero_point must have shape (), not (4,)"),
    (lambda: _conv(si=-1), "qnn.conv2d: input_scale must be finite and positive"),
    (lambda: _conv(si=np.nan), "qnn.conv2d: input_scale must be finite and positive"),
    (lambda: _conv(zi=128), "qnn.conv2d: input_zero_point must lie in int8's range -128..127, not [128]"),
    (lambda: _conv(data_layout="NCHW"), "qnn.conv2d: attribute data_layout must be NHWC, not 'NCHW'"),
    (lambda: _conv(out_dtype="int64"), "qnn.conv2d: attribute out_dtype must be int32"),
    (lambda: _conv(padding=(1, 1)), "qnn.conv2d: attribute padding must be 4 integers, not (1, 1)"),
    (lambda: _conv(padding=(-1, 0, 0, 0)), "qnn.conv2d: attribute padding must not hold negative values"),
    (lambda: _conv(strides=(0, 1)), "qnn.conv2d: attribute strides must hold positive values"),
    (lambda: _conv(data=((1, 2, 8, 4), "int8")), "qnn.conv2d: data is smaller than the kernel"),
    # conv2d_transpose
    (
        lambda: _conv(operator=dialect.conv2d_transpose, padding=(9, 0, 9, 0)),
        "qnn.conv2d_transpose: attribute padding",
    ),
    (
        lambda: _conv(operator=dialect.conv2d_transpose, output_padding=(-1, 0)),
        "qnn.conv2d_transpose: attribute output_padding must not hold negative values",
    ),
    # dense, batch_matmul
    (lambda: _dense(units=4), "qnn.dense: weight has 3 rows, attribute units says 4"),
    (lambda: _dense(data=((4,), "int8")), "qnn.dense: data must have at least 2 dimensions, not 1"),
    (lambda: _dense(weight=((3, 5), "int8")), "qnn.dense: weight has 5 columns, data has 4"),
    (lambda: _matmul(((2, 3, 4), "int8"), ((2, 3, 5), "int8")), "qnn.batch_matmul: y has 5 columns, x has 4"),
    (lambda: _matmul(((2, 3, 4), "int8"), ((3, 3, 4), "int8")), "qnn.batch_matmul: y has batch 3, x has 2"),
    # requantize, quantize, dequantize
    (
        lambda: _requantize(rounding="UPWARD"),
        "qnn.requantize: attributes compute_dtype and rounding must be one of",
    ),
    (lambda: _requantize(rounding="NEVER"), "not float32/NEVER"),
    (lambda: _requantize(factor=[1, 2]), "qnn.requantize: input_scale must have shape () or (4,), not (2,)"),
    (lambda: _requantize(factor=[1, 2], axis=7), "qnn.requantize: axis 7 is outside of 4 dimensions"),
    (lambda: _requantize(out="float32"), "qnn.requantize: attribute out_dtype must be"),
    (lambda: _requantize(data=((2,), "float32")), "qnn.requantize: data must be int8, uint8, int16 or int32"),
    (lambda: _requantize(tail_block=8), "qnn.requantize: attribute tail_rounding must be TONEAREST, not ''"),
    (
        lambda: _requantize(tail_rounding="RUY"),
        "qnn.requantize: attribute tail_rounding 'RUY' needs a tail_block",
    ),
    (lambda: _requantize(tail_axis="row"), "qnn.requantize: attribute tail_axis must be channel or flat"),
    (lambda: _requantize(tail_block=-1), "qnn.requantize: attribute tail_block must not be negative"),
    (
        lambda: dialect.quantize(variable(*IMAGE), scale(1), zero(0), out_dtype="int8", rounding="AWAY"),
        "qnn.quantize: data must be float32, not int8",
    ),
    (
        lambda: dialect.quantize(
            variable((2,), "float32"), scale(1), zero(300), out_dtype="uint8", rounding="AWAY"
        ),
        "qnn.quantize: output_zero_point must lie in uint8's range 0..255, not [300]",
    ),
    (
        lambda: dialect.dequantize(variable(*IMAGE), scale([1] * 4), zero(0), tail_block=8),
        "qnn.dequantize: input_scale must be per tensor where tail_block is set",
    ),
    (
        lambda: dialect.dequantize(variable(*IMAGE), zero(1), zero(0)),
        "qnn.dequantize: input_scale must be float32 or float64, not int32",
    ),
    # add, subtract, mul
    (lambda: _binary(right=((3,), "int8")), "qnn.add: lhs and rhs do not broadcast: [1, 8, 8, 4] and [3]"),
    (lambda: _binary(right=((4,), "uint8")), "qnn.add: rhs must be int8 as lhs, not uint8"),
    (lambda: _binary(tail_block=8), "qnn.add: attribute tail_block must be 0"),
    (lambda: _binary(operator=dialect.mul), "qnn.mul: attributes compute_dtype and rounding must be one of"),
    (
        lambda: _binary(operator=dialect.mul, **FLOAT, tail_block=16),
        "qnn.mul: attribute tail_block must be 0",
    ),
    (lambda: _binary(operator=dialect.subtract, **FLOAT), "not float32/TONEAREST"),
    # concatenate
    (
        lambda: _concatenate([((2, 3), "int8")] * 2, scales=1),
        "qnn.concatenate: input_scales must hold 2 scalars",
    ),
    (
        lambda: _concatenate([((2, 3), "int8"), ((2, 4), "int8")]),
        "qnn.concatenate: data[1] has shape [2, 4], data[0] [2, 3]",
    ),
    (
        lambda: _concatenate([((2, 3), "int8"), ((2, 3), "uint8")]),
        "qnn.concatenate: data[1] must be int8 as data[0], not uint8",
    ),
    (
        lambda: _concatenate([((2, 3), "int8")] * 2, axis=2),
        "qnn.concatenate: axis 2 is outside of 2 dimensions",
    ),
    (
        lambda: _concatenate([((2,), "float32")] * 2),
        "qnn.concatenate: data[0] must be int8 or uint8, not float32",
    ),
    # avg_pool2d, mean
    (lambda: _pool(pool_size=(9, 1)), "qnn.avg_pool2d: data is smaller than the window"),
    (lambda: _pool(padding=(0, 2, 0, 0)), "qnn.avg_pool2d: attribute padding [0, 2, 0, 0] is not smaller"),
    (lambda: _pool(output=(2, 0)), "qnn.avg_pool2d: output_scale must equal input_scale: 2.0 and 1.0"),
    (lambda: _pool(output=(1, 3)), "qnn.avg_pool2d: output_zero_point must equal input_zero_point"),
    (lambda: _pool(layout="NCHW"), "qnn.avg_pool2d: attribute layout must be NHWC"),
    (lambda: _mean((4,)), "qnn.mean: axis 4 is outside of 4 dimensions"),
    (lambda: _mean(()), "qnn.mean: attribute axis must hold different axes"),
    (lambda: _mean((1, -3)), "qnn.mean: attribute axis must hold different axes, not [1, 1]"),
    (lambda: _mean((1,), tail_block=8), "qnn.mean: attribute tail_block must be 0"),
    # softmax, leaky_relu, prelu, tables, resize2d
    (lambda: _softmax(so=0.5), "qnn.softmax: output_scale must be 1/256 for int64, not 0.5"),
    (lambda: _softmax(zo=0), "qnn.softmax: output_zero_point must be -128 for int8, not 0"),
    (lambda: _softmax(axis=2), "qnn.softmax: axis 2 is outside of 2 dimensions"),
    (lambda: _softmax(beta=0), "qnn.softmax: attribute beta must be positive"),
    (
        lambda: _softmax(compute_dtype="int16"),
        "qnn.softmax: attribute compute_dtype must be float32 or int64",
    ),
    (
        lambda: dialect.leaky_relu(variable(*IMAGE), *[scale(1), zero(0)] * 2, alpha=np.inf, **SUM),
        "qnn.leaky_relu: attribute alpha must be finite",
    ),
    (lambda: _prelu(((3,), "int8")), "qnn.prelu: x and alpha do not broadcast"),
    (lambda: _prelu(((2, 8, 8, 4), "int8")), "qnn.prelu: alpha of shape [2, 8, 8, 4] does not broadcast"),
    (lambda: _prelu(((4,), "uint8")), "qnn.prelu: alpha must be int8 as x, not uint8"),
    (
        lambda: dialect.tanh(variable(*IMAGE), *[scale(1), zero(0)] * 2, **SUM),
        "qnn.tanh: attributes compute_dtype and rounding must be one of float32/TONEAREST, float32/AWAY",
    ),
    (lambda: _resize(method="cubic"), "qnn.resize2d: attribute method must be linear, not 'cubic'"),
    (lambda: _resize(size=(2,)), "qnn.resize2d: attribute size must be 2 integers, not (2,)"),
    (lambda: _resize(rounding="TONEAREST"), "qnn.resize2d: attributes compute_dtype and rounding"),
    # kinds of operands
    (
        lambda: dialect.tanh(relax.Tuple([zero(0)]), *[scale(1), zero(0)] * 2, rounding="AWAY"),
        "qnn.tanh: x must be one tensor, not a tuple",
    ),
    (
        lambda: dialect.concatenate(
            variable(*IMAGE), relax.Tuple([]), relax.Tuple([]), scale(1), zero(0), axis=0
        ),
        "qnn.concatenate: data must be a tuple of tensors",
    ),
    (
        lambda: dialect.tanh(
            variable((tirx.Var("n", "int64"), 3), "int8"), *[scale(1), zero(0)] * 2, rounding="AWAY"
        ),
        "qnn.tanh: the shape of x must be static",
    ),
]


@pytest.mark.parametrize(("build", "message"), CASES, ids=[message[:60] for _, message in CASES])
def test_rejected(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(DialectError) as caught:
        build()
    assert message in str(caught.value)
