"""Tensor intrinsics: what one vector instruction computes, and the LLVM intrinsic that does it."""

from __future__ import annotations

from autotune_qnn.kernels.intrinsics import interleave, row_pairs
from autotune_qnn.kernels.intrinsics.x86 import DEPTHWISE, register_all, sketch_intrinsics, words_intrinsic

__all__ = ["DEPTHWISE", "ensure", "register_all", "sketch_intrinsics", "words_intrinsic"]


def ensure(name: str) -> None:
    """Register the intrinsic of that name; names that are not ours are left to TVM.

    Each takes TVM's parser a few tenths of a second, so only what is used gets registered.
    """
    if not interleave.register(name) and not row_pairs.register(name):
        register_all()
