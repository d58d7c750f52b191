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

from tvm import tirx
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

from autotune_qnn.kernels.isa import DotShape, Isa, dot_shape
from autotune_qnn.kernels.wrapping import plus

Total = Callable[[Any, Any, Any], Any]
"""From a vector of sums, data and weights, each as one instruction wants them, to the sums with their products."""

_QUADS, _PAIRS = (4, "uint8", "int8"), (2, "int16", "int16")
"""What is multiplied and added to a lane at once: how many data, their dtype, and the weights'."""


def _dot(lanes: int, size: int, data: str, weight: str) -> Any:
    @T.prim_func(s_tir=True)
    def description(
        A: T.Buffer((size,), data, offset_factor=1),
        B: T.Buffer((lanes, size), weight, offset_factor=1),
        C: T.Buffer((lanes,), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:size], B[0:lanes, 0:size])
            T.writes(C[0:lanes])
            for i in range(lanes):
                for q in range(size):
                    with T.sblock("update"):
                        vi, vq = T.axis.remap("SR", [i, q])
                        C[vi] = C[vi] + T.cast(A[vq], "int32") * T.cast(B[vi, vq], "int32")

    return description


def _computed(lanes: int, size: int, data: str, weight: str, total: Total) -> Any:
    """What `_dot` describes, computed by `total`."""

    def result(a: Any, b: Any, c: Any) -> Any:
        same = T.broadcast(T.reinterpret(a.vload([0], f"{data}x{size}"), dtype="int32"), lanes)
        return total(
            c.vload([0], dtype=f"int32x{lanes}"),
            T.reinterpret(same, dtype=f"{data}x{size * lanes}"),
            b.vload([0, 0], dtype=f"{weight}x{size * lanes}"),
        )

    @T.prim_func(s_tir=True)
    def implementation(
        A: T.Buffer((size,), data, offset_factor=1),
        B: T.Buffer((lanes, size), weight, offset_factor=1),
        C: T.Buffer((lanes,), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:size], B[0:lanes, 0:size])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = result(A, B, C)

    return implementation


def _maddwd(lanes: int) -> Total:
    """Products by vpmaddwd, added as int32 numbers that do not overflow."""
    return lambda sums, data, weights: sums + instruction(MADDWD[lanes], lanes, data, weights)


def _wrapping_maddwd(lanes: int) -> Total:
    """Products by vpmaddwd, added modulo 2³²."""
    return lambda sums, data, weights: plus(sums, instruction(MADDWD[lanes], lanes, data, weights))


def _vnni(name: str, lanes: int) -> Total:
    """Products by vpdpbusd, or by vpdpwssd, which adds them modulo 2³²."""
    return lambda *operands: instruction(f"llvm.x86.avx512.{name}.{32 * lanes}", lanes, *operands)


def shuffle(first: Any, second: Any, order: list[int]) -> Any:
    """Elements of two vectors, counted through both, in an order."""
    return tirx.Shuffle([first, second], [tirx.const(place, "int32") for place in order])


def instruction(name: str, lanes: int, *operands: Any) -> Any:
    """A call of LLVM's intrinsic of that name, whose result is a vector of int32."""
    return T.call_llvm_pure_intrin(T.llvm_lookup_intrinsic_id(name), *operands, dtype=f"int32x{lanes}")


def _depthwise(lanes: int, size: int, weight: str) -> Any:
    @T.prim_func(s_tir=True)
    def description(
        A: T.Buffer((lanes,), "int32", offset_factor=1),
        B: T.Buffer((lanes, size), weight, offset_factor=1),
        C: T.Buffer((lanes,), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:lanes], B[0:lanes, 0:size])
            T.writes(C[0:lanes])
            for i in range(lanes):
                for k in range(size):
                    with T.sblock("update"):
                        vi, vk = T.axis.remap("SR", [i, k])
                        C[vi] = C[vi] + T.bitwise_and(T.shift_right(A[vi], vk * 8), 255) * T.cast(
                            B[vi, vk], "int32"
                        )

    return description


def _depthwise_computed(lanes: int, size: int, weight: str, total: Total) -> Any:
    """What `_depthwise` describes, computed by `total`, to which the data are handed as bytes."""

    @T.prim_func(s_tir=True)
    def implementation(
        A: T.Buffer((lanes,), "int32", offset_factor=1),
        B: T.Buffer((lanes, size), weight, offset_factor=1),
        C: T.Buffer((lanes,), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(C[0:lanes], A[0:lanes], B[0:lanes, 0:size])
            T.writes(C[0:lanes])
            C[T.ramp(T.int32(0), 1, lanes)] = total(
                C.vload([0], dtype=f"int32x{lanes}"),
                T.reinterpret(A.vload([0], dtype=f"int32x{lanes}"), dtype=f"uint8x{4 * lanes}"),
                B.vload([0, 0], dtype=f"{weight}x{size * lanes}"),
            )

    return implementation


def _widened(lanes: int, total: Total) -> Total:
    """`total` of pairs of 16 bits, given the bytes of int32 lanes of which two hold data."""
    order = [place for lane in range(lanes) for place in (4 * lane, 4 * lanes, 4 * lane + 1, 4 * lanes)]

    def widening(sums: Any, data: Any, weights: Any) -> Any:
        wide = shuffle(data, T.broadcast(T.uint8(0), 4 * lanes), order)
        return total(sums, T.reinterpret(wide, dtype=f"int16x{2 * lanes}"), weights)

    return widening


MADDWD = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd", 4: "llvm.x86.sse2.pmadd.wd"}
"""vpmaddwd by the int32 lanes of its result."""


DEPTHWISE = "aq_depthwise_"
"""How names of the intrinsics begin that multiply each lane's data with weights of its own."""


@functools.cache
def register_all() -> None:
    """Register every intrinsic of this file with TensorIR; idempotent."""
    for lanes in (16, 8):
        for name, form, total in (
            (f"aq_dot_{lanes}x4_vnni", _QUADS, _vnni("vpdpbusd", lanes)),
            (f"aq_dot_{lanes}x2_maddwd", _PAIRS, _maddwd(lanes)),
            (f"aq_words_{lanes}x2_maddwd", _PAIRS, _wrapping_maddwd(lanes)),
            (f"aq_words_{lanes}x2_vnni", _PAIRS, _vnni("vpdpwssd", lanes)),
        ):
            TensorIntrin.register(name, _dot(lanes, *form), _computed(lanes, *form, total))
    for lanes in (16, 8, 4):
        for name, size, weight, multiplied in (
            (f"{DEPTHWISE}{lanes}x4_vnni", 4, "int8", _vnni("vpdpbusd", lanes)),
            (f"{DEPTHWISE}{lanes}x2_maddwd", 2, "int16", _widened(lanes, _maddwd(lanes))),
        ):
            computed = _depthwise_computed(lanes, size, weight, multiplied)
            TensorIntrin.register(name, _depthwise(lanes, size, weight), computed)


def words_intrinsic(shape: DotShape) -> str:
    """Name of the intrinsic that adds products of pairs of 16 bits modulo 2³², where there is a dot product."""
    return f"aq_words_{shape.lanes}x2_{shape.intrinsic.rsplit('_', 1)[-1]}"


def sketch_intrinsics(isa: Isa) -> list[str]:
    """Names of the registered intrinsics that generated sketches may use for this instruction set.

    AMX's tiles are not among them: tiles stay in the processor over many steps, which sketches do not express.
    """
    register_all()
    shape = dot_shape(isa)
    depthwise = f"{DEPTHWISE}{shape.lanes}x2_maddwd" if shape.widened else shape.depthwise_intrinsic
    return [name for name in (shape.intrinsic, depthwise) if name]
