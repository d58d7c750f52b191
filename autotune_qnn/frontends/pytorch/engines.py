"""Which library's arithmetic each layer follows under PyTorch's quantized engines, and the engine that a network was
made for.
"""

from __future__ import annotations

import numpy as np

from autotune_qnn.dialect.pairs import EXACT, PAIRS_INT16
from autotune_qnn.errors import UsageError
from autotune_qnn.frontends.pytorch.graph import CpuTraits, Graph, PackedWeights
from autotune_qnn.quantization import Arithmetic

ENGINES = (Arithmetic.X86, Arithmetic.FBGEMM, Arithmetic.ONEDNN, Arithmetic.QNNPACK)
MOST_ONEDNN_GROUPS = 100


def checked_engine(arithmetic: Arithmetic) -> Arithmetic:
    """UsageError for an arithmetic that is none of PyTorch's."""
    if arithmetic not in ENGINES:
        names = ", ".join(engine.value for engine in ENGINES)
        raise UsageError(f"PyTorch has no arithmetic {arithmetic.value}; choose one of {names}")
    return arithmetic


def engine_made_for(graph: Graph) -> Arithmetic:
    """The engine whose quantization configuration leaves such weights: one scale a tensor is qnnpack's, one a channel
    the servers'. A file does not record it.
    """
    packed = graph.packed()
    if packed and not any(weights.per_channel for weights in packed):
        return Arithmetic.QNNPACK
    return Arithmetic.X86


def convolution_stage(engine: Arithmetic, weights: PackedWeights, cpu: CpuTraits) -> str:
    """The output stage of a convolution."""
    if engine is Arithmetic.X86:
        engine = Arithmetic.ONEDNN if _prefers_onednn(weights, cpu) else Arithmetic.FBGEMM
    if engine is not Arithmetic.ONEDNN:
        return engine.value
    return "onednn_depthwise" if weights.groups > 1 else cpu.dense_stage


def _prefers_onednn(weights: PackedWeights, cpu: CpuTraits) -> bool:
    """The choice of the engine x86 between oneDNN and fbgemm."""
    symmetric = not np.any(weights.zero_point)
    extended = any(weights.output_padding)
    return cpu.vnni and symmetric and weights.groups <= MOST_ONEDNN_GROUPS and not extended


def accumulation(stage: str, weights: PackedWeights) -> str:
    """How the kernel that a convolution runs in adds products: fbgemm's depthwise kernel in pairs (see `pairs`)."""
    return PAIRS_INT16 if stage == Arithmetic.FBGEMM and _fbgemm_depthwise(weights) else EXACT


def _fbgemm_depthwise(weights: PackedWeights) -> bool:
    """Whether fbgemm has a depthwise kernel for the convolution. Its others add in 32 bits where there is VNNI."""
    if weights.weight.ndim != 4 or weights.transposed or weights.weight.shape[1] != 1:
        return False
    side = weights.weight.shape[2]
    return (
        weights.groups % 8 == 0
        and weights.channels in (weights.groups, 2 * weights.groups)
        and side in (3, 5, 7)
        and weights.weight.shape[3] == side
        and set(weights.stride) <= {1, 2}
        and set(weights.dilation) == {1}
        and set(weights.padding) == {side // 2}
    )


def linear_stage(engine: Arithmetic) -> str:
    """The output stage of a linear layer."""
    if engine is Arithmetic.X86:
        return "fbgemm"
    return "onednn_linear" if engine is Arithmetic.ONEDNN else engine.value
