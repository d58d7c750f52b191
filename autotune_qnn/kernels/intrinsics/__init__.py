"""Tensor intrinsics: what one vector instruction computes, and the LLVM intrinsic that does it."""

from __future__ import annotations

from autotune_qnn.kernels.intrinsics.x86 import register_all, sketch_intrinsics

__all__ = ["register_all", "sketch_intrinsics"]
