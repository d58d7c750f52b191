"""Dot-product intrinsics for x86: vpdpbusd (VNNI) and vpmaddwd, each in 512 and 256 bits.

The stock `dot_16x4_vnni` of apache-tvm 0.27 hands LLVM operands of the wrong type, so these are registered under
names of their own. vpdpbusd multiplies unsigned bytes (data) with signed ones (weights) and adds four products to
each int32 lane without saturation. vpmaddwd multiplies pairs of signed 16-bit numbers, to which data are widened
beforehand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

from autotune_qnn.kernels.isa import DotShape, Isa, dot_shape
from autotune_qnn.kernels.wrapping import plus


def _dot_quads(lanes: int) -> Any:
    @T.prim_func(s_tir=True)
    def description(
        A: T.Buffer((4,), "uint8", offset_factor=1),
        B: T.Buffer((lanes, 4), "int8", offset_factor=1),
        C: T.Buffer((lanes,), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:4], B[0:lanes, 0:4])
            T.writes(C[0:lanes])
            for i in range(lanes):
                for q in range(4):
                    with T.sblock("update"):
                        vi, vq = T.axis.remap("SR", [i, q])
                        C[vi] = C[vi] + T.cast(A[vq], "int32") * T.cast(B[vi, vq], "int32")

    return description


def _vnni(lanes: int, name: str) -> Any:
    vector, data, weight = f"int32x{lanes}", f"uint8x{4 * lanes}", f"int8x{4 * lanes}"

    @T.prim_func(s_tir=True)
    def implementation(
        A: T.Buffer((4,), "uint8", offset_factor=1),
        B: T.Buffer((lanes, 4), "int8", offset_factor=1),
        C: T.Buffer((lanes,), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:4], B[0:lanes, 0:4])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id(name),
                C.vload([0], dtype=vector),
                T.reinterpret(
                    T.broadcast(T.reinterpret(A.vload([0], "uint8x4"), dtype="int32"), lanes), dtype=data
                ),
                B.vload([0, 0], dtype=weight),
                dtype=vector,
            )

    return implementation


def _dot_pairs(lanes: int) -> Any:
    @T.prim_func(s_tir=True)
    def description(
        A: T.Buffer((2,), "int16", offset_factor=1),
        B: T.Buffer((lanes, 2), "int16", offset_factor=1),
        C: T.Buffer((lanes,), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:2], B[0:lanes, 0:2])
            T.writes(C[0:lanes])
            for i in range(lanes):
                for q in range(2):
                    with T.sblock("update"):
                        vi, vq = T.axis.remap("SR", [i, q])
                        C[vi] = C[vi] + T.cast(A[vq], "int32") * T.cast(B[vi, vq], "int32")

    return description


Total = Callable[[Any, Any, Any], Any]
"""From a vector of sums, pairs of data and pairs of weights to the sums with their products."""


def _pairs(lanes: int, total: Total) -> Any:
    """What `_dot_pairs` describes, computed by `total`."""
    vector, words = f"int32x{lanes}", f"int16x{2 * lanes}"

    def result(a: Any, b: Any, c: Any) -> Any:
        pair = T.broadcast(T.reinterpret(a.vload([0], "int16x2"), dtype="int32"), lanes)
        return total(
            c.vload([0], dtype=vector), T.reinterpret(pair, dtype=words), b.vload([0, 0], dtype=words)
        )

    @T.prim_func(s_tir=True)
    def implementation(
        A: T.Buffer((2,), "int16", offset_factor=1),
        B: T.Buffer((lanes, 2), "int16", offset_factor=1),
        C: T.Buffer((lanes,), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:2], B[0:lanes, 0:2])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = result(A, B, C)

    return implementation


def _call(name: str, lanes: int, *arguments: Any) -> Any:
    return T.call_llvm_pure_intrin(T.llvm_lookup_intrinsic_id(name), *arguments, dtype=f"int32x{lanes}")


def _maddwd(lanes: int) -> Total:
    """Products by vpmaddwd, added as int32 numbers that do not overflow."""
    return lambda sums, data, weights: sums + _call(MADDWD[lanes], lanes, data, weights)


def _wrapping_maddwd(lanes: int) -> Total:
    """Products by vpmaddwd, added modulo 2³²."""
    return lambda sums, data, weights: plus(sums, _call(MADDWD[lanes], lanes, data, weights))


def _dpwssd(lanes: int) -> Total:
    """Products by vpdpwssd, which adds them modulo 2³²."""
    return lambda *operands: _call(f"llvm.x86.avx512.vpdpwssd.{32 * lanes}", lanes, *operands)


def _depthwise(lanes: int) -> Any:
    @T.prim_func(s_tir=True)
    def description(
        A: T.Buffer((lanes,), "int32", offset_factor=1),
        B: T.Buffer((lanes, 4), "int8", offset_factor=1),
        C: T.Buffer((lanes,), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:lanes], B[0:lanes, 0:4])
            T.writes(C[0:lanes])
            for i in range(lanes):
                for k in range(4):
                    with T.sblock("update"):
                        vi, vk = T.axis.remap("SR", [i, k])
                        C[vi] = C[vi] + T.bitwise_and(T.shift_right(A[vi], vk * 8), 255) * T.cast(
                            B[vi, vk], "int32"
                        )

    return description


def _depthwise_vnni(lanes: int, name: str) -> Any:
    vector, data, weight = f"int32x{lanes}", f"uint8x{4 * lanes}", f"int8x{4 * lanes}"

    @T.prim_func(s_tir=True)
    def implementation(
        A: T.Buffer((lanes,), "int32", offset_factor=1),
        B: T.Buffer((lanes, 4), "int8", offset_factor=1),
        C: T.Buffer((lanes,), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:lanes], B[0:lanes, 0:4])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id(name),
                C.vload([0], dtype=vector),
                T.reinterpret(A.vload([0], dtype=vector), dtype=data),
                B.vload([0, 0], dtype=weight),
                dtype=vector,
            )

    return implementation


MADDWD = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd", 4: "llvm.x86.sse2.pmadd.wd"}
"""vpmaddwd by the int32 lanes of its result."""


@functools.cache
def register_all() -> None:
    """Register every intrinsic of this file with TensorIR; idempotent."""
    for lanes, bits in ((16, 512), (8, 256)):
        vpdpbusd = f"llvm.x86.avx512.vpdpbusd.{bits}"
        TensorIntrin.register(f"aq_dot_{lanes}x4_vnni", _dot_quads(lanes), _vnni(lanes, vpdpbusd))
        pairs = {
            f"aq_dot_{lanes}x2_maddwd": _maddwd(lanes),
            f"aq_words_{lanes}x2_maddwd": _wrapping_maddwd(lanes),
            f"aq_words_{lanes}x2_vnni": _dpwssd(lanes),
        }
        for name, total in pairs.items():
            TensorIntrin.register(name, _dot_pairs(lanes), _pairs(lanes, total))
    for lanes in (16, 8, 4):
        vpdpbusd = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
        TensorIntrin.register(
            f"aq_depthwise_{lanes}x4_vnni", _depthwise(lanes), _depthwise_vnni(lanes, vpdpbusd)
        )


def words_intrinsic(shape: DotShape) -> str:
    """Name of the intrinsic that adds products of pairs of 16 bits modulo 2³², where there is a dot product."""
    return f"aq_words_{shape.lanes}x2_{shape.intrinsic.rsplit('_', 1)[-1]}"


def sketch_intrinsics(isa: Isa) -> list[str]:
    """Names of the registered intrinsics that generated sketches may use for this instruction set.

    AMX's tiles are not among them: tiles stay in the processor over many steps, which sketches do not express.
    """
    register_all()
    shape = dot_shape(isa)
    return [name for name in (shape.intrinsic, shape.depthwise_intrinsic) if name]
