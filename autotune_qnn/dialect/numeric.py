"""Small NumPy helpers that the operators' references share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from autotune_qnn.errors import DialectError

Array = npt.NDArray[Any]

f4 = np.float32
f8 = np.float64


def scalar(values: Array) -> Any:
    """The one element of an array, as a NumPy scalar of its dtype."""
    return values.reshape(-1)[0]


def integer(values: Array) -> int:
    """The one element of an integer array."""
    return int(values.reshape(-1)[0])


def along(parameter: Array, axis: int, rank: int) -> Array:
    """A parameter of shape () or (C,) reshaped so that it broadcasts along `axis` of `rank` dimensions."""
    if parameter.size == 1:
        return parameter.reshape(())
    shape = [1] * rank
    shape[axis] = parameter.size
    return parameter.reshape(shape)


def shifted(data: Array, zero_point: Array, axis: int = -1) -> npt.NDArray[np.int64]:
    """data − zero_point as int64, the zero point along `axis` where it is per channel."""
    return np.asarray(data.astype(np.int64) - along(zero_point.astype(np.int64), axis, data.ndim), np.int64)


def body_mask(shape: tuple[int, ...], block: int, axis: int | None) -> npt.NDArray[np.bool_]:
    """True where an element lies in a whole block of `block`: by its place along `axis`, or flat where that
    is None.
    """
    if axis is None:
        size = int(np.prod(shape, dtype=np.int64))
        return (np.arange(size) < size // block * block).reshape(shape)
    extent = shape[axis]
    return along(np.arange(extent) < extent // block * block, axis, len(shape)) & np.ones(shape, bool)


def in_blocks(body: Array, tail: Array, block: int, axis: int | None) -> Array:
    """`body` in whole blocks of `block` elements, `tail` in the rest (see `body_mask`)."""
    return np.asarray(np.where(body_mask(body.shape, block, axis), body, tail))


def require_equal(operator: str, first: Array, second: Array, what: str) -> None:
    """DialectError where two parameters that an operator needs equal differ."""
    if not np.array_equal(first, second):
        raise DialectError(f"{operator}: {what} must be equal, not {first.tolist()} and {second.tolist()}")
