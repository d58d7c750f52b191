from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotune_qnn import dialect
from autotune_qnn.dialect.binary import sum_multipliers
from autotune_qnn.errors import DialectError
from tests.support.dialect import evaluate, scale, zero

XNNPACK_SUM = {"rounding": "UPWARD", "compute_dtype": "int32"}
XNNPACK_PRODUCT = {"rounding": "TONEAREST", "compute_dtype": "float32"}
TFLITE = {"rounding": "TFLITE", "compute_dtype": "int64"}


def _run(
    operator: Any,
    left: Any,
    right: Any,
    scales: tuple[float, float, float] = (1, 1, 1),
    zeros: tuple[int, int, int] = (0, 0, 0),
    dtype: str = "int8",
    **attrs: Any,
) -> Any:
    (sa, sb, so), (za, zb, zo) = scales, zeros
    return evaluate(
        lambda a, b: operator(a, b, scale(sa), zero(za), scale(sb), zero(zb), scale(so), zero(zo), **attrs),
        np.array(left, dtype),
        np.array(right, dtype),
    ).tolist()


@pytest.mark.parametrize("attrs", [XNNPACK_SUM, TFLITE])
def test_sums_of_equal_scales_are_plain_and_saturate(attrs: Any) -> None:
    assert _run(dialect.add, [1, 100, -100], [2, 100, -100], **attrs) == [3, 127, -128]
    assert _run(dialect.subtract, [1, 100, -100], [2, -100, 100], **attrs) == [-1, 127, -128]
    got = _run(dialect.add, [0, 255], [10, 255], dtype="uint8", zeros=(10, 10, 20), **attrs)
    assert got == [10, 255]


def test_sums_round_ties_up_or_away() -> None:
    left, right = [1, -1, 3, -3], [0, 0, 0, 0]
    assert _run(dialect.add, left, right, scales=(1, 1, 2), **XNNPACK_SUM) == [1, 0, 2, -1]
    assert _run(dialect.add, left, right, scales=(1, 1, 2), **TFLITE) == [1, -1, 2, -2]
    assert _run(dialect.subtract, right, left, scales=(1, 1, 2), **XNNPACK_SUM) == [0, 1, -1, 2]
    assert _run(dialect.subtract, right, left, scales=(1, 1, 2), **TFLITE) == [-1, 1, -2, 2]


def test_sum_rescales_each_side() -> None:
    # 0.5·4 + 0.25·(8 − 4) − 0 = 3 in units of 0.125 is 24.
    for attrs in (XNNPACK_SUM, TFLITE):
        assert _run(dialect.add, [4], [8], scales=(0.5, 0.25, 0.125), zeros=(0, 4, 1), **attrs) == [25]


def test_sum_multipliers() -> None:
    assert sum_multipliers("qnn.add", 1.0, 1.0, 1.0) == (1 << 20, 1 << 20, 20)
    assert sum_multipliers("qnn.add", 1.0, 0.5, 2.0) == (1 << 20, 1 << 19, 21)
    with pytest.raises(DialectError, match=r"qnn\.add: scales"):
        sum_multipliers("qnn.add", 2.0**21, 1.0, 1.0)


def test_products_round() -> None:
    left, right = [1, -1, 3, -3], [1, 1, 1, 1]
    assert _run(dialect.mul, left, right, scales=(1, 1, 2), **XNNPACK_PRODUCT) == [0, 0, 2, -2]
    assert _run(dialect.mul, left, right, scales=(1, 1, 2), **TFLITE) == [1, 0, 2, -1]


@pytest.mark.parametrize("attrs", [XNNPACK_PRODUCT, TFLITE])
def test_products_subtract_zero_points_and_saturate(attrs: Any) -> None:
    assert _run(dialect.mul, [5, 127, -128], [6, 127, 127], zeros=(3, 2, 1), **attrs) == [9, 127, -128]
    got = _run(dialect.mul, [0, 255], [255, 255], zeros=(128, 0, 0), dtype="uint8", **attrs)
    assert got == [0, 255]


def test_product_blocks_wrap_at_int16() -> None:
    # 127·127·4 saturates to 32767; the zero point then wraps to the lowest values, except in the tail.
    got = _run(
        dialect.mul, [127] * 17, [127] * 17, scales=(4, 1, 1), zeros=(0, 0, 10), tail_block=16, **TFLITE
    )
    assert got == [-128] * 16 + [127]


def test_operands_broadcast() -> None:
    assert _run(dialect.add, [[1], [2]], [10, 20], **XNNPACK_SUM) == [[11, 21], [12, 22]]
    assert _run(dialect.mul, [[[1, 2]]], [3], **TFLITE) == [[[3, 6]]]
