"""Anchors: the operators around which a kernel is built (convolutions, pooling, softmax, …), in TensorIR."""

from __future__ import annotations

from autotune_qnn.kernels.anchors import (
    concatenate,
    convolution,
    matmul,
    pooling,
    pytorch_pooling,
    pytorch_resize,
    resize,
    softmax,
    transposed,
)
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
    "concatenate",
    "convolution",
    "is_anchor",
    "matmul",
    "needs_unsigned",
    "pooling",
    "pytorch_pooling",
    "pytorch_resize",
    "resize",
    "softmax",
    "takes_bias",
    "transposed",
]
