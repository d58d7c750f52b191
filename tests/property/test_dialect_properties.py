"""Operators of the dialect against direct definitions, over random shapes, parameters and values."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune_qnn import dialect
from tests.support.dialect import evaluate, scale, zero

SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from(["int8", "uint8"])
SCALES = st.floats(2.0**-8, 2.0, width=32)
QUICK = settings(max_examples=25, deadline=None)


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    info = np.iinfo(dtype)
    return rng.integers(info.min, int(info.max) + 1, shape).astype(dtype)


def _point(rng: np.random.Generator, dtype: str) -> int:
    return int(_random(rng, (1,), dtype)[0])


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    """A convolution small enough to compute by definition, whose kernel fits the padded image."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    return {
        "image": tuple(extent + draw(st.integers(0, 3)) for extent in reach),
        "depth": draw(st.integers(1, 3)),
        "groups": groups,
        "channels": groups * draw(st.integers(1, 2)),
        "kernel": kernel,
        "strides": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "padding": draw(st.tuples(*[st.integers(0, 2)] * 4)),
        "dilation": dilation,
    }


def _defined_convolution(x: Any, w: Any, geometry: dict[str, Any]) -> Any:
    """Sum over every output, tap and channel, with Python's loops."""
    top, left, bottom, right = geometry["padding"]
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    (sy, sx), (dy, dx), (kh, kw) = geometry["strides"], geometry["dilation"], geometry["kernel"]
    height = (padded.shape[1] - (kh - 1) * dy - 1) // sy + 1
    width = (padded.shape[2] - (kw - 1) * dx - 1) // sx + 1
    channels, depth = w.shape[0], w.shape[3]
    result = np.zeros((x.shape[0], height, width, channels), np.int64)
    for n, y, z, o in np.ndindex(*result.shape):
        group = o // (channels // geometry["groups"])
        window = padded[n, y * sy : y * sy + (kh - 1) * dy + 1 : dy, z * sx : z * sx + (kw - 1) * dx + 1 : dx]
        result[n, y, z, o] = (window[..., group * depth : (group + 1) * depth] * w[o]).sum()
    return result


def _run_convolution(
    operator: Any, geometry: dict[str, Any], rng: Any, dtype: str, extra: dict[str, Any]
) -> Any:
    x = _random(rng, (2, *geometry["image"], geometry["depth"] * geometry["groups"]), dtype)
    kernel_dtype = str(rng.choice(["int8", "uint8"]))
    w = _random(rng, (geometry["channels"], *geometry["kernel"], geometry["depth"]), kernel_dtype)
    zi, zw = _point(rng, dtype), _random(rng, (geometry["channels"],), kernel_dtype).astype(np.int32)
    result = evaluate(
        lambda value: operator(
            value,
            dialect.constant(w),
            zero(zi),
            zero(zw),
            scale(1),
            scale(1),
            kernel_size=geometry["kernel"],
            channels=geometry["channels"],
            strides=geometry["strides"],
            padding=geometry["padding"],
            dilation=geometry["dilation"],
            groups=geometry["groups"],
            **extra,
        ),
        x,
    )
    return x.astype(np.int64) - zi, w.astype(np.int64) - zw[:, None, None, None], result


@given(geometries(), SEEDS, DTYPES)
@QUICK
def test_convolution_is_its_definition(geometry: dict[str, Any], seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    x, w, result = _run_convolution(dialect.conv2d, geometry, rng, dtype, {})
    assert np.array_equal(result, _defined_convolution(x, w, geometry))


@given(geometries(), SEEDS, DTYPES, st.tuples(st.integers(0, 1), st.integers(0, 1)))
@QUICK
def test_transposed_convolution_is_the_gradient(
    geometry: dict[str, Any], seed: int, dtype: str, output_padding: tuple[int, int]
) -> None:
    # <conv_transpose(x), y> = <x, conv(y)> for every y on the padded canvas.
    geometry = {**geometry, "padding": (0, 0, 0, 0)}
    rng = np.random.default_rng(seed)
    x, w, result = _run_convolution(
        dialect.conv2d_transpose, geometry, rng, dtype, {"output_padding": output_padding}
    )
    y = rng.integers(-5, 6, result.shape)
    groups, step = geometry["groups"], geometry["channels"] // geometry["groups"]
    turned = np.concatenate(
        [w[group * step : (group + 1) * step].transpose(3, 1, 2, 0) for group in range(groups)]
    )
    back = _defined_convolution(y, turned, geometry)[:, : x.shape[1], : x.shape[2]]
    assert int((result * y).sum()) == int((x * back).sum())


@given(SEEDS, SCALES, DTYPES)
@QUICK
def test_quantize_inverts_dequantize(seed: int, step: float, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    data, point = _random(rng, (40,), dtype), _point(rng, dtype)
    for rounding in ("TONEAREST", "AWAY"):
        again = evaluate(
            lambda x, rounding=rounding: dialect.quantize(
                dialect.dequantize(x, scale(step), zero(point)),
                scale(step),
                zero(point),
                out_dtype=dtype,
                rounding=rounding,
            ),
            data,
        )
        assert np.array_equal(again, data)


@given(SEEDS, st.integers(-10, 3))
@QUICK
def test_requantize_by_a_power_of_two_rounds_exactly(seed: int, power: int) -> None:
    # Scales that every format holds: only the rounding of ties is left, and each formula has its own.
    data = np.random.default_rng(seed).integers(-3000, 3000, 60).astype(np.int32)
    exact = [Fraction(int(value)) * Fraction(2) ** power for value in data]

    def run(compute: str, rounding: str) -> list[int]:
        result = evaluate(
            lambda x: dialect.requantize(
                x,
                scale(2.0**power),
                zero(0),
                scale(1),
                zero(0),
                compute_dtype=compute,
                rounding=rounding,
                out_dtype="int32",
            ),
            data,
        )
        return [int(value) for value in result]

    assert run("float32", "TONEAREST") == [round(value) for value in exact]
    away = [floor(abs(value) + Fraction(1, 2)) * (1 if value >= 0 else -1) for value in exact]
    assert run("float64", "AWAY") == away
    fixed, ruy = run("int64", "TFLITE"), run("int64", "RUY")
    assert all(abs(value - want) <= 1 for value, want in zip(fixed, exact, strict=True))
    assert all(one >= other for one, other in zip(ruy, fixed, strict=True))


@given(SEEDS, SCALES, SCALES, SCALES, DTYPES)
@QUICK
def test_sums_and_products_are_within_a_unit_of_real_arithmetic(
    seed: int, sa: float, sb: float, so: float, dtype: str
) -> None:
    rng = np.random.default_rng(seed)
    a, b = _random(rng, (3, 20), dtype), _random(rng, (20,), dtype)
    za, zb, zo = (_point(rng, dtype) for _ in range(3))
    real_a, real_b = (a.astype(float) - za) * sa, (b.astype(float) - zb) * sb
    info = np.iinfo(dtype)
    sums = {"rounding": "UPWARD", "compute_dtype": "int32"}
    floats = {"rounding": "TONEAREST", "compute_dtype": "float32"}
    tflite = {"rounding": "TFLITE", "compute_dtype": "int64"}
    for operator, attrs, real in (
        (dialect.add, sums, real_a + real_b),
        (dialect.add, tflite, real_a + real_b),
        (dialect.subtract, sums, real_a - real_b),
        (dialect.subtract, tflite, real_a - real_b),
        (dialect.mul, floats, real_a * real_b),
        (dialect.mul, tflite, real_a * real_b),
    ):
        result = evaluate(
            lambda x, y, operator=operator, attrs=attrs: operator(
                x, y, scale(sa), zero(za), scale(sb), zero(zb), scale(so), zero(zo), **attrs
            ),
            a,
            b,
        )
        wanted = np.clip(real / so + zo, info.min, info.max)
        assert np.abs(result - wanted).max() <= 1.01


@given(SEEDS, DTYPES, st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans())
@QUICK
def test_average_pooling_is_its_definition(
    seed: int, dtype: str, height: int, width: int, padded: bool, counted: bool
) -> None:
    rng = np.random.default_rng(seed)
    data, point = _random(rng, (1, 5, 6, 2), dtype), _point(rng, dtype)
    pad = (height // 2, width // 2) if padded else (0, 0)
    result = evaluate(
        lambda x: dialect.avg_pool2d(
            x,
            scale(1),
            zero(point),
            scale(1),
            zero(point),
            pool_size=(height, width),
            strides=(2, 1),
            padding=(*pad, *pad),
            count_include_pad=counted,
        ),
        data,
    )
    fill = float(point) if counted else np.nan
    canvas = np.pad(data.astype(float), ((0, 0), (pad[0],) * 2, (pad[1],) * 2, (0, 0)), constant_values=fill)
    for n, y, x, c in np.ndindex(*result.shape):
        window = canvas[n, 2 * y : 2 * y + height, x : x + width, c]
        inside = [int(value) for value in window.ravel() if not np.isnan(value)]
        exact = Fraction(sum(inside), len(inside))
        rounded = floor(abs(exact) + Fraction(1, 2)) * (1 if exact >= 0 else -1)
        assert int(result[n, y, x, c]) == rounded


@given(SEEDS, SCALES, SCALES, DTYPES, st.integers(1, 5))
@QUICK
def test_means_are_within_a_unit_of_real_arithmetic(
    seed: int, si: float, so: float, dtype: str, extent: int
) -> None:
    rng = np.random.default_rng(seed)
    data = _random(rng, (2, extent, 3, 20), dtype)
    zi, zo = _point(rng, dtype), _point(rng, dtype)
    info = np.iinfo(dtype)
    real = (data.astype(float) - zi).mean(axis=(1, 2)) * si / so + zo
    for rounding, compute, block, bound in (
        ("TONEAREST", "float32", 0, 0.51),
        ("TFLITE", "int64", 0, 1.1),
        ("RUY", "int64", 16, 1.6),  # the zero point is rounded apart
    ):
        result = evaluate(
            lambda x, rounding=rounding, compute=compute, block=block: dialect.mean(
                x,
                scale(si),
                zero(zi),
                scale(so),
                zero(zo),
                axis=(1, 2),
                keepdims=False,
                rounding=rounding,
                compute_dtype=compute,
                tail_block=block,
            ),
            data,
        )
        assert np.abs(result - np.clip(real, info.min, info.max)).max() <= bound


@given(SEEDS, SCALES, SCALES, DTYPES)
@QUICK
def test_unary_tables_are_monotonic(seed: int, si: float, so: float, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    zi, zo = _point(rng, dtype), _point(rng, dtype)
    info = np.iinfo(dtype)
    data = np.arange(info.min, int(info.max) + 1).astype(dtype)
    for operator in (dialect.sigmoid, dialect.tanh, dialect.exp, dialect.erf):
        for rounding in ("TONEAREST", "AWAY"):
            result = evaluate(
                lambda x, operator=operator, rounding=rounding: operator(
                    x, scale(si), zero(zi), scale(so), zero(zo), rounding=rounding
                ),
                data,
            )
            assert np.all(np.diff(result.astype(int)) >= 0)


@given(SEEDS, DTYPES, st.integers(1, 6), st.integers(1, 9))
@QUICK
def test_resizing_stays_between_its_corners(seed: int, dtype: str, source: int, target: int) -> None:
    rng = np.random.default_rng(seed)
    data = _random(rng, (1, source, source, 2), dtype)
    for mode in ("asymmetric", "align_corners", "half_pixel"):
        for compute, rounding in (("int32", "UPWARD"), ("int32", "AWAY")):
            result = evaluate(
                lambda x, mode=mode, compute=compute, rounding=rounding: dialect.resize2d(
                    x,
                    scale(1),
                    zero(0),
                    size=(target, target),
                    coordinate_transformation_mode=mode,
                    compute_dtype=compute,
                    rounding=rounding,
                ),
                data,
            )
            assert result.min() >= data.min()
            assert result.max() <= data.max()
            if target == source:
                assert np.array_equal(result, data)
