"""The instruction sets that kernels are written for, and what a kernel needs to know of each."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Isa(enum.StrEnum):
    """The instruction sets that kernels are written for, the most capable first."""

    AMX_INT8 = "amx_int8"
    AVX512_VNNI = "avx512_vnni"
    AVX512BW = "avx512bw"
    AVX_VNNI = "avx_vnni"
    AVX2 = "avx2"
    GENERIC = "generic"


@dataclass(frozen=True, slots=True)
class DotShape:
    """How one dot-product step of an instruction set reads its operands.

    A step multiplies consecutive elements of data with the weights of `lanes` output channels. Packed weights have
    the inner shape [pair_count, lanes, pair_size] and hold, at [p, lane, q], the weight of element
    p * pair_size + q.

    Attributes:
        lanes: output channels (int32 accumulators) of one vector register.
        registers: vector registers of the architecture.
        pair_count, pair_size: see above; a step takes as many elements as their product, four or two.
        data_dtype: what the step reads: uint8, or int16, to which data are then widened beforehand.
        weight_dtype: dtype of packed weights: int8, or int16 where the multiply works on 16-bit pairs.
        intrinsic: name of the registered tensor intrinsic, empty where plain loops do the work.
        depthwise_intrinsic: the same for the depthwise dot product.
        tiles: whether the instruction set also has AMX's int8 tiles, which multiply the same packed weights.
        rate: steps that a core begins in a cycle. Where these are two, the same two ports do all other work on vectors.
    """

    lanes: int
    registers: int
    pair_count: int
    pair_size: int
    data_dtype: str
    weight_dtype: str
    intrinsic: str
    depthwise_intrinsic: str
    tiles: bool = False
    rate: int = 1

    @property
    def steps(self) -> int:
        """Steps that four bytes of data take."""
        return 4 // (self.pair_count * self.pair_size)

    @property
    def widened(self) -> bool:
        """Whether convolutions read a copy of their data with wider elements."""
        return self.data_dtype != "uint8"


_SHAPES = {
    Isa.AMX_INT8: DotShape(16, 32, 1, 4, "uint8", "int8", "aq_dot_16x4_vnni", "aq_depthwise_16x4_vnni", True),
    Isa.AVX512_VNNI: DotShape(16, 32, 1, 4, "uint8", "int8", "aq_dot_16x4_vnni", "aq_depthwise_16x4_vnni"),
    Isa.AVX_VNNI: DotShape(8, 16, 1, 4, "uint8", "int8", "aq_dot_8x4_vnni", "aq_depthwise_8x4_vnni"),
    Isa.AVX512BW: DotShape(16, 32, 1, 2, "int16", "int16", "aq_dot_16x2_maddwd", ""),
    Isa.AVX2: DotShape(8, 16, 1, 2, "int16", "int16", "aq_dot_8x2_maddwd", ""),
    Isa.GENERIC: DotShape(16, 16, 4, 1, "uint8", "int16", "", ""),
}


def dot_shape(isa: Isa) -> DotShape:
    """The dot-product step that kernels for this instruction set are built from."""
    return _SHAPES[isa]
