"""Relax operators that move elements without computing with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.numeric import Array
from autotune_qnn.dialect.registry import reference
from autotune_qnn.errors import DialectError

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@reference("relax.reshape")
def reshape(_attrs: Attributes, x: Array, shape: tuple[int, ...]) -> Array:
    """The same elements in another shape."""
    return x.reshape(shape)


@reference("relax.flatten")
def flatten(_attrs: Attributes, x: Array) -> Array:
    """All elements in one dimension."""
    return x.reshape(-1)


@reference("relax.nn.batch_flatten")
def batch_flatten(_attrs: Attributes, x: Array) -> Array:
    """All dimensions but the first in one."""
    return x.reshape(x.shape[0], -1)


@reference("relax.permute_dims")
def permute_dims(attrs: Attributes, x: Array) -> Array:
    """Dimensions in another order; reversed where none is given."""
    return np.transpose(x, attrs.value("axes"))


@reference("relax.split")
def split(attrs: Attributes, x: Array) -> tuple[Array, ...]:
    """Parts along the axis: a number of equal ones, or cut at indices."""
    sections = attrs.value("indices_or_sections")
    axis = attrs.integer("axis")
    if isinstance(sections, int):
        step = -(-x.shape[axis] // sections)
        sections = tuple(step * part for part in range(1, sections))
    return tuple(np.split(x, list(sections), axis))


@reference("relax.strided_slice")
def strided_slice(
    _attrs: Attributes,
    x: Array,
    axes: tuple[int, ...],
    begin: tuple[int, ...],
    end: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
) -> Array:
    """x[begin:end:stride] on the given axes, bounds as Python clips them."""
    window: list[Any] = [slice(None)] * x.ndim
    for place, axis in enumerate(axes):
        window[axis] = slice(begin[place], end[place], strides[place] if strides else 1)
    return x[tuple(window)]


@reference("relax.take")
def take(attrs: Attributes, x: Array, indices: Array | int) -> Array:
    """Elements of an axis by index."""
    axis = attrs.value("axis")
    array = x.reshape(-1) if axis is None else x
    axis = 0 if axis is None else int(axis)
    places = np.asarray(indices)
    if attrs.string("mode") == "clip":
        places = np.clip(places, 0, array.shape[axis] - 1)
    elif attrs.string("mode") == "wrap":
        places = np.mod(places, array.shape[axis])
    return np.asarray(np.take(array, places, axis))


@reference("relax.gather_elements")
def gather_elements(attrs: Attributes, x: Array, indices: Array) -> Array:
    """One element per index along the axis."""
    return np.take_along_axis(x, indices, attrs.integer("axis"))


@reference("relax.concat")
def concat(attrs: Attributes, tensors: tuple[Array, ...]) -> Array:
    """Tensors joined along the axis."""
    axis = attrs.value("axis")
    return np.concatenate(tensors, axis=axis)


@reference("relax.stack")
def stack(attrs: Attributes, tensors: tuple[Array, ...]) -> Array:
    """Tensors joined along a new axis."""
    axis = attrs.value("axis")
    return np.stack(tensors, axis=0 if axis is None else axis)


@reference("relax.squeeze")
def squeeze(attrs: Attributes, x: Array) -> Array:
    """Without the given dimensions of extent one, or without any."""
    return np.squeeze(x, attrs.value("axis"))


@reference("relax.expand_dims")
def expand_dims(attrs: Attributes, x: Array) -> Array:
    """With new dimensions of extent one."""
    return np.expand_dims(x, attrs.value("axis"))


@reference("relax.broadcast_to")
def broadcast_to(_attrs: Attributes, x: Array, shape: tuple[int, ...]) -> Array:
    """Repeated to a larger shape."""
    return np.broadcast_to(x, shape).copy()


@reference("relax.repeat")
def repeat(attrs: Attributes, x: Array) -> Array:
    """Every element repeated along the axis."""
    return np.repeat(x, attrs.integer("repeats"), attrs.value("axis"))


@reference("relax.tile")
def tile(attrs: Attributes, x: Array) -> Array:
    """The whole tensor repeated."""
    return np.tile(x, attrs.integers("repeats"))


@reference("relax.flip")
def flip(attrs: Attributes, x: Array) -> Array:
    """Reversed along the axis."""
    return np.flip(x, attrs.integer("axis"))


@reference("relax.nn.pad")
def pad(attrs: Attributes, x: Array) -> Array:
    """Extended on both sides of every dimension, by a value or from the tensor itself."""
    widths = attrs.integers("pad_width")
    mode = attrs.string("pad_mode")
    if mode not in _PAD_MODES:
        raise DialectError(f"relax.nn.pad: pad_mode {mode!r} is not known")
    pairs = list(zip(widths[0::2], widths[1::2], strict=True))
    if mode == "constant":
        return np.pad(x, pairs, constant_values=x.dtype.type(attrs.number("pad_value")))
    return np.pad(x, pairs, mode=_PAD_MODES[mode])  # type: ignore[call-overload]
