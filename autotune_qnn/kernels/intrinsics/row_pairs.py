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

from autotune_qnn.kernels.intrinsics.interleave import rows_description, shuffle, unpack


def row_pairs_intrinsic(group: int, taps: int) -> str:
    """Name of the intrinsic that multiplies one or two rows of `group` channels with 16-bit weights, and sums."""
    return f"aq_row_pairs_{group}x{taps}"


def _pair(buffer: Any, group: int, taps: int, j: int) -> Any:
    """Register j of pairs of 16-bit numbers: two rows interleaved byte by byte, and the result with zeros."""
    registers, zeros = group // 16, T.broadcast(T.uint8(0), group)
    rows = [buffer.vload([tap, 0], dtype=f"uint8x{group}") if tap < taps else zeros for tap in (0, 1)]
    both = shuffle(rows[0], rows[1], unpack(registers, 8, 8 * (j // 2)))
    return T.reinterpret(shuffle(both, zeros, unpack(registers, 8, 8 * (j % 2))), dtype=f"int16x{group // 2}")


_MADDWD = {16: "llvm.x86.sse2.pmadd.wd", 32: "llvm.x86.avx2.pmadd.wd", 64: "llvm.x86.avx512.pmaddw.d.512"}


def _row_pairs_implementation(group: int, taps: int) -> Any:
    lanes = group // 4
    name = _MADDWD[group]

    def total(A: Any, B: Any, C: Any, j: int) -> Any:
        return C.vload([j, 0], dtype=f"int32x{lanes}") + T.call_llvm_pure_intrin(
            T.llvm_lookup_intrinsic_id(name),
            _pair(A, group, taps, j),
            B.vload([j, 0, 0], dtype=f"int16x{group // 2}"),
            dtype=f"int32x{lanes}",
        )

    @T.prim_func(s_tir=True)
    def implementation(
        A: T.Buffer((taps, group), "uint8", offset_factor=1),
        B: T.Buffer((4, lanes, 2), "int16", offset_factor=1),
        C: T.Buffer((4, lanes), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:4, 0:lanes], A[0:taps, 0:group], B[0:4, 0:lanes, 0:2])
            T.writes(C[0:4, 0:lanes])
            C[0, T.ramp(T.int32(0), 1, lanes)] = total(A, B, C, 0)
            C[1, T.ramp(T.int32(0), 1, lanes)] = total(A, B, C, 1)
            C[2, T.ramp(T.int32(0), 1, lanes)] = total(A, B, C, 2)
            C[3, T.ramp(T.int32(0), 1, lanes)] = total(A, B, C, 3)

    return implementation


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
