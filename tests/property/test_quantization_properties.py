"""Fixed-point and rounding arithmetic against exact rationals."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune_qnn.quantization import (
    Rounding,
    divide_away,
    doubling_high_multiply,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rescale,
    round_away,
    saturate,
    shift_right_away,
    shift_right_up,
    to_integer,
)

INT32 = st.integers(-(2**31), 2**31 - 1)
HALF = Fraction(1, 2)


def _up(value: Fraction) -> int:
    return floor(value + HALF)


def _away(value: Fraction) -> int:
    return _up(value) if value >= 0 else -_up(-value)


@given(st.floats(2.0**-30, 2.0**30))
@settings(max_examples=200, deadline=None)
def test_multipliers_have_31_bits_and_half_a_unit_of_error(factor: float) -> None:
    multiplier, exponent = (int(value) for value in quantize_multiplier(factor))
    assert 2**30 <= multiplier < 2**31
    error = abs(Fraction(multiplier) * Fraction(2) ** (exponent - 31) - Fraction(factor))
    assert error <= Fraction(2) ** (exponent - 32)


@given(INT32, INT32)
@settings(max_examples=200, deadline=None)
def test_doubling_high_multiply_is_the_product_rounded_up_at_ties(left: int, right: int) -> None:
    expected = min(_up(Fraction(left * right, 2**31)), 2**31 - 1)
    assert int(doubling_high_multiply(left, right)) == expected


@given(INT32, st.integers(0, 31))
@settings(max_examples=200, deadline=None)
def test_shifts_are_rounded_quotients(value: int, bits: int) -> None:
    exact = Fraction(value, 2**bits)
    assert int(shift_right_away(value, bits)) == _away(exact)
    assert int(shift_right_up(value, bits)) == _up(exact)


@given(st.integers(-(2**24), 2**24), st.integers(2**30, 2**31 - 1), st.integers(-31, 6))
@settings(max_examples=200, deadline=None)
def test_fixed_point_multiplication_is_two_roundings(value: int, multiplier: int, exponent: int) -> None:
    high = _up(Fraction((value << max(exponent, 0)) * multiplier, 2**31))
    right = Fraction(high, 2 ** max(-exponent, 0))
    for rounding, last in ((Rounding.TFLITE, _away), (Rounding.RUY, _up)):
        assert int(multiply_by_quantized_multiplier(value, multiplier, exponent, rounding)) == last(right)


@given(st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=20), st.floats(2.0**-20, 8.0))
@settings(max_examples=100, deadline=None)
def test_rescaling_is_monotonic_and_within_a_unit(values: list[int], factor: float) -> None:
    ordered = sorted(values)
    for rounding in (Rounding.TFLITE, Rounding.RUY):
        result = rescale(ordered, factor, rounding)
        assert np.all(np.diff(result) >= 0)
        assert np.all(np.abs(result - np.array(ordered) * factor) <= 1)


@given(st.floats(-(2.0**23), 2.0**23, width=32))
@settings(max_examples=200, deadline=None)
def test_float_roundings_are_exact(value: float) -> None:
    array = np.array([value], np.float32)
    exact = Fraction(value)
    assert int(round_away(array)[0]) == _away(exact)
    assert int(to_integer(array, Rounding.AWAY)[0]) == _away(exact)
    assert int(to_integer(array, Rounding.TONEAREST)[0]) == round(exact)


@given(INT32, st.integers(1, 2**16))
@settings(max_examples=100, deadline=None)
def test_division_rounds_away(numerator: int, denominator: int) -> None:
    assert int(divide_away(numerator, denominator)) == _away(Fraction(numerator, denominator))


@given(st.lists(INT32, min_size=1, max_size=10), st.sampled_from(["int8", "uint8", "int16"]))
@settings(max_examples=50, deadline=None)
def test_saturation_keeps_what_fits(values: list[int], dtype: str) -> None:
    info = np.iinfo(dtype)
    result = saturate(np.array(values, np.int64), dtype)
    assert result.dtype == dtype
    assert result.tolist() == [min(max(value, int(info.min)), int(info.max)) for value in values]
