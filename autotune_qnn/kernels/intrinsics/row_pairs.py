"""Pairs of neighbouring rows times pairs of 16-bit weights, for depthwise kernels: vpmaddwd.

Bytes of two rows are interleaved by unpack instructions, and then with zeros, which widens them. This leaves channels
in the order of kernels/intrinsics/interleave.py.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

from autotune_qnn.kernels.intrinsics.interleave import rows_description, rows_implementation, unpack
from autotune_qnn.kernels.intrinsics.x86 import MADDWD, instruction, shuffle


def row_pairs_intrinsic(group: int, taps: int) -> str:
    """Name of the intrinsic that multiplies one or two rows of `group` channels with 16-bit weights, and sums."""
    return f"aq_row_pairs_{group}x{taps}"


def _pair(buffer: Any, group: int, taps: int, j: int) -> Any:
    """Register j of pairs of 16-bit numbers: two rows interleaved byte by byte, and the result with zeros."""
    registers, zeros = group // 16, T.broadcast(T.uint8(0), group)
    rows = [buffer.vload([tap, 0], dtype=f"uint8x{group}") if tap < taps else zeros for tap in (0, 1)]
    both = shuffle(rows[0], rows[1], unpack(registers, 8, 8 * (j // 2)))
    return T.reinterpret(shuffle(both, zeros, unpack(registers, 8, 8 * (j % 2))), dtype=f"int16x{group // 2}")


def _row_pairs_implementation(group: int, taps: int) -> Any:
    lanes = group // 4

    def total(A: Any, B: Any, C: Any, j: int) -> Any:
        weights = B.vload([j, 0, 0], dtype=f"int16x{group // 2}")
        products = instruction(MADDWD[lanes], lanes, _pair(A, group, taps, j), weights)
        return C.vload([j, 0], dtype=f"int32x{lanes}") + products

    return rows_implementation(group, taps, 2, "int16", total)


_NAME = re.compile(r"aq_row_pairs_(16|32|64)x([12])")


@functools.cache
def register(name: str) -> bool:
    """Register one intrinsic of this file with TensorIR, once; False where the name is none of them."""
    found = _NAME.fullmatch(name)
    if found is None:
        return False
    group, taps = int(found[1]), int(found[2])
    description = rows_description(group, taps, 2, "int16")
    TensorIntrin.register(name, description, _row_pairs_implementation(group, taps))
    return True
