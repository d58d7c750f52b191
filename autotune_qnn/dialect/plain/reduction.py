"""Relax operators that reduce dimensions, and softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.numeric import Array
from autotune_qnn.dialect.registry import reference

_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
    "variance": np.var,
}


def _register(name: str, function: Callable[..., Any]) -> None:
    @reference(f"relax.{name}")
    def reduce(attrs: Attributes, x: Array) -> Array:
        result = function(x, axis=attrs.value("axis"), keepdims=attrs.flag("keepdims"))
        return np.asarray(result).astype(x.dtype)


for _name, _function in _REDUCTIONS.items():
    _register(_name, _function)


def _first_extreme(find: Callable[..., Any], attrs: Attributes, x: Array) -> Array:
    axis = attrs.value("axis")
    keepdims = attrs.flag("keepdims")
    return np.asarray(find(x, axis=axis, keepdims=keepdims)).astype(np.int64)


@reference("relax.argmax")
def argmax(attrs: Attributes, x: Array) -> Array:
    """Index of the first highest value, int64."""
    return _first_extreme(np.argmax, attrs, x)


@reference("relax.argmin")
def argmin(attrs: Attributes, x: Array) -> Array:
    """Index of the first lowest value, int64."""
    return _first_extreme(np.argmin, attrs, x)


@reference("relax.nn.softmax")
def softmax(attrs: Attributes, x: Array) -> Array:
    """exp(x − max) over its sum, along the axis."""
    axis = attrs.integer("axis")
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


@reference("relax.nn.log_softmax")
def log_softmax(attrs: Attributes, x: Array) -> Array:
    """x − max − log of the sum of exp(x − max), along the axis."""
    axis = attrs.integer("axis")
    centred = x - x.max(axis=axis, keepdims=True)
    return np.asarray(centred - np.log(np.exp(centred).sum(axis=axis, keepdims=True)))


@reference("relax.cumsum")
def cumsum(attrs: Attributes, x: Array) -> Array:
    """Running sum along the axis, in the operand's dtype."""
    axis = attrs.value("axis")
    total = np.cumsum(x, axis=axis, dtype=x.dtype)
    return np.asarray(total - x.reshape(total.shape) if attrs.flag("exclusive") else total)
