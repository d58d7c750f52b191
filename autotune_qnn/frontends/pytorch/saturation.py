"""Where fbgemm can leave the sums that the imported network computes: on CPUs without VNNI.

There its matrix products, too, add the products of neighbouring inputs in 16 bits that saturate. Activations up to 127,
for which networks are calibrated with `reduce_range`, cannot reach that; activations beyond the calibrated range can.
"""

from __future__ import annotations

from autotune_qnn.dialect.pairs import PAIRS_INT16, pairs_can_saturate
from autotune_qnn.frontends.pytorch.convolution import ohwi
from autotune_qnn.frontends.pytorch.engines import accumulation, convolution_stage, linear_stage
from autotune_qnn.frontends.pytorch.graph import Graph, PackedWeights
from autotune_qnn.quantization import Arithmetic


def saturation_remarks(graph: Graph) -> tuple[str, ...]:
    """A line for the report where layers of the graph may differ from fbgemm's on this machine, else none."""
    if graph.cpu.vnni:
        return ()
    count = sum(_may_differ(graph, weights) for weights in graph.packed())
    if not count:
        return ()
    line = (
        f"without VNNI fbgemm adds products in pairs in 16 bits that saturate: outputs of {count} layers may differ "
        "where activations leave the range that networks are calibrated for"
    )
    return (line,)


def _may_differ(graph: Graph, weights: PackedWeights) -> bool:
    if weights.weight.ndim == 2:
        return linear_stage(graph.engine) == Arithmetic.FBGEMM and pairs_can_saturate(weights.weight)
    stage = convolution_stage(graph.engine, weights, graph.cpu)
    known = accumulation(stage, weights) == PAIRS_INT16
    return stage == Arithmetic.FBGEMM and not known and pairs_can_saturate(ohwi(weights))
