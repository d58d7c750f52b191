"""The arithmetic of integer Winograd convolutions, and when they are used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_qnn.engines.relax import TargetSpec, lower
from autotune_qnn.kernels.geometry import ConvGeometry
from autotune_qnn.kernels.isa import Isa, dot_shape
from autotune_qnn.kernels.winograd import (
    INVERSE,
    ODD,
    SHIFT,
    WEIGHTS,
    WinogradGeometry,
    middles,
    narrow,
    transformed,
)
from tests.support.networks import ConvCase

DATA = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
OUTPUTS = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
SCALES = np.array([1, -4, -4, 1, 1, 4])
"""The algorithm as matrices; kernels have the same as sums with shared parts."""
VNNI = dot_shape(Isa.AVX512_VNNI)


PLAIN = ConvGeometry(1, 28, 28, 64, 64, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1))


@given(st.integers(0, 2**32 - 1), st.sampled_from([(0, 255, -128, 127), (255, 255, -255, 255)]))
def test_576_times_the_convolution(seed: int, bounds: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    data = rng.integers(bounds[0], bounds[1] + 1, (6, 6))
    kernel = rng.integers(bounds[2], bounds[3] + 1, (3, 3))
    points, weights = DATA @ data @ DATA.T, WEIGHTS @ kernel @ WEIGHTS.T
    assert max(abs(points).max(), abs(weights).max()) < 1 << 15
    scaled = OUTPUTS * SCALES
    result = scaled @ (points * weights) @ scaled.T
    windows = np.lib.stride_tricks.sliding_window_view(data, (3, 3))
    np.testing.assert_array_equal(result, ODD * 2**SHIFT * np.einsum("yxij,ij->yx", windows, kernel))


@given(st.integers(-(1 << 25), (1 << 25) - 1))
def test_results_come_back_from_what_has_wrapped_around(value: int) -> None:
    wrapped = value * ODD * 2**SHIFT * INVERSE % (1 << 32)
    assert (wrapped - (1 << 32 if wrapped >> 31 else 0)) >> SHIFT == value


def test_packed_weights() -> None:
    weights = np.random.default_rng(0).integers(-128, 128, (32, 3, 3, 16)).astype(np.int32)
    packed = transformed(weights, 16)
    assert packed.shape == (6, 6, 2, 8, 16, 2)
    expected = WEIGHTS @ weights[19, :, :, 5] @ WEIGHTS.T
    np.testing.assert_array_equal(packed[:, :, 1, 2, 3, 1], expected)
    plain = narrow(weights, 16)
    assert plain.dtype == np.int8
    np.testing.assert_array_equal(plain[:, :, 1, 2, 3, 1], weights[19, :, :, 5])
    assert narrow(weights * 2, 16).dtype == np.int16


def test_spans_that_do_not_fit() -> None:
    weights = np.full((2, 3, 3, 16), 127, np.int32)
    middle = middles(weights)
    assert middle is not None
    np.testing.assert_array_equal(middle, np.full(2, 144 * 127 * 255 // 2))
    assert middles(np.full((1, 3, 3, 224), 127, np.int32)) is not None
    assert middles(np.full((1, 3, 3, 256), 127, np.int32)) is None
    assert middles(np.concatenate([weights[:1], -weights[:1]])) is not None


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAIN, kernel=(5, 5)),
        replace(PLAIN, strides=(2, 2)),
        replace(PLAIN, dilation=(2, 2)),
        replace(PLAIN, channels=24),
        replace(PLAIN, height=1, width=1),
        replace(PLAIN, groups=2),
    ],
    ids=str,
)
def test_where_it_does_not_apply(other: ConvGeometry) -> None:
    assert WinogradGeometry.of(PLAIN, VNNI) is not None
    assert WinogradGeometry.of(other, VNNI) is None
    assert WinogradGeometry.of(PLAIN, dot_shape(Isa.AMX_INT8)) is None
    assert WinogradGeometry.of(PLAIN, dot_shape(Isa.GENERIC)) is None


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (ConvCase(28, 28, 64, 64, 3, 1, 1), "winograd"),
        (ConvCase(14, 14, 256, 256, 3, 1, 1), "winograd"),
        (ConvCase(7, 7, 512, 64, 3, 1, 1), "conv2d"),
        (ConvCase(28, 28, 64, 64, 3, 2, 1), "conv2d"),
    ],
    ids=str,
)
def test_choice(case: ConvCase, name: str) -> None:
    (task,) = lower(case.module(), TargetSpec.parse("llvm -mcpu=cascadelake"), 1).tasks
    template = task.template()
    assert template is not None
    assert template.name == name
