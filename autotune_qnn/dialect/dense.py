"""qnn.dense and qnn.batch_matmul: exact int32 products of matrices of quantized integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.conv import exact_matmul
from autotune_qnn.dialect.numeric import Array, along, shifted
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import ANY_SCALE_DTYPES, CallView, TensorView


def dense(
    data: Any,
    weight: Any,
    input_zero_point: Any,
    kernel_zero_point: Any,
    input_scale: Any,
    kernel_scale: Any,
    *,
    units: int,
    out_dtype: str = "int32",
) -> Any:
    """(..., K) int8 or uint8 data times weight (units, K), zero points subtracted: int32 (..., units).

    Weight scale and zero point are () or (units,). Data has at least two dimensions.
    """
    operands = [data, weight, input_zero_point, kernel_zero_point, input_scale, kernel_scale]
    return make_call("qnn.dense", operands, {"units": units, "out_dtype": out_dtype})


def batch_matmul(
    x: Any,
    y: Any,
    x_zero_point: Any,
    y_zero_point: Any,
    x_scale: Any,
    y_scale: Any,
    *,
    out_dtype: str = "int32",
) -> Any:
    """(B, M, K) times the transpose of (B, N, K), zero points subtracted: int32 (B, M, N); B of one
    broadcasts.
    """
    operands = [x, y, x_zero_point, y_zero_point, x_scale, y_scale]
    return make_call("qnn.batch_matmul", operands, {"out_dtype": out_dtype})


def _infer_dense(view: CallView) -> TensorView:
    data = view.data("data")
    weight = view.data("weight", rank=2)
    if data.rank < 2:
        raise view.error("data", f"must have at least 2 dimensions, not {data.rank}")
    units = view.attributes.integer("units")
    if weight.shape[0] != units:
        raise view.error("weight", f"has {weight.shape[0]} rows, attribute units says {units}")
    if weight.shape[1] != data.shape[-1]:
        raise view.error("weight", f"has {weight.shape[1]} columns, data has {data.shape[-1]}")
    view.quantization("input_scale", "input_zero_point", data.dtype, ANY_SCALE_DTYPES)
    view.scale("kernel_scale", units, ANY_SCALE_DTYPES, zero_allowed=True)
    view.zero_point("kernel_zero_point", units, of=weight.dtype)
    return TensorView((*data.shape[:-1], units), view.choice("out_dtype", ("int32",)))


def _infer_batch_matmul(view: CallView) -> TensorView:
    x, y = view.data("x", rank=3), view.data("y", rank=3)
    if x.shape[2] != y.shape[2]:
        raise view.error("y", f"has {y.shape[2]} columns, x has {x.shape[2]}")
    if x.shape[0] != y.shape[0] and 1 not in (x.shape[0], y.shape[0]):
        raise view.error("y", f"has batch {y.shape[0]}, x has {x.shape[0]}")
    view.quantization("x_scale", "x_zero_point", x.dtype)
    view.quantization("y_scale", "y_zero_point", y.dtype)
    out_dtype = view.choice("out_dtype", ("int32",))
    return TensorView((max(x.shape[0], y.shape[0]), x.shape[1], y.shape[1]), out_dtype)


register(
    OperatorSpec(
        "qnn.dense",
        ("data", "weight", "input_zero_point", "kernel_zero_point", "input_scale", "kernel_scale"),
        _infer_dense,
    )
)
register(
    OperatorSpec(
        "qnn.batch_matmul",
        ("x", "y", "x_zero_point", "y_zero_point", "x_scale", "y_scale"),
        _infer_batch_matmul,
    )
)


@reference("qnn.dense")
def dense_reference(
    attrs: Attributes,
    data: Array,
    weight: Array,
    input_zero_point: Array,
    kernel_zero_point: Array,
    input_scale: Array,
    kernel_scale: Array,
) -> Array:
    """Multiply as `dense` states."""
    left = shifted(data, input_zero_point).reshape(-1, data.shape[-1])
    right = weight.astype(np.int64) - along(kernel_zero_point.astype(np.int64), 0, 2)
    result = exact_matmul(left, right.T)
    return np.asarray(result.reshape(*data.shape[:-1], weight.shape[0]).astype(np.int32))


@reference("qnn.batch_matmul")
def batch_matmul_reference(
    attrs: Attributes,
    x: Array,
    y: Array,
    x_zero_point: Array,
    y_zero_point: Array,
    x_scale: Array,
    y_scale: Array,
) -> Array:
    """Multiply as `batch_matmul` states."""
    left, right = shifted(x, x_zero_point), shifted(y, y_zero_point)
    return exact_matmul(left, right.transpose(0, 2, 1)).astype(np.int32)
