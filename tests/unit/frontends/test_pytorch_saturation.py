from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotune_qnn.frontends.pytorch.graph import CpuTraits, Graph, Node, PackedWeights, ValueRef
from autotune_qnn.frontends.pytorch.saturation import is_depthwise, safe_activation, saturation_remarks
from autotune_qnn.quantization import Arithmetic


def packed(weight: Any, groups: int) -> PackedWeights:
    return PackedWeights(
        np.asarray(weight, np.int8), np.full(groups, 0.1), np.zeros(groups, np.int64), None, groups=groups
    )


def graph(weights: PackedWeights, engine: Arithmetic) -> Graph:
    node = Node(0, "quantized::conv2d", {"qx": ValueRef(0), "packed_weight": weights}, (1,))
    return Graph("one", engine, CpuTraits(True, True), (), (node,), (0,), ("x",), (1,))


@pytest.mark.parametrize(
    ("pair", "highest"),
    [((127, 127), 129), ((-128, -128), 127), ((127, -128), 255), ((64, 64), 255), ((100, 30), 252)],
)
def test_the_highest_activation_that_is_safe(pair: tuple[int, int], highest: int) -> None:
    taps = np.zeros((8, 1, 3, 3))
    taps[5, 0, 1, 1], taps[5, 0, 1, 2] = pair
    assert safe_activation(packed(taps, 8)) == highest


def test_taps_of_different_pairs_never_meet() -> None:
    taps = np.zeros((8, 1, 3, 3))
    taps[0, 0, 0, 1], taps[0, 0, 0, 2], taps[0, 0, 2, 2] = 127, 127, 127
    assert safe_activation(packed(taps, 8)) == 255


def test_only_fbgemms_depthwise_convolutions_are_told() -> None:
    weights = packed(np.full((128, 1, 3, 3), 127), 128)
    assert is_depthwise(weights)
    assert not is_depthwise(packed(np.full((4, 2, 3, 3), 127), 2))
    (line,) = saturation_remarks(graph(weights, Arithmetic.FBGEMM))
    assert "1 depthwise" in line
    assert "exceed 129" in line
    assert saturation_remarks(graph(weights, Arithmetic.ONEDNN)) == ()
    assert saturation_remarks(graph(packed(np.full((8, 1, 3, 3), 20), 8), Arithmetic.FBGEMM)) == ()
