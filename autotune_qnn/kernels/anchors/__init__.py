"""Anchors: the operators around which a kernel is built (convolutions, dense, pooling), as TensorIR computations."""

from __future__ import annotations

from autotune_qnn.kernels.anchors import convolution
from autotune_qnn.kernels.anchors.registry import Anchor, AnchorCall, anchor_rule, is_anchor, takes_bias

__all__ = ["Anchor", "AnchorCall", "anchor_rule", "convolution", "is_anchor", "takes_bias"]
