"""Byte interleaving for depthwise kernels, by AVX2's and AVX-512's unpack and pack instructions.

Unpack instructions work within each 128-bit lane, so that interleaving the bytes of neighbouring rows leaves the
channels of a group in another order, and packing int32 results to bytes undoes exactly that order. With G channels a
group and V = G / 4 int32 lanes a register, place [j, v] holds channel 16 * (v // 4) + 4 * j + v % 4.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T


def channel_order(group: int) -> NDArray[np.int64]:
    """For each place in a group's order, the channel of the group that is there."""
    lanes = np.arange(group).reshape(group // 16, 4, 4)
    return np.asarray(lanes.transpose(1, 0, 2).reshape(-1), np.int64)


def quads_intrinsic(group: int, taps: int) -> str:
    """Name of the intrinsic that makes int32 quads of `taps` neighbouring rows of `group` channels."""
    return f"aq_quads_{group}x{taps}"


def narrow_intrinsic(group: int, dtype: str) -> str:
    """Name of the intrinsic that saturates `group` int32 values to 8 bits, in the channels' own order."""
    return f"aq_narrow_{group}_{dtype}"


def turns_intrinsic(count: int, dtype: str) -> str:
    """Name of the intrinsic that puts the bytes of two rows of `count` into one row, in turns."""
    return f"aq_turns_{count}_{dtype}"


def _shuffle(first: Any, second: Any, order: list[int]) -> Any:
    return tirx.Shuffle([first, second], [tirx.const(place, "int32") for place in order])


def _unpack(lanes: int, count: int, offset: int) -> list[int]:
    """Order of an unpack of two registers: `count` elements from `offset` of each 128-bit lane, in turns."""
    width = 2 * count
    size = lanes * width
    return [
        place + other
        for lane in range(lanes)
        for place in range(width * lane + offset, width * lane + offset + count)
        for other in (0, size)
    ]


def _tap(value: Any, place: int) -> Any:
    wide = T.cast(value, "int32")
    return wide if place == 0 else T.shift_left(wide, 8 * place)


def _joined(read: Any, taps: int) -> Any:
    """The bytes of the taps in one int32, the first lowest."""
    value = _tap(read(0), 0)
    for place in range(1, taps):
        value = T.bitwise_or(value, _tap(read(place), place))
    return value


def _quads_description(group: int, taps: int) -> Any:
    lanes = group // 4

    @T.prim_func(s_tir=True)
    def description(
        A: T.Buffer((taps, group), "uint8", offset_factor=1),
        C: T.Buffer((4, lanes), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(A[0:taps, 0:group])
            T.writes(C[0:4, 0:lanes])
            for j in range(4):
                for v in range(lanes):
                    with T.sblock("quad"):
                        vj, vv = T.axis.remap("SS", [j, v])
                        C[vj, vv] = _joined(lambda tap: A[tap, vv // 4 * 16 + vj * 4 + vv % 4], taps)

    return description


def _quads_implementation(group: int, taps: int) -> Any:
    registers, lanes = group // 16, group // 4
    byte_type, word_type, quad_type = f"uint8x{group}", f"uint16x{group // 2}", f"int32x{lanes}"

    def row(buffer: Any, tap: int) -> Any:
        return buffer.vload([tap, 0], dtype=byte_type) if tap < taps else T.broadcast(T.uint8(0), group)

    def quad(buffer: Any, j: int) -> Any:
        """Interleave rows 0 with 1 and 2 with 3 byte by byte, then the two results word by word."""
        halves = [
            T.reinterpret(
                _shuffle(row(buffer, tap), row(buffer, tap + 1), _unpack(registers, 8, 8 * (j // 2))),
                dtype=word_type,
            )
            for tap in (0, 2)
        ]
        return T.reinterpret(
            _shuffle(halves[0], halves[1], _unpack(registers, 4, 4 * (j % 2))), dtype=quad_type
        )

    @T.prim_func(s_tir=True)
    def implementation(
        A: T.Buffer((taps, group), "uint8", offset_factor=1),
        C: T.Buffer((4, lanes), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(A[0:taps, 0:group])
            T.writes(C[0:4, 0:lanes])
            C[0, T.ramp(T.int32(0), 1, lanes)] = quad(A, 0)
            C[1, T.ramp(T.int32(0), 1, lanes)] = quad(A, 1)
            C[2, T.ramp(T.int32(0), 1, lanes)] = quad(A, 2)
            C[3, T.ramp(T.int32(0), 1, lanes)] = quad(A, 3)

    return implementation


def _narrow_description(group: int, dtype: str) -> Any:
    lanes = group // 4
    low, high = (0, 255) if dtype == "uint8" else (-128, 127)

    @T.prim_func(s_tir=True)
    def description(
        A: T.Buffer((4, lanes), "int32", offset_factor=1), C: T.Buffer((group,), dtype, offset_factor=1)
    ) -> None:
        with T.sblock("root"):
            T.reads(A[0:4, 0:lanes])
            T.writes(C[0:group])
            for c in range(group):
                with T.sblock("narrow"):
                    vc = T.axis.remap("S", [c])
                    C[vc] = T.cast(T.max(T.min(A[vc % 16 // 4, vc // 16 * 4 + vc % 4], high), low), dtype)

    return description


_PACKS = {16: "llvm.x86.sse2.{}.128", 32: "llvm.x86.avx2.{}", 64: "llvm.x86.avx512.{}.512"}


def _narrow_implementation(group: int, dtype: str) -> Any:
    lanes = group // 4
    quad_type, word_type = f"int32x{lanes}", f"int16x{group // 2}"
    family = _PACKS[group]
    to_words = family.format("packssdw")
    to_bytes = family.format("packuswb" if dtype == "uint8" else "packsswb")

    @T.prim_func(s_tir=True)
    def implementation(
        A: T.Buffer((4, lanes), "int32", offset_factor=1), C: T.Buffer((group,), dtype, offset_factor=1)
    ) -> None:
        with T.sblock("root"):
            T.reads(A[0:4, 0:lanes])
            T.writes(C[0:group])
            C[T.ramp(T.int32(0), 1, group)] = T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id(to_bytes),
                T.call_llvm_pure_intrin(
                    T.llvm_lookup_intrinsic_id(to_words),
                    A.vload([0, 0], dtype=quad_type),
                    A.vload([1, 0], dtype=quad_type),
                    dtype=word_type,
                ),
                T.call_llvm_pure_intrin(
                    T.llvm_lookup_intrinsic_id(to_words),
                    A.vload([2, 0], dtype=quad_type),
                    A.vload([3, 0], dtype=quad_type),
                    dtype=word_type,
                ),
                dtype=f"{dtype}x{group}",
            )

    return implementation


def _turns_description(count: int, dtype: str) -> Any:
    @T.prim_func(s_tir=True)
    def description(
        A: T.Buffer((2, count), dtype, offset_factor=1), C: T.Buffer((2 * count,), dtype, offset_factor=1)
    ) -> None:
        with T.sblock("root"):
            T.reads(A[0:2, 0:count])
            T.writes(C[0 : 2 * count])
            for c in range(2 * count):
                with T.sblock("turns"):
                    vc = T.axis.remap("S", [c])
                    C[vc] = A[vc % 2, vc // 2]

    return description


def _turns_implementation(count: int, dtype: str) -> Any:
    order = [place + stream * count for place in range(count) for stream in (0, 1)]
    row = f"{dtype}x{count}"

    @T.prim_func(s_tir=True)
    def implementation(
        A: T.Buffer((2, count), dtype, offset_factor=1), C: T.Buffer((2 * count,), dtype, offset_factor=1)
    ) -> None:
        with T.sblock("root"):
            T.reads(A[0:2, 0:count])
            T.writes(C[0 : 2 * count])
            C[T.ramp(T.int32(0), 1, 2 * count)] = _shuffle(
                A.vload([0, 0], dtype=row), A.vload([1, 0], dtype=row), order
            )

    return implementation


_QUADS = re.compile(r"aq_quads_(16|32|64)x([1-4])")
_NARROW = re.compile(r"aq_narrow_(16|32|64)_(u?int8)")
_TURNS = re.compile(r"aq_turns_(4|8|16)_(u?int8)")


@functools.cache
def register(name: str) -> bool:
    """Register one intrinsic of this file with TensorIR, once; False where the name is none of them."""
    quads, narrow, turns = _QUADS.fullmatch(name), _NARROW.fullmatch(name), _TURNS.fullmatch(name)
    if quads is not None:
        group, taps = int(quads[1]), int(quads[2])
        TensorIntrin.register(name, _quads_description(group, taps), _quads_implementation(group, taps))
    elif narrow is not None:
        group, dtype = int(narrow[1]), narrow[2]
        TensorIntrin.register(name, _narrow_description(group, dtype), _narrow_implementation(group, dtype))
    elif turns is not None:
        count, dtype = int(turns[1]), turns[2]
        TensorIntrin.register(name, _turns_description(count, dtype), _turns_implementation(count, dtype))
    return any(match is not None for match in (quads, narrow, turns))
