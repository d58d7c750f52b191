from __future__ import annotations

import numpy as np
import pytest

from autotune_qnn.quantization import (
    INT32_MAX,
    INT32_MIN,
    Rounding,
    divide_away,
    doubling_high_multiply,
    dtype_range,
    float32_exponent,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rescale,
    round_away,
    saturate,
    shift_right_away,
    shift_right_up,
    to_integer,
)


@pytest.mark.parametrize(
    ("factor", "multiplier", "exponent"),
    [
        (1.0, 1 << 30, 1),
        (0.5, 1 << 30, 0),
        (0.75, 3 << 29, 0),
        (4.0, 1 << 30, 3),
        (1.0 - 2.0**-40, 1 << 30, 1),  # the mantissa rounds up to 2**31
        (2.0**-33, 0, 0),  # too small for a 32-bit shift
        (2.0**-32, 1 << 30, -31),
        (0.0, 0, 0),
    ],
)
def test_quantize_multiplier(factor: float, multiplier: int, exponent: int) -> None:
    assert [int(value) for value in quantize_multiplier(factor)] == [multiplier, exponent]


def test_quantize_multiplier_keeps_shape() -> None:
    multiplier, exponent = quantize_multiplier([[0.5, 0.25], [1.0, 2.0]])
    assert multiplier.shape == (2, 2)
    assert exponent.tolist() == [[0, -1], [1, 2]]


def test_doubling_high_multiply_rounds_ties_up_and_saturates() -> None:
    assert doubling_high_multiply([1, -1, 3, -3], 1 << 30).tolist() == [1, 0, 2, -1]
    assert int(doubling_high_multiply(INT32_MIN, INT32_MIN)) == INT32_MAX


def test_shifts_differ_at_negative_ties_only() -> None:
    values = [5, 6, 7, -5, -6, -7]
    assert shift_right_away(values, 2).tolist() == [1, 2, 2, -1, -2, -2]
    assert shift_right_up(values, 2).tolist() == [1, 2, 2, -1, -1, -2]
    assert shift_right_away(values, 0).tolist() == values
    assert shift_right_up(values, 0).tolist() == values


def test_fixed_point_multiplication_rounds_twice() -> None:
    # A quarter: the high multiply halves with ties up, the shift halves again.
    assert rescale([2, -2, 6, -6], 0.25, Rounding.TFLITE).tolist() == [1, -1, 2, -2]
    assert rescale([2, -2, 6, -6], 0.25, Rounding.RUY).tolist() == [1, 0, 2, -1]


def test_fixed_point_multiplication_shifts_left_and_saturates() -> None:
    assert rescale([3, -3], 8.0, Rounding.TFLITE).tolist() == [24, -24]
    assert multiply_by_quantized_multiplier(1 << 30, 1 << 30, 20, Rounding.RUY) == 1 << 30


def test_fixed_point_multiplication_refuses_float_roundings() -> None:
    with pytest.raises(ValueError, match="TONEAREST"):
        multiply_by_quantized_multiplier(1, 1, 0, Rounding.TONEAREST)


def test_round_away_is_exact_next_to_ties() -> None:
    below = np.nextafter(np.float32(0.5), np.float32(0))
    values = np.array([0.5, -0.5, 1.5, 2.5, -2.5, below, 8388607.5, np.inf], np.float32)
    assert round_away(values).tolist() == [1, -1, 2, 3, -3, 0, 8388608, np.inf]
    assert round_away(values).dtype == np.float32


def test_to_integer() -> None:
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32)
    assert to_integer(values, Rounding.TONEAREST).tolist() == [0, 2, 2, 0, -2]
    assert to_integer(values, Rounding.AWAY).tolist() == [1, 2, 3, -1, -2]
    special = np.array([np.inf, -np.inf, np.nan], np.float32)
    assert to_integer(special, Rounding.AWAY).tolist() == [1 << 40, -(1 << 40), 0]
    with pytest.raises(ValueError, match="UPWARD"):
        to_integer(values, Rounding.UPWARD)


def test_divide_away() -> None:
    assert divide_away([3, -3, 5, -5, 4], 2).tolist() == [2, -2, 3, -3, 2]
    assert divide_away([4, -4, 5, -5], 3).tolist() == [1, -1, 2, -2]


def test_saturate_and_ranges() -> None:
    assert saturate(np.array([-300, 5, 300]), "int8").tolist() == [-128, 5, 127]
    assert saturate(np.array([-300, 5, 300]), "uint8").dtype == np.uint8
    assert dtype_range("uint8") == (0, 255)


def test_float32_exponent() -> None:
    assert [float32_exponent(value) for value in (1.0, 1.99, 2.0, 0.5, 0.49)] == [0, 0, 1, -1, -2]
