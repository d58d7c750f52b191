"""Pooling, adaptive pooling and means over images, of quantized tensors and of floats."""

from __future__ import annotations

from typing import Any

from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.frontends.pytorch.conversion import Conversion, engine_of, rule
from autotune_qnn.frontends.pytorch.graph import Node, TensorMeta
from autotune_qnn.frontends.pytorch.layout import Value, channels_last, in_order, stored_shape
from autotune_qnn.frontends.rules import UnsupportedUseError

NHWC = channels_last(4)


def _memory_order(data: TensorMeta) -> str:
    """Which of PyTorch's two paths a pooling kernel takes."""
    return "NHWC" if data.channels_last else "NCHW"


def _image(conversion: Conversion, node: Node) -> tuple[Any, TensorMeta]:
    operand = node.ref("self" if "self" in node.arguments else "qx")
    data = conversion.meta(operand)
    if data.rank != 4:
        raise UnsupportedUseError(f"{data.rank}-dimensional data")
    return operand, data


def _window(node: Node) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Size, stride (the size where none is given) and padding of a window."""
    size = node.integers("kernel_size", 2)
    stride = node.integers("stride", 2) if node.get("stride") else size
    return size, stride, node.integers("padding", 2)


@rule(
    "aten::quantized_max_pool2d", "aten::max_pool2d", "quantized::max_pool2d", "aten::max_pool2d_with_indices"
)
def convert_max_pool(conversion: Conversion, node: Node) -> list[Value]:
    """Highest values of windows; ceil_mode as padding below and on the right."""
    operand, data = _image(conversion, node)
    size, stride, padding = _window(node)
    dilation = node.integers("dilation", 2)
    extents = conversion.result(node).shape[2:]
    after = []
    for axis in (0, 1):
        reach = (extents[axis] - 1) * stride[axis] + (size[axis] - 1) * dilation[axis] + 1
        after.append(max(reach - data.shape[2 + axis] - padding[axis], 0))
    pooled = relax.op.nn.max_pool2d(
        conversion.last(operand),
        pool_size=size,
        strides=stride,
        padding=(*padding, *after),
        dilation=dilation,
        layout="NHWC",
    )
    values = [Value(pooled, NHWC)]
    for index in node.outputs[1:]:
        if index in conversion.used:
            raise UnsupportedUseError("the places of the highest values")
        values.append(Value(relax.op.zeros(stored_shape(conversion.result(node).shape, NHWC), "int64"), NHWC))
    return values


@rule("aten::avg_pool2d")
def convert_avg_pool(conversion: Conversion, node: Node) -> list[Value]:
    """Averages of windows."""
    operand, data = _image(conversion, node)
    size, stride, padding = _window(node)
    ceil, counts_padding = node.flag("ceil_mode"), node.flag("count_include_pad")
    divisor = node.integer("divisor_override") if node.has("divisor_override") else 0
    window: dict[str, Any] = {"pool_size": size, "strides": stride, "padding": padding * 2}
    if not data.quantized:
        if ceil or divisor:
            raise UnsupportedUseError("float averages with ceil_mode or divisor_override")
        pooled = relax.op.nn.avg_pool2d(
            conversion.last(operand), **window, count_include_pad=counts_padding, layout="NHWC"
        )
        return [Value(pooled, NHWC)]
    parameters = conversion.parameters(data)
    engine = "pytorch" if ceil else engine_of(conversion, data)
    if engine == "qnnpack":
        # It knows neither option: windows always count their padding.
        counts_padding, divisor = True, 0
    block = None if engine == "qnnpack" or conversion.graph.cpu.avx512 else 8
    value = dialect.avg_pool2d(
        conversion.last(operand),
        *parameters,
        *parameters,
        **window,
        ceil_mode=ceil,
        count_include_pad=counts_padding,
        engine=engine,
        memory_order=_memory_order(data),
        divisor=divisor,
        tail_block=block,
    )
    return [Value(value, NHWC)]


@rule("aten::_adaptive_avg_pool2d", "aten::adaptive_avg_pool2d")
def convert_adaptive_avg_pool(conversion: Conversion, node: Node) -> list[Value]:
    """Averages over as many windows as the output is to have elements."""
    operand, data = _image(conversion, node)
    size = node.integers("output_size", 2)
    if not data.quantized:
        pooled = relax.op.nn.adaptive_avg_pool2d(conversion.last(operand), size, layout="NHWC")
        return [Value(pooled, NHWC)]
    divides = not any(extent % part for extent, part in zip(data.shape[2:], size, strict=True))
    own_kernel = engine_of(conversion, data) == "qnnpack" and divides and data.shape[2:] != size
    value = dialect.adaptive_avg_pool2d(
        conversion.last(operand),
        *conversion.parameters(data),
        output_size=size,
        engine="qnnpack" if own_kernel else "pytorch",
        memory_order=_memory_order(data),
    )
    return [Value(value, NHWC)]


@rule("aten::mean")
def convert_mean(conversion: Conversion, node: Node) -> list[Value]:
    """Means over the dimensions behind the channels; of floats over any."""
    operand = node.ref("self")
    data, result = conversion.meta(operand), conversion.result(node)
    dims = node.integers("dim") if node.has("dim") else tuple(range(data.rank))
    axes = tuple(sorted(axis % data.rank for axis in dims))
    keep = bool(node.arguments.get("keepdim"))
    if not data.quantized:
        value = relax.op.mean(conversion.plain(operand), list(axes), keep)
        return [Value(value, in_order(result.rank))]
    if axes != tuple(range(2, data.rank)):
        raise UnsupportedUseError(f"quantized data over dimensions {list(axes)} of {data.rank}")
    parameters = conversion.parameters(data)
    own_kernel = engine_of(conversion, data) == "qnnpack" and data.rank == 4 and dims == (2, 3)
    engine = "qnnpack" if own_kernel else "pytorch"
    if engine == "pytorch" and not data.contiguous and not data.channels_last:
        raise UnsupportedUseError("data that are neither contiguous nor channels-last")
    block = None if own_kernel or conversion.graph.cpu.avx512 else 32
    value = dialect.mean(
        conversion.last(operand),
        *parameters,
        *parameters,
        axis=tuple(range(1, data.rank - 1)),
        keepdims=keep,
        engine=engine,
        memory_order="NCHW" if data.contiguous else "NHWC",
        tail_block=block,
    )
    return [Value(value, channels_last(result.rank) if keep else in_order(2))]


@rule("aten::quantized_max_pool1d")
def convert_max_pool1d(conversion: Conversion, node: Node) -> list[Value]:
    """Highest values of windows along the last dimension, as images of one row."""
    operand, result = node.ref("self"), conversion.result(node)
    data = conversion.meta(operand)
    if data.rank != 3:
        raise UnsupportedUseError(f"{data.rank}-dimensional data")
    size = node.integers("kernel_size", 1)[0]
    stride = node.integers("stride", 1)[0] if node.get("stride") else size
    padding, dilation = node.integers("padding", 1)[0], node.integers("dilation", 1)[0]
    reach = (result.shape[2] - 1) * stride + (size - 1) * dilation + 1
    after = max(reach - data.shape[2] - padding, 0)
    stored = conversion.last(operand)
    row = conversion.emit(relax.op.reshape(stored, (data.shape[0], 1, data.shape[2], data.shape[1])))
    pooled = relax.op.nn.max_pool2d(
        row,
        pool_size=(1, size),
        strides=(1, stride),
        padding=(0, padding, 0, after),
        dilation=(1, dilation),
        layout="NHWC",
    )
    flat = relax.op.reshape(conversion.emit(pooled), (result.shape[0], result.shape[2], result.shape[1]))
    return [Value(flat, channels_last(3))]
