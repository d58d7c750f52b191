from __future__ import annotations

from typing import Any

import numpy as np

from autotune_qnn import dialect
from tests.support.dialect import evaluate, scale, zero


def _dense(data: Any, weight: Any, zi: int = 0, zw: Any = 0) -> Any:
    weight = np.asarray(weight)
    constant = dialect.constant(weight)
    return evaluate(
        lambda x: dialect.dense(x, constant, zero(zi), zero(zw), scale(1), scale(1), units=weight.shape[0]),
        np.asarray(data),
    )


def test_dense_subtracts_zero_points() -> None:
    data = np.array([[1, 2], [3, 4]], np.uint8)
    weight = np.array([[1, 10], [2, -3], [0, 1]], np.int8)
    result = _dense(data, weight, zi=1)
    assert result.dtype == np.int32
    assert result.tolist() == [[10, -3, 1], [32, -5, 3]]
    assert _dense(data, weight, zi=1, zw=[1, 0, 0]).tolist() == [[9, -3, 1], [27, -5, 3]]


def test_dense_keeps_leading_dimensions() -> None:
    data = np.arange(12, dtype=np.int8).reshape(2, 3, 2)
    weight = np.array([[1, 1]], np.int8)
    assert _dense(data, weight).tolist() == [[[1], [5], [9]], [[13], [17], [21]]]


def test_dense_is_exact_beyond_float32() -> None:
    data = np.full((1, 2000), -128, np.int8)
    weight = np.full((1, 2000), -127, np.int8)
    weight[0, 0] = -126
    assert _dense(data, weight).tolist() == [[128 * 127 * 2000 - 128]]


def _batch_matmul(x: Any, y: Any, zx: int = 0, zy: int = 0) -> Any:
    return evaluate(
        lambda a, b: dialect.batch_matmul(a, b, zero(zx), zero(zy), scale(1), scale(1)),
        np.asarray(x),
        np.asarray(y),
    )


def test_batch_matmul_transposes_the_second() -> None:
    x = np.array([[[1, 2]], [[3, 4]]], np.uint8)
    y = np.array([[[1, 10], [0, 1]], [[2, 0], [1, 1]]], np.int8)
    assert _batch_matmul(x, y).tolist() == [[[21, 2]], [[6, 7]]]
    assert _batch_matmul(x, y, zx=1, zy=1).tolist() == [[[9, 0]], [[-1, 0]]]


def test_batch_matmul_broadcasts_a_batch_of_one() -> None:
    x = np.array([[[1, 2]]], np.int8)
    y = np.array([[[1, 0]], [[0, 1]]], np.int8)
    assert _batch_matmul(x, y).tolist() == [[[1]], [[2]]]
