from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotune_qnn import dialect
from autotune_qnn.dialect.pairs import pairs_can_saturate
from autotune_qnn.errors import DialectError
from tests.support.dialect import evaluate, scale, zero


def _conv2d(data: Any, kernel: Any, zi: int = 0, zw: Any = 0, **attrs: Any) -> Any:
    kernel = np.asarray(kernel)
    arguments = {
        "kernel_size": kernel.shape[1:3],
        "channels": kernel.shape[0],
        "strides": (1, 1),
        "padding": (0, 0, 0, 0),
        **attrs,
    }
    operator = dialect.conv2d_transpose if "output_padding" in attrs else dialect.conv2d
    weights = dialect.constant(kernel)
    return evaluate(
        lambda x: operator(x, weights, zero(zi), zero(zw), scale(1), scale(1), **arguments),
        np.asarray(data),
    )


IMAGE = np.array([1, 2, 3, 4], np.uint8).reshape(1, 2, 2, 1)
KERNEL = np.array([1, 2, 3, 4], np.int8).reshape(1, 2, 2, 1)


def test_conv2d_subtracts_zero_points() -> None:
    result = _conv2d(IMAGE, KERNEL, zi=1)
    assert result.dtype == np.int32
    assert result.ravel().tolist() == [20]
    # One more on every weight adds the row sum of the data, 6.
    assert _conv2d(IMAGE, KERNEL, zi=1, zw=-1).ravel().tolist() == [26]


def test_conv2d_padding_holds_the_zero_point() -> None:
    result = _conv2d(IMAGE, KERNEL, zi=1, padding=(0, 0, 1, 1))
    assert result[0, :, :, 0].tolist() == [[20, 10], [8, 3]]
    result = _conv2d(IMAGE, KERNEL, zi=1, padding=(1, 1, 0, 0))
    assert result[0, :, :, 0].tolist() == [[0, 4], [8, 20]]


def test_conv2d_strides_and_dilation() -> None:
    line = np.arange(7, dtype=np.int8).reshape(1, 1, 7, 1)
    pair = np.array([1, 10], np.int8).reshape(1, 1, 2, 1)
    assert _conv2d(line, pair, strides=(1, 3)).ravel().tolist() == [10, 43]
    assert _conv2d(line, pair, dilation=(1, 5)).ravel().tolist() == [50, 61]


def test_depthwise_output_channels_follow_their_input() -> None:
    data = np.array([3, 5], np.int8).reshape(1, 1, 1, 2)
    kernel = np.array([1, 2, 10, 20], np.int8).reshape(4, 1, 1, 1)
    assert _conv2d(data, kernel, groups=2).ravel().tolist() == [3, 6, 50, 100]


def test_grouped_convolution() -> None:
    data = np.array([1, 2, 3, 4], np.int8).reshape(1, 1, 1, 4)
    kernel = np.array([[1, 10], [2, 20], [1, 1], [0, 5]], np.int8).reshape(4, 1, 1, 2)
    assert _conv2d(data, kernel, groups=2).ravel().tolist() == [21, 42, 7, 20]


def test_kernel_zero_point_per_channel() -> None:
    data = np.array([2], np.uint8).reshape(1, 1, 1, 1)
    kernel = np.array([10, 10], np.uint8).reshape(2, 1, 1, 1)
    assert _conv2d(data, kernel, zw=[0, 9]).ravel().tolist() == [20, 2]


def test_conv2d_is_exact_beyond_float32() -> None:
    depth = 1200
    data = np.full((1, 1, 1, depth), 255, np.uint8)
    kernel = np.full((1, 1, 1, depth), -127, np.int8)
    data[0, 0, 0, 0] = 254
    assert _conv2d(data, kernel).ravel().tolist() == [-127 * (255 * depth - 1)]


LINE = np.array([1, 2], np.int8).reshape(1, 1, 2, 1)
PAIR = np.array([1, 10], np.int8).reshape(1, 1, 2, 1)


def test_transposed_convolution_scatters_and_crops() -> None:
    def run(**attrs: Any) -> list[int]:
        return list(_conv2d(LINE, PAIR, **{"output_padding": (0, 0), **attrs}).ravel().tolist())

    assert run() == [1, 12, 20]
    assert run(strides=(1, 2)) == [1, 10, 2, 20]
    assert run(padding=(0, 1, 0, 0)) == [12, 20]
    assert run(padding=(0, 0, 0, 1)) == [1, 12]
    assert run(output_padding=(0, 1)) == [1, 12, 20, 0]
    assert run(dilation=(1, 3)) == [1, 2, 0, 10, 20]


def test_transposed_convolution_mixes_channels() -> None:
    data = np.array([1, 2], np.int8).reshape(1, 1, 1, 2)
    kernel = np.array([[1, 10], [3, 30], [0, 5]], np.int8).reshape(3, 1, 1, 2)
    assert _conv2d(data, kernel, zi=0, output_padding=(0, 0)).ravel().tolist() == [21, 63, 10]
    assert _conv2d(data, kernel, zi=1, output_padding=(0, 0)).ravel().tolist() == [10, 30, 5]


def test_grouped_transposed_convolution() -> None:
    data = np.array([1, 2], np.int8).reshape(1, 1, 1, 2)
    kernel = np.array([3, 4], np.int8).reshape(2, 1, 1, 1)
    assert _conv2d(data, kernel, groups=2, output_padding=(0, 0)).ravel().tolist() == [3, 8]


def _in_pairs(taps: list[int], data: list[int], zi: int = 0, zw: int = 0, **attrs: Any) -> list[int]:
    """A depthwise convolution of one channel by a window of one row."""
    kernel = np.array(taps, np.int8).reshape(1, 1, -1, 1)
    image = np.array(data, np.uint8).reshape(1, 1, -1, 1)
    result = _conv2d(image, kernel, zi, zw, accumulation="PAIRS_INT16", **attrs)
    return [int(value) for value in result.ravel()]


def test_pairs_of_products_saturate_by_themselves() -> None:
    assert _in_pairs([127, 127, 1], [255, 255, 255]) == [32767 + 255]
    assert _in_pairs([1, 127, 127], [255, 255, 255]) == [255 * 255]
    assert _in_pairs([-128, -128, 127, -128], [255] * 4) == [-32768 - 255]
    assert _in_pairs([127, 127, 127, 127], [255] * 4) == [2 * 32767]
    assert _in_pairs([64, 64], [255, 255]) == [255 * 128]


def test_zero_points_are_taken_off_saturated_pairs() -> None:
    assert _in_pairs([127, 127], [255, 255], zi=100) == [32767 - 100 * 254]
    assert _in_pairs([127, 127], [255, 255], zw=27) == [32767 - 27 * 510]
    # The border holds the zero point, which saturates as data do.
    assert _in_pairs([127, 127], [255], zi=200, padding=(0, 1, 0, 0)) == [32767 - 200 * 254]


@pytest.mark.parametrize(
    ("taps", "possible"),
    [([127, 2], True), ([127, 1], False), ([-128, -1], True), ([-128, 127], False), ([0, 127, 127], False)],
)
def test_pairs_that_can_saturate(taps: list[int], possible: bool) -> None:
    assert pairs_can_saturate(np.array([[0] * len(taps), taps], np.int8)) is possible


def test_only_depthwise_convolutions_of_unsigned_data_add_in_pairs() -> None:
    data, kernel = np.zeros((1, 1, 1, 2), np.uint8), np.zeros((1, 1, 1, 2), np.int8)
    with pytest.raises(DialectError, match="PAIRS_INT16 is for depthwise"):
        _conv2d(data, kernel, accumulation="PAIRS_INT16")
    with pytest.raises(DialectError, match="PAIRS_INT16 is for depthwise"):
        _conv2d(data[..., :1].astype(np.int8), kernel[..., :1], accumulation="PAIRS_INT16")
    with pytest.raises(DialectError, match="accumulation"):
        _conv2d(data, kernel, accumulation="TRIPLES")
