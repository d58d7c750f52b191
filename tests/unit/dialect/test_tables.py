from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotune_qnn import dialect
from autotune_qnn.errors import DialectError
from tests.support.dialect import evaluate, scale, variable, zero

NEAREST = {"rounding": "TONEAREST", "compute_dtype": "float32"}
AWAY = {"rounding": "AWAY", "compute_dtype": "float32"}
FIXED = {"rounding": "TFLITE", "compute_dtype": "int64"}
HARDSWISH = {"rounding": "TFLITE", "compute_dtype": "int16"}


def _run(
    operator: Any,
    data: Any,
    si: float = 1,
    zi: int = 0,
    so: float = 1,
    zo: int = 0,
    dtype: str = "int8",
    **attrs: Any,
) -> Any:
    return evaluate(
        lambda x: operator(x, scale(si), zero(zi), scale(so), zero(zo), **attrs), np.array(data, dtype)
    ).tolist()


def test_ties_go_to_even_after_the_zero_point_or_away_before_it() -> None:
    # Halves of 1, 3 and 5: with a zero point of one, 1.5, 2.5 and 3.5.
    assert _run(dialect.abs, [1, 3, -5], si=0.5, zo=1, **NEAREST) == [2, 2, 4]
    assert _run(dialect.abs, [1, 3, -5], si=0.5, zo=1, **AWAY) == [2, 3, 4]
    assert _run(dialect.abs, [1, 3, -5], si=0.5, zo=1, **FIXED) == [2, 3, 4]


@pytest.mark.parametrize("attrs", [NEAREST, AWAY])
def test_sigmoid_and_tanh(attrs: Any) -> None:
    assert _run(dialect.sigmoid, [0, 127, -128], so=1 / 256, zo=-128, **attrs) == [0, 127, -128]
    assert _run(dialect.sigmoid, [0, 255], zi=0, so=1 / 256, dtype="uint8", **attrs) == [128, 255]
    assert _run(dialect.tanh, [0, 127, -128], si=0.5, so=1 / 128, **attrs) == [0, 127, -128]
    one = round(float(np.tanh(1.0)) * 128)
    assert _run(dialect.tanh, [10, -10], si=0.1, so=1 / 128, **attrs) == [one, -one]


@pytest.mark.parametrize("attrs", [NEAREST, AWAY])
def test_roots_logarithm_exponential_and_error_function(attrs: Any) -> None:
    assert _run(dialect.sqrt, [0, 4, 9, 100], **attrs) == [0, 2, 3, 10]
    assert _run(dialect.rsqrt, [4, 16, 1], so=0.25, **attrs) == [2, 1, 4]
    assert _run(dialect.exp, [0, 1, 2, 127, -128], **attrs) == [1, 3, 7, 127, 0]
    assert _run(dialect.log, [1, 20, 127], **attrs) == [0, 3, 5]
    assert _run(dialect.erf, [0, 100, -100], so=1 / 64, **attrs) == [0, 64, -64]


@pytest.mark.parametrize("attrs", [NEAREST, AWAY])
def test_values_without_a_result_saturate(attrs: Any) -> None:
    assert _run(dialect.log, [0, -5], **attrs) == [-128, -128]
    assert _run(dialect.rsqrt, [0], **attrs) == [127]
    assert _run(dialect.sqrt, [-4], **attrs) == [-128]


def test_hardswish() -> None:
    step = 1 / 16
    for attrs in (NEAREST, AWAY, HARDSWISH):
        got = _run(dialect.hardswish, [0, 127, -48, -128, 64], si=step, so=step, **attrs)
        assert got == [0, 127, 0, 0, 64]
    # −1.5 · 1.5 / 6 = −0.375, that is −6 sixteenths.
    for attrs in (NEAREST, AWAY, HARDSWISH):
        assert _run(dialect.hardswish, [-24], si=step, so=step, **attrs) == [-6]


def test_hardswish_fixed_point_follows_the_real_function() -> None:
    values = np.arange(-128, 128)
    for si, so, zi in ((0.05, 0.04, 3), (0.02, 0.03, -60), (0.2, 0.25, 0)):
        got = np.array(_run(dialect.hardswish, values, si=si, zi=zi, so=so, **HARDSWISH))
        x = (values - zi) * np.float32(si)
        real = np.clip(x * np.clip(x + 3, 0, 6) / 6 / np.float32(so), -128, 127)
        assert np.abs(got - real).max() < 1.6


def _call(build: Any, dtype: str = "int8", shape: tuple[int, ...] = (2, 3)) -> Any:
    return build(variable(shape, dtype))


def test_table_values_hold_every_input_in_order() -> None:
    call = _call(
        lambda x: dialect.leaky_relu(
            x, scale(1), zero(0), scale(1), zero(0), alpha=0.5, rounding="UPWARD", compute_dtype="int32"
        )
    )
    table = dialect.table_values(call)
    assert table.shape == (256,)
    assert table.dtype == np.int8
    assert [int(table[index]) for index in (0, 127, 128, 255)] == [-64, 0, 0, 127]


def test_table_of_a_change_of_dtype() -> None:
    call = _call(
        lambda x: dialect.requantize(
            x,
            scale(1),
            zero(128),
            scale(1),
            zero(0),
            rounding="TFLITE",
            compute_dtype="int64",
            out_dtype="int8",
        ),
        dtype="uint8",
    )
    assert dialect.table_values(call).tolist() == list(range(-128, 128))


def test_table_agrees_with_the_operator() -> None:
    data = np.random.default_rng(0).integers(0, 256, (3, 50)).astype("uint8")

    def build(x: Any) -> Any:
        return dialect.sigmoid(x, scale(0.05), zero(120), scale(1 / 256), zero(0), **AWAY)

    table = dialect.table_values(_call(build, "uint8", data.shape))
    assert np.array_equal(table[data], evaluate(build, data))
    assert dialect.is_tabulable(_call(build, "uint8"))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (
            lambda x: dialect.add(x, x, *[scale(1), zero(0)] * 3, rounding="UPWARD", compute_dtype="int32"),
            "not elementwise",
        ),
        (
            lambda x: dialect.dequantize(x, scale([1, 2, 3]), zero(0)),
            "differ by channel",
        ),
        (
            lambda x: dialect.dequantize(x, scale(1), zero(0), tail_block=8),
            "depends on an element's place",
        ),
        (
            lambda x: dialect.tanh(x, variable((), "float32"), zero(0), scale(1), zero(0), **AWAY),
            "not constants",
        ),
    ],
)
def test_no_table_where_more_than_the_value_counts(build: Any, reason: str) -> None:
    call = _call(build)
    assert not dialect.is_tabulable(call)
    with pytest.raises(DialectError, match=reason):
        dialect.table_values(call)


def test_no_table_of_wide_integers() -> None:
    call = _call(lambda x: dialect.dequantize(x, scale(1), zero(0)), dtype="int32")
    with pytest.raises(DialectError, match="not int8 or uint8"):
        dialect.table_values(call)
