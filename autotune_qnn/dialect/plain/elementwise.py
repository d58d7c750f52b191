"""Elementwise Relax operators in NumPy, in the dtype of their operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.libm import erff
from autotune_qnn.dialect.numeric import Array
from autotune_qnn.dialect.registry import reference


def _divide(left: Array, right: Array) -> Array:
    """Quotient; of integers truncated toward zero, as Relax lowers it."""
    if np.issubdtype(left.dtype, np.floating):
        return np.asarray(left / right)
    quotient = np.abs(left.astype(np.int64)) // np.abs(right.astype(np.int64))
    return np.asarray(np.sign(left).astype(np.int64) * np.sign(right).astype(np.int64) * quotient)


def _sigmoid(x: Array) -> Array:
    one = x.dtype.type(1)
    return np.asarray(one / (one + np.exp(-x)))


def _rsqrt(x: Array) -> Array:
    return np.asarray(x.dtype.type(1) / np.sqrt(x))


def _relu(x: Array) -> Array:
    return np.maximum(x, x.dtype.type(0))


def _silu(x: Array) -> Array:
    return x * _sigmoid(x)


def _erf(x: Array) -> Array:
    return erff(x.astype(np.float32)).astype(x.dtype)


_BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": _divide,
    "floor_divide": np.floor_divide,
    "floor_mod": np.mod,
    "power": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "left_shift": np.left_shift,
    "right_shift": np.right_shift,
    "squared_difference": lambda left, right: np.square(left - right),
}
_COMPARISONS: dict[str, Callable[[Array, Array], Array]] = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}
_UNARY: dict[str, Callable[[Array], Array]] = {
    "abs": np.abs,
    "negative": np.negative,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": _rsqrt,
    "square": np.square,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "erf": _erf,
    "sin": np.sin,
    "cos": np.cos,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "sign": np.sign,
    "bitwise_not": np.bitwise_not,
    "nn.relu": _relu,
    "nn.silu": _silu,
}


def _register_binary(name: str, function: Callable[[Array, Array], Array]) -> None:
    @reference(f"relax.{name}")
    def binary(_attrs: Attributes, left: Array, right: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(function(left, right)).astype(left.dtype)


def _register_comparison(name: str, function: Callable[[Array, Array], Array]) -> None:
    @reference(f"relax.{name}")
    def comparison(_attrs: Attributes, left: Array, right: Array) -> Array:
        return np.asarray(function(left, right), np.bool_)


def _register_unary(name: str, function: Callable[[Array], Array]) -> None:
    @reference(f"relax.{name}")
    def unary(_attrs: Attributes, x: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(function(x)).astype(x.dtype)


for _name, _binary in _BINARY.items():
    _register_binary(_name, _binary)
for _name, _comparison in _COMPARISONS.items():
    _register_comparison(_name, _comparison)
for _name, _unary in _UNARY.items():
    _register_unary(_name, _unary)


@reference("relax.logical_not")
def logical_not(_attrs: Attributes, x: Array) -> Array:
    """Negation of booleans."""
    return np.logical_not(x)


@reference("relax.clip")
def clip(_attrs: Attributes, x: Array, low: float, high: float) -> Array:
    """x between two numbers, in its own dtype; bounds of an integer tensor are integers."""
    if np.issubdtype(x.dtype, np.integer):
        return np.clip(x.astype(np.int64), int(low), int(high)).astype(x.dtype)
    return np.clip(x, x.dtype.type(low), x.dtype.type(high))


@reference("relax.nn.leakyrelu")
def leakyrelu(attrs: Attributes, x: Array) -> Array:
    """x above zero, alpha·x elsewhere."""
    return np.where(x > 0, x, x * x.dtype.type(attrs.number("alpha")))


@reference("relax.nn.prelu")
def prelu(attrs: Attributes, x: Array, alpha: Array) -> Array:
    """x above zero, alpha·x elsewhere, alpha of one dimension along the axis."""
    shape = [1] * x.ndim
    shape[attrs.integer("axis")] = alpha.size
    return np.where(x > 0, x, x * alpha.reshape(shape))


@reference("relax.where")
def where(_attrs: Attributes, condition: Array, left: Array, right: Array) -> Array:
    """left where the condition holds, right elsewhere."""
    return np.where(condition, left, right)


@reference("relax.astype")
def astype(attrs: Attributes, x: Array) -> Array:
    """x in another dtype; floats truncate toward zero, integers wrap."""
    with np.errstate(invalid="ignore"):
        return x.astype(_dtype(attrs))


@reference("relax.full")
def full(attrs: Attributes, shape: tuple[int, ...], value: Array) -> Array:
    """A tensor of one value."""
    return np.full(shape, value.reshape(-1)[0], _dtype(attrs))


@reference("relax.zeros")
def zeros(attrs: Attributes, shape: tuple[int, ...]) -> Array:
    """A tensor of zeros."""
    return np.zeros(shape, _dtype(attrs))


@reference("relax.ones")
def ones(attrs: Attributes, shape: tuple[int, ...]) -> Array:
    """A tensor of ones."""
    return np.ones(shape, _dtype(attrs))


@reference("relax.arange")
def arange(attrs: Attributes, start: Any, end: Any, step: Any) -> Array:
    """Evenly spaced values from start to before end."""
    return np.arange(start, end, step).astype(_dtype(attrs))


def _dtype(attrs: Attributes) -> str:
    name = str(attrs.value("dtype"))
    return "bool" if name == "bool" else name
