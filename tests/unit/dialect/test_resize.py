from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotune_qnn import dialect
from tests.support.dialect import evaluate, scale, zero

Q11 = {"compute_dtype": "int32", "rounding": "UPWARD"}
Q10 = {"compute_dtype": "int32", "rounding": "AWAY"}
FLOAT = {"compute_dtype": "float32", "rounding": "TFLITE"}
PREMULTIPLIED = {"compute_dtype": "float32", "rounding": "RUY"}
ALL = [Q11, Q10, FLOAT, PREMULTIPLIED]


def _row(values: list[int], width: int, mode: str, dtype: str = "uint8", **attrs: Any) -> Any:
    result = evaluate(
        lambda x: dialect.resize2d(
            x, scale(1), zero(0), size=(1, width), coordinate_transformation_mode=mode, **attrs
        ),
        np.array(values, dtype).reshape(1, 1, -1, 1),
    )
    return result.ravel().tolist()


@pytest.mark.parametrize("attrs", ALL)
def test_coordinates(attrs: Any) -> None:
    assert _row([0, 20], 4, "asymmetric", **attrs) == [0, 10, 20, 20]
    assert _row([0, 20], 3, "align_corners", **attrs) == [0, 10, 20]
    assert _row([0, 20], 4, "half_pixel", **attrs) == [0, 5, 15, 20]
    assert _row([3, 255], 2, "half_pixel", **attrs) == [3, 255]
    assert _row([3, 255], 1, "align_corners", **attrs) == [3]


def test_ties() -> None:
    assert _row([0, 10], 4, "half_pixel", **Q11) == [0, 3, 8, 10]
    assert _row([0, -10], 4, "half_pixel", "int8", **Q11) == [0, -2, -7, -10]
    assert _row([0, -10], 4, "half_pixel", "int8", **Q10) == [0, -3, -8, -10]
    assert _row([0, 10], 4, "half_pixel", **FLOAT) == [0, 3, 8, 10]


@pytest.mark.parametrize("attrs", ALL)
def test_two_dimensions(attrs: Any) -> None:
    data = np.array([[0, 8], [16, 24]], np.uint8).reshape(1, 2, 2, 1)
    result = evaluate(
        lambda x: dialect.resize2d(
            x, scale(1), zero(0), size=(3, 3), coordinate_transformation_mode="align_corners", **attrs
        ),
        data,
    )
    assert result[0, :, :, 0].tolist() == [[0, 4, 8], [8, 12, 16], [16, 20, 24]]


@pytest.mark.parametrize("attrs", ALL)
def test_channels_and_batches_stay_apart(attrs: Any) -> None:
    data = np.array([[[1, 100], [3, 200]], [[5, 50], [7, 60]]], np.uint8).reshape(2, 1, 2, 2)
    result = evaluate(
        lambda x: dialect.resize2d(
            x, scale(1), zero(0), size=(1, 3), coordinate_transformation_mode="align_corners", **attrs
        ),
        data,
    )
    assert result[:, 0].tolist() == [[[1, 100], [2, 150], [3, 200]], [[5, 50], [6, 55], [7, 60]]]
