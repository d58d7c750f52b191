"""AVERAGE_POOL_2D, MAX_POOL_2D, MEAN, and the two resizes."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.rules import Expr, UnsupportedUseError, shape_of
from autotune_qnn.frontends.tflite.conversion import Conversion, rule
from autotune_qnn.frontends.tflite.float_ops import float_activation
from autotune_qnn.frontends.tflite.graph import GraphOperator, GraphTensor
from autotune_qnn.frontends.tflite.options import PoolOptions, ReduceOptions, ResizeOptions
from autotune_qnn.frontends.tflite.windows import window_padding
from autotune_qnn.quantization import Arithmetic, ComputeDtype, Rounding

_BUILTIN_MEAN_BLOCK = 16
_MAX_EXTENT = 1 << 15


def _image_shape(conversion: Conversion, data: GraphTensor) -> tuple[int, ...]:
    shape = shape_of(conversion.value(data))
    if len(shape) != 4:
        raise ModelError(f"tensor {data.name} of shape {shape} must have rank 4")
    return shape


@rule("AVERAGE_POOL_2D", "MAX_POOL_2D")
def convert_pool(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """NHWC windows; windows at the border count only the elements of the image."""
    options = operator.option(PoolOptions)
    data, output = conversion.operand(operator, 0), conversion.result(operator)
    _, height, width, _ = _image_shape(conversion, data)
    pads = window_padding(options.padding, (height, width), options.window, options.strides)
    value = conversion.value(data)
    window: dict[str, Any] = {"pool_size": options.window, "strides": options.strides, "padding": pads}
    if data.dtype == "float32":
        pool = relax.op.nn.max_pool2d if operator.name == "MAX_POOL_2D" else relax.op.nn.avg_pool2d
        return [float_activation(conversion, pool(value, **window, layout="NHWC"), options.activation)]
    if not conversion.same_parameters(data, output):
        raise UnsupportedUseError("input and output of different scales")
    if operator.name == "MAX_POOL_2D":
        result = relax.op.nn.max_pool2d(value, **window, layout="NHWC")
    else:
        result = dialect.avg_pool2d(
            value,
            *conversion.parameters((data, output)),
            **window,
            layout="NHWC",
            out_layout="NHWC",
            rounding=Rounding.AWAY.value,
            compute_dtype=ComputeDtype.INT32.value,
        )
    return [conversion.activate(result, options.activation, output)]


@rule("MEAN")
def convert_mean(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """The mean over constant axes."""
    data, output = conversion.operand(operator, 0), conversion.result(operator)
    value = conversion.value(data)
    rank = len(shape_of(value))
    axes = conversion.integers(conversion.operand(operator, 1), "list of axes")
    if any(not -rank <= axis < rank for axis in axes):
        raise ModelError(f"MEAN over axes {axes} of {data.name}, which has rank {rank}")
    axes = sorted({axis % rank for axis in axes})
    keep = operator.option(ReduceOptions).keep_dims
    if data.dtype == "float32":
        return [relax.op.mean(value, axis=axes, keepdims=keep)]
    if data.dtype != output.dtype:
        raise UnsupportedUseError(f"{data.dtype} data with {output.dtype} output")
    kernel = conversion.kernel(operator)
    rounding, compute, block = Rounding.TFLITE, ComputeDtype.INT64, 0
    if kernel is Arithmetic.XNNPACK:
        rounding, compute = Rounding.TONEAREST, ComputeDtype.FLOAT32
    elif kernel is Arithmetic.BUILTIN and rank == 4 and axes == [1, 2] and keep:
        rounding, block = Rounding.RUY, _BUILTIN_MEAN_BLOCK
    return [
        dialect.mean(
            value,
            *conversion.parameters((data, output)),
            axis=axes,
            keepdims=keep,
            rounding=rounding.value,
            compute_dtype=compute.value,
            tail_block=block,
        )
    ]


def _resize_size(conversion: Conversion, operator: GraphOperator) -> tuple[int, int]:
    size = conversion.integers(conversion.operand(operator, 1), "size")
    if len(size) != 2 or not all(0 < extent <= _MAX_EXTENT for extent in size):
        raise ModelError(f"{operator.name} to the impossible size {size}")
    return size[0], size[1]


@rule("RESIZE_BILINEAR")
def convert_resize_bilinear(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Bilinear interpolation of stored integers; output and input have the same scale."""
    options = operator.option(ResizeOptions)
    data, output = conversion.operand(operator, 0), conversion.result(operator)
    _image_shape(conversion, data)
    if not conversion.same_parameters(data, output):
        raise UnsupportedUseError("input and output of different scales")
    mode = "asymmetric"
    if options.align_corners:
        mode = "align_corners"
    elif options.half_pixel_centers:
        mode = "half_pixel"
    kernel = conversion.kernel(operator)
    if kernel is Arithmetic.XNNPACK:
        rounding, compute = Rounding.UPWARD, ComputeDtype.INT32
    elif data.dtype == "int8":
        rounding, compute = Rounding.AWAY, ComputeDtype.INT32
    else:
        rounding = Rounding.TFLITE if kernel is Arithmetic.REFERENCE else Rounding.RUY
        compute = ComputeDtype.FLOAT32
    return [
        dialect.resize2d(
            conversion.value(data),
            *conversion.parameters((data,)),
            size=_resize_size(conversion, operator),
            method="linear",
            coordinate_transformation_mode=mode,
            compute_dtype=compute.value,
            rounding=rounding.value,
        )
    ]


@rule("RESIZE_NEAREST_NEIGHBOR")
def convert_resize_nearest(conversion: Conversion, operator: GraphOperator) -> list[Expr]:
    """Nearest neighbour: a gather of rows and then of columns with constant indices."""
    options = operator.option(ResizeOptions)
    data = conversion.operand(operator, 0)
    value = conversion.value(data)
    shape = _image_shape(conversion, data)
    for axis, extent in zip((1, 2), _resize_size(conversion, operator), strict=True):
        indices = nearest_indices(shape[axis], extent, options.align_corners, options.half_pixel_centers)
        if not np.array_equal(indices, np.arange(shape[axis])):
            value = conversion.emit(relax.op.take(value, relax.const(indices, "int32"), axis=axis))
    return [value]


def nearest_indices(extent: int, wanted: int, align_corners: bool, half_pixel_centers: bool) -> Array:
    """int32 [wanted]: which of `extent` elements each output element copies, in float32 as TFLite computes
    it.
    """
    one = np.float32(1)
    if align_corners and wanted > 1:
        scale = np.float32(extent - 1) / np.float32(wanted - 1)
    else:
        scale = np.float32(extent) / np.float32(wanted)
    offset = np.float32(0.5) if half_pixel_centers else np.float32(0)
    position = ((np.arange(wanted).astype("float32") + offset) * scale * one).astype("float32")
    if align_corners:
        whole = np.trunc(position)
        nearest = whole + (position - whole >= np.float32(0.5))
    else:
        nearest = np.floor(position)
    return np.clip(nearest, 0, extent - 1).astype("int32")
