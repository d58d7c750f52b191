"""Where a tensor's dimensions are: every value of an imported network is stored in an order of its own choice, and
most operators that only move dimensions change nothing but that order.

A stored order lists, for each axis of the stored tensor, the dimension of PyTorch's tensor that it holds. Convolutions
and pooling store their results channels last; the order changes, by one transposition, only where an operator needs
another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Order = tuple[int, ...]
Expr = Any
"""A Relax expression (tvm carries no types)."""


@dataclass(frozen=True, slots=True)
class Value:
    """A Relax expression and the order in which it stores PyTorch's dimensions."""

    expr: Expr
    order: Order


def in_order(rank: int) -> Order:
    """PyTorch's own order of dimensions."""
    return tuple(range(rank))


def channels_last(rank: int) -> Order:
    """Dimension 1 at the end: NHWC, NLC; tensors of fewer than three dimensions stay as they are."""
    return (0, *range(2, rank), 1) if rank > 2 else in_order(rank)


def stored_shape(shape: Sequence[int], order: Order) -> tuple[int, ...]:
    """The extents of the stored tensor."""
    return tuple(shape[axis] for axis in order)


def significant(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """The order without dimensions of one element, which lie anywhere."""
    return tuple(axis for axis in order if shape[axis] != 1)


def same_memory(shape: Sequence[int], first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two orders store a tensor of this shape identically."""
    return significant(shape, first) == significant(shape, second)


def permuted(order: Order, dims: Sequence[int]) -> Order:
    """The order after PyTorch's permute(dims), with nothing moved."""
    return tuple(list(dims).index(axis) for axis in order)


def with_units(shape: Sequence[int], wanted: Sequence[int]) -> Order:
    """A whole order from one of a tensor's dimensions of more than one element; the common orders come first."""
    rank = len(shape)
    for candidate in (channels_last(rank), in_order(rank)):
        if significant(shape, candidate) == tuple(wanted):
            return candidate
    return (*(axis for axis in range(rank) if shape[axis] == 1), *wanted)


def _groups(source: Sequence[int], target: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Runs of dimensions (of more than one element) of both shapes with equal products, as short as can be."""
    left = [axis for axis, extent in enumerate(source) if extent != 1]
    right = [axis for axis, extent in enumerate(target) if extent != 1]
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(left) and j < len(right):
        taken, made = [left[i]], [right[j]]
        have, want = source[left[i]], target[right[j]]
        i, j = i + 1, j + 1
        while have != want:
            if have < want:
                taken.append(left[i])
                have *= source[left[i]]
                i += 1
            else:
                made.append(right[j])
                want *= target[right[j]]
                j += 1
        groups.append((taken, made))
    return groups


def reshaped(source: Sequence[int], order: Order, target: Sequence[int]) -> tuple[Order, Order]:
    """How to reshape a stored tensor: the order that it must have before, and the one that it has afterwards.

    PyTorch's shape goes from `source` to `target` (of equal sizes, without empty dimensions). Dimensions that are
    merged have to lie side by side in their order; the others stay where they are.
    """
    if math.prod(source) != math.prod(target) or 0 in source:
        raise ValueError(f"shape {tuple(source)} cannot become {tuple(target)}")
    home = {axis: group for group in _groups(source, target) for axis in group[0]}
    before: list[int] = []
    after: list[int] = []
    for axis in order:
        if source[axis] == 1:
            before.append(axis)
        elif axis not in before:
            taken, made = home[axis]
            before.extend(taken)
            after.extend(made)
    return tuple(before), with_units(target, after)
