"""Depthwise weights that take nine bits are split into int8 parts."""

from __future__ import annotations

import numpy as np
import pytest

from autotune_qnn.kernels.anchors.depthwise_wide import _parts


@pytest.mark.parametrize(
    ("lowest", "highest", "count"), [(-128, 127, 1), (-255, 127, 2), (-100, 254, 2), (0, 255, 3)]
)
def test_parts_sum_to_the_weights(lowest: int, highest: int, count: int) -> None:
    centred = np.arange(lowest, highest + 1, dtype=np.int32)
    parts = _parts(centred)
    assert len(parts) == count
    assert all(part.dtype == np.int8 for part in parts)
    np.testing.assert_array_equal(sum(part.astype(np.int32) for part in parts), centred)
