from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotune_qnn import dialect
from tests.support.dialect import evaluate, scale, zero

TIES = np.array([0.25, 0.75, -0.25, -0.75, 1000, -1000], np.float32)


@pytest.mark.parametrize(
    ("rounding", "compute", "expected"),
    [
        ("TONEAREST", "float32", [10, 12, 10, 8, 127, -128]),
        ("AWAY", "float32", [11, 12, 9, 8, 127, -128]),
        ("AWAY", "float64", [11, 12, 9, 8, 127, -128]),
    ],
)
def test_quantize(rounding: str, compute: str, expected: list[int]) -> None:
    result = evaluate(
        lambda x: dialect.quantize(
            x, scale(0.5), zero(10), out_dtype="int8", rounding=rounding, compute_dtype=compute
        ),
        TIES,
    )
    assert result.dtype == np.int8
    assert result.tolist() == expected


def test_quantize_rounds_the_tail_otherwise() -> None:
    result = evaluate(
        lambda x: dialect.quantize(
            x,
            scale(0.5),
            zero(0),
            out_dtype="uint8",
            rounding="TONEAREST",
            tail_rounding="AWAY",
            tail_block=2,
        ),
        np.full((1, 5), 0.25, np.float32),
    )
    assert result.tolist() == [[0, 0, 0, 0, 1]]


def test_quantize_per_channel_and_not_a_number() -> None:
    result = evaluate(
        lambda x: dialect.quantize(
            x, scale([1, 0.5]), zero([0, 7]), axis=1, out_dtype="int8", rounding="TONEAREST"
        ),
        np.array([[[1.0], [1.0]], [[np.inf], [np.nan]]], np.float32),
    )
    assert result.tolist() == [[[1], [9]], [[127], [7]]]


def test_quantize_multiplies_by_the_reciprocal_where_stated() -> None:
    # 1/0.1 and x/0.1 round apart in float32: the two formulas are not the same one.
    step = np.float32(0.1)
    values = (np.arange(-1000, 1000) + np.float32(0.5)).astype(np.float32) * step
    near, away = (
        evaluate(
            lambda x, rounding=rounding: dialect.quantize(
                x, scale(step), zero(0), out_dtype="int32", rounding=rounding
            ),
            values,
        )
        for rounding in ("TONEAREST", "AWAY")
    )
    assert np.array_equal(near, np.rint(values * (np.float32(1) / step)))
    assert not np.array_equal(near, away)


def test_dequantize() -> None:
    result = evaluate(
        lambda x: dialect.dequantize(x, scale(0.5), zero(128)), np.array([0, 128, 255], np.uint8)
    )
    assert result.dtype == np.float32
    assert result.tolist() == [-64, 0, 63.5]


def test_dequantize_per_channel() -> None:
    data = np.array([[1, 1], [2, 2]], np.int8)
    result = evaluate(lambda x: dialect.dequantize(x, scale([0.5, 2]), zero([0, 1]), axis=0), data)
    assert result.tolist() == [[0.5, 0.5], [2, 2]]


def test_dequantize_blocks_subtract_a_rounded_offset() -> None:
    step, offset = np.float32(0.1), 7
    data = np.arange(10, dtype=np.int8)
    result = evaluate(lambda x: dialect.dequantize(x, scale(step), zero(offset), tail_block=8), data)
    body = data[:8].astype(np.float32) * step + np.float32(-offset * np.float64(step))
    tail = (data[8:] - offset).astype(np.float32) * step
    assert np.array_equal(result, np.concatenate([body, tail]))
    assert not np.array_equal(body, (data[:8] - offset).astype(np.float32) * step)


def _requantize(data: list[Any], factor: Any, **attrs: Any) -> list[Any]:
    array = np.array(data, np.int32)
    arguments = {"out_dtype": "int8", **attrs}
    offset = arguments.pop("offset", 0)
    result = evaluate(
        lambda x: dialect.requantize(x, factor, zero(0), scale(1), zero(offset), **arguments), array
    )
    return list(result.tolist())


@pytest.mark.parametrize(
    ("compute", "rounding", "expected"),
    [
        ("float32", "TONEAREST", [1, 3, 3, 1, -1]),
        ("int64", "TFLITE", [2, 3, 4, 1, 0]),
        ("int64", "RUY", [2, 3, 4, 1, 0]),
        ("float64", "AWAY", [2, 3, 4, 0, -1]),
        ("int32", "UPWARD", [2, 3, 4, 1, 0]),
    ],
)
def test_requantize_halves(compute: str, rounding: str, expected: list[int]) -> None:
    got = _requantize([1, 3, 5, -1, -3], scale(0.5), offset=1, compute_dtype=compute, rounding=rounding)
    assert got == expected


def test_requantize_fixed_points_differ_at_negative_ties() -> None:
    for rounding, expected in (("TFLITE", [1, -1, 2, -2]), ("RUY", [1, 0, 2, -1])):
        got = _requantize([2, -2, 6, -6], scale(0.25), compute_dtype="int64", rounding=rounding)
        assert got == expected


@pytest.mark.parametrize(
    ("compute", "rounding"),
    [
        ("float32", "TONEAREST"),
        ("int64", "TFLITE"),
        ("int64", "RUY"),
        ("float64", "AWAY"),
        ("int32", "UPWARD"),
    ],
)
def test_requantize_saturates(compute: str, rounding: str) -> None:
    wide = [100000, -100000, 127, -128]
    got = _requantize(wide, scale(1), compute_dtype=compute, rounding=rounding)
    assert got == [127, -128, 127, -128]
    got = _requantize(wide, scale(1), compute_dtype=compute, rounding=rounding, out_dtype="uint8")
    assert got == [255, 0, 127, 0]


def test_requantize_tail_by_channel_and_flat() -> None:
    data = np.full((2, 3), -2).tolist()
    attrs = {"compute_dtype": "int64", "rounding": "RUY", "tail_rounding": "TFLITE"}
    by_channel = _requantize(data, scale(0.25), tail_block=2, tail_axis="channel", **attrs)
    assert by_channel == [[0, 0, -1], [0, 0, -1]]
    flat = _requantize(data, scale(0.25), tail_block=4, tail_axis="flat", **attrs)
    assert flat == [[0, 0, 0], [0, -1, -1]]


def test_requantize_per_channel_along_axis() -> None:
    data = [[8, 8], [8, 8]]
    attrs = {"compute_dtype": "float32", "rounding": "TONEAREST"}
    assert _requantize(data, scale([1, 0.5]), axis=-1, **attrs) == [[8, 4], [8, 4]]
    assert _requantize(data, scale([1, 0.5]), axis=0, **attrs) == [[8, 8], [4, 4]]


def test_requantize_takes_exact_products_as_float64() -> None:
    # si·sw in float64 and in float32 differ; the fixed point sees the difference on large accumulators.
    si, sw = np.float32(0.1), np.float32(0.3)
    exact = np.float64(si) * np.float64(sw)
    attrs = {"compute_dtype": "int64", "rounding": "TFLITE", "out_dtype": "int32"}
    accumulator = [(1 << 31) - 1]
    wide = _requantize(accumulator, dialect.constant(exact, "float64"), **attrs)
    narrow = _requantize(accumulator, scale(si * sw), **attrs)
    assert wide == [round(((1 << 31) - 1) * exact)]
    assert wide != narrow


def test_requantize_subtracts_the_input_zero_point() -> None:
    result = evaluate(
        lambda x: dialect.requantize(
            x,
            scale(1),
            zero(128),
            scale(1),
            zero(0),
            rounding="UPWARD",
            compute_dtype="int32",
            out_dtype="int8",
        ),
        np.array([0, 128, 255], np.uint8),
    )
    assert result.tolist() == [-128, 0, 127]
