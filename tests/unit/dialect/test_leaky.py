from __future__ import annotations

from typing import Any

import numpy as np

from autotune_qnn import dialect
from tests.support.dialect import evaluate, scale, zero

XNNPACK = {"rounding": "UPWARD", "compute_dtype": "int32"}
TFLITE = {"rounding": "TFLITE", "compute_dtype": "int64"}


def _leaky(
    data: Any, alpha: float, si: float = 1, zi: int = 0, so: float = 1, zo: int = 0, **attrs: Any
) -> Any:
    return evaluate(
        lambda x: dialect.leaky_relu(x, scale(si), zero(zi), scale(so), zero(zo), alpha=alpha, **attrs),
        np.array(data, np.int8),
    ).tolist()


def test_leaky_relu_rounds_negative_ties_up_or_away() -> None:
    assert _leaky([2, -2, -6, 0], 0.25, **XNNPACK) == [2, 0, -1, 0]
    assert _leaky([2, -2, -6, 0], 0.25, **TFLITE) == [2, -1, -2, 0]


def test_leaky_relu_rescales_and_saturates() -> None:
    for attrs in (XNNPACK, TFLITE):
        assert _leaky([12, 2, -38], 0.5, si=0.5, zi=2, so=0.25, zo=1, **attrs) == [21, 1, -39]
        assert _leaky([127, -128], 1.0, si=4, so=1, **attrs) == [127, -128]


def test_leaky_relu_with_a_negative_slope() -> None:
    for attrs in (XNNPACK, TFLITE):
        assert _leaky([4, -4], -0.5, **attrs) == [4, 2]


def _prelu(data: Any, alpha: Any, scales: Any = (1, 1, 1), zeros: Any = (0, 0, 0)) -> Any:
    slopes = dialect.constant(np.array(alpha, np.int8))
    (si, sa, so), (zi, za, zo) = scales, zeros
    return evaluate(
        lambda x: dialect.prelu(
            x, slopes, scale(si), zero(zi), scale(sa), zero(za), scale(so), zero(zo), **TFLITE
        ),
        np.array(data, np.int8),
    ).tolist()


def test_prelu_has_a_slope_per_channel() -> None:
    assert _prelu([[4, 4], [-4, -4]], [1, 2]) == [[4, 4], [-4, -8]]
    assert _prelu([[-4, -4]], [3, 5], zeros=(0, 1, 10)) == [[2, -6]]


def test_prelu_rounds_away_and_saturates() -> None:
    assert _prelu([-1, -3, 100], [1, 1, 1], scales=(1, 0.25, 1)) == [0, -1, 100]
    assert _prelu([-2, -6], [1, 1], scales=(1, 0.25, 1)) == [-1, -2]
    assert _prelu([-100, 100], [100, 1]) == [-128, 100]
