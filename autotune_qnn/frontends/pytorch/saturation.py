"""Where fbgemm's depthwise convolutions can leave the exact sum.

They multiply with vpmaddubsw, which adds the products of two neighbouring taps of the window (in row-major order: 0 and
1, 2 and 3, …) in 16 bits and saturates. Activations up to 127, for which networks are calibrated with `reduce_range`,
cannot reach that; activations beyond the calibrated range can. The imported network computes the exact sum.
"""

from __future__ import annotations

import numpy as np

from autotune_qnn.frontends.pytorch.engines import convolution_stage
from autotune_qnn.frontends.pytorch.graph import Graph, PackedWeights

_HIGHEST_SUM = 32767
_HIGHEST_ACTIVATION = 255


def saturation_remarks(graph: Graph) -> tuple[str, ...]:
    """A line for the report where depthwise convolutions of the graph may differ from fbgemm's, else none."""
    safe = [
        safe_activation(weights)
        for weights in graph.packed()
        if is_depthwise(weights) and convolution_stage(graph.engine, weights, graph.cpu) == "fbgemm"
    ]
    reachable = [activation for activation in safe if activation < _HIGHEST_ACTIVATION]
    if not reachable:
        return ()
    line = (
        f"fbgemm's {len(reachable)} depthwise convolutions add products in pairs in 16 bits that saturate: outputs may "
        f"differ where stored activations exceed {min(reachable)}, beyond the range that networks are calibrated for"
    )
    return (line,)


def is_depthwise(weights: PackedWeights) -> bool:
    """Whether every output channel has one input channel of its own."""
    return (
        weights.weight.ndim == 4
        and not weights.transposed
        and weights.groups == weights.channels > 1
        and weights.weight.shape[1] == 1
    )


def safe_activation(weights: PackedWeights) -> int:
    """The highest stored activation up to which no pair of products can saturate, at most 255."""
    taps = weights.weight.reshape(weights.channels, -1).astype(np.int64)
    even = np.pad(taps, ((0, 0), (0, taps.shape[1] % 2))).reshape(weights.channels, -1, 2)
    worst = max(int(np.maximum(even, 0).sum(2).max()), int(np.maximum(-even, 0).sum(2).max()), 1)
    return min(_HIGHEST_ACTIVATION, _HIGHEST_SUM // worst)
