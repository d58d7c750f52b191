"""PyTorch's averages and interpolation: which rounding applies where, and what type inference refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autotune_qnn import dialect
from autotune_qnn.dialect.adaptive_pool import adaptive_windows
from autotune_qnn.dialect.pytorch_pooling import cascade, interleaved, summed_in_rows
from autotune_qnn.dialect.resize import interpolation_pytorch
from autotune_qnn.errors import DialectError
from tests.support.dialect import evaluate, scale, variable, zero

f4 = np.float32


def real(value: Any) -> Any:
    return dialect.constant(value, "float64")


def _image(values: Any, channels: int = 1) -> Any:
    """(1, H, W, channels) with equal channels."""
    return np.repeat(np.array(values, "uint8")[None, :, :, None], channels, axis=3)


def _average(x: Any, zero_point: int = 1, **attrs: Any) -> Any:
    arguments = {"pool_size": (2, 2), "strides": (2, 2), "padding": (0, 0, 0, 0), **attrs}
    parameters = (real(0.5), zero(zero_point))
    return (
        evaluate(lambda d: dialect.avg_pool2d(d, *parameters, *parameters, **arguments), x).ravel().tolist()
    )


def _adaptive(x: Any, zero_point: int, **attrs: Any) -> Any:
    return evaluate(
        lambda d: dialect.adaptive_avg_pool2d(d, real(0.5), zero(zero_point), **attrs), x
    ).tolist()


def _mean(x: Any, zero_point: int, scale_value: float = 0.5, **attrs: Any) -> Any:
    parameters = (real(scale_value), zero(zero_point))
    return evaluate(
        lambda d: dialect.mean(d, *parameters, *parameters, axis=(1, 2), keepdims=False, **attrs), x
    ).tolist()


def test_averages_tie_by_channel_and_memory() -> None:
    # 2 + 3 + 2 + 3 is 10; with zero point 1, 6/4 = 1.5: rint(1.5) + 1 = 3, rint(2.5) = 2.
    x = _image([[2, 3], [2, 3]], 17)
    assert _average(x, engine="pytorch") == [3] * 16 + [2]
    assert _average(x, engine="pytorch", tail_block=8) == [3] * 16 + [2]
    assert _average(x, engine="pytorch", memory_order="NCHW") == [2] * 17
    assert _average(x, engine="qnnpack") == [3] * 17


def test_averages_count_padding_as_asked() -> None:
    x, padding = _image([[9]]), {"padding": (1, 1, 0, 0), "strides": (1, 1)}
    assert _average(x, engine="pytorch", **padding) == [9]
    assert _average(x, engine="pytorch", count_include_pad=True, **padding) == [3]
    assert _average(x, engine="pytorch", divisor=2, **padding) == [5]
    assert _average(x, engine="qnnpack", **padding) == [3]


def test_adaptive_averages() -> None:
    assert adaptive_windows(7, 3) == [(0, 3), (2, 5), (4, 7)]
    x = _image([[0, 2, 4], [1, 3, 5]], 9)
    whole = _adaptive(x, 0, output_size=(1, 1))
    assert whole == [[[[2] * 9]]]  # 15/6 = 2.5
    assert _adaptive(x, 1, output_size=(1, 1)) == [[[[2] * 9]]]  # 1.5 + 1
    assert _adaptive(x, 0, output_size=(1, 1), engine="qnnpack") == whole
    assert _adaptive(x, 0, output_size=(2, 3), memory_order="NCHW") == x.tolist()
    assert _adaptive(_image([[0, 2, 4]]), 0, output_size=(1, 2)) == [[[[1], [3]]]]


def test_means_by_memory() -> None:
    x = _image([[2, 3], [2, 3]], 2)
    assert _mean(x, 1, engine="pytorch") == [[2, 2]]
    assert _mean(x, 1, engine="pytorch", memory_order="NCHW") == [[2, 2]]
    assert _mean(x, 1, engine="qnnpack") == [[3, 3]]


def test_sums_add_in_levels() -> None:
    """A large value first swallows what follows in its own partial sum, and nothing of the others."""
    values = np.ones((1, 33, 1), f4)
    values[0, 0] = 2.0**24
    # Two blocks of 16 and one left over: 1, then 2²⁴ (fifteen ones are lost) and 16.
    assert cascade(values)[0, 0] == f4(1) + f4(f4(2.0**24) + f4(16))
    # Four interleaved sums of eight, the first swallowing seven ones and the one left over.
    assert interleaved(values)[0, 0] == f4(2.0**24) + f4(24)
    assert interleaved(np.ones((1, 3, 1), f4))[0, 0] == 3
    assert cascade(np.ones((1, 5000, 1), f4))[0, 0] == 5000
    assert [summed_in_rows(channels, 32) for channels in (3, 6, 9, 31, 64, 70)] == [0, 4, 0, 0, 64, 64]


def test_interpolation_places() -> None:
    corners = interpolation_pytorch(3, 5, "align_corners", fused=False)
    assert corners.lower.tolist() == [0, 0, 1, 1, 2]
    assert corners.upper.tolist() == [1, 1, 2, 2, 2]
    assert corners.weight.tolist() == [0, 0.5, 0, 0.5, 0]
    half = interpolation_pytorch(2, 4, "half_pixel", fused=True)
    assert half.lower.tolist() == [0, 0, 0, 1]
    assert half.weight.tolist() == [0, 0.25, 0.75, 0.25]
    assert interpolation_pytorch(2, 4, "half_pixel", fused=True, factor=2.5).weight[1] == f4(
        f4(0.4) * 1.5 - 0.5
    )
    assert interpolation_pytorch(3, 1, "align_corners", fused=False).lower.tolist() == [0]


def _resized(x: Any, **attrs: Any) -> Any:
    arguments = {"coordinate_transformation_mode": "align_corners", "engine": "pytorch", **attrs}
    return evaluate(lambda d: dialect.resize2d(d, real(0.5), zero(7), **arguments), x)[0, :, :, 0].tolist()


@pytest.mark.parametrize("order", ["NHWC", "NCHW"])
def test_interpolation(order: str) -> None:
    x = _image([[0, 4], [8, 12]], 9)
    assert _resized(x, size=(3, 3), memory_order=order) == [[0, 2, 4], [4, 6, 8], [8, 10, 12]]
    assert _resized(_image([[1, 4]]), size=(1, 3), memory_order=order) == [[1, 2, 4]]  # 2.5 ties to even


def test_an_image_of_unchanged_size_is_copied_in_nchw_only() -> None:
    x, scaled = _image([[0, 8]]), {"scales": (1.0, 1.4), "coordinate_transformation_mode": "half_pixel"}
    assert _resized(x, size=(1, 2), memory_order="NCHW", **scaled) == [[0, 8]]
    assert _resized(x, size=(1, 2), memory_order="NHWC", **scaled) == [[0, 5]]


IMAGE = variable((1, 4, 4, 3), "uint8")
PARAMETERS = (real(1), zero(0))
WINDOW = {"pool_size": (2, 2), "strides": (1, 1), "padding": (0, 0, 0, 0)}
REJECTED: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: dialect.add(IMAGE, IMAGE, *[scale(1), zero(0)] * 3, engine="pytorch"),
        "qnn.add: lhs_scale must be float64, not float32",
    ),
    (
        lambda: dialect.mul(IMAGE, IMAGE, *PARAMETERS * 3, engine="qnnpack"),
        "qnn.mul: attribute engine must be",
    ),
    (
        lambda: dialect.add(IMAGE, IMAGE, *PARAMETERS * 3, engine="pytorch", tail_block=0),
        "qnn.add: attribute tail_block must be positive for engine pytorch",
    ),
    (
        lambda: dialect.add(IMAGE, IMAGE, *PARAMETERS * 3, engine="pytorch", memory_order="CHWN"),
        "qnn.add: attribute memory_order must be NHWC or NCHW, not 'CHWN'",
    ),
    (
        lambda: dialect.exp(IMAGE, *[scale(1), zero(0)] * 2, memory_order="NCHW"),
        "qnn.exp: attribute memory_order must be NHWC without an engine, not 'NCHW'",
    ),
    (
        lambda: dialect.exp(IMAGE, *PARAMETERS * 2, engine="pytorch"),
        "qnn.exp: attribute engine must be",
    ),
    (
        lambda: dialect.avg_pool2d(IMAGE, *PARAMETERS, real(2), zero(0), engine="pytorch", **WINDOW),
        "qnn.avg_pool2d: output_scale must equal input_scale",
    ),
    (
        lambda: dialect.avg_pool2d(IMAGE, *[scale(1), zero(0)] * 2, divisor=3, **WINDOW),
        "qnn.avg_pool2d: attribute divisor must not be negative, and 0 without an engine",
    ),
    (
        lambda: dialect.adaptive_avg_pool2d(IMAGE, *PARAMETERS, output_size=(3, 3), engine="qnnpack"),
        "qnn.adaptive_avg_pool2d: attribute output_size [3, 3] must divide the image's [4, 4]",
    ),
    (
        lambda: dialect.mean(IMAGE, *PARAMETERS * 2, axis=(1,), keepdims=True, engine="pytorch"),
        "qnn.mean: attribute axis must hold the image's axes for engine pytorch, not [1]",
    ),
    (
        lambda: dialect.resize2d(IMAGE, *PARAMETERS, size=(2, 2), engine="pytorch"),
        "qnn.resize2d: attribute coordinate_transformation_mode must be align_corners or half_pixel",
    ),
    (
        lambda: dialect.resize2d(
            IMAGE,
            *PARAMETERS,
            size=(2, 2),
            coordinate_transformation_mode="half_pixel",
            engine="pytorch",
            scales=(0.5,),
        ),
        "qnn.resize2d: attribute scales must hold two positive factors, or none, not [0.5]",
    ),
    (
        lambda: dialect.batch_norm(IMAGE, *[scale(np.ones(2))] * 4, *PARAMETERS * 2, epsilon=0.1),
        "qnn.batch_norm: gamma must have shape (3,), not (2,)",
    ),
    (
        lambda: dialect.quantize(
            variable((4,), "float32"), scale(1), zero(0), out_dtype="int8", engine="pytorch"
        ),
        "qnn.quantize: output_scale must be float64, not float32",
    ),
]


@pytest.mark.parametrize(("build", "message"), REJECTED, ids=[message[:60] for _, message in REJECTED])
def test_rejected(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(DialectError) as caught:
        build()
    assert message in str(caught.value)
