from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from tests.support.dialect import evaluate, scale, zero


def _concatenate(
    parts: list[Any],
    scales: list[float],
    zeros: list[int],
    so: float,
    zo: int,
    axis: int,
    dtype: str = "uint8",
) -> Any:
    return evaluate(
        lambda *x: dialect.concatenate(
            relax.Tuple(list(x)),
            relax.Tuple([scale(value) for value in scales]),
            relax.Tuple([zero(value) for value in zeros]),
            scale(so),
            zero(zo),
            axis=axis,
        ),
        *(np.array(part, dtype) for part in parts),
    ).tolist()


def test_equal_parameters_copy() -> None:
    assert _concatenate([[1, 255], [7]], [0.1, 0.1], [3, 3], 0.1, 3, 0) == [1, 255, 7]


def test_other_scales_round_away() -> None:
    got = _concatenate([[1, 3, 5], [1, 3, 5]], [1, 2], [0, 0], 2, 0, -1)
    assert got == [1, 2, 3, 1, 3, 5]
    got = _concatenate([[-1, -3], [4, 5]], [1, 2], [0, 0], 2, 0, 0, dtype="int8")
    assert got == [-1, -2, 4, 5]


def test_another_zero_point_moves_and_saturates() -> None:
    assert _concatenate([[0, 10, 250]], [1], [5], 1, 15, 0) == [10, 20, 255]
    assert _concatenate([[0, 10, 250]], [4], [5], 1, 0, 0) == [0, 20, 255]


def test_axis() -> None:
    got = _concatenate([[[1], [2]], [[3, 4], [5, 6]]], [1, 1], [0, 0], 1, 0, 1)
    assert got == [[1, 3, 4], [2, 5, 6]]


def test_almost_equal_scales_are_not_equal() -> None:
    near = float(np.nextafter(np.float32(1e6), np.float32(2e6)))
    # Copying would keep 255; the exact comparison rescales it, and a ratio above one saturates all the same.
    assert _concatenate([[255]], [1e6], [0], near, 1, 0) == [255]
    assert _concatenate([[100]], [1e6], [0], near, 1, 0) == [101]
