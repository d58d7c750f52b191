"""Stored orders of dimensions, and the walk of PyTorch's elementwise loops. Needs no PyTorch."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_qnn.frontends.pytorch.graph import TensorMeta
from autotune_qnn.frontends.pytorch.layout import (
    channels_last,
    in_order,
    permuted,
    reshaped,
    same_memory,
    stored_shape,
)
from autotune_qnn.frontends.pytorch.place import Walk, walk


def meta(shape: tuple[int, ...], order: tuple[int, ...] | None = None) -> TensorMeta:
    """A dense tensor whose memory holds the dimensions in `order`."""
    strides = [0] * len(shape)
    step = 1
    for axis in reversed(order or in_order(len(shape))):
        strides[axis] = step
        step *= shape[axis]
    return TensorMeta(shape, tuple(strides), "uint8", 1.0, 0)


NHWC = channels_last(4)


def test_common_orders() -> None:
    assert channels_last(4) == (0, 2, 3, 1)
    assert channels_last(3) == (0, 2, 1)
    assert channels_last(2) == (0, 1)
    assert permuted(NHWC, (0, 2, 3, 1)) == (0, 1, 2, 3)
    assert same_memory((1, 24, 1, 1), NHWC, in_order(4))
    assert not same_memory((1, 24, 2, 1), NHWC, in_order(4))


@pytest.mark.parametrize(
    ("source", "order", "target", "before", "after"),
    [
        # A pooled image becomes a vector without moving.
        ((1, 24, 1, 1), NHWC, (1, 24), NHWC, (0, 1)),
        # Channels are split where they are, and stay behind the pixels.
        ((2, 24, 5, 6), NHWC, (2, 4, 6, 5, 6), NHWC, (0, 3, 4, 1, 2)),
        # Shuffled channels are merged: only they move.
        ((2, 6, 4, 5, 6), (0, 3, 4, 2, 1), (2, 24, 5, 6), (0, 3, 4, 1, 2), NHWC),
        # A flattened image has to be in PyTorch's order.
        ((2, 24, 5, 6), NHWC, (2, 720), (0, 1, 2, 3), (0, 1)),
        # New dimensions of one element lie anywhere.
        ((2, 24), (0, 1), (2, 24, 1, 1), (0, 1), NHWC),
    ],
)
def test_reshape_moves_little(
    source: tuple[int, ...],
    order: tuple[int, ...],
    target: tuple[int, ...],
    before: tuple[int, ...],
    after: tuple[int, ...],
) -> None:
    assert reshaped(source, order, target) == (before, after)


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """A shape, an order of its dimensions, and another shape of as many elements."""
    factors = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=6))

    def grouped() -> tuple[int, ...]:
        cuts = sorted(draw(st.sets(st.integers(1, len(factors) - 1)))) if len(factors) > 1 else []
        edges = [0, *cuts, len(factors)]
        return tuple(math.prod(factors[a:b]) for a, b in itertools.pairwise(edges))

    source, target = grouped(), grouped()
    return source, tuple(draw(st.permutations(range(len(source))))), target


@given(reshapes())
def test_reshape_keeps_elements(case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]) -> None:
    source, order, target = case
    before, after = reshaped(source, order, target)
    assert sorted(before) == list(range(len(source)))
    data = np.arange(math.prod(source)).reshape(source)
    stored = data.transpose(before).reshape(stored_shape(target, after))
    np.testing.assert_array_equal(stored, data.reshape(target).transpose(after))


def test_impossible_reshape() -> None:
    with pytest.raises(ValueError, match="cannot become"):
        reshaped((2, 3), (0, 1), (5,))


def test_walks() -> None:
    shape = (2, 70, 3, 5)
    last, first = meta(shape, NHWC), meta(shape)
    assert walk(last, last, last) == Walk((0, 2, 3, 1), 2100, 1, True)
    assert walk(first, first) == Walk((0, 1, 2, 3), 2100, 1, True)
    # Orders that differ leave no run that is contiguous in all.
    assert not walk(last, first).vectorized
    # Some of the channels of a channels-last tensor: a run a pixel.
    wide = meta((2, 90, 3, 5), NHWC)
    part = TensorMeta(shape, wide.strides, "uint8", 1.0, 0)
    assert walk(last, part) == Walk((0, 2, 3, 1), 70, 30, True)
    # Broadcast over pixels: a run a pixel again; over channels: one operand repeats one element.
    vector = meta((2, 70, 1, 1), NHWC)
    assert walk(last, last, vector) == Walk((0, 2, 3, 1), 70, 30, True)
    plane = meta((2, 1, 3, 5))
    assert walk(last, last, plane) == Walk((0, 2, 3, 1), 70, 30, True)
    assert walk(meta((1, 1)), meta((1, 1))) == Walk((), 1, 1, True)


def test_memory_formats() -> None:
    image = (2, 8, 3, 3)
    assert meta(image, NHWC).channels_last
    assert not meta(image, NHWC).contiguous
    assert meta(image).contiguous
    assert not meta(image).channels_last
    pixel = meta((2, 8, 1, 1))
    assert pixel.channels_last
    assert pixel.contiguous
    assert not meta((2, 8, 9)).channels_last
