"""Where the channels of a tensor come from that was reshaped, transposed and cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from autotune_qnn.dialect.reference import evaluate_call

RESHAPES = frozenset({"relax.reshape", "relax.permute_dims"})
"""Operators that put all elements elsewhere."""

SLICE = "relax.strided_slice"
"""The operator that leaves some elements out."""


def _static(expression: Any) -> tuple[int, ...]:
    """A constant shape or tuple of integers."""
    values = expression.values if isinstance(expression, relax.ShapeExpr) else expression.fields
    return tuple(int(getattr(value, "value", value)) for value in values)


def channel_sources(calls: Sequence[Any]) -> NDArray[np.int64] | None:
    """For each channel of the last call's result, the channel of the first call's operand that it copies.

    Each call takes the one before it. None where more than channels moves, or the result is no image of its own.
    """
    before = tuple(int(extent) for extent in calls[0].args[0].ty.shape)
    places: Any = np.arange(int(np.prod(before))).reshape(before)
    for call in calls:
        places = evaluate_call(call, [places, *map(_static, call.args[1:])])
    if places.shape[:-1] != before[:-1]:
        return None
    pixels = np.arange(int(np.prod(before[:-1]))).reshape(*before[:-1], 1) * before[-1]
    sources = places - pixels
    row = sources.reshape(-1, sources.shape[-1])[0]
    inside = ((row >= 0) & (row < before[-1])).all()
    return np.asarray(row, np.int64) if inside and (sources == row).all() else None
