"""Element rules: what an elementwise QNN operator computes for one element, as a TensorIR expression."""

from __future__ import annotations

from autotune_qnn.kernels.elements import (
    binary,
    clip,
    concatenate,
    conversion,
    hardswish,
    output_stage,
    prelu,
    pytorch,
    requantize,
    table,
)
from autotune_qnn.kernels.elements.registry import (
    ElementCall,
    element_rule,
    is_channelwise,
    is_elementwise,
)

__all__ = [
    "ElementCall",
    "binary",
    "clip",
    "concatenate",
    "conversion",
    "element_rule",
    "hardswish",
    "is_channelwise",
    "is_elementwise",
    "output_stage",
    "prelu",
    "pytorch",
    "requantize",
    "table",
]
