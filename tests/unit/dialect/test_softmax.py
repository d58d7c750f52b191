from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotune_qnn import dialect
from autotune_qnn.dialect.softmax import exponential_table
from tests.support.dialect import evaluate, scale, zero


def _softmax(data: Any, compute: str, step: float = 1.0, dtype: str = "int8", **attrs: Any) -> Any:
    low = np.iinfo(dtype).min
    return evaluate(
        lambda x: dialect.softmax(
            x, scale(step), zero(0), scale(1 / 256), zero(low), compute_dtype=compute, **attrs
        ),
        np.asarray(data, dtype),
    )


@pytest.mark.parametrize("compute", ["float32", "int64"])
def test_equal_scores_share_equally(compute: str) -> None:
    assert _softmax([[5, 5]], compute).tolist() == [[0, 0]]
    assert _softmax([[5] * 4], compute, dtype="uint8").tolist() == [[64] * 4]


@pytest.mark.parametrize("compute", ["float32", "int64"])
def test_a_sure_score_saturates(compute: str) -> None:
    assert _softmax([[100, -100, -100]], compute).tolist() == [[127, -128, -128]]
    assert _softmax([[255, 0]], compute, dtype="uint8").tolist() == [[255, 0]]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("compute", ["float32", "int64"])
def test_close_to_the_real_function(compute: str, dtype: str) -> None:
    rng = np.random.default_rng(1)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    data = rng.integers(low, high + 1, (20, 30)).astype(dtype)
    for step, beta in ((0.05, 1.0), (0.3, 0.5)):
        result = _softmax(data, compute, step=step, dtype=dtype, beta=beta).astype(np.float64)
        powers = np.exp(step * beta * (data - data.max(axis=-1, keepdims=True).astype(np.float64)))
        real = powers / powers.sum(axis=-1, keepdims=True)
        wanted = np.minimum(real * 256 + low, high)
        assert np.abs(result - wanted).max() < 1.1


def test_axis() -> None:
    data = np.array([[1, 9], [3, 2], [2, 2]])
    for compute in ("float32", "int64"):
        along_rows = _softmax(data, compute, step=0.2, axis=0)
        assert np.array_equal(along_rows, _softmax(data.T.copy(), compute, step=0.2).T)


def test_float_sum_is_sequential_in_float32() -> None:
    row = np.random.default_rng(2).integers(-128, 128, 1001)
    terms = exponential_table(0.02)[row + 255 - row.max()]
    total = np.float32(0)
    for term in terms:
        total = np.float32(total + term)
    shares = terms * (np.float32(1) / (total * np.float32(1 / 256)))
    expected = np.clip(np.floor(shares + np.float32(0.5)) - 128, -128, 127)
    assert total != terms.sum()  # NumPy's own sum is pairwise
    assert np.array_equal(_softmax(row[None], "float32", step=0.02)[0], expected)
