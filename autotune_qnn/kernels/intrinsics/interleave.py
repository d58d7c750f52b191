"""Byte interleaving for depthwise kernels, by AVX2's and AVX-512's unpack and pack instructions.

Unpack instructions work within each 128-bit lane, so that interleaving the bytes of neighbouring rows leaves the
channels of a group in another order, and packing int32 results to bytes undoes exactly that order. With G channels a
group and V = G / 4 int32 lanes a register, place [j, v] holds channel 16 * (v // 4) + 4 * j + v % 4.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

from autotune_qnn.kernels.intrinsics.x86 import instruction, shuffle

_LANE, _WORD = 16, 4
"""Bytes of a 128-bit lane, and of the smallest part of one that unpacking keeps together."""


def channel_order(group: int) -> NDArray[np.int64]:
    """For each place in a group's order, the channel of the group that is there."""
    lanes = np.arange(group).reshape(group // 16, 4, 4)
    return np.asarray(lanes.transpose(1, 0, 2).reshape(-1), np.int64)


def quads_intrinsic(group: int, taps: int) -> str:
    """Name of the intrinsic that makes int32 quads of `taps` neighbouring rows of `group` channels."""
    return f"aq_quads_{group}x{taps}"


def rows_intrinsic(group: int, taps: int) -> str:
    """Name of the intrinsic that multiplies `taps` neighbouring rows of `group` channels with weights, and sums."""
    return f"aq_rows_{group}x{taps}"


def narrow_intrinsic(group: int, dtype: str, side: int = 1) -> str:
    """Name of the intrinsic that saturates `group` int32 values to 8 bits, in the channels' own order.

    With `side`, they are those of so many pixels.
    """
    return f"aq_narrow_{group}_{dtype}" if side == 1 else f"aq_narrow_{side}x{group // side}_{dtype}"


def narrow_place(pixel: Any, channel: Any, channels: int) -> tuple[Any, Any]:
    """Register and lane of a channel; where a group holds several pixels of 4, 8 or 16 channels, of such a pixel.

    Written without terms that TVM would simplify, so that kernels match the intrinsics' descriptions.
    """
    together = 16 // channels if channels <= _LANE else 1
    if isinstance(pixel, int):
        return channel % 16 // 4, channel // 16 * 4 + channel % 4
    if together == 1:
        return channel // 4, pixel * 4 + channel % 4
    if channels == _WORD:
        return pixel % 4, pixel // 4 * 4 + channel
    return pixel % together * (channels // 4) + channel // 4, pixel // together * 4 + channel % 4


def turns_intrinsic(count: int, dtype: str) -> str:
    """Name of the intrinsic that puts the bytes of two rows of `count` into one row, in turns."""
    return f"aq_turns_{count}_{dtype}"


def unpack(lanes: int, count: int, offset: int) -> list[int]:
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


def _quad(buffer: Any, group: int, taps: int, j: int) -> Any:
    """Register j of the quads: rows 0 with 1 and 2 with 3 interleaved byte by byte, then the results word by word."""
    registers = group // 16

    def row(tap: int) -> Any:
        known = tap < taps
        return buffer.vload([tap, 0], dtype=f"uint8x{group}") if known else T.broadcast(T.uint8(0), group)

    halves = [
        T.reinterpret(
            shuffle(row(tap), row(tap + 1), unpack(registers, 8, 8 * (j // 2))),
            dtype=f"uint16x{group // 2}",
        )
        for tap in (0, 2)
    ]
    words = shuffle(halves[0], halves[1], unpack(registers, 4, 4 * (j % 2)))
    return T.reinterpret(words, dtype=f"int32x{group // 4}")


def _quads_implementation(group: int, taps: int) -> Any:
    lanes = group // 4

    @T.prim_func(s_tir=True)
    def implementation(
        A: T.Buffer((taps, group), "uint8", offset_factor=1),
        C: T.Buffer((4, lanes), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(A[0:taps, 0:group])
            T.writes(C[0:4, 0:lanes])
            C[0, T.ramp(T.int32(0), 1, lanes)] = _quad(A, group, taps, 0)
            C[1, T.ramp(T.int32(0), 1, lanes)] = _quad(A, group, taps, 1)
            C[2, T.ramp(T.int32(0), 1, lanes)] = _quad(A, group, taps, 2)
            C[3, T.ramp(T.int32(0), 1, lanes)] = _quad(A, group, taps, 3)

    return implementation


def rows_description(group: int, taps: int, unit: int = 4, dtype: str = "int8") -> Any:
    """What multiplying rows with `unit` weights of a dtype for each channel computes."""
    lanes = group // 4

    @T.prim_func(s_tir=True)
    def description(
        A: T.Buffer((taps, group), "uint8", offset_factor=1),
        B: T.Buffer((4, lanes, unit), dtype, offset_factor=1),
        C: T.Buffer((4, lanes), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:4, 0:lanes], A[0:taps, 0:group], B[0:4, 0:lanes, 0:unit])
            T.writes(C[0:4, 0:lanes])
            for j in range(4):
                for v in range(lanes):
                    for k in range(unit):
                        with T.sblock("update"):
                            vj, vv, vk = T.axis.remap("SSR", [j, v, k])
                            C[vj, vv] = C[vj, vv] + T.bitwise_and(
                                T.shift_right(
                                    _joined(lambda tap: A[tap, vv // 4 * 16 + vj * 4 + vv % 4], taps), vk * 8
                                ),
                                255,
                            ) * T.cast(B[vj, vv, vk], "int32")

    return description


def rows_implementation(group: int, taps: int, unit: int, dtype: str, total: Any) -> Any:
    """What `rows_description` describes: register j of the sums is total(rows, weights, sums, j)."""
    lanes = group // 4

    @T.prim_func(s_tir=True)
    def implementation(
        A: T.Buffer((taps, group), "uint8", offset_factor=1),
        B: T.Buffer((4, lanes, unit), dtype, offset_factor=1),
        C: T.Buffer((4, lanes), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:4, 0:lanes], A[0:taps, 0:group], B[0:4, 0:lanes, 0:unit])
            T.writes(C[0:4, 0:lanes])
            C[0, T.ramp(T.int32(0), 1, lanes)] = total(A, B, C, 0)
            C[1, T.ramp(T.int32(0), 1, lanes)] = total(A, B, C, 1)
            C[2, T.ramp(T.int32(0), 1, lanes)] = total(A, B, C, 2)
            C[3, T.ramp(T.int32(0), 1, lanes)] = total(A, B, C, 3)

    return implementation


def _rows_implementation(group: int, taps: int) -> Any:
    lanes = group // 4
    name = f"llvm.x86.avx512.vpdpbusd.{8 * group}"

    def total(A: Any, B: Any, C: Any, j: int) -> Any:
        return instruction(
            name,
            lanes,
            C.vload([j, 0], dtype=f"int32x{lanes}"),
            T.reinterpret(_quad(A, group, taps, j), dtype=f"uint8x{group}"),
            B.vload([j, 0, 0], dtype=f"int8x{group}"),
        )

    return rows_implementation(group, taps, 4, "int8", total)


def _whole(shape: list[int]) -> tuple[slice, ...]:
    """The region of a whole buffer."""
    return tuple(slice(0, extent) for extent in shape)


def _narrow_description(*shape_and_dtype: Any) -> Any:
    *shape, dtype = shape_and_dtype
    lanes, whole, axes = math.prod(shape) // 4, _whole(shape), "S" * len(shape)
    low, high = (0, 255) if dtype == "uint8" else (-128, 127)

    def each(found: Any) -> list[Any]:
        return list(found) if len(shape) > 1 else [found]

    def value(A: Any, place: list[Any]) -> Any:
        pixel, channel = [0, *place][-2:]
        register, lane = narrow_place(pixel, channel, shape[-1])
        return T.cast(T.max(T.min(A[register, lane], high), low), dtype)

    @T.prim_func(s_tir=True)
    def description(
        A: T.Buffer((4, lanes), "int32", offset_factor=1), C: T.Buffer(shape, dtype, offset_factor=1)
    ) -> None:
        with T.sblock("root"):
            T.reads(A[0:4, 0:lanes])
            T.writes(C[whole])
            for loops in T.grid(*shape):
                with T.sblock("narrow"):
                    place = each(T.axis.remap(axes, each(loops)))
                    C[tuple(place)] = value(A, place)

    return description


_PACKS = {16: "llvm.x86.sse2.{}.128", 32: "llvm.x86.avx2.{}", 64: "llvm.x86.avx512.{}.512"}


def _packed(group: int, dtype: str, registers: Any) -> Any:
    """The bytes of four registers of int32, from a function that loads them."""
    family = _PACKS[group]
    to_words = family.format("packssdw")
    to_bytes = family.format("packuswb" if dtype == "uint8" else "packsswb")
    words = [
        T.call_llvm_pure_intrin(
            T.llvm_lookup_intrinsic_id(to_words),
            registers(first),
            registers(first + 1),
            dtype=f"int16x{group // 2}",
        )
        for first in (0, 2)
    ]
    return T.call_llvm_pure_intrin(T.llvm_lookup_intrinsic_id(to_bytes), *words, dtype=f"{dtype}x{group}")


def _narrow_implementation(*shape_and_dtype: Any) -> Any:
    *shape, dtype = shape_and_dtype
    group, whole, first = math.prod(shape), _whole(shape), [0] * (len(shape) - 1)
    lanes = group // 4

    @T.prim_func(s_tir=True)
    def implementation(
        A: T.Buffer((4, lanes), "int32", offset_factor=1), C: T.Buffer(shape, dtype, offset_factor=1)
    ) -> None:
        with T.sblock("root"):
            T.reads(A[0:4, 0:lanes])
            T.writes(C[whole])
            C[(*first, T.ramp(T.int32(0), 1, group))] = _packed(
                group, dtype, lambda place: A.vload([place, 0], dtype=f"int32x{lanes}")
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
            C[T.ramp(T.int32(0), 1, 2 * count)] = shuffle(
                A.vload([0, 0], dtype=row), A.vload([1, 0], dtype=row), order
            )

    return implementation


_QUADS = re.compile(r"aq_quads_(16|32|64)x([1-4])")
_ROWS = re.compile(r"aq_rows_(16|32|64)x([1-4])")
_NARROW = re.compile(r"aq_narrow_(?:(2|4|8|16)x)?(4|8|16|32|64)_(u?int8)")
_TURNS = re.compile(r"aq_turns_(4|8|16)_(u?int8)")


_MAKERS: tuple[tuple[re.Pattern[str], Callable[..., Any], Callable[..., Any]], ...] = (
    (_QUADS, _quads_description, _quads_implementation),
    (_ROWS, rows_description, _rows_implementation),
    (_NARROW, _narrow_description, _narrow_implementation),
    (_TURNS, _turns_description, _turns_implementation),
)
"""Names, with what becomes arguments in groups, those found; what an intrinsic of such a name computes; how it does."""


@functools.cache
def register(name: str) -> bool:
    """Register one intrinsic of this file with TensorIR, once; False where the name is none of them."""
    for pattern, description, implementation in _MAKERS:
        found = pattern.fullmatch(name)
        if found is not None:
            arguments = [int(part) if part.isdigit() else part for part in found.groups() if part]
            TensorIntrin.register(name, description(*arguments), implementation(*arguments))
            return True
    return False
