"""Relax operators of float networks: pooling, convolution, matrix products, nearest resize."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.numeric import Array, f4
from autotune_qnn.dialect.registry import reference
from autotune_qnn.errors import DialectError


def _to_nhwc(x: Array, layout: str, operator: str) -> Array:
    if layout not in ("NHWC", "NCHW"):
        raise DialectError(f"{operator}: layout {layout} has no reference; expected NHWC or NCHW")
    return x if layout == "NHWC" else x.transpose(0, 2, 3, 1)


def _from_nhwc(x: Array, layout: str) -> Array:
    return x if layout == "NHWC" else x.transpose(0, 3, 1, 2)


def _windows(attrs: Attributes, x: Array, fill: Any, size: Sequence[int]) -> list[Array]:
    """The padded NHWC tensor's elements at each place of the window: one (N, OH, OW, C) array a place."""
    strides, dilation = attrs.integers("strides", 2), attrs.integers("dilation", 2)
    top, left, bottom, right = attrs.integers("padding", 4)
    ceil = attrs.flag("ceil_mode")
    extents, beyond = [], []
    for axis, before, after in ((0, top, bottom), (1, left, right)):
        span = x.shape[1 + axis] + before + after - (size[axis] - 1) * dilation[axis] - 1
        extent = (-(-span // strides[axis]) if ceil else span // strides[axis]) + 1
        extents.append(extent)
        beyond.append(max((extent - 1) * strides[axis] - span, 0))
    pairs = ((0, 0), (top, bottom + beyond[0]), (left, right + beyond[1]), (0, 0))
    padded = np.pad(x, pairs, constant_values=fill)
    places = []
    for row in range(size[0]):
        for column in range(size[1]):
            y, x0 = row * dilation[0], column * dilation[1]
            rows = slice(y, y + strides[0] * (extents[0] - 1) + 1, strides[0])
            columns = slice(x0, x0 + strides[1] * (extents[1] - 1) + 1, strides[1])
            places.append(padded[:, rows, columns])
    return places


def _lowest(dtype: np.dtype[Any]) -> Any:
    return -np.inf if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).min


@reference("relax.nn.max_pool2d")
def max_pool2d(attrs: Attributes, data: Array) -> Array:
    """Highest value of each window; padding never wins."""
    x = _to_nhwc(data, attrs.string("layout"), "relax.nn.max_pool2d")
    places = _windows(attrs, x, _lowest(x.dtype), attrs.integers("pool_size", 2))
    result = places[0]
    for place in places[1:]:
        result = np.maximum(result, place)
    return _from_nhwc(result, attrs.string("out_layout"))


@reference("relax.nn.avg_pool2d")
def avg_pool2d(attrs: Attributes, data: Array) -> Array:
    """Mean of each window of floats, over the elements of the image or, as the attribute says, of the padding
    too.
    """
    x = _to_nhwc(data, attrs.string("layout"), "relax.nn.avg_pool2d")
    size = attrs.integers("pool_size", 2)
    total = np.sum(_windows(attrs, x, 0, size), axis=0, dtype=x.dtype)
    ones = np.ones((1, *x.shape[1:3], 1), x.dtype)
    fill = 1 if attrs.flag("count_include_pad") else 0
    counts = np.sum(_windows(attrs, ones, fill, size), axis=0)
    return _from_nhwc((total / counts).astype(x.dtype), attrs.string("out_layout"))


@reference("relax.nn.adaptive_avg_pool2d")
def adaptive_avg_pool2d(attrs: Attributes, data: Array) -> Array:
    """Mean of floats over the windows that divide the image into the given number of parts."""
    x = _to_nhwc(data, attrs.string("layout"), "relax.nn.adaptive_avg_pool2d")
    height, width = attrs.integers("output_size", 2)
    result = np.empty((x.shape[0], height, width, x.shape[3]), x.dtype)
    for row in range(height):
        for column in range(width):
            rows = slice(row * x.shape[1] // height, -(-(row + 1) * x.shape[1] // height))
            columns = slice(column * x.shape[2] // width, -(-(column + 1) * x.shape[2] // width))
            result[:, row, column] = x[:, rows, columns].mean(axis=(1, 2), dtype=x.dtype)
    return _from_nhwc(result, attrs.string("out_layout"))


_KERNEL_ORDERS = {"OHWI": (0, 1, 2, 3), "OIHW": (0, 2, 3, 1), "HWIO": (3, 0, 1, 2), "HWOI": (2, 0, 1, 3)}


@reference("relax.nn.conv2d")
def conv2d(attrs: Attributes, data: Array, kernel: Array) -> Array:
    """Convolution of floats (or integers, exact) in the output's dtype, one product a kernel tap."""
    x = _to_nhwc(data, attrs.string("data_layout"), "relax.nn.conv2d")
    layout = attrs.string("kernel_layout")
    if layout not in _KERNEL_ORDERS:
        raise DialectError(f"relax.nn.conv2d: kernel layout {layout} has no reference")
    weights = kernel.transpose(_KERNEL_ORDERS[layout])
    dtype = _out_dtype(attrs, x)
    weights, x = weights.astype(dtype), x.astype(dtype)
    groups, (channels, rows, columns, depth) = attrs.integer("groups"), weights.shape
    step = channels // groups
    source = {"strides": attrs.value("strides"), "padding": attrs.value("padding"), "ceil_mode": False}
    geometry = Attributes("relax.nn.conv2d", {**source, "dilation": attrs.value("dilation")})
    places = _windows(geometry, x, 0, (rows, columns))
    result = np.zeros((*places[0].shape[:3], channels), dtype)
    for place, window in enumerate(places):
        tap = weights[:, place // columns, place % columns]
        for group in range(groups):
            part = window[..., group * depth : (group + 1) * depth]
            outputs = slice(group * step, (group + 1) * step)
            result[..., outputs] += part @ tap[outputs].T
    return _from_nhwc(result, attrs.string("out_layout"))


@reference("relax.matmul")
def matmul(attrs: Attributes, left: Array, right: Array) -> Array:
    """Matrix product in the output's dtype."""
    dtype = _out_dtype(attrs, left)
    return np.asarray(left.astype(dtype) @ right.astype(dtype))


def _out_dtype(attrs: Attributes, x: Array) -> str:
    name = attrs.value("out_dtype")
    return str(x.dtype) if name in (None, "", "void") else str(name)


_SOURCES: dict[str, Callable[[Array, int, int], Array]] = {
    "asymmetric": lambda places, source, target: places * (f4(source) / f4(target)),
    "half_pixel": lambda places, source, target: (places + f4(0.5)) * (f4(source) / f4(target)) - f4(0.5),
    "align_corners": lambda places, source, target: places * (f4(source - 1) / f4(max(target - 1, 1))),
}


@reference("relax.image.resize2d")
def resize2d(attrs: Attributes, data: Array, size: tuple[int, ...]) -> Array:
    """Nearest-neighbour resize; source coordinates in float32, by the mode and rounding method of the
    attributes.
    """
    if attrs.string("method") != "nearest_neighbor":
        raise DialectError(f"relax.image.resize2d: method {attrs.string('method')} has no reference")
    x = _to_nhwc(data, attrs.string("layout"), "relax.image.resize2d")
    mode, rounding = attrs.string("coordinate_transformation_mode"), attrs.string("rounding_method")
    if mode not in _SOURCES:
        raise DialectError(f"relax.image.resize2d: coordinate_transformation_mode {mode!r} has no reference")
    rows, columns = (
        _nearest(_SOURCES[mode](np.arange(target).astype(f4), source, target), rounding, source)
        for source, target in zip(x.shape[1:3], size, strict=True)
    )
    return _from_nhwc(x[:, rows][:, :, columns], attrs.string("layout"))


def _nearest(places: Array, rounding: str, source: int) -> Array:
    if rounding == "floor":
        places = np.floor(places + f4(1e-5))  # Relax's own guard against a coordinate just below an integer
    elif rounding == "ceil":
        places = np.ceil(places - f4(1e-5))
    elif rounding in ("", "round", "round_prefer_ceil"):
        places = np.floor(places + f4(0.5))
    elif rounding == "round_prefer_floor":
        places = np.ceil(places - f4(0.5))
    else:
        raise DialectError(f"relax.image.resize2d: rounding_method {rounding!r} has no reference")
    return np.clip(places.astype(np.int64), 0, source - 1)
