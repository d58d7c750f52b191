"""qnn.conv2d and qnn.conv2d_transpose: int32 accumulators of (q − zero point)·(w − zero point)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.numeric import Array, along, f4, f8, integer, shifted
from autotune_qnn.dialect.pairs import ACCUMULATIONS, EXACT, PAIRS_INT16, lost_in_pairs
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference, register
from autotune_qnn.dialect.view import ANY_SCALE_DTYPES, CallView, TensorView

OPERANDS = ("data", "kernel", "input_zero_point", "kernel_zero_point", "input_scale", "kernel_scale")
# Sums of integers below this are exact in float32.
_FLOAT32_EXACT = 1 << 24


def conv2d(
    data: Any,
    kernel: Any,
    input_zero_point: Any,
    kernel_zero_point: Any,
    input_scale: Any,
    kernel_scale: Any,
    *,
    kernel_size: Sequence[int],
    channels: int,
    strides: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
    data_layout: str = "NHWC",
    kernel_layout: str = "OHWI",
    out_layout: str = "NHWC",
    out_dtype: str = "int32",
    accumulation: str = EXACT,
) -> Any:
    """Convolution of int8 or uint8 data (N, H, W, C) with kernel (O, KH, KW, C/groups): int32 (N, OH, OW, O).

    padding is top, left, bottom, right and holds the input's zero point. Output channel o reads the input
    channels of group o // (O/groups); depthwise is groups == C. Kernel scale and zero point are () or (O,).
    accumulation is EXACT or, for depthwise convolutions of uint8 data with int8 kernels, PAIRS_INT16 (see `pairs`).
    """
    attrs = _attributes(
        kernel_size,
        channels,
        strides,
        padding,
        dilation,
        groups,
        (data_layout, kernel_layout, out_layout),
        out_dtype,
    )
    attrs["accumulation"] = accumulation
    operands = [data, kernel, input_zero_point, kernel_zero_point, input_scale, kernel_scale]
    return make_call("qnn.conv2d", operands, attrs)


def conv2d_transpose(
    data: Any,
    kernel: Any,
    input_zero_point: Any,
    kernel_zero_point: Any,
    input_scale: Any,
    kernel_scale: Any,
    *,
    kernel_size: Sequence[int],
    channels: int,
    strides: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
    data_layout: str = "NHWC",
    kernel_layout: str = "OHWI",
    out_layout: str = "NHWC",
    out_dtype: str = "int32",
) -> Any:
    """Transposed convolution of (N, H, W, C) with kernel (O, KH, KW, C/groups): int32 (N, OH, OW, O).

    Every input element adds its product with the kernel at stride · place; the full result is cropped by
    padding (top, left, bottom, right) and extended below and right by output_padding rows and columns (zero
    where nothing reaches): OH = (H − 1)·stride + (KH − 1)·dilation + 1 − top − bottom + output_padding.
    """
    attrs = _attributes(
        kernel_size,
        channels,
        strides,
        padding,
        dilation,
        groups,
        (data_layout, kernel_layout, out_layout),
        out_dtype,
    )
    attrs["output_padding"] = tuple(output_padding)
    operands = [data, kernel, input_zero_point, kernel_zero_point, input_scale, kernel_scale]
    return make_call("qnn.conv2d_transpose", operands, attrs)


def _attributes(
    kernel_size: Sequence[int],
    channels: int,
    strides: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    layouts: tuple[str, str, str],
    out_dtype: str,
) -> dict[str, Any]:
    data_layout, kernel_layout, out_layout = layouts
    return {
        "kernel_size": tuple(kernel_size),
        "channels": channels,
        "strides": tuple(strides),
        "padding": tuple(padding),
        "dilation": tuple(dilation),
        "groups": groups,
        "data_layout": data_layout,
        "kernel_layout": kernel_layout,
        "out_layout": out_layout,
        "out_dtype": out_dtype,
    }


def _check_operands(view: CallView) -> tuple[TensorView, int]:
    """Check what both convolutions share; returns data and number of output channels."""
    data = view.data("data", rank=4)
    kernel = view.data("kernel", rank=4)
    for name, layout in (("data_layout", "NHWC"), ("kernel_layout", "OHWI"), ("out_layout", "NHWC")):
        view.choice(name, (layout,))
    view.choice("out_dtype", ("int32",))
    channels, groups = view.attributes.integer("channels"), view.attributes.integer("groups")
    size = view.positive("kernel_size", 2)
    if kernel.shape[0] != channels:
        raise view.error(
            "kernel", f"has {kernel.shape[0]} output channels, attribute channels says {channels}"
        )
    if kernel.shape[1:3] != size:
        raise view.error(
            "kernel", f"is {list(kernel.shape[1:3])} large, attribute kernel_size says {list(size)}"
        )
    if groups < 1 or data.shape[3] % groups or channels % groups:
        raise view.error(
            "attribute groups",
            f"{groups} does not divide {data.shape[3]} input and {channels} output channels",
        )
    if kernel.shape[3] != data.shape[3] // groups:
        expected = data.shape[3] // groups
        raise view.error(
            "kernel", f"has {kernel.shape[3]} input channels, expected {expected} ({groups} groups)"
        )
    view.quantization("input_scale", "input_zero_point", data.dtype, ANY_SCALE_DTYPES)
    view.scale("kernel_scale", channels, ANY_SCALE_DTYPES, zero_allowed=True)
    view.zero_point("kernel_zero_point", channels, of=kernel.dtype)
    return data, channels


def _infer_conv2d(view: CallView) -> TensorView:
    data, channels = _check_operands(view)
    if view.choice("accumulation", ACCUMULATIONS) == PAIRS_INT16:
        _check_pairs(view, data)
    size = view.attributes.integers("kernel_size", 2)
    strides, dilation = view.positive("strides", 2), view.positive("dilation", 2)
    padding = view.not_negative("padding", 4)
    extents = []
    for axis in (0, 1):
        span = (
            data.shape[1 + axis] + padding[axis] + padding[axis + 2] - (size[axis] - 1) * dilation[axis] - 1
        )
        if span < 0:
            raise view.error(
                "data", f"is smaller than the kernel: {list(data.shape[1:3])} with padding {padding}"
            )
        extents.append(span // strides[axis] + 1)
    return TensorView((data.shape[0], extents[0], extents[1], channels), "int32")


def _check_pairs(view: CallView, data: TensorView) -> None:
    kernel = view.data("kernel", rank=4)
    if kernel.shape[3] != 1 or (data.dtype, kernel.dtype) != ("uint8", "int8"):
        raise view.error(
            "attribute accumulation",
            f"{PAIRS_INT16} is for depthwise convolutions of uint8 data with int8 kernels, not {data.dtype} with "
            f"{kernel.dtype} of {kernel.shape[3]} input channels",
        )


def _infer_conv2d_transpose(view: CallView) -> TensorView:
    data, channels = _check_operands(view)
    extents = transposed_extents(view.attributes, data.shape[1:3], view)
    return TensorView((data.shape[0], *extents, channels), "int32")


def transposed_extents(
    attrs: Attributes, image: Sequence[int], view: CallView | None = None
) -> tuple[int, int]:
    """Height and width of a transposed convolution's result; checks the attributes where a view is given."""
    size = attrs.integers("kernel_size", 2)
    strides = view.positive("strides", 2) if view else attrs.integers("strides", 2)
    dilation = view.positive("dilation", 2) if view else attrs.integers("dilation", 2)
    padding = view.not_negative("padding", 4) if view else attrs.integers("padding", 4)
    extra = view.not_negative("output_padding", 2) if view else attrs.integers("output_padding", 2)
    extents = []
    for axis in (0, 1):
        full = (image[axis] - 1) * strides[axis] + (size[axis] - 1) * dilation[axis] + 1
        extent = full - padding[axis] - padding[axis + 2] + extra[axis]
        if view and extent < 1:
            raise view.error("attribute padding", f"{list(padding)} leaves nothing of {full} rows or columns")
        extents.append(extent)
    return extents[0], extents[1]


register(OperatorSpec("qnn.conv2d", OPERANDS, _infer_conv2d))
register(OperatorSpec("qnn.conv2d_transpose", OPERANDS, _infer_conv2d_transpose))


def exact_matmul(left: Array, right: Array) -> Array:
    """Integer product of (M, K) and (K, N) matrices of int values, exact, as int64, by float matrix
    multiplication.

    float32 where no partial sum can reach 2²⁴, otherwise float64 (exact below 2⁵³).
    """
    bound = left.shape[-1] * _magnitude(left) * _magnitude(right)
    dtype = f4 if bound < _FLOAT32_EXACT else f8
    return np.asarray((left.astype(dtype) @ right.astype(dtype)).astype(np.int64))


def _magnitude(values: Array) -> int:
    return max(abs(int(values.max(initial=0))), abs(int(values.min(initial=0))))


def _centred_kernel(kernel: Array, kernel_zero_point: Array) -> Array:
    zero = along(kernel_zero_point.astype(np.int32), 0, 4)
    return np.asarray(kernel.astype(np.int32) - zero)


@reference("qnn.conv2d")
def conv2d_reference(
    attrs: Attributes,
    data: Array,
    kernel: Array,
    input_zero_point: Array,
    kernel_zero_point: Array,
    input_scale: Array,
    kernel_scale: Array,
) -> Array:
    """Convolve as `conv2d` states, one matrix product (or one multiply-add if depthwise) a kernel tap."""
    groups, zero_point = attrs.integer("groups"), integer(input_zero_point)
    weights = _centred_kernel(kernel, kernel_zero_point)
    image = data.astype(np.int32) - np.int32(zero_point)
    out_channels, rows, columns, depth = weights.shape
    dtype = _accumulation_dtype(image, weights)
    image, weights = image.astype(dtype), weights.astype(dtype)
    if depth == 1:
        image = np.repeat(image, out_channels // groups, axis=3)
    window = _windows(attrs, image, (rows, columns))
    result = np.zeros((*window(0).shape[:3], out_channels), dtype)
    for tap in range(rows * columns):
        _add_tap(result, window(tap), weights[:, tap // columns, tap % columns], groups)
    total = result.astype(np.int64).astype(np.int32)
    if attrs.string("accumulation") == EXACT:
        return total
    stored = (image + np.float32(zero_point)).astype(np.uint8)
    return np.asarray(total + lost_in_pairs(_windows(attrs, stored, (rows, columns), zero_point), kernel))


def _windows(
    attrs: Attributes, image: Array, size: tuple[int, int], border: int = 0
) -> Callable[[int], Array]:
    """The data under each tap, in row-major order: a function from the tap to (N, OH, OW, C)."""
    top, left, bottom, right = attrs.integers("padding", 4)
    strides, dilation = attrs.integers("strides", 2), attrs.integers("dilation", 2)
    padded = np.pad(image, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=border)
    height = (padded.shape[1] - (size[0] - 1) * dilation[0] - 1) // strides[0] + 1
    width = (padded.shape[2] - (size[1] - 1) * dilation[1] - 1) // strides[1] + 1

    def window(tap: int) -> Array:
        y, x = tap // size[1] * dilation[0], tap % size[1] * dilation[1]
        rows = slice(y, y + strides[0] * (height - 1) + 1, strides[0])
        return padded[:, rows, x : x + strides[1] * (width - 1) + 1 : strides[1]]

    return window


def _accumulation_dtype(image: Array, weights: Array) -> type[np.floating[Any]]:
    taps = int(np.prod(weights.shape[1:]))
    return f4 if taps * _magnitude(image) * _magnitude(weights) < _FLOAT32_EXACT else f8


def _add_tap(result: Array, window: Array, tap: Array, groups: int) -> None:
    """Add one kernel tap (O, C/groups), in place; a depthwise window has O channels already."""
    out_channels, depth = tap.shape
    if depth == 1:
        result += window * tap[:, 0]
        return
    step = out_channels // groups
    for group in range(groups):
        part = window[..., group * depth : (group + 1) * depth].reshape(-1, depth)
        product = part @ tap[group * step : (group + 1) * step].T
        result[..., group * step : (group + 1) * step] += product.reshape(*result.shape[:3], step)


@reference("qnn.conv2d_transpose")
def conv2d_transpose_reference(
    attrs: Attributes,
    data: Array,
    kernel: Array,
    input_zero_point: Array,
    kernel_zero_point: Array,
    input_scale: Array,
    kernel_scale: Array,
) -> Array:
    """Scatter every input element as `conv2d_transpose` states."""
    top, left, _, _ = attrs.integers("padding", 4)
    strides, dilation = attrs.integers("strides", 2), attrs.integers("dilation", 2)
    groups = attrs.integer("groups")
    weights = _centred_kernel(kernel, kernel_zero_point)
    image = shifted(data, input_zero_point)
    batch, height, width, _ = image.shape
    out_channels, rows, columns, depth = weights.shape
    out_height, out_width = transposed_extents(attrs, (height, width))
    full_height = (height - 1) * strides[0] + (rows - 1) * dilation[0] + 1
    full_width = (width - 1) * strides[1] + (columns - 1) * dilation[1] + 1
    canvas = np.zeros(
        (batch, max(full_height, top + out_height), max(full_width, left + out_width), out_channels), np.int64
    )
    step = out_channels // groups
    for row in range(rows):
        for column in range(columns):
            y, x = row * dilation[0], column * dilation[1]
            target = canvas[
                :,
                y : y + strides[0] * (height - 1) + 1 : strides[0],
                x : x + strides[1] * (width - 1) + 1 : strides[1],
            ]
            for group in range(groups):
                part = image[..., group * depth : (group + 1) * depth].reshape(-1, depth)
                tap = weights[group * step : (group + 1) * step, row, column]
                product = exact_matmul(part, tap.T).reshape(batch, height, width, step)
                target[..., group * step : (group + 1) * step] += product
    return canvas[:, top : top + out_height, left : left + out_width].astype(np.int32)
