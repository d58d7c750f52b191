from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotune_qnn import dialect
from tests.support.dialect import evaluate, scale, zero


def _pool(data: Any, offset: int = 0, **attrs: Any) -> Any:
    arguments = {"pool_size": (1, 2), "strides": (1, 1), "padding": (0, 0, 0, 0), **attrs}
    result = evaluate(
        lambda x: dialect.avg_pool2d(x, scale(0.1), zero(offset), scale(0.1), zero(offset), **arguments),
        np.asarray(data),
    )
    return result[0, :, :, 0].tolist()


def _row(values: list[int], dtype: str = "int8") -> Any:
    return np.array(values, dtype).reshape(1, 1, -1, 1)


def test_avg_pool_rounds_ties_away() -> None:
    assert _pool(_row([1, 2, 4])) == [[2, 3]]
    assert _pool(_row([-1, -2, -4])) == [[-2, -3]]
    assert _pool(_row([255, 254], "uint8")) == [[255]]


def test_avg_pool_counts_the_image_only() -> None:
    assert _pool(_row([4, 8]), padding=(0, 1, 0, 1)) == [[4, 6, 8]]
    # Windows of three: the first and the last hold two elements.
    assert _pool(_row([1, 2, 6]), pool_size=(1, 3), padding=(0, 1, 0, 1)) == [[2, 3, 4]]


def test_avg_pool_with_padding_counted_reads_the_zero_point() -> None:
    attrs = {"padding": (0, 1, 0, 1), "count_include_pad": True}
    assert _pool(_row([4, 8]), **attrs) == [[2, 6, 4]]
    assert _pool(_row([4, 8]), offset=2, **attrs) == [[3, 6, 5]]


def test_avg_pool_strides_dilation_and_ceiling() -> None:
    assert _pool(_row([0, 2, 4, 6, 9]), strides=(1, 2)) == [[1, 5]]
    assert _pool(_row([0, 2, 4, 6, 9]), strides=(1, 2), ceil_mode=True) == [[1, 5, 9]]
    assert _pool(_row([0, 2, 4, 6]), dilation=(1, 3)) == [[3]]


def test_avg_pool_by_channel_and_row() -> None:
    data = np.arange(8, dtype=np.int8).reshape(1, 2, 2, 2)
    result = evaluate(
        lambda x: dialect.avg_pool2d(
            x, scale(1), zero(0), scale(1), zero(0), pool_size=(2, 2), strides=(2, 2), padding=(0, 0, 0, 0)
        ),
        data,
    )
    assert result.tolist() == [[[[3, 4]]]]


XNNPACK = {"rounding": "TONEAREST", "compute_dtype": "float32"}
TFLITE = {"rounding": "TFLITE", "compute_dtype": "int64"}
BUILTIN = {"rounding": "RUY", "compute_dtype": "int64", "tail_block": 16}


def _mean(
    data: Any, si: float = 1, zi: int = 0, so: float = 1, zo: int = 0, axis: Any = (1,), **attrs: Any
) -> Any:
    arguments = {"keepdims": False, **attrs}
    return evaluate(
        lambda x: dialect.mean(x, scale(si), zero(zi), scale(so), zero(zo), axis=axis, **arguments),
        np.asarray(data),
    ).tolist()


PAIRS = np.array([[0, 1], [1, 2], [0, -1], [-1, -2]], np.int8)


@pytest.mark.parametrize(
    ("attrs", "expected"),
    [(XNNPACK, [0, 2, 0, -2]), (TFLITE, [1, 2, 0, -1]), ({**BUILTIN, "tail_block": 0}, [1, 2, 0, -1])],
)
def test_mean_rounds(attrs: Any, expected: list[int]) -> None:
    assert _mean(PAIRS, **attrs) == expected


@pytest.mark.parametrize("attrs", [XNNPACK, TFLITE, BUILTIN])
def test_mean_rescales_and_saturates(attrs: Any) -> None:
    data = np.array([[10, 14], [127, 127], [-128, -128]], np.int8)
    assert _mean(data, si=0.5, zi=2, so=0.25, zo=5, **attrs) == [25, 127, -128]


def test_mean_xnnpack_rounds_the_zero_point_with_the_value() -> None:
    # 1.5 is a tie and rounds to 2; with the zero point, 2.5 does too.
    assert _mean(np.array([[1, 2]], np.int8), zo=1, **XNNPACK) == [2]


def test_mean_tail_rounds_otherwise() -> None:
    # A quarter of −2 rounds up in whole blocks and away from zero in the last two channels.
    data = np.full((1, 4, 18), 0, np.int8)
    data[0, 0] = -2
    got = _mean(data, axis=(1,), **BUILTIN)
    assert got == [[0] * 16 + [-1] * 2]


def test_mean_axes_and_kept_dimensions() -> None:
    data = np.arange(16, dtype=np.int8).reshape(1, 2, 2, 4)
    assert _mean(data, axis=(1, 2), **XNNPACK) == [[6, 7, 8, 9]]
    assert _mean(data, axis=(-3, -2), keepdims=True, **TFLITE) == [[[[6, 7, 8, 9]]]]
