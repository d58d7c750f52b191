"""Packing of weights and folding of zero points, against the definition."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune_qnn.kernels.anchors.convolved import Convolved, SplitWeights
from autotune_qnn.kernels.geometry import ConvGeometry
from autotune_qnn.kernels.isa import Isa, dot_shape

BASE = ConvGeometry(1, 8, 8, 6, 20, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1))


@pytest.mark.parametrize("isa", list(Isa))
@pytest.mark.parametrize("groups", [1, 2])
def test_pack_puts_every_weight_where_its_byte_is(isa: Isa, groups: int) -> None:
    shape = dot_shape(isa)
    geometry = dataclasses.replace(BASE, groups=groups)
    weights = np.arange(20 * 3 * 3 * (6 // groups)).reshape(20, 3, 3, -1) % 120
    packed = geometry.pack(weights, shape).astype(int)
    steps = geometry.steps(shape)
    packed = packed.reshape(-1, 3, geometry.columns, steps, shape.pair_count, shape.lanes, shape.pair_size)
    outputs = geometry.padded_group_outputs(shape.lanes)
    for channel in (0, 7, 19):
        group, place = divmod(channel, geometry.group_outputs)
        block, lane = divmod(group * outputs + place, shape.lanes)
        row = weights[channel].reshape(3, geometry.columns, -1)
        for byte in range(row.shape[-1]):
            step, inner = divmod(byte, shape.pair_count * shape.pair_size)
            pair, element = divmod(inner, shape.pair_size)
            found = packed[block, :, :, step, pair, lane, element]
            np.testing.assert_array_equal(found, row[:, :, byte])
    assert packed.sum() == weights.sum()


@settings(max_examples=50, deadline=None)
@given(
    zero=st.integers(0, 255),
    data_zero=st.integers(0, 255),
    signed=st.booleans(),
    dtype=st.sampled_from(["int8", "int16"]),
    seed=st.integers(0, 100),
)
def test_split_weights_keep_the_exact_sum(
    zero: int, data_zero: int, signed: bool, dtype: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    low, dtype_of = (-128, np.int8) if signed else (0, np.uint8)
    weights = rng.integers(low, low + 256, (5, 1, 1, 12)).astype(dtype_of)
    zero_point = np.array([0 if signed else zero], np.int32)
    data = rng.integers(0, 256, 12)
    bias = rng.integers(-100, 100, 5)
    terms = Convolved(lambda *_: None, weights, zero_point, data_zero, bias)
    split = SplitWeights.of(terms, dtype)
    total = split.values.astype(int)[:, 0, 0] @ data + terms.folded - split.remaining * data.sum()
    expected = (weights.astype(int)[:, 0, 0] - zero_point) @ (data - data_zero) + bias
    np.testing.assert_array_equal(total, expected)


def test_wide_rows_get_a_tile_that_divides_them() -> None:
    assert dataclasses.replace(BASE, width=37, padding=(0, 1, 0, 1)).computed_width == 40
    assert dataclasses.replace(BASE, width=56).computed_width == 56
    assert dataclasses.replace(BASE, width=7).computed_width == 7


def test_few_channels_are_read_as_runs_of_bytes() -> None:
    few = dataclasses.replace(BASE, channels=3)
    assert (few.rows, few.quads, few.columns, few.padded) == (True, 3, 1, True)
    many = dataclasses.replace(BASE, channels=8)
    assert (many.rows, many.quads, many.columns) == (False, 2, 3)


@pytest.mark.parametrize("channels", [5, 58, 115])
def test_the_last_quad_of_a_pixel_ends_with_its_channels(channels: int) -> None:
    geometry = ConvGeometry(1, 4, 4, channels, 16, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    shape = dot_shape(Isa.AVX512_VNNI)
    weights = np.arange(1, 16 * channels + 1).reshape(16, 1, 1, channels) % 127
    data = np.arange(channels) % 11
    packed = geometry.pack(weights, shape).reshape(geometry.quads, 16, 4).astype(int)
    firsts = [geometry.quad_byte(quad) for quad in range(geometry.quads)]
    assert not geometry.padded
    assert firsts[-1] + 4 == channels
    total = sum(packed[quad] @ data[first : first + 4] for quad, first in enumerate(firsts))
    np.testing.assert_array_equal(total, weights.reshape(16, channels) @ data)
