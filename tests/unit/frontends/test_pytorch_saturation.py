from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autotune_qnn.frontends.pytorch.engines import accumulation
from autotune_qnn.frontends.pytorch.graph import CpuTraits, Graph, Node, PackedWeights, ValueRef
from autotune_qnn.frontends.pytorch.saturation import saturation_remarks
from autotune_qnn.quantization import Arithmetic


def packed(shape: tuple[int, ...], groups: int, value: int = 127, **options: Any) -> PackedWeights:
    side = shape[2]
    geometry = {"stride": (1, 1), "padding": (side // 2,) * 2, "output_padding": (0, 0), "dilation": (1, 1)}
    return PackedWeights(
        np.full(shape, value, np.int8),
        np.full(shape[0], 0.1),
        np.zeros(shape[0], np.int64),
        None,
        groups=groups,
        **(geometry | options),
    )


def graph(weights: PackedWeights, engine: Arithmetic, vnni: bool) -> Graph:
    node = Node(0, "quantized::conv2d", {"qx": ValueRef(0), "packed_weight": weights}, (1,))
    return Graph("one", engine, CpuTraits(True, vnni), (), (node,), (0,), ("x",), (1,))


@pytest.mark.parametrize(
    ("weights", "pairs"),
    [
        (packed((8, 1, 3, 3), 8), True),
        (packed((16, 1, 5, 5), 8, stride=(2, 1)), True),
        (packed((8, 1, 7, 7), 8), True),
        (packed((12, 1, 3, 3), 12), False),
        (packed((24, 1, 3, 3), 8), False),
        (packed((8, 1, 3, 3), 8, padding=(0, 0)), False),
        (packed((8, 1, 3, 3), 8, stride=(3, 3)), False),
        (packed((8, 1, 3, 3), 8, dilation=(2, 2)), False),
        (packed((8, 1, 9, 9), 8), False),
        (packed((8, 1, 3, 3), 8, transposed=True), False),
        (packed((8, 2, 3, 3), 4), False),
    ],
)
def test_which_convolutions_fbgemm_adds_in_pairs(weights: PackedWeights, pairs: bool) -> None:
    assert accumulation("fbgemm", weights) == ("PAIRS_INT16" if pairs else "EXACT")
    assert accumulation("onednn_depthwise", weights) == "EXACT"
    assert accumulation("qnnpack", weights) == "EXACT"


def test_without_vnni_the_other_layers_are_told() -> None:
    dense = packed((8, 16, 3, 3), 1)
    (line,) = saturation_remarks(graph(dense, Arithmetic.FBGEMM, vnni=False))
    assert "outputs of 1 layers" in line
    assert saturation_remarks(graph(dense, Arithmetic.FBGEMM, vnni=True)) == ()
    assert saturation_remarks(graph(dense, Arithmetic.QNNPACK, vnni=False)) == ()
    assert saturation_remarks(graph(packed((8, 16, 3, 3), 1, 64), Arithmetic.FBGEMM, vnni=False)) == ()
    assert saturation_remarks(graph(packed((8, 1, 3, 3), 8), Arithmetic.FBGEMM, vnni=False)) == ()
