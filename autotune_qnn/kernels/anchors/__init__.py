"""Anchors: the operators around which a kernel is built (convolutions, pooling, softmax, …), in TensorIR."""

from __future__ import annotations

from autotune_qnn.kernels.anchors import convolution, pooling, softmax
from autotune_qnn.kernels.anchors.registry import (
    Anchor,
    AnchorCall,
    anchor_rule,
    is_anchor,
    needs_unsigned,
    takes_bias,
)

__all__ = [
    "Anchor",
    "AnchorCall",
    "anchor_rule",
    "convolution",
    "is_anchor",
    "needs_unsigned",
    "pooling",
    "softmax",
    "takes_bias",
]
