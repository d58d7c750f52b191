"""Padding, slices and nearest-neighbour indices by hand."""

from __future__ import annotations

import numpy as np
import pytest

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.tflite.options import Padding, StridedSliceOptions
from autotune_qnn.frontends.tflite.pooling import nearest_indices
from autotune_qnn.frontends.tflite.slicing import strided_cuts
from autotune_qnn.frontends.tflite.windows import transpose_padding, window_padding

PLAIN = StridedSliceOptions(0, 0, 0, 0, 0, False)


def test_same_puts_the_odd_element_last() -> None:
    assert window_padding(Padding.SAME, (224, 224), (3, 3), (2, 2)) == (0, 0, 1, 1)
    assert window_padding(Padding.SAME, (7, 7), (3, 3), (1, 1)) == (1, 1, 1, 1)
    assert window_padding(Padding.SAME, (49, 10), (10, 4), (2, 2)) == (4, 1, 5, 1)
    assert window_padding(Padding.SAME, (9, 9), (3, 3), (1, 1), (2, 2)) == (2, 2, 2, 2)


def test_valid_pads_nothing_and_must_fit() -> None:
    assert window_padding(Padding.VALID, (7, 7), (7, 7), (1, 1)) == (0, 0, 0, 0)
    with pytest.raises(ModelError, match="does not fit"):
        window_padding(Padding.VALID, (6, 7), (7, 7), (1, 1))
    with pytest.raises(ModelError, match="must be positive"):
        window_padding(Padding.VALID, (6, 7), (1, 1), (0, 1))


def test_transposed_padding_crops_or_appends() -> None:
    assert transpose_padding((4, 4), (3, 3), (2, 2), (8, 8), Padding.SAME) == ((0, 0, 1, 1), (0, 0))
    assert transpose_padding((4, 4), (3, 3), (2, 2), (9, 9), Padding.VALID) == ((0, 0, 0, 0), (0, 0))
    assert transpose_padding((4, 4), (1, 1), (2, 2), (8, 8), Padding.SAME) == ((0, 0, 0, 0), (1, 1))


@pytest.mark.parametrize("begin,end,stride", [(0, 5, 1), (-3, -1, 1), (1, 99, 2), (4, -6, -1), (99, -99, -2)])
def test_strided_cuts_follow_python_where_both_are_defined(begin: int, end: int, stride: int) -> None:
    (cut,) = strided_cuts((5,), [begin], [end], [stride], PLAIN)
    assert list(cut.indices()) == list(range(5))[begin:end:stride]


def test_strided_cuts_refuse_stride_zero() -> None:
    with pytest.raises(ModelError, match="does not fit"):
        strided_cuts((5,), [0], [5], [0], PLAIN)


def test_nearest_indices() -> None:
    np.testing.assert_array_equal(nearest_indices(3, 6, False, False), [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(nearest_indices(3, 6, False, True), [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(nearest_indices(3, 5, True, False), [0, 1, 1, 2, 2])
